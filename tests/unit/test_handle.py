# SPDX-License-Identifier: MIT
"""A job's handle while its submission is under way, and when several tasks use it."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import pytest

from pybatch_async import (
    ConnectionFailed,
    JobInfo,
    JobLost,
    JobState,
    LaunchParameters,
    LocalProtocol,
    StateUnknown,
    SubmitFailed,
)
from pybatch_async.plugins.base import BatchJob
from pybatch_async.plugins.poller import Polling
from pybatch_async.plugins.queue import HostQueue
from pybatch_async.plugins.ticket import JobRecord, Report, Ticket

TICKET = Ticket(("7",), "/w", 0.0, 2)


class Host(HostQueue):
    """Play a host, whose answer to each submission the test gives."""

    plugins = frozenset({"played"})
    answers: ClassVar[list[asyncio.Future[Ticket | Exception]]] = []
    cancelled: ClassVar[list[int | None]] = []
    told: ClassVar[Report | None] = None
    polling = Polling(shortest=0.02, longest=0.02, share=0.0, grace=0.1)

    async def submit_many(self, jobs: list[JobRecord]) -> Sequence[Ticket | Exception]:
        answer: asyncio.Future[Ticket | Exception] = asyncio.get_running_loop().create_future()
        self.answers.append(answer)
        return [await answer]

    async def cancel_many(self, targets: list[tuple[JobRecord, int | None]]) -> Sequence[None | Exception]:
        self.cancelled.extend(index for _, index in targets)
        return [None] * len(targets)

    async def query(self, jobs: list[JobRecord]) -> Mapping[JobRecord, Report | StateUnknown]:
        return dict.fromkeys(jobs, self.told) if self.told else {}

    async def locate(self, job: JobRecord, revoke: bool) -> Ticket | None:
        return None


class Job(BatchJob):
    """Stand for a job of any plugin."""

    plugin_name = "played"
    queue_type = Host

    def batch_file(self) -> str:
        """Return nothing, since nothing runs."""
        return ""


@pytest.fixture
def job() -> Iterator[Job]:
    yield Job(LaunchParameters(["true"], "w", total_jobs=2), LocalProtocol())
    Host.answers.clear()
    Host.cancelled.clear()
    Host.told = None


async def begun(job: Job, number: int) -> asyncio.Task[None]:
    """Begin to submit a job and wait until the host works on its submission of that number."""
    task = asyncio.create_task(job.submit())
    async with asyncio.timeout(10):
        while len(Host.answers) < number:
            await asyncio.sleep(0.001)
    return task


async def test_a_task_that_is_cancelled_while_its_array_is_submitted_is_cancelled_after_that(job: Job) -> None:
    submission = await begun(job, 1)
    cancellation = asyncio.create_task(job.tasks[1].cancel())
    await asyncio.sleep(0)
    Host.answers[0].set_result(TICKET)
    await asyncio.gather(submission, cancellation)
    assert Host.cancelled == [1]


async def test_a_task_of_an_array_that_was_never_submitted_is_left_alone(job: Job) -> None:
    await job.tasks[1].cancel()
    assert Host.cancelled == []


async def test_what_is_known_of_a_job_that_nobody_waits_for_is_that_it_is_on_its_way(job: Job) -> None:
    submission = await begun(job, 1)
    submission.cancel()
    await asyncio.wait([submission])
    assert (job.known().state, await job.state()) == ("IN_PROCESS", "IN_PROCESS")
    Host.answers[0].set_result(TICKET)
    await job.cancel()
    assert Host.cancelled == [None]


async def test_a_refusal_hides_no_other_submission_of_the_same_job(job: Job) -> None:
    submissions = [await begun(job, 1), await begun(job, 2)]
    for answer, error in zip(Host.answers, (SubmitFailed("a limit"), ConnectionFailed("lost")), strict=True):
        answer.set_result(error)
        await asyncio.gather(submissions.pop(0), return_exceptions=True)
    assert job.is_uncertain
    last = await begun(job, 3)
    Host.answers[2].set_result(SubmitFailed("a limit"))
    await asyncio.gather(last, return_exceptions=True)
    assert not job.is_uncertain


async def test_who_waits_for_one_job_after_the_other_asks_once(job: Job) -> None:
    jobs = [job, *(Job(LaunchParameters(["true"], "w", total_jobs=2), job.protocol) for _ in range(20))]
    Host.told = Report([JobInfo("7_0", JobState.FINISHED, "", 0), JobInfo("7_1", JobState.FAILED, "", 3)])
    for number, each in enumerate(jobs):
        submission = await begun(each, number + 1)
        Host.answers[number].set_result(TICKET)
        await submission
    queue = Host.of(job.protocol)
    queue.polling = Polling(shortest=3.0)
    async with asyncio.timeout(10):
        assert [await each.wait() for each in jobs] == ["FAILED"] * 21
        assert [await task.wait() for task in job.tasks] == ["FINISHED", "FAILED"]


async def test_the_tasks_of_an_array_are_made_as_they_are_asked_for() -> None:
    tasks = Job(LaunchParameters(["true"], "w", total_jobs=1_000_000), LocalProtocol()).tasks
    assert (len(tasks), tasks[7].index, tasks[-1].index) == (1_000_000, 7, 999_999)
    assert [task.index for task in tasks[3:6]] == [3, 4, 5]
    with pytest.raises(IndexError):
        tasks[1_000_000]


async def test_other_threads_may_make_jobs_while_a_host_is_asked(job: Job) -> None:
    Host.told = Report([JobInfo("7", JobState.RUNNING)])
    dumped = {"token": "t", "params": json.loads(job.dump())["params"], "ticket": TICKET.as_dict()}
    others = [Job.load(dumped, job.protocol) for _ in range(4000)]
    is_over = threading.Event()

    def reload_some() -> None:
        while not is_over.wait(0.001):
            others[:50] = [Job.load(dumped, job.protocol) for _ in range(50)]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # so that threads meet where they seldom do
    thread = asyncio.create_task(asyncio.to_thread(reload_some))
    try:
        async with asyncio.timeout(30):
            for other in others[500:530]:
                assert await other.state() == "RUNNING"
                await asyncio.sleep(0.02)
    finally:
        sys.setswitchinterval(interval)
        is_over.set()
        await thread


async def test_a_task_that_has_ended_is_told_while_another_one_is_lost(job: Job) -> None:
    submission = await begun(job, 1)
    Host.answers[0].set_result(TICKET)
    await submission
    Host.told = Report([JobInfo("7_0", JobState.IN_PROCESS), JobInfo("7_1", JobState.FINISHED, "COMPLETED", 0)])
    lost, ended = job.tasks
    assert (await ended.wait(), await ended.state(), await ended.exit_code()) == ("FINISHED", "FINISHED", 0)
    with pytest.raises(StateUnknown):
        await lost.state()
    for end in (lost.wait, job.wait, job.state):
        with pytest.raises(JobLost):
            await end()
    assert await ended.state() == "FINISHED"
