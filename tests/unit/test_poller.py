# SPDX-License-Identifier: MIT
"""One query a tick for all who wait; what a poll that fails or finds nothing means."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from pybatch_async import AuthenticationFailed, ConnectionFailed, JobLost, JobState, PybatchException, StateUnknown
from pybatch_async.plugins.poller import Poller, Polling, is_passing

FAST = Polling(shortest=0.03, longest=0.06, share=0, grace=0.3)


class Key:
    """Name one job; it can be referred to weakly."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Known:
    """Tell the state of a job."""

    state: JobState

    @property
    def is_partial(self) -> bool:
        return self.state is JobState.IN_PROCESS


@dataclass
class Host:
    """Answer queries from a table of states, or fail."""

    states: dict[str, JobState] = field(default_factory=dict)
    error: PybatchException | None = None
    queries: list[list[str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    at_once: int = 0
    pause: float = 0.0
    on_query: Callable[[], None] = lambda: None

    async def query(self, keys: list[Key]) -> Mapping[Key, Known]:
        assert self.at_once == 0, "two queries at the same time"
        self.at_once += 1
        self.queries.append([key.name for key in keys])
        self.times.append(asyncio.get_running_loop().time())
        self.on_query()
        await asyncio.sleep(self.pause)
        self.at_once -= 1
        if self.error:
            raise self.error
        return {key: Known(self.states[key.name]) for key in keys if key.name in self.states}


def is_over(report: Known) -> bool:
    return report.state.is_final


@pytest.fixture
def host() -> Iterator[Host]:
    yield Host({"a": JobState.RUNNING, "b": JobState.RUNNING, "c": JobState.RUNNING})


def poller(host: Host, polling: Polling = FAST, companions: tuple[Key, ...] = ()) -> Poller[Key, Known]:
    return Poller(host.query, lambda: polling, lambda: companions)


async def turned(host: Host, queries: int) -> None:
    """Wait until so many further queries have begun."""
    wanted, reached = len(host.queries) + queries, asyncio.Event()

    def note() -> None:
        if len(host.queries) >= wanted:
            reached.set()

    host.on_query = note
    async with asyncio.timeout(10):
        await reached.wait()


async def test_a_look_tells_the_state(host: Host) -> None:
    assert (await poller(host).look(Key("a"))).state is JobState.RUNNING


async def test_many_waiters_share_one_query_a_tick(host: Host) -> None:
    one = poller(host)
    keys = [Key("a"), Key("b"), Key("c")]
    waits = [asyncio.create_task(one.wait(key, is_over)) for key in keys for _ in range(100)]
    await turned(host, 3)
    host.states = dict.fromkeys("abc", JobState.FINISHED)
    assert {report.state for report in await asyncio.gather(*waits)} == {JobState.FINISHED}
    assert all(query == ["a", "b", "c"] for query in host.queries)


async def test_each_waiter_hears_when_its_own_job_has_ended(host: Host) -> None:
    one = poller(host)
    first, second = (asyncio.create_task(one.wait(Key(name), is_over)) for name in "ab")
    await turned(host, 1)
    host.states["a"] = JobState.FAILED
    assert (await first).state is JobState.FAILED
    await turned(host, 1)
    assert not second.done()
    assert host.queries[-1] == ["b"]  # who has heard is asked about no more
    host.states["b"] = JobState.FINISHED
    assert (await second).state is JobState.FINISHED


async def test_cancelled_waiter_leaves_the_others_polling(host: Host) -> None:
    one, key = poller(host), Key("a")
    first, second = (asyncio.create_task(one.wait(key, is_over)) for _ in range(2))
    await turned(host, 1)
    first.cancel()
    await turned(host, 2)
    host.states["a"] = JobState.FINISHED
    assert (await second).state is JobState.FINISHED
    assert first.cancelled()


async def test_cancelled_look_leaves_the_others_looking(host: Host) -> None:
    host.pause = 0.02
    one, key = poller(host), Key("a")
    first, second = (asyncio.create_task(one.look(key)) for _ in range(2))
    await turned(host, 1)
    first.cancel()
    assert (await second).state is JobState.RUNNING
    assert first.cancelled()
    assert len(host.queries) == 1


async def test_cancelled_looks_before_the_query_spare_it(host: Host) -> None:
    one = poller(host)
    looks = [asyncio.create_task(one.look(Key(name))) for name in "abc"]
    await asyncio.sleep(0)
    for look in looks:
        look.cancel()
    await asyncio.wait(looks)
    await asyncio.sleep(0.02)
    assert not host.queries
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_looks_in_tasks_of_tasks_share_one_query(host: Host) -> None:
    one = poller(host)

    async def nested(key: Key, depth: int) -> Known:
        return await (asyncio.create_task(nested(key, depth - 1)) if depth else one.look(key))

    await asyncio.gather(*(nested(Key(name), depth) for depth, name in enumerate("abc")))
    assert host.queries == [["a", "b", "c"]]


async def test_polling_ends_when_nobody_waits_and_begins_anew(host: Host) -> None:
    one, key = poller(host), Key("a")
    wait = asyncio.create_task(one.wait(key, is_over))
    await turned(host, 1)
    wait.cancel()
    await asyncio.sleep(0.1)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    asked = len(host.queries)
    await asyncio.sleep(0.1)
    assert len(host.queries) == asked
    assert (await one.look(key)).state is JobState.RUNNING


async def test_a_failed_poll_says_nothing_to_those_who_wait(host: Host) -> None:
    one = poller(host)
    host.error = ConnectionFailed("cut")
    wait = asyncio.create_task(one.wait(Key("a"), is_over))
    await turned(host, 3)
    assert not wait.done()
    host.error, host.states["a"] = None, JobState.FINISHED
    assert (await wait).state is JobState.FINISHED


async def test_a_failed_poll_is_raised_to_those_who_look(host: Host) -> None:
    host.error = StateUnknown("busy")
    with pytest.raises(StateUnknown, match="busy"):
        await poller(host).look(Key("a"))


async def test_a_refused_login_is_raised_to_those_who_wait(host: Host) -> None:
    host.error = AuthenticationFailed("no")
    with pytest.raises(AuthenticationFailed):
        await poller(host).wait(Key("a"), is_over)


async def test_a_defect_of_the_query_reaches_the_waiters(host: Host) -> None:
    async def query(keys: list[Key]) -> Mapping[Key, Known]:
        raise ZeroDivisionError("a defect")

    one = Poller[Key, Known](query, lambda: FAST)
    async with asyncio.timeout(5):
        with pytest.raises(ZeroDivisionError):
            await one.wait(Key("a"), is_over)


async def test_an_unknown_job_is_unknown_until_the_grace_is_over_and_then_lost(host: Host) -> None:
    one, key = poller(host), Key("gone")
    wait = asyncio.create_task(one.wait(key, is_over))
    with pytest.raises(StateUnknown, match="gone: nobody knows it"):
        await one.look(key)
    assert not wait.done()
    with pytest.raises(JobLost, match="gone"):
        await wait
    with pytest.raises(JobLost):
        await one.look(key)


async def test_who_waits_for_the_known_part_of_a_job_is_told_and_the_whole_is_lost(host: Host) -> None:
    one, key = poller(host), Key("a")
    host.states["a"] = JobState.IN_PROCESS
    whole = asyncio.create_task(one.wait(key, is_over))
    assert (await one.wait(key, lambda report: report.is_partial)).is_partial
    with pytest.raises(StateUnknown):
        await one.look(key)
    assert not whole.done()
    with pytest.raises(JobLost):
        await whole


async def test_failed_polls_do_not_use_up_the_grace(host: Host) -> None:
    one, key = poller(host), Key("gone")
    host.error = ConnectionFailed("cut")
    wait = asyncio.create_task(one.wait(key, is_over))
    await asyncio.sleep(FAST.grace * 1.5)
    assert not wait.done()
    host.error, host.states["gone"] = None, JobState.FINISHED
    assert (await wait).state is JobState.FINISHED


async def test_a_job_that_comes_back_starts_its_grace_anew(host: Host) -> None:
    one, key = poller(host), Key("late")
    with pytest.raises(StateUnknown):
        await one.look(key)
    host.states["late"] = JobState.RUNNING
    await asyncio.sleep(FAST.grace)
    assert (await one.look(key)).state is JobState.RUNNING
    del host.states["late"]
    await asyncio.sleep(FAST.shortest * 1.5)
    with pytest.raises(StateUnknown):
        await one.look(key)


async def test_a_second_look_within_the_interval_asks_nobody(host: Host) -> None:
    one, key = poller(host, Polling()), Key("a")
    for _ in range(50):
        await one.look(key)
    assert len(host.queries) == 1


async def test_a_hot_loop_of_looks_makes_one_query_a_second(host: Host) -> None:
    one, key = poller(host, Polling(share=0)), Key("a")
    loop = asyncio.get_running_loop()
    end = loop.time() + 2.5
    looks = 0
    while loop.time() < end:
        await one.look(key)
        looks += 1
    assert looks > 100
    assert all(later - sooner > 0.95 for sooner, later in zip(host.times, host.times[1:], strict=False))


async def test_one_who_looks_brings_its_companions_along(host: Host) -> None:
    companions = Key("b"), Key("c")
    one = poller(host, Polling(), companions)
    await one.look(Key("a"))
    for key in companions:
        await one.look(key)
    assert host.queries == [["a", "b", "c"]]


async def test_forgetting_makes_the_next_look_ask_anew(host: Host) -> None:
    one, key = poller(host), Key("a")
    await one.look(key)
    host.states["a"] = JobState.FAILED
    one.forget(key)
    assert (await one.look(key)).state is JobState.FAILED


async def test_a_slow_query_is_followed_by_a_pause_of_many_times_its_length(host: Host) -> None:
    host.pause = 0.05
    one = poller(host, Polling(shortest=0.01, longest=1.0, share=5))
    wait = asyncio.create_task(one.wait(Key("a"), is_over))
    await turned(host, 3)
    wait.cancel()
    assert all(later - sooner >= 0.29 for sooner, later in zip(host.times, host.times[1:], strict=False))


async def test_the_pause_after_a_slow_query_is_bounded(host: Host) -> None:
    host.pause = 0.05
    one = poller(host, Polling(shortest=0.01, longest=0.05, share=1000))
    wait = asyncio.create_task(one.wait(Key("a"), is_over))
    async with asyncio.timeout(10):
        await turned(host, 3)
    wait.cancel()


async def test_a_connection_that_fails_slowly_says_nothing_of_the_host_s_speed(host: Host) -> None:
    host.pause, host.error = 0.05, ConnectionFailed("cut")
    one = poller(host, Polling(shortest=0.01, longest=1000, share=1000))
    wait = asyncio.create_task(one.wait(Key("a"), is_over))
    async with asyncio.timeout(10):
        await turned(host, 3)
    wait.cancel()


async def test_who_waits_hears_soon_of_what_was_done_to_a_quiet_job(host: Host) -> None:
    one, key = poller(host, Polling(shortest=0.01, longest=1000, share=0)), Key("a")
    wait = asyncio.create_task(one.wait(key, is_over))
    await turned(host, 1)
    one._changed -= 1e6  # as if nothing had happened for days
    await turned(host, 1)
    await asyncio.sleep(0.1)
    host.states["a"] = JobState.FAILED
    one.forget(key)
    async with asyncio.timeout(5):
        assert (await wait).state is JobState.FAILED


async def test_a_defect_of_the_companions_reaches_those_who_look(host: Host) -> None:
    def companions() -> list[Key]:
        raise RuntimeError("changed under way")

    one = Poller[Key, Known](host.query, lambda: FAST, companions)
    async with asyncio.timeout(5):
        with pytest.raises(RuntimeError):
            await one.look(Key("a"))


@pytest.mark.parametrize(("quiet", "interval"), [(0, 1), (10, 1), (50, 5), (299, 29.9), (1e6, 30)])
def test_the_interval_grows_with_quiet(quiet: float, interval: float) -> None:
    assert Polling().interval(quiet) == pytest.approx(interval)


def test_only_what_may_pass_by_itself_is_passing() -> None:
    assert is_passing(ConnectionFailed("cut")) and is_passing(StateUnknown("busy"))
    assert not is_passing(AuthenticationFailed("no")) and not is_passing(JobLost("gone"))


async def test_nothing_is_left_running_once_the_last_waiter_was_told(host: Host) -> None:
    polled, key = poller(host), Key("a")
    host.states["a"] = JobState.FINISHED
    await polled.wait(key, is_over)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
