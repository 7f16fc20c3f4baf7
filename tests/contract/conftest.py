# SPDX-License-Identifier: MIT
"""The places where jobs run: each protocol with each plugin, against real services."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import pybatch_async as pb
from pybatch_async.plugins.nobatch.queue import NobatchQueue
from pybatch_async.plugins.poller import Polling
from pybatch_async.plugins.slurm.queue import SlurmQueue
from pybatch_async.protocols.remote import RemoteProtocol
from tests.services.connection import connection_to
from tests.services.slurm import SlurmCluster
from tests.services.sshd import Sshd

PROTOCOLS = ("local", "ssh", "asyncssh")
PLACES = [f"{protocol}-{plugin}" for plugin in ("nobatch", "slurm") for protocol in PROTOCOLS]
OFTEN = Polling(shortest=0.1, longest=0.3, share=1.0)
SLOTS = 16


@dataclass
class Place:
    """Make jobs that run at one place.

    :param plugin: name of the plugin.
    :param protocol: how to reach the host.
    :param directory: an empty directory of the host, which the tests see as well.
    :param home: the login directory.
    """

    plugin: str
    protocol: RemoteProtocol
    directory: Path
    home: Path
    jobs: list[pb.GenericJob] = field(default_factory=list)

    @property
    def is_slurm(self) -> bool:
        """Tell whether a Slurm cluster runs the jobs."""
        return self.plugin == "slurm"

    def job(self, *command: str, work: str | None = None, **fields: Any) -> pb.GenericJob:
        """Return a job; its work directory is a new one unless it is named."""
        directory = work or str(self.directory / f"job{len(self.jobs)}")
        job = pb.create_job(self.plugin, pb.LaunchParameters(list(command), directory, **fields), self.protocol)
        self.jobs.append(job)
        return job

    async def submitted(self, *command: str, **fields: Any) -> pb.GenericJob:
        """Return a job that is submitted."""
        job = self.job(*command, **fields)
        await job.submit()
        return job

    async def done(self, *command: str, **fields: Any) -> pb.GenericJob:
        """Return a job that has ended well."""
        job = await self.submitted(*command, **fields)
        assert (await job.wait(), await job.exit_code()) == ("FINISHED", 0), await job.stderr()
        return job


def connected(kind: str, server: Sshd) -> RemoteProtocol:
    """Return a protocol that reaches a server of the tests."""
    params = connection_to(server)
    return pb.SshProtocol(params) if kind == "ssh" else pb.AsyncsshProtocol(params)


@pytest.fixture(params=PLACES)
async def place(
    request: pytest.FixtureRequest,
    sshd: Sshd,
    slurm: SlurmCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Place]:
    """One place; the jobs of the plugin "slurm" run on the cluster, all others on this machine."""
    kind, plugin = request.param.split("-")
    if kind == "local":
        make_home(tmp_path, slurm, monkeypatch)
    async with _protocol(kind, sshd) as protocol:
        directory = Path(f"/tmp/pybatch_async-jobs-{uuid.uuid4().hex}")
        await protocol.run(["mkdir", str(directory)])
        set_up_queues(protocol)
        here = Place(plugin, protocol, directory, tmp_path if kind == "local" else sshd.home)
        yield here
        await asyncio.gather(*(job.cancel() for job in here.jobs))
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)


def set_up_queues(protocol: pb.GenericProtocol) -> None:
    """Ask often, since the tests' jobs are short, and run many at once, since they do nothing."""
    SlurmQueue.of(protocol).polling = NobatchQueue.of(protocol).polling = OFTEN
    NobatchQueue.of(protocol).slots = SLOTS


def make_home(home: Path, slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this process's user a home and a cluster for the length of a test."""
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SLURM_CONF", slurm.slurm_conf)
    for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(home)


def _protocol(kind: str, sshd: Sshd) -> RemoteProtocol:
    return pb.LocalProtocol() if kind == "local" else connected(kind, sshd)


@pytest.fixture(scope="session")
def overdue(sshd: Sshd, slurm: SlurmCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Jobs that will exceed their wall time, dumped, by protocol; Slurm counts in minutes, so they start early."""
    home = tmp_path_factory.mktemp("overdue")

    async def begin(kind: str) -> str:
        async with _protocol(kind, sshd) as protocol:
            directory = str(home) if kind == "local" else str(sshd.home / f"overdue-{kind}")
            params = pb.LaunchParameters(["sleep", "600"], directory, wall_time="1")
            job = pb.create_job("slurm", params, protocol)
            await job.submit()
            return job.dump()

    async def begin_all() -> dict[str, str]:
        return dict(zip(PROTOCOLS, await asyncio.gather(*map(begin, PROTOCOLS)), strict=True))

    with _variable("SLURM_CONF", slurm.slurm_conf):
        dumps = asyncio.run(begin_all())
    yield dumps


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
