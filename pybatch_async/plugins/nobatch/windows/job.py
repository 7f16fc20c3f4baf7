# SPDX-License-Identifier: MIT
"""A job of a Windows host."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path

from ....errors import ConfigurationError, PathMissing
from ....parameters import LaunchParameters, entry_name
from ....protocols.files.copying import check_entries
from ....protocols.local import LocalProtocol
from ....quoting import PlainCommand
from ...follower import follow_reads
from ..job import NobatchJob
from . import files, paths, script, words
from .queue import PIECE, WindowsQueue, python_of

_LEAST = 4096  # bytes asked for of each task's log


class WindowsJob(NobatchJob):
    """Handle one job of the queue that this library keeps on a Windows host."""

    queue_type = WindowsQueue
    is_for_windows = True

    def check(self) -> None:
        """Refuse parameters that a Windows host can not run.

        :raises ConfigurationError: naming every fault at once.
        """
        super().check()
        faults = list(_faults(self.params))
        if isinstance(self.protocol, LocalProtocol):
            faults.append("is_posix: a LocalProtocol reaches this machine, which is no Windows host")
        if faults:
            raise ConfigurationError(f"A Windows host can not run the job: {'; '.join(faults)}.")

    def batch_file(self) -> str:
        """Return a batch file that does what the queue does for the job."""
        return script.render(self)

    async def get(self, remote_paths: Iterable[str], local_path: str | Path) -> None:
        """Copy files and directories of the work directory to this machine, as `cp -r` does."""
        entries = check_entries([remote_paths] if isinstance(remote_paths, str) else remote_paths)
        faults = [f"{entry!r}: {complaint}" for entry in entries if (complaint := paths.complaint(entry))]
        if faults:
            raise ConfigurationError(f"get: {'; '.join(faults)}.")
        wanted = [paths.join(self.directory, entry) for entry in entries]
        if wanted:
            await files.fetch(self.protocol, python_of(self), wanted, local_path, self._place)

    def log_path(self, stream: str, index: int | None = None) -> str:
        """Return the path of a log file on the host; an array has one per task."""
        relative = super().log_path(stream, index).rpartition("/logs/")[2]
        return paths.join(self.directory, f"logs/{relative}")

    async def log(self, stream: str, index: int | None = None) -> str:
        """Return the text of a log file; "" where there is none because the job, or the task, has not started."""
        path = self.log_path(stream, index)
        first = (await self._pieces([(path, 0)], PIECE))[0]
        if first is None and await self._has_started(index or 0):
            raise PathMissing(f"{self} has left no file {path!r} on its host.")
        rest = await self._rest(path, PIECE) if first and len(first) == PIECE else b""
        return ((first or b"") + rest).decode(errors="replace")

    async def _logs(self, stream: str) -> str:
        if not self.is_array:
            return await self.log(stream)
        files = [self.log_path(stream, index) for index in range(self.params.total_jobs)]
        most = max(PIECE // len(files), _LEAST)
        pieces = await self._pieces([(path, 0) for path in files], most)
        # What is longer than its share is rare, and the rest of it is asked for alone.
        rests = [
            await self._rest(path, most) if piece and len(piece) == most else b""
            for path, piece in zip(files, pieces, strict=True)
        ]
        whole = ((piece or b"") + rest for piece, rest in zip(pieces, rests, strict=True))
        return b"".join(whole).decode(errors="replace")

    def follow_log(self, stream: str, index: int | None) -> AsyncIterator[str]:
        """Iterate over one log file as it grows, until the job, or the task, has ended."""
        self.log_path(stream, index)  # refuses a wrong stream before anything is sent

        async def read(offset: int, most: int) -> bytes:
            return (await self._pieces([(self.log_path(stream, index), offset)], most))[0] or b""

        return follow_reads(
            read, self.state if index is None else self.tasks[index].state, WindowsQueue.of(self.protocol).may_pass
        )

    async def _rest(self, path: str, offset: int) -> bytes:
        """Return what a file holds from a position on, asked for in pieces."""
        rest = bytearray()
        while piece := (await self._pieces([(path, offset + len(rest))], PIECE))[0]:
            rest += piece
        return bytes(rest)

    async def _pieces(self, wanted: Sequence[tuple[str, int]], most: int) -> list[bytes | None]:
        return await WindowsQueue.of(self.protocol).read_files(python_of(self), wanted, most)

    async def _place(self) -> None:
        await WindowsQueue.of(self.protocol).place(python_of(self))


def _faults(params: LaunchParameters) -> Iterator[str]:
    yield from _path_faults(params)
    yield from _command_faults(params)
    for name in paths.twins(params.environment):
        yield f"environment: {name!r} differs from another name by its case only"
    names = [entry_name(entry) for entry in params.input_files]
    for name in names:
        if complaint := paths.name_complaint(name):
            yield f"input_files: {complaint}"
    for name in paths.twins(names):
        yield f"input_files: {name!r} differs from another name by its case only"


def _path_faults(params: LaunchParameters) -> Iterator[str]:
    directory = params.work_directory
    if complaint := paths.complaint(directory):
        yield f"work_directory: {directory!r}: {complaint}"
    elif len(directory) > paths.LONGEST:
        yield f"work_directory: it has more than {paths.LONGEST} characters, and Windows takes 260 with the logs"
    elif directory[:2] in ("\\\\", "//") and (params.setup or params.teardown):
        yield "work_directory: cmd.exe, which setup and teardown need, can not stand on a network share; map a drive"
    try:
        PlainCommand([params.python_exe])
    except ConfigurationError as error:
        yield f"python_exe: {error} For a path with spaces, put it on PATH or write its short name (C:/PROGRA~1/...)"


def _command_faults(params: LaunchParameters) -> Iterator[str]:
    argv = [*words.split(params.launcher), *params.command]
    if '"' in argv[0]:
        yield f"command: {argv[0]!r} holds a quote, which no program's name has on Windows"
    if any("\ud800" <= character <= "\udfff" for word in argv for character in word):
        yield "command: it holds bytes that are no text, and Windows takes text only"
    if len(words.argument_line(argv)) > words.LONGEST_LINE:
        yield f"command: it has more than {words.LONGEST_LINE} characters, which Windows does not take"
