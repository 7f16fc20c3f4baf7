# SPDX-License-Identifier: MIT
"""Who may submit while the scheduler has no room."""

from __future__ import annotations

import asyncio

from pybatch_async.sweep.gate import Gate


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_there_are_so_many_places_and_no_more() -> None:
    gate = Gate(places=2)
    tasks = [asyncio.create_task(gate.enter()) for _ in range(5)]
    await settle()
    assert [task.done() for task in tasks] == [True, True, False, False, False]
    gate.admit()
    await settle()
    assert [task.done() for task in tasks] == [True, True, True, False, False]
    for _ in range(2):
        gate.admit()
    await asyncio.gather(*tasks)


async def test_places_do_not_pile_up() -> None:
    gate = Gate(places=1)
    for _ in range(10):
        gate.admit()
    await gate.enter()
    waiting = asyncio.create_task(gate.enter())
    await settle()
    assert not waiting.done()
    gate.admit()
    await waiting


async def test_cancelled_waiter_hands_its_place_on() -> None:
    gate = Gate(places=1)
    await gate.enter()
    first, second, third = (asyncio.create_task(gate.enter()) for _ in range(3))
    await settle()
    first.cancel()
    gate.admit()
    second.cancel()  # it has its place already, and has not seen it
    await asyncio.gather(first, second, third, return_exceptions=True)
    assert first.cancelled() and second.cancelled() and third.done()


async def test_a_place_comes_with_time_although_no_job_ends() -> None:
    gate = Gate(places=1, pause=0.01)
    await gate.enter()
    pace = asyncio.create_task(gate.admit_now_and_then())
    async with asyncio.timeout(10):
        await gate.enter()
        await gate.enter()
    pace.cancel()
    await asyncio.gather(pace, return_exceptions=True)
