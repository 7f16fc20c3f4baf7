# SPDX-License-Identifier: MIT
"""The connections to one host within one event loop: do what the pool decides."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

from ...errors import ConnectionFailed, PybatchException
from ..decisions import Assign, Close, Dial, Limits, Refuse
from ..pool import Pool
from .failures import LoginFailed
from .login import Link, Login

_CLOSE_SECONDS = 5.0
_CLOSED = "The connections were closed while the operation waited for one."


class Connections:
    """Lease sessions of connections that are opened and closed as need be.

    Logins and clean-ups run in tasks of this object, never in an operation's own, whose cancellation would break them.
    `aclose` awaits them all. Where it is not called, an asynchronous generator closes the connections: asyncio.run
    closes those that are left when it ends the loop, and the loop closes one whose owner is forgotten.
    """

    def __init__(self, login: Login, limits: Limits) -> None:
        self._login = login
        self._loop = asyncio.get_running_loop()
        self._pool = Pool(limits)
        self._links: dict[int, Link] = {}
        self._waiters: dict[int, asyncio.Future[Link]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._end_of_loop: AsyncGenerator[None, None] | None = None
        self.is_closed = False

    def __repr__(self) -> str:
        pool = self._pool
        return f"{pool.connections} connections, {pool.sessions} sessions, {pool.waiting} waiting"

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop these connections belong to."""
        return self._loop

    # Leasing

    async def lease(self) -> tuple[int, Link]:
        """Wait for a session.

        :returns: a ticket to give back with `release`, and the connection to open the session on.
        :raises PybatchException: no connection could be opened.
        """
        if self._end_of_loop is None:
            self._end_of_loop = _at_end_of_loop(self._links, self._tasks)
            await anext(self._end_of_loop)
        ticket = self._pool.request(self._loop.time())
        return ticket, await self._turn(ticket)

    async def again(self, ticket: int) -> Link:
        """Wait for another session: the connection was lost before the operation began."""
        self._pool.again(ticket, self._loop.time())
        return await self._turn(ticket)

    async def refused(self, ticket: int) -> Link:
        """Wait for another session: the host did not open this one."""
        self._pool.open_refused(ticket, self._loop.time())
        return await self._turn(ticket)

    def release(self, ticket: int) -> None:
        """Give a session back; it must be closed on the host."""
        self._pool.released(ticket, self._loop.time())
        self._act()

    async def _turn(self, ticket: int) -> Link:
        if self.is_closed:
            self.release(ticket)
            raise ConnectionFailed(_CLOSED)
        waiter: asyncio.Future[Link] = self._loop.create_future()
        self._waiters[ticket] = waiter
        self._act()
        try:
            return await waiter
        except BaseException:  # re-raised
            self.release(ticket)
            raise
        finally:
            del self._waiters[ticket]

    # Doing what the pool decides

    def _act(self) -> None:
        if self.is_closed:
            return
        for decision in self._pool.decide(self._loop.time()):
            match decision:
                case Assign(ticket, number):
                    self._grant(ticket, number)
                case Dial(number):
                    self.start(self._dial(number))
                case Close(number):
                    link = self._links.pop(number)
                    link.close()
                    self.start(link.wait_closed(_CLOSE_SECONDS))
                case Refuse(ticket, error, tries):
                    self._refuse(ticket, error, tries)
        self._set_timer()

    def _grant(self, ticket: int, number: int) -> None:
        waiter = self._waiters.get(ticket)
        if waiter is not None and not waiter.done():
            waiter.set_result(self._links[number])

    def _refuse(self, ticket: int, error: Exception | None, tries: int) -> None:
        waiter = self._waiters.get(ticket)
        if waiter is None or waiter.done():
            return
        if error is None:
            text = "opens no session although nothing else runs on the connection (sshd's MaxSessions). Ask its site."
            waiter.set_exception(ConnectionFailed(f"{self._login.host} {text}"))
        else:
            waiter.set_exception(_copy(error, f" It was tried {tries} times." if tries > 1 else ""))

    def _set_timer(self) -> None:
        wake_at = self._pool.wake_at()
        if self._timer is not None:
            if self._timer.when() == wake_at:
                return
            self._timer.cancel()
        self._timer = None if wake_at is None else self._loop.call_at(wake_at, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._act()

    async def _dial(self, number: int) -> None:
        # Weak: a connection lives in the loop, and would keep its forgotten owner alive for ever.
        owner = weakref.ref(self)
        try:
            link = await self._login.connect(lambda: _lost(owner, number))
        except LoginFailed as failed:
            failed.error.__cause__ = failed.__cause__
            self._pool.dial_failed(number, failed.error, failed.worthwhile_tries, self._loop.time())
        except Exception as error:  # a fault that nobody foresaw must not leave the waiters waiting
            failure = ConnectionFailed(f"The connection to {self._login.host} failed: {error!r}.")
            self._pool.dial_failed(number, failure, 1, self._loop.time())
        else:
            self._joined(number, link)
        self._act()

    def _joined(self, number: int, link: Link) -> None:
        if self.is_closed:
            link.abort()
        elif link.is_closed:
            lost = ConnectionFailed(f"{self._login.host} closed the connection right after the login.")
            self._pool.dial_failed(number, lost, 2, self._loop.time())
        else:
            self._links[number] = link
            self._pool.dialled(number, self._loop.time())

    def _died(self, number: int) -> None:
        link = self._links.pop(number, None)
        if link is not None:
            link.abort()  # the jump hosts it ran through
            self._pool.died(number)
            self._act()

    # Tasks and the end

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a login or a clean-up in a task that `aclose` awaits."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        """Close all connections and end all tasks; operations under way fail with ConnectionFailed."""
        if self.is_closed:
            return
        self.is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for waiter in self._waiters.values():
            if not waiter.done():
                waiter.set_exception(ConnectionFailed(_CLOSED))
        await _close(self._links, self._tasks)
        if self._end_of_loop is not None:
            await self._end_of_loop.aclose()


def _lost(owner: weakref.ref[Connections], number: int) -> None:
    connections = owner()
    if connections is not None:
        connections._died(number)


async def _at_end_of_loop(links: dict[int, Link], tasks: set[asyncio.Task[Any]]) -> AsyncGenerator[None, None]:
    """Close when this generator is: by the loop at its end, or after its owner was forgotten."""
    try:
        yield
    finally:
        await _close(links, tasks)


async def _close(links: dict[int, Link], tasks: set[asyncio.Task[Any]]) -> None:
    closing = list(links.values())
    links.clear()
    for link in closing:
        link.close()
    for link in closing:
        await link.wait_closed(_CLOSE_SECONDS)
    for task in list(tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _copy(error: Exception, addition: str) -> Exception:
    """Make every waiter an error of its own: raising one object in many tasks would mix their tracebacks."""
    copied = type(error)(f"{error}{addition}") if isinstance(error, PybatchException) else error
    copied.__cause__ = error.__cause__
    return copied
