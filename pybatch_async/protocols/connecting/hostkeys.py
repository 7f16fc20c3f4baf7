# SPDX-License-Identifier: MIT
"""Verify host keys against known_hosts as OpenSSH does, and say what to do about one that does not match."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncssh

from ...errors import HostKeyUnknown
from ..troubles import HostKey

_SIGNED_WITH = {"ssh-rsa": ["rsa-sha2-512", "rsa-sha2-256"]}
_KINDS = [
    *("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    *("rsa-sha2-512", "rsa-sha2-256"),
]
_USER_FILES = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
_GLOBAL_FILES = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")


class KnownHosts(asyncssh.SSHKnownHosts):
    """Hold the host keys of known_hosts files, and remember what they say about the host being connected to.

    Only the host's name is looked up, not its address: through a jump host asyncssh would take that one's address.

    :param files: the files, the user's own first; one that does not exist holds no key.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        super().__init__()
        self.files = files
        self.has_key = False  # for this host and port
        self.name = ""
        for file in files:
            self._load_file(file)

    def _load_file(self, file: Path) -> None:
        try:
            text = file.read_text(errors="replace")
        except OSError:
            return
        for line in text.splitlines():
            try:
                self.load(line)
            except ValueError:  # a line that OpenSSH would skip too
                continue

    def algorithms(self, host: str, port: int) -> str:
        """Name the kinds of host key to ask for: the known ones first, as ssh(1) does, so that those are shown.

        All others follow: a host that shows another one is to be told apart from one that shows none.
        """
        keys, authorities, *_ = self.match(host, "", None if port == 22 else port)
        kinds = [name for key in keys for name in _SIGNED_WITH.get(key.get_algorithm(), [key.get_algorithm()])]
        certificates = ["*-cert-v01@openssh.com"] if authorities else []
        return ",".join([*certificates, *(kind for kind in kinds if kind in _KINDS), *_KINDS])

    def match(self, host: str, addr: str, port: int | None) -> Any:
        """Look a host up under its port or, as ssh(1) does when that gives nothing, without it."""
        self.name = f"[{host}]:{port}" if port else host
        found = super().match(self.name, "", None)
        self.has_key = bool(found[0] or found[1])
        if self.has_key or found[2] or not port:
            return found
        return super().match(host, "", None)


def known_hosts_files(explicit: str | Path | None, user: Sequence[str], everyone: Sequence[str]) -> list[Path]:
    """Name the known_hosts files to read, the one to add a key to first.

    :param explicit: the file of the connection parameters, which wins.
    :param user: UserKnownHostsFile of the ssh configuration; empty for the usual ones.
    :param everyone: GlobalKnownHostsFile, likewise.
    """
    names = [explicit] if explicit is not None else [*(user or _USER_FILES), *(everyone or _GLOBAL_FILES)]
    return [Path(name).expanduser() for name in names if str(name) != "none"]


def unverified(
    known: KnownHosts, host: str, port: int, key: asyncssh.SSHKey | None, gateway: str, reason: str
) -> HostKeyUnknown:
    """Tell that a host's key is unknown or has changed, and what to run once it has been checked.

    :param key: what the host showed, if it came to that.
    :param gateway: the jump host before it, "" for none.
    :param reason: asyncssh's.
    """
    file = str(known.files[0] if known.files else Path("~/.ssh/known_hosts").expanduser())
    shown = f"{key.get_algorithm()} {key.get_fingerprint()}" if key else "none of a type that known_hosts holds"
    trouble = HostKey(host, port, shown, file, gateway, known.name)
    if "revoked" in reason:
        return trouble.revoked()
    return trouble.changed() if known.has_key else trouble.unknown()
