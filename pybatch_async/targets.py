# SPDX-License-Identifier: MIT
"""Hosts to log in to, as users and ssh configurations write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote

from .errors import ConfigurationError

# The last "@" ends the user, since principals hold one; without brackets, a second colon makes it an IPv6 address.
_PLACE = re.compile(
    r"(?:(?P<user>\S+)@)?(?:\[(?P<v6>[^]\s@/]+)\]|(?P<bare>[^]\s@/:[]*:[^]\s@/:[]*:[^]\s@/[]*)|(?P<name>[^]\s@/:[]+))"
    r"(?::(?P<port>[0-9]+))?"
)


@dataclass(frozen=True, slots=True)
class Target:
    """Name a host to log in to; None is the ssh configuration's choice."""

    host: str
    user: str | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "[user@]host[:port]", or the same as "ssh://[user@]host[:port]", as ssh -J takes it.

        :raises ConfigurationError: it is neither, or the port is none.
        """
        text = text.strip()
        place = text.removeprefix("ssh://")
        read = _PLACE.fullmatch(place if place == text else place.removesuffix("/"))
        port = int(read["port"]) if read and read["port"] else None
        host, user = (read["v6"] or read["bare"] or read["name"], read["user"]) if read else ("", None)
        if place != text:  # a URL writes some characters as "%40"
            host, user = unquote(host), user and unquote(user)
        if host[:1] in ("", "-") or (user or "")[:1] == "-" or not (port is None or 0 < port < 65536):
            raise ConfigurationError(f"{text!r} is not a host to pass through: write [user@]host[:port].")
        return cls(host, user, port)


def jump_hosts(text: str) -> list[Target]:
    """Read a list of jump hosts with commas between them; "none", as in ssh's configuration, is the empty one.

    :raises ConfigurationError: one of them is no host.
    """
    return [] if text.strip() == "none" else [Target.parse(item) for item in text.split(",")]
