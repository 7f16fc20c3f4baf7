# SPDX-License-Identifier: MIT
"""Ways to wait: to the end whatever is cancelled, between two tries, and for a person while a deadline rests."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar, TypeVarTuple

import anyio
from anyio import to_thread

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Await bounded work to its end; a cancellation that comes meanwhile is raised after it."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # seen; the cancellation comes first
    raise cancelled


async def in_thread(function: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """Call a function that blocks in a thread; once called, it has returned when this returns or raises.

    anyio leaves the thread running when a task is cancelled by asyncio's own means, and it would go on working on
    what the clean-up removes.
    """
    return await to_the_end(to_thread.run_sync(function, *arguments))


async def acquired(make: Callable[[*Ts], T], undo: Callable[[T], None], *arguments: *Ts) -> T:
    """Make something in a thread; if this task is cancelled meanwhile, what was made is undone."""
    made: list[T] = []
    try:
        await in_thread(lambda: made.append(make(*arguments)))
    except asyncio.CancelledError:
        for thing in made:
            await in_thread(undo, thing)
        raise
    return made[0]


def pauses(first: float, longest: float) -> Iterator[float]:
    """Iterate, without an end, over the seconds to wait between tries: ever longer, and never in step with others.

    :param first: the first pause, on average.
    :param longest: what the pauses grow to, on average.
    """
    pause = first
    while True:
        yield pause * random.uniform(0.5, 1.5)
        pause = min(2 * pause, longest)


@contextlib.contextmanager
def resting(deadline: asyncio.Timeout) -> Iterator[None]:
    """Hold a deadline still while in it: the time that a person takes to answer is not the host's."""
    loop, when = asyncio.get_running_loop(), deadline.when()
    if when is None:
        yield
        return
    left = when - loop.time()
    deadline.reschedule(None)
    try:
        yield
    finally:
        with contextlib.suppress(RuntimeError):  # what it was for is over
            deadline.reschedule(loop.time() + left)
