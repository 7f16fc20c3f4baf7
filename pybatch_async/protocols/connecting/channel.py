# SPDX-License-Identifier: MIT
"""One command on one ssh channel: data both ways with back-pressure, its end, and ending it early."""

from __future__ import annotations

import asyncio
import contextlib

import asyncssh

from ..framing import Frame
from ..streams import Completed, Sink, Source, opened

_HELD = 1 << 20  # bytes of output that wait for a slow sink before the host is asked to pause
_PIECE = 1 << 16  # bytes of input given to the channel at a time
_STDERR = 1 << 16  # bytes of standard error kept, the last ones
_TERM_SECONDS = 3.0  # what a command has to end by itself after TERM
_CLOSE_SECONDS = 5.0


class ChannelLost(Exception):
    """Say that a channel ended before its command's end was known."""


class NotRun(Exception):
    """Say that something else than the command ran, and what it printed."""


class Channel(asyncssh.SSHClientSession[bytes]):
    """Follow one command. asyncssh calls the methods that do not begin with a verb of ours."""

    def __init__(self, frame: Frame, has_sink: bool) -> None:
        self._frame = frame
        self._has_sink = has_sink
        self._chan: asyncssh.SSHClientChannel[bytes]
        self._stdout: list[bytes] = []
        self._held = 0
        self._preamble = b""
        self._stderr = bytearray()
        self._ended = asyncio.Event()
        self._news: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._is_full = False
        self._is_paused = False
        self._has_eof = False
        self._is_discarding = False
        self._error: BaseException | None = None
        self.was_delivered = False  # the sink was given something

    # What asyncssh calls

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._chan = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if datatype is not None:
            self._stderr += data
            if len(self._stderr) > 2 * _STDERR:
                del self._stderr[:-_STDERR]
            return
        if self._is_discarding:
            return
        data = self._framed(data)
        if not data:
            return
        self._stdout.append(data)
        if self._has_sink:
            self._held += len(data)
            if self._held > _HELD:
                self._is_paused = True
                self._chan.pause_reading()
            _wake(self._news)

    def eof_received(self) -> bool:
        self._has_eof = True
        _wake(self._news)
        return True

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        _wake(self._room)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and self._error is None:
            self._error = exc
        self._ended.set()
        _wake(self._news)
        _wake(self._room)

    # What the owner calls

    async def converse(self, source: Source, sink: Sink | None) -> Completed:
        """Feed the command, take its output and return how it ended.

        :raises ChannelLost: its end is not known.
        :raises NotRun: something else ran in its place, and ended well.
        """
        if source is None or isinstance(source, bytes) and len(source) <= _PIECE:
            self._write_all(source or b"")
            await self._take(sink)
        else:
            await self._both_ways(source, sink)
        return self._completed()

    async def end(self) -> None:
        """End the command and the channel: TERM, KILL if it does not help, then close; take bounded time."""
        self._is_discarding = True
        self._chan.resume_reading()
        for signal in ("TERM", "KILL"):
            if not self._ended.is_set():
                self._chan.send_signal(signal)
                await self._wait_ended(_TERM_SECONDS)
        if not self._ended.is_set():
            self._chan.abort()
            await self._wait_ended(_CLOSE_SECONDS)

    @property
    def stderr(self) -> bytes:
        """The last part of what the command wrote on its standard error."""
        return bytes(self._stderr[-_STDERR:])

    async def _wait_ended(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()

    def _completed(self) -> Completed:
        returncode = self._chan.get_returncode()
        if returncode is None or (self._error is not None and not self._has_eof):
            raise ChannelLost(str(self._error or "the channel was closed without an exit code")) from self._error
        if self._frame.has_begun:
            return Completed(returncode, b"".join(self._stdout), self.stderr)
        if returncode == 0:
            raise NotRun(self._preamble.decode(errors="replace").strip()[:500])
        return Completed(returncode, b"", self._preamble + self.stderr)  # what the login shell said of it

    # Output

    def _framed(self, data: bytes) -> bytes:
        if not self._frame.has_begun:
            self._preamble = (self._preamble + data)[:_STDERR]
        return self._frame.strip(data)

    async def _take(self, sink: Sink | None) -> None:
        if sink is not None:
            await self._pass_on(sink)
        await self._ended.wait()

    async def _pass_on(self, sink: Sink) -> None:
        while True:
            if self._stdout:
                chunk = b"".join(self._stdout)
                self._stdout.clear()
                self._held = 0
                self.was_delivered = True
                await sink(chunk)
                if self._is_paused and self._held <= _HELD:
                    self._is_paused = False
                    self._chan.resume_reading()
            elif self._has_eof or self._ended.is_set():
                return
            else:
                self._news = asyncio.get_running_loop().create_future()
                await self._news

    # Input

    def _write_all(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # the command is over: its exit code tells what that means
            if data:
                self._chan.write(data)
            self._chan.write_eof()

    async def _both_ways(self, source: Source, sink: Sink | None) -> None:
        feeder = asyncio.create_task(self._feed(source))
        taker = asyncio.create_task(self._take(sink))
        try:
            await asyncio.wait((feeder, taker), return_when=asyncio.FIRST_COMPLETED)
            if not taker.done():
                feeder.result()  # what the source raised ends the command
            await taker
        finally:
            await _stop(feeder, taker)

    async def _feed(self, source: Source) -> None:
        async with opened(source) as chunks:
            async for chunk in chunks:
                for start in range(0, len(chunk), _PIECE):
                    if not await self._is_written(chunk[start : start + _PIECE]):
                        return
        if not self._chan.is_closing():
            self._chan.write_eof()

    async def _is_written(self, piece: bytes) -> bool:
        if self._is_full:
            await self._wait_room()
        if self._ended.is_set() or self._chan.is_closing():
            return False
        self._chan.write(piece)
        return True

    async def _wait_room(self) -> None:
        while self._is_full and not self._ended.is_set():
            self._room = asyncio.get_running_loop().create_future()
            await self._room


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


async def _stop(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
