# SPDX-License-Identifier: MIT
"""A site's limits on submitted jobs, which are no refusal for good."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

import pytest

from pybatch_async import JobState, SubmitFailed, submit_all
from tests.faults.harness import Count, jobs_by_token, make_job, reach, report
from tests.services.slurm import QOS_LIMITED, SlurmCluster
from tests.services.sshd import Sshd


@contextlib.contextmanager
def association_limit(cluster: SlurmCluster, user: str, jobs: int) -> Iterator[dict[str, str]]:
    """Allow a user so many submitted jobs in all."""
    cluster.command("sacctmgr", "-i", "modify", "user", user, "set", f"MaxSubmitJobs={jobs}")
    try:
        yield {}
    finally:
        cluster.command("sacctmgr", "-i", "modify", "user", user, "set", "MaxSubmitJobs=-1")


@contextlib.contextmanager
def qos_limit(cluster: SlurmCluster, user: str, jobs: int) -> Iterator[dict[str, str]]:
    """Use the QOS that allows a user two submitted jobs."""
    assert jobs == 2
    yield {"queue": QOS_LIMITED}


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (association_limit, "AssocMaxSubmitJobLimit"),
        pytest.param(qos_limit, "QOSMaxSubmitJobPerUserLimit", marks=pytest.mark.whole),
    ],
)
async def test_a_submit_limit_is_back_pressure(sshd: Sshd, slurm: SlurmCluster, limit: object, words: str) -> None:
    assert callable(limit)
    root = sshd.home / f"limit-{time.time_ns()}"
    async with reach(sshd) as protocol:
        with limit(slurm, sshd.user, 2) as fields:
            jobs = [make_job(protocol, root / f"{n}", partition="down", **fields) for n in range(5)]
            outcomes = await submit_all(jobs)
            refused = [job for job, outcome in zip(jobs, outcomes, strict=True) if outcome]
            for error in filter(None, outcomes):
                assert isinstance(error, SubmitFailed) and error.transient and words in str(error)
            known = await asyncio.to_thread(jobs_by_token, slurm)
            assert (len(refused), [job.token in known for job in refused]) == (3, [False] * 3)
            assert [await job.state() for job in refused] == [JobState.CREATED] * 3
            for waiting, other in zip([job for job in jobs if job not in refused], refused, strict=False):
                await waiting.cancel()
                await waiting.wait()
                await other.submit()
        submitted = [job for job in jobs if job.ticket]
        count = await asyncio.to_thread(Count, slurm, submitted)
        report(f"submit limit ({words})", f"3 of 5 held back, 2 of them submitted later: {count}")
        assert len(submitted) == 4 and count.is_exact
        await asyncio.gather(*(job.cancel() for job in submitted))


async def test_an_array_of_which_a_limit_allows_a_part_is_completed_or_cancelled(
    sshd: Sshd, slurm: SlurmCluster
) -> None:
    root = sshd.home / f"parts-{time.time_ns()}"
    async with reach(sshd) as protocol:
        jobs = [make_job(protocol, root / f"{n}", partition="down", total_jobs=1002) for n in range(2)]
        with association_limit(slurm, sshd.user, 1001):
            with pytest.raises(SubmitFailed, match="AssocMaxSubmitJobLimit") as caught:
                await jobs[0].submit()
            assert caught.value.transient
            tokens = await asyncio.to_thread(jobs_by_token, slurm, False)
            assert len(tokens[jobs[0].token]) == 1
            await jobs[0].cancel()
            assert await jobs[0].wait() is JobState.FAILED
            with pytest.raises(SubmitFailed, match="AssocMaxSubmitJobLimit"):
                await jobs[1].submit()
            assert await jobs[1].state() is JobState.CREATED
        await jobs[1].submit()
        tokens = await asyncio.to_thread(jobs_by_token, slurm, False)
        assert jobs[1].ticket and tokens[jobs[1].token] == set(jobs[1].ticket.job_ids)
        assert [len(jobs[1].ticket.job_ids), await jobs[1].state()] == [2, JobState.QUEUED]
        await jobs[1].cancel()
        report("array half refused", "its parts are cancelled, or completed later")
