# SPDX-License-Identifier: MIT
"""Log in to a host, through jump hosts if need be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import asyncssh

from ...errors import PybatchException
from ...parameters import ConnectionParameters
from ...targets import Target
from .client import Client, Secrets
from .failures import LoginFailed, Progress, prompt_failed, timed_out, told
from .hostkeys import unverified
from .kerberos import get_ticket
from .plan import Plan, make_plan


@dataclass(slots=True)
class Link:
    """Hold one connection and those to the jump hosts it runs through."""

    connection: asyncssh.SSHClientConnection
    through: list[asyncssh.SSHClientConnection] = field(default_factory=list)

    @property
    def is_closed(self) -> bool:
        """Say whether the connection is over."""
        return self.connection.is_closed()

    def close(self) -> None:
        """Begin to close them all, the innermost first."""
        for each in self._inside_out():
            each.close()

    async def wait_closed(self, seconds: float) -> None:
        """Wait until they are closed; drop those that are not in time."""
        try:
            async with asyncio.timeout(seconds):
                for each in self._inside_out():
                    await each.wait_closed()
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        """Drop them all at once."""
        for each in self._inside_out():
            each.abort()

    def _inside_out(self) -> list[asyncssh.SSHClientConnection]:
        return [self.connection, *reversed(self.through)]


class Login:
    """Make connections to one host; it keeps none of them, but opened keys.

    :param params: already checked.
    """

    def __init__(self, params: ConnectionParameters) -> None:
        self._params = params
        self._secrets = Secrets(params.password, params.passphrase, params.prompt)

    @property
    def host(self) -> str:
        """The host's name, as the parameters give it."""
        return self._params.host

    async def connect(self, lost: Callable[[], None]) -> Link:
        """Log in.

        :param lost: called when the connection ends, however it ends.
        :raises LoginFailed: it did not succeed.
        """
        params = self._params
        target = Target(params.host, params.user, params.port)
        async with asyncio.timeout(None) as deadline:
            attempt = _Attempt(params, self._secrets, deadline, lost)
            try:
                deadline.reschedule(asyncio.get_running_loop().time() + params.connect_timeout)
                return Link(await attempt.reach(target), attempt.through)
            except BaseException as error:  # re-raised
                attempt.abort()
                if deadline.expired():
                    raise timed_out(attempt.at, params.connect_timeout) from error
                raise


class _Attempt:
    """Try one login: the connections to jump hosts so far, and how far it came."""

    def __init__(
        self, params: ConnectionParameters, secrets: Secrets, deadline: asyncio.Timeout, lost: Callable[[], None]
    ) -> None:
        self._params = params
        self._secrets = secrets
        self._deadline = deadline
        self._lost = lost
        self.through: list[asyncssh.SSHClientConnection] = []
        self.at = Progress(params.host, params.port or 22)

    def abort(self) -> None:
        for each in reversed(self.through):
            each.abort()

    async def reach(self, target: Target, before: tuple[str, ...] = ()) -> asyncssh.SSHClientConnection:
        """Log in to a host, after the jump hosts that lead there.

        :param before: the hosts that this one is to lead to; jump hosts that lead back to them are left out.
        """
        self.at = Progress(target.host, target.port or 22)
        plan = await self._plan(target, is_last=not before)
        if not self.through:
            for hop in [hop for hop in plan.hops if hop.host not in before]:
                self.through.append(await self.reach(hop, (*before, target.host)))
        self.at = Progress(plan.host, plan.port)
        if self._params.gss_auth and not before:
            await self._get_ticket(plan.host)
        return await self._connect(plan, is_last=not before)

    async def _plan(self, target: Target, is_last: bool) -> Plan:
        try:
            return await asyncio.to_thread(make_plan, self._params, target, is_last)
        except PybatchException as error:
            raise LoginFailed(error) from error
        except (OSError, ValueError) as error:
            raise told(ValueError(str(error)), self.at, "") from error

    async def _get_ticket(self, host: str) -> None:
        try:
            await get_ticket(host)
        except PybatchException as error:
            raise LoginFailed(error) from error

    async def _connect(self, plan: Plan, is_last: bool) -> asyncssh.SSHClientConnection:
        # A password is the host's own: jump hosts get keys, tickets and what the user answers.
        secrets = self._secrets if is_last else replace(self._secrets, password=None)
        client = Client(self.at, secrets, plan.keys.encrypted, self._deadline, self._lost if is_last else _ignore)
        tunnel = self.through[-1] if self.through else None
        try:
            return await asyncssh.connect(**plan.options, tunnel=tunnel, client_factory=lambda: client)
        except Exception as error:  # whatever asyncssh, a proxy command or the prompt raised: told here, never bare
            raise self._told(error, plan, client) from error

    def _told(self, error: Exception, plan: Plan, client: Client) -> LoginFailed:
        is_unverified = isinstance(error, asyncssh.HostKeyNotVerifiable) or "host key algorithm" in str(error)
        if is_unverified and plan.known is not None:
            gateway = str(self.through[-1].get_extra_info("host")) if self.through else ""
            return LoginFailed(
                unverified(plan.known, self.at.host, self.at.port, client.shown_key, gateway, str(error))
            )
        if client.error is not None:
            return prompt_failed(client.error, self.at)
        failed = told(error, self.at, "; ".join([self._methods(plan), *client.notes]))
        if self.at.has_authentication_begun and self._params.prompt:
            failed.worthwhile_tries = 1  # another one would ask the user again
        return failed

    def _methods(self, plan: Plan) -> str:
        offered = {
            "Kerberos": plan.has_kerberos,
            "keys": True,
            "password": self._params.password is not None,
            "questions to the prompt": self._params.prompt is not None,
        }
        return ", ".join(name for name, is_offered in offered.items() if is_offered)


def _ignore() -> None:
    return None
