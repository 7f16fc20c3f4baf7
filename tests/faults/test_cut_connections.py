# SPDX-License-Identifier: MIT
"""Submissions over a network that cuts, resets, stalls and half-closes connections."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pybatch_async import JobState, PybatchException, submit_all, wait_all
from pybatch_async.plugins.slurm.job import Job
from tests.conftest import MakeProxy
from tests.faults.harness import Count, make_job, reach, report, runs
from tests.services.proxy import Action, Direction, Plan, Proxy
from tests.services.slurm import SlurmCluster
from tests.services.sshd import Sshd

SEED = 20
_LOGIN = {"to_server": 4000, "to_client": 5000}  # bytes, about; most faults are to strike after the login


def faults(seed: int, count: int, largest: int) -> Iterator[Plan]:
    """Draw faults, one in six of which strikes the login."""
    draw = random.Random(seed)
    actions: tuple[Action, ...] = ("cut", "cut", "reset", "reset", "half_close", "stall")
    directions: tuple[Direction, ...] = ("to_server", "to_client")
    for _ in range(count):
        direction = draw.choice(directions)
        start = 0 if draw.random() < 1 / 6 else _LOGIN[direction]
        span = largest if direction == "to_server" else largest // 12 + 200
        yield Plan(0.0, draw.choice(actions), direction, start + draw.randrange(span))


@dataclass
class Lane:
    """Submit one round of jobs after the other over a connection that is faulty at the start of each round."""

    server: Sshd
    proxy: Proxy
    root: Path
    seed: int
    rounds: int
    size: int
    cuts: int
    jobs: list[Job] = field(default_factory=list)

    async def run(self) -> None:
        """Submit all rounds; what an interruption leaves open is submitted again, as a user would."""
        for number in range(self.rounds):
            async with reach(self.server, self.proxy.port) as protocol:
                plans = list(faults(self.seed * 1000 + number, self.cuts, 9000 + 3000 * self.size))
                unused = (await asyncio.to_thread(self.proxy.traffic)).planned
                await asyncio.to_thread(self.proxy.push, *plans[unused:])
                jobs = [make_job(protocol, self.root / f"{self.seed}-{number}-{i}") for i in range(self.size)]
                self.jobs += jobs
                while pending := [job for job in jobs if not job.ticket]:
                    for outcome in await submit_all(pending):
                        assert outcome is None or isinstance(outcome, PybatchException)


async def submit_through_faults(server: Sshd, make: MakeProxy, lanes: list[tuple[int, int, int]]) -> list[Lane]:
    """Run lanes side by side, each through a proxy of its own: (rounds, jobs a round, faults a round)."""
    root = server.home / f"cuts-{time.time_ns()}"
    made = [Lane(server, make(server.port), root, SEED + number, *numbers) for number, numbers in enumerate(lanes)]
    await asyncio.gather(*(lane.run() for lane in made))
    return made


async def check(server: Sshd, cluster: SlurmCluster, lanes: list[Lane], started: float) -> tuple[int, int]:
    """Wait for all jobs over a sound connection and compare."""
    jobs = [job for lane in lanes for job in lane.jobs]
    cuts = sum(lane.proxy.traffic().faults for lane in lanes)
    async with reach(server) as protocol:
        for job in jobs:
            job.protocol = protocol
        states = await wait_all(jobs)
    count = await asyncio.to_thread(Count, cluster, jobs)
    twice = sum(runs(Path(job.directory)) != 1 for job in jobs)
    report("cut connections", f"{cuts} faults, {count}, {twice} not run once, {time.monotonic() - started:.0f} s")
    assert set(states) == {JobState.FINISHED}
    assert count.is_exact
    assert twice == 0
    return cuts, len(jobs)


async def test_submissions_survive_a_few_cuts(sshd: Sshd, slurm: SlurmCluster, proxy_factory: MakeProxy) -> None:
    started = time.monotonic()
    lanes = await submit_through_faults(sshd, proxy_factory, [(2, 1, 2), (1, 12, 3)])
    await check(sshd, slurm, lanes, started)


@pytest.mark.whole
@pytest.mark.timeout(1800)
async def test_submissions_survive_three_hundred_cuts(
    sshd: Sshd, slurm: SlurmCluster, proxy_factory: MakeProxy
) -> None:
    started = time.monotonic()
    lanes = await submit_through_faults(sshd, proxy_factory, [(90, 1, 3)] * 3 + [(16, 12, 6)])
    cuts, jobs = await check(sshd, slurm, lanes, started)
    assert cuts >= 300
    assert jobs >= 200


@pytest.mark.whole
async def test_an_upload_whose_connection_died_silently_is_given_up(
    sshd: Sshd, slurm: SlurmCluster, proxy_factory: MakeProxy, tmp_path: Path
) -> None:
    started, data = time.monotonic(), random.Random(SEED).randbytes(3_000_000)
    await asyncio.to_thread((tmp_path / "data").write_bytes, data)
    proxy = proxy_factory(sshd.port)
    # The front-end never hears that the connection has ended, and keeps what had come of the archive.
    await asyncio.to_thread(proxy.push, Plan(0.0, "stall", "to_server", 1_000_000))
    async with reach(sshd, proxy.port) as protocol:
        job = make_job(protocol, sshd.home / f"stalled-{time.time_ns()}", input_files=[str(tmp_path / "data")])
        await job.submit()
        took = time.monotonic() - started
        assert await job.wait() is JobState.FINISHED
    assert (await asyncio.to_thread(Path(job.directory, "data").read_bytes)) == data
    count = await asyncio.to_thread(Count, slurm, [job])
    report("upload that stalled for good", f"{proxy.traffic().faults} fault, {count}, submitted after {took:.0f} s")
    assert count.is_exact and runs(Path(job.directory)) == 1
