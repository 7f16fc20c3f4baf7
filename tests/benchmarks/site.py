# SPDX-License-Identifier: MIT
"""Start the services that the benchmark measures on: one Slurm cluster, its front-end's sshd, a slow link to it."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pybatch_async import ConnectionParameters
from tests.services.accounts import Accounts
from tests.services.connection import connection_to
from tests.services.munge import Munge
from tests.services.proxy import Plan, Proxy
from tests.services.slurm import SlurmCluster
from tests.services.slurm_config import SlurmOptions
from tests.services.sshd import Sshd, SshdOptions, make_keys
from tests.services.workspace import Workspace, wait_until

ONE_WAY = 0.02  # seconds added each way: a round trip of 40 ms
_HOUSEKEEPING = frozenset({"REQUEST_STATS_INFO", "REQUEST_PING", "MESSAGE_EPILOG_COMPLETE"})
_COUNT = re.compile(r"^\s*(\w+)\s*\(\s*\d+\)\s*count:(\d+)", re.M)


@dataclass(frozen=True)
class Link:
    """Stand for one way to the front-end.

    :param name: what the tables call it.
    :param port: where it listens on the loopback interface.
    """

    name: str
    port: int


@dataclass(frozen=True)
class Site:
    """Hold the running services.

    :param links: the direct link, then the slow one.
    """

    workspace: Workspace
    cluster: SlurmCluster
    server: Sshd
    links: tuple[Link, ...]

    def parameters(self, link: Link) -> ConnectionParameters:
        """Return how this library logs in over a link."""
        return connection_to(self.server, port=link.port)

    def requests(self) -> dict[str, int]:
        """Return how many requests came since `renew`, as `user_requests` does."""
        return user_requests(self.cluster.command("sdiag"), self.server.user)

    def renew(self) -> None:
        """Start the controller anew with no jobs, so that no measurement is burdened with those of the one before."""
        self.cluster.command("scancel", "--full", "--user", self.server.user)
        wait_until(lambda: not self._unfinished(), "the jobs to end", 120)
        self.cluster.stop_controller()
        shutil.rmtree(self.cluster.places.directory / "state")
        self.cluster.start_controller()
        self.cluster.wait_idle()
        for left in self.server.home.iterdir():
            if left.name[0] != ".":
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        self.cluster.command("sdiag", "--reset")

    def _unfinished(self) -> str:
        return self.cluster.command("squeue", "-h", "-o", "%i", "--user", self.server.user)


def user_requests(report: str, user: str) -> dict[str, int]:
    """Read the counts of one user's requests out of what sdiag prints, in total and by type.

    sdiag counts users and types apart: the types are those of everybody, without what the cluster asks itself.

    :returns: counts by type, and "total" for all of the user's.
    """
    types, _, users = report.partition("Remote Procedure Call statistics by user")
    counts = {name: int(count) for name, count in _COUNT.findall(types) if name not in _HOUSEKEEPING}
    counts["total"] = next((int(count) for name, count in _COUNT.findall(users) if name == user), 0)
    return counts


@contextlib.contextmanager
def running_site() -> Iterator[Site]:
    """Start everything, and end it."""
    workspace = Workspace()
    with contextlib.ExitStack() as stack:
        stack.callback(workspace.close)
        accounts, keys = Accounts(workspace), make_keys(workspace)
        munge = Munge(workspace)
        munge.start()
        stack.callback(munge.stop)
        cluster = SlurmCluster(workspace, munge, SlurmOptions("bench", accounting=False))
        stack.callback(cluster.close)
        cluster.start()
        environment: Mapping[str, str] = cluster.environment()
        server = Sshd(workspace, keys, accounts.plain(), SshdOptions(environment=environment))
        server.start()
        stack.callback(server.close)
        proxy = stack.enter_context(contextlib.closing(Proxy(server.port, Plan(delay=ONE_WAY))))
        links = (Link("loopback", server.port), Link("40 ms round trip", proxy.port))
        yield Site(workspace, cluster, server, links)


def make_inputs(directory: Path, count: int, size: int = 2000) -> list[Path]:
    """Write distinct input files of the given size, each in a directory of its own so that all have one name."""
    paths = [directory / str(number) / "input.txt" for number in range(count)]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number}\n".ljust(size, "x"))
    return paths
