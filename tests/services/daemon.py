# SPDX-License-Identifier: MIT
"""Run one daemon in the foreground as a child of the tests, stopped by its own process id."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.services.workspace import Workspace, wait_until


class Daemon:
    """Start, watch and stop one foreground daemon; it can be started again after a stop."""

    def __init__(
        self,
        workspace: Workspace,
        argv: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        self._workspace = workspace
        self._argv = list(argv)
        self.log = log
        self._environment = dict(environment or {})
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """The program's name, for messages."""
        return Path(self._argv[0]).name

    @property
    def pid(self) -> int:
        """The process id of the running daemon."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self, is_ready: Callable[[], bool] | None = None, timeout: float = 30.0) -> None:
        """Start the daemon and wait until it is ready."""
        self.launch()
        if is_ready is not None:
            self.wait_ready(is_ready, timeout)

    def launch(self) -> None:
        """Start the daemon, unless it runs, without waiting for it."""
        if self.is_running:
            return
        self.reap()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={**_clean_environment(), **self._environment},
                start_new_session=True,  # a Ctrl-C for pytest is not for the daemon
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
            )
        self._workspace.tell_janitor("process", str(self._process.pid))

    def wait_ready(self, is_ready: Callable[[], bool], timeout: float = 30.0) -> None:
        """Block until the daemon serves; if it ends instead, show what it wrote."""

        def settled() -> bool:
            return not self.is_running or is_ready()

        wait_until(settled, f"{self.name} to serve; its log:\n{self.tail()}", timeout)
        if not self.is_running:
            raise RuntimeError(f"{self.name} ended at its start:\n{self.tail()}")

    def stop(self, with_signal: signal.Signals = signal.SIGTERM, timeout: float = 20.0) -> None:
        """End the daemon and wait until it is gone."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(with_signal)
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self.reap()

    def kill(self) -> None:
        """End the daemon as a crash would."""
        self.stop(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze the daemon: its port accepts connections and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen daemon go on."""
        os.kill(self.pid, signal.SIGCONT)

    def reap(self) -> None:
        """Collect the ended process."""
        if self._process is not None:
            self._process.wait(20)
            self._process = None

    def tail(self, size: int = 3000) -> str:
        """Show the end of what the daemon wrote."""
        return self.log.read_bytes()[-size:].decode(errors="replace") if self.log.exists() else ""


def _clean_environment() -> dict[str, str]:
    """Give daemons a plain environment: the developer's settings are not for them, nor for the jobs they start."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "LANG": "C.UTF-8", "HOME": "/"}
