# SPDX-License-Identifier: MIT
"""One query a tick for all that is watched on a host, however many wait."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
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
from .coalescer import GATHER, STRIDE, outcome, share_out


class Told(Protocol):
    """Stand for what one query told of one thing that is watched."""

    @property
    def state(self) -> JobState:
        """The state it was in."""
        ...


Key = TypeVar("Key", bound=Hashable)
Report = TypeVar("Report", bound=Told)


@dataclass(frozen=True, slots=True)
class Polling:
    """Say how often a host is asked about jobs.

    :param shortest: seconds between two queries while jobs are fresh; also the age up to which an answer is given
        again instead of asking anew.
    :param longest: seconds between two queries for jobs that have not changed for long.
    :param share: a query is followed by a pause of at least so many times what it took.
    :param grace: seconds for which a job may be unknown to everybody until it counts as lost; time in which somebody
        who might know it gives no answer does not count.
    """

    shortest: float = 1.0
    longest: float = 30.0
    share: float = 10.0
    grace: float = 60.0

    def interval(self, quiet: float) -> float:
        """Return the seconds between two queries when the last change was `quiet` seconds ago."""
        return min(max(quiet / 10, self.shortest), self.longest)


@dataclass(slots=True)
class _Watch(Generic[Report]):
    changed: float
    state: JobState | None = None
    looks: list[asyncio.Future[Report]] = field(default_factory=list)
    waits: dict[asyncio.Future[Report], Callable[[Report], bool]] = field(default_factory=dict)


@dataclass(slots=True)
class _Absence:
    """Add up for how long nobody has known a key.

    :param last: when that was said last, by the loop's clock; None if a query has failed since.
    """

    last: float | None
    seconds: float = 0.0

    def add(self, now: float) -> float:
        """Count the time since it was said last, and return the sum."""
        self.seconds += 0.0 if self.last is None else now - self.last
        self.last = now
        return self.seconds


class Poller(Generic[Key, Report]):
    """Ask about all watched keys with one query a tick, one query at a time.

    :param query: coroutine function that is given keys and returns what it learnt; a key that nobody knows is left out;
        one that somebody may know who gave no answer has a StateUnknown.
    :param polling: how often to ask; read anew at each tick.
    :param companions: further keys worth asking about when somebody looks, since they cost nothing more.
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
        self._watches: dict[Key, _Watch[Report]] = {}
        # Two mappings, since a tuple for each key and tick would wake Python's garbage collector too often.
        self._seen: WeakKeyDictionary[Key, Report] = WeakKeyDictionary()
        self._seen_at: WeakKeyDictionary[Key, float] = WeakKeyDictionary()
        self._absences: WeakKeyDictionary[Key, _Absence] = WeakKeyDictionary()
        self._runner: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._asked = self._answered = float("-inf")

    async def look(self, key: Key) -> Report:
        """Return what is known of the key, at most `Polling.shortest` seconds old.

        :raises StateUnknown: nobody knows it at the moment.
        :raises JobLost: nobody has known it for `Polling.grace` seconds.
        """
        report = self._seen.get(key)
        if report is not None and asyncio.get_running_loop().time() - self._seen_at[key] < self._polling().shortest:
            await asyncio.sleep(0)  # a caller that looks in a tight loop must not stall the others
            return report
        return await self._join(key, None)

    async def wait(self, key: Key, until: Callable[[Report], bool]) -> Report:
        """Return what is known of the key once that satisfies a condition.

        :param until: tells whether what is known is what the caller waits for.
        :raises JobLost: nobody has known it for `Polling.grace` seconds.
        """
        return await self._join(key, until)

    def forget(self, key: Key) -> None:
        """Make the next look ask anew, since something was done to the key."""
        self._seen.pop(key, None)

    async def _join(self, key: Key, until: Callable[[Report], bool] | None) -> Report:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Report] = loop.create_future()
        watch = self._watches.setdefault(key, _Watch(loop.time()))
        if until is None:
            watch.looks.append(future)
        else:
            watch.waits[future] = until
        self._wake.set()
        if self._runner is None:
            self._runner = loop.create_task(self._run(), name="pybatch_async poller")
        try:
            return await outcome(future)
        finally:
            self._leave(key, watch, future)

    def _leave(self, key: Key, watch: _Watch[Report], future: asyncio.Future[Report]) -> None:
        watch.waits.pop(future, None)
        if future in watch.looks:
            watch.looks.remove(future)
        if not watch.looks and not watch.waits and self._watches.get(key) is watch:
            del self._watches[key]
            self._wake.set()

    async def _run(self) -> None:
        try:
            while self._watches:
                await self._pause()
                if self._watches:
                    await self._tick()
                    await asyncio.sleep(0)  # those who were told leave now, and nothing runs on after the last
        finally:
            self._runner = None

    async def _pause(self) -> None:
        """Sleep until the next query is due, which a newcomer can bring forward."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(GATHER)
        jitter = random.uniform(0.9, 1.1)
        while self._watches and (delay := self._due(jitter) - loop.time()) > 0:
            self._wake.clear()
            try:
                async with asyncio.timeout(delay):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _due(self, jitter: float) -> float:
        polling = self._polling()
        earliest = self._answered + polling.share * (self._answered - self._asked) if self._answered > 0 else 0.0
        if any(watch.looks for watch in self._watches.values()):
            return max(earliest, self._asked + min(polling.shortest, 1.0))
        changed = max(watch.changed for watch in self._watches.values())
        quiet = asyncio.get_running_loop().time() - changed
        return max(earliest, self._asked + polling.interval(quiet) * jitter)

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        keys = dict.fromkeys(self._watches)
        if any(watch.looks for watch in self._watches.values()):
            keys.update(dict.fromkeys(self._companions()))
        self._asked = loop.time()
        try:
            reports = await self._query(list(keys))
        except Exception as error:  # a defect must reach those who wait, or they would wait for ever
            self._answered = loop.time()
            await self._tell_error(error)
        else:
            self._answered = loop.time()
            await self._tell(list(keys), reports)

    async def _tell_error(self, error: Exception) -> None:
        """Raise a passing failure to those who look, and any other one to those who wait as well."""
        for absence in self._absences.values():
            absence.last = None
        futures = [future for watch in self._watches.values() for future in watch.looks]
        if not self._may_pass(error):
            futures += [future for watch in self._watches.values() for future in watch.waits]
        await share_out(futures, [error] * len(futures))

    async def _tell(self, keys: list[Key], reports: Mapping[Key, Report | StateUnknown]) -> None:
        futures: list[asyncio.Future[Report]] = []
        answers: list[Report | Exception] = []
        for number, key in enumerate(keys, 1):
            if number % STRIDE == 0:
                await asyncio.sleep(0)
            answer = self._answer(key, reports.get(key))
            watch = self._watches.get(key)
            if watch is None:
                continue
            told = watch.looks + [future for future, until in watch.waits.items() if self._is_end(answer, until)]
            futures += told
            answers += [answer] * len(told)
        await share_out(futures, answers)

    def _answer(self, key: Key, report: Report | StateUnknown | None) -> Report | Exception:
        """Note what was learnt of a key, and say what its waiters are told."""
        now = self._answered
        if report is None or isinstance(report, StateUnknown):
            self._seen.pop(key, None)
            return self._absent(key, now) if report is None else self._unanswered(key, report)
        self._absences.pop(key, None)
        self._seen[key], self._seen_at[key] = report, now
        watch = self._watches.get(key)
        if watch is not None and report.state is not watch.state:
            watch.state, watch.changed = report.state, now
        return report

    def _absent(self, key: Key, now: float) -> Exception:
        seconds = self._absences.setdefault(key, _Absence(now)).add(now)
        if seconds >= self._polling().grace:
            return JobLost(
                f"{key}: neither the scheduler nor its own record has known it for {seconds:.0f} s; its node may be "
                f"lost. Look at its output, then submit a new job if the work was not done."
            )
        return StateUnknown(f"{key}: nobody knows it at the moment; ask again in a while.")

    def _unanswered(self, key: Key, unknown: StateUnknown) -> Exception:
        if absence := self._absences.get(key):
            absence.last = None
        return unknown

    @staticmethod
    def _is_end(answer: Report | Exception, until: Callable[[Report], bool]) -> bool:
        return isinstance(answer, JobLost) if isinstance(answer, Exception) else until(answer)


def is_passing(error: Exception) -> bool:
    """Tell whether a failed query may succeed later without anybody doing anything."""
    if isinstance(error, AuthenticationFailed | HostKeyUnknown):
        return False
    return isinstance(error, StateUnknown | ConnectionFailed | CommandTimedOut)
