# SPDX-License-Identifier: MIT
"""Services that stop, crash and come back while jobs are submitted and awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from pybatch_async import JobState, PybatchException, submit_all, wait_all
from pybatch_async.plugins.slurm.job import Job
from pybatch_async.plugins.slurm.queue import SlurmQueue
from tests.conftest import MakeSlurm, MakeSshd
from tests.faults.harness import Count, make_job, reach, report, runs
from tests.services.slurm import SlurmCluster
from tests.services.slurm_config import SlurmOptions
from tests.services.sshd import Sshd

Trouble = Callable[[], Coroutine[Any, Any, None]]


async def go_through(server: Sshd, cluster: SlurmCluster, size: int, trouble: Trouble, name: str) -> None:
    """Submit and await jobs, most of them while there is trouble, and compare what is told with what is true."""
    started, root = time.monotonic(), server.home / f"sick-{time.time_ns()}"
    async with reach(server) as protocol:
        SlurmQueue.of(protocol).settling = 3.0
        jobs = [make_job(protocol, root / f"{number}", _script(number)) for number in range(size)]
        await submit(jobs[: size // 3])
        early = asyncio.create_task(wait_all(jobs[: size // 3]))
        troubled = asyncio.create_task(trouble())
        await asyncio.sleep(0.1)
        await submit(jobs[size // 3 :])
        await troubled
        ends = await early + await wait_all(jobs[size // 3 :])
        codes = [await job.exit_code() for job in jobs]
    count = await asyncio.to_thread(Count, cluster, jobs)
    true = await asyncio.to_thread(truth, cluster)
    wrong = sum(str(true.get(job.job_id)) != str(end) for job, end in zip(jobs, ends, strict=True))
    wrong += sum(end is JobState.FINISHED and code != 0 for end, code in zip(ends, codes, strict=True))
    again = sum(runs(Path(job.directory)) > 1 for job in jobs)
    failed = ends.count(JobState.FAILED)
    figures = f"{count}, {failed} failed, {wrong} told wrongly, {again} run again by Slurm"
    report(name, f"{figures}, {time.monotonic() - started:.0f} s")
    assert count.is_exact
    assert wrong == 0, [(str(job), end, true.get(job.job_id)) for job, end in zip(jobs, ends, strict=True)]
    assert failed >= size // 4 - 1


def _script(number: int) -> str:
    return f"echo ran >> ran.txt; sleep {number % 3}; exit {3 if number % 4 == 0 else 0}"


async def submit(jobs: list[Job]) -> None:
    """Submit jobs; as a user would, submit again what could not be."""
    while pending := [job for job in jobs if not job.ticket]:
        for outcome in await submit_all(pending):
            assert outcome is None or isinstance(outcome, PybatchException)


def truth(cluster: SlurmCluster) -> dict[str, JobState]:
    """Return what the controller says in the end, which remembers all jobs of a scenario."""
    lines = cluster.command("squeue", "-h", "-t", "all", "-o", "%i %T").splitlines()
    words = dict(line.split() for line in lines)
    return {key: JobState.FINISHED if word == "COMPLETED" else JobState.FAILED for key, word in words.items()}


async def test_jobs_outlive_a_restart_of_sshd(make_sshd: MakeSshd, slurm: SlurmCluster) -> None:
    server = make_sshd(environment=slurm.environment())

    async def trouble() -> None:
        for pause in (0.15, 0.4):
            await asyncio.sleep(pause)
            await asyncio.to_thread(server.restart)

    await go_through(server, slurm, 20, trouble, "sshd restarted twice")


@pytest.mark.whole
@pytest.mark.timeout(600)
async def test_a_hundred_jobs_outlive_restarts_of_sshd(make_sshd: MakeSshd, slurm: SlurmCluster) -> None:
    server = make_sshd(environment=slurm.environment())

    async def trouble() -> None:
        for number in range(8):
            await asyncio.sleep(0.1 * number)
            await asyncio.to_thread(server.restart)

    await go_through(server, slurm, 100, trouble, "sshd restarted 8 times")


@pytest.mark.whole
@pytest.mark.timeout(600)
@pytest.mark.parametrize("is_frozen", [False, True])
async def test_jobs_outlive_a_controller_that_is_away(
    make_slurm: MakeSlurm, make_sshd: MakeSshd, is_frozen: bool
) -> None:
    cluster = make_slurm(
        SlurmOptions(name="frozen" if is_frozen else "away", accounting=False, extra=("MessageTimeout=4",))
    )
    server = make_sshd(environment=cluster.environment())

    async def trouble() -> None:
        await asyncio.to_thread(cluster.pause_controller if is_frozen else cluster.stop_controller)
        await asyncio.sleep(30)
        await asyncio.to_thread(cluster.resume_controller if is_frozen else cluster.start_controller)

    await go_through(server, cluster, 100, trouble, f"slurmctld {'frozen' if is_frozen else 'stopped'} for 30 s")


@pytest.mark.whole
@pytest.mark.timeout(600)
async def test_jobs_are_known_without_slurmdbd(make_slurm: MakeSlurm, make_sshd: MakeSshd) -> None:
    cluster = make_slurm(SlurmOptions(name="nodbd"))
    server = make_sshd(environment=cluster.environment())

    async def trouble() -> None:
        return None

    await asyncio.to_thread(cluster.stop_slurmdbd)
    try:
        await go_through(server, cluster, 100, trouble, "slurmdbd down for the whole run")
    finally:
        await asyncio.to_thread(cluster.start_slurmdbd)


@pytest.mark.whole
@pytest.mark.timeout(600)
async def test_jobs_outlive_the_slurmd_of_a_node(make_slurm: MakeSlurm, make_sshd: MakeSshd) -> None:
    cluster = make_slurm(SlurmOptions(name="node", accounting=False, slurmd_timeout=10))
    server = make_sshd(environment=cluster.environment())

    async def trouble() -> None:
        await asyncio.to_thread(cluster.kill_node, "n1")
        await asyncio.sleep(40)
        await asyncio.to_thread(cluster.start_node, "n1")

    await go_through(server, cluster, 100, trouble, "one slurmd killed")
