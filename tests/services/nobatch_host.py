# SPDX-License-Identifier: MIT
"""A queue of this machine in a directory of its own, and what can be seen of it from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pybatch_async import LaunchParameters
from pybatch_async.plugins.nobatch.job import NobatchJob
from pybatch_async.plugins.nobatch.queue import NobatchQueue
from pybatch_async.plugins.poller import Polling
from pybatch_async.protocols.local import LocalProtocol


class NobatchHost:
    """Stand for this machine with an empty queue.

    :param root: an empty directory.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.state_home = root / "state"
        self.protocol = LocalProtocol()
        monkeypatch.setenv("XDG_STATE_HOME", str(root / "state"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        monkeypatch.setattr(NobatchQueue, "polling", Polling(shortest=0.05, longest=0.2, share=1.0))

    def job(self, command: list[str], directory: str, **fields: Any) -> NobatchJob:
        """Return a job of this host; its work directory is below the root."""
        return NobatchJob(LaunchParameters(command, str(self.root / directory), **fields), self.protocol)

    def queue(self, **settings: Any) -> NobatchQueue:
        """Return the queue of the running loop, with settings of its own."""
        queue = NobatchQueue.of(self.protocol)
        for name, value in settings.items():
            setattr(queue, name, value)
        return queue

    @property
    def state(self) -> Path:
        """The directory of the queue."""
        return self.state_home / "pybatch_async" / f"nobatch-{os.uname().nodename}"

    def record(self, job: NobatchJob, index: int = 0) -> Path:
        """Return the file in which a task that has not ended is recorded."""
        return self.state / "tasks" / f"{job.job_id}.{index}"

    def processes(self, job: NobatchJob, index: int = 0) -> tuple[int, int]:
        """Return the pids of a running task: its shepherd's and its command's."""
        shepherd, command = pids_of(self.record(job, index))
        return shepherd, command

    def keeper(self) -> int | None:
        """Return the pid of the keeper, if one is there."""
        try:
            pid = int((self.state / "keeper.lock").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if comm(pid) == "nobatch:keeper" else None

    def own_processes(self) -> list[int]:
        """Return the pids of the keeper and of the shepherds that it has started."""
        keeper = self.keeper()
        if keeper is None:
            return []
        shepherds = [pid for pid in children(keeper) if comm(pid) == "nobatch:job"]
        return [keeper, *shepherds]

    def kill_keeper(self) -> None:
        """Kill the keeper, if there is one, and wait until it is gone."""
        pid = self.keeper()
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            wait_gone(pid)

    def close(self) -> None:
        """End what this queue has running, by its own records."""
        self.kill_keeper()
        for record in self.state.glob("tasks/*"):
            for pid in pids_of(record):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)


def pids_of(record: Path) -> Iterator[int]:
    """Yield the pids of a task that runs: its shepherd's and its command's."""
    text = record.read_text()
    if '"word"' not in text:
        for line in text.splitlines():
            fields = json.loads(line)
            yield from (fields[key][0] for key in ("by", "pid") if key in fields)


def children(pid: int) -> list[int]:
    """Return the pids of the children of a process."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def comm(pid: int) -> str:
    """Return the name of a process, "" if there is none or it is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    name, _, rest = stat.partition("(")[2].rpartition(")")
    return "" if rest.split()[0] in "ZX" else name


def wait_gone(pid: int, seconds: float = 10.0) -> None:
    """Wait until a process has ended."""
    end = time.monotonic() + seconds
    while comm(pid):
        assert time.monotonic() < end, f"process {pid} is still there"
        time.sleep(0.005)
