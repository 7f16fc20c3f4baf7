# SPDX-License-Identifier: MIT
"""Make jobs by the name of their plugin."""

from __future__ import annotations

import pybatch_async as pb

from .generic_protocol import GenericProtocol
from .genericjob import GenericJob, JobWithoutBatchManager


def create_job(plugin_name: str, params: pb.LaunchParameters, protocol: GenericProtocol | None = None) -> GenericJob:
    """Make a job.

    :param plugin_name: "slurm", "nobatch" or "local".
    :param params: what to run.
    :param protocol: how to reach the host; None for this machine.
    """
    job = pb.create_job(plugin_name, params, protocol.asynchronous if protocol else None)
    return JobWithoutBatchManager(job) if plugin_name in ("nobatch", "local") else GenericJob(job)
