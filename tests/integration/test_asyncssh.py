# SPDX-License-Identifier: MIT
"""AsyncsshProtocol against real sshd: commands, sessions, cancellation, losses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pybatch_async import CommandFailed, CommandTimedOut, ConnectionFailed, ConnectionParameters
from pybatch_async.protocols.asyncssh import AsyncsshProtocol
from tests.conftest import MakeSshd
from tests.services.sshd import Sshd


def parameters(server: Sshd, port: int | None = None, **options: object) -> ConnectionParameters:
    """Reach a server of the tests with their key, and without the developer's own configuration."""
    return ConnectionParameters(
        host=server.host,
        user=server.user,
        port=port or server.port,
        client_keys=[server.client_key],
        known_hosts=server.known_hosts,
        config=False,
        **options,  # type: ignore[arg-type]  # any field of ConnectionParameters
    )


@pytest.fixture(autouse=True)
def debug_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every loop in debug mode."""
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")


async def test_runs_a_command_and_returns_its_output(sshd_bare: Sshd) -> None:
    async with AsyncsshProtocol(parameters(sshd_bare)) as protocol:
        assert await protocol.run(["echo", "a  b", "$HOME", "it's"]) == "a  b $HOME it's\n"


async def test_a_failed_command_tells_code_and_standard_error(sshd_bare: Sshd) -> None:
    async with AsyncsshProtocol(parameters(sshd_bare)) as protocol:
        with pytest.raises(CommandFailed) as caught:
            await protocol.run(["sh", "-c", "echo out; echo oops >&2; exit 3"])
    assert (caught.value.returncode, caught.value.stdout, caught.value.stderr) == (3, "out\n", "oops\n")


async def test_a_command_killed_by_a_signal_has_its_negative_number(sshd_bare: Sshd) -> None:
    async with AsyncsshProtocol(parameters(sshd_bare)) as protocol:
        with pytest.raises(CommandFailed) as caught:
            await protocol.run(["sh", "-c", "kill -9 $$"])
    assert caught.value.returncode == -9


async def test_without_input_a_reader_sees_the_end_of_file(sshd_bare: Sshd) -> None:
    async with AsyncsshProtocol(parameters(sshd_bare)) as protocol:
        assert await protocol.run(["cat"], timeout=10) == ""


async def test_input_reaches_the_command(sshd_bare: Sshd) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(5):
            yield b"%d\n" % number

    async with AsyncsshProtocol(parameters(sshd_bare)) as protocol:
        assert await protocol.run(["cat"], input=b"x" * 500_000) == "x" * 500_000
        assert await protocol.run(["cat"], input=pieces()) == "0\n1\n2\n3\n4\n"


async def test_a_command_that_ignores_its_input_ends_normally(sshd_bare: Sshd) -> None:
    async with AsyncsshProtocol(parameters(sshd_bare)) as protocol:
        assert await protocol.run(["echo", "done"], input=b"x" * 5_000_000) == "done\n"


async def test_a_deadline_ends_the_command(sshd_bare: Sshd) -> None:
    async with AsyncsshProtocol(parameters(sshd_bare)) as protocol:
        with pytest.raises(CommandTimedOut):
            await protocol.run(["sleep", "1000"], timeout=0.3)
        assert sshd_bare.sessions() == []


async def test_many_commands_at_once_share_few_connections(sshd_bare: Sshd) -> None:
    async with AsyncsshProtocol(parameters(sshd_bare)) as protocol:
        answers = await asyncio.gather(*(protocol.run(["echo", str(n)]) for n in range(100)))
        assert answers == [f"{n}\n" for n in range(100)]
        assert len(sshd_bare.connections()) <= 4


async def test_one_session_a_connection_is_enough(sshd_one_session: Sshd) -> None:
    async with AsyncsshProtocol(parameters(sshd_one_session)) as protocol:
        answers = await asyncio.gather(*(protocol.run(["echo", str(n)]) for n in range(60)))
        assert answers == [f"{n}\n" for n in range(60)]


async def test_a_lost_connection_is_an_error_for_what_ran_and_none_for_what_comes(make_sshd: MakeSshd) -> None:
    server = make_sshd()
    async with AsyncsshProtocol(parameters(server)) as protocol:
        running = asyncio.create_task(protocol.run(["sleep", "1000"]))
        while not server.sessions():
            await asyncio.sleep(0.01)
        server.drop_connections()
        with pytest.raises(ConnectionFailed, match="lost while 'sleep' ran"):
            await running
        assert await protocol.run(["echo", "back"]) == "back\n"
