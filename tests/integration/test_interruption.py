# SPDX-License-Identifier: MIT
"""A program that is interrupted from the keyboard, and what it leaves."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE

import pytest

from tests.integration.test_asyncssh import debug_loop
from tests.services.connection import connection_to
from tests.services.sshd import Sshd
from tests.waiting import until

__all__ = ["debug_loop"]

_PROGRAM = """
import asyncio, sys
import pybatch_async as pb

protocol = getattr(pb, sys.argv[1])(pb.ConnectionParameters(
    sys.argv[2], sys.argv[3], port=int(sys.argv[4]), client_keys=[sys.argv[5]], known_hosts=sys.argv[6], config=False))
job = pb.create_job("nobatch", pb.LaunchParameters(["sleep", "2"], sys.argv[7]), protocol)

async def main():
    await job.submit()
    print("submitted", flush=True)
    await job.wait()

try:
    asyncio.run(main())
except KeyboardInterrupt:
    print(asyncio.run(job.state()), asyncio.run(job.wait()))
"""


@pytest.mark.parametrize("kind", ["AsyncsshProtocol", "SshProtocol"])
async def test_an_interrupted_wait_leaves_the_job_and_the_job_usable(kind: str, sshd_bare: Sshd) -> None:
    params = connection_to(sshd_bare)
    assert params.client_keys
    place = (params.host, params.user, params.port, params.client_keys[0], params.known_hosts, f"interrupted-{kind}")
    argv = [sys.executable, "-X", "dev", "-W", "error", "-c", _PROGRAM, kind, *map(str, place)]
    program = await asyncio.create_subprocess_exec(*argv, stdout=PIPE, stderr=PIPE)
    assert program.stdout and await program.stdout.readline() == b"submitted\n"
    await asyncio.sleep(0.5)  # now it waits
    program.send_signal(signal.SIGINT)
    printed, complaints = await program.communicate()
    assert (printed, complaints, program.returncode) == (b"RUNNING FINISHED\n", b"", 0)
    await until(lambda: not sshd_bare.connections())
