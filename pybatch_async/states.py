# SPDX-License-Identifier: MIT
"""What can be said of a job: its state, and everything else one look at the scheduler tells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class JobState(StrEnum):
    """Name the states of a job; each equals its own name as a string."""

    CREATED = "CREATED"
    IN_PROCESS = "IN_PROCESS"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    FINISHED = "FINISHED"
    FAILED = "FAILED"

    @property
    def is_final(self) -> bool:
        """Tell whether a job in this state stays in it."""
        return self in (JobState.FINISHED, JobState.FAILED)


@dataclass(frozen=True, slots=True)
class JobInfo:
    """Hold what one look at the scheduler told about a job or about one task of an array.

    :param job_id: the scheduler's id, "" before submission.
    :param state: the state, in this library's words.
    :param scheduler_state: the state in the scheduler's own word (TIMEOUT, CANCELLED, OUT_OF_MEMORY…).
    :param exit_code: exit code, or the number of the signal that ended the command; None while unknown.
    :param reason: why it is in this state, in the scheduler's words.
    :param nodes: the nodes it was given, as the scheduler writes them ("n[1-4]").
    :param submit_time: when it was submitted (UTC, by the host's clock).
    :param start_time: when it started, or is expected to.
    :param end_time: when it ended.
    :param restarts: how many times the scheduler started it again.
    """

    job_id: str
    state: JobState
    scheduler_state: str = ""
    exit_code: int | None = None
    reason: str = ""
    nodes: str = ""
    submit_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    restarts: int = 0


def fold_states(states: Iterable[JobState]) -> JobState:
    """Fold the states of an array's tasks into the state of the array.

    :returns: RUNNING while any runs, else QUEUED while any waits, else PAUSED while any is; once all have
        ended, FAILED if any failed.
    """
    seen = set(states)
    order = (JobState.RUNNING, JobState.QUEUED, JobState.PAUSED, JobState.IN_PROCESS, JobState.FAILED)
    return next((state for state in order if state in seen), JobState.FINISHED)


def fold_exit_codes(codes: Iterable[int | None]) -> int | None:
    """Fold the exit codes of an array's tasks, given in index order, into the array's.

    :returns: the first non-zero one; 0 if all are zero; None if none is non-zero and one is unknown.
    """
    known = list(codes)
    nonzero = next((code for code in known if code), None)
    return nonzero if nonzero is not None else None if None in known else 0
