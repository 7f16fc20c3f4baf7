# SPDX-License-Identifier: MIT
"""Run what the queue does to processes of Windows, under Wine, and print one line for each thing that was seen."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pybatch_async.plugins.nobatch.host.windows import command, identity, kernel32, processes, shepherd
from pybatch_async.plugins.nobatch.windows import words
from tests.wine.bridge import Library, compiled, wine_path

ODD = ["", "a b", '"', '\\"', "c:\\x\\", "c:\\x y\\", "%PATH%", "^&|<>()!", "a,b;c=d", "100%", "é漢"]
CMD = "C:\\windows\\system32\\cmd.exe"
KILL_ON_JOB_CLOSE, BREAKAWAY_OK = 0x2000, 0x0800
THIS_PROCESS = -1
GENERIC_READ, GENERIC_WRITE, SHARE, CREATE_ALWAYS, OPEN_EXISTING = 0x80000000, 0x40000000, 3, 2, 3


class Inheritable(ctypes.Structure):
    """SECURITY_ATTRIBUTES."""

    _fields_ = (("size", ctypes.c_uint32), ("descriptor", ctypes.c_void_p), ("inherits", ctypes.c_int))


class Site:
    """Hold Wine, a directory, and a program to run there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.library = Library(directory)
        self.program = wine_path(compiled("program", directory))
        (directory / "in").touch()
        setattr(ctypes, "WinDLL", lambda name, use_last_error: self.library)  # noqa: B010 - they are Windows' only
        setattr(ctypes, "get_last_error", self.library.last_error)  # noqa: B010
        setattr(os, "set_handle_inheritable", lambda handle, value: None)  # noqa: B010
        sys.modules["msvcrt"] = types.SimpleNamespace(get_osfhandle=lambda handle: handle)  # type: ignore[assignment]

    def group(self, *arguments: str) -> Any:
        """Run the program as a job's command."""
        environment = {"b": "2 é", "A": "1", "SYSTEMROOT": "C:\\windows"}
        return self._started(self.program, ["program", *arguments], environment)

    def batch(self, lines: list[str]) -> Any:
        """Run a batch file as a job's setup, command and teardown are run."""
        path = self.directory / "a b&c.cmd"
        path.write_text("".join(f"{line}\r\n" for line in lines), encoding="utf-8", newline="")
        environment = {"COMSPEC": CMD, "SYSTEMROOT": "C:\\windows", "PYBATCH_ASYNC_BATCH": wine_path(path)}
        line = f'"{CMD}" /d /v:off /s /c ""%PYBATCH_ASYNC_BATCH%""'
        return self._started(command.shell(environment), line, environment)

    def output(self) -> bytes:
        """Return what was written on standard output."""
        return (self.directory / "out").read_bytes()

    def _started(self, path: str, argv: list[str] | str, environment: dict[str, str]) -> Any:
        files = [self._opened("in", False), self._opened("out", True), self._opened("err", True)]
        try:
            return processes.Group(path, argv, environment, wine_path(self.directory), files)
        finally:
            for file in files:
                self.library.call("CloseHandle", file)

    def _opened(self, name: str, is_output: bool) -> int:
        access, how = (GENERIC_WRITE, CREATE_ALWAYS) if is_output else (GENERIC_READ, OPEN_EXISTING)
        attributes = ctypes.byref(Inheritable(24, None, 1))
        return self.library.call("CreateFileW", wine_path(self.directory / name), access, SHARE, attributes, how, 0, 0)


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that shows from outside only."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def ended(group: Any) -> int:
    """Return the exit code of a command once there is one."""
    until(lambda: group.code(0) is not None)
    return int(group.code(0))


def told(text: bytes) -> list[str]:
    """Split what the program says."""
    return text.decode().split("\0")[:-1]


def starting(site: Site) -> None:
    """Arguments, surroundings and exit codes arrive."""
    group = site.group("arguments", *ODD, "new\nline")
    assert (ended(group), told(site.output())) == (len(ODD) + 3, [*ODD, "new\nline"])
    group = site.group("surroundings")
    assert (ended(group), told(site.output())) == (5, ["1", "2 é", wine_path(site.directory)])
    assert ended(site.group("crash")) == 0xC0000005


def batch_files(site: Site) -> None:
    """A batch file hands on its arguments, its variables and its exit code."""
    given = [word for word in ODD if word.isascii()]  # Wine has no chcp to read others with
    line = words.batch_line([site.program, "arguments", *given])
    lines = ["@echo off", 'set "W=x y"', line, 'set "pb_code=%ERRORLEVEL%"', "echo %W%", "exit /b %pb_code%"]
    group = site.batch(lines)
    assert ended(group) == len(given) + 2
    assert site.output() == b"".join(word.encode() + b"\0" for word in given) + b"x y\r\n"


def identities(site: Site) -> None:
    """A process is known by its pid and creation time for as long as it lives."""
    group = site.group("sleep")
    who = identity.identify(group.pid)
    assert identity.is_alive(who) and not identity.is_alive([who[0], who[1] + 1])
    group.kill()
    assert ended(group) == 1 and not identity.is_alive(who)
    assert identity.identify(999_999) == [999_999, 0]


def ending(site: Site) -> None:
    """The end of a job object is the end of the command and of what it started."""
    group = site.group("parent")
    until(lambda: b"sleeps" in site.output())
    child = identity.identify(int(site.output().split()[0]))
    assert identity.is_alive(child) and not group.is_empty()
    assert shepherd.Watch(group, 0.1, 0.1, lambda: False).end() == ("TIMEOUT", 1)
    assert group.is_empty() and not identity.is_alive(child)


def closing(site: Site) -> None:
    """What a command leaves running ends when its job object is let go."""
    group = site.group("orphan")
    assert ended(group) == 0
    child = identity.identify(int(site.output().split()[0]))
    assert identity.is_alive(child)
    group.close()
    until(lambda: not identity.is_alive(child))


def launching(site: Site) -> None:
    """A process of the queue's own is started outside of the session's job object, without a window."""
    who = identity.identify(processes.launch([site.program, "sleep"]))
    assert identity.is_alive(who)
    site.library.call("TerminateProcess", site.library.call("OpenProcess", 1, 0, who[0]), 0)
    until(lambda: not identity.is_alive(who))


def breaking_away(site: Site) -> None:
    """A process of the queue's own leaves a session's job object that allows it; one that does not refuses it."""
    for flags, may_leave in ((KILL_ON_JOB_CLOSE | BREAKAWAY_OK, True), (KILL_ON_JOB_CLOSE, False)):
        session = processes.kernel().new_job()
        limits = kernel32.ExtendedLimits()
        limits.basic.flags = flags
        assert site.library.call("SetInformationJobObject", session, 9, ctypes.byref(limits), ctypes.sizeof(limits))
        assert site.library.call("AssignProcessToJobObject", session, THIS_PROCESS)
        before = processes.kernel().active_processes(session)
        try:
            pid = processes.launch([site.program, "sleep"])
        except OSError as error:
            assert not may_leave and error.winerror == kernel32.ERROR_ACCESS_DENIED  # type: ignore[attr-defined]
            continue
        assert may_leave and processes.kernel().active_processes(session) == before
        site.library.call("TerminateProcess", site.library.call("OpenProcess", 1, 0, pid), 0)


def main() -> None:
    """Run all checks; the first that fails ends the run."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        site = Site(Path(directory))
        try:
            for check in (starting, batch_files, identities, ending, closing, launching, breaking_away):
                check(site)
                sys.stdout.write(f"seen: {(check.__doc__ or '').strip()}\n")
        finally:
            site.library.close()


if __name__ == "__main__":
    main()
