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

_DENIED = re.compile(r"^(?:(\S+@\S+): )?Permission denied \(([^)]*)\)|Too many authentication failures", re.M)
_SERVER_KEY = re.compile(r"debug1: Server host key: (\S+) (\S+)")
_CONNECTING = re.compile(r"debug1: Connecting to (\S+) (?:\[\S+\] )?port (\d+)")
_LOGGING_IN = re.compile(r"debug1: Authenticating to (\S+?):(\d+) as '([^']*)'")
_NO_TICKET = re.compile(r"Ticket expired|No Kerberos credentials|credentials cache|not yet valid", re.I)
_CONFIGURATION = re.compile(
    r"bad configuration option|Bad owner or permissions|Can't open user config|no argument", re.I
)
_UNREACHED = re.compile(
    r"^ssh: (?:connect to host .*|Could not resolve hostname .*)|^.*Connection timed out during banner exchange", re.M
)
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
    if unreached := _UNREACHED.search(log):
        words = unreached.group().strip().removeprefix("ssh: ")
        advice = "Check the name and the port of the host, and the network (a VPN, a jump host) that leads there."
        return Failure(HostUnreachable(f"{host} was not reached: {words}. {advice}"))
    if _DROPPED.search(log):
        return Failure(_dropped(log, host), is_transient=_HAS_BEGUN not in log)
    words = _last_words(log) or "ssh said nothing"
    return Failure(ConnectionFailed(f"{host} was not reached: {words}. Try `ssh -v {shlex.quote(host)}`."))


def _host_key(log: str, params: ConnectionParameters) -> HostKeyUnknown:
    keys, places = (
        _SERVER_KEY.findall(log),
        _CONNECTING.findall(log) + [(host, port) for host, port, _ in _LOGGING_IN.findall(log)],
    )
    kind, fingerprint = keys[-1] if keys else ("unknown", "unknown")
    host, port = places[-1] if places else (params.host, str(params.port or 22))
    name = host if port == "22" else f"[{host}]:{port}"
    file = str(params.known_hosts or "~/.ssh/known_hosts")
    shown = f"the key {kind} {fingerprint}"
    if "IDENTIFICATION HAS CHANGED" in log or "Offending" in log:
        return HostKeyUnknown(
            f"{name} shows {shown}, which is not the one that known_hosts holds: it was set up anew, or somebody "
            f"answers in its place. Ask its administrators; if the new key is right, run "
            f"`ssh-keygen -R {shlex.quote(name)} -f {_path(file)}`, then add the new one."
        )
    scan = f"ssh-keyscan -p {port} {shlex.quote(host)}" if port != "22" else f"ssh-keyscan {shlex.quote(host)}"
    return HostKeyUnknown(
        f"{name} is not known: it shows {shown}, and {file} holds none for it. Compare the fingerprint with "
        f"what its administrators publish; if it is right, run `{scan} >> {_path(file)}`."
    )


def _refused(denied: re.Match[str], log: str, params: ConnectionParameters) -> AuthenticationFailed:
    logins = [f"{user}@{host}" for host, _, user in _LOGGING_IN.findall(log)]
    who = denied.group(1) or (logins[-1] if logins else params.host)
    tried = list(dict.fromkeys(re.findall(r"debug1: Next authentication method: (\S+)", log)))
    text = f"{params.host} refused the login of {who} (tried: {', '.join(tried) or 'none'}"
    text += f"; it accepts: {denied.group(2)})." if denied.group(2) else ")."
    if "incorrect passphrase" in log:
        text += " The passphrase of the key is wrong."
    if params.gss_auth and _NO_TICKET.search(log):
        return AuthenticationFailed(f"{text} There is no valid Kerberos ticket: run `kinit` and try again.")
    if params.gss_auth:
        text += " If the Kerberos ticket is too old (see `klist`), run `kinit`."
    return AuthenticationFailed(
        f"{text} Check the user name and what you log in with; it is not tried again by itself."
    )


def _dropped(log: str, host: str) -> ConnectionFailed:
    if _HAS_BEGUN in log:
        return ConnectionFailed(f"{host} ended the connection during the login: {_last_words(log)}. Try again.")
    return ConnectionFailed(
        f"{host} dropped the connection before the login, as sshd does while too many logins are under way "
        f"(MaxStartups) or for some minutes after failed ones (PerSourcePenalties): "
        f"{_last_words(log)}. Wait and try again."
    )


def _last_words(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip() and not line.startswith("debug")]
    chosen = [line for line in lines if not line.startswith(("OpenSSH_", "Warning: Permanently"))]
    return "; ".join(chosen[-3:])[-1000:].rstrip(".")


def _path(file: str) -> str:
    return file if file.startswith("~/") else shlex.quote(file)
