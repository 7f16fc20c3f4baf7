# SPDX-License-Identifier: MIT
"""Who may submit now: everybody, until the scheduler says that it takes no more; then one for each that ends."""

from __future__ import annotations

import asyncio
import random
from collections import deque


class Gate:
    """Hold submissions back while the scheduler takes no more of them.

    There are places for submissions that may begin. One that is accepted gives its place to the next; one that is
    refused for want of room keeps it, until a job ends or some time has passed. So a full scheduler is asked once for
    each job that ends, and once a pause, however many wait.

    :param places: most submissions under way at the same time.
    :param pause: seconds, on average, after which a place is given anew although no job has ended.
    """

    def __init__(self, places: int = 1000, pause: float = 5.0) -> None:
        self._most = self._free = places
        self._pause = pause
        self._line: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Wait for a place, first come first served."""
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.admit()
            raise

    def admit(self) -> None:
        """Give a place to the first in the line."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free = min(self._free + 1, self._most)

    async def admit_now_and_then(self) -> None:
        """Give a place now and then, jittered, until cancelled: room can come from jobs that are not ours."""
        while True:
            await asyncio.sleep(self._pause * random.uniform(0.5, 1.5))
            self.admit()
