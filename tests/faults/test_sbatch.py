# SPDX-License-Identifier: MIT
"""An sbatch that does not say what it did: a double of that name, which misbehaves once and is itself afterwards."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from pybatch_async import JobState, LocalProtocol, StateUnknown, SubmitFailed, submit_all
from pybatch_async.plugins.poller import Polling
from pybatch_async.plugins.slurm.queue import SlurmQueue
from tests.faults.harness import Count, make_job, report, runs
from tests.services.slurm import SlurmCluster
from tests.services.workspace import program

_DOUBLE = """\
#!/bin/sh
cue={directory}/cue
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
    hang*) sleep 300 & wait ;;
    outlives) kill -9 $PPID; sleep 3; exec {real} "$@" ;;
    unreached) echo "$failed: Unable to contact slurm controller (connect failure)" >&2; exit 1 ;;
    refused) echo "$failed: Invalid qos specification" >&2; exit 1 ;;
    full) echo 'sbatch: error: AssocMaxSubmitJobLimit' >&2; exit 1 ;;
esac
"""

CUES = ["timeout before", "timeout after", "outlives", "unreached"]
MORE_CUES = ["killed before", "killed after", "silent after"]
HANGS = ["hang before", "hang after"]


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


def local_queue(patience: float = 60.0) -> LocalProtocol:
    """Reach this machine, with a queue that makes up its mind soon."""
    protocol = LocalProtocol()
    queue = SlurmQueue.of(protocol)
    queue.settling, queue.patience, queue.polling = 1.5, patience, Polling(shortest=0.3, longest=1.0)
    return protocol


async def submit_once(cue: Path, slurm: SlurmCluster, doing: str, patience: float = 60.0) -> str:
    """Submit three jobs of which one meets a misbehaving sbatch; return the figures."""
    started = time.monotonic()
    protocol = local_queue(patience)
    await asyncio.to_thread(cue.write_text, doing)
    jobs = [make_job(protocol, cue.parent.parent / f"job{number}") for number in range(3)]
    for outcome in await submit_all(jobs):
        assert outcome is None or "hang" in doing and isinstance(outcome, StateUnknown | SubmitFailed), outcome
    await asyncio.gather(*(job.submit() for job in jobs))
    took = time.monotonic() - started
    assert [await job.wait() for job in jobs] == [JobState.FINISHED] * 3
    count = await asyncio.to_thread(Count, slurm, jobs)
    assert count.is_exact, count
    assert [runs(Path(job.directory)) for job in jobs] == [1, 1, 1]
    return f"{count}, settled in {took:.1f} s"


@pytest.mark.parametrize("doing", [*CUES, *(pytest.param(cue, marks=pytest.mark.whole) for cue in MORE_CUES)])
async def test_what_sbatch_left_open_is_settled(double: Path, slurm: SlurmCluster, doing: str) -> None:
    report(f"sbatch: {doing}", await submit_once(double, slurm, doing))


@pytest.mark.whole
@pytest.mark.parametrize("doing", HANGS)
async def test_an_sbatch_that_hangs_is_ended_and_settled(double: Path, slurm: SlurmCluster, doing: str) -> None:
    report(f"sbatch: {doing}", await submit_once(double, slurm, doing, patience=8.0))


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
