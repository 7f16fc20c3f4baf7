# SPDX-License-Identifier: MIT
"""Cancelling what a job is asked for wherever it waits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Coroutine
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pybatch_async import AsyncsshProtocol, JobState
from pybatch_async.plugins.poller import Polling
from pybatch_async.plugins.slurm.job import Job
from pybatch_async.plugins.slurm.plugin import Plugin
from pybatch_async.plugins.slurm.queue import SlurmQueue
from tests.faults.cancelling import Traces, cancelled_at
from tests.faults.harness import jobs_by_token, make_job, reach, report
from tests.services.slurm import SlurmCluster
from tests.services.sshd import Sshd


def reloaded(text: str, protocol: AsyncsshProtocol) -> Job:
    """Reload a job as it was dumped."""
    job = Plugin().reload_job(json.loads(text), protocol)
    assert isinstance(job, Job)
    return job


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


SUBMISSIONS: dict[str, Callable[[Job], Coroutine[Any, Any, object]]] = {
    "submit()": lambda job: job.submit(),
    "what submits for many": lambda job: SlurmQueue.of(job.protocol)._submit([job]),
}
LOOKS: dict[str, Callable[[Job], Coroutine[Any, Any, object]]] = {
    "state()": lambda job: job.state(),
    "wait()": lambda job: job.wait(),
    "exit_code()": lambda job: job.exit_code(),
    "what asks for many": lambda job: SlurmQueue.of(job.protocol).query([job]),
}
CANCELS: dict[str, Callable[[Job], Coroutine[Any, Any, object]]] = {
    "cancel()": lambda job: job.cancel(),
    "what cancels for many": lambda job: SlurmQueue.of(job.protocol).cancel_many([(job, None)]),
}


def never_the_same(protocol: AsyncsshProtocol) -> None:
    """Have every look ask the host."""
    SlurmQueue.of(protocol).polling = Polling(shortest=0.0, longest=0.5, share=0.0)


@pytest.mark.parametrize("what", SUBMISSIONS)
async def test_a_cancelled_submission_is_absent_or_known_at_every_await(
    sshd: Sshd, slurm: SlurmCluster, what: str, tmp_path: Path
) -> None:
    root = sshd.home / f"cancelled-{time.time_ns()}"
    (tmp_path / "input").write_bytes(b"x" * 50_000)
    outcomes: list[str] = []
    async with reach(sshd) as protocol:
        for number in count(1):
            traces = Traces(sshd, protocol)
            job = make_job(
                protocol, root / f"{number}", "sleep 60", partition="down", input_files=[str(tmp_path / "input")]
            )
            is_cancelled = await cancelled_at(SUBMISSIONS[what](job), number)
            outcomes.append(await is_consistent(slurm, job))
            await traces.fade()
            if not is_cancelled:
                break
    report(f"{what} cancelled at every await", f"{len(outcomes) - 1} points: {', '.join(outcomes[:-1])}")
    assert outcomes.pop() == "known" and outcomes


@pytest.mark.parametrize(
    ("what", "is_reloaded"),
    [
        *((what, False) for what in LOOKS if what != "exit_code()"),
        pytest.param("exit_code()", False, marks=pytest.mark.whole),
        ("state()", True),
        ("wait()", True),
    ],
)
async def test_a_cancelled_look_leaves_the_job_as_it_is_at_every_await(
    sshd: Sshd, slurm: SlurmCluster, what: str, is_reloaded: bool
) -> None:
    async with reach(sshd) as protocol:
        never_the_same(protocol)
        job = make_job(protocol, sshd.home / f"looked-{time.time_ns()}", "while [ ! -e over ]; do sleep 0.2; done")
        early = job.dump()
        await job.submit()
        handle = job
        for number in count(1):
            traces = Traces(sshd, protocol)
            handle = reloaded(early, protocol) if is_reloaded else job
            looking = asyncio.create_task(cancelled_at(LOOKS[what](handle), number))
            if not (await asyncio.wait([looking], timeout=1.5))[0]:
                (Path(job.directory) / "over").touch()  # it waits for the job's end, and nowhere else any more
            if not await looking:
                break
            assert job.job_id in await asyncio.to_thread(active, slurm)
            assert handle.job_id in ("", job.job_id)
            await traces.fade()
        report(f"{what} of a {'reloaded' if is_reloaded else 'submitted'} job", f"{number - 1} points")
        (Path(job.directory) / "over").touch()
        assert await job.wait() is await handle.wait() is JobState.FINISHED
        await traces.fade()


@pytest.mark.parametrize("what", CANCELS)
async def test_a_cancelled_cancellation_can_be_repeated_at_every_await(
    sshd: Sshd, slurm: SlurmCluster, what: str
) -> None:
    root = sshd.home / f"ended-{time.time_ns()}"
    async with reach(sshd) as protocol:
        never_the_same(protocol)
        for number in count(1):
            traces = Traces(sshd, protocol)
            job = make_job(protocol, root / f"{number}", "sleep 60", partition="down")
            early = job.dump()
            await job.submit()
            handle = job if "many" in what else reloaded(early, protocol)
            is_cancelled = await cancelled_at(CANCELS[what](handle), number)
            await traces.fade()
            if is_cancelled:
                await handle.cancel()
            assert await handle.wait() is JobState.FAILED
            assert job.job_id not in await asyncio.to_thread(active, slurm)
            await traces.fade()
            if not is_cancelled:
                break
        report(f"{what} cancelled at every await", f"{number - 1} points")


async def test_a_cancelled_get_leaves_nothing_half_copied_at_any_await(sshd: Sshd, tmp_path: Path) -> None:
    async with reach(sshd) as protocol:
        job = make_job(protocol, sshd.home / f"got-{time.time_ns()}", "head -c 300000 /dev/zero > data; echo a > b")
        await job.submit()
        assert await job.wait() is JobState.FINISHED
        for number in count(1):
            traces, here = Traces(sshd, protocol), tmp_path / f"{number}"
            await asyncio.to_thread(here.mkdir)
            is_cancelled = await cancelled_at(job.get(["data", "b"], here), number)
            await traces.fade()
            found = await asyncio.to_thread(_sizes, here)
            assert found.items() <= {"data": 300_000, "b": 2}.items()
            if not is_cancelled:
                break
        report("get() cancelled at every await", f"{number - 1} points")
        assert len(found) == 2 and number > 2


def _sizes(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in directory.iterdir()}


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
