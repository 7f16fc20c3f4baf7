# SPDX-License-Identifier: MIT
"""Cancel a coroutine wherever it waits, and look for what it leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

from pybatch_async import AsyncsshProtocol
from tests.services.sshd import Sshd
from tests.waiting import until


async def cancelled_at(work: Coroutine[Any, Any, object], number: int) -> bool:
    """Run a coroutine in a task that is cancelled while it waits for the so-manieth time; tell whether it came so far.

    :param number: 1 for the first time.
    """
    steps = _Steps(work, number)
    task = asyncio.create_task(steps.run())
    await asyncio.wait([task])
    if task.cancelled():
        return True
    task.result()
    assert not steps.is_cancelled, "it swallowed its cancellation"
    return False


class _Steps:
    """Count the times a coroutine waits."""

    def __init__(self, work: Coroutine[Any, Any, object], number: int) -> None:
        self._work, self._left = work, number
        self.is_cancelled = False

    async def run(self) -> None:
        await self

    def __await__(self) -> Generator[Any, None, None]:
        steps, thrown = self._work.__await__(), None
        while True:
            try:
                waited = steps.send(None) if thrown is None else steps.throw(thrown)
            except StopIteration:
                return
            self._count()
            thrown = None
            try:
                yield waited
            except BaseException as error:  # whatever it is, it is the coroutine's
                thrown = error

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.is_cancelled = True
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_soon(task.cancel)  # it waits by then


class Traces:
    """Tell when nothing of an operation is left: no task, no session, no process on the host.

    :param kept: the tasks that were there before.
    """

    def __init__(self, server: Sshd, protocol: AsyncsshProtocol) -> None:
        self._server, self._protocol = server, protocol
        self._kept = asyncio.all_tasks()

    async def fade(self) -> None:
        """Wait until nothing is left, and fail if that takes long."""
        own, loop = asyncio.current_task(), asyncio.get_running_loop()

        await until(lambda: not asyncio.all_tasks(loop) - self._kept - {own}, "the tasks to end", 20.0)
        await until(self._is_idle, "the sessions to be given back", 20.0)
        await until(lambda: not self._server.sessions(), "the commands on the host to end", 20.0)

    def _is_idle(self) -> bool:
        return any(words in repr(self._protocol) for words in (" 0 sessions, 0 waiting", "not connected"))
