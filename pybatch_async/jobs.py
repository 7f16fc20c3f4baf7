# SPDX-License-Identifier: MIT
"""Submit and await many jobs; one bad job never cancels its siblings."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TypeVar

from .errors import ConfigurationError, PybatchException
from .interfaces import GenericJob, GenericTask
from .known import known_of
from .states import JobState

Waitable = GenericJob | GenericTask
Waited = TypeVar("Waited", bound=Waitable)


async def submit_all(jobs: Iterable[GenericJob]) -> list[PybatchException | None]:
    """Submit jobs together.

    :returns: what went wrong with each job, in their order; None for one that was submitted.
    :raises ConfigurationError: something else than jobs was given; nothing was submitted.
    """
    outcomes = await asyncio.gather(*(job.submit() for job in listed(jobs, "submit")), return_exceptions=True)
    return [outcome if outcome is None else _ours(outcome) for outcome in outcomes]


async def wait_all(jobs: Iterable[Waitable]) -> list[JobState | PybatchException]:
    """Wait for the end of jobs, or of tasks of an array.

    :returns: the final state of each, in their order, or what went wrong with waiting for it (JobLost…).
    :raises ConfigurationError: something else than jobs and tasks was given.
    """
    outcomes = await asyncio.gather(*(job.wait() for job in listed(jobs, "wait")), return_exceptions=True)
    return [outcome if isinstance(outcome, JobState) else _ours(outcome) for outcome in outcomes]


async def as_completed(jobs: Iterable[Waited]) -> AsyncIterator[Waited]:
    """Iterate over jobs, or tasks of an array, as their ends become known.

    Ends that become known together come in the order of their times, as far as the scheduler tells them.
    A job whose end can not be learnt is yielded as well: its `wait()` raises why.

    :raises ConfigurationError: something else than jobs and tasks was given.
    """
    waits = {asyncio.ensure_future(job.wait()): job for job in listed(jobs, "wait")}
    try:
        pending = set(waits)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for wait in sorted(done, key=lambda wait: _end_of(waits[wait])):
                if error := wait.exception():
                    _ours(error)
                yield waits[wait]
    finally:
        await _end(list(waits))


def listed(jobs: Iterable[Waited], operation: str) -> list[Waited]:
    """Return jobs as a list.

    :param operation: a method that all of them have.
    :raises ConfigurationError: it is no list, or one of them is no job.
    """
    if not isinstance(jobs, Iterable):
        raise ConfigurationError(f"A list of jobs is needed, not a single {type(jobs).__name__}.")
    them = list(jobs)
    for job in them:
        if not hasattr(type(job), operation):
            raise ConfigurationError(f"A list of jobs is needed, but one of them is a {type(job).__name__}.")
    return them


def _end_of(job: Waitable) -> float:
    """Return when a job has ended, by its host's clock; infinity if nobody told."""
    end = known_of(job).end_time
    return end.timestamp() if end else math.inf


async def _end(waits: Sequence[asyncio.Future[JobState]]) -> None:
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)


def _ours(error: BaseException) -> PybatchException:
    """Return an error of this library as it is; raise any other one, which is not a job's but a defect."""
    if not isinstance(error, PybatchException):
        raise error
    return error
