# SPDX-License-Identifier: MIT
"""A job of a host without a batch manager."""

from __future__ import annotations

from typing import ClassVar

from ...errors import ConfigurationError
from ..base import BatchJob
from . import script
from .queue import NobatchQueue
from .records import after_ids


class NobatchJob(BatchJob):
    """Handle one job of the queue that this library keeps on a host.

    `account` and `wckey` are taken and mean nothing there; `exclusive` lets no other job of this queue run beside it.
    """

    plugin_name = "nobatch"
    queue_type = NobatchQueue
    is_for_windows: ClassVar[bool] = False
    refused_fields = {
        "mem_per_node": "memory is not limited without a batch manager; set a limit with a setup line (ulimit -v)",
        "mem_per_cpu": "memory is not limited without a batch manager; set a limit with a setup line (ulimit -v)",
        "queue": "there is one queue only, and no quality of service",
        "partition": "a single host has no partitions",
        "extra_as_string": "there is no batch file to add lines to; use setup",
        "extra_as_list": "there is no batch file to add options to; use setup",
        "gpus": "GPUs are not handed out without a batch manager; choose them with environment (CUDA_VISIBLE_DEVICES)",
        "constraint": "a single host has the features it has",
        "reservation": "there is nothing that reserves a host without a batch manager",
    }

    def check(self) -> None:
        """Refuse parameters that this plugin can not run.

        :raises ConfigurationError: naming what is wrong.
        """
        super().check()
        if self.params.nodes > 1:
            raise ConfigurationError(
                f"nodes: the plugin {self.plugin_name!r} runs a job on one host; {self.params.nodes} nodes need Slurm."
            )
        if self.params.is_posix is self.is_for_windows:
            if self.plugin_name == "local":
                raise ConfigurationError(
                    "is_posix=False: 'local' runs POSIX jobs only; take 'nobatch' with an ssh protocol."
                )
            raise ConfigurationError(
                "is_posix: a job is made for a POSIX or for a Windows host, and stays so; 'nobatch' makes both kinds."
            )
        after_ids([text for each in self.params.dependencies if (text := str(getattr(each, "job_id", each)))])

    def batch_file(self) -> str:
        """Return a shell script that does what the queue does for the job."""
        return script.render(self)
