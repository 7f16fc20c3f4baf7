# SPDX-License-Identifier: MIT
"""How many sessions of one connection are in use, and who is next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_PROBE_AFTER = 120.0  # seconds until one more session than the host allowed last is tried


class Gate:
    """Let so many through at the same time, first come first served; belongs to one event loop.

    :param most: how many, at most; the host may turn out to allow fewer.
    """

    def __init__(self, most: int) -> None:
        self._most = self.cap = most
        self.active = 0
        self._lowered = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._waiting)

    @asynccontextmanager
    async def passage(self) -> AsyncIterator[Gate]:
        """Wait for a turn, and hold it while in it."""
        if self.active < self.cap and not self._waiting:
            self.active += 1
        else:
            await self._turn()
        try:
            yield self
        finally:
            self.active -= 1
            self._admit()

    def lower(self) -> None:
        """Note that the host refused a session while this many, the refused one included, were active."""
        self.cap = max(1, min(self.cap, self.active - 1))
        self._lowered = asyncio.get_running_loop().time()

    async def _turn(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn  # whoever admits counts it as active
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.active -= 1
                self._admit()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def _admit(self) -> None:
        now = asyncio.get_running_loop().time()
        if self.cap < self._most and now - self._lowered > _PROBE_AFTER:
            self.cap, self._lowered = self.cap + 1, now
        while self._waiting and self.active < self.cap:
            turn = self._waiting.popleft()
            if not turn.done():  # a waiter that was cancelled and has not run since
                self.active += 1
                turn.set_result(None)
