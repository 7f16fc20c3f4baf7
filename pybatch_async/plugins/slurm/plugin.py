# SPDX-License-Identifier: MIT
"""The entry point of the Slurm plugin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...interfaces import GenericJob, GenericProtocol
from ...parameters import LaunchParameters
from ...protocols.local import LocalProtocol
from .job import Job


class Plugin:
    """Make jobs of a Slurm cluster."""

    description = "Slurm, on this machine or on the front-end that the protocol reaches"

    def create_job(self, params: LaunchParameters, protocol: GenericProtocol | None) -> GenericJob:
        """Return a new job; no I/O happens."""
        return Job(params, protocol or LocalProtocol())

    def reload_job(self, data: Mapping[str, Any], protocol: GenericProtocol | None) -> GenericJob:
        """Return the job that was dumped; no I/O happens."""
        return Job.load(data, protocol or LocalProtocol())
