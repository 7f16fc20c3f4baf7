# SPDX-License-Identifier: MIT
"""What a job leaves on its host: logs and files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

from ..errors import ConfigurationError, PathMissing
from ..interfaces import GenericTask
from ..parameters import remote_join
from ..protocols.files.copying import check_entries
from ..states import JobInfo, JobState
from .follower import follow_file
from .queue import HostQueue
from .ticket import JobRecord

_CAT = 'while IFS= read -r path; do if [ -r "$path" ]; then cat < "$path"; fi; done'
_EARLY = (JobState.CREATED, JobState.IN_PROCESS, JobState.QUEUED)
_STREAMS = {"stdout": "output", "stderr": "error"}


class JobOutput(JobRecord):
    """Fetch and follow what a job writes into its work directory."""

    @abstractmethod
    async def state(self) -> JobState:
        """Return the state of the job."""

    @property
    @abstractmethod
    def tasks(self) -> Sequence[GenericTask]:
        """One handle per index of an array; empty for a job that is none."""

    @abstractmethod
    def known_task(self, index: int) -> JobInfo:
        """Return what is known of one task without asking its host."""

    @property
    @abstractmethod
    def _queue(self) -> HostQueue: ...

    async def get(self, remote_paths: Iterable[str], local_path: str | Path) -> None:
        """Copy files and directories of the work directory to this machine, as `cp -r` does."""
        paths = check_entries([remote_paths] if isinstance(remote_paths, str) else remote_paths)
        await self.protocol.download([remote_join(self.directory, path) for path in paths], local_path)

    async def stdout(self) -> str:
        """Return what the job has written on its standard output so far."""
        return await self._logs("stdout")

    async def stderr(self) -> str:
        """Return what the job has written on its standard error so far."""
        return await self._logs("stderr")

    def follow(self, stream: str = "stdout") -> AsyncIterator[str]:
        """Iterate over the output as it grows, until the job has ended and all was seen."""
        if self.is_array:
            raise ConfigurationError("follow: an array has one output per task; follow the file of one with its task.")
        return self.follow_log(stream, None)

    def follow_log(self, stream: str, index: int | None) -> AsyncIterator[str]:
        """Iterate over one log file as it grows, until the job, or the task, has ended."""
        self.log_path(stream, index)  # refuses a wrong stream before anything is sent
        state = self.state if index is None else self.tasks[index].state
        return follow_file(lambda: self._queue, lambda: self.log_path(stream, index), state)

    def log_path(self, stream: str, index: int | None = None) -> str:
        """Return the path of a log file on the host; an array has one per task.

        :raises ConfigurationError: no such stream.
        """
        if stream not in _STREAMS:
            raise ConfigurationError(f"stream: {stream!r} is neither 'stdout' nor 'stderr'.")
        suffix = "" if index is None else f"_{index}"
        return remote_join(self.directory, f"logs/{_STREAMS[stream]}{suffix}.log")

    async def log(self, stream: str, index: int | None = None) -> str:
        """Return the text of a log file; "" where there is none because the job, or the task, has not started."""
        try:
            return await self.protocol.read(self.log_path(stream, index))
        except PathMissing:
            if await self._has_started(index or 0):
                raise
            return ""

    async def _has_started(self, index: int) -> bool:
        if await self.state() in _EARLY:
            return False
        info = self.known_task(index)
        return info.state not in _EARLY and bool(info.nodes or not info.state.is_final)

    async def _logs(self, stream: str) -> str:
        if not self.is_array:
            return await self.log(stream)
        paths = [self.log_path(stream, index) for index in range(self.params.total_jobs)]
        return await self.protocol.run(["/bin/sh", "-c", _CAT, "sh"], input="".join(f"{path}\n" for path in paths))
