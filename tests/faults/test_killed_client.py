# SPDX-License-Identifier: MIT
"""A client that is killed at random moments while it submits, and started again from its dumps."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from pybatch_async import JobState, wait_all
from pybatch_async.plugins.slurm.job import Job
from pybatch_async.plugins.slurm.plugin import Plugin
from tests.faults.harness import Count, reach, report, runs
from tests.services.slurm import SlurmCluster
from tests.services.sshd import Sshd

SEED = 5
JOBS = 50
_LAST = 0.4  # seconds; the latest moment at which a client is killed, when it is seldom done


def settings(server: Sshd, dumps: Path, root: Path) -> str:
    """Tell the client what to do."""
    connection = {
        "host": server.host,
        "user": server.user,
        "port": server.port,
        "client_keys": [str(server.client_key)],
        "known_hosts": str(server.known_hosts),
        "config": False,
    }
    text = {"connection": connection, "dumps": str(dumps), "root": str(root), "jobs": JOBS, "batch": 10}
    return json.dumps(text)


async def run_client(text: str, lifetime: float | None) -> bool:
    """Run a client, kill it so many seconds after it began to submit, and tell whether it came to its end."""
    argv = [sys.executable, "-m", "tests.faults.client", text]
    client = await asyncio.create_subprocess_exec(*argv, stdout=PIPE)
    assert client.stdout is not None
    try:
        assert await client.stdout.readline() == b"ready\n"
        async with asyncio.timeout(lifetime):
            return await client.stdout.readline() == b"done\n"
    except TimeoutError:
        client.kill()
        return False
    finally:
        await client.wait()


def reloaded(server: Sshd, dumps: Path) -> list[Job]:
    """Load all jobs from their dumps."""
    protocol = reach(server)
    jobs = [Plugin().reload_job(json.loads(path.read_text()), protocol) for path in sorted(dumps.glob("*.json"))]
    return [job for job in jobs if isinstance(job, Job)]


async def kill_clients(server: Sshd, cluster: SlurmCluster, dumps: Path, seed: int, kills: int) -> tuple[int, str]:
    """Submit 50 jobs with clients that are killed, the last one excepted, and count."""
    draw = random.Random(seed)
    root = server.home / f"killed-{seed}-{time.time_ns()}"
    await asyncio.to_thread(dumps.mkdir)
    text = settings(server, dumps, root)
    killed = 0
    for _ in range(kills):
        killed += not await run_client(text, draw.uniform(0, _LAST))
    assert await run_client(text, None)
    jobs = reloaded(server, dumps)
    async with jobs[0].protocol:
        states = await wait_all(jobs)
    count = await asyncio.to_thread(Count, cluster, jobs)
    twice = sum(runs(Path(job.directory)) != 1 for job in jobs)
    assert len(jobs) == JOBS
    assert set(states) == {JobState.FINISHED}
    assert count.is_exact, count
    assert twice == 0
    return killed, str(count)


async def test_a_killed_client_goes_on_from_its_dumps(sshd: Sshd, slurm: SlurmCluster, tmp_path: Path) -> None:
    killed, count = await kill_clients(sshd, slurm, tmp_path / "dumps", SEED, 2)
    report("killed client", f"{killed} kills, {count}")


@pytest.mark.whole
@pytest.mark.timeout(1800)
async def test_clients_killed_again_and_again_go_on_from_their_dumps(
    sshd: Sshd, slurm: SlurmCluster, tmp_path: Path
) -> None:
    for number in range(8):
        killed, count = await kill_clients(sshd, slurm, tmp_path / f"dumps{number}", SEED + number, 6)
        report(f"killed client, round {number}", f"{killed} kills, {count}")
