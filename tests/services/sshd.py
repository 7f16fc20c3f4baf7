# SPDX-License-Identifier: MIT
"""Start a real OpenSSH server on a port of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.services.accounts import Account
from tests.services.daemon import Daemon
from tests.services.workspace import Workspace, program, require_root

HOST = "127.0.0.1"


@dataclass(frozen=True)
class SshKeys:
    """The session's keys: nothing here reads or writes the developer's own ~/.ssh."""

    client_key: Path
    host_key: Path
    known_hosts: Path

    @property
    def public_key(self) -> str:
        """The client's public key, one line."""
        return self.client_key.with_name(f"{self.client_key.name}.pub").read_text().strip()


def make_keys(workspace: Workspace) -> SshKeys:
    """Make a client key, a host key shared by the session's servers, and the known_hosts that trusts it."""
    directory = workspace.directory("ssh", mode=0o700)
    client_key = make_key(directory / "client_key")
    host_key = make_key(directory / "host_key")
    known_hosts = directory / "known_hosts"
    public = host_key.with_name("host_key.pub").read_text()
    # Any port: the tests' proxies stand before the servers under ports of their own.
    known_hosts.write_text(f"127.0.0.1,localhost,[127.0.0.1]:*,[localhost]:* {public}")
    return SshKeys(client_key, host_key, known_hosts)


def make_key(path: Path, passphrase: str = "") -> Path:
    """Make an ed25519 key pair at path and path.pub."""
    argv = [program("ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", passphrase, "-C", "tests"]
    subprocess.run([*argv, "-f", str(path)], check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return path


@dataclass(frozen=True)
class SshdOptions:
    """Say what kind of server a test wants; what is not said is sshd's default."""

    max_sessions: int | None = None
    max_startups: str | None = None
    passwords: bool = False  # password and keyboard-interactive logins (through PAM), beside the key
    keys: bool = True
    own_host_key: bool = False  # a host key that known_hosts does not hold
    host: str = HOST  # the name the tests call it by; it listens on 127.0.0.1 whatever that is
    environment: Mapping[str, str] = field(default_factory=dict)  # of the sessions (SetEnv)
    daemon_environment: Mapping[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = ()  # further lines of sshd_config


class Sshd:
    """Run one server; all the session's users can log in with the client key."""

    def __init__(
        self, workspace: Workspace, keys: SshKeys, account: Account, options: SshdOptions | None = None
    ) -> None:
        require_root()
        self.options = options or SshdOptions()
        self.account = account
        self.host = self.options.host
        self.port = workspace.free_port()
        self.client_key = keys.client_key
        self.known_hosts = keys.known_hosts
        self._directory = workspace.directory(f"sshd-{self.port}")
        self._host_key = make_key(self._directory / "host_key") if self.options.own_host_key else keys.host_key
        self._authorized_keys = self._directory / "authorized_keys"
        self._authorized_keys.write_text(f"{keys.public_key}\n")
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd confines itself; made by systemd elsewhere
        config = self._directory / "sshd_config"
        config.write_text("\n".join(self._config()) + "\n")
        argv = [program("sshd", "openssh-server"), "-D", "-e", "-f", str(config)]
        self._daemon = Daemon(workspace, argv, self.log, self.options.daemon_environment)

    @property
    def user(self) -> str:
        """The login name."""
        return self.account.user

    @property
    def home(self) -> Path:
        """The home of the login user."""
        return self.account.home

    @property
    def uid(self) -> int:
        """The id of the login user."""
        return self.account.uid

    @property
    def log(self) -> Path:
        """What the server wrote."""
        return self._directory / "log"

    @property
    def host_public_key(self) -> str:
        """The server's public key, as known_hosts writes it after the host."""
        return self._host_key.with_name(f"{self._host_key.name}.pub").read_text().strip()

    def _config(self) -> list[str]:
        options = self.options
        passwords = "yes" if options.passwords else "no"
        lines = [
            *options.extra,  # first, as sshd takes the first of two contrary lines
            *("ListenAddress 127.0.0.1", f"Port {self.port}", f"HostKey {self._host_key}", "PidFile none"),
            *(f"AuthorizedKeysFile {self._authorized_keys}", "StrictModes no", "UseDNS no", "PrintMotd no"),
            *(f"UsePAM {passwords}", f"PasswordAuthentication {passwords}"),
            *(f"KbdInteractiveAuthentication {passwords}", f"PubkeyAuthentication {'yes' if options.keys else 'no'}"),
            "Subsystem sftp internal-sftp",
        ]
        if options.max_sessions is not None:
            lines.append(f"MaxSessions {options.max_sessions}")
        if options.max_startups is not None:
            lines.append(f"MaxStartups {options.max_startups}")
        if options.environment:
            lines.append("SetEnv " + " ".join(f'"{name}={value}"' for name, value in options.environment.items()))
        return lines

    def start(self) -> None:
        """Start the server and wait until it greets."""
        self._daemon.start(self._greets)

    def _greets(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=5) as client:
                return client.recv(4) == b"SSH-"
        except OSError:
            return False

    def stop(self) -> None:
        """Stop listening; the connections that stand go on, as with a real sshd."""
        self._daemon.stop()

    def restart(self) -> None:
        """End the connections and the listener, then start again."""
        self.drop_connections()
        self.stop()
        self.start()

    def close(self) -> None:
        """End the connections and the listener."""
        if self._daemon.is_running:
            self.drop_connections()
        self.stop()

    def connections(self) -> list[int]:
        """List the server's processes, one for each connection."""
        return children(self._daemon.pid)

    def sessions(self) -> list[int]:
        """List the processes that serve a channel, over all connections: commands and sftp servers."""
        found = []
        for connection in self.connections():
            for unprivileged in children(connection):
                found += children(unprivileged)
        return found

    def drop_connections(self) -> None:
        """End all connections as a crash of the server would."""
        for connection in self.connections():
            _kill(connection, signal.SIGSTOP)  # else it may fork the user's process while we look
            for pid in (*children(connection), connection):
                _kill(pid, signal.SIGKILL)


def children(pid: int) -> list[int]:
    """List the child processes of a process: proc(5), field 4 of stat."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = stat.read_text().rsplit(")", 1)[1].split()[1]
        except OSError:  # it ended while we looked
            continue
        if int(parent) == pid:
            found.append(int(stat.parent.name))
    return found


def _kill(pid: int, with_signal: signal.Signals) -> None:
    try:
        os.kill(pid, with_signal)
    except ProcessLookupError:
        return
