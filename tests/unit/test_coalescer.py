# SPDX-License-Identifier: MIT
"""Many awaits become few calls, and each waiter gets its own answer."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence

import pytest

from pybatch_async import SubmitFailed
from pybatch_async.plugins.coalescer import Bounds, Coalescer

NAMES = itertools.count()


class Host:
    """Answer each item with its double, once it is let go."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.at_once = self.most_at_once = 0
        self.is_asked = asyncio.Event()
        self.is_free = asyncio.Event()
        self.is_free.set()
        self.error: Exception | None = None

    async def call(self, items: list[int]) -> Sequence[int | Exception]:
        self.calls.append(items)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.is_asked.set()
        try:
            await self.is_free.wait()
        finally:
            self.at_once -= 1
        if self.error:
            raise self.error
        return [SubmitFailed(f"odd {item}") if item == 13 else 2 * item for item in items]


def coalescer(host: Host, bounds: Bounds | None = None) -> Coalescer[int, int]:
    return Coalescer(host.call, bounds, weigh=lambda item: {str(next(NAMES)): item})


async def ask(many: Coalescer[int, int], items: Sequence[int]) -> list[int | BaseException]:
    return await asyncio.gather(*(many.ask(item) for item in items), return_exceptions=True)


async def test_those_who_wait_together_travel_together() -> None:
    host = Host()
    assert await ask(coalescer(host), range(20, 50)) == list(range(40, 100, 2))
    assert host.calls == [list(range(20, 50))]


async def test_what_items_share_counts_once_and_lets_a_heavy_batch_grow() -> None:
    host = Host()
    shared = Coalescer(
        host.call, Bounds(items=4, weight=20, heavy=10), weigh=lambda item: {str(item // 100): item // 100}
    )
    await ask(shared, [*[1200 + each for each in range(9)], *[300 + each for each in range(9)]])
    assert [len(call) for call in host.calls] == [9, 4, 4, 1]


async def test_one_bad_item_fails_alone() -> None:
    host = Host()
    one, bad, other = await ask(coalescer(host), [1, 13, 2])
    assert (one, other) == (2, 4)
    assert isinstance(bad, SubmitFailed)


async def test_a_lone_item_is_not_kept_waiting() -> None:
    start = time.monotonic()
    assert await coalescer(Host()).ask(4) == 8
    assert time.monotonic() - start < 0.1


async def test_those_who_are_told_early_do_not_wait_for_the_call_to_end() -> None:
    host = Host()
    many = coalescer(host)
    host.is_free.clear()
    early, left, late = (asyncio.create_task(many.ask(item)) for item in (1, 2, 3))
    await host.is_asked.wait()
    left.cancel()
    await asyncio.wait([left])
    for item in (1, 2, 99):
        many.tell(item, 100 + item)
    assert await early == 101
    assert not late.done()
    host.is_free.set()
    assert await late == 6
    many.tell(1, 0)  # nobody waits any more


async def test_those_who_come_during_a_call_share_the_next_one() -> None:
    host = Host()
    many = coalescer(host)
    host.is_free.clear()
    first = asyncio.create_task(many.ask(1))
    await host.is_asked.wait()
    others = [asyncio.create_task(many.ask(item)) for item in (2, 3)]
    await asyncio.sleep(0)
    host.is_free.set()
    assert [await first, await others[0], await others[1]] == [2, 4, 6]
    assert host.calls == [[1], [2, 3]]


async def test_a_batch_is_bounded_by_count() -> None:
    host = Host()
    await ask(coalescer(host, Bounds(items=20)), range(14, 64))
    assert [len(call) for call in host.calls] == [20, 20, 10]


async def test_a_batch_is_bounded_by_weight_and_a_single_heavy_item_goes_alone() -> None:
    host = Host()
    await ask(coalescer(host, Bounds(weight=10)), [4, 4, 4, 99, 1])
    assert host.calls == [[4, 4], [4], [99], [1]]


async def test_as_many_calls_run_at_once_as_are_allowed() -> None:
    host = Host()
    host.is_free.clear()
    asked = asyncio.create_task(ask(coalescer(host, Bounds(items=1, calls=3)), [1, 2, 3, 4, 5]))
    async with asyncio.timeout(5):
        while host.at_once < 3:
            await asyncio.sleep(0.005)
    host.is_free.set()
    assert await asked == [2, 4, 6, 8, 10]
    assert host.most_at_once == 3


async def test_a_waiter_cancelled_before_the_call_drops_out() -> None:
    host = Host()
    many = coalescer(host)
    tasks = [asyncio.create_task(many.ask(item)) for item in (1, 2, 3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    assert [await tasks[0], await tasks[2]] == [2, 6]
    assert tasks[1].cancelled()
    assert host.calls == [[1, 3]]


async def test_a_waiter_cancelled_during_the_call_disturbs_nobody() -> None:
    host = Host()
    many = coalescer(host)
    host.is_free.clear()
    tasks = [asyncio.create_task(many.ask(item)) for item in (1, 2, 3)]
    await host.is_asked.wait()
    tasks[0].cancel()
    await asyncio.sleep(0)
    host.is_free.set()
    assert [await tasks[1], await tasks[2]] == [4, 6]
    assert tasks[0].cancelled()


async def test_a_failure_is_told_to_each_as_an_error_of_its_own() -> None:
    host = Host()
    host.error = SubmitFailed("down", transient=True)
    errors = await ask(coalescer(host), [1, 2, 3])
    assert [str(error) for error in errors] == ["down"] * 3
    assert all(isinstance(error, SubmitFailed) and error.transient for error in errors)
    assert len({id(error) for error in errors}) == 3


async def test_a_failure_that_can_not_be_copied_is_told_all_the_same() -> None:
    class Odd(Exception):
        def __init__(self, *, host: str) -> None:
            super().__init__(f"{host} is odd")

    async def fail(items: list[int]) -> list[int]:
        raise Odd(host="gaia")

    coalescer = Coalescer[int, int](fail)
    async with asyncio.timeout(10):
        errors = await asyncio.gather(*(coalescer.ask(item) for item in range(3)), return_exceptions=True)
    assert [str(error) for error in errors] == ["gaia is odd"] * 3


async def test_one_who_was_just_served_can_ask_again() -> None:
    host = Host()
    many = coalescer(host)
    async with asyncio.timeout(5):
        assert [await many.ask(item) for item in (1, 2, 3)] == [2, 4, 6]


async def test_the_next_call_is_made_after_a_failure() -> None:
    host = Host()
    many = coalescer(host)
    host.error = ValueError("a defect")
    with pytest.raises(ValueError, match="a defect"):
        await many.ask(1)
    host.error = None
    assert await many.ask(2) == 4


async def longest_stall(work: Callable[[], asyncio.Future[list[int]]]) -> tuple[float, list[int]]:
    """Return the longest time that the loop gave nobody else a turn, and what came out."""
    future, longest, last = work(), 0.0, time.perf_counter()
    while not future.done():
        await asyncio.sleep(0)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return longest, future.result()


async def test_ten_thousand_answers_do_not_stall_the_loop() -> None:
    asyncio.get_running_loop().set_debug(False)  # its stack traces cost more than what is measured
    host = Host()
    many = coalescer(host, Bounds(items=10_000, weight=1 << 40))
    host.is_free.clear()
    tasks = [asyncio.create_task(many.ask(item + 14)) for item in range(10_000)]
    await host.is_asked.wait()
    host.is_free.set()
    stall, answers = await longest_stall(lambda: asyncio.gather(*tasks))
    assert answers == [2 * (item + 14) for item in range(10_000)]
    assert len(host.calls) == 1
    assert stall < 0.25, f"the loop stood still for {stall:.3f} s"


async def test_no_task_is_left_behind() -> None:
    await ask(coalescer(Host()), [1, 2])
    await asyncio.sleep(0.02)
    assert asyncio.all_tasks() == {asyncio.current_task()}
