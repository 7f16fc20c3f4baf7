# SPDX-License-Identifier: MIT
"""Log in to a host, through jump hosts if need be, as the parameters and the ssh configuration say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import asyncssh

from ..errors import AuthenticationFailed, HostKeyUnknown, PybatchException
from ..parameters import ConnectionParameters
from .client import Client, Secrets
from .failures import LoginFailed, Progress, timed_out, told
from .hostkeys import KnownHosts, known_hosts_files, unverified
from .kerberos import get_ticket
from .keys import KeyFiles, find_keys

# chacha20-poly1305, asyncssh's first choice, is the slowest by far; whatever else both ends have stays acceptable.
_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"


@dataclass(frozen=True, slots=True)
class Target:
    """Name a host to log in to, as the user wrote it; None is the ssh configuration's choice."""

    host: str
    user: str | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read "[user@]host[:port]", as ssh -J takes it.

        :raises ValueError: the port is no number.
        """
        user, _, place = text.strip().rpartition("@")
        host, _, port = place.rpartition(":") if place.count(":") == 1 or "]:" in place else (place, "", "")
        return cls(host.strip("[]"), user or None, int(port) if port else None)


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


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the parameters and the ssh configuration come to for one host."""

    options: asyncssh.SSHClientConnectionOptions
    keys: KeyFiles
    known: KnownHosts | None
    has_kerberos: bool
    ciphers: Any
    hops: list[Target]

    @property
    def host(self) -> str:
        return self.options.host

    @property
    def port(self) -> int:
        return self.options.port


class Login:
    """Make connections to one host; it keeps no connection, but opened keys.

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
        at = Progress(params.host, params.port or 22)
        link = _Unfinished([])
        try:
            async with asyncio.timeout(params.connect_timeout) as deadline:
                return await self._reach(target, link, at, deadline, lost, ())
        except TimeoutError as error:
            link.abort()
            if not deadline.expired():
                raise told(error, at, "") from error
            raise timed_out(at, params.connect_timeout) from error
        except BaseException:  # re-raised
            link.abort()
            raise

    async def _reach(
        self,
        target: Target,
        link: _Unfinished,
        at: Progress,
        deadline: asyncio.Timeout,
        lost: Callable[[], None],
        seen: tuple[str, ...],
    ) -> Link:
        plan = await self._plan(target, at, is_last=not seen)
        at.host, at.port = plan.host, plan.port
        hops = [] if link.through else [hop for hop in plan.hops if hop.host not in seen]  # none that leads back here
        for hop in hops:
            stage = Progress(hop.host, hop.port or 22)
            reached = await self._reach(hop, link, stage, deadline, _ignore, (*seen, target.host))
            link.through.append(reached.connection)
        if plan.has_kerberos and self._params.gss_auth:
            await self._ticket(plan.host)
        connection = await self._open(target, plan, link, at, deadline, lost, is_last=not seen)
        return Link(connection, link.through)

    async def _plan(self, target: Target, at: Progress, is_last: bool) -> _Plan:
        try:
            return await asyncio.to_thread(self._plan_now, target, is_last)
        except PybatchException as error:
            raise LoginFailed(error) from error
        except (OSError, ValueError) as error:
            raise told(ValueError(str(error)), at, "") from error

    def _plan_now(self, target: Target, is_last: bool) -> _Plan:
        """Read the ssh configuration, known_hosts and the keys; it blocks."""
        params = self._params
        wanted = self._addressed(target)
        if is_last and params.proxy_jump:
            wanted["tunnel"] = None if params.proxy_jump == "none" else params.proxy_jump
        options = asyncssh.SSHClientConnectionOptions(**wanted, client_keys=None)
        get: Any = options.config.get
        files = known_hosts_files(params.known_hosts, get("UserKnownHostsFile", ()), get("GlobalKnownHostsFile", ()))
        return _Plan(
            options,
            find_keys(params.client_keys, get("IdentityFile", ())),
            KnownHosts(files) if params.verify_host_key else None,
            params.gss_auth or get("GSSAPIAuthentication", False),
            () if get("Ciphers", ()) else _CIPHERS,
            _hops(options.tunnel),
        )

    def _addressed(self, target: Target) -> dict[str, Any]:
        config = self._params.config
        return {
            "host": target.host,
            "port": target.port if target.port is not None else (),
            "username": target.user if target.user is not None else (),
            "config": () if config is None or config is True else None if config is False else [str(config)],
        }

    async def _ticket(self, host: str) -> None:
        try:
            await get_ticket(host)
        except PybatchException as error:
            raise LoginFailed(error) from error

    async def _open(
        self,
        target: Target,
        plan: _Plan,
        link: _Unfinished,
        at: Progress,
        deadline: asyncio.Timeout,
        lost: Callable[[], None],
        is_last: bool,
    ) -> asyncssh.SSHClientConnection:
        # A password is the host's own: jump hosts get keys, tickets and what the user answers.
        secrets = self._secrets if is_last else replace(self._secrets, password=None)
        client = Client(at, secrets, plan.keys.encrypted, deadline, lost)
        tunnel = link.through[-1] if link.through else None
        options = {**self._addressed(target), **self._options(plan), "tunnel": tunnel}
        try:
            return await asyncssh.connect(**options, client_factory=lambda: client)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # whatever asyncssh, a proxy command or the prompt raised: told below, never bare
            gateway = str(tunnel.get_extra_info("host")) if tunnel else ""
            raise self._told(error, plan, client, at, gateway) from error

    def _options(self, plan: _Plan) -> dict[str, Any]:
        keys: dict[str, Any] = {}
        if plan.keys.plain is not None:
            keys["client_keys"] = plan.keys.plain
            keys["agent_identities"] = list(plan.keys.in_agent)
            if not plan.keys.in_agent:
                keys["agent_path"] = None
        return {
            **keys,
            "ignore_encrypted": True,  # the client opens those, when the host asks for them
            "known_hosts": plan.known,
            "gss_auth": bool(plan.has_kerberos),
            "gss_kex": False,
            **({} if plan.has_kerberos else {"gss_host": None}),
            "encryption_algs": plan.ciphers,
            "compression_algs": ["none"],
            "connect_timeout": None,  # ours covers the jump hosts too, and rests while a human is asked
            "login_timeout": 0,
            "keepalive_interval": self._params.keepalive_interval,
        }

    def _told(self, error: Exception, plan: _Plan, client: Client, at: Progress, gateway: str) -> LoginFailed:
        is_unverified = isinstance(error, asyncssh.HostKeyNotVerifiable) or "host key algorithm" in str(error)
        if is_unverified and plan.known is not None:
            return LoginFailed(HostKeyUnknown(unverified(plan.known, at.host, at.port, client.shown_key, gateway)))
        if client.error is not None:
            kind = type(client.error).__name__
            text = f"{at.where} asked a question, and the prompt that was to answer it raised {kind}: {client.error}"
            return LoginFailed(AuthenticationFailed(text))
        failed = told(error, at, "; ".join([self._methods(plan), *client.notes]))
        if failed.is_transient and at.has_authentication_begun and self._params.prompt:
            failed.is_transient = False  # another try would ask the user again
        return failed

    def _methods(self, plan: _Plan) -> str:
        params = self._params
        offered = {
            "Kerberos": plan.has_kerberos,
            "keys": True,
            "password": params.password is not None,
            "questions to the prompt": params.prompt is not None,
        }
        return ", ".join(name for name, is_offered in offered.items() if is_offered)


@dataclass(slots=True)
class _Unfinished:
    """Hold the connections to jump hosts until the last one stands."""

    through: list[asyncssh.SSHClientConnection]

    def abort(self) -> None:
        for each in reversed(self.through):
            each.abort()


def _hops(tunnel: object) -> list[Target]:
    """List the jump hosts of an option such as "user@first:22,second"."""
    return [Target.parse(text) for text in tunnel.split(",") if text.strip()] if isinstance(tunnel, str) else []


def _ignore() -> None:
    return None
