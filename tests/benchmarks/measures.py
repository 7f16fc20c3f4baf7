# SPDX-License-Identifier: MIT
"""Measure submission, looking, waiting and arrays on the running services."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pybatch_async import GenericJob, JobState, LaunchParameters, create_job
from pybatch_async.plugins.poller import Polling
from pybatch_async.plugins.slurm.queue import SlurmQueue
from tests.benchmarks.peers import PEERS, PeerResult, run_peer
from tests.benchmarks.site import Link, Site
from tests.benchmarks.ways import (
    Work,
    bare_login,
    jobs_of,
    logged_in,
    look_with_one_squeue,
    look_with_this_library,
    submit,
    submit_by_the_floor,
    submit_by_this_library,
)

FLOOR = "the floor: one command that loops"
OURS = "this library"
DISTINCT = "this library, an input file of its own for each job"
_EACH_TIME = Polling(shortest=0.001, longest=0.001, share=0.0)  # asks anew at every look


@dataclass
class Submissions:
    """Hold the seconds that submitting `count` jobs over a link took, by contender, and the requests it made."""

    link: str
    count: int
    seconds: dict[str, list[float]] = field(default_factory=dict)
    requests: int = 0

    def best(self, contender: str) -> float:
        """Return the least seconds a job took."""
        return min(self.seconds[contender]) / self.count


@dataclass(frozen=True)
class Looks:
    """Hold the seconds that the states of `count` jobs take over a link, and those of one squeue."""

    link: str
    count: int
    squeue: float
    ours: float

    @property
    def ratio(self) -> float:
        """This library against one squeue."""
        return self.ours / self.squeue


@dataclass(frozen=True)
class Waited:
    """Hold what it took to submit jobs, wait for all and see them end."""

    count: int
    seconds: float
    requests: int
    submissions: int


async def compare_submissions(site: Site, link: Link, inputs: Sequence[Path], rounds: int) -> Submissions:
    """Let the floor and this library submit in turns, each to a controller without jobs."""
    result = Submissions(link.name, len(inputs))
    shared, own = [inputs[0]] * len(inputs), list(inputs)
    ways: dict[str, tuple[Callable[[Site, Link, Work], Awaitable[float]], Sequence[Path]]] = {
        FLOOR: (submit_by_the_floor, shared),
        OURS: (submit_by_this_library, shared),
        DISTINCT: (submit_by_this_library, own),
    }
    for turn in range(rounds):
        names = list(ways)
        for name in names[turn % 3 :] + names[: turn % 3]:
            way, files = ways[name]
            await asyncio.to_thread(site.renew)
            seconds = await way(site, link, Work("work", files))
            result.seconds.setdefault(name, []).append(seconds)
            if name == OURS:
                result.requests = max(result.requests, (await asyncio.to_thread(site.requests))["total"])
    return result


async def measure_peers(site: Site, python: Path, source: Path, share: float) -> list[tuple[str, str, PeerResult]]:
    """Let each peer submit over each link; returns link, peer and what it took.

    :param share: of the peers' numbers of jobs.
    """
    results = []
    for peer in PEERS:
        for link, count in zip(site.links, peer.counts, strict=True):
            await asyncio.to_thread(site.renew)
            result = await run_peer(python, site, link, peer, max(4, int(count * share)), source)
            results.append((link.name, peer.name, result))
    return results


async def compare_looks(
    site: Site, link: Link, inputs: Sequence[Path], counts: Sequence[int], turns: int
) -> list[Looks]:
    """Look at growing numbers of jobs in turns with one bare squeue for as many."""
    await asyncio.to_thread(site.renew)
    results = []
    async with logged_in(site, link) as protocol, bare_login(site, link) as connection:
        jobs = jobs_of(Work("work", inputs), protocol)
        SlurmQueue.of(protocol).polling = _EACH_TIME
        done = 0
        for count in counts:
            await submit(jobs[done:count])
            done = count
            squeue, ours = [], []
            for _ in range(turns):
                squeue.append(await look_with_one_squeue(connection))
                ours.append(await look_with_this_library(jobs[:count]))
            results.append(Looks(link.name, count, statistics.median(squeue), statistics.median(ours)))
    return results


async def wait_for_jobs(site: Site, link: Link, count: int, source: Path) -> Waited:
    """Submit jobs of one second, wait for all with the polling as it comes, and count the requests."""
    await asyncio.to_thread(site.renew)
    async with logged_in(site, link) as protocol:
        jobs = jobs_of(Work("work", [source] * count, ("sleep", "1"), "main"), protocol)
        start = time.perf_counter()
        await submit(jobs)
        before = (await asyncio.to_thread(site.requests))["total"]
        states = await asyncio.gather(*(job.wait() for job in jobs))
        seconds = time.perf_counter() - start
    assert set(states) == {JobState.FINISHED}, states
    requests = (await asyncio.to_thread(site.requests))["total"]
    return Waited(count, seconds, requests - before, before)


async def wait_for_array(site: Site, link: Link, count: int) -> Waited:
    """Submit one array and await each of its tasks on its own."""
    await asyncio.to_thread(site.renew)
    async with logged_in(site, link) as protocol:
        job: GenericJob = create_job(
            "slurm", LaunchParameters(["true"], "array", total_jobs=count, max_simul_jobs=0, partition="main"), protocol
        )
        start = time.perf_counter()
        await job.submit()
        states = await asyncio.gather(*(task.wait() for task in job.tasks))
        seconds = time.perf_counter() - start
    assert set(states) == {JobState.FINISHED}, states
    requests = await asyncio.to_thread(site.requests)
    return Waited(count, seconds, requests["total"], requests["REQUEST_SUBMIT_BATCH_JOB"])
