# SPDX-License-Identifier: MIT
"""What can go wrong with reaching a host and logging in there, in the same words whichever ssh is used."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from ..errors import AuthenticationFailed, ConnectionFailed, HostKeyUnknown, HostUnreachable

_DROPPED = (
    "dropped the connection before the login, as sshd does while too many logins are under way (MaxStartups) or for "
    "some minutes after failed or abandoned ones (PerSourcePenalties)"
)


def place(host: str, port: int) -> str:
    """Name a host, and its port where it is not ssh's."""
    return host if port == 22 else f"{host} (port {port})"


def name_unknown(host: str, why: str) -> HostUnreachable:
    """Tell that a name leads to no address."""
    return HostUnreachable(f"The name {host} is not known here: {why}. Check its spelling and the network.")


def refused(where: str) -> HostUnreachable:
    """Tell that a port is closed."""
    return HostUnreachable(f"{where} refuses connections: no ssh server listens there. Check host and port.")


def unanswered(where: str, within: str = "") -> HostUnreachable:
    """Tell that nobody answers.

    :param within: how long it was waited, as " within 30 s", where our own deadline ended it.
    """
    more = ", or raise connect_timeout" if within else ""
    return HostUnreachable(f"{where} did not answer{within}. Check the host, the network and any firewall{more}.")


def out_of_reach(where: str, why: str) -> HostUnreachable:
    """Tell that no way leads to a host."""
    return HostUnreachable(f"{where} can not be reached: {why}. Check the host and the network.")


def not_passed_on(where: str, why: str) -> HostUnreachable:
    """Tell that a jump host did not get through to the next one."""
    text = f"{where} was not reached through the jump host, which said: {why}. Check its name and port."
    return HostUnreachable(text)


def unfinished(where: str, seconds: float) -> ConnectionFailed:
    """Tell that a login took too long."""
    text = f"{where}: the login was not finished within {seconds:g} s. Check the host, the network and any firewall"
    return ConnectionFailed(f"{text}, or raise connect_timeout.")


def dropped(where: str, why: str) -> ConnectionFailed:
    """Tell that a server ended the connection before it knew who it was."""
    return ConnectionFailed(f"{where} {_DROPPED}: {why}. Wait some minutes, then try again.")


def broken_off(where: str, why: str) -> ConnectionFailed:
    """Tell that a server ended the connection during the login."""
    return ConnectionFailed(f"{where} closed the connection during the login: {why}. Try again.")


def login_refused(where: str, who: str, tried: str, why: str) -> AuthenticationFailed:
    """Tell that a host does not let somebody in.

    :param who: "user@host", or "" where it did not come to a name.
    :param tried: the ways to log in.
    """
    login = f" of {who}" if who else ""
    return AuthenticationFailed(
        f"{where} refused the login{login} (tried: {tried}): {why}. Check the user name and what you log in with; a "
        f"refused login is not tried again by itself."
    )


@dataclass(frozen=True, slots=True)
class HostKey:
    """Describe a host key that does not verify.

    :param shown: its kind and fingerprint.
    :param file: the known_hosts file to add it to.
    :param gateway: the jump host before it, "" for none.
    :param name: what known_hosts calls it, "" for its host and port.
    """

    host: str
    port: int
    shown: str
    file: str
    gateway: str = ""
    name: str = ""

    def unknown(self) -> HostKeyUnknown:
        """Tell that known_hosts holds no key, and what to run once this one was checked."""
        return HostKeyUnknown(
            f"The host key of {self._where} is unknown: it shows {self.shown}, and known_hosts holds no key of it. "
            f"Compare this fingerprint with the one its administrators publish, then run: {self._scan}"
        )

    def changed(self) -> HostKeyUnknown:
        """Tell that known_hosts holds another key, and what to run once this one was checked."""
        name = self.name or (self.host if self.port == 22 else f"[{self.host}]:{self.port}")
        return HostKeyUnknown(
            f"The host key of {self._where} HAS CHANGED: known_hosts holds another one than the one it shows, "
            f"{self.shown}. Somebody may be answering in its place, or it was reinstalled: ask its administrators for "
            f"the fingerprint and, if it is this one, run: ssh-keygen -R {shlex.quote(name)} -f {self._path} && "
            f"{self._scan}"
        )

    def revoked(self) -> HostKeyUnknown:
        """Tell that known_hosts refuses this key for ever."""
        return HostKeyUnknown(
            f"The host key of {self._where} is marked as revoked in known_hosts: ask its administrators."
        )

    @property
    def _where(self) -> str:
        return f"{self.host} (port {self.port})"

    @property
    def _path(self) -> str:
        return self.file if self.file.startswith("~/") else shlex.quote(self.file)

    @property
    def _scan(self) -> str:
        scan = f"ssh-keyscan -p {self.port} {shlex.quote(self.host)} >> {self._path}"
        return f"ssh {shlex.quote(self.gateway)} {scan}" if self.gateway else scan
