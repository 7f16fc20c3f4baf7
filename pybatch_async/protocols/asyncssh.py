# SPDX-License-Identifier: MIT
"""AsyncsshProtocol: commands over a pool of asyncssh connections."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import asyncssh

from ..errors import CommandTimedOut, ConnectionFailed
from ..parameters import ConnectionParameters
from ..quoting import framed_line
from ..validation import check_connection
from .connecting.channel import Channel, ChannelLost, NotRun
from .connecting.connections import Connections
from .connecting.login import Link, Login
from .decisions import Limits
from .framing import Frame, new_mark
from .remote import Completed, RemoteProtocol, Sink, Source
from .streams import is_reopenable

_TRIES = 4  # of a repeatable command whose connection is lost again and again
_CLEANUP_SECONDS = 4.0  # that a cancelled caller waits for its command to end; the clean-up itself goes on
_OPEN_SECONDS = 60.0  # after which a connection that opens no channel is taken for dead

if logging.getLogger("asyncssh").level == logging.NOTSET:
    logging.getLogger("asyncssh").setLevel(logging.WARNING)  # it tells every channel at INFO; set a level to hear it


class _NotStarted(Exception):
    """Say that a command surely never ran."""

    def __init__(self, is_refused: bool) -> None:
        super().__init__()
        self.is_refused = is_refused


class _Refused(Exception):
    """Say that a host refuses to run commands, and why."""


class AsyncsshProtocol(RemoteProtocol):
    """Reach a host through ssh, within the limits that sshd and its site set.

    It connects at its first use, by itself again after a loss, and in every event loop it is used in.

    :param params: how to reach the host and log in there.
    """

    def __init__(self, params: ConnectionParameters) -> None:
        check_connection(params)
        self._params = params
        self._login = Login(params)
        self._pools: dict[int, Connections] = {}  # by the id of the loop

    @property
    def host(self) -> str:
        """The host's name, as the parameters give it."""
        return self._params.host

    @property
    def command_timeout(self) -> float:  # type: ignore[override]
        """Seconds a command or a copy may take when its caller does not say."""
        return self._params.command_timeout

    def __repr__(self) -> str:
        alive = [each for each in self._pools.values() if not each.loop.is_closed()]
        pools = "; ".join(map(repr, alive)) or "not connected"
        return f"<AsyncsshProtocol {self.host}: {pools}>"

    def __getstate__(self) -> dict[str, Any]:
        return {"params": self._params}

    def __setstate__(self, state: dict[str, Any]) -> None:
        AsyncsshProtocol.__init__(self, state["params"])

    async def aclose(self) -> None:
        """End what runs in the running loop, and close its connections; the next use opens new ones."""
        await super().aclose()
        connections = self._pools.pop(id(asyncio.get_running_loop()), None)
        if connections is not None:
            await connections.aclose()

    def _connections(self) -> Connections:
        loop = asyncio.get_running_loop()
        found = self._pools.get(id(loop))
        if found is None or found.is_closed or found.loop is not loop:
            for key in [key for key, each in self._pools.items() if each.loop.is_closed()]:
                del self._pools[key]
            found = self._pools[id(loop)] = Connections(self._login, self._limits())
        return found

    def _limits(self) -> Limits:
        params = self._params
        # Further logins would ask the user again: with a prompt, one connection is all.
        most = 1 if params.prompt is not None else params.max_connections
        return Limits(most, params.max_sessions, patience=params.connect_timeout)

    async def _execute(
        self, argv: Sequence[str], *, input: Source, output: Sink | None, timeout: float, repeatable: bool
    ) -> Completed:
        mark = new_mark()
        line = framed_line(argv, mark).encode(errors="surrogateescape")
        operation = _Operation(self._connections(), line, mark, input, output, repeatable)
        try:
            async with asyncio.timeout(timeout) as deadline:
                return await operation.run()
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise CommandTimedOut(argv, self.host, timeout, "", operation.stderr) from error
        except _Refused as error:
            raise ConnectionFailed(f"{self.host} starts no command: {error}. Ask its administrators.") from error
        except NotRun as error:
            raise ConnectionFailed(
                f"{self.host} did not run {argv[0]!r} but something else, which printed {str(error)!r}: the account or "
                f"the key may be bound to another command there (ForceCommand)."
            ) from error
        except ChannelLost as error:
            raise ConnectionFailed(
                f"The connection to {self.host} was lost while {argv[0]!r} ran there ({error}): whether it did its "
                f"work is not known. Look there before you run it again."
            ) from error


class _Operation:
    """Run one command, on another connection if the first is lost and that does no harm."""

    def __init__(
        self, connections: Connections, line: bytes, mark: str, source: Source, sink: Sink | None, is_repeatable: bool
    ) -> None:
        self._connections = connections
        self._line = line
        self._mark = mark
        self._source = source
        self._sink = sink
        self._is_repeatable = is_repeatable
        self._channel: Channel | None = None

    @property
    def stderr(self) -> str:
        return self._channel.stderr.decode(errors="replace") if self._channel else ""

    async def run(self) -> Completed:
        ticket, link = await self._connections.lease()
        losses = 0
        while True:
            try:
                return await self._attempt(ticket, link)
            except _NotStarted as reason:
                wait = self._connections.refused if reason.is_refused else self._connections.again
                link = await wait(ticket)
            except ChannelLost:
                losses += 1
                if not self._can_repeat() or losses == _TRIES:
                    self._connections.release(ticket)
                    raise
                link = await self._connections.again(ticket)

    def _can_repeat(self) -> bool:
        was_delivered = self._channel is not None and self._channel.was_delivered
        return self._is_repeatable and is_reopenable(self._source) and not was_delivered

    async def _attempt(self, ticket: int, link: Link) -> Completed:
        channel = self._channel = Channel(Frame(self._mark), self._sink is not None)
        opening = self._connections.start(_open(link, channel, self._line))
        try:
            await asyncio.shield(opening)
            done = await channel.converse(self._source, self._sink)
        except (_NotStarted, ChannelLost):
            raise
        except BaseException:  # re-raised: a cancellation, or what the sink or the source raised
            await self._give_up(ticket, link, channel, opening)
            raise
        self._connections.release(ticket)
        return done

    async def _give_up(self, ticket: int, link: Link, channel: Channel, opening: asyncio.Task[Any]) -> None:
        cleanup = self._connections.start(_end(self._connections, ticket, link, channel, opening))
        await asyncio.wait((cleanup,), timeout=_CLEANUP_SECONDS)


async def _open(link: Link, channel: Channel, line: bytes) -> None:
    command: Any = line  # asyncssh sends bytes as they are; its annotation knows text only
    try:
        await link.connection.create_session(
            lambda: channel, command, encoding=None, request_pty=False, x11_forwarding=False
        )
    except asyncssh.ChannelOpenError as error:
        if link.is_closed:
            if error.code == asyncssh.OPEN_CONNECT_FAILED:
                raise _NotStarted(is_refused=False) from error
            raise ChannelLost(error.reason) from error
        if error.code in (asyncssh.OPEN_CONNECT_FAILED, asyncssh.OPEN_RESOURCE_SHORTAGE):
            raise _NotStarted(is_refused=True) from error
        raise _Refused(error.reason) from error
    except (OSError, asyncssh.Error) as error:
        raise ChannelLost(str(error)) from error


async def _end(connections: Connections, ticket: int, link: Link, channel: Channel, opening: asyncio.Task[Any]) -> None:
    """End a command that nobody waits for any more; its session is given back when it is closed on the host."""
    try:
        async with asyncio.timeout(_OPEN_SECONDS):
            await opening
        await channel.end()
    except TimeoutError:
        link.abort()
    except (_NotStarted, _Refused, ChannelLost):
        return  # nothing runs
    finally:
        connections.release(ticket)
