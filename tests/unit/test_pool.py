# SPDX-License-Identifier: MIT
"""The pool decides: events in, decisions out, no clock and no network."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from pybatch_async.protocols.decisions import Assign, Close, Decision, Dial, Limits, Refuse
from pybatch_async.protocols.pool import Pool


def make_pool(**limits: float) -> Pool:
    return Pool(Limits(**limits), jitter=lambda: 0.5)  # type: ignore[arg-type]  # any field of Limits


def opened(pool: Pool, requests: int, now: float = 0.0) -> list[Decision]:
    """Request, dial and open the first connection; return what is decided then."""
    for _ in range(requests):
        pool.request(now)
    assert pool.decide(now) == [Dial(1)]
    pool.dialled(1, now)
    return pool.decide(now)


def grown(pool: Pool, connections: int, requests: int) -> None:
    """Open so many connections, all at time 0, for so many requests."""
    opened(pool, requests)
    for number in range(2, connections + 1):
        pool.decide(1.0)
        pool.dialled(number, 1.0)
    pool.decide(1.0)
    assert pool.connections == connections


# Logging in


def test_a_thousand_first_requests_make_one_login() -> None:
    pool = make_pool()
    for _ in range(1000):
        pool.request(0.0)
    assert pool.decide(0.0) == [Dial(1)]
    assert pool.decide(10.0) == []


def test_the_first_in_line_are_the_first_served() -> None:
    assert opened(make_pool(max_sessions=3), 5) == [Assign(1, 1), Assign(2, 1), Assign(3, 1)]


def test_it_grows_only_when_the_sessions_are_taken_and_the_first_has_waited() -> None:
    pool = make_pool(max_sessions=2, grow_after=0.05)
    assert opened(pool, 2) == [Assign(1, 1), Assign(2, 1)]
    assert pool.wake_at() is None
    pool.request(1.0)
    assert pool.decide(1.0) == []
    assert pool.wake_at() == pytest.approx(1.05)
    assert pool.decide(1.06) == [Dial(2)]
    assert pool.decide(1.07) == []  # one in line needs one login


def test_two_handshakes_at_a_time_and_no_more_connections_than_allowed() -> None:
    pool = make_pool(max_sessions=1, max_connections=4)
    opened(pool, 20)
    assert pool.decide(1.0) == [Dial(2), Dial(3)]
    assert pool.decide(1.0) == []
    pool.dialled(2, 1.0)
    assert pool.decide(1.0) == [Assign(2, 2), Dial(4)]
    pool.dialled(3, 1.0)
    pool.dialled(4, 1.0)
    assert pool.decide(9.0) == [Assign(3, 4), Assign(4, 3)]


def test_with_one_connection_allowed_all_wait_for_its_sessions() -> None:
    pool = make_pool(max_connections=1, max_sessions=1)
    opened(pool, 3)
    assert pool.decide(100.0) == []
    pool.released(1, 100.0)
    assert pool.decide(100.0) == [Assign(2, 1)]


def test_the_most_recently_used_connection_is_taken_first() -> None:
    pool = make_pool(max_sessions=1)
    grown(pool, 2, 2)
    pool.released(2, 2.0)
    pool.released(1, 3.0)
    pool.request(4.0)
    assert pool.decide(4.0) == [Assign(3, 1)]


# A login that fails


def test_a_dropped_login_is_tried_again_later_each_time() -> None:
    pool = make_pool(patience=30.0)
    pool.request(0.0)
    pool.decide(0.0)
    pauses, now = [], 0.0
    for _ in range(4):
        pool.dial_failed(1, ConnectionError("dropped"), 99, now)
        assert pool.decide(now) == []
        wake_at = pool.wake_at()
        assert wake_at is not None
        pauses.append(wake_at - now)
        now = wake_at
        assert pool.decide(now) == [Dial(1)]
    assert pauses == [0.5, 1.0, 2.0, 4.0]


def test_after_its_deadline_a_dropped_login_fails_all_in_line() -> None:
    pool, error = make_pool(patience=1.0), ConnectionError("dropped")
    first, second = pool.request(0.0), pool.request(0.0)
    pool.decide(0.0)
    pool.dial_failed(1, error, 99, 0.2)
    assert pool.decide(0.7) == [Dial(1)]
    pool.dial_failed(1, error, 99, 0.9)
    assert pool.decide(0.9) == [Refuse(first, error, 2), Refuse(second, error, 2)]
    assert pool.waiting == 0


def test_a_refused_login_fails_all_in_line_at_once_and_a_later_request_tries_anew() -> None:
    pool, error = make_pool(), ConnectionError("refused")
    pool.request(0.0)
    pool.decide(0.0)
    pool.dial_failed(1, error, 1, 1.0)
    assert pool.decide(1.0) == [Refuse(1, error, 1)]
    pool.request(1.0)
    assert pool.decide(1.0) == [Dial(2)]


def test_a_further_connection_that_fails_fails_nobody() -> None:
    pool = make_pool(max_sessions=1, growth_pause=60.0)
    opened(pool, 2)
    assert pool.decide(1.0) == [Dial(2)]
    pool.dial_failed(2, ConnectionError("refused"), 1, 1.0)
    assert pool.decide(1.0) == []
    assert pool.wake_at() == pytest.approx(61.0)
    pool.released(1, 2.0)
    assert pool.decide(2.0) == [Assign(2, 1)]


def test_nobody_in_line_means_no_further_try() -> None:
    pool = make_pool()
    ticket = pool.request(0.0)
    pool.decide(0.0)
    pool.dial_failed(1, ConnectionError("dropped"), 99, 0.0)
    pool.released(ticket, 0.1)
    assert pool.decide(5.0) == []
    assert pool.wake_at() is None
    pool.request(6.0)
    assert pool.decide(6.0) == [Dial(2)]


def test_a_back_off_waits_for_its_turn_among_the_handshakes() -> None:
    pool = make_pool(max_sessions=1, max_connections=4)
    opened(pool, 9)
    assert pool.decide(1.0) == [Dial(2), Dial(3)]
    pool.dial_failed(2, ConnectionError("dropped"), 99, 1.0)
    assert pool.decide(1.0) == [Dial(4)]
    assert pool.decide(9.0) == []
    pool.dialled(3, 9.0)
    assert pool.decide(9.0) == [Assign(2, 3), Dial(2)]


# Refused sessions


def test_a_refused_session_goes_back_to_its_place_and_lowers_the_cap() -> None:
    pool = make_pool(max_connections=1, max_sessions=4)
    opened(pool, 6)
    pool.open_refused(3, 1.0)
    assert pool.decide(1.0) == []  # three run, and three is now the cap
    pool.released(1, 1.0)
    assert pool.decide(1.0) == [Assign(3, 1)]
    pool.released(2, 1.0)
    assert pool.decide(1.0) == [Assign(5, 1)]


def test_the_cap_goes_down_to_one_and_everything_still_runs() -> None:
    pool = make_pool(max_connections=1, max_sessions=8)
    opened(pool, 8)
    for ticket in range(2, 9):
        pool.open_refused(ticket, 0.0)
    served = [1]
    now = 0.0
    while pool.waiting:
        pool.released(served[-1], now)
        now += 0.01
        (decision,) = pool.decide(now)
        assert isinstance(decision, Assign)
        served.append(decision.ticket)
    assert served == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_session_refused_just_after_another_ended_lowers_the_cap_by_one_alone() -> None:
    pool = make_pool(max_connections=1, max_sessions=8)
    opened(pool, 9)
    for ticket in (1, 2, 3):
        pool.released(ticket, 5.0)
    assert pool.decide(5.0) == [Assign(9, 1)]
    pool.open_refused(9, 5.01)
    assert pool.decide(5.01) == [Assign(9, 1)]
    for _ in range(3):
        pool.request(5.01)
    assert len(pool.decide(5.01)) == 1  # seven run


def test_where_one_session_is_allowed_the_next_waits_for_the_host_to_clear_the_last_away() -> None:
    pool = make_pool(max_connections=1, max_sessions=2)
    opened(pool, 2)
    pool.open_refused(2, 1.0)
    pool.released(1, 5.0)
    assert pool.decide(5.0) == []
    wake_at = pool.wake_at()
    assert wake_at is not None and 5.0 < wake_at < 5.01
    assert pool.decide(wake_at) == [Assign(2, 1)]


def test_a_cap_is_probed_upward_minutes_later() -> None:
    pool = make_pool(max_connections=1, max_sessions=2, probe_after=120.0)
    opened(pool, 2)
    pool.open_refused(2, 10.0)
    assert pool.decide(10.0) == []
    assert pool.wake_at() == pytest.approx(130.0)
    assert pool.decide(130.0) == [Assign(2, 1)]


def test_a_session_refused_while_none_is_open_is_asked_for_again_after_a_pause() -> None:
    pool = make_pool(max_connections=1, max_sessions=2)
    opened(pool, 1)
    pool.open_refused(1, 1.0)
    assert pool.decide(1.0) == []
    wake_at = pool.wake_at()
    assert wake_at is not None and 1.0 < wake_at < 1.1
    assert pool.decide(wake_at) == [Assign(1, 1)]


def test_a_host_that_never_opens_a_session_fails_the_operation() -> None:
    pool = make_pool(max_connections=1, lone_refusals=5)
    opened(pool, 1)
    for _ in range(5):
        pool.open_refused(1, 0.0)
        wake_at = pool.wake_at()
        assert wake_at is not None
        assert pool.decide(wake_at) == [Assign(1, 1)]
    pool.open_refused(1, 0.0)
    assert pool.decide(0.0) == [Refuse(1, None, 5)]


# The end of connections


def test_idle_connections_are_closed_after_a_while_and_the_last_is_kept() -> None:
    pool = make_pool(max_sessions=1, idle_after=60.0)
    grown(pool, 3, 3)
    for ticket in (1, 2, 3):
        pool.released(ticket, 10.0 + ticket)
    assert pool.decide(20.0) == []
    assert pool.wake_at() == pytest.approx(71.0)
    closed = [decision for now in (71.0, 72.0, 1000.0) for decision in pool.decide(now)]
    assert len(closed) == 2 and all(isinstance(each, Close) for each in closed)
    assert (pool.connections, pool.wake_at()) == (1, None)


def test_what_had_not_started_on_a_dead_connection_goes_on_in_its_place() -> None:
    pool = make_pool(max_sessions=2, max_connections=1)
    opened(pool, 4)
    pool.died(1)
    pool.again(2, 5.0)
    pool.released(1, 5.0)
    assert pool.decide(5.0) == [Dial(2)]
    pool.dialled(2, 5.0)
    assert pool.decide(5.0) == [Assign(2, 2), Assign(3, 2)]


def test_an_operation_that_gives_up_waiting_frees_its_place() -> None:
    pool = make_pool(max_sessions=1, max_connections=1)
    opened(pool, 3)
    pool.released(2, 1.0)
    pool.released(1, 1.0)
    assert pool.decide(1.0) == [Assign(3, 1)]
    pool.released(3, 2.0)
    assert (pool.sessions, pool.waiting) == (0, 0)


# Everything at once


class PoolMachine(RuleBasedStateMachine):
    """Drive a pool in any order against a host with limits of its own."""

    waiting = Bundle("waiting")

    def __init__(self) -> None:
        super().__init__()
        self.limits = Limits(max_connections=3, max_sessions=3, lone_refusals=1000)
        self.pool = Pool(self.limits, jitter=lambda: 0.5)
        self.now = 0.0
        self.dialling: set[int] = set()
        self.open: set[int] = set()
        self.running: dict[int, int] = {}  # ticket: connection
        self.line: set[int] = set()

    def act(self) -> None:
        for decision in self.pool.decide(self.now):
            match decision:
                case Assign(ticket, number):
                    assert number in self.open
                    assert ticket == min(self.line), "somebody was overtaken"
                    self.line.remove(ticket)
                    self.running[ticket] = number
                case Dial(number):
                    self.dialling.add(number)
                case Close(number):
                    assert number not in self.running.values()
                    self.open.remove(number)
                    assert self.open, "the last connection was closed"
                case Refuse(ticket):
                    self.line.remove(ticket)

    @rule(target=waiting, number=st.integers(1, 12))
    def request(self, number: int) -> object:
        tickets = [self.pool.request(self.now) for _ in range(number)]
        self.line |= set(tickets)
        self.act()
        return multiple(*tickets)

    @rule(ticket=consumes(waiting))
    def release(self, ticket: int) -> None:
        self.line.discard(ticket)
        self.running.pop(ticket, None)
        self.pool.released(ticket, self.now)
        self.act()

    @rule(data=st.data())
    def refuse_session(self, data: st.DataObject) -> None:
        if self.running:
            ticket = data.draw(st.sampled_from(sorted(self.running)))
            del self.running[ticket]
            self.line.add(ticket)
            self.pool.open_refused(ticket, self.now)
            self.act()

    @rule(data=st.data(), outcome=st.sampled_from(["open", "open", "dropped", "refused"]))
    def finish_dial(self, data: st.DataObject, outcome: str) -> None:
        if self.dialling:
            number = data.draw(st.sampled_from(sorted(self.dialling)))
            self.dialling.remove(number)
            if outcome == "open":
                self.open.add(number)
                self.pool.dialled(number, self.now)
            else:
                self.pool.dial_failed(number, ConnectionError(outcome), 99 if outcome == "dropped" else 1, self.now)
            self.act()

    @rule(data=st.data(), is_repeated=st.booleans())
    def die(self, data: st.DataObject, is_repeated: bool) -> None:
        if self.open:
            number = data.draw(st.sampled_from(sorted(self.open)))
            self.open.remove(number)
            self.pool.died(number)
            for ticket in [ticket for ticket, held in self.running.items() if held == number]:
                del self.running[ticket]
                if is_repeated:
                    self.line.add(ticket)
                    self.pool.again(ticket, self.now)
                else:
                    self.pool.released(ticket, self.now)
            self.act()

    @rule(seconds=st.sampled_from([0.01, 0.1, 1.0, 30.0, 200.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.act()

    @invariant()
    def limits_hold(self) -> None:
        assert len(self.dialling) <= self.limits.handshakes
        assert len(self.dialling) + len(self.open) <= self.limits.max_connections
        for number in self.open:
            assert list(self.running.values()).count(number) <= self.limits.max_sessions

    @invariant()
    def counts_agree(self) -> None:
        assert self.pool.connections == len(self.open)
        assert self.pool.handshakes == len(self.dialling)
        assert self.pool.sessions == len(self.running)
        assert self.pool.waiting == len(self.line)

    def teardown(self) -> None:
        """From any state, a host that behaves serves everyone and nothing is held in the end."""
        for _ in range(2000):
            if not self.line and not self.running:
                break
            for number in sorted(self.dialling):
                self.dialling.remove(number)
                self.open.add(number)
                self.pool.dialled(number, self.now)
            for ticket in sorted(self.running):
                del self.running[ticket]
                self.pool.released(ticket, self.now)
            self.act()
            if not self.running and not self.dialling and self.line:
                wake_at = self.pool.wake_at()
                assert wake_at is not None, "nothing would ever wake those in line"
                self.now = max(self.now, wake_at)
                self.act()
        assert (self.pool.sessions, self.pool.waiting) == (0, 0)


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
