# SPDX-License-Identifier: MIT
"""Prove that the services the tests rely on are what they claim to be."""

from __future__ import annotations

import asyncio
import os
import pwd
import subprocess
import sys
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import asyncssh
import pytest

from tests.conftest import MakeProxy, MakeSshd
from tests.services.accounts import SLOW_SECONDS, Accounts
from tests.services.kerberos import Realm
from tests.services.proxy import Plan, Proxy, random_faults
from tests.services.slurm import QOS_LIMITED, CommandError, SlurmCluster
from tests.services.sshd import Sshd
from tests.services.workspace import wait_until


def connect(sshd: Sshd, port: int | None = None) -> AbstractAsyncContextManager[asyncssh.SSHClientConnection]:
    return asyncssh.connect(
        sshd.host,
        port or sshd.port,
        username=sshd.user,
        client_keys=[str(sshd.client_key)],
        known_hosts=str(sshd.known_hosts),
        config=None,
        agent_path=None,
    )


async def remote(sshd: Sshd, command: str, port: int | None = None) -> str:
    async with connect(sshd, port) as connection:
        return str((await connection.run(command, check=True)).stdout)


async def ended(slurm: SlurmCluster, job_id: str) -> str:
    """Wait for a job's end and return sacct's word and exit code."""

    def record() -> str:
        return slurm.command("sacct", "-nXP", "-j", job_id, "-o", "State,ExitCode").strip()

    def has_ended() -> bool:
        return not record().startswith(("PENDING", "RUNNING")) and record() != ""

    await asyncio.to_thread(wait_until, has_ended, f"the end of job {job_id}")
    return record()


# Slurm behind sshd


async def test_ordinary_user_submits_over_ssh_and_sacct_tells_the_end(sshd: Sshd, slurm: SlurmCluster) -> None:
    job_id = (await remote(sshd, "sbatch --parsable --wrap 'id -un; exit 3'")).strip()
    assert await ended(slurm, job_id) == "FAILED|3:0"
    assert (sshd.home / f"slurm-{job_id}.out").read_text().strip() == sshd.user
    assert job_id in await remote(sshd, "squeue --me -t all -h -o %i")


async def test_down_partition_keeps_a_job_pending(sshd: Sshd, slurm: SlurmCluster) -> None:
    job_id = (await remote(sshd, "sbatch --parsable -p down --wrap true")).strip()
    assert slurm.command("squeue", "-h", "-j", job_id, "-o", "%T", user=sshd.user) == "PENDING\n"
    slurm.command("scancel", job_id, user=sshd.user)


async def test_submit_limit_of_a_qos_is_enforced(sshd: Sshd, slurm: SlurmCluster) -> None:
    submit = ("sbatch", "--parsable", "-p", "down", f"--qos={QOS_LIMITED}", "--chdir=/tmp", "--wrap=true")
    ids = [slurm.command(*submit, user=sshd.user).strip() for _ in range(2)]
    with pytest.raises(CommandError, match="QOSMaxSubmitJobPerUserLimit"):
        slurm.command(*submit, user=sshd.user)
    slurm.command("scancel", *ids, user=sshd.user)


async def test_controller_restarts_with_its_jobs(sshd: Sshd, slurm: SlurmCluster) -> None:
    job_id = (await remote(sshd, "sbatch --parsable -p down --wrap true")).strip()
    slurm.stop_controller()
    assert not slurm.controller_answers()
    slurm.start_controller()
    assert slurm.command("squeue", "-h", "-j", job_id, "-o", "%T") == "PENDING\n"
    slurm.command("scancel", job_id)


async def test_node_and_slurmdbd_restart(sshd: Sshd, slurm: SlurmCluster) -> None:
    slurm.stop_slurmdbd()
    slurm.kill_node("n1")
    slurm.start_node("n1")
    slurm.start_slurmdbd()
    job_id = (await remote(sshd, "sbatch --parsable -w n1 --wrap true")).strip()
    assert await ended(slurm, job_id) == "COMPLETED|0:0"


async def test_cluster_without_accounting_says_so(sshd_without_accounting: Sshd) -> None:
    async with connect(sshd_without_accounting) as connection:
        done = await connection.run("sacct -j 1")
    assert done.exit_status == 1
    assert "Slurm accounting storage is disabled" in str(done.stderr)


# Users and servers


@pytest.mark.parametrize("role", ["plain", "tcsh", "fish"])
async def test_login_shells(role: str, accounts: Accounts, make_sshd: MakeSshd) -> None:
    sshd = make_sshd(account=getattr(accounts, role)())
    assert await remote(sshd, "echo $SHELL") == f"{sshd.account.shell}\n"


async def test_noisy_slow_and_failing_rc_files(accounts: Accounts, make_sshd: MakeSshd) -> None:
    assert await remote(make_sshd(account=accounts.noisy()), "echo done") == "Welcome to the front-end\ndone\n"
    start = time.monotonic()
    assert await remote(make_sshd(account=accounts.slow()), "echo done") == "done\n"
    assert time.monotonic() - start > SLOW_SECONDS
    assert await remote(make_sshd(account=accounts.failing()), "echo done") == "done\n"


async def test_one_session_server_refuses_a_second(sshd_one_session: Sshd) -> None:
    async with connect(sshd_one_session) as connection, connection.create_process("read x") as process:
        wait_until(lambda: len(sshd_one_session.sessions()) == 1, "the session")
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.run("true")
        process.stdin.write_eof()
    wait_until(lambda: not sshd_one_session.connections(), "the end of the connection")


async def test_server_drops_connections_and_restarts(make_sshd: MakeSshd) -> None:
    sshd = make_sshd()
    async with connect(sshd) as connection:
        sshd.restart()
        await connection.wait_closed()
    assert await remote(sshd, "echo back") == "back\n"


async def test_unknown_host_key_is_refused(make_sshd: MakeSshd) -> None:
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        await remote(make_sshd(own_host_key=True), "true")


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
async def test_password_logins(method: str, sshd_password: Sshd) -> None:
    async with asyncssh.connect(
        sshd_password.host,
        sshd_password.port,
        username=sshd_password.user,
        password=sshd_password.account.password,
        preferred_auth=method,
        known_hosts=str(sshd_password.known_hosts),
        config=None,
    ) as connection:
        assert (await connection.run("id -un", check=True)).stdout == f"{sshd_password.user}\n"


def ssh_program(sshd: Sshd, *arguments: str) -> subprocess.CompletedProcess[str]:
    options = ["-F", "none", "-o", f"UserKnownHostsFile={sshd.known_hosts}", "-o", "BatchMode=yes"]
    argv = ["ssh", *options, "-p", str(sshd.port), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30, check=False)


def test_ssh_program_logs_in_with_the_key(sshd_bare: Sshd) -> None:
    key = ("-i", str(sshd_bare.client_key), f"{sshd_bare.user}@{sshd_bare.host}")
    assert ssh_program(sshd_bare, *key, "id -un").stdout == f"{sshd_bare.user}\n"


def test_ssh_program_logs_in_with_a_ticket_and_not_without(sshd_kerberos: Sshd, ticket: Realm) -> None:
    login = ("-K", "-o", "GSSAPIAuthentication=yes", f"{sshd_kerberos.user}@{sshd_kerberos.host}", "id -un")
    assert ssh_program(sshd_kerberos, *login).stdout == f"{sshd_kerberos.user}\n"
    ticket.kdestroy()
    assert "Permission denied" in ssh_program(sshd_kerberos, *login).stderr


async def test_asyncssh_logs_in_with_a_ticket(sshd_kerberos: Sshd, ticket: Realm) -> None:
    assert os.environ["KRB5CCNAME"] == ticket.environment()["KRB5CCNAME"]
    async with asyncssh.connect(
        sshd_kerberos.host,
        sshd_kerberos.port,
        username=sshd_kerberos.user,
        gss_host=sshd_kerberos.host,
        client_keys=None,
        known_hosts=str(sshd_kerberos.known_hosts),
        config=None,
    ) as connection:
        assert (await connection.run("id -un", check=True)).stdout == f"{sshd_kerberos.user}\n"


# The faulty network


async def read_all(proxy: Proxy, size: int) -> bytes:
    """Read through a proxy until the connection's end or size bytes."""
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    try:
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError as cut:
        return cut.partial
    finally:
        writer.close()
        await writer.wait_closed()


async def test_proxy_cuts_after_so_many_bytes(sshd_bare: Sshd, proxy_factory: MakeProxy) -> None:
    proxy = proxy_factory(sshd_bare.port)
    proxy.push(Plan(action="cut", after=7), Plan(action="half_close", after=5), Plan(action="refuse"))
    assert await read_all(proxy, 100) == b"SSH-2.0"
    assert await read_all(proxy, 100) == b"SSH-2"
    assert await read_all(proxy, 100) == b""
    assert await read_all(proxy, 8) == b"SSH-2.0-"
    assert (proxy.connections, proxy.traffic().faults) == (4, 3)
    await asyncio.to_thread(proxy.wait_closed)


async def test_proxy_resets_and_drops(sshd_bare: Sshd, proxy_factory: MakeProxy) -> None:
    proxy = proxy_factory(sshd_bare.port, Plan(action="reset", direction="to_server", after=1000))
    with pytest.raises((OSError, asyncssh.Error)):
        await remote(sshd_bare, "true", proxy.port)
    proxy.set_default(Plan())
    async with connect(sshd_bare, proxy.port) as connection:
        proxy.drop()
        await connection.wait_closed()
    await asyncio.to_thread(proxy.wait_closed)


async def test_proxy_stalls_and_releases(sshd_bare: Sshd, proxy_factory: MakeProxy) -> None:
    proxy = proxy_factory(sshd_bare.port)
    async with connect(sshd_bare, proxy.port) as connection:
        proxy.stall()
        running = asyncio.create_task(connection.run("echo on"))
        assert not (await asyncio.wait([running], timeout=0.2))[0]
        proxy.release()
        assert (await running).stdout == "on\n"


async def test_proxy_delays_each_way_and_keeps_the_throughput(sshd_bare: Sshd, proxy_factory: MakeProxy) -> None:
    proxy = proxy_factory(sshd_bare.port, Plan(delay=0.02))
    async with connect(sshd_bare, proxy.port) as connection:
        start = time.monotonic()
        await connection.run("true", check=True)
        assert 0.08 <= time.monotonic() - start < 1  # to open the channel and to run: two round trips
        done = await connection.run("head -c 20000000 /dev/zero | tr '\\0' x", check=True)
    assert len(str(done.stdout)) == 20_000_000


def test_random_faults_repeat_with_their_seed() -> None:
    assert random_faults(3, 50, 1000) == random_faults(3, 50, 1000) != random_faults(4, 50, 1000)


# The session itself

_REPOSITORY = Path(__file__).parents[2]
_KILLED_SESSION = """
import os, signal, sys
from tests.services.accounts import Accounts
from tests.services.daemon import Daemon
from tests.services.workspace import Workspace

workspace = Workspace()
daemon = Daemon(workspace, ["/bin/sleep", "1000"], workspace.root / "log", user=Accounts(workspace).plain().user)
daemon.start()
sys.stdout.write(f"{workspace.root} {workspace.token} {daemon.pid}")
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_session_leaves_nothing_behind(accounts: Accounts) -> None:
    argv = [sys.executable, "-c", _KILLED_SESSION]
    done = subprocess.run(argv, cwd=_REPOSITORY, capture_output=True, text=True, check=False)
    root, token, pid = done.stdout.split()
    wait_until(lambda: not Path(root).exists(), "the janitor")
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(KeyError):
        pwd.getpwnam(f"pbuser{token}")


@pytest.mark.parametrize(("ci", "exit_code"), [("", 0), ("1", 1)])
def test_leaving_a_test_out_is_a_failure_in_ci_alone(ci: str, exit_code: int, tmp_path: Path) -> None:
    test = tmp_path / "test_left_out.py"
    test.write_text("import pytest\n\ndef test_one():\n    pytest.skip('no such service')\n")
    argv = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "--rootdir", str(tmp_path), str(test)]
    environment = {**os.environ, "CI": ci}
    done = subprocess.run(argv, cwd=_REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == exit_code
    assert "1 left out, no such service:\n    test_left_out.py::test_one" in done.stdout
