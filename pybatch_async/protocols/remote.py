# SPDX-License-Identifier: MIT
"""What every protocol does with files and commands, written once over one operation: run a command on the host."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import CommandFailed
from ..interfaces import Input
from ..quoting import check_argv
from . import scripts
from .framing import Frame, new_mark
from .transfer_errors import raise_for

Sink = Callable[[bytes], Awaitable[None]]
Source = bytes | AsyncIterable[bytes] | Callable[[], AsyncIterable[bytes]] | None  # a callable can be opened again


@dataclass(frozen=True, slots=True)
class Completed:
    """Hold how a command ended.

    :param returncode: exit code, negative for a signal; None only where the channel was lost.
    :param stdout: its standard output; empty where a sink took it.
    :param stderr: its standard error, at least the last part.
    """

    returncode: int | None
    stdout: bytes
    stderr: bytes


class RemoteProtocol(ABC):
    """Run commands on a host and copy files to and from it, over `_execute`."""

    command_timeout = 3600.0  # seconds; protocols with ConnectionParameters take theirs

    @property
    @abstractmethod
    def host(self) -> str:
        """The host's name, as error messages give it."""

    @abstractmethod
    async def _execute(
        self, argv: Sequence[str], *, input: Source, output: Sink | None, timeout: float, repeatable: bool
    ) -> Completed:
        """Run one command and return how it ended, whatever its exit code.

        Foreign errors are translated inside. What the sink or the source raises ends the command and comes out
        unchanged. Cancellation ends the remote command and frees everything. What a login shell's rc file prints is
        kept out of the output (see `framing` and `quoting.framed_line`).

        :param repeatable: it may be run again by itself after a lost connection; a command that surely never
            started always may, unless its input was begun and can not be opened again.
        :raises CommandTimedOut: it did not end in time.
        :raises ConnectionFailed: the host was not reached, or the connection was lost.
        """

    async def run(self, command: Sequence[str], *, input: Input = None, timeout: float | None = None) -> str:
        """Run a command on the host.

        :param command: the program and its arguments; no shell interprets them.
        :param input: what it reads on standard input: text, bytes, or an async iterable of bytes; None for nothing.
        :param timeout: seconds it may take; None for the command_timeout of the connection parameters.
        :returns: its standard output; bytes that are no UTF-8 are replaced.
        :raises ConfigurationError: the command is empty, or holds something no system can run.
        :raises CommandFailed: it ended with a non-zero code.
        :raises CommandTimedOut: it did not end in time.
        :raises ConnectionFailed: the host was not reached, or the connection was lost.
        """
        check_argv(command)
        argv = list(command)
        data = input.encode(errors="surrogateescape") if isinstance(input, str) else input
        seconds = self.command_timeout if timeout is None else timeout
        done = await self._execute(argv, input=data, output=None, timeout=seconds, repeatable=False)
        stdout, stderr = _text(done.stdout), _text(done.stderr)
        if done.returncode != 0:
            raise CommandFailed(argv, self.host, done.returncode, stdout, stderr)
        return stdout

    async def read(self, remote_path: str) -> str:
        """Return the text of a file of the host; bytes that are no UTF-8 are replaced.

        :raises PathMissing: there is no such file.
        :raises TransferFailed: it could not be read.
        """
        mark = new_mark()
        done = await self._script(scripts.READ, mark, [remote_path], None, None)
        self._check("read", [remote_path], mark, done)
        return _text(Frame(mark).strip(done.stdout))

    async def create(self, remote_path: str, content: str) -> None:
        """Write a text file on the host in UTF-8, whole or not at all; a file of that name is replaced.

        :raises PathMissing: the directory does not exist.
        :raises TransferFailed: it could not be written.
        """
        mark, data = new_mark(), content.encode(errors="surrogateescape")
        done = await self._script(scripts.CREATE, mark, [remote_path, str(len(data))], data, None)
        self._check("create", [remote_path], mark, done)

    async def upload(self, local_entries: Iterable[str | Path], remote_path: str) -> None:
        """Copy local files and directories to the host, as `cp -r` does."""
        raise NotImplementedError

    async def download(self, remote_entries: Iterable[str], local_path: str | Path) -> None:
        """Copy files and directories of the host to this machine, as `cp -r` does."""
        raise NotImplementedError

    async def aclose(self) -> None:  # noqa: B027 - what holds nothing open has nothing to close
        """Close what is open; the next use opens it again."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _script(
        self, script: str, mark: str, arguments: Sequence[str], input: Source, output: Sink | None
    ) -> Completed:
        argv = ["/bin/sh", "-c", script, "sh", mark, *arguments]
        check_argv(argv)
        return await self._execute(argv, input=input, output=output, timeout=self.command_timeout, repeatable=True)

    def _check(self, operation: str, paths: Sequence[str], mark: str, done: Completed) -> None:
        raise_for(operation, self.host, paths, mark, done.returncode, _text(done.stderr))


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
