# SPDX-License-Identifier: MIT
"""Decide which operation gets a session on which connection, without doing any of it.

Events come in by methods, each with the time of the caller's clock; `decide` then returns what is to be done, and
`wake_at` when to ask again if nothing happens before. A ticket stands for an operation from `request` to `released`.
Its number is its place in line for ever, so that one put back in line is not overtaken.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from .decisions import Assign, Close, Decision, Dial, Limits, Refuse

# sshd counts a session for a moment after its end, until it has read that the channel is closed and cleared it away.
_SETTLING = 0.002
_LAG = 0.1


class _Stage(Enum):
    DIALLING = auto()
    BACKING_OFF = auto()
    OPEN = auto()


@dataclass(slots=True)
class _Connection:
    number: int
    cap: int
    since: float  # when its first login began
    stage: _Stage = _Stage.DIALLING
    in_use: int = 0
    used_at: float = 0.0
    freed_at: float = -math.inf  # when a session was last given back
    capped_at: float = 0.0
    ready_at: float = 0.0  # when the next login, or the next session after a lone refusal, may be tried
    tries: int = 1
    refusals: int = 0  # in a row, with no session open
    was_refused: bool = False


class Pool:
    """Share connections and their sessions among operations, first come first served.

    :param limits: what may be asked of the host.
    :param jitter: returns a number from 0 to 1, to spread the pauses of many clients.
    """

    def __init__(self, limits: Limits, jitter: Callable[[], float] = random.random) -> None:
        self._limits = limits
        self._jitter = jitter
        self._waiting: list[int] = []  # sorted
        self._since: dict[int, float] = {}  # of the waiting ones
        self._held: dict[int, _Connection] = {}
        self._connections: dict[int, _Connection] = {}
        self._refused: list[Refuse] = []
        self._tickets = 0
        self._numbers = 0
        self._no_growth_before = 0.0

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return sum(1 for each in self._connections.values() if each.stage is _Stage.OPEN)

    @property
    def handshakes(self) -> int:
        """How many logins are under way."""
        return sum(1 for each in self._connections.values() if each.stage is _Stage.DIALLING)

    @property
    def sessions(self) -> int:
        """How many operations hold a session."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """How many operations stand in line."""
        return len(self._waiting)

    # Events

    def request(self, now: float) -> int:
        """Put a new operation in line and return its ticket."""
        self._tickets += 1
        self._queue(self._tickets, now)
        return self._tickets

    def again(self, ticket: int, now: float) -> None:
        """Put an operation back at its place in line: its connection died under it."""
        self._held.pop(ticket, None)
        self._queue(ticket, now)

    def released(self, ticket: int, now: float) -> None:
        """Forget an operation, whether it ended, gave up waiting or lost its connection."""
        if ticket in self._since:
            self._unqueue(ticket)
        connection = self._held.pop(ticket, None)
        if connection is not None:
            connection.in_use -= 1
            connection.used_at = connection.freed_at = now
            connection.refusals = 0
            if connection.cap == 1 and connection.was_refused:
                connection.ready_at = now + _SETTLING

    def open_refused(self, ticket: int, now: float) -> None:
        """Put an operation whose session the host did not open back in line, and ask less of that connection."""
        connection = self._held.pop(ticket, None)
        self._queue(ticket, now)
        if connection is None:
            return
        connection.in_use -= 1
        # Just after another's end the host may count that one still: then one session less is enough.
        lowest = connection.cap - 1 if now - connection.freed_at < _LAG else 1
        connection.cap = max(1, lowest, min(connection.cap, connection.in_use))
        connection.capped_at = now
        connection.was_refused = True
        if connection.in_use == 0:  # the session before is not quite gone on the host, or there never was one
            self._pause(connection, ticket, now)

    def dialled(self, number: int, now: float) -> None:
        """Take a connection into use."""
        connection = self._connections[number]
        connection.stage = _Stage.OPEN
        connection.used_at = connection.capped_at = now
        connection.ready_at = now
        connection.refusals = 0

    def dial_failed(self, number: int, error: Exception, worthwhile_tries: float, now: float) -> None:
        """Note that a login failed.

        :param worthwhile_tries: how many tries in all make sense with this error: 1 for one that was refused.
        """
        connection = self._connections[number]
        pause = min(8.0, 0.25 * 2**connection.tries) * (0.5 + self._jitter())
        if connection.tries < worthwhile_tries and now + pause <= connection.since + self._limits.patience:
            connection.stage = _Stage.BACKING_OFF
            connection.ready_at = now + pause
            return
        del self._connections[number]
        self._no_growth_before = now + self._limits.growth_pause
        if not self.connections:
            self._refuse_all(error, connection.tries)

    def died(self, number: int) -> None:
        """Forget a connection that was lost; its operations ask `again` or are `released`."""
        connection = self._connections.pop(number, None)
        for ticket in [ticket for ticket, held in self._held.items() if held is connection]:
            del self._held[ticket]

    # Decisions

    def decide(self, now: float) -> list[Decision]:
        """Return what is to be done now."""
        self._raise_caps(now)
        decisions: list[Decision] = [*self._refused, *self._assignments(now)]
        self._refused.clear()
        decisions += self._dials(now)
        decisions += self._closings(now)
        return decisions

    def wake_at(self) -> float | None:
        """Return when to ask for decisions again if nothing happens before; None for never."""
        return min(self._deadlines(), default=None)

    def _deadlines(self) -> Iterator[float]:
        present = self._connections.values()
        if self._waiting:
            for each in present:
                if each.stage is _Stage.BACKING_OFF or (each.stage is _Stage.OPEN and each.in_use < each.cap):
                    yield each.ready_at
                elif each.stage is _Stage.OPEN and each.cap < self._limits.max_sessions:
                    yield each.capped_at + self._limits.probe_after
            if self._has_room() and self.connections:
                yield self._growth_at()
        if self.connections > 1:
            yield from (each.used_at + self._limits.idle_after for each in present if _is_unused(each))

    def _assignments(self, now: float) -> Iterator[Assign]:
        while self._waiting:
            free = [each for each in self._connections.values() if _has_session(each, now)]
            if not free:
                return
            connection = max(free, key=lambda each: (each.used_at, each.number))
            ticket = self._waiting[0]
            self._unqueue(ticket)
            self._held[ticket] = connection
            connection.in_use += 1
            connection.used_at = now
            yield Assign(ticket, connection.number)

    def _dials(self, now: float) -> Iterator[Dial]:
        for each in [each for each in self._connections.values() if each.stage is _Stage.BACKING_OFF]:
            if not self._waiting:
                del self._connections[each.number]
            elif each.ready_at <= now and self.handshakes < self._limits.handshakes:
                each.stage = _Stage.DIALLING
                each.tries += 1
                yield Dial(each.number)
        while self._waiting and self._has_room() and (not self.connections or self._growth_at() <= now):
            self._numbers += 1
            self._connections[self._numbers] = _Connection(self._numbers, self._limits.max_sessions, now)
            yield Dial(self._numbers)

    def _has_room(self) -> bool:
        """Say whether those in line need, and the limits allow, one login more than those under way."""
        pending = len(self._connections) - self.connections
        if not self.connections:
            return pending == 0
        return (
            len(self._connections) < self._limits.max_connections
            and self.handshakes < self._limits.handshakes
            and pending * self._limits.max_sessions < len(self._waiting)
        )

    def _growth_at(self) -> float:
        return max(self._since[self._waiting[0]] + self._limits.grow_after, self._no_growth_before)

    def _closings(self, now: float) -> Iterator[Close]:
        unused = [each for each in self._connections.values() if _is_unused(each)]
        for each in sorted(unused, key=lambda each: each.used_at):
            if self.connections > 1 and each.used_at + self._limits.idle_after <= now:
                del self._connections[each.number]
                yield Close(each.number)

    # Bookkeeping

    def _queue(self, ticket: int, now: float) -> None:
        insort(self._waiting, ticket)
        self._since[ticket] = now

    def _unqueue(self, ticket: int) -> None:
        del self._waiting[bisect_left(self._waiting, ticket)]
        del self._since[ticket]

    def _pause(self, connection: _Connection, ticket: int, now: float) -> None:
        connection.refusals += 1
        connection.ready_at = now + min(2.0, 0.0025 * 2**connection.refusals)
        if connection.refusals > self._limits.lone_refusals:
            connection.refusals = 0
            self._unqueue(ticket)
            self._refused.append(Refuse(ticket, None, self._limits.lone_refusals))

    def _raise_caps(self, now: float) -> None:
        for each in self._connections.values():
            if each.cap < self._limits.max_sessions and now >= each.capped_at + self._limits.probe_after:
                each.cap += 1
                each.capped_at = now

    def _refuse_all(self, error: Exception, tries: int) -> None:
        self._refused += [Refuse(ticket, error, tries) for ticket in self._waiting]
        self._waiting.clear()
        self._since.clear()


def _has_session(connection: _Connection, now: float) -> bool:
    is_ready = connection.stage is _Stage.OPEN and connection.ready_at <= now
    return is_ready and connection.in_use < connection.cap


def _is_unused(connection: _Connection) -> bool:
    return connection.stage is _Stage.OPEN and connection.in_use == 0
