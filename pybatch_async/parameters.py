# SPDX-License-Identifier: MIT
"""What a job and a connection are described with: plain mutable dataclasses, checked when they are used."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, Self

from .errors import ConfigurationError

Prompt = Callable[[str], Awaitable[str]]

RECORDS = ".pybatch_async"  # the directory of this library inside a work directory
_LISTS = ("command", "extra_as_list", "input_files", "setup", "teardown", "dependencies")
_LONGEST = 2**31 - 1  # seconds, 68 years: what a host's clock arithmetic surely takes
_SECRETS = ("password", "passphrase", "prompt")


class Submitted(Protocol):
    """Stand for a job that others can depend on."""

    @property
    def job_id(self) -> str:
        """The scheduler's id, "" before submission."""
        ...


@dataclass
class LaunchParameters:
    """Describe a job.

    :param command: the program and its arguments; an array appends its index as the last argument.
    :param work_directory: where it runs on the host; relative paths start at the login directory (at the current
        directory for a local protocol), "~/" at the home directory. It is created if need be.
    :param name: name of the job, as the scheduler shows it.
    :param total_jobs: number of tasks; above 1 the job is an array, with indices from 0.
    :param max_simul_jobs: how many tasks of an array may run at the same time; 0 for as many as the host allows.
    :param nodes: number of nodes, 0 for unspecified.
    :param ntasks: number of tasks (processes) of the command, 0 for unspecified.
    :param exclusive: share the nodes with no other job.
    :param wall_time: longest duration: "minutes", "minutes:seconds", "hours:minutes:seconds", "days-hours",
        "days-hours:minutes", "days-hours:minutes:seconds" (man sbatch, --time), or a timedelta, of which a part of a
        second counts as one; "" for the site's, zero for no limit.
    :param mem_per_node: memory per node, as Slurm writes it ("32G").
    :param mem_per_cpu: memory per allocated CPU.
    :param queue: quality of service (Slurm: --qos).
    :param partition: partition.
    :param wckey: workload characterization key, for accounting.
    :param extra_as_string: lines to add to the batch file as they are ("#SBATCH --nice=5").
    :param extra_as_list: further options of the batch file, one an item ("--nice=5").
    :param input_files: local files and directories to copy into the work directory.
    :param is_posix: True for a Unix-like host, False for Windows.
    :param python_exe: Python interpreter on the host, for nobatch; "python" on a Windows host where none is given.
    :param create_nodefile: write batch_nodefile.txt, one line a task, and export LIBBATCH_NODEFILE.
    :param account: account to charge.
    :param cpus_per_task: CPUs of each task, 0 for unspecified.
    :param gpus: GPUs of the job, a count or Slurm's "type:count"; 0 for none.
    :param environment: variables to set for the command.
    :param setup: shell lines to run before the command (module load…).
    :param teardown: shell lines to run after it, whatever its exit code.
    :param constraint: features the nodes must have.
    :param reservation: reservation to run in.
    :param dependencies: jobs, or ids of jobs, that must have ended well before this one starts; an id may carry
        Slurm's kind of dependency ("afterany:1234").
    :param launcher: program that starts the command ("srun", "mpirun -n 4").
    """

    command: list[str]
    work_directory: str
    name: str = ""
    total_jobs: int = 1
    max_simul_jobs: int = 0
    nodes: int = 0
    ntasks: int = 0
    exclusive: bool = False
    wall_time: str | timedelta = ""
    mem_per_node: str = ""
    mem_per_cpu: str = ""
    queue: str = ""
    partition: str = ""
    wckey: str = ""
    extra_as_string: str = ""
    extra_as_list: list[str] = field(default_factory=list)
    input_files: Sequence[str | Path] = field(default_factory=list)
    is_posix: bool = True
    python_exe: str = "python3"
    create_nodefile: bool = False
    account: str = ""
    cpus_per_task: int = 0
    gpus: int | str = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    setup: Sequence[str] = field(default_factory=list)
    teardown: Sequence[str] = field(default_factory=list)
    constraint: str = ""
    reservation: str = ""
    dependencies: Sequence[Submitted | str | int] = field(default_factory=list)
    launcher: str = ""


@dataclass
class ConnectionParameters:
    """Describe how to reach a host and log in there.

    :param host: name, address, or alias of the ssh configuration.
    :param user: login name; None for the configuration's, else the local one.
    :param password: password; it is kept in memory only.
    :param gss_auth: log in with a Kerberos ticket (GSSAPI, RFC 4462).
    :param port: TCP port; None for the configuration's, else 22.
    :param client_keys: private key files to offer; None for the configuration's, the agent's and the usual ones.
    :param passphrase: passphrase of the private keys.
    :param known_hosts: known_hosts file to verify the host against; None for the usual ones.
    :param verify_host_key: False accepts any host key, and so anybody who answers in the host's place.
    :param config: OpenSSH client configuration file; None for ~/.ssh/config, False for none at all.
    :param proxy_jump: hosts to pass through, "[user@]host[:port]" or "ssh://[user@]host[:port]", comma-separated, as
        ssh -J takes them; "none" for none, whatever the configuration says.
    :param prompt: coroutine function that is given a question (a one-time password, a passphrase…) and returns the
        answer.
    :param connect_timeout: seconds until a login is given up.
    :param keepalive_interval: seconds between signs of life asked of the host; 0 for none.
    :param command_timeout: seconds until a command or a copy is given up when its caller gives no other.
    :param max_connections: most connections to the host at the same time.
    :param max_sessions: most sessions (commands) on one connection at the same time.
    """

    host: str = ""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    gss_auth: bool = False
    port: int | None = field(default=None, kw_only=True)
    client_keys: Sequence[str | Path] | None = field(default=None, kw_only=True)
    passphrase: str | None = field(default=None, kw_only=True, repr=False)
    known_hosts: str | Path | None = field(default=None, kw_only=True)
    verify_host_key: bool = field(default=True, kw_only=True)
    config: str | Path | bool | None = field(default=None, kw_only=True)
    proxy_jump: str | None = field(default=None, kw_only=True)
    prompt: Prompt | None = field(default=None, kw_only=True, repr=False)
    connect_timeout: float = field(default=30.0, kw_only=True)
    keepalive_interval: float = field(default=15.0, kw_only=True)
    command_timeout: float = field(default=3600.0, kw_only=True)
    max_connections: int = field(default=4, kw_only=True)
    max_sessions: int = field(default=8, kw_only=True)

    def __getstate__(self) -> dict[str, Any]:
        return {key: None if key in _SECRETS else value for key, value in self.__dict__.items()}

    def __copy__(self) -> Self:
        return replace(self)  # a pickle leaves the process and holds no secrets; a copy stays and keeps them

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return replace(self, client_keys=None if self.client_keys is None else list(self.client_keys))


def own_copy(params: LaunchParameters) -> LaunchParameters:
    """Copy parameters, so that what is done to the originals does not reach the copy."""
    twin = copy.copy(params)
    twin.environment = dict(params.environment)
    for name in _LISTS:
        value = getattr(params, name)
        setattr(twin, name, value if isinstance(value, tuple) else list(value))
    return twin


def wall_seconds(wall_time: str | timedelta) -> int | None:
    """Read a wall time.

    :param wall_time: one of the formats of LaunchParameters.
    :returns: seconds; None for no limit of the job's own ("" or zero).
    :raises ConfigurationError: another format, a negative duration, or one of more than 68 years.
    """
    if isinstance(wall_time, timedelta):
        seconds = math.ceil(wall_time.total_seconds())
    else:
        seconds = _parsed_wall_time(wall_time.strip()) if wall_time.strip() else 0
    if not 0 <= seconds <= _LONGEST:
        raise ConfigurationError(f"wall_time: {wall_time!r} is negative, or more than 68 years.")
    return seconds or None


def _parsed_wall_time(text: str) -> int:
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text, re.ASCII)
    if not match:
        raise ConfigurationError(
            f"wall_time: {text!r} is none of minutes, minutes:seconds, hours:minutes:seconds, days-hours, "
            f"days-hours:minutes, days-hours:minutes:seconds."
        )
    days, *rest = match.groups()
    parts = [int(part) for part in rest if part is not None]
    if days is not None or len(parts) == 3:
        hours, minutes, seconds = parts + [0] * (3 - len(parts))
    else:
        hours, minutes, seconds = 0, parts[0], parts[1] if len(parts) == 2 else 0
    return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds


def remote_join(directory: str, path: str) -> str:
    """Join a path to a directory of a POSIX host; an absolute path stands for itself."""
    return str(PurePosixPath(directory) / path)


def entry_name(entry: str | Path) -> str:
    """Return the name that a local file or directory has once it is copied elsewhere."""
    path = Path(entry)
    return path.name if path.name not in ("", "..") else path.resolve().name
