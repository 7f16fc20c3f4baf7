# SPDX-License-Identifier: MIT
"""Write slurm.conf and slurmdbd.conf for a cluster of several nodes on one machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

NODE_CPUS = 64
NODE_MEMORY = 64000
_GPU_DEVICES = ("null", "zero")


@dataclass(frozen=True)
class SlurmOptions:
    """Say what kind of cluster a test wants."""

    name: str = "pb"
    accounting: bool = True
    nodes: int = 2
    min_job_age: int = 300
    max_array_size: int = 1001
    max_job_count: int = 10000
    slurmd_timeout: int = 300
    # Limits and unknown accounts, QOS and wckeys are refused only where the site enforces them.
    enforce: str = "associations,limits,qos,wckeys"
    extra: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class SlurmPlaces:
    """Say where one cluster keeps its files and listens."""

    directory: Path
    munge_socket: Path
    controller_port: int
    slurmdbd_port: int
    node_ports: Mapping[str, int]

    @property
    def slurm_conf(self) -> Path:
        """The file that SLURM_CONF names."""
        return self.directory / "slurm.conf"


def host_name() -> str:
    """The short name by which slurmctld and slurmd know this machine."""
    return socket.gethostname().split(".")[0]


def write_slurm_conf(places: SlurmPlaces, options: SlurmOptions) -> None:
    """Write slurm.conf, gres.conf and cgroup.conf."""
    lines = [*_general(places, options), *_paths(places), *_nodes(places), *options.extra]
    if options.accounting:
        lines += _accounting(places, options)
    places.slurm_conf.write_text("\n".join(lines) + "\n")
    # Any device file does for a GPU here: jobs are counted against it, nothing is done with it.
    (places.directory / "gres.conf").write_text("".join(f"Name=gpu File=/dev/{device}\n" for device in _GPU_DEVICES))
    # Nothing here uses cgroups, but slurmd refuses to start where it finds none (a plain container) unless told which.
    (places.directory / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")


def _general(places: SlurmPlaces, options: SlurmOptions) -> list[str]:
    return [
        f"ClusterName={options.name}",
        f"SlurmctldHost={host_name()}(127.0.0.1)",
        f"SlurmctldPort={places.controller_port}",
        "SlurmUser=root",
        "AuthType=auth/munge",
        f"AuthInfo=socket={places.munge_socket}",
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "MpiDefault=none",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core",
        "SlurmdParameters=config_overrides",  # more CPUs than the machine has
        "SchedulerParameters=batch_sched_delay=1,sched_min_interval=0,sched_interval=1,bf_interval=1",
        "PropagateResourceLimits=NONE",
        "ReturnToService=2",
        "KillWait=2",
        "GresTypes=gpu",
        f"MinJobAge={options.min_job_age}",
        f"MaxArraySize={options.max_array_size}",
        f"MaxJobCount={options.max_job_count}",
        f"SlurmdTimeout={options.slurmd_timeout}",
    ]


def _paths(places: SlurmPlaces) -> list[str]:
    directory = places.directory
    return [
        f"StateSaveLocation={directory}/state",
        f"SlurmdSpoolDir={directory}/spool.%n",
        f"SlurmctldPidFile={directory}/slurmctld.pid",
        f"SlurmdPidFile={directory}/slurmd.%n.pid",
        f"SlurmctldLogFile={directory}/slurmctld.log",
        f"SlurmdLogFile={directory}/slurmd.%n.log",
    ]


def _nodes(places: SlurmPlaces) -> list[str]:
    size = f"CPUs={NODE_CPUS} CoresPerSocket={NODE_CPUS} RealMemory={NODE_MEMORY} Gres=gpu:{len(_GPU_DEVICES)}"
    nodes = [
        f"NodeName={node} NodeHostname={host_name()} NodeAddr=127.0.0.1 Port={port} {size} Feature={node}feature,fast"
        for node, port in places.node_ports.items()
    ]
    every = ",".join(places.node_ports)
    return [
        *nodes,
        f"PartitionName=main Nodes={every} Default=YES MaxTime=INFINITE State=UP",
        f"PartitionName=down Nodes={every} MaxTime=INFINITE State=DOWN",
    ]


def _accounting(places: SlurmPlaces, options: SlurmOptions) -> list[str]:
    return [
        "AccountingStorageType=accounting_storage/slurmdbd",
        "AccountingStorageHost=127.0.0.1",
        f"AccountingStoragePort={places.slurmdbd_port}",
        f"AccountingStoragePass={places.munge_socket}",
        f"AccountingStorageEnforce={options.enforce}",
        "TrackWCKey=yes",
        "JobAcctGatherType=jobacct_gather/linux",
    ]


def write_slurmdbd_conf(places: SlurmPlaces, database_port: int, password: str) -> None:
    """Write slurmdbd.conf, which holds a password and must have mode 600."""
    lines = [
        "DbdHost=localhost",
        "DbdAddr=127.0.0.1",
        f"DbdPort={places.slurmdbd_port}",
        "SlurmUser=root",
        "AuthType=auth/munge",
        f"AuthInfo=socket={places.munge_socket}",
        f"PidFile={places.directory}/slurmdbd.pid",
        f"LogFile={places.directory}/slurmdbd.log",
        "StorageType=accounting_storage/mysql",
        "StorageHost=127.0.0.1",
        f"StoragePort={database_port}",
        "StorageUser=slurm",
        f"StoragePass={password}",
        "TrackWCKey=yes",
    ]
    path = places.directory / "slurmdbd.conf"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write("\n".join(lines) + "\n")
