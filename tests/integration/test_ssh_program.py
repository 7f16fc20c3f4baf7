# SPDX-License-Identifier: MIT
"""The ssh program as a protocol, against real servers."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import pybatch_async as pb
from pybatch_async.protocols.ssh import SshProtocol
from tests.conftest import MakeProxy, MakeSshd
from tests.services.accounts import Accounts
from tests.services.connection import connection_to
from tests.services.kerberos import Realm
from tests.services.proxy import Plan
from tests.services.sshd import Sshd, make_key
from tests.waiting import until


def processes_with(text: str) -> list[str]:
    """List the ids of the processes whose command line or environment holds a text."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            seen = (directory / "cmdline").read_bytes() + (directory / "environ").read_bytes()
        except OSError:  # it ended while we looked
            continue
        if text.encode() in seen:
            found.append(directory.name)
    return found


# One login


async def test_hundred_operations_share_one_login(sshd_bare: Sshd) -> None:
    async with SshProtocol(connection_to(sshd_bare)) as protocol:
        answers = await asyncio.gather(*(protocol.run(["echo", str(i)]) for i in range(100)))
        assert answers == [f"{i}\n" for i in range(100)]
        assert len(sshd_bare.connections()) == 1
        assert "1 shared logins, 0 sessions, 0 waiting" in repr(protocol)
    await until(lambda: not sshd_bare.connections())


async def test_operations_wait_in_line_where_the_host_allows_one_session(sshd_one_session: Sshd) -> None:
    async with SshProtocol(connection_to(sshd_one_session)) as protocol:
        answers = await asyncio.gather(*(protocol.run(["echo", str(i)]) for i in range(30)))
        assert answers == [f"{i}\n" for i in range(30)]
        assert len(sshd_one_session.connections()) == 1


async def test_without_sharing_each_operation_logs_in(make_sshd: MakeSshd) -> None:
    server = make_sshd(max_startups="1:50:2")
    async with SshProtocol(connection_to(server), multiplex=False) as protocol:
        answers = await asyncio.gather(*(protocol.run(["cat"], input=str(i)) for i in range(12)))
        assert answers == [str(i) for i in range(12)]
        with pytest.raises(pb.CommandFailed) as failure:
            await protocol.run(["sh", "-c", "echo said >&2; exit 255"])
        assert (failure.value.returncode, failure.value.stderr) == (255, "said\n")


async def test_connection_that_was_dropped_is_replaced(make_sshd: MakeSshd) -> None:
    server = make_sshd()
    async with SshProtocol(connection_to(server)) as protocol:
        await protocol.run(["true"])
        server.drop_connections()
        assert await protocol.run(["echo", "again"]) == "again\n"


async def test_command_that_loses_its_connection_says_so(make_sshd: MakeSshd) -> None:
    server = make_sshd()
    async with SshProtocol(connection_to(server)) as protocol:
        running = asyncio.create_task(protocol.run(["sh", "-c", "echo $$ >~/pid; sleep 60"]))
        await until(lambda: (server.home / "pid").exists())
        server.drop_connections()
        with pytest.raises(pb.ConnectionFailed, match="was lost while"):
            await running


@pytest.mark.parametrize("code", [1, 127, 255])
async def test_exit_code_of_the_command_is_its_own(sshd_bare: Sshd, code: int) -> None:
    async with SshProtocol(connection_to(sshd_bare)) as protocol:
        with pytest.raises(pb.CommandFailed) as failure:
            await protocol.run(["sh", "-c", f"echo out; echo err >&2; exit {code}"])
        assert (failure.value.returncode, failure.value.stdout, failure.value.stderr) == (code, "out\n", "err\n")


async def test_command_that_kills_its_whole_group_is_no_lost_connection(sshd_bare: Sshd) -> None:
    async with SshProtocol(connection_to(sshd_bare)) as protocol:
        with pytest.raises(pb.CommandFailed):
            await protocol.run(["sh", "-c", "kill -9 0"])
        assert len(sshd_bare.connections()) == 1


def test_protocol_is_used_again_in_a_later_event_loop(sshd_bare: Sshd) -> None:
    protocol = SshProtocol(connection_to(sshd_bare))

    async def gathered() -> list[str]:
        return await asyncio.gather(*(protocol.run(["echo", str(i)]) for i in range(12)))

    first = asyncio.run(gathered())
    [login] = sshd_bare.connections()
    assert asyncio.run(gathered()) == first
    assert sshd_bare.connections() == [login]
    asyncio.run(protocol.aclose())
    asyncio.run(protocol.aclose())


async def test_pickled_protocol_connects_anew_without_secrets(sshd_bare: Sshd) -> None:
    async with SshProtocol(connection_to(sshd_bare, password="the secret")) as protocol:
        await protocol.run(["true"])
        data = pickle.dumps(protocol)
        assert b"the secret" not in data
        async with pickle.loads(data) as copy:
            assert await copy.run(["echo", "copy"]) == "copy\n"


def client_program(server: Sshd, path: Path, ending: str) -> list[str]:
    """Write a program that logs in, prints where the login lives, and ends as it is told."""
    path.write_text(
        textwrap.dedent(f"""\
            import asyncio
            import pybatch_async as pb
            from pybatch_async.protocols.ssh import SshProtocol
            params = pb.ConnectionParameters({server.host!r}, {server.user!r}, port={server.port},
                client_keys=[{str(server.client_key)!r}], known_hosts={str(server.known_hosts)!r}, config=False)
            protocol = SshProtocol(params)
            asyncio.run(protocol.run(["true"]))
            print(protocol._master.directory, flush=True)
            {ending}
        """)
    )
    return [sys.executable, "-X", "dev", "-W", "error", str(path)]


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let programs started by the test import the package."""
    monkeypatch.setenv("PYTHONPATH", str(Path(pb.__file__).parent.parent))


async def test_login_ends_with_a_client_that_was_killed(sshd_bare: Sshd, tmp_path: Path, importable: None) -> None:
    argv = client_program(sshd_bare, tmp_path / "client.py", "asyncio.run(asyncio.sleep(60))")
    process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
    assert process.stdout
    directory = (await process.stdout.readline()).decode().strip()
    assert os.stat(directory).st_mode & 0o777 == 0o700
    process.kill()
    await process.wait()
    await until(lambda: not os.path.exists(directory) and not sshd_bare.connections())


async def test_login_ends_with_the_interpreter(sshd_bare: Sshd, tmp_path: Path, importable: None) -> None:
    argv = client_program(sshd_bare, tmp_path / "client.py", "")
    process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    stdout, stderr = await process.communicate()
    assert (process.returncode, stderr) == (0, b"")
    directory = stdout.decode().strip()
    await until(lambda: not os.path.exists(directory) and not sshd_bare.connections())


# Cancellation


async def test_cancelling_ends_the_remote_command(sshd_bare: Sshd) -> None:
    async with SshProtocol(connection_to(sshd_bare)) as protocol:
        await cancel_sleeper(protocol, sshd_bare)
        assert "0 sessions, 0 waiting" in repr(protocol)
        assert await protocol.run(["echo", "next"]) == "next\n"
        assert len(sshd_bare.connections()) == 1


async def test_cancelling_ends_the_remote_command_where_the_host_allows_one_session(sshd_one_session: Sshd) -> None:
    async with SshProtocol(connection_to(sshd_one_session)) as protocol:
        await cancel_sleeper(protocol, sshd_one_session)
        assert await protocol.run(["echo", "next"]) == "next\n"


async def cancel_sleeper(protocol: SshProtocol, server: Sshd) -> None:
    pid_file = server.home / "sleeper"
    pid_file.unlink(missing_ok=True)
    command = ["sh", "-c", 'trap "" HUP PIPE; echo $$ >~/sleeper.part; mv ~/sleeper.part ~/sleeper; sleep 60; :']
    running = asyncio.create_task(protocol.run(command))
    await until(pid_file.exists)
    pid = int(pid_file.read_text())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: not Path(f"/proc/{pid}").exists())


async def test_deadline_ends_the_remote_command(sshd_bare: Sshd) -> None:
    async with SshProtocol(connection_to(sshd_bare)) as protocol:
        await protocol.run(["true"])
        with pytest.raises(pb.CommandTimedOut):
            await protocol.run(["sleep", "61.25"], timeout=0.5)
        await until(lambda: not sshd_bare.sessions())


@pytest.mark.parametrize("delay", [0, 0.01, 0.03, 0.06, 0.1, 0.15])
async def test_cancelling_at_any_moment_leaves_nothing(make_sshd: MakeSshd, delay: float) -> None:
    server = make_sshd()
    before = set(os.listdir("/proc/self/fd"))
    protocol = SshProtocol(connection_to(server))
    running = [asyncio.create_task(protocol.run(["sleep", "60"])) for _ in range(3)]
    await asyncio.sleep(delay)
    for task in running:
        task.cancel()
    assert all(
        isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*running, return_exceptions=True)
    )
    await until(lambda: not server.sessions())
    assert "0 sessions, 0 waiting" in repr(protocol)
    await protocol.aclose()
    await until(lambda: not server.connections())
    assert len(os.listdir("/proc/self/fd")) <= len(before)


async def test_cancelled_first_caller_leaves_the_others_logging_in(sshd_bare: Sshd) -> None:
    async with SshProtocol(connection_to(sshd_bare)) as protocol:
        first, *others = [asyncio.create_task(protocol.run(["echo", str(i)])) for i in range(4)]
        await asyncio.sleep(0)
        first.cancel()
        assert await asyncio.gather(*others) == ["1\n", "2\n", "3\n"]
        assert len(sshd_bare.connections()) == 1


# Logging in


async def test_password_is_seen_by_the_askpass_helper_alone(sshd_password: Sshd) -> None:
    password = sshd_password.account.password
    assert password
    params = connection_to(sshd_password, password=password, client_keys=None)
    async with SshProtocol(params) as protocol:
        login = asyncio.create_task(protocol.run(["id", "-un"]))
        seen: list[str] = []
        while not login.done():
            seen += processes_with(password)
            await asyncio.sleep(0.005)
        assert await login == f"{sshd_password.user}\n"
        assert not seen
        assert password not in repr(protocol) + repr(params)


async def test_wrong_password_is_sent_once(sshd_password: Sshd) -> None:
    params = connection_to(sshd_password, password="not the password", client_keys=None)
    async with SshProtocol(params) as protocol:
        ends = await asyncio.gather(*(protocol.run(["true"]) for _ in range(20)), return_exceptions=True)
    assert {type(end) for end in ends} == {pb.AuthenticationFailed}
    assert f"{sshd_password.user}@127.0.0.1" in str(ends[0])
    assert "not the password" not in str(ends[0])
    assert sshd_password.log.read_text().count(f"Failed password for {sshd_password.user} ") <= 2


async def test_prompt_is_asked_once_for_all(sshd_password: Sshd) -> None:
    questions: list[str] = []

    async def prompt(question: str) -> str:
        questions.append(question)
        await asyncio.sleep(0.2)
        return sshd_password.account.password or ""

    params = connection_to(sshd_password, prompt=prompt, client_keys=None)
    async with SshProtocol(params) as protocol:
        await asyncio.gather(*(protocol.run(["true"]) for _ in range(20)))
    assert len(questions) == 1


async def test_prompt_that_fails_ends_the_login(sshd_password: Sshd) -> None:
    async def prompt(question: str) -> str:
        raise LookupError("nobody is there")

    async with SshProtocol(connection_to(sshd_password, prompt=prompt, client_keys=None)) as protocol:
        with pytest.raises(pb.AuthenticationFailed, match="nobody is there"):
            await protocol.run(["true"])


async def test_passphrase_opens_the_key(make_sshd: MakeSshd, tmp_path: Path) -> None:
    key = make_key(tmp_path / "key", passphrase="open it")
    server = make_sshd(extra=("AuthorizedKeysFile %h/accepted",))
    (server.home / "accepted").write_text(key.with_name("key.pub").read_text())
    async with SshProtocol(connection_to(server, client_keys=[key], passphrase="open it")) as protocol:
        assert await protocol.run(["echo", "in"]) == "in\n"
    async with SshProtocol(connection_to(server, client_keys=[key], passphrase="wrong")) as protocol:
        with pytest.raises(pb.AuthenticationFailed):
            await protocol.run(["true"])


async def test_kerberos_ticket_logs_in(sshd_kerberos: Sshd, ticket: Realm) -> None:
    params = connection_to(sshd_kerberos, client_keys=None, gss_auth=True)
    async with SshProtocol(params) as protocol:
        assert await protocol.run(["id", "-un"]) == f"{sshd_kerberos.user}\n"


async def test_missing_kerberos_ticket_says_kinit(sshd_kerberos: Sshd, ticket: Realm) -> None:
    ticket.kdestroy()
    async with SshProtocol(connection_to(sshd_kerberos, client_keys=None, gss_auth=True)) as protocol:
        with pytest.raises(pb.AuthenticationFailed, match="no valid Kerberos ticket: run `kinit`"):
            await protocol.run(["true"])


async def test_expired_kerberos_ticket_says_kinit(sshd_kerberos: Sshd, ticket: Realm) -> None:
    ticket.kinit(sshd_kerberos.user, lifetime="1s")
    await until(lambda: subprocess.run(["klist", "-s"]).returncode != 0)
    await asyncio.sleep(1)  # klist and the KDC round seconds differently
    async with SshProtocol(connection_to(sshd_kerberos, client_keys=None, gss_auth=True)) as protocol:
        with pytest.raises(pb.AuthenticationFailed, match="no valid Kerberos ticket: run `kinit`"):
            await protocol.run(["true"])


async def test_jump_hosts_are_passed_one_after_the_other(make_sshd: MakeSshd) -> None:
    first, second, last = make_sshd(), make_sshd(), make_sshd()
    hops = ",".join(f"{hop.user}@{hop.host}:{hop.port}" for hop in (first, second))
    async with SshProtocol(connection_to(last, proxy_jump=hops)) as protocol:
        assert await protocol.run(["echo", "there"]) == "there\n"
        assert [len(server.connections()) for server in (first, second, last)] == [1, 1, 1]


async def test_alias_of_the_configuration_is_honoured(sshd_bare: Sshd, tmp_path: Path) -> None:
    config = tmp_path / "my config"
    config.write_text(
        f"Host gaia\n  HostName {sshd_bare.host}\n  Port {sshd_bare.port}\n  User {sshd_bare.user}\n"
        f"  IdentityFile {sshd_bare.client_key}\n  UserKnownHostsFile {sshd_bare.known_hosts}\n"
        "  RequestTTY force\n  RemoteCommand false\n  LocalForward 1 localhost:1\n"
    )
    async with SshProtocol(pb.ConnectionParameters("gaia", config=config)) as protocol:
        assert await protocol.run(["id", "-un"]) == f"{sshd_bare.user}\n"


async def test_noisy_rc_file_stays_out_of_the_answer(make_sshd: MakeSshd, accounts: Accounts) -> None:
    async with SshProtocol(connection_to(make_sshd(accounts.noisy()))) as protocol:
        assert await protocol.run(["echo", "answer"]) == "answer\n"
        with pytest.raises(pb.CommandFailed) as failure:
            await protocol.run(["sh", "-c", "echo said >&2; exit 3"])
        assert failure.value.stderr == "said\n"


async def test_failing_rc_file_does_no_harm(make_sshd: MakeSshd, accounts: Accounts) -> None:
    async with SshProtocol(connection_to(make_sshd(accounts.failing()))) as protocol:
        assert await protocol.run(["echo", "answer"]) == "answer\n"


# Failures to log in


async def failure_of(params: pb.ConnectionParameters, kind: type[pb.ConnectionFailed]) -> str:
    async with SshProtocol(params) as protocol:
        with pytest.raises(kind) as failure:
            await protocol.run(["true"])
    assert type(failure.value) is kind
    return str(failure.value)


async def test_unknown_host_key_names_the_line_to_run(sshd_bare: Sshd, tmp_path: Path) -> None:
    empty = tmp_path / "known hosts"
    empty.touch()
    text = await failure_of(connection_to(sshd_bare, known_hosts=empty), pb.HostKeyUnknown)
    assert f"ssh-keyscan -p {sshd_bare.port} 127.0.0.1 >> '{empty}'" in text
    assert fingerprint(sshd_bare) in text


async def test_unknown_key_of_a_jump_host_names_that_host(make_sshd: MakeSshd, sshd_bare: Sshd) -> None:
    hop = make_sshd(own_host_key=True)
    jump = f"{hop.user}@{hop.host}:{hop.port}"
    text = await failure_of(connection_to(sshd_bare, proxy_jump=jump), pb.HostKeyUnknown)
    assert f"[127.0.0.1]:{hop.port}" in text
    assert fingerprint(hop) in text


async def test_changed_host_key_names_the_line_to_run(make_sshd: MakeSshd) -> None:
    server = make_sshd(own_host_key=True)
    text = await failure_of(connection_to(server), pb.HostKeyUnknown)
    assert f"ssh-keygen -R '[127.0.0.1]:{server.port}' -f {server.known_hosts}" in text
    assert fingerprint(server) in text


async def test_any_host_key_is_accepted_if_asked_for(make_sshd: MakeSshd) -> None:
    server = make_sshd(own_host_key=True)
    async with SshProtocol(connection_to(server, verify_host_key=False)) as protocol:
        assert await protocol.run(["echo", "in"]) == "in\n"


def fingerprint(server: Sshd) -> str:
    done = subprocess.run(["ssh-keygen", "-lf", "-"], input=server.host_public_key, capture_output=True, text=True)
    return done.stdout.split()[1]


async def test_refused_login_names_the_user_and_the_methods(sshd_bare: Sshd) -> None:
    text = await failure_of(connection_to(sshd_bare, user="nobody-here"), pb.AuthenticationFailed)
    assert "nobody-here@127.0.0.1" in text
    assert "tried: publickey" in text


async def test_silent_host_is_given_up_in_time(sshd_bare: Sshd, proxy_factory: MakeProxy) -> None:
    proxy = proxy_factory(sshd_bare.port)
    proxy.set_default(Plan(action="stall", after=0))
    text = await failure_of(connection_to(sshd_bare, port=proxy.port, connect_timeout=1.0), pb.ConnectionFailed)
    assert "127.0.0.1" in text


async def test_option_like_host_and_user_are_refused(sshd_bare: Sshd) -> None:
    for field in ("host", "user"):
        with pytest.raises(pb.ConfigurationError, match=field):
            SshProtocol(connection_to(sshd_bare, **{field: "-oProxyCommand=touch /tmp/owned"}))


# Files, cut


@pytest.mark.parametrize("after", [6_000, 40_000, 200_000, 900_000])
async def test_cut_upload_leaves_the_old_file_or_the_new(
    sshd_bare: Sshd, proxy_factory: MakeProxy, tmp_path: Path, after: int
) -> None:
    proxy = proxy_factory(sshd_bare.port, Plan(action="cut", direction="to_server", after=after))
    new = os.urandom(1_000_000)
    (tmp_path / "data").write_bytes(new)
    target = sshd_bare.home / "cut" / "data"
    async with SshProtocol(connection_to(sshd_bare)) as direct:
        await direct.run(["mkdir", "-p", "cut"])
        await direct.create("cut/data", "old")
        async with SshProtocol(connection_to(sshd_bare, port=proxy.port)) as protocol:
            with pytest.raises(pb.ConnectionFailed):
                await protocol.upload([tmp_path / "data"], "cut")
        await until(lambda: os.listdir(target.parent) == ["data"])
    assert target.read_bytes() in (b"old", new)


@pytest.mark.parametrize("after", [6_000, 40_000, 200_000, 900_000])
async def test_cut_download_leaves_the_old_file_or_the_new(
    sshd_bare: Sshd, proxy_factory: MakeProxy, tmp_path: Path, after: int
) -> None:
    proxy = proxy_factory(sshd_bare.port, Plan(action="cut", direction="to_client", after=after))
    (sshd_bare.home / "down").write_bytes(new := os.urandom(1_000_000))
    (tmp_path / "down").write_bytes(b"old")
    async with SshProtocol(connection_to(sshd_bare, port=proxy.port)) as protocol:
        with pytest.raises(pb.ConnectionFailed):
            await protocol.download(["down"], tmp_path)
    assert os.listdir(tmp_path) == ["down"]
    assert (tmp_path / "down").read_bytes() in (b"old", new)
