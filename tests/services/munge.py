# SPDX-License-Identifier: MIT
"""Start a munged of the session's own: own key, own socket, beside any that the machine has."""

from __future__ import annotations

import os
import secrets
import subprocess

from tests.services.daemon import Daemon
from tests.services.workspace import Workspace, program, require_root


class Munge:
    """Authenticate the members of the session's clusters to each other."""

    def __init__(self, workspace: Workspace) -> None:
        require_root()
        self._program = program("munged", "munge")
        self._munge = program("munge", "munge")
        directory = workspace.directory("munge")
        self.socket = directory / "socket"
        self._key = directory / "key"
        self._daemon = Daemon(workspace, self._argv(), directory / "munged.out")

    def _argv(self) -> list[str]:
        directory = self.socket.parent
        return [
            *(self._program, "--foreground", "--num-threads=2"),
            *(f"--key-file={self._key}", f"--socket={self.socket}", f"--pid-file={directory / 'pid'}"),
            *(f"--log-file={directory / 'log'}", f"--seed-file={directory / 'seed'}"),
        ]

    def start(self) -> None:
        """Make the key and start the daemon."""
        with os.fdopen(os.open(self._key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as key:
            key.write(secrets.token_bytes(128))
        self._daemon.start(self._answers)

    def stop(self) -> None:
        """Stop the daemon."""
        self._daemon.stop()

    def _answers(self) -> bool:
        argv = [self._munge, "--no-input", f"--socket={self.socket}"]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0
