# SPDX-License-Identifier: MIT
"""An sbatch that does not say what it did: a double of that name, which misbehaves once and is itself afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import pytest

from pybatch_async import JobState, LocalProtocol, SubmitFailed, submit_all, wait_all
from pybatch_async.plugins.poller import Polling
from pybatch_async.plugins.slurm.job import Job
from pybatch_async.plugins.slurm.queue import SlurmQueue
from tests.faults.harness import Count, make_job, report, runs
from tests.services.slurm import SlurmCluster
from tests.services.workspace import program
from tests.waiting import until

_DOUBLE = """\
#!/bin/sh
cue={directory}/cue
while [ -e held ]; do sleep 0.1; done
if [ ! -e "$cue" ]; then exec {real} "$@"; fi
doing=$(cat "$cue")
rm "$cue"
failed='sbatch: error: Batch job submission failed'
case $doing in
    *after) {real} "$@" > /dev/null ;;
esac
case $doing in
    timeout*) echo "$failed: Socket timed out on send/recv operation" >&2; exit 1 ;;
    killed*) kill -9 $$ ;;
    silent*) exit 0 ;;
    hang*) exec sleep 300 ;;
    slow) sleep 4; exec {real} "$@" ;;
    late) sleep 4; echo "$failed: Invalid qos specification" >&2; exit 1 ;;
    outlives) kill -9 $PPID; sleep 3; exec {real} "$@" ;;
    unreached) echo "$failed: Unable to contact slurm controller (connect failure)" >&2; exit 1 ;;
    refused) echo "$failed: Invalid qos specification" >&2; exit 1 ;;
    full) echo 'sbatch: error: AssocMaxSubmitJobLimit' >&2; exit 1 ;;
esac
"""

CUES = ["timeout before", "outlives"]
MORE_CUES = ["timeout after", "unreached", "killed before", "killed after", "silent after"]
HANGS = ["slow", pytest.param("late", marks=pytest.mark.whole)]
ENDLESS = ["hang before", "hang after"]


@pytest.fixture
def double(tmp_path: Path, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the double before the real sbatch, and return the file that gives it its cue."""
    directory = tmp_path / "bin"
    directory.mkdir()
    script = directory / "sbatch"
    script.write_text(_DOUBLE.format(directory=directory, real=program("sbatch", "slurm-client")))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_CONF", slurm.slurm_conf)
    return directory / "cue"


def local_queue() -> LocalProtocol:
    """Reach this machine, with a queue that makes up its mind soon."""
    protocol = LocalProtocol()
    queue = SlurmQueue.of(protocol)
    queue.settling, queue.patience, queue.polling = 1.5, 60.0, Polling(shortest=0.3, longest=1.0)
    return protocol


async def submit_once(cue: Path, slurm: SlurmCluster, doing: str) -> str:
    """Submit three jobs of which one meets a misbehaving sbatch; return the figures."""
    started = time.monotonic()
    protocol = local_queue()
    await asyncio.to_thread(cue.write_text, doing)
    jobs = [make_job(protocol, cue.parent.parent / f"job{number}") for number in range(3)]
    assert await submit_all(jobs) == [None, None, None]
    return f"{await count_runs(slurm, jobs)}, settled in {time.monotonic() - started:.1f} s"


async def count_runs(slurm: SlurmCluster, jobs: list[Job]) -> Count:
    """Check that each job exists once and runs once."""
    assert await wait_all(jobs) == [JobState.FINISHED] * len(jobs)
    count = await asyncio.to_thread(Count, slurm, jobs)
    assert count.is_exact, count
    assert [runs(Path(job.directory)) for job in jobs] == [1] * len(jobs)
    return count


@pytest.mark.parametrize("doing", [*CUES, *(pytest.param(cue, marks=pytest.mark.whole) for cue in MORE_CUES)])
async def test_what_sbatch_left_open_is_settled(double: Path, slurm: SlurmCluster, doing: str) -> None:
    report(f"sbatch: {doing}", await submit_once(double, slurm, doing))


async def test_who_has_an_id_does_not_wait_for_those_after_it(double: Path, slurm: SlurmCluster) -> None:
    protocol = local_queue()
    first, second = jobs = [make_job(protocol, double.parent.parent / f"job{number}") for number in range(2)]
    held = Path(second.params.work_directory, "held")
    held.parent.mkdir()
    await asyncio.to_thread(held.touch)
    tasks = [asyncio.create_task(job.submit()) for job in jobs]
    await tasks[0]
    assert await first.wait() is JobState.FINISHED
    assert not tasks[1].done() and not second.job_id
    await asyncio.to_thread(held.unlink)
    await tasks[1]
    await count_runs(slurm, jobs)


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the driver leave an sbatch to itself after 1.4 s, and kill it after 19 s."""
    monkeypatch.setenv("PYBATCH_ASYNC_TICK", "0.2")


@pytest.mark.usefixtures("short_patience")
@pytest.mark.parametrize("doing", [*HANGS, *(pytest.param(cue, marks=pytest.mark.whole) for cue in ENDLESS)])
async def test_an_sbatch_that_hangs_holds_up_its_own_job_alone(double: Path, slurm: SlurmCluster, doing: str) -> None:
    started = time.monotonic()
    await asyncio.to_thread(double.write_text, doing)
    protocol = local_queue()
    jobs = [make_job(protocol, double.parent.parent / f"job{number}") for number in range(10)]
    tasks = [asyncio.create_task(job.submit()) for job in jobs]
    await until(lambda: sum(task.done() for task in tasks) >= 9, "the other jobs' answers", 30.0)
    others = time.monotonic() - started
    (stuck,) = [job for job, task in zip(jobs, tasks, strict=True) if not task.done()]
    assert await stuck.state() is JobState.IN_PROCESS
    await asyncio.gather(*tasks)
    settled = time.monotonic() - started
    report(f"sbatch: {doing}", f"{await count_runs(slurm, jobs)}, 9 told after {others:.1f} s, 1 after {settled:.1f} s")


@pytest.mark.usefixtures("short_patience")
async def test_a_frozen_controller_is_given_few_jobs_at_a_time(double: Path, slurm: SlurmCluster) -> None:
    root, protocol = double.parent.parent, local_queue()
    jobs = [make_job(protocol, root / f"job{number}") for number in range(20)]
    tasks: list[asyncio.Task[None]] = []
    most = 0
    slurm.pause_controller()
    try:
        tasks += [asyncio.create_task(job.submit()) for job in jobs]
        for _ in range(50):
            most = max(most, await asyncio.to_thread(_hanging, root))
            await asyncio.sleep(0.1)
        assert not any(task.done() for task in tasks)
    finally:
        slurm.resume_controller()
    await asyncio.gather(*tasks)
    report("controller frozen for 5 s", f"{await count_runs(slurm, jobs)}, at most {most} sbatch at a time")
    assert most == 3


def _hanging(root: Path) -> int:
    """Count the calls of sbatch for jobs below a directory that are under way."""
    found = set()
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = file.read_bytes().split(b"\0")
            if b"--parsable" in words and any(word.startswith(bytes(root)) for word in words):
                found.add(words[-2])
    return len(found)


@pytest.mark.whole
@pytest.mark.parametrize(("doing", "is_transient"), [("refused", False), ("full", True)])
async def test_a_refusal_is_told_at_once_and_leaves_no_trace(double: Path, doing: str, is_transient: bool) -> None:
    protocol = local_queue()
    await asyncio.to_thread(double.write_text, doing)
    job = make_job(protocol, double.parent.parent / "job")
    with pytest.raises(SubmitFailed) as caught:
        await job.submit()
    assert caught.value.transient is is_transient
    assert await job.state() is JobState.CREATED
    await job.submit()
    assert await job.wait() is JobState.FINISHED
