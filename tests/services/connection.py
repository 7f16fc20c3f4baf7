# SPDX-License-Identifier: MIT
"""How the library reaches a server of the tests."""

from __future__ import annotations

from pybatch_async import ConnectionParameters
from tests.services.sshd import Sshd


def connection_to(server: Sshd, **fields: object) -> ConnectionParameters:
    """Return parameters that log in with the tests' key, without the developer's own configuration.

    :param fields: further fields of ConnectionParameters, and those that are to be others (the port of a proxy).
    """
    given: dict[str, object] = {
        "host": server.host,
        "user": server.user,
        "port": server.port,
        "client_keys": [server.client_key],
        "known_hosts": server.known_hosts,
        "config": False,
    }
    return ConnectionParameters(**(given | fields))  # type: ignore[arg-type]  # any field of ConnectionParameters
