# SPDX-License-Identifier: MIT
"""One query a tick for all that is watched on a host, however many wait."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

from ..errors import (
    AuthenticationFailed,
    CommandTimedOut,
    ConnectionFailed,
    HostKeyUnknown,
    JobLost,
    StateUnknown,
)
from ..states import JobState
from .absences import Absences
from .coalescer import STRIDE, outcome, share_out


class Told(Protocol):
    """Stand for what one query told of one thing that is watched."""

    @property
    def state(self) -> JobState:
        """The state it was in."""
        ...

    @property
    def is_partial(self) -> bool:
        """Tell whether a part of it is as good as unknown; who waits for another part has his answer all the same."""
        ...


Key = TypeVar("Key", bound=Hashable)
Report = TypeVar("Report", bound=Told)


@dataclass(frozen=True, slots=True)
class Polling:
    """Say how often a host is asked about jobs.

    :param shortest: seconds between two queries while jobs are fresh; also the age up to which an answer is given
        again instead of asking anew.
    :param longest: seconds between two queries for jobs that have not changed for long.
    :param share: a query is followed by a pause of at least so many times what it took, or of `longest`.
    :param grace: seconds for which a job may be unknown to everybody until it counts as lost; time in which somebody
        who might know it gives no answer does not count.
    """

    shortest: float = 1.0
    longest: float = 30.0
    share: float = 10.0
    grace: float = 60.0

    def pause(self, took: float) -> float:
        """Return the seconds for which a host is left alone after a query that took so many."""
        return min(self.share * took, self.longest)

    def interval(self, quiet: float) -> float:
        """Return the seconds between two queries when the last change was `quiet` seconds ago."""
        return min(max(quiet / 10, self.shortest), self.longest)


@dataclass(slots=True)
class _Seen(Generic[Report]):
    """Hold what was learnt of a key, and when, by the loop's clock; changed in place, which makes no new objects."""

    report: Report
    at: float


class Poller(Generic[Key, Report]):
    """Ask about all watched keys with one query a tick, one query at a time.

    :param query: coroutine function that is given keys and returns what it learnt; a key that nobody knows is left out;
        one that somebody may know who gave no answer has a StateUnknown.
    :param polling: how often to ask; read anew at each tick.
    :param companions: further keys worth asking about when anything is asked, since they cost nothing more.
    :param may_pass: tells whether those who wait can wait on after a query that failed; None for `is_passing`.
    """

    def __init__(
        self,
        query: Callable[[list[Key]], Awaitable[Mapping[Key, Report | StateUnknown]]],
        polling: Callable[[], Polling],
        companions: Callable[[], Iterable[Key]] = tuple,
        may_pass: Callable[[Exception], bool] | None = None,
    ) -> None:
        self._query = query
        self._polling = polling
        self._companions = companions
        self._may_pass = may_pass or is_passing
        self._looks: dict[Key, list[asyncio.Future[Report]]] = {}
        self._waits: dict[Key, dict[asyncio.Future[Report], Callable[[Report], bool]]] = {}
        self._seen: WeakKeyDictionary[Key, _Seen[Report]] = WeakKeyDictionary()
        self._absences: Absences[Key] = Absences()
        self._runner: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._asked = self._answered = self._changed = float("-inf")

    async def look(self, key: Key) -> Report:
        """Return what is known of the key, at most `Polling.shortest` seconds old.

        :raises StateUnknown: nobody knows it at the moment.
        :raises JobLost: nobody has known it for `Polling.grace` seconds.
        """
        seen = self._seen.get(key)
        if seen is not None and asyncio.get_running_loop().time() - seen.at < self._polling().shortest:
            await asyncio.sleep(0)  # a caller that looks in a tight loop must not stall the others
            return seen.report
        future = self._new_future()
        self._looks.setdefault(key, []).append(future)
        try:
            return await outcome(future)
        except asyncio.CancelledError:
            self._leave_look(key, future)
            raise

    async def wait(self, key: Key, until: Callable[[Report], bool]) -> Report:
        """Return what is known of the key once that satisfies a condition.

        :param until: tells whether what is known is what the caller waits for.
        :raises JobLost: nobody has known it for `Polling.grace` seconds.
        """
        future = self._new_future()
        self._waits.setdefault(key, {})[future] = until
        self._changed = asyncio.get_running_loop().time()
        try:
            return await outcome(future)
        finally:
            self._leave_wait(key, future)

    def forget(self, key: Key) -> None:
        """Make the next look ask anew, and those who wait hear soon, since something was done to the key."""
        self._outdate(key)
        self._changed = asyncio.get_running_loop().time()
        self._wake.set()

    def discount(self) -> None:
        """Take the time of the query under way until now for that of the login, which says nothing of the host's."""
        self._asked = asyncio.get_running_loop().time()

    def _outdate(self, key: Key) -> None:
        if seen := self._seen.get(key):
            seen.at = float("-inf")

    def _new_future(self) -> asyncio.Future[Report]:
        """Return what a newcomer waits for, and see to it that somebody asks."""
        loop = asyncio.get_running_loop()
        self._wake.set()
        if self._runner is None:
            self._runner = loop.create_task(self._run(), name="pybatch_async poller")
        return loop.create_future()

    def _leave_look(self, key: Key, future: asyncio.Future[Report]) -> None:
        looks = self._looks.get(key, [])
        if future in looks:
            looks.remove(future)
            if not looks:
                del self._looks[key]
            self._wake.set()

    def _leave_wait(self, key: Key, future: asyncio.Future[Report]) -> None:
        waits = self._waits[key]
        del waits[future]
        if not waits:
            del self._waits[key]
            self._wake.set()

    @property
    def _is_watching(self) -> bool:
        return bool(self._looks or self._waits)

    async def _run(self) -> None:
        try:
            while self._is_watching:
                await self._pause()
                if self._is_watching:
                    await self._tick()
                    await asyncio.sleep(0)  # those who were told leave now, and nothing runs on after the last
        finally:
            self._runner = None

    async def _gather(self) -> None:
        """Let those come who are on their way, in tasks of tasks; whoever comes later shares the next query."""
        for _ in range(3):
            await asyncio.sleep(0)

    async def _pause(self) -> None:
        """Sleep until the next query is due, which a newcomer can bring forward."""
        loop = asyncio.get_running_loop()
        await self._gather()
        jitter = random.uniform(0.9, 1.1)
        while self._is_watching and (delay := self._due(jitter) - loop.time()) > 0:
            self._wake.clear()
            try:
                async with asyncio.timeout(delay):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _due(self, jitter: float) -> float:
        polling = self._polling()
        earliest = self._answered + polling.pause(self._answered - self._asked) if self._answered > 0 else 0.0
        if self._looks:
            return max(earliest, self._asked + polling.shortest)
        quiet = asyncio.get_running_loop().time() - self._changed
        return max(earliest, self._asked + polling.interval(quiet) * jitter)

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._asked = loop.time()
        try:
            keys = list(dict.fromkeys(itertools.chain(self._waits, self._looks, self._companions())))
            reports = await self._query(keys)
        except Exception as error:  # a defect must reach those who wait, or they would wait for ever
            self._answered = loop.time()
            if isinstance(error, ConnectionFailed):
                self.discount()  # the host was not asked
            await self._tell_error(error)
        else:
            self._answered = loop.time()
            await self._tell(keys, reports)

    async def _tell_error(self, error: Exception) -> None:
        """Raise a passing failure to those who look, and any other one to those who wait as well."""
        self._absences.interrupt_all()
        futures = [future for looks in self._looks.values() for future in looks]
        self._looks.clear()
        if not self._may_pass(error):
            futures += [future for waits in self._waits.values() for future in waits]
        await share_out(futures, [error] * len(futures))

    async def _tell(self, keys: list[Key], reports: Mapping[Key, Report | StateUnknown]) -> None:
        futures: list[asyncio.Future[Report]] = []
        answers: list[Report | Exception] = []
        for number, key in enumerate(keys, 1):
            if number % STRIDE == 0:
                await asyncio.sleep(0)
            for future, told in self._hearers(key, reports.get(key)):
                futures.append(future)
                answers.append(told)
        await share_out(futures, answers)

    def _hearers(
        self, key: Key, report: Report | StateUnknown | None
    ) -> Iterator[tuple[asyncio.Future[Report], Report | Exception]]:
        """Yield those who are told something of a key now, each with what it is told."""
        answer = self._answer(key, report)
        for future in self._looks.pop(key, ()):
            yield future, answer
        for future, until in self._waits.get(key, {}).items():
            if report is not None and not isinstance(report, StateUnknown) and until(report):
                yield future, report
            elif isinstance(answer, JobLost):
                yield future, answer

    def _answer(self, key: Key, report: Report | StateUnknown | None) -> Report | Exception:
        """Note what was learnt of a key, and say what its waiters are told."""
        if isinstance(report, StateUnknown):
            self._outdate(key)
            return self._unanswered(key, report)
        if report is None or report.is_partial:
            self._outdate(key)
            return self._absent(key, self._answered)
        self._absences.end(key)
        seen = self._seen.get(key)
        if seen is None or seen.report.state is not report.state:
            self._changed = self._answered
        if seen is None:
            self._seen[key] = _Seen(report, self._answered)
        else:
            seen.report, seen.at = report, self._answered
        return report

    def _absent(self, key: Key, now: float) -> Exception:
        seconds = self._absences.add(key, now)
        if seconds >= self._polling().grace:
            return JobLost(
                f"{key}: neither the scheduler nor its own record has known it for {seconds:.0f} s; its node may be "
                f"lost. Look at its output, then submit a new job if the work was not done."
            )
        return StateUnknown(f"{key}: nobody knows it at the moment; ask again in a while.")

    def _unanswered(self, key: Key, unknown: StateUnknown) -> Exception:
        self._absences.interrupt(key)
        return unknown


def is_passing(error: Exception) -> bool:
    """Tell whether a failed query may succeed later without anybody doing anything."""
    if isinstance(error, AuthenticationFailed | HostKeyUnknown):
        return False
    return isinstance(error, StateUnknown | ConnectionFailed | CommandTimedOut)
