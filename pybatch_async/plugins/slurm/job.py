# SPDX-License-Identifier: MIT
"""A job of a Slurm cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ...errors import ConfigurationError
from ..base import BatchJob
from ..queue import HostQueue
from .queue import SlurmQueue
from .script import Part, render


class Job(BatchJob):
    """Handle one Slurm job or job array."""

    plugin_name: ClassVar[str] = "slurm"
    queue_type: ClassVar[type[HostQueue]] = SlurmQueue
    refused_fields: ClassVar[Mapping[str, str]] = {"is_posix": "Slurm runs on Unix-like hosts only"}

    def check(self) -> None:
        """Refuse parameters that Slurm can not run."""
        super().check()
        if self.params.mem_per_node and self.params.mem_per_cpu:
            raise ConfigurationError("mem_per_node and mem_per_cpu exclude each other (man sbatch, --mem).")
        if "%" in self.params.work_directory or "\\" in self.params.work_directory:
            raise ConfigurationError(
                f"work_directory: {self.params.work_directory!r} holds a % or a backslash, which Slurm reads as a "
                f"pattern in the paths of log files (man sbatch, filename pattern); choose another name."
            )

    def batch_file(self) -> str:
        """Return the text of the batch file; for an array that the site makes us split, that of its first part."""
        part = self.ticket.part if self.ticket else self.params.total_jobs
        return render(self.params, Part(0, part, self.token))
