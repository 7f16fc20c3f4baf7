# SPDX-License-Identifier: MIT
"""AsyncsshProtocol against a server of asyncssh's own, in this process, that misbehaves on cue."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncssh
import pytest

from pybatch_async import AuthenticationFailed, CommandFailed, ConnectionFailed, ConnectionParameters
from pybatch_async.protocols.asyncssh import AsyncsshProtocol
from tests.integration.test_asyncssh import debug_loop, execute

__all__ = ["debug_loop"]

Process = asyncssh.SSHServerProcess[bytes]
Command = Callable[[Process], Awaitable[None]]


@dataclass
class Behaviour:
    """Say how the server behaves, and note what it saw.

    :param command: what runs for each command, after the mark was printed.
    :param sessions: most sessions of one connection; more are refused, as sshd's MaxSessions does.
    :param on_open: what happens before a session is opened; the connection is handed over.
    :param starts_commands: False refuses to start any.
    :param prints_mark: False runs what the server likes, as ForceCommand and nologin do.
    :param challenges: questions of keyboard-interactive, each with its right answer; none for no login at all.
    """

    command: Command
    sessions: int = 100
    on_open: Callable[[asyncssh.SSHServerConnection], Awaitable[None]] | None = None
    challenges: list[tuple[str, str]] = field(default_factory=list)
    starts_commands: bool = True
    prints_mark: bool = True
    logins: int = 0
    refused: int = 0
    most: int = 0


class Server(asyncssh.SSHServer):
    """Serve one connection."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._conn: asyncssh.SSHServerConnection
        self._open = 0

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn
        self._behaviour.logins += 1

    def begin_auth(self, username: str) -> bool:
        return bool(self._behaviour.challenges)

    def kbdint_auth_supported(self) -> bool:
        return True

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        questions = [(question, False) for question, _ in self._behaviour.challenges]
        return "Two factors", "Both are needed.\x1b[2J", "", questions

    def validate_kbdint_response(self, username: str, responses: Any) -> bool:
        return list(responses) == [answer for _, answer in self._behaviour.challenges]

    async def _started(self, process: Process) -> None:
        match = re.match(r"echo (\w+);exec ", process.command or "")
        try:
            if match and self._behaviour.prints_mark:
                process.stdout.write(match[1].encode() + b"\n")
            await self._behaviour.command(process)
        finally:
            self._open -= 1

    async def session_requested(self) -> Any:
        if self._behaviour.on_open:
            await self._behaviour.on_open(self._conn)
        if self._open >= self._behaviour.sessions:
            self._behaviour.refused += 1
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "open failed")
        self._open += 1
        self._behaviour.most = max(self._behaviour.most, self._open)
        kind = asyncssh.SSHServerProcess if self._behaviour.starts_commands else RefusingProcess
        return kind(self._started, None, 3, False)


class RefusingProcess(asyncssh.SSHServerProcess[bytes]):
    """Start no command."""

    def exec_requested(self, command: str) -> bool:
        return False


@asynccontextmanager
async def serving(behaviour: Behaviour) -> AsyncIterator[ConnectionParameters]:
    """Run the server; the parameters reach it."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.create_server(
        lambda: Server(behaviour), "127.0.0.1", 0, server_host_keys=[key], encoding=None, line_editor=False
    )
    async with server:
        yield ConnectionParameters(
            "127.0.0.1", "someone", port=server.get_port(), client_keys=[], config=False, verify_host_key=False
        )


async def says_done(process: Process) -> None:
    """Run nothing, well."""
    process.stdout.write(b"done\n")
    process.exit(0)


# Sessions


@pytest.mark.parametrize("sessions", [1, 2, 5])
async def test_refused_sessions_never_surface(sessions: int) -> None:
    async def briefly(process: Process) -> None:
        await asyncio.sleep(0.002)
        await says_done(process)

    behaviour = Behaviour(briefly, sessions)
    async with serving(behaviour) as params, AsyncsshProtocol(params) as protocol:
        answers = await asyncio.gather(*(protocol.run(["x"]) for _ in range(150)))
    assert set(answers) == {"done\n"}
    assert behaviour.logins <= 4
    assert behaviour.refused > 0 and behaviour.most <= sessions


async def test_the_first_in_line_are_served_first_even_when_refused() -> None:
    order: list[str] = []

    async def noted(process: Process) -> None:
        order.append(str((process.command or "").split()[-1]))
        await asyncio.sleep(0.01)
        await says_done(process)

    async with serving(Behaviour(noted, sessions=1)) as params:
        params.max_connections = 1
        async with AsyncsshProtocol(params) as protocol:
            await asyncio.gather(*(protocol.run(["x", str(number)]) for number in range(30)))
    assert order == [str(number) for number in range(30)]


async def test_a_command_that_the_server_refuses_to_start_is_told() -> None:
    async with serving(Behaviour(says_done, starts_commands=False)) as params, AsyncsshProtocol(params) as protocol:
        with pytest.raises(ConnectionFailed, match="127.0.0.1 starts no command"):
            await protocol.run(["x"])
        assert "0 sessions, 0 waiting" in repr(protocol)


# Connections that die


async def test_an_operation_that_had_not_started_goes_on_by_itself() -> None:
    victims: set[asyncssh.SSHServerConnection] = set()

    async def die_twice(conn: asyncssh.SSHServerConnection) -> None:
        if conn in victims or len(victims) < 2:
            victims.add(conn)
            conn.abort()

    behaviour = Behaviour(says_done, on_open=die_twice)
    async with serving(behaviour) as params, AsyncsshProtocol(params) as protocol:
        assert await asyncio.gather(*(protocol.run(["x"]) for _ in range(5))) == ["done\n"] * 5
    assert behaviour.logins == 3


async def test_an_operation_that_may_have_happened_is_left_to_its_owner_and_a_read_is_not() -> None:
    runs = 0

    async def die_first(process: Process) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            process.get_extra_info("connection").abort()
        else:
            await says_done(process)

    async with serving(Behaviour(die_first)) as params, AsyncsshProtocol(params) as protocol:
        with pytest.raises(ConnectionFailed, match="not known"):
            await protocol.run(["x"])
        runs = 0
        assert (await execute(protocol, ["x"], repeatable=True)).stdout == b"done\n"
        assert "0 sessions, 0 waiting" in repr(protocol)


async def test_a_read_that_always_loses_its_connection_gives_up() -> None:
    async def die(process: Process) -> None:
        process.get_extra_info("connection").abort()

    behaviour = Behaviour(die)
    async with serving(behaviour) as params, AsyncsshProtocol(params) as protocol:
        with pytest.raises(ConnectionFailed):
            await execute(protocol, ["x"], repeatable=True)
    assert behaviour.logins == 4


async def test_what_a_sink_has_taken_is_not_given_twice() -> None:
    taken = asyncio.Event()
    chunks: list[bytes] = []

    async def half(process: Process) -> None:
        process.stdout.write(b"half")
        await taken.wait()
        process.get_extra_info("connection").abort()

    async def sink(chunk: bytes) -> None:
        chunks.append(chunk)
        taken.set()

    async with serving(Behaviour(half)) as params, AsyncsshProtocol(params) as protocol:
        with pytest.raises(ConnectionFailed):
            await execute(protocol, ["x"], output=sink, repeatable=True)
    assert chunks == [b"half"]


async def test_an_input_that_can_be_opened_again_is_sent_again_whole() -> None:
    runs = 0
    received: list[bytes] = []

    async def source() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async def die_first(process: Process) -> None:
        nonlocal runs
        runs += 1
        received.append(await process.stdin.read())
        if runs == 1:
            process.get_extra_info("connection").abort()
        else:
            await says_done(process)

    async with serving(Behaviour(die_first)) as params, AsyncsshProtocol(params) as protocol:
        await execute(protocol, ["x"], input=source, repeatable=True)
        assert received == [b"one two"] * 2
        runs = 0
        with pytest.raises(ConnectionFailed):
            await execute(protocol, ["x"], input=source(), repeatable=True)


async def test_a_channel_closed_without_an_exit_code_is_a_loss() -> None:
    async def close(process: Process) -> None:
        process.close()

    async with serving(Behaviour(close)) as params, AsyncsshProtocol(params) as protocol:
        with pytest.raises(ConnectionFailed, match="without an exit code"):
            await protocol.run(["x"])
        assert "1 connections, 0 sessions" in repr(protocol)


async def test_an_idle_connection_that_died_is_replaced_unnoticed() -> None:
    conns: list[asyncssh.SSHServerConnection] = []

    async def note(conn: asyncssh.SSHServerConnection) -> None:
        conns.append(conn)

    async with serving(Behaviour(says_done, on_open=note)) as params, AsyncsshProtocol(params) as protocol:
        await protocol.run(["x"])
        conns[0].abort()
        assert await protocol.run(["x"]) == "done\n"


# Cancelling


async def test_a_cancelled_command_gets_term_before_its_channel_is_closed() -> None:
    started = asyncio.Event()
    ended = asyncio.Event()
    events: list[str] = []

    async def wait(process: Process) -> None:
        started.set()
        try:
            await process.stdin.read()
            events.append("end of input")
        except asyncssh.SignalReceived as error:
            events.append(error.signal)
        process.exit_with_signal("TERM")
        ended.set()

    async with serving(Behaviour(wait)) as params, AsyncsshProtocol(params) as protocol:

        async def source() -> AsyncIterator[bytes]:
            yield b"x"
            await asyncio.Event().wait()

        running = asyncio.create_task(execute(protocol, ["x"], input=source()))
        await started.wait()
        running.cancel()
        await asyncio.wait((running,))
        assert running.cancelled() and ended.is_set()
        assert events == ["TERM"]
        assert "1 connections, 0 sessions, 0 waiting" in repr(protocol)


async def test_cancelling_while_the_session_is_being_opened_closes_it() -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def slowly(conn: asyncssh.SSHServerConnection) -> None:
        asked.set()
        await go.wait()

    async def wait(process: Process) -> None:
        with contextlib.suppress(asyncssh.SignalReceived):
            await process.stdin.read()
        process.exit_with_signal("TERM")

    async with serving(Behaviour(wait, on_open=slowly)) as params, AsyncsshProtocol(params) as protocol:
        running = asyncio.create_task(protocol.run(["x"]))
        await asked.wait()
        running.cancel()
        await asyncio.sleep(0)
        assert "1 sessions" in repr(protocol)  # it is held until the host has closed it
        go.set()
        await asyncio.wait((running,))
        async with asyncio.timeout(15):
            while "0 sessions, 0 waiting" not in repr(protocol):
                await asyncio.sleep(0.05)


# Logging in


async def test_password_and_one_time_code_are_answered_each_by_its_own() -> None:
    asked: list[str] = []

    async def prompt(question: str) -> str:
        asked.append(question)
        return "123456"

    behaviour = Behaviour(says_done, challenges=[("Password: ", "word"), ("One-time code: ", "123456")])
    async with serving(behaviour) as params:
        params.password, params.prompt = "word", prompt
        async with AsyncsshProtocol(params) as protocol:
            assert await asyncio.gather(*(protocol.run(["x"]) for _ in range(40))) == ["done\n"] * 40
    assert asked == ["someone@127.0.0.1: One-time code: "]
    assert behaviour.logins == 1


async def test_the_prompt_gets_the_hosts_words_without_what_steers_a_terminal() -> None:
    asked: list[str] = []

    async def prompt(question: str) -> str:
        asked.append(question)
        return "123456"

    async with serving(Behaviour(says_done, challenges=[("Code: ", "123456")])) as params:
        params.prompt = prompt
        async with AsyncsshProtocol(params) as protocol:
            await protocol.run(["x"])
    assert asked == ["someone@127.0.0.1: Two factors Both are needed.[2J\nCode: "]


async def test_a_question_without_a_prompt_is_told() -> None:
    async with serving(Behaviour(says_done, challenges=[("Code: ", "1")])) as params:
        params.password = "word"
        async with AsyncsshProtocol(params) as protocol:
            with pytest.raises(AuthenticationFailed, match="it asked 'Code: '; give a prompt"):
                await protocol.run(["x"])


async def test_a_refused_login_is_tried_anew_by_a_later_call() -> None:
    answers = ["wrong", "right"]

    async def prompt(question: str) -> str:
        return answers.pop(0)

    async with serving(Behaviour(says_done, challenges=[("Code: ", "right")])) as params:
        params.prompt = prompt
        async with AsyncsshProtocol(params) as protocol:
            outcomes = await asyncio.gather(*(protocol.run(["x"]) for _ in range(9)), return_exceptions=True)
            assert {type(each) for each in outcomes} == {AuthenticationFailed}
            assert await protocol.run(["x"]) == "done\n"


async def test_cancelling_everybody_leaves_the_question_to_the_next_caller() -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def prompt(question: str) -> str:
        assert not asked.is_set(), "asked twice"
        asked.set()
        await answer.wait()
        return "right"

    async with serving(Behaviour(says_done, challenges=[("Code: ", "right")])) as params:
        params.prompt = prompt
        async with AsyncsshProtocol(params) as protocol:
            first = asyncio.create_task(protocol.run(["x"]))
            await asked.wait()
            first.cancel()
            await asyncio.wait((first,))
            second = asyncio.create_task(protocol.run(["x"]))
            await asyncio.sleep(0)
            answer.set()
            assert await second == "done\n"


# What else it must not do


async def test_another_program_in_the_commands_place_is_told() -> None:
    async def forced(process: Process) -> None:
        process.stdout.write(b"Welcome to the gateway\n")
        process.exit(0)

    async with serving(Behaviour(forced, prints_mark=False)) as params, AsyncsshProtocol(params) as protocol:
        with pytest.raises(ConnectionFailed, match="ForceCommand") as caught:
            await protocol.run(["x"])
    assert "Welcome to the gateway" in str(caught.value)


async def test_what_a_login_shell_says_of_a_failure_is_told() -> None:
    async def closed(process: Process) -> None:
        process.stdout.write(b"This account is currently not available.\n")
        process.exit(1)

    async with serving(Behaviour(closed, prints_mark=False)) as params, AsyncsshProtocol(params) as protocol:
        with pytest.raises(CommandFailed, match="not available"):
            await protocol.run(["x"])


@pytest.fixture
def told_everything() -> Iterator[None]:
    """An application that logs all it is told at INFO."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.INFO)
    yield
    root.setLevel(level)


async def test_asyncssh_stays_quiet_and_no_secret_is_logged(
    told_everything: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(Behaviour(says_done, challenges=[("Password: ", "secret-word")])) as params:
        caplog.clear()
        params.password = "secret-word"
        async with AsyncsshProtocol(params) as protocol:
            await protocol.run(["x"])
    assert [record for record in caplog.records if record.name == "asyncssh"] == []
    assert "secret-word" not in caplog.text
