# SPDX-License-Identifier: MIT
"""Outlive the test session by a moment and clear away what it left on the machine.

It reads lines `process PID`, `user NAME`, `directory PATH` and acts at end of file, which comes even if the session is
killed. It stands alone (no import of ours), because it runs when nothing else does any more.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path


def start_time(pid: int) -> str | None:
    """Tell a process from a later one with the same id: proc(5), field 22 of stat."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return None


def owned_by(uid: int) -> list[int]:
    """List the processes of a user."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and entry.stat().st_uid == uid:
                found.append(int(entry.name))
        except OSError:  # it ended while we looked
            continue
    return found


def steps_in(directory: str) -> list[int]:
    """List the slurmstepd of clusters kept in a directory: no child of ours, each outlives its slurmd."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            is_step = (process / "comm").read_text() == "slurmstepd\n"
            if is_step and f"SLURM_CONF={directory}/".encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:  # it ended while we looked
            continue
    return found


def kill(pids: list[int]) -> None:
    """End processes without asking."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def remove_user(name: str) -> None:
    """End all that a user of ours runs, then remove the user."""
    try:
        uid = pwd.getpwnam(name).pw_uid
    except KeyError:
        return
    for _ in range(250):
        pids = owned_by(uid)
        if not pids:
            break
        kill(pids)
        time.sleep(0.02)
    subprocess.run(["userdel", "--force", name], stderr=subprocess.DEVNULL, check=False)


def main() -> None:
    """Collect the list until the session ends, then work it off."""
    processes: dict[int, str | None] = {}
    users: list[str] = []
    directories: list[str] = []
    for line in sys.stdin:
        kind, value = line.rstrip("\n").split(" ", 1)
        if kind == "process":
            processes[int(value)] = start_time(int(value))
        elif kind == "user":
            users.append(value)
        else:
            directories.append(value)
    kill([pid for pid, started in processes.items() if started is not None and start_time(pid) == started])
    for directory in directories:
        kill(steps_in(directory))
    for user in users:
        remove_user(user)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
