# SPDX-License-Identifier: MIT
"""A job whose methods wait."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pybatch_async as pb

from .background import result


class GenericJob:
    """Handle one job through a job of pybatch_async.

    :param job: that job.
    """

    def __init__(self, job: pb.GenericJob) -> None:
        self.asynchronous = job

    def submit(self) -> None:
        """Submit the job."""
        result(self.asynchronous.submit())

    def wait(self) -> None:
        """Wait for the end of the job."""
        result(self.asynchronous.wait())

    def state(self) -> str:
        """Return the state of the job."""
        return result(self.asynchronous.state())

    def exit_code(self) -> int | None:
        """Return the exit code of the job."""
        return result(self.asynchronous.exit_code())

    def cancel(self) -> None:
        """Stop the job."""
        result(self.asynchronous.cancel())

    def get(self, remote_paths: Iterable[str], local_path: str | Path) -> None:
        """Copy files and directories of the work directory to this machine."""
        result(self.asynchronous.get(remote_paths, local_path))

    def stdout(self) -> str:
        """Return the standard output of the job."""
        return result(self.asynchronous.stdout())

    def stderr(self) -> str:
        """Return the standard error of the job."""
        return result(self.asynchronous.stderr())

    def batch_file(self) -> str:
        """Return the text of the batch file."""
        return self.asynchronous.batch_file()


class JobWithoutBatchManager(GenericJob):
    """Handle one job of the plugins "nobatch" and "local"."""

    def exit_code(self) -> int | None:
        """Return the exit code of the job; negative for the signal that ended it."""
        code = super().exit_code()
        if not code or self.asynchronous.params.total_jobs > 1:
            return code
        # Bridge: pybatch_async gives the number of a signal with every plugin, as Slurm and pybatch's slurm do;
        # pybatch's nobatch and local give it with a minus sign, as the log has it in both.
        directory = self.asynchronous.params.work_directory
        return int(result(self.asynchronous.protocol.read(f"{directory}/logs/exit_code.log")))
