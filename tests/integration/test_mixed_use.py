# SPDX-License-Identifier: MIT
"""Many users of one event loop, who submit, look, wait, cancel and change their minds, each when it pleases them."""

from __future__ import annotations

import asyncio
import random
import re
import uuid
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

import pybatch_async as pb
from pybatch_async import JobState
from tests.services.connection import connection_to
from tests.services.slurm import SlurmCluster
from tests.services.sshd import Sshd
from tests.waiting import until

USERS = 120
_TOKEN = re.compile(r"\.pybatch_async/([0-9a-f]{32})\.cmd")


@dataclass
class User:
    """Use one job at random; what is used is drawn from a seed, what meets what is up to the machine.

    :param is_bad: the job asks for a partition that does not exist.
    """

    job: pb.GenericJob
    is_bad: bool
    chance: random.Random

    async def run(self) -> JobState | None:
        """Return the state in which the job ended; None if it was refused."""
        await asyncio.sleep(self.chance.random())
        for _ in range(self.chance.randrange(3)):
            await self._change_mind(self.job.submit())
        if self.chance.random() < 0.1:
            await self.job.cancel()
            return await self.job.wait()
        try:
            await self.job.submit()
        except pb.SubmitFailed:
            assert self.is_bad
            return None
        assert not self.is_bad
        await self._look_around()
        return await self.job.wait()

    async def _look_around(self) -> None:
        for _ in range(self.chance.randrange(4)):
            await self.chance.choice([self.job.state, self.job.info, self.job.exit_code])()
            await self._change_mind(self.job.wait())
        if self.chance.random() < 0.2:
            await self.job.cancel()

    async def _change_mind(self, work: Coroutine[Any, Any, object]) -> None:
        """Do something for a moment only."""
        task = asyncio.create_task(work)
        await asyncio.wait([task], timeout=self.chance.random() / 2)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
        except pb.SubmitFailed:
            assert self.is_bad


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_many_users_do_each_job_that_is_there_is_known_and_there_once(
    sshd: Sshd, slurm: SlurmCluster, seed: int
) -> None:
    chance, place = random.Random(seed), f"mixed/{uuid.uuid4().hex}"
    before = asyncio.all_tasks()
    async with pb.AsyncsshProtocol(connection_to(sshd)) as protocol:
        users = []
        for number in range(USERS):
            is_bad = chance.random() < 0.1
            params = pb.LaunchParameters(["true"], f"{place}/{number}", partition="nonsense" if is_bad else "")
            users.append(User(pb.create_job("slurm", params, protocol), is_bad, random.Random(chance.random())))
        async with asyncio.timeout(120):
            ends = await asyncio.gather(*(user.run() for user in users))
    assert asyncio.all_tasks() == before
    known = {_token(user.job) for user in users if user.job.job_id}
    await until(lambda: known <= _tokens(slurm, place).keys(), "the accounting to hear of all jobs")
    assert _tokens(slurm, place) == Counter(known)
    for user, end in zip(users, ends, strict=True):
        assert (end is None) <= user.is_bad
        assert end is None or (end is JobState.CREATED) == (not user.job.job_id)
        assert end in (None, JobState.CREATED, JobState.FINISHED, JobState.FAILED)


def _token(job: pb.GenericJob) -> str:
    token = getattr(job, "token", "")
    assert token
    return str(token)


def _tokens(slurm: SlurmCluster, place: str) -> Counter[str]:
    """Count the jobs that Slurm's accounting and its controller know of, by the tokens in their batch files' names."""
    recorded = slurm.command("sacct", "-nXPa", "-S", "now-1hour", "-o", "JobID,SubmitLine")
    queued = slurm.command("squeue", "-h", "-t", "all", "-O", "JobID:0|,WorkDir:0|,Command:0")
    ids = {line.split("|")[0]: line for line in [*recorded.splitlines(), *queued.splitlines()] if place in line}
    return Counter(token for line in ids.values() for token in _TOKEN.findall(line)[:1])
