# SPDX-License-Identifier: MIT
"""Submit, follow and collect batch jobs on Slurm or on a plain workstation, from asyncio."""

from importlib.metadata import version

from .errors import (
    AuthenticationFailed,
    CommandFailed,
    CommandTimedOut,
    ConfigurationError,
    ConnectionFailed,
    HostKeyUnknown,
    HostUnreachable,
    JobLost,
    PathMissing,
    PybatchException,
    StateUnknown,
    SubmitFailed,
    TransferFailed,
)
from .interfaces import GenericJob, GenericProtocol, GenericTask, Plugin
from .job_factory import create_job, reload_job
from .jobs import as_completed, submit_all, wait_all
from .parameters import ConnectionParameters, LaunchParameters
from .progress import progress
from .protocols.asyncssh import AsyncsshProtocol
from .protocols.local import LocalProtocol
from .protocols.ssh import SshProtocol
from .states import JobInfo, JobState
from .sweep import JournalFailed, Sweep, Table, grid

__version__ = version(__name__)

__all__ = [
    "AsyncsshProtocol",
    "AuthenticationFailed",
    "CommandFailed",
    "CommandTimedOut",
    "ConfigurationError",
    "ConnectionFailed",
    "ConnectionParameters",
    "GenericJob",
    "GenericProtocol",
    "GenericTask",
    "HostKeyUnknown",
    "HostUnreachable",
    "JobInfo",
    "JobLost",
    "JobState",
    "JournalFailed",
    "LaunchParameters",
    "PathMissing",
    "LocalProtocol",
    "Plugin",
    "PybatchException",
    "SshProtocol",
    "StateUnknown",
    "SubmitFailed",
    "Sweep",
    "Table",
    "TransferFailed",
    "__version__",
    "as_completed",
    "create_job",
    "grid",
    "progress",
    "reload_job",
    "submit_all",
    "wait_all",
]
