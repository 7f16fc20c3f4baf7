# SPDX-License-Identifier: MIT
"""Wait for what shows from outside only."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

Condition = Callable[[], object] | Callable[[], Awaitable[object]]


async def until(condition: Condition, what: str = "what was waited for", seconds: float = 30.0) -> None:
    """Ask again until a condition holds.

    :param condition: what is asked, a plain function or a coroutine function; anything true will do.
    :param what: the words for it, for the error.
    """
    try:
        async with asyncio.timeout(seconds):
            while not await _told(condition):
                await asyncio.sleep(0.01)
    except TimeoutError as error:
        raise AssertionError(f"{what} did not come within {seconds:g} s") from error


async def _told(condition: Condition) -> object:
    answer = await asyncio.to_thread(condition)  # it may run a program, and the loops of the tests are watched
    return await answer if inspect.isawaitable(answer) else answer
