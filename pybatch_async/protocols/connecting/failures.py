# SPDX-License-Identifier: MIT
"""Foreign errors of connecting and logging in, told in this library's words: one clear sentence each."""

from __future__ import annotations

import math
import socket
from dataclasses import dataclass

import asyncssh

from ...errors import AuthenticationFailed, ConfigurationError, ConnectionFailed, HostUnreachable, PybatchException

_DROPPED = (
    "dropped the connection before the login, as sshd does while too many logins are under way (MaxStartups) or for "
    "some minutes after failed or abandoned ones (PerSourcePenalties)"
)


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
        return self.host if self.port == 22 else f"{self.host} (port {self.port})"


def told(error: Exception, at: Progress, methods: str) -> LoginFailed:
    """Translate what connecting or logging in raised; host keys are told in `hostkeys`.

    :param methods: the kinds of login that were tried.
    """
    if isinstance(error, asyncssh.PermissionDenied) or "authentication failures" in str(error):
        return LoginFailed(_refused(error, at, methods))
    if isinstance(error, asyncssh.ChannelOpenError):
        text = f"{at.where} was not reached through the jump host, which said: {error.reason}. Check its name and port."
        return LoginFailed(HostUnreachable(text))
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
    what = "the login was not finished" if at.is_connected else "there was no answer"
    kind = ConnectionFailed if at.is_connected else HostUnreachable
    return LoginFailed(
        kind(
            f"{at.where}: {what} within {seconds:g} s. Check the host, the network and any firewall, or raise "
            f"connect_timeout."
        )
    )


def _refused(error: Exception, at: Progress, methods: str) -> AuthenticationFailed:
    user = f" for {at.user}" if at.user else ""
    return AuthenticationFailed(
        f"{at.where} refused the login{user} (tried: {methods}): {error}. Check the user name and what you log in "
        f"with; a refused login is not tried again by itself."
    )


def _dropped(error: Exception, at: Progress) -> ConnectionFailed:
    if at.has_authentication_begun:
        return ConnectionFailed(f"{at.where} closed the connection during the login: {error}. Try again.")
    return ConnectionFailed(f"{at.where} {_DROPPED}: {error}. Wait some minutes, then try again.")


def _unreached(error: OSError, at: Progress) -> HostUnreachable:
    if isinstance(error, socket.gaierror):
        text = f"The name {at.host} is not known here: {error.strerror}. Check its spelling and the network."
    elif isinstance(error, ConnectionRefusedError):
        text = f"{at.where} refuses connections: no ssh server listens there. Check host and port."
    elif isinstance(error, TimeoutError):
        text = f"{at.where} did not answer. Check the host, the network and any firewall."
    else:
        text = f"{at.where} can not be reached: {error.strerror or error}. Check the host and the network."
    return HostUnreachable(text)
