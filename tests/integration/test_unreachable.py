# SPDX-License-Identifier: MIT
"""A host that nobody answers for fails at once; one that answered before is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

import pybatch_async as pb
from tests.conftest import MakeSshd
from tests.services.connection import connection_to
from tests.services.workspace import Workspace

PROTOCOLS = [pb.AsyncsshProtocol, pb.SshProtocol]


@pytest.mark.parametrize("protocol_type", PROTOCOLS)
@pytest.mark.parametrize("plugin", ["slurm", "nobatch"])
async def test_submitting_to_a_port_that_nobody_listens_on_fails_at_once(
    protocol_type: type[pb.AsyncsshProtocol | pb.SshProtocol],
    plugin: str,
    workspace: Workspace,
    known_hosts: Path,
) -> None:
    connection = pb.ConnectionParameters(
        "127.0.0.1", "nobody", port=workspace.free_port(), known_hosts=known_hosts, config=False, client_keys=[]
    )
    async with protocol_type(connection) as protocol:
        job = pb.create_job(plugin, pb.LaunchParameters(["true"], "work"), protocol)
        async with asyncio.timeout(10):
            with pytest.raises(pb.HostUnreachable, match=r"127\.0\.0\.1"):
                await job.submit()
        assert await job.state() == "CREATED"


async def test_following_a_job_of_a_host_that_nobody_answers_for_fails_at_once(
    workspace: Workspace, known_hosts: Path
) -> None:
    connection = pb.ConnectionParameters("127.0.0.1", port=workspace.free_port(), known_hosts=known_hosts, config=False)
    async with pb.AsyncsshProtocol(connection) as protocol:
        job = pb.create_job("slurm", pb.LaunchParameters(["true"], "work"), protocol)
        ticket = {"job_ids": ["1"], "directory": "/w", "submitted_at": 0, "part": 1}
        found = pb.reload_job(json.dumps(json.loads(job.dump()) | {"ticket": ticket}), protocol)
        async with asyncio.timeout(10):
            with pytest.raises(pb.HostUnreachable, match=r"127\.0\.0\.1"):
                await anext(aiter(found.follow()))


@pytest.mark.parametrize("protocol_type", PROTOCOLS)
async def test_a_host_that_answered_before_is_waited_for(
    protocol_type: type[pb.AsyncsshProtocol | pb.SshProtocol], make_sshd: MakeSshd
) -> None:
    sshd = make_sshd()
    async with protocol_type(connection_to(sshd)) as protocol:
        first, second = (
            pb.create_job("nobatch", pb.LaunchParameters(["true"], f"waited/{name}"), protocol) for name in "ab"
        )
        await first.submit()
        connections = await asyncio.to_thread(sshd.connections)
        await asyncio.to_thread(sshd.stop)
        for pid in connections:  # what stopping the server leaves alone
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        submission = asyncio.create_task(second.submit())
        await asyncio.sleep(1)
        assert not submission.done()
        await asyncio.to_thread(sshd.start)
        await submission
        assert await second.wait() == "FINISHED"
