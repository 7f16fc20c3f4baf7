# SPDX-License-Identifier: MIT
"""The handle of one task of an array."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol, overload

from ..errors import StateUnknown
from ..states import JobInfo, JobState


class Array(Protocol):
    """Stand for the job that the tasks belong to."""

    async def state(self) -> JobState: ...

    async def task_info(self, index: int) -> JobInfo | None: ...

    async def task_end(self, index: int) -> JobState: ...

    async def cancel_task(self, index: int) -> None: ...

    def known_task(self, index: int) -> JobInfo: ...

    async def log(self, stream: str, index: int | None = None) -> str: ...

    def follow_log(self, stream: str, index: int | None) -> AsyncIterator[str]: ...


class Task:
    """Handle one task of an array.

    :param job: the array.
    :param index: the task's index, from 0.
    """

    def __init__(self, job: Array, index: int) -> None:
        self._job = job
        self._index = index

    @property
    def index(self) -> int:
        """The task's index, from 0."""
        return self._index

    async def state(self) -> JobState:
        """Return the state of the task."""
        return (await self.info()).state

    async def wait(self) -> JobState:
        """Wait for the end of the task and return its final state."""
        return await self._job.task_end(self._index)

    async def exit_code(self) -> int | None:
        """Return the exit code, or the number of the signal that ended it; None while there is none."""
        info = await self.info()
        return info.exit_code if info.state.is_final else None

    async def stdout(self) -> str:
        """Return what the task has written on its standard output so far."""
        return await self._job.log("stdout", self._index)

    async def stderr(self) -> str:
        """Return what the task has written on its standard error so far."""
        return await self._job.log("stderr", self._index)

    def follow(self, stream: str = "stdout") -> AsyncIterator[str]:
        """Iterate over the task's output as it grows, until the task has ended and all was seen."""
        return self._job.follow_log(stream, self._index)

    async def cancel(self) -> None:
        """Stop the task; one that has ended stays as it is."""
        await self._job.cancel_task(self._index)

    async def info(self) -> JobInfo:
        """Return all that the scheduler tells of the task."""
        info = await self._job.task_info(self._index)
        if info is None:
            return JobInfo("", await self._job.state())
        if info.state is JobState.IN_PROCESS:
            raise StateUnknown(f"{self}: nobody knows it at the moment; ask again in a while.")
        return info

    def known(self) -> JobInfo:
        """Return what is known of the task without asking its host: what the last look told."""
        return self._job.known_task(self._index)

    def __repr__(self) -> str:
        return f"<task {self._index} of {self._job}>"


class Tasks(Sequence[Task]):
    """Make the handle of each task when it is asked for.

    :param job: the array.
    :param count: how many tasks it has.
    """

    def __init__(self, job: Array, count: int) -> None:
        self._job = job
        self._indices = range(count)

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Task: ...

    @overload
    def __getitem__(self, index: slice) -> list[Task]: ...

    def __getitem__(self, index: int | slice) -> Task | list[Task]:
        found = self._indices[index]
        return Task(self._job, found) if isinstance(found, int) else [Task(self._job, each) for each in found]

    def __repr__(self) -> str:
        return f"<{len(self)} tasks of {self._job}>"
