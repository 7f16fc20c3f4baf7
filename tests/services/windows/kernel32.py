# SPDX-License-Identifier: MIT
"""The methods of Kernel32 with POSIX means: job objects are sessions, CTRL_BREAK is TERM."""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CREATE_SUSPENDED = 0x00000004
CREATE_NEW_PROCESS_GROUP = 0x00000200
CREATE_BREAKAWAY_FROM_JOB = 0x01000000
CREATE_NO_WINDOW = 0x08000000
ERROR_ACCESS_DENIED, ERROR_INVALID_PARAMETER = 5, 87
STATUS_CONTROL_C_EXIT = 0xC000013A
_KILL_WITH_PARENT = 1  # PR_SET_PDEATHSIG

os.set_handle_inheritable = lambda handle, inheritable: None  # type: ignore[attr-defined]  # Windows only


class Kernel32:
    """Stand for kernel32.dll; a handle is a number."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1000)
        self._processes: dict[int, subprocess.Popen[bytes] | int] = {}
        self._jobs: dict[int, int] = {}
        self._handles: dict[int, int] = {}

    def create_process(
        self,
        line: str,
        flags: int,
        application: str | None = None,
        environment: str | None = None,
        directory: str | None = None,
        files: Sequence[int] | None = None,
    ) -> tuple[int, int, int]:
        argv = _split(line)
        env = dict(each.split("=", 1) for each in environment.split("\0") if each) if environment is not None else None
        streams: dict[str, Any] = dict(
            zip(("stdin", "stdout", "stderr"), files or [subprocess.DEVNULL] * 3, strict=True)
        )
        is_suspended = bool(flags & CREATE_SUSPENDED)
        if is_suspended:
            argv = ["/bin/sh", "-c", 'kill -STOP $$; exec "$@"', "sh", application or argv[0], *argv[1:]]
        process = subprocess.Popen(
            argv,
            env=env,
            cwd=directory,
            start_new_session=True,
            preexec_fn=_end_with_the_parent if is_suspended else None,
            **streams,
        )
        if is_suspended:
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        handle = self._new(process.pid)
        self._processes[handle] = process
        return handle, handle, process.pid

    def resume(self, thread: int) -> None:
        os.killpg(self._handles[thread], signal.SIGCONT)

    def close(self, handle: int) -> None:
        if handle in self._jobs:
            _signal_group(self._jobs.pop(handle), signal.SIGKILL)

    def has_ended(self, process: int, milliseconds: int) -> bool:
        end = time.monotonic() + milliseconds / 1000
        while self._runs(process):
            if time.monotonic() >= end:
                return False
            time.sleep(0.01)
        return True

    def exit_code(self, process: int) -> int:
        known = self._processes[process]
        assert isinstance(known, subprocess.Popen)
        code = known.returncode
        return code if code >= 0 else 1 if code == -signal.SIGKILL else STATUS_CONTROL_C_EXIT

    def end_process(self, process: int, code: int) -> None:
        _signal_group(self._handles[process], signal.SIGKILL)

    def open_process(self, pid: int) -> int:
        if not Path(f"/proc/{pid}").exists():
            error = OSError(0, "there is no such process")
            error.winerror = ERROR_INVALID_PARAMETER  # type: ignore[attr-defined]
            raise error
        return self._new(pid)

    def creation_time(self, process: int) -> int:
        fields = _stat(self._handles[process])
        return int(fields[19]) if fields else 0

    def uptime(self) -> float:
        return float(Path("/proc/uptime").read_text().split()[0])

    def new_job(self) -> int:
        handle = next(self._numbers)
        self._jobs[handle] = 0
        return handle

    def assign(self, job: int, process: int) -> None:
        self._jobs[job] = self._handles[process]

    def active_processes(self, job: int) -> int:
        found = (_stat(int(path.name)) for path in Path("/proc").glob("[0-9]*"))
        return sum(fields is not None and int(fields[3]) == self._jobs[job] and fields[0] != "Z" for fields in found)

    def end_job(self, job: int, code: int) -> None:
        _signal_group(self._jobs[job], signal.SIGKILL)

    def ctrl_break(self, pid: int) -> None:
        _signal_group(pid, signal.SIGTERM)

    def _new(self, pid: int) -> int:
        handle = next(self._numbers)
        self._handles[handle] = pid
        return handle

    def _runs(self, process: int) -> bool:
        known = self._processes.get(process)
        if isinstance(known, subprocess.Popen):
            return known.poll() is None
        fields = _stat(self._handles[process])
        return fields is not None and fields[0] not in "ZX"


def load() -> Kernel32:
    """Return the double."""
    return Kernel32()


def _end_with_the_parent() -> None:
    ctypes.CDLL(None).prctl(_KILL_WITH_PARENT, signal.SIGKILL)


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/<pid>/stat from the state on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _split(line: str) -> list[str]:
    """Split a command line as Microsoft's C library documents it, character by character."""
    words, word, is_quoted, is_word, slashes = [], "", False, False, 0
    for character in line:
        if character == "\\":
            slashes, is_word = slashes + 1, True
            continue
        if character == '"':
            word += "\\" * (slashes // 2)
            if slashes % 2:
                word += '"'
            else:
                is_quoted = not is_quoted
            is_word = True
        else:
            word += "\\" * slashes
            if character in " \t" and not is_quoted:
                if is_word:
                    words.append(word)
                word, is_word = "", False
            else:
                word, is_word = word + character, True
        slashes = 0
    word += "\\" * slashes
    return [*words, word] if is_word else words
