# SPDX-License-Identifier: MIT
"""What is told of jobs that the controller forgot, on a cluster that keeps no accounts and forgets after 2 s."""

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
from tests.faults.harness import make_job, report, runs, until
from tests.services.slurm import SlurmCluster
from tests.services.slurm_config import SlurmOptions

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


async def forgotten(cluster: SlurmCluster, job: Job) -> None:
    """Wait until the controller has forgotten a job, without asking after it through the library."""

    def is_gone() -> bool:
        return job.job_id not in cluster.command("squeue", "-h", "-t", "all", "-o", "%i").split()

    await until(is_gone, "the controller to forget a job")


@pytest.mark.parametrize(
    ("script", "state", "code"), [("exit 0", JobState.FINISHED, 0), ("exit 7", JobState.FAILED, 7)]
)
async def test_a_forgotten_job_is_known_by_its_own_record(
    bare: SlurmCluster, tmp_path: Path, script: str, state: JobState, code: int
) -> None:
    job = make_job(reach_local(), tmp_path, script)
    await job.submit()
    await forgotten(bare, job)
    again = reloaded(job)
    assert (await again.wait(), await again.exit_code()) == (state, code)


async def test_a_job_that_is_gone_without_a_record_is_lost(bare: SlurmCluster, tmp_path: Path) -> None:
    job = make_job(reach_local(), tmp_path, "kill -9 $PPID")
    await job.submit()
    await forgotten(bare, job)
    again = reloaded(job)
    with pytest.raises(StateUnknown):
        await again.state()
    with pytest.raises(JobLost):
        await again.wait()
    report("gone without a record", "JobLost")


async def test_a_job_of_the_same_user_that_has_the_id_now_is_not_ours(bare: SlurmCluster, tmp_path: Path) -> None:
    lost = make_job(reach_local(), tmp_path, "kill -9 $PPID")
    await lost.submit()
    other = make_job(lost.protocol, tmp_path / "other", "sleep 30")
    await other.submit()
    foreign = bare.command("sbatch", "--parsable", "-o", "/dev/null", "--wrap", "sleep 30").strip()
    await forgotten(bare, lost)
    for job_id in (other.job_id, foreign):
        with pytest.raises(JobLost):
            await reloaded(lost, job_ids=[job_id]).wait()
    bare.command("scancel", foreign)
    await other.cancel()


async def test_a_cancelled_pending_job_that_is_forgotten_was_cancelled(bare: SlurmCluster, tmp_path: Path) -> None:
    job = make_job(reach_local(), tmp_path, partition="down")
    await job.submit()
    await job.cancel()
    await forgotten(bare, job)
    again = reloaded(job)
    assert await again.wait() is JobState.FAILED
    assert (await again.info()).scheduler_state == "CANCELLED"


async def test_a_requeued_job_is_followed_to_its_last_run(bare: SlurmCluster, tmp_path: Path) -> None:
    script = "echo ran >> ran.txt; [ $(wc -l < ran.txt) = 2 ] || sleep 60; exit 5"
    job = make_job(reach_local(), tmp_path, script, extra_as_list=["--requeue"])
    await job.submit()
    await until(lambda: runs(tmp_path) == 1, "the first run")
    bare.command("scontrol", "requeue", job.job_id)
    waiting = asyncio.create_task(job.wait())
    while not waiting.done():
        await asyncio.to_thread(_hurried, bare, job.job_id)
        await asyncio.sleep(0.2)
    assert runs(tmp_path) == 2
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
