# SPDX-License-Identifier: MIT
"""What is told of jobs that the controller forgot, on a cluster that keeps no accounts and forgets after 2 s.

With all other tests, those of tests/integration/test_slurm.py hold the same.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from pybatch_async import JobLost, JobState, LocalProtocol, StateUnknown
from pybatch_async.plugins.poller import Polling
from pybatch_async.plugins.slurm.job import Job
from pybatch_async.plugins.slurm.plugin import Plugin
from pybatch_async.plugins.slurm.queue import SlurmQueue
from tests.conftest import MakeSlurm
from tests.faults.harness import make_job, report, runs
from tests.services.slurm import SlurmCluster
from tests.services.slurm_config import SlurmOptions
from tests.waiting import until

_GRACE = 2.0


@pytest.fixture
def bare(slurm_without_accounting: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    """Reach the forgetful cluster from this machine."""
    monkeypatch.setenv("SLURM_CONF", slurm_without_accounting.slurm_conf)
    return slurm_without_accounting


def reach_local() -> LocalProtocol:
    """Reach this machine; a job that nobody knows is lost soon."""
    protocol = LocalProtocol()
    SlurmQueue.of(protocol).polling = Polling(shortest=0.3, longest=0.5, grace=_GRACE)
    return protocol


def reloaded(job: Job, **ticket: object) -> Job:
    """Reload a job as another process would, which has not watched it."""
    data = json.loads(job.dump())
    data["ticket"] |= ticket
    again = Plugin().reload_job(data, job.protocol)
    assert isinstance(again, Job)
    return again


async def forgotten(cluster: SlurmCluster, *jobs: Job) -> list[Job]:
    """Wait until the controller has forgotten jobs, without asking after them through the library; reload them then."""
    ids = {job.job_id for job in jobs}
    await until(
        lambda: not ids & set(cluster.command("squeue", "-h", "-t", "all", "-o", "%i").split()),
        "the controller to forget",
    )
    return [reloaded(job) for job in jobs]


async def is_lost(job: Job) -> bool:
    """Tell whether a job is unknown at first, and lost in the end."""
    with pytest.raises(StateUnknown):
        await job.state()
    with pytest.raises(JobLost):
        await job.wait()
    return True


@pytest.mark.whole
async def test_forgotten_jobs_are_known_by_their_own_records_or_lost(bare: SlurmCluster, tmp_path: Path) -> None:
    protocol = reach_local()
    scripts = {"good": "exit 0", "bad": "exit 7", "killed": "kill -9 $PPID"}
    jobs = [make_job(protocol, tmp_path / name, script) for name, script in scripts.items()]
    jobs.append(make_job(protocol, tmp_path / "cancelled", partition="down"))
    await asyncio.gather(*(job.submit() for job in jobs))
    await jobs[-1].cancel()
    good, bad, killed, cancelled = await forgotten(bare, *jobs)
    assert (await good.wait(), await good.exit_code()) == (JobState.FINISHED, 0)
    assert (await bad.wait(), await bad.exit_code()) == (JobState.FAILED, 7)
    assert await cancelled.wait() is JobState.FAILED
    assert (await cancelled.info()).scheduler_state == "CANCELLED"
    other = make_job(protocol, tmp_path / "other", "sleep 30")
    await other.submit()
    foreign = bare.command("sbatch", "--parsable", "-o", "/dev/null", "--wrap", "sleep 30").strip()
    recycled = [reloaded(killed, job_ids=[job_id]) for job_id in (other.job_id, foreign)]
    assert all(await asyncio.gather(is_lost(killed), *map(is_lost, recycled)))
    bare.command("scancel", foreign)
    await other.cancel()
    report("forgotten jobs", "2 known by their records, 1 cancelled, 1 lost, 2 with recycled ids lost")


@pytest.mark.whole
async def test_a_requeued_job_is_followed_to_its_last_run(bare: SlurmCluster, tmp_path: Path) -> None:
    script = "echo ran >> ran.txt; [ $(wc -l < ran.txt) = 2 ] || sleep 60; exit 5"
    job = make_job(reach_local(), tmp_path, script, extra_as_list=["--requeue"])
    await job.submit()
    await until(lambda: runs(tmp_path) == 1, "the first run")
    bare.command("scontrol", "requeue", job.job_id)
    waiting = asyncio.create_task(job.wait())
    # A node that is not done with the first run fails the second one; the two minutes are there to prevent that.
    await asyncio.to_thread(bare.wait_idle)
    await asyncio.sleep(1)
    while not waiting.done():
        await asyncio.to_thread(_hurried, bare, job.job_id)
        await asyncio.sleep(0.2)
    assert runs(tmp_path) == 2, (await job.info(), bare.command("scontrol", "show", "job", job.job_id, check=False))
    assert await waiting is JobState.FAILED
    assert await job.exit_code() == 5


def _hurried(cluster: SlurmCluster, job_id: str) -> None:
    """Spare a requeued job the two minutes that Slurm has it wait."""
    cluster.command("scontrol", "update", f"jobid={job_id}", "StartTime=now", check=False)


@pytest.mark.whole
async def test_a_controller_that_lost_its_state_makes_no_job_finished(
    make_slurm: MakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = make_slurm(SlurmOptions(name="wiped", accounting=False, min_job_age=2))
    monkeypatch.setenv("SLURM_CONF", cluster.slurm_conf)
    protocol = reach_local()
    jobs = [make_job(protocol, tmp_path / part, "sleep 600", partition=part) for part in ("main", "down")]
    await asyncio.gather(*(job.submit() for job in jobs))
    await until(lambda: "R" in cluster.command("squeue", "-h", "-o", "%t", "-j", jobs[0].job_id), "the job to run")
    await asyncio.to_thread(cluster.kill_controller)
    await asyncio.to_thread(subprocess.run, ["rm", "-rf", str(cluster.places.directory / "state")], check=True)
    await asyncio.to_thread(cluster.start_controller)
    ends = await asyncio.gather(*(job.wait() for job in jobs), return_exceptions=True)
    report("controller without its state", [str(getattr(end, "name", type(end).__name__)) for end in ends])
    assert isinstance(ends[1], JobLost)
    assert isinstance(ends[0], JobLost) or ends[0] is JobState.FAILED
