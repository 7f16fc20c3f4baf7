# SPDX-License-Identifier: MIT
"""Connection parameters to options of the ssh program (man ssh_config); no I/O."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

from ...parameters import ConnectionParameters
from ...targets import Target, jump_hosts


def login_argv(params: ConnectionParameters, log: str) -> list[str]:
    """Return the command line of an ssh that logs in, up to and with "--" and the host.

    :param log: the file that ssh, and each ssh to a host on the way, appends its messages to.
    """
    return [*_ssh(params, log), *_address(params), *_proxy(params, log), "--", params.host]


def resolve_argv(params: ConnectionParameters) -> list[str]:
    """Return the command line that prints what ssh makes of the parameters (ssh -G); it connects to nothing."""
    return ["ssh", "-G", *_config(params), *_address(params), "--", params.host]


def shared_argv(params: ConnectionParameters, control_path: str) -> list[str]:
    """Return the command line of an ssh that uses another's connection, up to and with the host.

    Where it can not, ssh would log in by itself: one more login, behind everybody's back. It is led into a dead end.
    """
    options = _as_options(BatchMode="yes", ControlMaster="no", ProxyCommand="false", LogLevel="ERROR", **_SESSION)
    return ["ssh", *_config(params), "-T", "-S", control_path, *options, "--", params.host]


def can_answer(params: ConnectionParameters) -> bool:
    """Tell whether anything could answer a question that ssh asks."""
    return any((params.password, params.passphrase, params.prompt))


# What a user's configuration may ask of an interactive session has no place in ours.
_SESSION = {
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "ClearAllForwardings": "yes",
    "ForwardX11": "no",
}


def _ssh(params: ConnectionParameters, log: str) -> list[str]:
    settings = _SESSION | {
        "BatchMode": "no" if can_answer(params) else "yes",
        "ConnectTimeout": str(math.ceil(params.connect_timeout)),
        "ServerAliveInterval": str(math.ceil(params.keepalive_interval)),
        "NumberOfPasswordPrompts": "1",  # a refused password is not sent again
        "LogLevel": "DEBUG1",  # names the host key, the methods tried, and why Kerberos failed
    }
    if params.gss_auth:
        # Without delegation: a host that is handed the ticket can act as the user everywhere.
        settings["GSSAPIAuthentication"] = "yes"
    options = [*_as_options(**settings), *_host_keys(params), *_client_keys(params)]
    return ["ssh", *_config(params), "-T", "-E", log, *options]


def _config(params: ConnectionParameters) -> list[str]:
    if params.config is False:
        return ["-F", "none"]
    return [] if params.config is None or params.config is True else ["-F", str(params.config)]


def _host_keys(params: ConnectionParameters) -> list[str]:
    if not params.verify_host_key:
        files = {"UserKnownHostsFile": "/dev/null", "GlobalKnownHostsFile": "/dev/null"}
        return _as_options(StrictHostKeyChecking="no", **files)
    if params.known_hosts is None:
        return _as_options(StrictHostKeyChecking="yes")
    files = {"UserKnownHostsFile": _quoted(str(params.known_hosts)), "GlobalKnownHostsFile": "/dev/null"}
    return _as_options(StrictHostKeyChecking="yes", **files)


def _client_keys(params: ConnectionParameters) -> list[str]:
    if not params.client_keys:
        return []
    files = [item for key in params.client_keys for item in ("-i", str(key).replace("%", "%%"))]
    return [*_as_options(IdentitiesOnly="yes"), *files]


def _address(params: ConnectionParameters) -> list[str]:
    port = [] if params.port is None else ["-p", str(params.port)]
    return port if params.user is None else [*port, "-l", params.user]


def _proxy(params: ConnectionParameters, log: str) -> list[str]:
    if not params.proxy_jump:
        return []
    hops = jump_hosts(params.proxy_jump)
    return _as_options(ProxyCommand=_through(params, log, hops)) if hops else _as_options(ProxyJump="none")


def _through(params: ConnectionParameters, log: str, hops: Sequence[Target]) -> str:
    """Pass through hops as -J does, but under the same keys, known_hosts and configuration as the host itself."""
    *before, hop = hops
    argv = [*_ssh(params, log), *(["-l", hop.user] if hop.user else []), *(["-p", str(hop.port)] if hop.port else [])]
    if before:
        argv += _as_options(ProxyCommand=_through(params, log, before))
    # ssh replaces %h and %p at this level; what belongs to a level further in is hidden from it.
    *words, host = [item.replace("%", "%%") for item in (*argv, hop.host)]
    return shlex.join([*words, "-W", "[%h]:%p", "--", host])


def _as_options(**settings: str) -> list[str]:
    return [item for name, value in settings.items() for item in ("-o", f"{name}={value}")]


def _quoted(path: str) -> str:
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
