# SPDX-License-Identifier: MIT
"""One local subprocess: fed, read and reaped; a deadline is an asyncio.timeout around it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import Process, SubprocessStreamProtocol
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from subprocess import DEVNULL, PIPE

from .streams import CHUNK, Completed, Sink, Source, Tail, opened
from .waiting import to_the_end

_GRACE = 5.0  # seconds between TERM and KILL


class CannotStart(Exception):
    """Say that a program was not started; its cause is the OSError that tells why."""


async def run_process(
    argv: Sequence[str],
    *,
    input: Source,
    output: Sink | None,
    env: Mapping[str, str] | None = None,
) -> Completed:
    """Run a program in a process group of its own and return how it ended.

    What the sink or the source raises ends the program and comes out unchanged; so does a cancellation. Ended means
    TERM to its process group, KILL after a grace, and reaped in every case. A program that does not read its input is
    no error.

    :param env: its environment; None for this process's.
    :raises CannotStart: it can not be started.
    """
    stdout, stderr = Tail(None), Tail()
    async with _started(argv, input is not None, env) as (process, exited):
        assert process.stdout and process.stderr
        drains = [_drain(process.stdout, output or stdout.take), _drain(process.stderr, stderr.take)]
        failure: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                feeding = group.create_task(_feed(process.stdin, input))
                draining = [group.create_task(drain) for drain in drains]
                await asyncio.wait(draining)
                await exited.wait()
                feeding.cancel()
        except BaseExceptionGroup as failures:
            failure = failures.exceptions[0]
        if failure:
            raise failure
        return Completed(process.returncode, stdout.value, stderr.value)


class _Protocol(SubprocessStreamProtocol):
    """Tell when the program has ended; Process.wait() may wait for the pipes too, which a grandchild can hold."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=CHUNK, loop=loop)
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        super().process_exited()
        self.exited.set()


@asynccontextmanager
async def _started(
    argv: Sequence[str], with_input: bool, env: Mapping[str, str] | None
) -> AsyncIterator[tuple[Process, asyncio.Event]]:
    loop = asyncio.get_running_loop()
    stdin = PIPE if with_input else DEVNULL
    starting = asyncio.create_task(
        loop.subprocess_exec(
            lambda: _Protocol(loop), *argv, stdin=stdin, stdout=PIPE, stderr=PIPE, env=env, start_new_session=True
        )
    )
    try:
        await to_the_end(asyncio.wait([starting]))  # asyncio loses pipes when it is cancelled while it starts a program
    except asyncio.CancelledError:
        if starting.exception() is None:
            transport, protocol = starting.result()
            await to_the_end(_end(Process(transport, protocol, loop), protocol.exited, transport))
        raise
    try:
        transport, protocol = starting.result()
    except OSError as error:
        raise CannotStart(error.strerror) from error
    process = Process(transport, protocol, loop)
    try:
        yield process, protocol.exited
    finally:
        await to_the_end(_end(process, protocol.exited, transport))


async def _end(process: Process, exited: asyncio.Event, transport: asyncio.SubprocessTransport) -> None:
    if process.stdin and not process.stdin.is_closing():
        process.stdin.transport.abort()  # a shell that waits for what reads this sees to its traps only then
    if not exited.is_set():
        signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(exited.wait(), _GRACE)
    if not exited.is_set():
        signal_group(process.pid, signal.SIGKILL)
        await exited.wait()
    transport.close()
    await asyncio.sleep(0)  # the pipes are closed in the loop's next round


def signal_group(pid: int, number: int) -> None:
    """Send a signal to a process group, if it is still there.

    :param pid: the process that leads it.
    """
    # ProcessLookupError: it has just ended; PermissionError: it runs as somebody else (sudo), and is waited for.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


async def _feed(stdin: asyncio.StreamWriter | None, source: Source) -> None:
    if stdin is None:
        return
    try:
        async with opened(source) as pieces:
            async for piece in pieces:
                if not await _is_written(stdin, piece):
                    return
    finally:
        stdin.close()


async def _is_written(stdin: asyncio.StreamWriter, piece: bytes) -> bool:
    try:
        stdin.write(piece)
        await stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        return False  # the program reads no more; its exit code tells whether that matters
    return True


async def _drain(stream: asyncio.StreamReader, sink: Sink) -> None:
    while piece := await stream.read(CHUNK):
        await sink(piece)
