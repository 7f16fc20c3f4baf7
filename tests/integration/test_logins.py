# SPDX-License-Identifier: MIT
"""AsyncsshProtocol and every way people log in, against real servers."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import shlex
import subprocess
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from pybatch_async import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    ConnectionParameters,
    HostKeyUnknown,
)
from pybatch_async.protocols.asyncssh import AsyncsshProtocol
from tests.conftest import MakeSshd
from tests.integration.test_asyncssh import debug_loop
from tests.services.accounts import Accounts
from tests.services.connection import connection_to
from tests.services.kerberos import Realm
from tests.services.sshd import Sshd, make_key

__all__ = ["debug_loop"]


async def says_hello(params: ConnectionParameters) -> None:
    """Log in and run something."""
    async with AsyncsshProtocol(params) as protocol:
        assert await protocol.run(["echo", "hello"]) == "hello\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory, so that the developer's own ~/.ssh plays no part; without an agent."""
    (tmp_path / ".ssh").mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path


# Keys


def encrypted_key(server: Sshd, directory: Path, passphrase: str) -> Path:
    """Copy the client key of the tests, encrypted."""
    path = directory / "encrypted"
    path.write_bytes(server.client_key.read_bytes())
    path.chmod(0o600)
    argv = ["ssh-keygen", "-q", "-p", "-P", "", "-N", passphrase, "-f", str(path)]
    subprocess.run(argv, check=True, capture_output=True)
    return path


async def test_an_encrypted_key_opens_with_its_passphrase(sshd_bare: Sshd, tmp_path: Path) -> None:
    key = await asyncio.to_thread(encrypted_key, sshd_bare, tmp_path, "sesame")
    await says_hello(replace(connection_to(sshd_bare), client_keys=[key], passphrase="sesame"))


async def test_a_wrong_passphrase_is_told_and_not_shown(sshd_bare: Sshd, tmp_path: Path) -> None:
    key = await asyncio.to_thread(encrypted_key, sshd_bare, tmp_path, "sesame")
    with pytest.raises(AuthenticationFailed, match="not opened by that passphrase") as caught:
        await says_hello(replace(connection_to(sshd_bare), client_keys=[key], passphrase="wrong-one"))
    assert "wrong-one" not in str(caught.value)


async def test_the_passphrase_is_asked_once_for_all_waiters(sshd_bare: Sshd, tmp_path: Path) -> None:
    key = await asyncio.to_thread(encrypted_key, sshd_bare, tmp_path, "sesame")
    asked: list[str] = []

    async def prompt(question: str) -> str:
        asked.append(question)
        return "sesame"

    async with AsyncsshProtocol(replace(connection_to(sshd_bare), client_keys=[key], prompt=prompt)) as protocol:
        await asyncio.gather(*(protocol.run(["true"]) for _ in range(30)))
        await protocol.aclose()
        await protocol.run(["true"])  # once opened, it stays open
    assert asked == [f"Passphrase of the key {key}: "]


async def test_a_missing_key_file_is_a_wrong_parameter(sshd_bare: Sshd) -> None:
    with pytest.raises(ConfigurationError, match="no_such_key"):
        await says_hello(replace(connection_to(sshd_bare), client_keys=["/no_such_key"]))


async def test_a_key_that_is_not_accepted_is_refused_once(make_sshd: MakeSshd, tmp_path: Path, home: Path) -> None:
    server = make_sshd(extra=("LogLevel VERBOSE",))
    key = await asyncio.to_thread(make_key, tmp_path / "other")
    async with AsyncsshProtocol(replace(connection_to(server), client_keys=[key])) as protocol:
        outcomes = await asyncio.gather(*(protocol.run(["true"]) for _ in range(20)), return_exceptions=True)
    assert {type(each) for each in outcomes} == {AuthenticationFailed}
    assert "refused the login" in str(outcomes[0]) and "keys" in str(outcomes[0])
    assert server.log.read_text().count("Connection from") == 2  # the fixture's own look, and one login


async def test_an_agent_holds_the_key(sshd_bare: Sshd, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with agent(home, sshd_bare.client_key) as socket:
        monkeypatch.setenv("SSH_AUTH_SOCK", socket)
        await says_hello(replace(connection_to(sshd_bare), client_keys=None))


class agent:
    """Run an ssh-agent that holds a key."""

    def __init__(self, directory: Path, key: Path) -> None:
        self._socket = str(directory / "agent")
        self._key = key

    def __enter__(self) -> str:
        self._process = subprocess.Popen(["ssh-agent", "-D", "-a", self._socket], stdout=subprocess.DEVNULL)
        environment = {**os.environ, "SSH_AUTH_SOCK": self._socket}
        while subprocess.run(["ssh-add", "-q", str(self._key)], env=environment, capture_output=True).returncode:
            assert self._process.poll() is None
        return self._socket

    def __exit__(self, *exception: object) -> None:
        self._process.terminate()
        self._process.wait()


# Passwords and questions


def with_password(server: Sshd, **options: object) -> ConnectionParameters:
    """Reach the server that takes no keys."""
    assert server.account.password
    fields = {"client_keys": None, "password": server.account.password, **options}
    return replace(connection_to(server), **fields)  # type: ignore[arg-type]  # any field of ConnectionParameters


async def test_a_password_logs_in(sshd_password: Sshd, home: Path) -> None:
    await says_hello(with_password(sshd_password))


async def test_a_wrong_password_is_refused_once_and_never_shown(sshd_password: Sshd, home: Path) -> None:
    protocol = AsyncsshProtocol(with_password(sshd_password, password="wrong-word"))
    with pytest.raises(AuthenticationFailed, match="refused the login") as caught:
        await protocol.run(["true"])
    shown = f"{protocol!r} {caught.value} {pickle.dumps(protocol)!r} {copy.copy(protocol).__dict__}"
    await protocol.aclose()
    assert "password" in str(caught.value)
    assert "wrong-word" not in shown


async def test_the_prompt_answers_once_for_all_and_nothing_asks_again(sshd_password: Sshd, home: Path) -> None:
    asked: list[str] = []

    async def prompt(question: str) -> str:
        asked.append(question)
        return str(sshd_password.account.password)

    async with AsyncsshProtocol(with_password(sshd_password, password=None, prompt=prompt)) as protocol:
        await asyncio.gather(*(protocol.run(["sleep", "0.05"]) for _ in range(40)))
        assert "1 connections" in repr(protocol)
    assert len(asked) == 1
    assert asked[0].startswith(f"{sshd_password.user}@127.0.0.1: ") and "Password" in asked[0]


async def test_a_human_may_take_longer_than_the_connect_timeout(sshd_password: Sshd, home: Path) -> None:
    async def prompt(question: str) -> str:
        await asyncio.sleep(1.5)
        return str(sshd_password.account.password)

    await says_hello(with_password(sshd_password, password=None, prompt=prompt, connect_timeout=1.0))


async def test_a_wrong_answer_is_refused_and_not_asked_again(sshd_password: Sshd, home: Path) -> None:
    asked: list[str] = []

    async def prompt(question: str) -> str:
        asked.append(question)
        return "wrong"

    with pytest.raises(AuthenticationFailed, match="questions to the prompt"):
        await says_hello(with_password(sshd_password, password=None, prompt=prompt))
    assert len(asked) == 1


async def test_a_prompt_that_raises_is_told(sshd_password: Sshd, home: Path) -> None:
    async def prompt(question: str) -> str:
        raise EOFError("nobody there")

    with pytest.raises(AuthenticationFailed, match="EOFError: nobody there"):
        await says_hello(with_password(sshd_password, password=None, prompt=prompt))


# Kerberos


async def test_a_kerberos_ticket_logs_in(sshd_kerberos: Sshd, ticket: Realm, home: Path) -> None:
    await says_hello(replace(connection_to(sshd_kerberos), client_keys=None, gss_auth=True))


async def test_no_ticket_says_kinit(sshd_kerberos: Sshd, ticket: Realm, home: Path) -> None:
    ticket.kdestroy()
    with pytest.raises(AuthenticationFailed, match="kinit"):
        await says_hello(replace(connection_to(sshd_kerberos), client_keys=None, gss_auth=True))


async def test_an_expired_ticket_says_kinit(sshd_kerberos: Sshd, ticket: Realm, home: Path) -> None:
    ticket.kinit(sshd_kerberos.user, lifetime="1s")
    await asyncio.sleep(3)
    with pytest.raises(AuthenticationFailed, match="kinit"):
        await says_hello(replace(connection_to(sshd_kerberos), client_keys=None, gss_auth=True))


async def test_without_the_package_gssapi_it_is_a_wrong_parameter(
    sshd_bare: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gssapi.exceptions", None)
    with pytest.raises(ConfigurationError, match="pip install gssapi"):
        await says_hello(replace(connection_to(sshd_bare), gss_auth=True))


# Host keys


async def test_an_unknown_host_key_is_told_with_what_to_run(make_sshd: MakeSshd, tmp_path: Path) -> None:
    server, known = make_sshd(own_host_key=True), tmp_path / "my hosts"
    with pytest.raises(HostKeyUnknown, match="is unknown") as caught:
        await says_hello(replace(connection_to(server), known_hosts=known))
    text = str(caught.value)
    assert fingerprint(server) in text
    command = text.rpartition("then run: ")[2]
    assert command == f"ssh-keyscan -p {server.port} 127.0.0.1 >> '{known}'"
    await asyncio.to_thread(subprocess.run, ["sh", "-c", command], check=True, capture_output=True)
    await says_hello(replace(connection_to(server), known_hosts=known))


async def test_a_changed_host_key_is_told_apart_with_what_to_run(make_sshd: MakeSshd, tmp_path: Path) -> None:
    server, known = make_sshd(own_host_key=True), tmp_path / "known_hosts"
    other = await asyncio.to_thread(make_key, tmp_path / "other")
    known.write_text(f"[127.0.0.1]:{server.port} {other.with_name('other.pub').read_text()}")
    with pytest.raises(HostKeyUnknown, match="HAS CHANGED") as caught:
        await says_hello(replace(connection_to(server), known_hosts=known))
    text = str(caught.value)
    assert fingerprint(server) in text
    command = text.rpartition("run: ")[2]
    assert command.startswith(f"ssh-keygen -R '[127.0.0.1]:{server.port}' -f {known} && ssh-keyscan")
    await asyncio.to_thread(subprocess.run, ["sh", "-c", command], check=True, capture_output=True)
    await says_hello(replace(connection_to(server), known_hosts=known))


async def test_hashed_entries_are_found(make_sshd: MakeSshd, tmp_path: Path) -> None:
    server, known = make_sshd(own_host_key=True), tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{server.port} {server.host_public_key}\n")
    process = await asyncio.create_subprocess_exec("ssh-keygen", "-q", "-H", "-f", known, stderr=DEVNULL)
    assert await process.wait() == 0
    hashed = known.read_text()
    assert hashed.startswith("|1|")
    known.write_text(f"a broken line\n{hashed}")
    await says_hello(replace(connection_to(server), known_hosts=known))


async def test_a_known_key_of_another_type_counts_as_changed(make_sshd: MakeSshd, tmp_path: Path) -> None:
    server, known = make_sshd(own_host_key=True), tmp_path / "known_hosts"
    other = asyncssh.generate_private_key("ecdsa-sha2-nistp256").export_public_key().decode()
    known.write_text(f"[127.0.0.1]:{server.port} {other}")
    with pytest.raises(HostKeyUnknown, match="HAS CHANGED.*ssh-keygen -R"):
        await says_hello(replace(connection_to(server), known_hosts=known))


async def test_a_revoked_host_key_is_told(make_sshd: MakeSshd, tmp_path: Path) -> None:
    server, known = make_sshd(own_host_key=True), tmp_path / "known_hosts"
    known.write_text(f"@revoked * {server.host_public_key}\n")
    with pytest.raises(HostKeyUnknown, match="marked as revoked"):
        await says_hello(replace(connection_to(server), known_hosts=known))


async def test_the_key_of_a_jump_host_is_not_the_key_of_what_lies_behind(
    make_sshd: MakeSshd, sshd_bare: Sshd, tmp_path: Path
) -> None:
    """Both are seen under the jump host's address there; only the name counts."""
    gateway, known = make_sshd(), tmp_path / "known_hosts"
    public = sshd_bare.host_public_key
    known.write_text(f"[127.0.0.1]:{gateway.port},[127.0.0.1]:{sshd_bare.port} {public}")
    jump = f"{gateway.user}@127.0.0.1:{gateway.port}"
    with pytest.raises(
        HostKeyUnknown, match=f"is unknown.*run: ssh 127.0.0.1 ssh-keyscan -p {sshd_bare.port} localhost"
    ):
        await says_hello(replace(connection_to(sshd_bare, proxy_jump=jump), known_hosts=known, host="localhost"))


async def test_a_host_key_is_left_unverified_only_when_said_so(make_sshd: MakeSshd, home: Path) -> None:
    server = make_sshd(own_host_key=True)
    (home / ".ssh" / "config").write_text("Host *\n StrictHostKeyChecking no\n UserKnownHostsFile none\n")
    with pytest.raises(HostKeyUnknown):
        await says_hello(replace(connection_to(server), known_hosts=None, config=None))
    await says_hello(replace(connection_to(server), known_hosts=None, verify_host_key=False))


def fingerprint(server: Sshd) -> str:
    """The SHA256 fingerprint of a server's key, as ssh-keygen gives it."""
    argv = ["ssh-keygen", "-l", "-f", "-"]
    done = subprocess.run(argv, input=server.host_public_key, capture_output=True, text=True, check=True)
    return done.stdout.split()[1]


# The ssh configuration and jump hosts


@pytest.fixture
def gateway(make_sshd: MakeSshd) -> Iterator[Sshd]:
    """A second server, to jump through."""
    yield make_sshd()


def configure(home: Path, *blocks: str) -> None:
    """Write ~/.ssh/config."""
    (home / ".ssh" / "config").write_text("\n".join(blocks))


def block(alias: str, server: Sshd, *lines: str) -> str:
    """Describe a server under an alias."""
    about = ("HostName 127.0.0.1", f"Port {server.port}", f"User {server.user}", f"IdentityFile {server.client_key}")
    known = f"UserKnownHostsFile {server.known_hosts}"
    return "\n ".join([f"Host {alias}", *about, known, *lines])


async def test_the_ssh_configuration_is_honoured(sshd_bare: Sshd, home: Path) -> None:
    configure(home, block("front", sshd_bare))
    await says_hello(ConnectionParameters("front"))


async def test_explicit_parameters_win_over_the_configuration(sshd_bare: Sshd, home: Path) -> None:
    configure(home, "Host 127.0.0.1\n User nobody\n Port 1\n IdentityFile /nowhere\n UserKnownHostsFile /dev/null")
    await says_hello(replace(connection_to(sshd_bare), config=None))


async def test_another_configuration_file_can_be_named(sshd_bare: Sshd, tmp_path: Path) -> None:
    (tmp_path / "my_config").write_text(block("front", sshd_bare))
    await says_hello(ConnectionParameters("front", config=tmp_path / "my_config"))
    with pytest.raises(ConfigurationError):
        await says_hello(ConnectionParameters("front", config=tmp_path / "missing"))


async def test_one_jump_host_of_the_configuration(sshd_bare: Sshd, gateway: Sshd, home: Path) -> None:
    configure(home, block("front", sshd_bare, "ProxyJump gate"), block("gate", gateway))
    await says_hello(ConnectionParameters("front"))
    assert "Accepted publickey" in gateway.log.read_text()


async def test_two_jump_hosts_of_the_configuration(
    sshd_bare: Sshd, gateway: Sshd, make_sshd: MakeSshd, home: Path
) -> None:
    second = make_sshd()
    configure(
        home,
        block("front", sshd_bare, "ProxyJump inner"),
        block("inner", second, "ProxyJump gate"),
        block("gate", gateway),
    )
    await says_hello(ConnectionParameters("front"))
    assert all("Accepted publickey" in server.log.read_text() for server in (gateway, second))


async def test_two_jump_hosts_of_the_parameters(sshd_bare: Sshd, gateway: Sshd, make_sshd: MakeSshd) -> None:
    second = make_sshd()
    hops = ",".join(f"{server.user}@127.0.0.1:{server.port}" for server in (gateway, second))
    await says_hello(connection_to(sshd_bare, proxy_jump=hops))
    assert all("Accepted publickey" in server.log.read_text() for server in (gateway, second))


async def test_the_host_key_of_a_jump_host_is_verified(sshd_bare: Sshd, make_sshd: MakeSshd) -> None:
    gateway = make_sshd(own_host_key=True)
    with pytest.raises(HostKeyUnknown, match=str(gateway.port)):
        await says_hello(connection_to(sshd_bare, proxy_jump=f"{gateway.user}@127.0.0.1:{gateway.port}"))


async def test_closing_closes_the_jump_hosts_too(sshd_bare: Sshd, gateway: Sshd) -> None:
    await says_hello(connection_to(sshd_bare, proxy_jump=f"{gateway.user}@127.0.0.1:{gateway.port}"))
    while gateway.connections():
        await asyncio.sleep(0.02)


async def test_a_proxy_command_of_the_configuration(sshd_bare: Sshd, home: Path) -> None:
    relay = shlex.join(["python3", "-c", _RELAY])
    configure(home, block("front", sshd_bare, f"ProxyCommand {relay} %h %p"))
    await says_hello(ConnectionParameters("front"))


_RELAY = (
    "import os,socket,sys,threading;"
    "s=socket.create_connection((sys.argv[1],int(sys.argv[2])));"
    "threading.Thread(target=lambda:[s.sendall(d) for d in iter(lambda:os.read(0,65536),b'')],daemon=True).start();"
    "[os.write(1,d) for d in iter(lambda:s.recv(65536),b'')]"
)


# Login shells and their rc files


@pytest.mark.parametrize("role", ["tcsh", "fish", "noisy", "slow", "failing"])
async def test_every_login_shell_runs_the_same_command(role: str, accounts: Accounts, make_sshd: MakeSshd) -> None:
    server = make_sshd(account=getattr(accounts, role)())
    words = ["a  b", "it's", "$HOME", "a!b", "back\\slash", "new\nline", "*", "", "é", '"']
    async with AsyncsshProtocol(connection_to(server)) as protocol:
        assert await protocol.run(["printf", "%s|", *words]) == "|".join(words) + "|"
        assert await protocol.run(["cat"], input="data") == "data"


# Hosts that can not be reached


async def test_a_server_that_never_answers(sshd_bare: Sshd) -> None:
    async for port in _silent_port():
        with pytest.raises(ConnectionFailed, match="was not finished within 0.3 s"):
            await says_hello(connection_to(sshd_bare, port=port, connect_timeout=0.3))


async def _silent_port() -> AsyncIterator[int]:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_something_else_than_ssh_listens_there(sshd_bare: Sshd) -> None:
    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"<p>\r\n" * 3000)
        await writer.drain()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(web, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionFailed):
            await says_hello(connection_to(sshd_bare, port=port, connect_timeout=2))
