# SPDX-License-Identifier: MIT
"""Submit, follow and collect batch jobs on Slurm or on a plain workstation, from asyncio."""

from .errors import (
    AuthenticationFailed,
    CommandFailed,
    CommandTimedOut,
    ConfigurationError,
    ConnectionFailed,
    HostKeyUnknown,
    JobLost,
    PathMissing,
    PybatchException,
    StateUnknown,
    SubmitFailed,
    TransferFailed,
)
from .interfaces import GenericJob, GenericProtocol, GenericTask, Plugin
from .parameters import ConnectionParameters, LaunchParameters
from .states import JobInfo, JobState

__all__ = [
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
    "JobInfo",
    "JobLost",
    "JobState",
    "LaunchParameters",
    "PathMissing",
    "Plugin",
    "PybatchException",
    "StateUnknown",
    "SubmitFailed",
    "TransferFailed",
]
