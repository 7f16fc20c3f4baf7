# SPDX-License-Identifier: MIT
"""The handle of one task of an array."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pybatch_async import JobInfo, JobState, StateUnknown
from pybatch_async.plugins.task import Task
from pybatch_async.plugins.ticket import Report


class Array:
    """Stand for an array of which one look told something."""

    def __init__(self, *infos: JobInfo) -> None:
        self.report = Report(infos) if infos else None

    async def state(self) -> JobState:
        return JobState.CREATED if self.report is None else self.report.state

    async def task_info(self, index: int) -> JobInfo | None:
        return self.report.infos[index] if self.report else None

    async def task_end(self, index: int) -> JobState:
        raise NotImplementedError

    async def cancel_task(self, index: int) -> None:
        raise NotImplementedError

    def known_task(self, index: int) -> JobInfo:
        raise NotImplementedError

    async def log(self, stream: str, index: int | None = None) -> str:
        return f"{stream} {index}"

    def follow_log(self, stream: str, index: int | None) -> AsyncIterator[str]:
        raise NotImplementedError


async def test_a_task_tells_what_the_look_told_of_its_index() -> None:
    array = Array(JobInfo("12_0", JobState.RUNNING), JobInfo("12_1", JobState.FAILED, "TIMEOUT", 15))
    first, second = Task(array, 0), Task(array, 1)
    assert (await first.state(), await first.exit_code()) == ("RUNNING", None)
    assert (await second.state(), await second.exit_code(), (await second.info()).job_id) == ("FAILED", 15, "12_1")
    assert (await second.stdout(), await first.stderr(), second.index) == ("stdout 1", "stderr 0", 1)


async def test_a_task_that_nobody_knows_at_the_moment_is_unknown() -> None:
    task = Task(Array(JobInfo("12_0", JobState.IN_PROCESS), JobInfo("12_1", JobState.RUNNING)), 0)
    with pytest.raises(StateUnknown, match="task 0"):
        await task.state()


async def test_a_task_of_an_unsubmitted_array_is_created() -> None:
    task = Task(Array(), 0)
    assert (await task.state(), await task.exit_code()) == ("CREATED", None)
