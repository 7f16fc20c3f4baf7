# SPDX-License-Identifier: MIT
"""Offer the real services to every test, each started when the first test asks for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.services.accounts import Account, Accounts
from tests.services.kerberos import SERVICE_HOST, Realm
from tests.services.munge import Munge
from tests.services.proxy import Plan, Proxy
from tests.services.slurm import SlurmCluster
from tests.services.slurm_config import SlurmOptions
from tests.services.sshd import Sshd, SshdOptions, SshKeys, make_keys
from tests.services.workspace import ServiceUnavailable, Workspace

MakeSlurm = Callable[[SlurmOptions], SlurmCluster]
MakeSshd = Callable[..., Sshd]
MakeProxy = Callable[..., Proxy]


def pytest_configure(config: pytest.Config) -> None:
    """Run the tests' event loops in debug mode, as pytest-asyncio's --asyncio-debug does."""
    config.option.asyncio_debug = True


@contextlib.contextmanager
def or_left_out(service: str) -> Iterator[None]:
    """Leave a test out when its service cannot be had; where nothing may be left out (CI), fail it."""
    try:
        yield
    except ServiceUnavailable as reason:
        if os.environ.get("CI"):
            pytest.fail(f"no {service}: {reason}", pytrace=False)
        pytest.skip(f"no {service}: {reason}")


@pytest.fixture(scope="session")
def workspace() -> Iterator[Workspace]:
    """The directory, ports and janitor of this session."""
    workspace = Workspace()
    yield workspace
    workspace.close()


# Users and keys


@pytest.fixture(scope="session")
def accounts(workspace: Workspace) -> Accounts:
    """The unprivileged users, created on demand."""
    with or_left_out("unprivileged users"):
        return Accounts(workspace)


@pytest.fixture(scope="session")
def ssh_keys(workspace: Workspace) -> SshKeys:
    """The client key, the servers' host key and the known_hosts that trusts it."""
    with or_left_out("ssh keys"):
        return make_keys(workspace)


@pytest.fixture(scope="session")
def client_key(ssh_keys: SshKeys) -> Path:
    """The private key that every server accepts for every user of the session."""
    return ssh_keys.client_key


@pytest.fixture(scope="session")
def known_hosts(ssh_keys: SshKeys) -> Path:
    """A known_hosts file that trusts the session's servers on any port."""
    return ssh_keys.known_hosts


# Slurm


@pytest.fixture(scope="session")
def munge(workspace: Workspace) -> Iterator[Munge]:
    """A munged for the session's clusters."""
    with or_left_out("munge"):
        munge = Munge(workspace)
        munge.start()
    yield munge
    munge.stop()


@contextlib.contextmanager
def running_slurm(
    workspace: Workspace, munge: Munge, accounts: Accounts, options: SlurmOptions
) -> Iterator[SlurmCluster]:
    """Run a cluster that knows the plain user."""
    with or_left_out("Slurm"):
        cluster = SlurmCluster(workspace, munge, options)
    with contextlib.closing(cluster):
        cluster.start()
        cluster.admit(accounts.plain())
        yield cluster


@pytest.fixture(scope="session")
def slurm(workspace: Workspace, munge: Munge, accounts: Accounts) -> Iterator[SlurmCluster]:
    """A cluster with accounting; leave it as it was found."""
    with running_slurm(workspace, munge, accounts, SlurmOptions()) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def slurm_without_accounting(workspace: Workspace, munge: Munge, accounts: Accounts) -> Iterator[SlurmCluster]:
    """A cluster that forgets a job two seconds after its end and keeps no accounts."""
    options = SlurmOptions(name="bare", accounting=False, min_job_age=2)
    with running_slurm(workspace, munge, accounts, options) as cluster:
        yield cluster


@pytest.fixture
def make_slurm(workspace: Workspace, munge: Munge, accounts: Accounts) -> Iterator[MakeSlurm]:
    """Start clusters for one test, which may treat them badly; give each its name."""
    with contextlib.ExitStack() as stack:

        def make(options: SlurmOptions) -> SlurmCluster:
            return stack.enter_context(running_slurm(workspace, munge, accounts, options))

        yield make


# ssh


@contextlib.contextmanager
def running_sshd(workspace: Workspace, keys: SshKeys, account: Account, options: SshdOptions) -> Iterator[Sshd]:
    """Run a server."""
    with or_left_out("sshd"):
        server = Sshd(workspace, keys, account, options)
    with contextlib.closing(server):
        server.start()
        yield server


@pytest.fixture(scope="session")
def sshd(workspace: Workspace, ssh_keys: SshKeys, accounts: Accounts, slurm: SlurmCluster) -> Iterator[Sshd]:
    """A server with sshd's defaults, the front-end of the cluster with accounting."""
    options = SshdOptions(environment=slurm.environment())
    with running_sshd(workspace, ssh_keys, accounts.plain(), options) as server:
        yield server


@pytest.fixture(scope="session")
def sshd_without_accounting(
    workspace: Workspace, ssh_keys: SshKeys, accounts: Accounts, slurm_without_accounting: SlurmCluster
) -> Iterator[Sshd]:
    """A server with sshd's defaults, the front-end of the cluster without accounting."""
    options = SshdOptions(environment=slurm_without_accounting.environment())
    with running_sshd(workspace, ssh_keys, accounts.plain(), options) as server:
        yield server


@pytest.fixture(scope="session")
def sshd_bare(workspace: Workspace, ssh_keys: SshKeys, accounts: Accounts) -> Iterator[Sshd]:
    """A server with sshd's defaults and no Slurm behind it."""
    with running_sshd(workspace, ssh_keys, accounts.plain(), SshdOptions()) as server:
        yield server


@pytest.fixture(scope="session")
def sshd_one_session(workspace: Workspace, ssh_keys: SshKeys, accounts: Accounts) -> Iterator[Sshd]:
    """A server that allows one session a connection."""
    with running_sshd(workspace, ssh_keys, accounts.plain(), SshdOptions(max_sessions=1)) as server:
        yield server


@pytest.fixture(scope="session")
def sshd_password(workspace: Workspace, ssh_keys: SshKeys, accounts: Accounts) -> Iterator[Sshd]:
    """A server that takes passwords (password and keyboard-interactive) and no keys; see `account.password`."""
    options = SshdOptions(passwords=True, keys=False)
    with running_sshd(workspace, ssh_keys, accounts.with_password(), options) as server:
        yield server


@pytest.fixture
def make_sshd(workspace: Workspace, ssh_keys: SshKeys, accounts: Accounts) -> Iterator[MakeSshd]:
    """Start servers for one test: `make_sshd(account=…, max_sessions=…, any field of SshdOptions)`."""
    with contextlib.ExitStack() as stack:

        def make(account: Account | None = None, **options: object) -> Sshd:
            chosen = replace(SshdOptions(), **options)  # type: ignore[arg-type]  # any field of SshdOptions
            return stack.enter_context(running_sshd(workspace, ssh_keys, account or accounts.plain(), chosen))

        yield make


# Kerberos


@pytest.fixture(scope="session")
def realm(workspace: Workspace, accounts: Accounts) -> Iterator[Realm]:
    """A realm whose KDC knows the plain user."""
    with or_left_out("Kerberos realm"):
        realm = Realm(workspace)
        realm.start()
    realm.add_user(accounts.plain().user)
    yield realm
    realm.stop()


@pytest.fixture(scope="session")
def sshd_kerberos(workspace: Workspace, ssh_keys: SshKeys, accounts: Accounts, realm: Realm) -> Iterator[Sshd]:
    """A server that takes the realm's tickets and no keys."""
    options = SshdOptions(
        keys=False,
        host=SERVICE_HOST,
        daemon_environment=realm.sshd_environment(),
        extra=("GSSAPIAuthentication yes", "GSSAPIStrictAcceptorCheck no"),
    )
    with running_sshd(workspace, ssh_keys, accounts.plain(), options) as server:
        yield server


@pytest.fixture
def ticket(realm: Realm, accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> Iterator[Realm]:
    """A valid ticket of the plain user in this process's environment."""
    for name, value in realm.environment().items():
        monkeypatch.setenv(name, value)
    realm.kinit(accounts.plain().user)
    yield realm
    realm.kdestroy()


# A faulty network


@pytest.fixture
def proxy_factory() -> Iterator[MakeProxy]:
    """Put proxies before ports for one test: `proxy_factory(port, Plan(…))`."""
    with contextlib.ExitStack() as stack:

        def make(target_port: int, plan: Plan | None = None) -> Proxy:
            return stack.enter_context(contextlib.closing(Proxy(target_port, plan)))

        yield make


# What was left out


def _left_out(config: pytest.Config) -> list[pytest.TestReport]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return [] if reporter is None else list(reporter.stats.get("skipped", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the tests that were left out, and why."""
    by_reason: dict[str, list[str]] = {}
    for report in _left_out(config):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        by_reason.setdefault(reason.removeprefix("Skipped: "), []).append(report.nodeid)
    if by_reason:
        terminalreporter.section("tests left out")
    for reason, tests in by_reason.items():
        terminalreporter.line(f"{len(tests)} left out, {reason}:")
        for test in tests:
            terminalreporter.line(f"    {test}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where nothing may be left out (CI), leaving a test out is a failure."""
    if os.environ.get("CI") and exitstatus == pytest.ExitCode.OK and _left_out(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
