# SPDX-License-Identifier: MIT
"""Submissions to a host without a batch manager over a network that cuts, resets, stalls and half-closes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from pybatch_async import JobState, PybatchException, create_job, submit_all, wait_all
from pybatch_async.interfaces import GenericJob
from pybatch_async.parameters import LaunchParameters
from tests.conftest import MakeProxy
from tests.faults.harness import reach, report, runs
from tests.faults.test_cut_connections import faults
from tests.services.sshd import Sshd

SEED = 40


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("rounds", "size", "cuts"), [(1, 8, 3), pytest.param(30, 4, 4, marks=pytest.mark.whole)])
async def test_submissions_without_a_batch_manager_survive_cuts(
    sshd_bare: Sshd, proxy_factory: MakeProxy, rounds: int, size: int, cuts: int
) -> None:
    started, root = time.monotonic(), sshd_bare.home / f"cuts-{time.time_ns()}"
    proxy = proxy_factory(sshd_bare.port)
    places: list[Path] = []
    states: list[object] = []
    for number in range(rounds):
        async with reach(sshd_bare, proxy.port) as protocol:
            unused = (await asyncio.to_thread(proxy.traffic)).planned
            await asyncio.to_thread(proxy.push, *list(faults(SEED + number, cuts, 20_000))[unused:])
            fresh = [root / f"{number}-{each}" for each in range(size)]
            jobs = [_job(place, protocol) for place in fresh]
            await _submit(jobs)
            states += await wait_all(jobs)
            places += fresh
    twice = [place for place in places if runs(place) != 1]
    met = (await asyncio.to_thread(proxy.traffic)).faults
    figures = f"{met} faults, {len(places)} jobs, {len(twice)} not run once"
    report("cut connections, no batch manager", f"{figures}, {time.monotonic() - started:.0f} s")
    assert states == [JobState.FINISHED] * len(places)
    assert not twice


def _job(place: Path, protocol: object) -> GenericJob:
    return create_job("nobatch", LaunchParameters(["sh", "-c", "echo ran >> ran.txt"], str(place)), protocol)  # type: ignore[arg-type]


async def _submit(jobs: list[GenericJob]) -> None:
    """Submit jobs; as a user would, submit again what could not be."""
    while jobs:
        outcomes = await submit_all(jobs)
        assert all(outcome is None or isinstance(outcome, PybatchException) for outcome in outcomes), outcomes
        jobs = [job for job, outcome in zip(jobs, outcomes, strict=True) if outcome]
