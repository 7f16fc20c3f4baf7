# SPDX-License-Identifier: MIT
"""What is known of a job without asking its host."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from .interfaces import GenericJob, GenericTask
from .states import JobInfo, JobState


@runtime_checkable
class Known(Protocol):
    """Stand for a job, or a task of an array, that keeps what the last look told."""

    def known(self) -> JobInfo:
        """Return what is known without asking anybody."""
        ...


def known_of(job: GenericJob | GenericTask) -> JobInfo:
    """Return what is known of a job, or of a task of an array; little if its plugin keeps nothing."""
    if isinstance(job, Known):
        return job.known()
    job_id = getattr(job, "job_id", "")
    return JobInfo(job_id, JobState.QUEUED if job_id else JobState.CREATED)
