# SPDX-License-Identifier: MIT
"""What the ssh program says when a login fails, told in this library's words: one clear sentence each."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from ...errors import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    HostKeyUnknown,
    HostUnreachable,
    PybatchException,
)
from ...parameters import ConnectionParameters
from ...targets import jump_hosts
from .. import troubles

_DENIED = re.compile(r"^(?:(\S+@\S+): )?Permission denied \(([^)]*)\)|Too many authentication failures", re.M)
_SERVER_KEY = re.compile(r"debug1: Server host key: (\S+) (\S+)")
_CONNECTING = re.compile(r"debug1: Connecting to (\S+) (?:\[\S+\] )?port (\d+)")
_LOGGING_IN = re.compile(r"debug1: Authenticating to (\S+?):(\d+) as '([^']*)'")
_NO_TICKET = re.compile(r"Ticket expired|No Kerberos credentials|credentials cache|not yet valid", re.I)
_CONFIGURATION = re.compile(
    r"bad configuration option|Bad owner or permissions|Can't open user config|no argument", re.I
)
_UNKNOWN_NAME = re.compile(r"^ssh: Could not resolve hostname (.+): (.+?)\r?$", re.M)
_UNREACHED = re.compile(r"^ssh: connect to (?:host|address) (\S+) port (\d+): (.+?)\r?$", re.M)
_SILENT = re.compile(r"^Connection to (\S+) port (\d+) timed out|^Connection timed out during banner exchange", re.M)
_NOT_PASSED_ON = re.compile(r"^channel \d+: open failed: (.+?)\r?$", re.M)
_DROPPED = re.compile(
    r"Connection (?:closed|reset) by|kex_exchange_identification|banner exchange|Broken pipe|Not allowed at this time"
)
# What an ssh says that was to use another's connection, could not, and met the dead end of `openssh.shared_argv`.
_NOT_SHARED = re.compile(
    r"session request failed|Session open refused|Control socket|kex_exchange_identification|UNKNOWN port"
)
_HAS_BEGUN = "debug1: Authentications that can continue"


@dataclass(frozen=True, slots=True)
class Failure:
    """Hold why a login failed.

    :param error: what the caller is to see.
    :param is_transient: the server dropped the connection without judging the login; another try may succeed.
    """

    error: PybatchException
    is_transient: bool = False


def is_not_shared(log: str) -> bool:
    """Tell from what ssh wrote whether it did not get the use of another's connection, so that no command started."""
    return bool(_NOT_SHARED.search(log))


def explain(log: str, params: ConnectionParameters) -> Failure:
    """Read what ssh, at LogLevel DEBUG1, wrote about a login that failed."""
    host = params.host
    if "ssh: not found" in log:
        return Failure(
            ConfigurationError("The ssh program is missing: install OpenSSH's client, or use AsyncsshProtocol.")
        )
    if "Host key verification failed" in log:
        return Failure(_host_key(log, params))
    if denied := _DENIED.search(log):
        return Failure(_refused(denied, log, params))
    if _CONFIGURATION.search(log):
        return Failure(ConfigurationError(f"ssh does not accept its configuration: {_last_words(log)}."))
    if unreachable := _unreachable(log, params):
        return Failure(unreachable)
    if _DROPPED.search(log):
        is_begun = _HAS_BEGUN in log
        tell = troubles.broken_off if is_begun else troubles.dropped
        return Failure(tell(_where(log, params), _last_words(log)), is_transient=not is_begun)
    words = _last_words(log) or "ssh said nothing"
    return Failure(ConnectionFailed(f"{host} can not be reached: {words}. Try `ssh -v {shlex.quote(host)}`."))


def _unreachable(log: str, params: ConnectionParameters) -> HostUnreachable | None:
    if unknown := _UNKNOWN_NAME.search(log):
        return troubles.name_unknown(*unknown.groups())
    if unreached := _UNREACHED.search(log):
        host, port, why = unreached.groups()
        where = troubles.place(host, int(port))
        if "timed out" in why:
            return troubles.unanswered(where)
        return troubles.refused(where) if why == "Connection refused" else troubles.out_of_reach(where, why)
    if refused := _NOT_PASSED_ON.search(log):
        return troubles.not_passed_on(troubles.place(params.host, params.port or 22), refused[1])
    if _SILENT.search(log):
        return troubles.unanswered(_where(log, params), f" within {params.connect_timeout:g} s")
    return None


def _where(log: str, params: ConnectionParameters) -> str:
    return troubles.place(*_place(log, params))


def _place(log: str, params: ConnectionParameters) -> tuple[str, int]:
    """Return the host, one on the way perhaps, that ssh was at last."""
    places = _CONNECTING.findall(log) + [(host, port) for host, port, _ in _LOGGING_IN.findall(log)]
    host, port = places[-1] if places else (params.host, params.port or 22)
    return host, int(port)


def _host_key(log: str, params: ConnectionParameters) -> HostKeyUnknown:
    keys, (host, port) = _SERVER_KEY.findall(log), _place(log, params)
    kind, fingerprint = keys[-1] if keys else ("unknown", "unknown")
    hops = jump_hosts(params.proxy_jump) if params.proxy_jump and host == params.host else []
    file, gateway = str(params.known_hosts or "~/.ssh/known_hosts"), hops[-1].host if hops else ""
    trouble = troubles.HostKey(host, port, f"{kind} {fingerprint}", file, gateway)
    if "REVOKED HOST KEY" in log:
        return trouble.revoked()
    return trouble.changed() if "IDENTIFICATION HAS CHANGED" in log or "Offending" in log else trouble.unknown()


def _refused(denied: re.Match[str], log: str, params: ConnectionParameters) -> AuthenticationFailed:
    logins = [f"{user}@{host}" for host, _, user in _LOGGING_IN.findall(log)]
    who = denied.group(1) or (logins[-1] if logins else "")
    tried = list(dict.fromkeys(re.findall(r"debug1: Next authentication method: (\S+)", log)))
    why = [f"it accepts {denied.group(2)}" if denied.group(2) else "too many were tried"]
    if "incorrect passphrase" in log:
        why.append("the passphrase of the key is wrong")
    if params.gss_auth:
        is_missing = _NO_TICKET.search(log)
        why.append(
            "there is no valid Kerberos ticket: run `kinit` and try again"
            if is_missing
            else "if the Kerberos ticket is too old (see `klist`), run `kinit`"
        )
    return troubles.login_refused(_where(log, params), who, ", ".join(tried) or "none", "; ".join(why))


def _last_words(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip() and not line.startswith("debug")]
    chosen = [line for line in lines if not line.startswith(("OpenSSH_", "Warning: Permanently"))]
    return "; ".join(chosen[-3:])[-1000:].rstrip(".")
