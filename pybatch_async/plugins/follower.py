# SPDX-License-Identifier: MIT
"""Follow a growing file of a host, from wherever the last look at it ended."""

from __future__ import annotations

import asyncio
import base64
import codecs
from collections.abc import AsyncIterator, Awaitable, Callable

from ..errors import PybatchException
from ..states import JobState
from .poller import is_passing
from .queue import HostQueue

_MOST = 1 << 20  # bytes fetched at a time
_DEADLINE = 600.0  # seconds for so many
_SHORTEST, _LONGEST = 0.5, 5.0  # seconds between two looks
# Base64 keeps the count of bytes exact, which text that was decoded in between does not.
_TAIL = 'if [ -r "$1" ]; then tail -c +"$2" < "$1" | head -c "$3" | base64; fi'


async def follow_file(
    queue: Callable[[], HostQueue], path: Callable[[], str], state: Callable[[], Awaitable[JobState]]
) -> AsyncIterator[str]:
    """Yield the text of a file of a POSIX host as it grows, until its writer has ended and all was seen.

    :param queue: tells the queue of the host, in the event loop that follows.
    :param path: tells the file's path, which is known for sure only once the job is submitted.
    :param state: coroutine function that tells the state of the writer.
    """

    async def read(offset: int, most: int) -> bytes:
        command = ["/bin/sh", "-c", _TAIL, "sh", path(), str(offset + 1), str(most)]
        return base64.b64decode(await queue().run(command, deadline=_DEADLINE))

    async for text in follow_reads(read, state, lambda error: queue().may_pass(error)):
        yield text


async def follow_reads(
    read: Callable[[int, int], Awaitable[bytes]],
    state: Callable[[], Awaitable[JobState]],
    may_pass: Callable[[Exception], bool] = is_passing,
) -> AsyncIterator[str]:
    """Yield the text of a file as it grows, until its writer has ended and all was seen.

    A lost connection is waited out; the next look starts where the last one ended.

    :param read: coroutine function that returns the bytes from a position on, at most so many.
    :param state: coroutine function that tells the state of the writer.
    :param may_pass: tells whether a failure is waited out.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    offset, pause, is_over = 0, _SHORTEST, False
    while True:
        chunk = await _fetch(read, offset, may_pass)
        offset += len(chunk or b"")
        if chunk and (text := decoder.decode(chunk)):
            yield text
        if chunk:
            pause = _SHORTEST
        elif is_over and chunk is not None:
            break
        else:
            is_over = is_over or await _is_over(state, may_pass)
            if not is_over:
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, _LONGEST)
    if rest := decoder.decode(b"", final=True):
        yield rest


async def _fetch(
    read: Callable[[int, int], Awaitable[bytes]], offset: int, may_pass: Callable[[Exception], bool]
) -> bytes | None:
    """Return the next bytes of the file, b"" if there are none yet, None if the host can not be asked now."""
    try:
        return await read(offset, _MOST)
    except PybatchException as error:
        if not may_pass(error):
            raise
        await asyncio.sleep(_LONGEST)
        return None


async def _is_over(state: Callable[[], Awaitable[JobState]], may_pass: Callable[[Exception], bool]) -> bool:
    try:
        now = await state()
    except PybatchException as error:
        if not may_pass(error):
            raise
        return False
    return now.is_final or now is JobState.CREATED
