# SPDX-License-Identifier: MIT
"""What every protocol does alike: this machine, the ssh program, asyncssh."""

from __future__ import annotations

import asyncio
import os
import pickle
import shutil
import socket
import stat
import string
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pybatch_async as pb
from pybatch_async.protocols.archive import PART
from pybatch_async.protocols.asyncssh import AsyncsshProtocol
from pybatch_async.protocols.local import LocalProtocol
from pybatch_async.protocols.remote import RemoteProtocol
from pybatch_async.protocols.ssh import SshProtocol
from tests.conftest import MakeSshd
from tests.services.accounts import Accounts
from tests.services.connection import connection_to
from tests.services.sshd import Sshd
from tests.waiting import until

OVER_SSH: dict[str, Callable[[pb.ConnectionParameters], RemoteProtocol]] = {
    "ssh": SshProtocol,
    "asyncssh": AsyncsshProtocol,
}
LOGINS = OVER_SSH | {"ssh without sharing": lambda params: SshProtocol(params, multiplex=False)}
SLOW = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
# Names of unfinished copies (archive.PART) are the library's own: it copies none of them.
NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="/\0"), min_size=1, max_size=40).filter(
    lambda name: name not in (".", "..") and not name.startswith(PART)
)
ODD = st.text(st.sampled_from("'\"`$;|&<>(){}[]*?~!#\\ \t\n\r%^=-é漢🦊" + string.ascii_letters), max_size=20)
ARGUMENTS = st.lists(ODD | st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")), max_size=6)
ODD_NAMES = [
    "-rf",
    "a b",
    "new\nline",
    "'quoted'",
    '"',
    "é漢",
    "$(touch owned)",
    ";id",
    "*",
    "~",
    "\\n",
    "!x",
    "%s",
    "-",
]


def connected(kind: str, server: Sshd) -> RemoteProtocol:
    return OVER_SSH[kind](connection_to(server))


@pytest.fixture(params=["local", *OVER_SSH])
async def protocol(request: pytest.FixtureRequest) -> AsyncIterator[RemoteProtocol]:
    kind = request.param
    chosen = LocalProtocol() if kind == "local" else connected(kind, request.getfixturevalue("sshd_bare"))
    async with chosen:
        yield chosen


@pytest.fixture
async def there(protocol: RemoteProtocol) -> AsyncIterator[Path]:
    """A directory of the host that its user can write to; the tests look at it from outside."""
    path = Path(f"/tmp/pybatch_async-test-{uuid.uuid4().hex}")
    await protocol.run(["mkdir", str(path)])
    yield path
    shutil.rmtree(path)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory of this machine."""
    directory = tmp_path / "here"
    directory.mkdir()
    return directory


def tree(top: Path) -> dict[str, object]:
    """Describe all that stands below a directory."""
    found: dict[str, object] = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        if path.is_symlink():
            found[name] = ("->", os.readlink(path))
        elif path.is_dir():
            found[name] = "directory"
        else:
            found[name] = (path.read_bytes(), stat.S_IMODE(path.stat().st_mode) & 0o111, int(path.stat().st_mtime))
    return found


def make_tree(top: Path) -> Path:
    (top / "sub" / "deeper").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (top / "sub" / "run.sh").chmod(0o755)
    (top / ".hidden").write_bytes(b"\0\xff")
    (top / "nothing").touch()
    os.utime(top / "nothing", (1_000_000_000, 1_000_000_000))
    (top / "link").symlink_to("sub/run.sh")
    (top / "dangling").symlink_to("/no/such/place")
    (top / "into").symlink_to("sub")
    for name in ODD_NAMES:
        (top / "sub" / "deeper" / name).write_text(name)
    return top


# Commands


async def test_output_of_a_command_is_returned(protocol: RemoteProtocol) -> None:
    assert await protocol.run(["echo", "a  b"]) == "a  b\n"


async def test_output_that_is_no_utf8_is_replaced(protocol: RemoteProtocol) -> None:
    assert await protocol.run(["printf", r"a\377b"]) == "a\ufffdb"


async def pieces() -> AsyncIterator[bytes]:
    for number in range(3):
        yield f"{number}".encode()
        await asyncio.sleep(0)


async def test_input_is_text_bytes_or_a_stream(protocol: RemoteProtocol) -> None:
    assert await protocol.run(["cat"], input="é\n") == "é\n"
    assert await protocol.run(["cat"], input=b"bytes") == "bytes"
    assert await protocol.run(["cat"], input=pieces()) == "012"
    assert await protocol.run(["cat"], input="") == ""
    assert await protocol.run(["cat"]) == ""


async def test_piped_output_is_handed_on_as_it_comes(protocol: RemoteProtocol) -> None:
    taken, has_come = b"", asyncio.Event()

    async def take(chunk: bytes) -> None:
        nonlocal taken
        taken += chunk
        has_come.set()

    async def answer() -> AsyncIterator[bytes]:
        async with asyncio.timeout(30):
            await has_come.wait()
        yield b"answer\n"

    done = await protocol.pipe(["sh", "-c", 'echo question; read line; echo "$line"; exit 3'], answer(), take)
    assert (taken, done.returncode, done.stdout) == (b"question\nanswer\n", 3, b"")


async def test_large_input_and_output_pass(protocol: RemoteProtocol) -> None:
    text = "0123456789abcde\n" * 200_000
    assert await protocol.run(["cat"], input=text) == text


async def test_command_that_does_not_read_its_input_is_no_error(protocol: RemoteProtocol) -> None:
    assert await protocol.run(["echo", "done"], input=b"x" * 3_000_000) == "done\n"


async def test_stream_that_fails_ends_the_command(protocol: RemoteProtocol) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"first"
        raise LookupError("no second")

    with pytest.raises(LookupError, match="no second"):
        await protocol.run(["cat"], input=failing())
    assert await protocol.run(["echo", "next"]) == "next\n"


async def test_command_that_fails_tells_all(protocol: RemoteProtocol) -> None:
    with pytest.raises(pb.CommandFailed) as failure:
        await protocol.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    error = failure.value
    assert (error.returncode, error.stdout, error.stderr) == (3, "out\n", "err\n")
    assert error.host == protocol.host
    assert error.argv == ["sh", "-c", "echo out; echo err >&2; exit 3"]
    assert "err" in str(error) and protocol.host in str(error)


async def test_signal_that_ends_a_command_is_told(protocol: RemoteProtocol) -> None:
    with pytest.raises(pb.CommandFailed) as failure:
        await protocol.run(["sh", "-c", "kill -9 $$"])
    assert failure.value.returncode == (128 + 9 if isinstance(protocol, SshProtocol) else -9)


async def test_missing_program_is_a_failed_command(protocol: RemoteProtocol) -> None:
    with pytest.raises(pb.CommandFailed) as failure:
        await protocol.run(["no-such-program-here", "x"])
    assert failure.value.returncode == 127
    assert "no-such-program-here" in str(failure.value)


@pytest.mark.parametrize("command", [[], "echo", [""], ["a\0b"], ["a", 1], ["\ud800"], None, 3, {"echo": "a"}])
async def test_command_that_no_system_can_run_is_refused(protocol: RemoteProtocol, command: list[str]) -> None:
    with pytest.raises(pb.ConfigurationError):
        await protocol.run(command)


@pytest.mark.parametrize("input", [3, ["a"], "\ud800"])
async def test_input_that_no_command_can_read_is_refused(protocol: RemoteProtocol, input: Any) -> None:
    with pytest.raises(pb.ConfigurationError):
        await protocol.run(["cat"], input=input)


@pytest.mark.parametrize("timeout", ["1", -1, 0, float("nan"), float("inf"), True, [1]])
async def test_timeout_that_is_no_number_of_seconds_is_refused(
    protocol: RemoteProtocol, there: Path, timeout: Any
) -> None:
    with pytest.raises(pb.ConfigurationError, match="timeout of a command is a number of seconds above 0, not"):
        await protocol.run(["touch", f"{there}/ran"], timeout=timeout)
    assert not os.listdir(there)


@pytest.mark.parametrize("piece", ["text", None, 3])
async def test_stream_of_something_else_than_bytes_is_refused(protocol: RemoteProtocol, piece: Any) -> None:
    is_closed = asyncio.Event()

    async def wrong() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            yield piece
        finally:
            is_closed.set()

    with pytest.raises(pb.ConfigurationError, match=f"in pieces of bytes, not of {type(piece).__name__}"):
        await protocol.run(["cat"], input=wrong())
    assert is_closed.is_set()
    assert await protocol.run(["cat"], input=pieces()) == "012"


@pytest.mark.parametrize("content", [b"bytes", None, "\ud800"])
async def test_content_that_is_no_text_is_refused(protocol: RemoteProtocol, there: Path, content: Any) -> None:
    with pytest.raises(pb.ConfigurationError):
        await protocol.create(f"{there}/file", content)


@pytest.mark.parametrize("path", [None, 3, "", "a\0b", "\ud800", b"bytes"])
async def test_what_is_no_path_is_refused_everywhere(protocol: RemoteProtocol, here: Path, path: Any) -> None:
    for operation in (
        protocol.read(path),
        protocol.create(path, ""),
        protocol.upload([path], "x"),
        protocol.upload(path, "x"),
        protocol.upload([here], path),
        protocol.download([path], here),
        protocol.download(path, here),
        protocol.download(["x"], path),
    ):
        with pytest.raises(pb.ConfigurationError):
            await operation


async def test_a_path_object_names_a_remote_file(protocol: RemoteProtocol, there: Path, here: Path) -> None:
    await protocol.create(there / "a", "text")  # type: ignore[arg-type]  # text is asked for, a Path is understood
    await protocol.download([there / "a"], here)  # type: ignore[list-item]
    assert (await protocol.read(there / "a"), (here / "a").read_text()) == ("text", "text")  # type: ignore[arg-type]


async def test_deadline_ends_a_command(protocol: RemoteProtocol, there: Path) -> None:
    script = f"echo $$ >{there}/pid; exec sleep 60"
    with pytest.raises(pb.CommandTimedOut, match="within 1 s"):
        await protocol.run(["sh", "-c", script], timeout=1)
    await gone(int((there / "pid").read_text()))


async def test_cancelling_ends_a_command(protocol: RemoteProtocol, there: Path) -> None:
    running = asyncio.create_task(
        protocol.run(["sh", "-c", f"echo $$ >{there}/part; mv {there}/part {there}/pid; exec sleep 60"])
    )
    await until((there / "pid").exists)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await gone(int((there / "pid").read_text()))


STUBBORN = "trap '' TERM; touch {}/pid.$$; while :; do sleep 0.1; done"


async def test_closing_ends_what_runs_here_and_on_the_host(protocol: RemoteProtocol, there: Path) -> None:
    script = f"touch {there}/pid.$$; exec sleep 1000"
    running = [asyncio.create_task(protocol.run(["sh", "-c", script])) for _ in range(30)]
    await until(lambda: os.listdir(there))
    async with asyncio.timeout(15):
        await protocol.aclose()
    ends = await asyncio.gather(*running, return_exceptions=True)
    assert all(isinstance(end, pb.ConnectionFailed) for end in ends), ends
    assert "closed meanwhile" in str(ends[0]) and protocol.host in str(ends[0])
    for started in os.listdir(there):
        await gone(int(started.removeprefix("pid.")))
    assert await protocol.run(["echo", "again"]) == "again\n"


async def test_closing_ends_a_command_that_ignores_term(protocol: RemoteProtocol, there: Path) -> None:
    running = asyncio.create_task(protocol.run(["sh", "-c", STUBBORN.format(there)]))
    await until(lambda: os.listdir(there))
    async with asyncio.timeout(15):
        await protocol.aclose()
    with pytest.raises(pb.ConnectionFailed, match="closed meanwhile"):
        await running
    (started,) = os.listdir(there)
    await gone(int(started.removeprefix("pid.")))


@pytest.mark.parametrize("kind", LOGINS)
async def test_closing_at_any_moment_leaves_nothing_on_the_host(kind: str, make_sshd: MakeSshd) -> None:
    server = make_sshd()
    for milliseconds in (0, 20, 60, 120, 200, 300):
        protocol = LOGINS[kind](connection_to(server))
        running = asyncio.create_task(protocol.run(["sleep", "1000"]))
        await asyncio.sleep(milliseconds / 1000)
        await protocol.aclose()
        assert running.done()
        with pytest.raises(pb.ConnectionFailed, match="closed"):
            await running
    await until(lambda: not server.sessions() and not server.connections())


async def test_closing_ends_a_copy_for_good(protocol: RemoteProtocol, there: Path, here: Path) -> None:
    await protocol.run(["truncate", "-s", "1G", f"{there}/large"])
    copying = asyncio.create_task(protocol.download([f"{there}/large"], here))
    await until(lambda: any(path.stat().st_size for path in here.rglob("large")))
    await protocol.aclose()
    with pytest.raises(pb.ConnectionFailed, match="closed meanwhile"):
        await copying
    assert not os.listdir(here)


async def test_leaving_a_block_of_the_local_protocol_leaves_alone_what_others_run() -> None:
    others = asyncio.create_task(LocalProtocol().run(["sh", "-c", "read line; echo $line"], input=later()))
    async with LocalProtocol() as protocol:
        await protocol.run(["true"])
    assert await others == "went on\n"


async def later() -> AsyncIterator[bytes]:
    yield b"went "
    await asyncio.sleep(0.3)
    yield b"on\n"


async def test_cancelling_ends_a_command_that_ignores_term(protocol: RemoteProtocol, there: Path) -> None:
    running = asyncio.create_task(protocol.run(["sh", "-c", STUBBORN.format(there)]))
    await until(lambda: os.listdir(there))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    (started,) = os.listdir(there)
    await gone(int(started.removeprefix("pid.")))


async def gone(pid: int) -> None:
    await until(lambda: not os.path.exists(f"/proc/{pid}"))


async def test_many_commands_at_once(protocol: RemoteProtocol) -> None:
    answers = await asyncio.gather(*(protocol.run(["echo", str(i)]) for i in range(60)))
    assert answers == [f"{i}\n" for i in range(60)]


async def test_pickled_protocol_works(protocol: RemoteProtocol) -> None:
    async with pickle.loads(pickle.dumps(protocol)) as copy:
        assert await copy.run(["echo", "copy"]) == "copy\n"


async def test_protocol_is_used_again_after_it_was_closed(protocol: RemoteProtocol) -> None:
    await protocol.run(["true"])
    await protocol.aclose()
    await protocol.aclose()
    assert await protocol.run(["echo", "again"]) == "again\n"


@pytest.fixture(scope="session", params=["bash", "tcsh", "fish"])
def server_of_a_shell(request: pytest.FixtureRequest, accounts: Accounts) -> Iterator[Sshd]:
    from tests.conftest import running_sshd
    from tests.services.sshd import SshdOptions

    account = accounts.plain() if request.param == "bash" else getattr(accounts, request.param)()
    keys, workspace = request.getfixturevalue("ssh_keys"), request.getfixturevalue("workspace")
    with running_sshd(workspace, keys, account, SshdOptions()) as server:
        yield server


ECHO = ["sh", "-c", r'for item; do printf "%s\0" "$item"; done', "sh"]


@pytest.mark.parametrize("kind", OVER_SSH)
async def test_any_argument_reaches_the_program_through_any_login_shell(kind: str, server_of_a_shell: Sshd) -> None:
    async with connected(kind, server_of_a_shell) as protocol:
        assert await echoed(protocol, ODD_NAMES) == ODD_NAMES
        await all_arguments_arrive(protocol)


@pytest.mark.parametrize("kind", OVER_SSH)
async def test_files_go_through_any_login_shell(kind: str, server_of_a_shell: Sshd, here: Path) -> None:
    original = make_tree(here / "data")
    async with connected(kind, server_of_a_shell) as protocol:
        await protocol.upload([original], f"copy-{kind}")
        await protocol.upload([original / "sub"], f"~/copy-{kind}")
        await protocol.download([f"copy-{kind}"], here / "back")
        await protocol.create(f"copy-{kind}/text", "it's\nodd\\!")
        assert await protocol.read(f"~/copy-{kind}/text") == "it's\nodd\\!"
    assert tree(here / "back") == tree(original)


async def test_any_argument_reaches_the_program_on_this_machine() -> None:
    await all_arguments_arrive(LocalProtocol())


async def echoed(protocol: RemoteProtocol, arguments: list[str]) -> list[str]:
    return (await protocol.run([*ECHO, *arguments])).split("\0")[:-1]


async def all_arguments_arrive(protocol: RemoteProtocol) -> None:
    loop = asyncio.get_running_loop()

    @SLOW
    @given(ARGUMENTS)
    def arrive(arguments: list[str]) -> None:
        # Hypothesis is synchronous: it runs in a thread, and the examples on the loop.
        answer = asyncio.run_coroutine_threadsafe(echoed(protocol, arguments), loop)
        assert answer.result(60) == arguments

    await asyncio.to_thread(arrive)


# Keys


@pytest.mark.parametrize("kind", LOGINS)
async def test_missing_key_is_named_before_anything_is_sent(kind: str, sshd_bare: Sshd, tmp_path: Path) -> None:
    keys = [sshd_bare.client_key, tmp_path / "no_key"]
    protocol = LOGINS[kind](connection_to(sshd_bare, client_keys=keys, port=1))  # where nobody listens
    with pytest.raises(pb.ConfigurationError, match="client_keys: .*no_key' can not be read"):
        await protocol.run(["true"])


# What goes wrong with a login


async def refusal(kind: str, params: pb.ConnectionParameters, expected: type[pb.PybatchException]) -> str:
    """Return what is said of a login that fails."""
    with pytest.raises(expected) as failure:
        await LOGINS[kind](params).run(["true"])
    return str(failure.value)


@pytest.mark.parametrize("kind", LOGINS)
async def test_a_name_nobody_knows_is_told(kind: str, sshd_bare: Sshd) -> None:
    text = await refusal(kind, connection_to(sshd_bare, host="no-such.invalid"), pb.HostUnreachable)
    assert text.startswith("The name no-such.invalid is not known here: ")
    assert text.endswith(". Check its spelling and the network.")


@pytest.mark.parametrize("kind", LOGINS)
async def test_a_port_that_nobody_listens_on_is_told(kind: str, sshd_bare: Sshd) -> None:
    text = await refusal(kind, connection_to(sshd_bare, port=1), pb.HostUnreachable)
    assert text == "127.0.0.1 (port 1) refuses connections: no ssh server listens there. Check host and port."


@pytest.mark.parametrize("kind", LOGINS)
async def test_a_jump_host_that_does_not_reach_the_host_is_told(
    kind: str, sshd_bare: Sshd, make_sshd: MakeSshd
) -> None:
    gate = make_sshd()
    jump = f"{gate.user}@127.0.0.1:{gate.port}"
    async with asyncio.timeout(10):
        text = await refusal(kind, connection_to(sshd_bare, port=1, proxy_jump=jump), pb.HostUnreachable)
    assert text.startswith("127.0.0.1 (port 1) was not reached through the jump host, which said: ")
    assert "refused" in text


@pytest.mark.parametrize("kind", LOGINS)
async def test_a_refused_login_is_told(kind: str, sshd_bare: Sshd) -> None:
    text = await refusal(kind, connection_to(sshd_bare, user="nobody-here"), pb.AuthenticationFailed)
    assert text.startswith(f"127.0.0.1 (port {sshd_bare.port}) refused the login of nobody-here@127.0.0.1 (tried: ")
    assert text.endswith(
        ". Check the user name and what you log in with; a refused login is not tried again by itself."
    )


@pytest.mark.parametrize("kind", LOGINS)
async def test_an_unknown_host_key_is_told(kind: str, make_sshd: MakeSshd, here: Path) -> None:
    server = make_sshd(own_host_key=True)
    (here / "none").touch()
    text = await refusal(kind, connection_to(server, known_hosts=here / "none"), pb.HostKeyUnknown)
    assert text.startswith(f"The host key of 127.0.0.1 (port {server.port}) is unknown: it shows ssh-ed25519 SHA256:")
    assert text.endswith(f", then run: ssh-keyscan -p {server.port} 127.0.0.1 >> {here}/none")
    text = await refusal(kind, connection_to(server), pb.HostKeyUnknown)
    assert text.startswith(f"The host key of 127.0.0.1 (port {server.port}) HAS CHANGED: ")
    (here / "none").write_text(f"@revoked * {server.host_public_key}\n")
    text = await refusal(kind, connection_to(server, known_hosts=here / "none"), pb.HostKeyUnknown)
    assert text.startswith(f"The host key of 127.0.0.1 (port {server.port}) is marked as revoked")


# Questions


async def nothing(question: str) -> Any:
    return None


async def not_decoded(question: str) -> Any:
    return b"secret"


def plain(question: str) -> str:
    return "secret"


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        (nothing, "text, not a value of type NoneType"),
        (not_decoded, "text, not a value of type bytes"),
        (plain, "plain"),
    ],
)
@pytest.mark.parametrize("kind", LOGINS)
async def test_prompt_that_returns_no_text_is_told(kind: str, prompt: Any, told: str, sshd_password: Sshd) -> None:
    params = connection_to(sshd_password, prompt=prompt, client_keys=None)
    with pytest.raises(pb.ConfigurationError, match=f"^prompt: .*{told}") as failure:
        await LOGINS[kind](params).run(["true"])
    assert "secret" not in str(failure.value)


@pytest.mark.parametrize("kind", LOGINS)
async def test_prompt_that_raises_is_told(kind: str, sshd_password: Sshd) -> None:
    async def raising(question: str) -> str:
        raise EOFError("nobody there")

    params = connection_to(sshd_password, prompt=raising, client_keys=None)
    with pytest.raises(pb.AuthenticationFailed, match="EOFError.*nobody there"):
        await LOGINS[kind](params).run(["true"])


# Jump hosts


@pytest.mark.parametrize(
    "written", ["{user}@{host}:{port}", "ssh://{user}@{host}:{port}", "{user}@[::ffff:{host}]:{port}"]
)
@pytest.mark.parametrize("kind", OVER_SSH)
async def test_jump_host_is_written_as_ssh_takes_it(
    kind: str, written: str, make_sshd: MakeSshd, sshd_bare: Sshd, tmp_path: Path
) -> None:
    gate, known = make_sshd(), tmp_path / "known_hosts"
    known.write_text(f"* {gate.host_public_key}\n")
    jump = written.format(user=gate.user, host=gate.host, port=gate.port)
    async with OVER_SSH[kind](connection_to(sshd_bare, proxy_jump=jump, known_hosts=known)) as protocol:
        assert await protocol.run(["echo", "there"]) == "there\n"
        assert len(gate.connections()) == 1


@pytest.mark.parametrize("kind", OVER_SSH)
async def test_jump_host_none_turns_off_that_of_the_configuration(kind: str, sshd_bare: Sshd, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("Host *\n ProxyJump no-such-gate.invalid\n")
    params = connection_to(sshd_bare, proxy_jump="none", config=tmp_path / "config")
    async with OVER_SSH[kind](params) as protocol:
        assert await protocol.run(["echo", "there"]) == "there\n"


# Text files


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_file_of_any_name_is_written_and_read(protocol: RemoteProtocol, there: Path, name: str) -> None:
    await protocol.create(f"{there}/{name}", "é\nline\r\n")
    assert (there / name).read_bytes() == "é\nline\r\n".encode()
    assert await protocol.read(f"{there}/{name}") == "é\nline\r\n"
    assert os.listdir(there) == [name]


async def test_relative_path_starts_where_commands_do(protocol: RemoteProtocol) -> None:
    name = f"-{uuid.uuid4().hex}"
    await protocol.create(name, "found")
    try:
        assert await protocol.run(["cat", f"./{name}"]) == "found"
        assert await protocol.read(name) == "found"
    finally:
        await protocol.run(["rm", f"./{name}"])


async def test_tilde_is_the_home_directory(protocol: RemoteProtocol, here: Path) -> None:
    name = uuid.uuid4().hex
    home = (await protocol.run(["sh", "-c", "echo $HOME"])).strip()
    await protocol.create(f"~/{name}", "home")
    try:
        assert await protocol.run(["cat", f"{home}/{name}"]) == "home"
        await protocol.download([f"~/{name}"], here)
        await protocol.upload([here / name], "~")
        assert await protocol.read(f"~/{name}") == "home"
    finally:
        await protocol.run(["rm", f"{home}/{name}"])


async def test_bytes_that_are_no_utf8_are_read_replaced(protocol: RemoteProtocol, there: Path) -> None:
    (there / "raw").write_bytes(b"a\xffb")
    assert await protocol.read(f"{there}/raw") == "a\ufffdb"


async def test_file_is_replaced_whole(protocol: RemoteProtocol, there: Path) -> None:
    await protocol.create(f"{there}/file", "long " * 1000)
    await protocol.create(f"{there}/file", "")
    assert await protocol.read(f"{there}/file") == ""


async def test_reading_what_is_missing_names_it(protocol: RemoteProtocol, there: Path) -> None:
    with pytest.raises(pb.PathMissing) as failure:
        await protocol.read(f"{there}/missing")
    assert f"{there}/missing" in str(failure.value) and protocol.host in str(failure.value)


async def test_reading_a_directory_is_refused(protocol: RemoteProtocol, there: Path) -> None:
    with pytest.raises(pb.TransferFailed, match="it is a directory"):
        await protocol.read(str(there))


async def test_writing_into_a_missing_directory_names_it(protocol: RemoteProtocol, there: Path) -> None:
    with pytest.raises(pb.PathMissing, match=f"{there}/no/file"):
        await protocol.create(f"{there}/no/file", "x")
    with pytest.raises(pb.PathMissing, match=f"{there}/no/file"):
        await protocol.upload([__file__], f"{there}/no/file")


async def test_what_the_system_says_is_passed_on(protocol: RemoteProtocol, there: Path) -> None:
    for operation in (protocol.create("/proc/nothing/x/y", ""), protocol.create("/proc/file", "x")):
        with pytest.raises(pb.TransferFailed, match="/proc/"):
            await operation


# Copies


async def test_directory_goes_there_and_back_unchanged(protocol: RemoteProtocol, there: Path, here: Path) -> None:
    original = make_tree(here / "data")
    await protocol.upload([original], f"{there}/copy")
    assert tree(there / "copy") == tree(original)
    await protocol.download([f"{there}/copy"], here / "back")
    assert tree(here / "back") == tree(original)
    assert sorted(os.listdir(here)) == ["back", "data"]
    assert os.listdir(there) == ["copy"]


def with_specials(top: Path) -> Path:
    """Make a directory with a file, a fifo with two names, and a socket."""
    top.mkdir()
    (top / "file").write_text("file")
    os.mkfifo(top / "fifo")
    os.link(top / "fifo", top / "other")
    with socket.socket(socket.AF_UNIX) as here:
        here.bind(str(top / "socket"))
    return top


async def test_sockets_and_fifos_are_left_out_of_a_directory(protocol: RemoteProtocol, there: Path, here: Path) -> None:
    original = with_specials(here / "d")
    async with asyncio.timeout(20):
        await protocol.upload([original], there)  # type: ignore[arg-type]
        assert os.listdir(there / "d") == ["file"]
        with_specials(there / "more")
        await protocol.download([f"{there}/more"], here)
    assert os.listdir(here / "more") == ["file"]


@pytest.mark.parametrize("name", ["fifo", "socket"])
async def test_what_holds_nothing_is_refused_by_name_and_never_hangs(
    protocol: RemoteProtocol, there: Path, here: Path, name: str
) -> None:
    with_specials(there / "d")
    path = f"{there}/d/{name}"
    for operation in (
        protocol.read(path),
        protocol.create(path, "text"),
        protocol.download([path], here),
        protocol.upload([path], there),  # type: ignore[arg-type]
    ):
        async with asyncio.timeout(20):
            with pytest.raises(pb.TransferFailed, match=f"{name}.*(socket, a fifo or a device|neither a file)"):
                await operation
    assert sorted(os.listdir(there / "d")) == ["fifo", "file", "other", "socket"]
    assert not os.listdir(here)


def prepared(top: Path) -> Path:
    """Make what copies are made of and into: two entries, a directory with one of that name, a file in the way."""
    (top / "one").mkdir(parents=True)
    (top / "one" / "same").write_text("new")
    (top / "one" / "more").mkdir()
    (top / "one" / "more" / "inner").write_text("inner")
    (top / "two").write_text("two")
    (top / "shortcut").symlink_to("one")
    (top / "full" / "one" / "more").mkdir(parents=True)
    (top / "full" / "one" / "same").write_text("old")
    (top / "full" / "one" / "kept").write_text("kept")
    (top / "full" / "one" / "more" / "kept").write_text("kept")
    (top / "blocked").mkdir()
    (top / "blocked" / "one").write_text("a file")
    (top / "blocked" / "two").mkdir()
    return top


COPIES = [
    (["two"], "new"),
    (["two"], "full"),
    (["two"], "full/"),
    (["two"], "one/same"),
    (["one"], "new"),
    (["one"], "full"),
    (["one/"], "full"),
    (["one", "two"], "full"),
    (["shortcut"], "full"),
    (["shortcut/"], "full"),
    (["one/more", "one/same"], "full/one"),
    (["full/one"], "."),
    (["one", "two"], "new"),
    (["two"], "new/"),
    (["two"], "no/new"),
    (["one"], "blocked"),
    (["two"], "blocked"),
    (["missing"], "full"),
    (["two", "missing"], "full"),
]


@pytest.mark.parametrize(("entries", "target"), COPIES)
@pytest.mark.parametrize("direction", ["upload", "download"])
async def test_copies_are_those_of_cp(
    protocol: RemoteProtocol, there: Path, here: Path, entries: list[str], target: str, direction: str
) -> None:
    model, source = prepared(here / "model"), prepared(here / "source")
    is_copied = copied_by_cp(model, entries, target)
    destination = prepared(there / "d") if direction == "upload" else prepared(here / "d")
    if direction == "upload":
        await protocol.run(["sh", "-c", f"cp -r {there}/d {there}/mine"])
        destination = there / "mine"
        copy = protocol.upload([f"{source}/{entry}" for entry in entries], f"{destination}/{target}")
    else:
        shutil.copytree(source, there / "s", symlinks=True)
        copy = protocol.download([f"{there}/s/{entry}" for entry in entries], f"{destination}/{target}")
    if not is_copied:
        with pytest.raises(pb.TransferFailed):
            await copy
    else:
        await copy
        assert without_times(tree(destination)) == without_times(tree(model))
    assert not leftovers(destination)


def copied_by_cp(model: Path, entries: list[str], target: str) -> bool:
    return subprocess.run(["cp", "-r", *entries, target], cwd=model, capture_output=True).returncode == 0


def leftovers(top: Path) -> list[Path]:
    return list(top.rglob(".pybatch_async*"))


def without_times(found: dict[str, object]) -> dict[str, object]:
    return {name: what[:2] if isinstance(what, tuple) else what for name, what in found.items()}


async def test_directory_itself_comes_under_its_own_name(protocol: RemoteProtocol, there: Path, here: Path) -> None:
    make_tree(there / "work")
    await protocol.download([f"{there}/work/."], here)
    await protocol.download([f"{there}/work/sub/.."], here / "again")
    assert tree(here / "work") == tree(here / "again") == tree(there / "work")
    await protocol.upload([here / "work" / "."], str(there / "up"))
    assert tree(there / "up") == tree(there / "work")


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_entry_of_any_name_is_copied(protocol: RemoteProtocol, there: Path, here: Path, name: str) -> None:
    (here / name).write_text("content")
    await protocol.upload([here / name], str(there))
    await protocol.upload([here / name], f"{there}/second {name}")
    assert (there / f"second {name}").read_text() == "content"
    os.unlink(here / name)
    await protocol.download([f"{there}/{name}"], here)
    assert (here / name).read_text() == "content"


async def test_any_names_and_contents_go_there_and_back(protocol: RemoteProtocol, there: Path, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()

    async def copy_both_ways(files: dict[str, bytes], run: str) -> None:
        source = tmp_path / run
        source.mkdir()
        for name, content in files.items():
            (source / name).write_bytes(content)
        await protocol.upload([source], str(there))
        await protocol.download([f"{there}/{run}"], tmp_path / f"{run}-back")
        assert tree(there / run) == tree(source) == tree(tmp_path / f"{run}-back")

    @SLOW
    @given(st.dictionaries(NAMES.filter(lambda name: len(name.encode()) <= 255), st.binary(max_size=2000), max_size=5))
    def copy(files: dict[str, bytes]) -> None:
        asyncio.run_coroutine_threadsafe(copy_both_ways(files, uuid.uuid4().hex), loop).result(60)

    await asyncio.to_thread(copy)


async def test_long_names_and_depths_are_kept(protocol: RemoteProtocol, there: Path, here: Path) -> None:
    deep = here / "deep" / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    (deep / ("f" * 255)).write_text("deep")
    (deep / "link").symlink_to("/".join(["t" * 99] * 3))
    await protocol.upload([here / "deep"], str(there))
    await protocol.download([f"{there}/deep"], here / "back")
    assert tree(here / "back") == tree(here / "deep") == tree(there / "deep")


async def test_read_only_directories_are_copied_and_merged(protocol: RemoteProtocol, there: Path, here: Path) -> None:
    locked = here / "locked"
    (locked / "inner").mkdir(parents=True)
    (locked / "inner" / "file").write_text("x")
    for path in (locked / "inner", locked):
        path.chmod(0o555)
    try:
        await protocol.upload([locked], f"{there}/copy")
        assert stat.S_IMODE((there / "copy" / "inner").stat().st_mode) == 0o555
        await protocol.download([f"{there}/copy"], here / "back")
        assert stat.S_IMODE((here / "back").stat().st_mode) == 0o555
        assert not leftovers(there)
    finally:
        locked.chmod(0o755)


async def test_set_user_id_bits_are_not_copied(protocol: RemoteProtocol, there: Path, here: Path) -> None:
    (here / "tool").write_text("x")
    (here / "tool").chmod(0o6755)
    await protocol.upload([here / "tool"], str(there))
    assert stat.S_IMODE((there / "tool").stat().st_mode) == 0o755
    (there / "tool").chmod(0o6755)
    await protocol.download([f"{there}/tool"], here / "back")
    assert stat.S_IMODE((here / "back").stat().st_mode) == 0o755


async def test_missing_local_entry_is_named_before_anything_is_sent(protocol: RemoteProtocol, there: Path) -> None:
    with pytest.raises(pb.PathMissing, match="/no/such/input"):
        await protocol.upload([__file__, "/no/such/input"], str(there))
    assert not os.listdir(there)


async def test_missing_remote_entry_is_named(protocol: RemoteProtocol, there: Path, here: Path) -> None:
    (there / "file").touch()
    with pytest.raises(pb.PathMissing, match=f"{there}/missing"):
        await protocol.download([f"{there}/file", f"{there}/missing"], here)
    assert not os.listdir(here)


async def test_nothing_to_copy_is_no_error(protocol: RemoteProtocol, there: Path, here: Path) -> None:
    await protocol.upload([], str(there))
    await protocol.download([], here)


async def test_one_path_in_place_of_a_list_is_refused(protocol: RemoteProtocol, there: Path, here: Path) -> None:
    with pytest.raises(pb.ConfigurationError):
        await protocol.upload("file", str(there))
    with pytest.raises(pb.ConfigurationError):
        await protocol.download("file", here)


async def test_entries_of_the_same_name_are_refused(protocol: RemoteProtocol, there: Path, here: Path) -> None:
    for directory in ("a", "b"):
        (here / directory).mkdir()
        (here / directory / "x").touch()
    with pytest.raises(pb.TransferFailed, match="named 'x'"):
        await protocol.upload([here / "a" / "x", here / "b" / "x"], str(there))
    with pytest.raises(pb.TransferFailed, match="named 'x'"):
        await protocol.download([f"{there}/a/x", f"{there}/b/x"], here)


async def test_file_that_grows_is_copied(protocol: RemoteProtocol, there: Path, here: Path) -> None:
    writing = asyncio.create_task(protocol.run(["sh", "-c", f"while sleep 0.001; do echo line >>{there}/log; done"]))
    await until((there / "log").exists)
    try:
        for number in range(10):
            await protocol.download([f"{there}/log"], here / str(number))
            assert (here / str(number)).read_text().startswith("line\n")
    finally:
        writing.cancel()
        await asyncio.wait([writing])


async def test_many_entries_come_in_one_call(protocol: RemoteProtocol, there: Path, here: Path) -> None:
    names = [f"{number}-{'é' * 60}" for number in range(400)]
    for name in names:
        (there / name).write_text(name)
    await protocol.download([f"{there}/{name}" for name in names], here)
    assert sorted(os.listdir(here)) == sorted(names)


async def test_cancelled_upload_leaves_nothing_half_done(protocol: RemoteProtocol, there: Path, here: Path) -> None:
    (here / "big").write_bytes(bytes(30_000_000))
    copying = asyncio.create_task(protocol.upload([here / "big"], str(there)))
    await until(lambda: copying.done() or any(there.glob(".pybatch_async*/tree/big")))
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    await until(lambda: not os.listdir(there))


async def test_cancelled_download_leaves_nothing_half_done(protocol: RemoteProtocol, there: Path, here: Path) -> None:
    (there / "big").write_bytes(bytes(30_000_000))
    copying = asyncio.create_task(protocol.download([f"{there}/big"], here))
    await until(lambda: copying.done() or any(here.glob(".pybatch_async*/big")))
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    assert not os.listdir(here)


# Local alone


def test_local_protocols_are_all_equal() -> None:
    assert LocalProtocol() == LocalProtocol() == pickle.loads(pickle.dumps(LocalProtocol()))
    assert len({LocalProtocol(), LocalProtocol()}) == 1


@pytest.mark.parametrize("operation", ["run", "upload", "download", "create", "read"])
async def test_cancelling_at_any_step_leaves_nothing(there_locally: Path, here: Path, operation: str) -> None:
    protocol = LocalProtocol()
    (there_locally / "file").write_text("x" * 1000)
    (here / "new").write_text("y" * 1000)
    started: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
        "run": lambda: protocol.run(["cat"], input=pieces()),
        "upload": lambda: protocol.upload([here / "new"], f"{there_locally}/up"),
        "download": lambda: protocol.download([f"{there_locally}/file"], here / "down"),
        "create": lambda: protocol.create(f"{there_locally}/made", "z" * 1000),
        "read": lambda: protocol.read(f"{there_locally}/file"),
    }
    await started[operation]()  # starts what stays: threads, and the watcher of child processes
    before = os.listdir("/proc/self/fd")
    for steps in range(200):
        task = asyncio.create_task(started[operation]())
        for _ in range(steps):
            await asyncio.sleep(0 if steps < 20 else 0.0002)
        task.cancel()
        [end] = await asyncio.gather(task, return_exceptions=True)
        assert end is None or isinstance(end, str | asyncio.CancelledError)
        if not isinstance(end, asyncio.CancelledError):
            break
    assert steps > 5
    await until(lambda: len(os.listdir("/proc/self/fd")) <= len(before) and not child_processes())
    assert not leftovers(here) and not leftovers(there_locally)


@pytest.fixture
def there_locally(tmp_path: Path) -> Path:
    """Another directory of this machine."""
    directory = tmp_path / "there"
    directory.mkdir()
    return directory


def child_processes() -> list[str]:
    """List what this test process started for a protocol and has not reaped; the services are long-lived."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [pid for pid in children if (Path("/proc") / pid / "comm").read_text().strip() in ("cat", "sh", "tar", "mv")]
