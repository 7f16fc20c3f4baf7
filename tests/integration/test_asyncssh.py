# SPDX-License-Identifier: MIT
"""AsyncsshProtocol against real sshd: commands, sessions, cancellation, losses."""

from __future__ import annotations

import asyncio
import pickle
import random
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator

import anyio
import pytest

from pybatch_async import CommandFailed, CommandTimedOut, ConnectionFailed
from pybatch_async.protocols.asyncssh import AsyncsshProtocol
from pybatch_async.protocols.connecting.connections import Connections
from pybatch_async.protocols.connecting.login import Login
from pybatch_async.protocols.decisions import Limits
from pybatch_async.protocols.remote import Completed, Sink, Source
from tests.conftest import MakeProxy, MakeSshd
from tests.services.connection import connection_to
from tests.services.proxy import Plan
from tests.services.sshd import Sshd


@pytest.fixture(autouse=True)
def debug_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every loop in debug mode."""
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")


async def test_runs_a_command_and_returns_its_output(sshd_bare: Sshd) -> None:
    async with AsyncsshProtocol(connection_to(sshd_bare)) as protocol:
        assert await protocol.run(["echo", "a  b", "$HOME", "it's"]) == "a  b $HOME it's\n"


async def test_a_failed_command_tells_code_and_standard_error(sshd_bare: Sshd) -> None:
    async with AsyncsshProtocol(connection_to(sshd_bare)) as protocol:
        with pytest.raises(CommandFailed) as caught:
            await protocol.run(["sh", "-c", "echo out; echo oops >&2; exit 3"])
    assert (caught.value.returncode, caught.value.stdout, caught.value.stderr) == (3, "out\n", "oops\n")


async def test_a_command_killed_by_a_signal_has_its_negative_number(sshd_bare: Sshd) -> None:
    async with AsyncsshProtocol(connection_to(sshd_bare)) as protocol:
        with pytest.raises(CommandFailed) as caught:
            await protocol.run(["sh", "-c", "kill -9 $$"])
    assert caught.value.returncode == -9


async def test_without_input_a_reader_sees_the_end_of_file(sshd_bare: Sshd) -> None:
    async with AsyncsshProtocol(connection_to(sshd_bare)) as protocol:
        assert await protocol.run(["cat"], timeout=10) == ""


async def test_input_reaches_the_command(sshd_bare: Sshd) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(5):
            yield b"%d\n" % number

    async with AsyncsshProtocol(connection_to(sshd_bare)) as protocol:
        assert await protocol.run(["cat"], input=b"x" * 500_000) == "x" * 500_000
        assert await protocol.run(["cat"], input=pieces()) == "0\n1\n2\n3\n4\n"


async def test_a_command_that_ignores_its_input_ends_normally(sshd_bare: Sshd) -> None:
    async with AsyncsshProtocol(connection_to(sshd_bare)) as protocol:
        assert await protocol.run(["echo", "done"], input=b"x" * 5_000_000) == "done\n"


async def test_a_deadline_ends_the_command(sshd_bare: Sshd) -> None:
    async with AsyncsshProtocol(connection_to(sshd_bare)) as protocol:
        with pytest.raises(CommandTimedOut):
            await protocol.run(["sleep", "1000"], timeout=0.3)
        assert sshd_bare.sessions() == []


async def test_many_commands_at_once_share_few_connections(sshd_bare: Sshd) -> None:
    async with AsyncsshProtocol(connection_to(sshd_bare)) as protocol:
        answers = await asyncio.gather(*(protocol.run(["echo", str(n)]) for n in range(100)))
        assert answers == [f"{n}\n" for n in range(100)]
        assert len(sshd_bare.connections()) <= 4


async def test_one_session_a_connection_is_enough(sshd_one_session: Sshd) -> None:
    async with AsyncsshProtocol(connection_to(sshd_one_session)) as protocol:
        answers = await asyncio.gather(*(protocol.run(["echo", str(n)]) for n in range(60)))
        assert answers == [f"{n}\n" for n in range(60)]


async def test_a_lost_connection_is_an_error_for_what_ran_and_none_for_what_comes(make_sshd: MakeSshd) -> None:
    server = make_sshd()
    async with AsyncsshProtocol(connection_to(server)) as protocol:
        running = asyncio.create_task(protocol.run(["sleep", "1000"]))
        while not server.sessions():
            await asyncio.sleep(0.01)
        server.drop_connections()
        with pytest.raises(ConnectionFailed, match="lost while 'sleep' ran"):
            await running
        assert await protocol.run(["echo", "back"]) == "back\n"


# Data both ways


async def test_data_both_ways_at_once_neither_stalls_nor_piles_up(sshd_bare: Sshd) -> None:
    sent, received, most = 0, 0, 0

    async def source() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(300):
            sent += 100_000
            yield b"x" * 100_000

    async def sink(chunk: bytes) -> None:
        nonlocal received, most
        most = max(most, sent - received)
        received += len(chunk)
        await asyncio.sleep(0.001)

    async with AsyncsshProtocol(connection_to(sshd_bare)) as protocol:
        await execute(protocol, ["cat"], input=source(), output=sink)
    assert received == sent == 30_000_000
    assert most < 12_000_000  # windows and buffers of both ends


async def test_standard_error_is_kept_in_part(sshd_bare: Sshd) -> None:
    script = "head -c 5000000 /dev/zero | tr '\\0' x >&2; echo last >&2"
    async with AsyncsshProtocol(connection_to(sshd_bare)) as protocol:
        done = await execute(protocol, ["sh", "-c", script])
    assert len(done.stderr) == 65536 and done.stderr.endswith(b"xlast\n")


async def test_what_the_sink_raises_ends_the_command(sshd_bare: Sshd) -> None:
    async def sink(chunk: bytes) -> None:
        raise ValueError("disk full")

    async with AsyncsshProtocol(connection_to(sshd_bare)) as protocol:
        with pytest.raises(ValueError, match="disk full"):
            await execute(protocol, ["yes"], output=sink)
        await nothing_left(protocol, sshd_bare)


async def test_what_the_source_raises_ends_the_command(sshd_bare: Sshd) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"data"
        raise ValueError("unreadable")

    async with AsyncsshProtocol(connection_to(sshd_bare)) as protocol:
        with pytest.raises(ValueError, match="unreadable"):
            await execute(protocol, ["cat"], input=source())
        await nothing_left(protocol, sshd_bare)


async def test_a_source_that_never_ends_does_not_outlive_the_command(sshd_bare: Sshd) -> None:
    closed = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        try:
            yield b"data\n"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with AsyncsshProtocol(connection_to(sshd_bare)) as protocol:
        done = await execute(protocol, ["head", "-n1"], input=source())
    assert (done.stdout, closed.is_set()) == (b"data\n", True)


# Cancelling, at any await


async def test_cancelling_a_command_ends_it_on_the_host(sshd_bare: Sshd) -> None:
    async with AsyncsshProtocol(connection_to(sshd_bare)) as protocol:
        running = [asyncio.create_task(protocol.run(["sleep", "1000"])) for _ in range(5)]
        while len(sshd_bare.sessions()) < 5:
            await asyncio.sleep(0.02)
        assert "5 sessions" in repr(protocol)
        for task in running:
            task.cancel()
        outcomes = await asyncio.gather(*running, return_exceptions=True)
        assert {type(each) for each in outcomes} == {asyncio.CancelledError}
        await nothing_left(protocol, sshd_bare)


async def test_a_command_that_ignores_term_is_ended_too(sshd_bare: Sshd) -> None:
    async with AsyncsshProtocol(connection_to(sshd_bare)) as protocol:
        running = asyncio.create_task(protocol.run(["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]))
        while not sshd_bare.sessions():
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)  # until the trap is set
        running.cancel()
        await asyncio.wait((running,))
        await nothing_left(protocol, sshd_bare)


async def test_cancelling_after_any_number_of_loop_turns_leaves_nothing(sshd_bare: Sshd) -> None:
    async with AsyncsshProtocol(connection_to(sshd_bare, max_connections=2, max_sessions=2)) as protocol:
        await protocol.run(["true"])
        for turns in range(0, 60, 2):
            tasks = [asyncio.create_task(protocol.run(["cat"], input=b"x" * 200_000)) for _ in range(5)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await nothing_left(protocol, sshd_bare)
        assert await protocol.run(["echo", "well"]) == "well\n"


async def test_a_cancelled_first_caller_leaves_the_login_to_the_others(sshd_bare: Sshd) -> None:
    async with AsyncsshProtocol(connection_to(sshd_bare)) as protocol:
        first = asyncio.create_task(protocol.run(["echo", "1"]))
        second = asyncio.create_task(protocol.run(["echo", "2"]))
        await asyncio.sleep(0.005)
        first.cancel()
        assert await second == "2\n"
        assert first.cancelled()
        await nothing_left(protocol, sshd_bare)


async def test_a_deadline_counts_the_wait_for_a_session(sshd_bare: Sshd) -> None:
    async with AsyncsshProtocol(connection_to(sshd_bare, max_connections=1, max_sessions=1)) as protocol:
        running = asyncio.create_task(protocol.run(["sleep", "1000"]))
        while not sshd_bare.sessions():
            await asyncio.sleep(0.02)
        with pytest.raises(CommandTimedOut):
            await protocol.run(["true"], timeout=0.1)
        running.cancel()
        await asyncio.wait((running,))
        await nothing_left(protocol, sshd_bare)


async def test_an_anyio_cancel_scope_leaves_nothing(sshd_bare: Sshd) -> None:
    async with AsyncsshProtocol(connection_to(sshd_bare)) as protocol:
        for seconds in (0.0, 0.01, 0.05, 0.2):  # at the first one the login is under way, and goes on
            with anyio.move_on_after(seconds) as scope:
                await protocol.run(["sleep", "1000"])
            assert scope.cancelled_caught
            await nothing_left(protocol, sshd_bare)
        assert await protocol.run(["echo", "well"]) == "well\n"
        assert "1 connections" in repr(protocol)


async def test_cancelled_and_cut_at_random_the_counts_return_to_zero(
    make_sshd: MakeSshd, proxy_factory: MakeProxy
) -> None:
    draw = random.Random(20)
    server = make_sshd(max_sessions=3)
    proxy = proxy_factory(server.port)
    async with AsyncsshProtocol(connection_to(server, port=proxy.port, connect_timeout=20)) as protocol:

        async def one(number: int) -> None:
            await asyncio.sleep(draw.random() * 2)
            task = asyncio.create_task(protocol.run(["sh", "-c", "cat; sleep 0.05"], input=f"{number}"))
            if draw.random() < 0.4:
                await asyncio.sleep(draw.random() / 3)
                task.cancel()
            try:
                assert await task == f"{number}"
            except (ConnectionFailed, asyncio.CancelledError):
                assert task.done()

        work = asyncio.gather(*(one(number) for number in range(150)))
        for _ in range(4):
            await asyncio.sleep(0.45)
            proxy.drop()
        await work
        await nothing_left(protocol, server)
        assert len(server.connections()) <= 4


# Losses and refusals


async def test_a_stalled_connection_is_given_up_and_replaced(sshd_bare: Sshd, proxy_factory: MakeProxy) -> None:
    proxy = proxy_factory(sshd_bare.port)
    async with AsyncsshProtocol(connection_to(sshd_bare, port=proxy.port, keepalive_interval=0.2)) as protocol:
        running = asyncio.create_task(protocol.run(["sleep", "1000"]))
        while not sshd_bare.sessions():
            await asyncio.sleep(0.02)
        proxy.stall()
        with pytest.raises(ConnectionFailed, match="lost"):
            await asyncio.wait_for(running, 10)
        assert await protocol.run(["echo", "back"]) == "back\n"


async def test_a_read_goes_on_by_itself_on_a_new_connection(sshd_bare: Sshd, proxy_factory: MakeProxy) -> None:
    proxy = proxy_factory(sshd_bare.port)
    script = 'if mkdir "$1"; then exec sleep 20; else echo text; fi'
    async with AsyncsshProtocol(connection_to(sshd_bare, port=proxy.port)) as protocol:
        argv = ["sh", "-c", script, "sh", f"first.{proxy.port}"]
        reading = asyncio.create_task(execute(protocol, argv, repeatable=True))
        while not (sshd_bare.home / f"first.{proxy.port}").exists():
            await asyncio.sleep(0.02)
        proxy.drop()
        assert (await asyncio.wait_for(reading, 15)).stdout == b"text\n"
    assert proxy.connections == 2


async def test_logins_that_the_server_drops_are_tried_again(sshd_bare: Sshd, proxy_factory: MakeProxy) -> None:
    proxy = proxy_factory(sshd_bare.port)
    proxy.push(Plan(action="refuse"), Plan(action="cut", after=30), Plan(action="reset", after=600))
    async with AsyncsshProtocol(connection_to(sshd_bare, port=proxy.port)) as protocol:
        answers = await asyncio.gather(*(protocol.run(["echo", "in"]) for _ in range(20)))
    assert set(answers) == {"in\n"}


async def test_a_server_that_drops_every_login_is_told_so(sshd_bare: Sshd, proxy_factory: MakeProxy) -> None:
    proxy = proxy_factory(sshd_bare.port, Plan(action="refuse"))
    async with AsyncsshProtocol(connection_to(sshd_bare, port=proxy.port, connect_timeout=1.5)) as protocol:
        with pytest.raises(ConnectionFailed, match="MaxStartups.*PerSourcePenalties.*It was tried [2-5] times"):
            await protocol.run(["true"])
    assert proxy.connections <= 5


async def test_many_clients_get_through_a_server_that_allows_one_login_at_a_time(make_sshd: MakeSshd) -> None:
    server = make_sshd(max_startups="1:100:1")
    protocols = [AsyncsshProtocol(connection_to(server)) for _ in range(5)]
    answers = await asyncio.gather(*(protocol.run(["echo", "in"]) for protocol in protocols))
    assert set(answers) == {"in\n"}
    for protocol in protocols:
        await protocol.aclose()


async def test_idle_connections_are_closed_and_one_is_kept(make_sshd: MakeSshd) -> None:
    server = make_sshd()
    limits = Limits(max_sessions=1, max_connections=3, idle_after=0.3, grow_after=0.0)
    connections = Connections(Login(connection_to(server)), limits)
    leases = await asyncio.gather(*(connections.lease() for _ in range(3)))
    assert len(server.connections()) == 3
    for ticket, _ in leases:
        connections.release(ticket)
    async with asyncio.timeout(10):
        while len(server.connections()) > 1:
            await asyncio.sleep(0.05)
    assert repr(connections) == "1 connections, 0 sessions, 0 waiting"
    await connections.aclose()


# Event loops, closing, pickling


async def test_closing_twice_and_using_it_again(sshd_bare: Sshd) -> None:
    protocol = AsyncsshProtocol(connection_to(sshd_bare))
    await protocol.aclose()
    for _ in range(2):
        assert await protocol.run(["echo", "on"]) == "on\n"
        await protocol.aclose()
        await protocol.aclose()
    assert repr(protocol) == "<AsyncsshProtocol 127.0.0.1: not connected>"


async def test_closing_fails_what_runs_and_what_waits(sshd_bare: Sshd) -> None:
    protocol = AsyncsshProtocol(connection_to(sshd_bare, max_connections=1, max_sessions=1))
    tasks = [asyncio.create_task(protocol.run(["sleep", "1000"])) for _ in range(3)]
    while not sshd_bare.sessions():
        await asyncio.sleep(0.02)
    await protocol.aclose()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, ConnectionFailed) for each in outcomes), outcomes
    assert not sshd_bare.sessions()


async def test_closing_during_the_login(sshd_bare: Sshd) -> None:
    for milliseconds in range(0, 60, 6):
        protocol = AsyncsshProtocol(connection_to(sshd_bare))
        task = asyncio.create_task(protocol.run(["true"]))
        await asyncio.sleep(milliseconds / 1000)
        await protocol.aclose()
        await asyncio.wait((task,), timeout=5)
        assert task.done()
        assert task.exception() is None or isinstance(task.exception(), ConnectionFailed)
    assert len(asyncio.all_tasks()) == 1


async def test_a_pickled_protocol_works_and_holds_no_secret(sshd_bare: Sshd) -> None:
    original = AsyncsshProtocol(connection_to(sshd_bare, password="secret-word"))
    await original.run(["true"])
    data = pickle.dumps(original)
    await original.aclose()
    assert b"secret-word" not in data
    async with pickle.loads(data) as protocol:
        assert await protocol.run(["echo", "again"]) == "again\n"


@pytest.mark.parametrize("ending", ["await protocol.aclose()", "pass", "del protocol; await asyncio.sleep(0.1)"])
async def test_successive_event_loops_leave_no_warning(sshd_bare: Sshd, ending: str) -> None:
    program = f"""
import asyncio, sys
from pybatch_async import ConnectionParameters
from pybatch_async.protocols.asyncssh import AsyncsshProtocol
def make():
    return AsyncsshProtocol(ConnectionParameters("127.0.0.1", {sshd_bare.user!r}, port={sshd_bare.port},
        client_keys=[{str(sshd_bare.client_key)!r}], known_hosts={str(sshd_bare.known_hosts)!r}, config=False))
kept = make()
async def main():
    protocol = make()
    assert await protocol.run(["echo", "1"]) == "1\\n"
    assert await kept.run(["echo", "2"]) == "2\\n"
    waiting = asyncio.create_task(kept.run(["sleep", "1000"]))
    await asyncio.sleep(0.2)
    if {ending!r}.startswith("await"):
        waiting.cancel()
        await asyncio.wait((waiting,))
        await kept.aclose()
    {ending}
for _ in range(3):
    asyncio.run(main())
"""
    argv = [sys.executable, "-X", "dev", "-W", "error", "-c", program]
    process = await asyncio.create_subprocess_exec(*argv, stdout=PIPE, stderr=STDOUT)
    output, _ = await process.communicate()
    assert (process.returncode, output.decode()) == (0, "")
    while sshd_bare.sessions() or sshd_bare.connections():
        await asyncio.sleep(0.02)


def test_what_a_loop_that_is_over_had_open_is_not_shown(sshd_bare: Sshd) -> None:
    protocol = AsyncsshProtocol(connection_to(sshd_bare))
    for _ in range(2):
        asyncio.run(protocol.run(["true"]))
        assert "not connected" in repr(protocol)


async def test_aes_gcm_is_preferred_and_the_others_are_kept(make_sshd: MakeSshd) -> None:
    for server, cipher in (
        (make_sshd(), "aes128-gcm@openssh.com"),
        (make_sshd(extra=("Ciphers chacha20-poly1305@openssh.com",)), "chacha20-poly1305@openssh.com"),
    ):
        link = await Login(connection_to(server)).connect(lambda: None)
        assert link.connection.get_extra_info("send_cipher") == cipher
        assert link.connection.get_extra_info("send_compression") == "none"
        link.close()
        await link.wait_closed(5)


async def execute(
    protocol: AsyncsshProtocol,
    argv: list[str],
    *,
    input: Source = None,
    output: Sink | None = None,
    repeatable: bool = False,
) -> Completed:
    """Run a command as the copying operations do."""
    return await protocol._execute(argv, input=input, output=output, timeout=60, repeatable=repeatable)


async def nothing_left(protocol: AsyncsshProtocol, server: Sshd) -> None:
    """Wait until client and server agree that no session is left."""
    async with asyncio.timeout(10):
        while server.sessions() or "0 sessions, 0 waiting" not in repr(protocol):
            await asyncio.sleep(0.02)
