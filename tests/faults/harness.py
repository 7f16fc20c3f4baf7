# SPDX-License-Identifier: MIT
"""What the scenarios share: ways to the cluster, jobs that leave a trace, and the count of jobs by token."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from pybatch_async import AsyncsshProtocol, GenericProtocol, LaunchParameters
from pybatch_async.plugins.slurm.job import Job
from tests.services.connection import connection_to
from tests.services.slurm import SlurmCluster
from tests.services.sshd import Sshd

_TOKEN = re.compile(r"\.pybatch_async/([0-9a-f]{32})(?:-\d+)?\.cmd")
_ANY_TIME = ["-S", "now-2days", "-E", "now+2days"]


def reach(server: Sshd, port: int | None = None, **options: object) -> AsyncsshProtocol:
    """Reach a server with the tests' key; a dead connection is noticed soon."""
    chosen: dict[str, object] = {"keepalive_interval": 1.0, "connect_timeout": 5.0, **options}
    return AsyncsshProtocol(connection_to(server, port=port or server.port, **chosen))


def make_job(
    protocol: GenericProtocol, directory: str | Path, script: str = "echo ran >> ran.txt", **options: object
) -> Job:
    """Make a job that runs a shell script, which as it stands leaves one line a run."""
    chosen: dict[str, object] = {"wall_time": "5", **options}
    return Job(LaunchParameters(["sh", "-c", script], str(directory), **chosen), protocol)  # type: ignore[arg-type]


def jobs_by_token(cluster: SlurmCluster, is_accounted: bool = True) -> dict[str, set[str]]:
    """Return the ids of all jobs that the controller or the accounting ever knew, by their token."""
    lines = cluster.command("squeue", "-h", "-t", "all", "-O", "ArrayJobID:.20|,Command:.1024").splitlines()
    if is_accounted and cluster.options.accounting:
        fields = ["-o", "JobID,SubmitLine"]  # it fails while slurmdbd is down
        lines += cluster.command("sacct", "-nXP", "-a", *_ANY_TIME, *fields, check=False).splitlines()
    found: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        job_id, _, command = line.partition("|")
        if match := _TOKEN.search(command):
            found[match[1]].add(job_id.strip().partition("_")[0])
    return found


class Count:
    """Compare the jobs that were asked for with those that the cluster has."""

    def __init__(self, cluster: SlurmCluster, jobs: Iterable[Job]) -> None:
        known = jobs_by_token(cluster)
        listed = list(jobs)
        self.wanted = len(listed)
        self.lost = sum(not known[job.token] for job in listed)
        self.duplicates = sum(max(len(known[job.token]) - 1, 0) for job in listed)
        self.orphans = sum(known[job.token] != {job.job_id} for job in listed)

    @property
    def is_exact(self) -> bool:
        """Tell whether each job exists once, under the id that its handle holds."""
        return self.lost == self.duplicates == self.orphans == 0

    def __str__(self) -> str:
        return f"{self.wanted} jobs, {self.duplicates} duplicates, {self.orphans} orphans, {self.lost} lost"


def runs(directory: Path) -> int:
    """Count the runs of a job made by `make_job`."""
    file = directory / "ran.txt"
    return len(file.read_text().splitlines()) if file.exists() else 0


def report(scenario: str, figures: object) -> None:
    """Print a scenario's line of figures."""
    print(f"\nfaults: {scenario}: {figures}", flush=True)


def run_as(user: str, *argv: str) -> None:
    """Run a command as another user."""
    subprocess.run(["runuser", "-u", user, "--", *argv], check=True, capture_output=True)
