# SPDX-License-Identifier: MIT
"""One piece of work for all who ask for it at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from ..waiting import to_the_end

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Run work once for all its present waiters; its result, or its failure, is theirs alike.

    A waiter that is cancelled leaves the others undisturbed; the last one that leaves ends the work and waits for that.

    :param work: starts the work anew.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._work = work
        self._task: asyncio.Task[T] | None = None
        self._waiters = 0

    async def join(self) -> T:
        """Wait for the work that is under way, or start it."""
        if self._task is None:
            self._task, self._waiters = asyncio.create_task(self._work()), 0
        task = self._task
        self._waiters += 1
        try:
            return await asyncio.shield(task)
        finally:
            self._waiters -= 1
            if self._task is task and (task.done() or not self._waiters):
                self._task = None
                if not task.done():
                    task.cancel()
                    await to_the_end(_settled(task))


async def _settled(task: asyncio.Task[Any]) -> None:
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # seen: nobody waits for it any more
