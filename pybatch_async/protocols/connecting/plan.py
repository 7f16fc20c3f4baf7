# SPDX-License-Identifier: MIT
"""What the connection parameters and the ssh configuration come to for one host. It reads files: use a thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import asyncssh

from ...parameters import ConnectionParameters
from ...targets import Target, jump_hosts
from .hostkeys import KnownHosts, known_hosts_files
from .keys import KeyFiles, find_keys

# chacha20-poly1305, asyncssh's first choice, is the slowest by far; whatever else both ends have stays acceptable.
_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"


@dataclass(frozen=True, slots=True)
class Plan:
    """Say how to log in to one host.

    :param host: its own name or address, where an alias was given.
    :param hops: the jump hosts before it.
    :param known: the host keys to accept; None for any.
    :param options: the arguments of asyncssh.connect but the tunnel and the client.
    """

    host: str
    port: int
    hops: list[Target]
    keys: KeyFiles
    known: KnownHosts | None
    has_kerberos: bool
    options: dict[str, Any]


def make_plan(params: ConnectionParameters, target: Target, is_last: bool) -> Plan:
    """Read the ssh configuration, known_hosts and the keys.

    :param is_last: False for a jump host.
    :raises ConfigurationError: an explicitly named key can not be used.
    :raises ValueError: the ssh configuration can not be used.
    :raises OSError: it can not be read.
    """
    config = params.config
    address: dict[str, Any] = {
        "host": target.host,
        "port": target.port if target.port is not None else (),
        "username": target.user if target.user is not None else (),
        "config": () if config is None or config is True else None if config is False else [str(config)],
    }
    jump = {"tunnel": params.proxy_jump} if is_last and params.proxy_jump else {}
    found = asyncssh.SSHClientConnectionOptions(**address, **jump, client_keys=None)  # no keys: this is a look only
    get: Any = found.config.get
    files = known_hosts_files(params.known_hosts, get("UserKnownHostsFile", ()), get("GlobalKnownHostsFile", ()))
    known = KnownHosts(files) if params.verify_host_key else None
    name = found.host_key_alias or found.host
    keys = find_keys(params.client_keys, get("IdentityFile", ()))
    has_kerberos = params.gss_auth or bool(get("GSSAPIAuthentication", False))
    host_keys: Any = () if known is None or get("HostKeyAlgorithms", ()) else known.algorithms(name, found.port)
    options = {
        **address,
        **_key_options(keys),
        **({"gss_auth": True} if has_kerberos else {"gss_auth": False, "gss_host": None}),
        "gss_kex": False,
        "known_hosts": known,
        "server_host_key_algs": host_keys,
        "encryption_algs": () if get("Ciphers", ()) else _CIPHERS,
        "compression_algs": ["none"],
        "connect_timeout": None,  # the caller's covers the jump hosts too, and rests while a human is asked
        "login_timeout": 0,
        "keepalive_interval": params.keepalive_interval,
    }
    return Plan(found.host, found.port, _hops(found.tunnel), keys, known, has_kerberos, options)


def _key_options(keys: KeyFiles) -> dict[str, Any]:
    options: dict[str, Any] = {"ignore_encrypted": True}  # the client opens those, once the host asks for them
    if keys.explicit is not None:
        options["client_keys"] = keys.explicit
        options |= {"agent_identities": list(keys.in_agent)} if keys.in_agent else {"agent_path": None}
    return options


def _hops(tunnel: object) -> list[Target]:
    """List the jump hosts of asyncssh's option; there are none where a ProxyCommand or nothing leads to the host."""
    return jump_hosts(tunnel) if isinstance(tunnel, str) else []
