# SPDX-License-Identifier: MIT
"""Bring the points of a sweep to their ends: journal, submit, wait, collect; each on its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

from ..errors import ConfigurationError, JobLost, PybatchException, SubmitFailed
from ..interfaces import GenericJob
from ..states import JobState
from .gate import Gate
from .journal import Entry, Journal, JournalFailed

Collect = Callable[[GenericJob], Awaitable[Any]]
_STRIDE = 50  # points begun in one turn of the loop


class Runner:
    """Bring points to their ends, once.

    :param job_of: returns the job of a point: the one that may exist, else a new one.
    :param collect: coroutine function that returns the result of a job that FINISHED; None for no results.
    :param journal: where to keep what is learnt; None for nowhere.
    """

    def __init__(self, job_of: Callable[[Entry], GenericJob], collect: Collect | None, journal: Journal | None) -> None:
        self._job_of = job_of
        self._collect = collect
        self._journal = journal
        self._gate = Gate()

    async def run(self, entries: Sequence[Entry]) -> AsyncGenerator[Entry, None]:
        """Yield each point once it has got to its end."""
        ended: asyncio.Queue[asyncio.Task[Entry]] = asyncio.Queue()
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(self._gate.admit_now_and_then())]
        try:
            for number, entry in enumerate(entries, 1):
                task = asyncio.create_task(self._finish(entry))
                task.add_done_callback(ended.put_nowait)
                tasks.append(task)
                if number % _STRIDE == 0:
                    await asyncio.sleep(0)  # thousands of points must not stall the loop
            for _ in entries:
                yield (await ended.get()).result()
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _finish(self, entry: Entry) -> Entry:
        """Bring one point to its end, or note what went wrong with it."""
        entry.error = ""
        try:
            await self._run(entry)
        except JournalFailed:
            raise
        except PybatchException as error:
            if isinstance(error, SubmitFailed | JobLost):
                entry.state = JobState.FAILED
            entry.error = _described(error)
        await self._record(entry)
        return entry

    async def _run(self, entry: Entry) -> None:
        job = self._job_of(entry)
        if not job.job_id:
            await self._submit(entry, job)
        state = await job.wait()
        self._gate.admit()
        if not state.is_final:
            raise SubmitFailed("The job was cancelled before it was submitted.")
        entry.exit_code = await job.exit_code()
        if state is JobState.FINISHED and self._collect is not None:
            entry.result, entry.error = await _collected(self._collect, job)
        entry.state = state

    async def _submit(self, entry: Entry, job: GenericJob) -> None:
        """Submit a job that the journal knows by then, and note that it is submitted."""
        is_new = not entry.job
        entry.job = job.dump()
        await self._record(entry)
        try:
            await self._submit_in_turn(job)
        except SubmitFailed:
            entry.job = ""  # there surely is no such job, so the next one is made from scratch
            raise
        except ConfigurationError:
            if is_new:  # nothing was sent; but an earlier client may have submitted a job that is not new
                entry.job = ""
            raise
        entry.job, entry.state = job.dump(), JobState.QUEUED
        await self._record(entry)

    async def _submit_in_turn(self, job: GenericJob) -> None:
        """Submit a job, and as often again as the scheduler has no room for it."""
        while True:
            await self._gate.enter()
            has_no_room = False
            try:
                return await job.submit()
            except SubmitFailed as error:
                has_no_room = error.transient
                if not has_no_room:
                    raise
            finally:
                if not has_no_room:
                    self._gate.admit()

    async def _record(self, entry: Entry) -> None:
        if self._journal is not None:
            await self._journal.record(entry)


async def _collected(collect: Collect, job: GenericJob) -> tuple[Any, str]:
    """Return the result of a job and "", or None and what went wrong with collecting it."""
    try:
        result = await collect(job)
        json.dumps(result)
    except Exception as error:  # the user's code: whatever it raises is told of its point and stops no other
        return None, f"collect: {_described(error)}"
    return result, ""


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
