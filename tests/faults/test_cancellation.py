# SPDX-License-Identifier: MIT
"""Cancelling `submit()` and `wait()` wherever they wait."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any

import pytest

from pybatch_async import JobState
from pybatch_async.plugins.slurm.job import Job
from tests.faults.harness import jobs_by_token, make_job, reach, report
from tests.services.slurm import SlurmCluster
from tests.services.sshd import Sshd


@coroutine
def cancelled_at(work: Coroutine[Any, Any, object], number: int) -> Generator[Any, Any, bool]:
    """Let a coroutine wait so many times, then have it cancelled where it waits; tell whether it came so far."""
    sent: Any = None
    for _ in range(number):
        try:
            waited = work.send(sent)
        except StopIteration:
            return False
        sent = yield waited
    try:
        waited = work.send(sent)
    except StopIteration:
        return False
    try:
        work.throw(asyncio.CancelledError())
    except asyncio.CancelledError:
        if waited is not None:
            waited._asyncio_future_blocking = False
            waited.cancel()
        return True
    raise AssertionError("submit() swallowed its cancellation")


def active(cluster: SlurmCluster) -> set[str]:
    """Return the ids of the jobs that have not ended."""
    return set(cluster.command("squeue", "-h", "-o", "%i").split())


async def is_consistent(cluster: SlurmCluster, job: Job) -> str:
    """Check that a job whose submission was cancelled is not there, or is known to its handle, which can cancel it."""
    token = job.token
    while (state := await job.state()) is JobState.IN_PROCESS:
        await asyncio.sleep(0.05)
    there = (await asyncio.to_thread(jobs_by_token, cluster, False)).get(token, set())
    assert there == ({job.job_id} if job.job_id else set())
    assert (state is JobState.CREATED) is (not there), state
    await job.cancel()
    assert not there & await asyncio.to_thread(active, cluster)
    return "known" if there else "absent"


async def test_a_cancelled_submission_is_absent_or_known_at_every_await(sshd: Sshd, slurm: SlurmCluster) -> None:
    root = sshd.home / f"cancelled-{time.time_ns()}"
    outcomes: list[str] = []
    async with reach(sshd) as protocol:
        for number in range(100):
            job = make_job(protocol, root / f"{number}", "sleep 60", partition="down")
            if not await cancelled_at(job.submit(), number):
                break
            outcomes.append(await is_consistent(slurm, job))
    report("submit() cancelled at every await", f"{len(outcomes)} points: {', '.join(outcomes)}")
    assert outcomes


@pytest.mark.parametrize("rounds", [4, pytest.param(60, marks=pytest.mark.whole)])
async def test_a_submission_cancelled_at_any_moment_is_absent_or_known(
    sshd: Sshd, slurm: SlurmCluster, rounds: int
) -> None:
    root = sshd.home / f"moments-{time.time_ns()}"
    outcomes: list[str] = []
    async with reach(sshd) as protocol:
        for number in range(rounds):
            job = make_job(protocol, root / f"{number}", "sleep 60", partition="down")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.25 * number / rounds):
                    await job.submit()
            outcomes.append(await is_consistent(slurm, job))
    report("submit() cancelled at any moment", f"{outcomes.count('absent')} absent, {outcomes.count('known')} known")


async def test_jobs_of_an_application_that_ends_under_way_are_absent_or_adopted(
    sshd: Sshd, slurm: SlurmCluster
) -> None:
    root = sshd.home / f"ended-{time.time_ns()}"
    outcomes = []
    for number in range(4):
        job = make_job(reach(sshd), root / f"{number}", "sleep 60", partition="down")
        await asyncio.to_thread(asyncio.run, _abandoned(job, 0.1 + 0.05 * number))
        async with job.protocol:
            outcomes.append(await is_consistent(slurm, job))
    report("application ended while it submitted", ", ".join(outcomes))


async def _abandoned(job: Job, seconds: float) -> None:
    """End the event loop while a submission is under way."""
    await asyncio.wait([asyncio.create_task(job.submit())], timeout=seconds)


async def test_a_cancelled_wait_leaves_the_job_running(sshd: Sshd, slurm: SlurmCluster) -> None:
    async with reach(sshd) as protocol:
        job = make_job(protocol, sshd.home / f"waited-{time.time_ns()}", "sleep 60")
        await job.submit()
        assert await cancelled_at(job.wait(), 0)
        for seconds in (0.1, 0.7):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(seconds):
                    await job.wait()
        assert job.job_id in await asyncio.to_thread(active, slurm)
        assert await job.state() in (JobState.QUEUED, JobState.RUNNING)
        await job.cancel()
        assert await job.wait() is JobState.FAILED
