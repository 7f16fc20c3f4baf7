# SPDX-License-Identifier: MIT
"""Make a Linux account pass for a Windows host, and see from outside what its queue does."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from pybatch_async import LaunchParameters
from pybatch_async.interfaces import GenericProtocol
from pybatch_async.plugins.nobatch.windows import bundle
from pybatch_async.plugins.nobatch.windows.job import WindowsJob
from pybatch_async.plugins.nobatch.windows.queue import WindowsQueue
from tests.services.accounts import Account
from tests.services.sshd import Sshd

PYTHON = "/usr/bin/python3"
_HERE = Path(__file__).parent


class WindowsHost:
    """Stand for a Windows host with an empty queue.

    :param account: whose home it is.
    :param name: a directory of its own below the home.
    """

    def __init__(self, account: Account, name: str) -> None:
        self.account = account
        self.root = account.home / name
        self.data = self.root / "data"
        self.server: Sshd  # set by who starts it, with `environment`

    @property
    def environment(self) -> dict[str, str]:
        """Variables that sshd sets for its sessions."""
        return {"LOCALAPPDATA": str(self.data), "COMSPEC": str(self.root / "cmd"), "PATHEXT": ".EXE"}

    def prepare(self) -> None:
        """Place the manager, as the library does, with the doubles in their places."""
        self.data.mkdir(parents=True)
        shutil.copy(_HERE / "cmd.py", self.root / "cmd")
        (self.root / "cmd").chmod(0o755)
        place = self.account.home / bundle.PLACE
        if not (place / bundle.name()).exists():
            for name, text in json.loads(bundle.source()).items():
                path = place / bundle.name() / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            for double in ("choice.py", "locks.py"):
                shutil.copy(_HERE / double, place / bundle.name() / "host")
            shutil.copy(_HERE / "kernel32.py", place / bundle.name() / "host/windows")
        for directory in (self.root, self.account.home / "AppData"):
            for path in [directory, *directory.rglob("*")]:
                os.chown(path, self.account.uid, self.account.uid)

    def job(self, protocol: GenericProtocol, command: list[str], directory: str, **fields: object) -> WindowsJob:
        """Return a job of this host; its work directory is below the root."""
        where = f"{self.root.name}/{directory}"
        params = LaunchParameters(command, where, is_posix=False, python_exe=PYTHON, **fields)  # type: ignore[arg-type]
        return WindowsJob(params, protocol)

    def queue(self, protocol: GenericProtocol, **settings: object) -> WindowsQueue:
        """Return the queue of the running loop, with settings of its own."""
        queue = WindowsQueue.of(protocol)
        for name, value in settings.items():
            setattr(queue, name, value)
        return queue

    @property
    def state(self) -> Path:
        """The directory of the queue."""
        return self.data / "pybatch_async" / f"nobatch-{platform.node()}"

    def keeper(self) -> int | None:
        """Return the pid of the keeper, if one is there."""
        try:
            pid = int((self.state / "keeper.lock").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if b"keeper" in _command_line(pid) else None

    def processes(self, job: WindowsJob, index: int = 0) -> tuple[int, int]:
        """Return the pids of a running task: its shepherd's and its command's."""
        shepherd, command = _pids_of(self.state / "tasks" / f"{job.job_id}.{index}")
        return shepherd, command

    def close(self) -> None:
        """End what this queue has running, by its own records."""
        with contextlib.suppress(ProcessLookupError):
            if (pid := self.keeper()) is not None:
                os.kill(pid, signal.SIGKILL)
        for record in self.state.glob("tasks/*"):
            for pid in _pids_of(record):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _pids_of(record: Path) -> Iterator[int]:
    text = record.read_text()
    if '"word"' not in text:
        for line in text.splitlines():
            fields = json.loads(line)
            yield from (fields[key][0] for key in ("by", "pid") if key in fields)


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
