# SPDX-License-Identifier: MIT
"""A set of points, the job of each, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, contextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread

from ..errors import ConfigurationError
from ..interfaces import GenericJob, GenericProtocol
from ..job_factory import create_job, found_plugin, reload_job
from ..known import known_of
from ..parameters import LaunchParameters
from ..protocols.local import LocalProtocol
from ..states import JobState
from .journal import Entry, Journal, key_of
from .places import Places
from .runner import Collect, Runner
from .table import Table

Point = dict[str, Any]
OUTCOME = ("state", "exit_code", "result", "error")  # the columns of the table after those of the point


class Sweep:
    """Run one job for each point of a set of parameters.

    Each point's job is written to the journal before it is submitted, so that it is never run twice: a sweep that is
    run again with the same journal, in this process or another, takes up the jobs that exist and runs the rest.

    :param points: what the jobs differ in, one dict a point, of what JSON can hold; see `grid`.
    :param make: returns the parameters of a point's job; each job needs a work directory of its own, and a point
        whose directory another point of the sweep has is refused.
    :param plugin: "slurm", "nobatch", "local"…
    :param protocol: how to reach the host; None for this machine. The same host each time for the same journal.
    :param journal: the file that makes the sweep resumable; None for none.
    :param collect: coroutine function that is given the job of a point that FINISHED and returns its result, which
        must be something that JSON can hold.
    :param retry_failed: run the points anew that FAILED in an earlier run.
    :raises ConfigurationError: two points are the same, or one can not be written as JSON; the plugin is unknown, or
        the protocol is none.
    """

    def __init__(
        self,
        points: Iterable[Mapping[str, Any]],
        make: Callable[[Point], LaunchParameters],
        *,
        plugin: str = "slurm",
        protocol: GenericProtocol | None = None,
        journal: str | Path | None = None,
        collect: Collect | None = None,
        retry_failed: bool = False,
    ) -> None:
        self.protocol = LocalProtocol() if protocol is None else protocol
        found_plugin(plugin, self.protocol)
        self.settled_before = 0  # how many points the last run found done when it began
        self._points = _keyed(points)
        self._make = make
        self._plugin = plugin
        self._journal = journal
        self._collect = collect
        self._retry_failed = retry_failed
        self._entries = {key: Entry(key) for key in self._points}
        self._jobs: dict[str, GenericJob] = {}
        self._places = Places()
        self._is_running = False

    @property
    def jobs(self) -> list[GenericJob]:
        """The jobs of the points that have one by now, in the order of the points; the journal is read by `run`."""
        return [self._job(entry) for entry in self._entries.values() if entry.job]

    def job_of(self, point: Mapping[str, Any]) -> GenericJob | None:
        """Return the job of a point, None if it has none by now; the journal is read by `run`.

        :raises ConfigurationError: it is no point of this sweep.
        """
        entry = self._entries.get(key_of(point))
        if entry is None:
            raise ConfigurationError(f"{dict(point)!r} is no point of this sweep.")
        return self._job(entry) if entry.job else None

    @property
    def states(self) -> list[JobState]:
        """The state of each point, in their order, as far as it is known without asking."""
        return [self._state(entry) for entry in self._entries.values()]

    @property
    def table(self) -> Table:
        """The results as far as they are known: the columns of the points, then state, exit_code, result, error."""
        return Table(self._row(entry) for entry in self._entries.values())

    async def run(self) -> Table:
        """Run what is left to run, wait for all of it, and return the results.

        A point that goes wrong has its error in the table and stops no other. When this is cancelled, jobs that were
        submitted go on, and the next run takes them up.

        :raises ConfigurationError: the journal is none, or another sweep uses it.
        :raises JournalFailed: the journal could not be read or written.
        """
        async with aclosing(self.as_completed()) as rows:
            async for _ in rows:
                pass
        return self.table

    async def as_completed(self) -> AsyncGenerator[dict[str, Any], None]:
        """Run as `run` does, and iterate over the rows of the points as they end; those done before come first.

        Wrap it in `contextlib.aclosing` to leave it early.
        """
        async with AsyncExitStack() as stack:
            stack.enter_context(self._alone())
            journal = await self._opened(stack)
            settled = [entry for entry in self._entries.values() if entry.is_settled]
            left = [entry for entry in self._entries.values() if not entry.is_settled]
            self.settled_before = len(settled)
            for entry in settled:
                yield self._row(entry)
            async for entry in await self._ends(left, journal, stack):
                yield self._row(entry)

    async def cancel(self) -> Table:
        """Stop the jobs that earlier runs left going on, wait for their ends, and return the results.

        Nothing is submitted. A point whose job was stopped is FAILED: `retry_failed` runs it again. One that had no job
        yet is left for the next run.

        :raises ConfigurationError: this sweep is running, the journal is none, or another sweep uses it.
        :raises PybatchException: a job could not be stopped; all the others were.
        """
        async with AsyncExitStack() as stack:
            stack.enter_context(self._alone())
            journal = await self._opened(stack)
            going = [entry for entry in self._entries.values() if entry.job and not entry.is_settled]
            outcomes = await asyncio.gather(*(self._stop(entry, journal) for entry in going), return_exceptions=True)
            for error in filter(None, outcomes):
                raise error
            async for _ in await self._ends([entry for entry in going if entry.job], journal, stack):
                pass
        return self.table

    async def _stop(self, entry: Entry, journal: Journal | None) -> None:
        job = self._job(entry)
        await job.cancel()
        if not job.job_id:  # it was never submitted, and what the journal has of it can not be any more
            self._jobs.pop(entry.key)
            entry.job = ""
            if journal is not None:
                await journal.record(entry)

    async def _ends(
        self, entries: list[Entry], journal: Journal | None, stack: AsyncExitStack
    ) -> AsyncGenerator[Entry, None]:
        """Bring points to their ends, until the stack is left."""
        runner = Runner(self._new_or_known_job, self._collect, journal)
        return await stack.enter_async_context(aclosing(runner.run(entries)))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._is_running:
            raise ConfigurationError("This sweep is running already: await its end before it is run again.")
        self._is_running = True
        try:
            yield
        finally:
            self._is_running = False

    async def _opened(self, stack: AsyncExitStack) -> Journal | None:
        """Open the journal, if there is one, and learn what earlier runs have done."""
        journal = None
        if self._journal is not None:
            journal = Journal(self._journal)
            stack.push_async_callback(journal.aclose)
            known = await journal.open()
            self._entries = {key: known.get(key, Entry(key)) for key in self._points}
            self._jobs.clear()  # another process may have gone on meanwhile
        if self._retry_failed:
            failed = [key for key, entry in self._entries.items() if entry.state is JobState.FAILED]
            for key in failed:
                self._entries[key] = Entry(key)
                self._jobs.pop(key, None)
        self._places = await anyio.to_thread.run_sync(Places, list(self._entries.values()))
        return journal

    def _new_or_known_job(self, entry: Entry) -> GenericJob:
        """Return the job of a point: the one that may exist, else a new one."""
        if not entry.job:
            job = create_job(self._plugin, self._made(entry.key), self.protocol)
            self._places.claim(entry.key, job.params.work_directory)
            self._jobs[entry.key] = job
        return self._job(entry)

    def _job(self, entry: Entry) -> GenericJob:
        if entry.key not in self._jobs:
            self._jobs[entry.key] = reload_job(entry.job, self.protocol)
        return self._jobs[entry.key]

    def _made(self, key: str) -> LaunchParameters:
        try:
            return self._make(dict(self._points[key]))
        except Exception as error:  # the user's code: whatever it raises is told of its point and stops no other
            raise ConfigurationError(f"make: {type(error).__name__}: {error}") from error

    def _state(self, entry: Entry) -> JobState:
        job = self._jobs.get(entry.key)
        return entry.state if entry.state.is_final or job is None else known_of(job).state

    def _row(self, entry: Entry) -> dict[str, Any]:
        outcome = (str(self._state(entry)), entry.exit_code, entry.result, entry.error)
        return self._points[entry.key] | dict(zip(OUTCOME, outcome, strict=True))

    def __repr__(self) -> str:
        settled = sum(entry.is_settled for entry in self._entries.values())
        return f"<sweep of {len(self._points)} points with {self._plugin!r}, {settled} of them done>"


def _keyed(points: Iterable[Mapping[str, Any]]) -> dict[str, Point]:
    keyed: dict[str, Point] = {}
    for point in points:
        key = key_of(point)
        if key in keyed:
            raise ConfigurationError(f"The point {dict(point)!r} is there twice.")
        if taken := set(OUTCOME) & set(point):
            raise ConfigurationError(f"The point {dict(point)!r} has names that the table needs: {sorted(taken)}.")
        keyed[key] = dict(point)
    return keyed
