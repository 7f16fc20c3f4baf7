# SPDX-License-Identifier: MIT
"""submit_all, wait_all, as_completed: many jobs together, each with its own outcome."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from pybatch_async import (
    ConfigurationError,
    GenericJob,
    JobInfo,
    JobLost,
    JobState,
    SubmitFailed,
    as_completed,
    submit_all,
    wait_all,
)


class Job:
    """Stand for a job whose end a test decides."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.end: asyncio.Future[JobState] = asyncio.get_running_loop().create_future()
        self.waiters = 0

    async def submit(self) -> None:
        if self.error:
            raise self.error

    async def wait(self) -> JobState:
        self.waiters += 1
        try:
            return await asyncio.shield(self.end)
        finally:
            self.waiters -= 1


class EndedJob(Job):
    """Stand for a job whose end the scheduler told."""

    def __init__(self, day: int) -> None:
        super().__init__()
        self.day = day

    def known(self) -> JobInfo:
        return JobInfo("1", JobState.FINISHED, end_time=datetime(2000, 1, self.day, tzinfo=UTC))


def jobs(*them: Job) -> list[GenericJob]:
    return cast(list[GenericJob], list(them))


async def test_submitting_together_tells_what_went_wrong_with_each() -> None:
    bad = SubmitFailed("no such partition")
    assert await submit_all(jobs(Job(), Job(bad), Job())) == [None, bad, None]


async def test_a_defect_is_not_taken_for_a_job_s_failure() -> None:
    with pytest.raises(ZeroDivisionError):
        await submit_all(jobs(Job(), Job(ZeroDivisionError())))


async def test_waiting_together_tells_the_end_of_each() -> None:
    one, lost, other = Job(), Job(), Job()
    gone = JobLost("gone")
    one.end.set_result(JobState.FINISHED)
    lost.end.set_exception(gone)
    other.end.set_result(JobState.FAILED)
    assert await wait_all(jobs(one, lost, other)) == [JobState.FINISHED, gone, JobState.FAILED]


async def test_what_are_no_jobs_is_refused_before_anything_is_done() -> None:
    job = Job()
    coroutine = job.submit()
    wrong: list[Any] = [job, None, [job, 3], [job, coroutine], [Job]]
    for what in wrong:
        for operation in (submit_all(what), wait_all(what), anext(as_completed(what))):
            with pytest.raises(ConfigurationError, match="A list of jobs is needed"):
                await operation
    await coroutine
    assert not job.waiters


async def test_nothing_to_do_is_done_at_once() -> None:
    assert (await submit_all([]), await wait_all([]), [each async for each in as_completed(jobs())]) == ([], [], [])


async def test_the_first_to_end_comes_first() -> None:
    them = [Job(), Job(), Job()]
    order = as_completed(jobs(*them))
    for number in (2, 0, 1):
        them[number].end.set_result(JobState.FINISHED)
        assert id(await anext(order)) == id(them[number])
    with pytest.raises(StopAsyncIteration):
        await anext(order)


async def test_ends_that_become_known_together_come_in_their_order() -> None:
    them = [EndedJob(3), Job(), EndedJob(1), EndedJob(2)]
    for job in them:
        job.end.set_result(JobState.FINISHED)
    found = [id(job) async for job in as_completed(jobs(*them))]
    assert found == [id(them[number]) for number in (2, 3, 0, 1)]


async def test_a_lost_job_is_yielded_and_its_wait_raises() -> None:
    lost = Job()
    lost.end.set_exception(JobLost("gone"))
    (found,) = [job async for job in as_completed(jobs(lost))]
    with pytest.raises(JobLost):
        await found.wait()


async def test_leaving_early_leaves_nobody_waiting() -> None:
    done, endless = Job(), Job()
    done.end.set_result(JobState.FINISHED)
    order = as_completed(jobs(done, endless))
    assert id(await anext(order)) == id(done)
    await order.aclose()  # type: ignore[attr-defined]  # an async generator
    assert endless.waiters == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
