# SPDX-License-Identifier: MIT
"""Foreign errors of connecting and logging in, told in this library's words: one clear sentence each."""

from __future__ import annotations

import math
import socket
from dataclasses import dataclass

import asyncssh

from ...errors import AuthenticationFailed, ConfigurationError, ConnectionFailed, HostUnreachable, PybatchException
from .. import troubles


class LoginFailed(Exception):
    """Carry an error of a login and whether another try may help without anybody doing anything.

    :param error: what the caller is to see.
    :param worthwhile_tries: how many tries in all make sense: 1 for what the server refused.
    """

    def __init__(self, error: PybatchException, worthwhile_tries: float = 1) -> None:
        super().__init__(str(error))
        self.error = error
        self.worthwhile_tries = worthwhile_tries


@dataclass(slots=True)
class Progress:
    """Note how far the login to one host came, for the error if it fails."""

    host: str
    port: int
    user: str = ""
    is_connected: bool = False
    has_authentication_begun: bool = False

    @property
    def where(self) -> str:
        """The host, and its port where it is not ssh's."""
        return troubles.place(self.host, self.port)


def told(error: Exception, at: Progress, methods: str) -> LoginFailed:
    """Translate what connecting or logging in raised; host keys are told in `hostkeys`.

    :param methods: the kinds of login that were tried.
    """
    if isinstance(error, asyncssh.PermissionDenied) or "authentication failures" in str(error):
        who = f"{at.user}@{at.host}" if at.user else ""
        return LoginFailed(troubles.login_refused(at.where, who, methods, str(error)))
    if isinstance(error, asyncssh.ChannelOpenError):
        return LoginFailed(troubles.not_passed_on(at.where, error.reason))
    if isinstance(error, asyncssh.ConnectionLost | ConnectionResetError | BrokenPipeError):
        # Once the login has begun it may have been judged: sshd closes on accounts that may not log in now.
        return LoginFailed(_dropped(error, at), 2 if at.has_authentication_begun else math.inf)
    if isinstance(error, asyncssh.Error):
        return LoginFailed(ConnectionFailed(f"{at.where} and this machine agreed on no way to talk: {error}."))
    if isinstance(error, OSError):
        return LoginFailed(_unreached(error, at))
    if isinstance(error, ValueError):  # asyncssh's errors about keys, configuration and known_hosts
        return LoginFailed(ConfigurationError(f"The connection to {at.where} is not well described: {error}."))
    return LoginFailed(ConnectionFailed(f"The connection to {at.where} failed with {type(error).__name__}: {error}."))


def prompt_failed(error: BaseException, at: Progress) -> LoginFailed:
    """Tell that the caller's prompt raised, or is none."""
    if isinstance(error, ConfigurationError):
        return LoginFailed(error)
    what = f"the prompt that was to answer it raised {type(error).__name__}: {error}"
    return LoginFailed(AuthenticationFailed(f"{at.where} asked a question, and {what}"))


def timed_out(at: Progress, seconds: float) -> LoginFailed:
    """Tell that a login took too long."""
    if at.is_connected:
        return LoginFailed(troubles.unfinished(at.where, seconds))
    return LoginFailed(troubles.unanswered(at.where, f" within {seconds:g} s"))


def _dropped(error: Exception, at: Progress) -> ConnectionFailed:
    tell = troubles.broken_off if at.has_authentication_begun else troubles.dropped
    return tell(at.where, str(error))


def _unreached(error: OSError, at: Progress) -> HostUnreachable:
    if isinstance(error, socket.gaierror):
        return troubles.name_unknown(at.host, error.strerror or str(error))
    if isinstance(error, ConnectionRefusedError):
        return troubles.refused(at.where)
    if isinstance(error, TimeoutError):
        return troubles.unanswered(at.where)
    return troubles.out_of_reach(at.where, error.strerror or str(error))
