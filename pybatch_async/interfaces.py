# SPDX-License-Identifier: MIT
"""What protocols, jobs and plugins look like to each other and to users."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from .parameters import LaunchParameters
from .states import JobInfo, JobState

Input = str | bytes | AsyncIterable[bytes] | None


@runtime_checkable
class GenericProtocol(Protocol):
    """Reach a host: run commands there and copy files to and from it.

    A protocol connects at its first use, may be used by many tasks at once, and again in a later event loop.
    """

    async def upload(self, local_entries: Iterable[str | Path], remote_path: str) -> None:
        """Copy local files and directories to the host, as `cp -r` does.

        :param local_entries: paths on this machine.
        :param remote_path: a directory of the host to copy into or, for a single entry, its new name.
        :raises TransferFailed: nothing was copied, or not all of it.
        """
        ...

    async def download(self, remote_entries: Iterable[str], local_path: str | Path) -> None:
        """Copy files and directories of the host to this machine, as `cp -r` does.

        :param remote_entries: paths on the host.
        :param local_path: a local directory to copy into or, for a single entry, its new name.
        :raises TransferFailed: nothing was copied, or not all of it.
        """
        ...

    async def create(self, remote_path: str, content: str) -> None:
        """Write a text file on the host, whole or not at all.

        :raises TransferFailed: it could not be written.
        """
        ...

    async def read(self, remote_path: str) -> str:
        """Return the text of a file of the host.

        :raises TransferFailed: it could not be read.
        """
        ...

    async def run(self, command: Sequence[str], *, input: Input = None) -> str:
        """Run a command on the host.

        :param command: the program and its arguments; no shell interprets them.
        :param input: what it reads on standard input: text, bytes, or an async iterable of bytes; None for nothing.
        :returns: its standard output.
        :raises CommandFailed: it ended with a non-zero code.
        :raises ConnectionFailed: the host was not reached, or the connection was lost.
        """
        ...

    async def aclose(self) -> None:
        """End what is under way with ConnectionFailed, and close what is open; the next use opens it again."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class GenericTask(Protocol):
    """Handle one task of an array."""

    @property
    def index(self) -> int:
        """The task's index, from 0."""
        ...

    async def state(self) -> JobState:
        """Return the state of the task."""
        ...

    async def wait(self) -> JobState:
        """Wait for the end of the task and return its final state."""
        ...

    async def exit_code(self) -> int | None:
        """Return the exit code, or the number of the signal that ended it; None while there is none."""
        ...

    async def stdout(self) -> str:
        """Return what the task has written on its standard output so far; bytes that are no UTF-8 are replaced."""
        ...

    async def stderr(self) -> str:
        """Return what the task has written on its standard error so far; bytes that are no UTF-8 are replaced."""
        ...

    def follow(self, stream: str = "stdout") -> AsyncIterator[str]:
        """Iterate over the output as it grows, until the task has ended and all was seen.

        :param stream: "stdout" or "stderr".
        """
        ...

    async def cancel(self) -> None:
        """Stop the task; one that has ended stays as it is."""
        ...

    async def info(self) -> JobInfo:
        """Return all that the scheduler tells of the task."""
        ...


@runtime_checkable
class GenericJob(Protocol):
    """Handle one job, from before its submission to its files.

    :ivar params: what it runs.
    :ivar protocol: how its host is reached.
    """

    params: LaunchParameters
    protocol: GenericProtocol

    @property
    def job_id(self) -> str:
        """The scheduler's id, "" before submission."""
        ...

    @property
    def tasks(self) -> Sequence[GenericTask]:
        """One handle per index of an array; empty for a job that is none."""
        ...

    async def submit(self) -> None:
        """Submit the job; one that is submitted already stays as it is.

        :raises ConfigurationError: the parameters are wrong; nothing was sent.
        :raises SubmitFailed: the scheduler refused the job.
        :raises ConnectionFailed: the host was not reached; submitting again adopts what was begun.
        :raises StateUnknown: nobody can tell by now whether there is a job; submitting again settles it.
        """
        ...

    async def wait(self) -> JobState:
        """Wait for the end of the job and return its final state; at once for a job that was never submitted.

        :raises JobLost: the job is gone and nothing recorded how it ended.
        """
        ...

    async def state(self) -> JobState:
        """Return the state of the job.

        :raises StateUnknown: the scheduler did not tell this time.
        """
        ...

    async def exit_code(self) -> int | None:
        """Return the exit code of the command, or the number of the signal that ended it.

        :returns: None until the job has ended, or when nobody knows.
        """
        ...

    async def cancel(self) -> None:
        """Stop the job; one that was never submitted, or has ended, stays as it is.

        :raises StateUnknown: nobody can tell by now whether there is a job; call it again.
        :raises ConnectionFailed: the host was not reached; the job may go on.
        """
        ...

    async def get(self, remote_paths: Iterable[str], local_path: str | Path) -> None:
        """Copy files and directories of the work directory to this machine, as `cp -r` does.

        :param remote_paths: paths, relative to the work directory or absolute; "." is the work directory itself.
        :param local_path: a local directory to copy into or, for a single path, its new name.
        :raises TransferFailed: nothing was copied, or not all of it.
        """
        ...

    async def stdout(self) -> str:
        """Return what the job has written on its standard output so far; bytes that are no UTF-8 are replaced."""
        ...

    async def stderr(self) -> str:
        """Return what the job has written on its standard error so far; bytes that are no UTF-8 are replaced."""
        ...

    def follow(self, stream: str = "stdout") -> AsyncIterator[str]:
        """Iterate over the output as it grows, until the job has ended and all was seen.

        It is looked at every 0.5 s, and down to every 5 s while nothing comes. Bytes that are no UTF-8 are replaced.

        :param stream: "stdout" or "stderr".
        """
        ...

    def batch_file(self) -> str:
        """Return the text of the batch file, as it is or would be submitted."""
        ...

    async def info(self) -> JobInfo:
        """Return all that the scheduler tells of the job: its own word for the state, reason, nodes, times."""
        ...

    def dump(self) -> str:
        """Return the job as JSON without secrets, for `reload_job`.

        :raises ConfigurationError: a job that it depends on has no id yet: submit that one first.
        """
        ...


@runtime_checkable
class Plugin(Protocol):
    """Make the jobs of one kind of scheduler; found through the entry-point group pybatch_async.plugins."""

    description: str

    def create_job(self, params: LaunchParameters, protocol: GenericProtocol | None) -> GenericJob:
        """Return a new job; no I/O happens.

        :param protocol: how to reach the host; None for this machine.
        :raises ConfigurationError: the parameters are wrong.
        """
        ...
