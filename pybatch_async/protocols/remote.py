# SPDX-License-Identifier: MIT
"""What every protocol does with files and commands, written once over one operation: run a command on the host."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import AuthenticationFailed, CommandFailed, ConfigurationError, ConnectionFailed, HostKeyUnknown
from ..interfaces import Input
from ..kinds import is_duration
from ..quoting import PlainCommand, check_argv, check_encodable
from .archive import tar_stream
from .files import scripts
from .files.copying import Receiver, batches, check_entries, check_path, expected_names, packed_entries
from .files.placing import Target, find_target
from .files.transfer_errors import is_harmless, raise_for
from .framing import Frame, new_mark
from .running import Closed, end_all, ended_with
from .streams import Completed as Completed
from .streams import Sink as Sink
from .streams import Source as Source
from .streams import opened
from .waiting import in_thread

_ATTEMPTS = 3  # at a download whose connection is lost under way


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
        unchanged; a source is closed (`contextlib.aclosing`) when it is left. Cancellation ends the remote command and
        frees everything. What a login shell's rc file prints is kept out of the output (see `framing` and
        `quoting.framed_line`).

        :param repeatable: it may be run again by itself after a lost connection (never with a sink); a command that
            surely never started always may, unless its input was begun and can not be opened again.
        :raises CommandTimedOut: it did not end in time.
        :raises ConnectionFailed: the host was not reached, or the connection was lost.
        """

    async def run(self, command: Sequence[str], *, input: Input = None, timeout: float | None = None) -> str:
        """Run a command on the host.

        :param command: the program and its arguments; no shell interprets them.
        :param input: what it reads on standard input: text, bytes, or an async iterable of bytes; None for nothing.
        :param timeout: seconds it may take; None for the command_timeout of the connection parameters.
        :returns: its standard output; bytes that are no UTF-8 are replaced.
        :raises ConfigurationError: the command is empty, or holds something no system can run, or the timeout or the
            input is none; an iterable that yields something else than bytes is seen, and ends the command, only then.
        :raises CommandFailed: it ended with a non-zero code.
        :raises CommandTimedOut: it did not end in time.
        :raises ConnectionFailed: the host was not reached, or the connection was lost.
        """
        check_argv(command)
        argv = command if isinstance(command, PlainCommand) else list(command)
        data = _source(input)
        seconds = self.command_timeout if timeout is None else timeout
        if not is_duration(seconds) or not seconds:
            raise ConfigurationError(f"The timeout of a command is a number of seconds above 0, not {timeout!r}.")
        done = await self._guarded(argv, data, None, seconds, repeatable=False)
        stdout, stderr = _text(done.stdout), _text(done.stderr)
        if done.returncode != 0:
            raise CommandFailed(argv, self.host, done.returncode, stdout, stderr)
        return stdout

    async def pipe(self, command: Sequence[str], input: Input, output: Sink) -> Completed:
        """Run a command and hand on its output as it comes.

        :param output: coroutine function that is given its standard output in pieces.
        :returns: how it ended, whatever its exit code.
        :raises CommandTimedOut: it did not end in time.
        :raises ConnectionFailed: the host was not reached, or the connection was lost.
        """
        check_argv(command)
        return await self._guarded(command, _source(input), output, self.command_timeout, repeatable=False)

    async def read(self, remote_path: str) -> str:
        """Return the text of a file of the host; bytes that are no UTF-8 are replaced.

        :raises PathMissing: there is no such file.
        :raises TransferFailed: it could not be read.
        """
        remote_path = check_path(remote_path)
        mark = new_mark()
        done = await self._script(scripts.READ, mark, [remote_path], None, None)
        self._check("read", [remote_path], mark, done)
        return _text(Frame(mark).strip(done.stdout))

    async def create(self, remote_path: str, content: str) -> None:
        """Write a text file on the host in UTF-8, whole or not at all; a file of that name is replaced.

        :raises PathMissing: the directory does not exist.
        :raises TransferFailed: it could not be written.
        """
        remote_path = check_path(remote_path)
        mark, data = new_mark(), _bytes(content)
        done = await self._script(scripts.CREATE, mark, [remote_path, str(len(data))], data, None)
        self._check("create", [remote_path], mark, done)

    async def upload(self, local_entries: Iterable[str | Path], remote_path: str) -> None:
        """Copy local files and directories to the host, as `cp -r` does.

        A directory comes with what it holds, "." and "dir/." under its own name, and is merged into one of that name.
        Symlinks stay symlinks. Permission bits and times are kept; owners, set-user-id and set-group-id bits are not.
        Sockets, fifos and devices are left out of a directory, and refused by name. Every file appears whole under its
        name, or not at all, and takes the place of one (or of a symlink) there.

        :param local_entries: paths on this machine.
        :param remote_path: a directory of the host to copy into or, for a single entry, its new name. "~/" is the home
            directory; other relative paths start where a command does.
        :raises PathMissing: an entry, or the directory to copy into, does not exist; nothing was sent.
        :raises TransferFailed: not everything was copied.
        """
        entries = check_entries(local_entries)
        remote_path = check_path(remote_path)
        if not entries:
            return
        members = await in_thread(packed_entries, entries, "tree")
        mark, arguments = new_mark(), [remote_path, str(len(entries))]
        done = await self._script(scripts.UPLOAD, mark, arguments, lambda: tar_stream(members), None)
        self._check("upload to", [remote_path], mark, done)

    async def download(self, remote_entries: Iterable[str], local_path: str | Path) -> None:
        """Copy files and directories of the host to this machine, as `cp -r` does; see `upload`.

        Nothing that the host sends is written anywhere but under the names that were asked for ("." and "~" are
        directories whose names the host tells).

        :param remote_entries: paths on the host.
        :param local_path: a local directory to copy into or, for a single entry, its new name.
        :raises PathMissing: an entry, or the directory to copy into, does not exist.
        :raises TransferFailed: not everything was copied.
        """
        entries = check_entries(remote_entries)
        local = check_path(local_path)
        expected_names(entries)
        if not entries:
            return
        target = await in_thread(find_target, local, len(entries))
        for batch in batches(entries):
            await self._download(batch, target)

    async def _download(self, entries: Sequence[str], target: Target) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                return await self._download_once(entries, target)
            except (AuthenticationFailed, HostKeyUnknown, Closed):
                raise
            except ConnectionFailed:
                if attempt == _ATTEMPTS - 1:
                    raise

    async def _download_once(self, entries: Sequence[str], target: Target) -> None:
        mark = new_mark()
        async with Receiver(target, entries, mark, self.host) as receiver:
            done = await self._script(scripts.DOWNLOAD, mark, entries, None, receiver.take)
            await receiver.flush()
            if not (receiver.is_complete and is_harmless(done.returncode, _text(done.stderr))):
                self._check("download", entries, mark, done)
            await receiver.finish()

    async def aclose(self) -> None:
        """End what runs in this event loop, and close what is open; the next use opens it again.

        Commands and copies under way end as cancelled ones do, on the host as well, and raise ConnectionFailed here.
        """
        await end_all(self)

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
        return await self._guarded(argv, input, output, self.command_timeout, repeatable=output is None)

    async def _guarded(
        self, argv: Sequence[str], input: Source, output: Sink | None, timeout: float, *, repeatable: bool
    ) -> Completed:
        async with ended_with(self, f"runs {argv[0]!r} on {self.host}"):
            return await self._execute(argv, input=input, output=output, timeout=timeout, repeatable=repeatable)

    def _check(self, operation: str, paths: Sequence[str], mark: str, done: Completed) -> None:
        raise_for(operation, self.host, paths, mark, done.returncode, _text(done.stderr))


def _source(input: Input) -> Source:
    if isinstance(input, str):
        return _bytes(input)
    if isinstance(input, bytes | None):
        return input
    if isinstance(input, AsyncIterable):
        return _checked(input)
    raise ConfigurationError(f"The input of a command is text, bytes or an async iterable, not {input!r}.")


async def _checked(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    async with opened(pieces):
        async for piece in pieces:
            if not isinstance(piece, bytes | bytearray | memoryview):
                kind = type(piece).__name__
                raise ConfigurationError(f"The input of a command comes in pieces of bytes, not of {kind}.")
            yield bytes(piece)


def _bytes(text: str) -> bytes:
    if not isinstance(text, str):
        raise ConfigurationError(f"The content of a file is text, not {type(text).__name__}.")
    check_encodable(text)
    return text.encode(errors="surrogateescape")


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
