# SPDX-License-Identifier: MIT
"""What goes into a command and what comes out of it."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

CHUNK = 256 * 1024

Sink = Callable[[bytes], Awaitable[None]]
Source = bytes | AsyncIterable[bytes] | Callable[[], AsyncIterable[bytes]] | None  # a callable can be opened again


@dataclass(frozen=True, slots=True)
class Completed:
    """Hold how a command ended.

    :param returncode: exit code, negative for a signal (through the ssh program, 128 and its number); None only where
        the channel was lost.
    :param stdout: its standard output; empty where a sink took it.
    :param stderr: its standard error, at least the last part.
    """

    returncode: int | None
    stdout: bytes
    stderr: bytes


def is_reopenable(source: Source) -> bool:
    """Tell whether a second try can read the same input from its beginning."""
    return source is None or isinstance(source, bytes) or callable(source)


@asynccontextmanager
async def opened(source: Source) -> AsyncIterator[AsyncIterable[bytes]]:
    """Open a source from its beginning; on the way out a generator is closed, and so are the files it reads."""
    if source is None or isinstance(source, bytes):
        yield _sliced(source or b"")
        return
    pieces = source() if callable(source) else source
    try:
        yield pieces
    finally:
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()


async def _sliced(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), CHUNK):
        yield data[start : start + CHUNK]


class Tail:
    """Keep the last part of a stream.

    :param limit: bytes to keep; None for all.
    """

    def __init__(self, limit: int | None = 1024 * 1024) -> None:
        self._limit = limit
        self._held = bytearray()

    async def take(self, chunk: bytes) -> None:
        """Take the next piece."""
        self._held += chunk
        if self._limit is not None and len(self._held) > 2 * self._limit:
            del self._held[: -self._limit]

    @property
    def value(self) -> bytes:
        """What is kept."""
        return bytes(self._held if self._limit is None else self._held[-self._limit :])
