# SPDX-License-Identifier: MIT
"""What the pool of connections is told to keep to, and what it says is to be done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bound what the pool asks of a host; times are in seconds.

    :param handshakes: logins under way at the same time (sshd's MaxStartups counts them, and sites ban for storms).
    :param patience: how long a login that the server dropped is tried again.
    :param grow_after: how long the first in line waits before a further connection is opened for it.
    :param idle_after: how long a connection that is not the last stays open unused.
    :param probe_after: how long after the last refusal a connection is trusted with one more session.
    :param growth_pause: how long no further connection is tried after one could not be opened.
    :param lone_refusals: refused sessions in a row, with none open, after which the host is taken to allow none.
    """

    max_connections: int = 4
    max_sessions: int = 8
    handshakes: int = 2
    patience: float = 30.0
    grow_after: float = 0.05
    idle_after: float = 60.0
    probe_after: float = 120.0
    growth_pause: float = 60.0
    lone_refusals: int = 20


@dataclass(frozen=True, slots=True)
class Assign:
    """Run the operation on this connection."""

    ticket: int
    connection: int


@dataclass(frozen=True, slots=True)
class Dial:
    """Log in; answer with `dialled` or `dial_failed`."""

    connection: int


@dataclass(frozen=True, slots=True)
class Close:
    """Close a connection that nothing uses; it is forgotten already."""

    connection: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Fail an operation: with the login's last error after so many tries, or with None where no session opens."""

    ticket: int
    error: Exception | None
    tries: int


Decision = Assign | Dial | Close | Refuse
