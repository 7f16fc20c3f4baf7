# SPDX-License-Identifier: MIT
"""What the queue asks of Windows, call by call, over a kernel32.dll that writes its calls down."""

from __future__ import annotations

import ast
import base64
import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pybatch_async import CommandFailed, SubmitFailed
from pybatch_async.plugins import nobatch
from pybatch_async.plugins.nobatch import answers
from pybatch_async.plugins.nobatch.host.windows import command, identity, kernel32, machine, processes, shepherd
from pybatch_async.plugins.nobatch.windows import bundle
from tests.services.windows import locks
from tests.services.windows.dll import Kernel32Dll

HERE = Path(nobatch.__file__).parent
ACCESS_DENIED, INVALID_PARAMETER = 5, 87


@pytest.fixture
def dll(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel32Dll]:
    """The library that ctypes finds; what the tests say of it is said by changing its functions' answers."""
    dll = Kernel32Dll()
    monkeypatch.setattr(ctypes, "WinDLL", lambda name, use_last_error: dll, raising=False)
    monkeypatch.setattr(ctypes, "get_last_error", dll.last_error, raising=False)
    monkeypatch.setattr(os, "set_handle_inheritable", lambda handle, value: None, raising=False)
    monkeypatch.setitem(sys.modules, "msvcrt", locks)
    processes.kernel.cache_clear()
    yield dll
    processes.kernel.cache_clear()


def started(pid: int = 77) -> Any:
    """Return an answer of CreateProcessW that has started something."""

    def create(*arguments: Any) -> int:
        information = arguments[9]
        information.process, information.thread, information.pid = 501, 502, pid
        return 1

    return create


# The library itself


def test_structures_have_the_sizes_of_the_headers_for_64_bits() -> None:
    sizes = {
        kernel32.StartupInfo: 104,
        kernel32.ProcessInformation: 24,
        kernel32.FileTime: 8,
        kernel32.BasicLimits: 64,
        kernel32.ExtendedLimits: 144,
        kernel32.BasicAccounting: 48,
    }
    assert {kind: ctypes.sizeof(kind) for kind in sizes} == sizes


def test_failure_tells_the_function_and_windows_own_code(dll: Kernel32Dll) -> None:
    dll.AssignProcessToJobObject.answer = dll.failing(ACCESS_DENIED)
    with pytest.raises(OSError, match="AssignProcessToJobObject.*5") as error:
        kernel32.load().assign(1, 2)
    assert error.value.winerror == ACCESS_DENIED  # type: ignore[attr-defined]  # Windows only


def test_wait_that_fails_is_no_end(dll: Kernel32Dll) -> None:
    dll.WaitForSingleObject.answer = lambda handle, milliseconds: 0xFFFFFFFF
    with pytest.raises(OSError, match="WaitForSingleObject"):
        kernel32.load().has_ended(1, 0)
    for answer, has_ended in ((0, True), (0x102, False)):
        dll.WaitForSingleObject.answer = lambda handle, milliseconds, code=answer: code
        assert kernel32.load().has_ended(1, 0) is has_ended


# Which process is which


def test_process_is_known_by_its_creation_time(dll: Kernel32Dll) -> None:
    def times(handle: int, created: Any, *others: Any) -> int:
        created.low, created.high = 5, 2
        return 1

    dll.GetProcessTimes.answer = times
    dll.WaitForSingleObject.answer = lambda handle, milliseconds: 0x102
    dll.OpenProcess.answer = lambda access, inherit, pid: 900
    who = identity.identify(77)
    assert who == [77, (2 << 32) + 5]
    assert identity.is_alive(who) and not identity.is_alive([77, who[1] + 1])
    assert ("OpenProcess", 0x1000 | 0x100000, False, 77) in dll.calls
    assert dll.names().count("OpenProcess") == dll.names().count("CloseHandle") == 3


def test_ended_and_absent_processes_are_not_alive(dll: Kernel32Dll) -> None:
    dll.WaitForSingleObject.answer = lambda handle, milliseconds: 0
    assert not identity.is_alive([77, 5])
    dll.OpenProcess.answer = dll.failing(INVALID_PARAMETER)
    assert not identity.is_alive([77, 5])
    assert identity.identify(77) == [77, 0]


def test_process_that_nobody_may_look_at_is_not_taken_for_dead(dll: Kernel32Dll) -> None:
    dll.OpenProcess.answer = dll.failing(ACCESS_DENIED)
    assert identity.is_alive([77, 5])


def test_restart_is_told_from_a_clock_that_was_set(dll: Kernel32Dll) -> None:
    dll.OpenProcess.answer = dll.failing(INVALID_PARAMETER)
    dll.GetTickCount64.answer = lambda: 60_000
    boot = identity.boot_id()
    assert abs(int(boot) - (time.time() - 60)) < 5
    record = {"by": [77, 5], "boot": boot}
    assert not identity.was_restarted(record, str(int(boot) + 30))
    assert identity.was_restarted(record, str(int(boot) + 3600))
    dll.OpenProcess.answer = dll.failing(ACCESS_DENIED)  # the shepherd is alive: it was the clock
    assert not identity.was_restarted(record, str(int(boot) + 3600))
    assert not identity.was_restarted({}, boot)


# Starting and ending


def test_own_processes_break_away_from_the_session_and_inherit_nothing(dll: Kernel32Dll) -> None:
    dll.CreateProcessW.answer = started(88)
    assert processes.launch(["C:\\Program Files\\python.exe", "-I", "boot.py", "keeper"]) == 88
    _, application, line, _, _, inherits, flags, environment, directory, start, _ = dll.calls[0]
    assert (application, line) == (None, '"C:\\Program Files\\python.exe" -I boot.py keeper')
    assert flags == 0x01000000 | 0x08000000 | 0x00000200  # BREAKAWAY_FROM_JOB, NO_WINDOW, NEW_PROCESS_GROUP
    assert (inherits, environment, directory) == (False, None, None)
    assert start.cb == ctypes.sizeof(start) and start.flags == 0
    assert dll.names()[1:] == ["CloseHandle", "CloseHandle"]


def group(dll: Kernel32Dll) -> Any:
    dll.CreateProcessW.answer = started()
    dll.CreateJobObjectW.answer = lambda attributes, name: 400
    return processes.Group("C:\\p.exe", ["p", "a b"], {"b": "2", "A": "1"}, "C:\\work", [3, 4, 5])


def test_command_is_in_its_job_object_before_it_runs(dll: Kernel32Dll) -> None:
    found = group(dll)
    assert found.pid == 77
    assert dll.names() == [
        "CreateJobObjectW",
        "SetInformationJobObject",
        "CreateProcessW",
        "AssignProcessToJobObject",
        "ResumeThread",
        "CloseHandle",
    ]
    limits = dll.calls[1]
    assert limits[1:3] == (400, 9) and limits[3].basic.flags == 0x2000 and limits[4] == ctypes.sizeof(limits[3])
    _, application, line, _, _, inherits, flags, environment, directory, start, _ = dll.calls[2]
    assert (application, line, directory) == ("C:\\p.exe", 'p "a b"', "C:\\work")
    assert flags == 0x4 | 0x200 | 0x400  # SUSPENDED, NEW_PROCESS_GROUP, UNICODE_ENVIRONMENT
    assert environment[:] == "A=1\0b=2\0\0"
    assert inherits is True and start.flags == 0x100 and (start.stdin, start.stdout, start.stderr) == (3, 4, 5)
    assert dll.calls[3][1:] == (400, 501) and dll.calls[4][1:] == (502,)


def test_command_that_can_not_be_held_is_ended(dll: Kernel32Dll) -> None:
    dll.AssignProcessToJobObject.answer = dll.failing(ACCESS_DENIED)
    with pytest.raises(OSError, match="AssignProcess"):
        group(dll)
    assert "ResumeThread" not in dll.names()
    assert ("TerminateProcess", 501, 1) in dll.calls


def test_command_is_asked_by_ctrl_break_then_killed_with_all_it_started(dll: Kernel32Dll) -> None:
    found = group(dll)
    del dll.calls[:]
    found.ask()
    found.kill()
    assert dll.calls == [("GenerateConsoleCtrlEvent", 1, 77), ("TerminateJobObject", 400, 1)]
    dll.GenerateConsoleCtrlEvent.answer = dll.failing(INVALID_PARAMETER)
    found.ask()  # it has just ended, or has no console


def test_exit_code_is_told_once_there_is_one(dll: Kernel32Dll) -> None:
    found = group(dll)
    dll.WaitForSingleObject.answer = lambda handle, milliseconds: 0x102
    assert found.code(0.25) is None
    assert dll.calls[-1] == ("WaitForSingleObject", 501, 250)

    def access_violation(handle: int, code: Any) -> int:
        code.value = 0xC0000005
        return 1

    dll.WaitForSingleObject.answer = lambda handle, milliseconds: 0
    dll.GetExitCodeProcess.answer = access_violation
    assert found.code(0) == 0xC0000005


def test_group_is_empty_when_its_job_object_is(dll: Kernel32Dll) -> None:
    found = group(dll)

    def one_left(job: int, kind: int, accounting: Any, size: int, length: Any) -> int:
        assert (job, kind, size) == (400, 1, ctypes.sizeof(accounting))
        accounting.active = 1
        return 1

    assert found.is_empty()
    dll.QueryInformationJobObject.answer = one_left
    assert not found.is_empty()


# Watching, with a group that does as it is told


class Group:
    """Stand for a command that ends, or is left with children, when the test says so."""

    def __init__(self, codes: list[int | None], left: int = 0) -> None:
        self.codes, self.left = codes, left
        self.heard: list[str] = []

    def code(self, seconds: float) -> int | None:
        return self.codes.pop(0) if len(self.codes) > 1 else self.codes[0]

    def is_empty(self) -> bool:
        self.left -= 1
        return self.left < 0

    def ask(self) -> None:
        self.heard.append("ask")

    def kill(self) -> None:
        self.heard.append("kill")
        self.codes, self.left = [1], 0


@pytest.mark.parametrize(("code", "word"), [(0, "COMPLETED"), (3, "FAILED")])
def test_end_is_what_the_exit_code_says(code: int, word: str) -> None:
    found = Group([None, None, code])
    assert shepherd.Watch(found, None, 5.0, lambda: False).end() == (word, code)
    assert found.heard == []


def test_cancelled_command_is_asked_and_may_end_by_itself() -> None:
    found = Group([None, None, 7], left=2)
    assert shepherd.Watch(found, None, 5.0, lambda: True).end() == ("CANCELLED", 7)
    assert found.heard == ["ask"]


def test_command_whose_time_is_over_is_killed_after_the_grace() -> None:
    found = Group([None])
    assert shepherd.Watch(found, 0.01, 0.01, lambda: False).end() == ("TIMEOUT", 1)
    assert found.heard == ["ask", "kill"]


# Programs and files


def batch_file(tmp_path: Path) -> dict[str, str]:
    script = tmp_path / "tool.cmd"
    script.write_text("")
    script.chmod(0o755)
    return {"PATH": str(tmp_path), "PATHEXT": ".EXE;.cmd", "COMSPEC": "C:\\Windows\\System32\\cmd.exe"}


def test_program_is_found_with_the_endings_of_pathext(tmp_path: Path) -> None:
    path, line = command.resolved(["tool", "a b", "x=1"], batch_file(tmp_path))
    assert path == "C:\\Windows\\System32\\cmd.exe"
    assert line == f'"{path}" /d /s /c ""{tmp_path}/tool.cmd" "a b" "x=1""'


@pytest.mark.parametrize("word", ["%PATH%", 'a"b', "a&b", "a^b", "(a)", "a!b", "a|b", "a\nb", "é"])
def test_batch_file_gets_no_argument_that_cmd_would_change(tmp_path: Path, word: str) -> None:
    with pytest.raises(command.Unusable, match="batch file") as error:
        command.resolved(["tool", word], batch_file(tmp_path))
    assert error.value.code == 126


def test_program_that_is_none_gives_126_and_an_absent_one_127(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("")
    for name, code in ((str(tmp_path / "text"), 126), ("absent", 127)):
        with pytest.raises(command.Unusable) as error:
            command.resolved([name], {"PATH": str(tmp_path)})
        assert error.value.code == code


def test_file_that_somebody_holds_open_is_waited_for() -> None:
    refusals = [PermissionError(13, "in use")] * 3

    def replace(source: str, target: str) -> str:
        if refusals:
            raise refusals.pop()
        return f"{source} is {target}"

    assert machine.patiently(replace, "a", "b") == "a is b"
    with pytest.raises(FileNotFoundError):
        machine.patiently(os.unlink, "/nowhere/at/all")


@pytest.mark.parametrize("name", ["0/a.txt", "blobs/0/dir/b", "0/.hidden", "0/..", "0/comet/nulls"])
def test_names_that_windows_can_have_are_taken(name: str) -> None:
    machine.check_name(name)


@pytest.mark.parametrize(
    "name", ["0/a:b", "0/a\\..\\b", "0/con", "0/Aux.txt", "0/x.", "0/x ", "0/a?", "0/lpt3/x", "0/a\nb"]
)
def test_names_that_windows_can_not_have_are_refused(name: str) -> None:
    with pytest.raises(OSError, match="no file can have the name"):
        machine.check_name(name)


def test_lock_is_held_behind_the_content_and_keeps_others_out(tmp_path: Path, dll: Kernel32Dll) -> None:
    path = tmp_path / "keeper.lock"
    path.write_text("12\n")
    script = (
        "import fcntl, os, sys\nfile = os.open(sys.argv[1], os.O_RDWR)\n"
        "try: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 1 << 30)\nexcept OSError: print('held')"
    )
    held = os.open(path, os.O_RDWR)
    assert machine.is_locked_by_us(held)
    assert subprocess.check_output([sys.executable, "-c", script, path], text=True) == "held\n"
    assert path.read_text() == "12\n"
    os.close(held)


# What is sent


def test_everything_that_a_windows_host_needs_is_sent() -> None:
    parts = json.loads(bundle.source()).keys()
    assert {name for name in parts if name.startswith("host/windows/")} == {
        f"host/windows/{path.name}" for path in (HERE / "host/windows").glob("*.py")
    }
    posix_only = {"calling", "command", "crew", "ending", "identity", "keeper", "kernel", "machine", "shepherd"}
    shared = {path.stem for path in (HERE / "host").glob("*.py")} - posix_only
    assert {name for name in parts if name.count("/") < 2} == {
        "__init__.py",
        "manager.py",
        *(f"host/{name}.py" for name in shared),
    }


def placed(directory: Path, python: str = sys.executable, frame: str = "fr4me") -> tuple[str, str]:
    words = bundle.placing(python)[1:] + ([frame] if frame else [])
    done = subprocess.run([python, *words], input=bundle.placer("m4rk"), cwd=directory, capture_output=True, check=True)
    return done.stdout.decode(), done.stderr.decode()


def test_placer_places_the_manager_once_and_answers_between_its_frames(tmp_path: Path) -> None:
    assert placed(tmp_path) == ('fr4me\n\nm4rk {"placed": true}\n', "\nfr4me 0\n")
    place = tmp_path / bundle.PLACE / bundle.name()
    for name, text in json.loads(bundle.source()).items():
        assert (place / name).read_text() == text
    stamp = (place / "manager.py").stat().st_mtime_ns
    assert placed(tmp_path, frame="") == ('\nm4rk {"placed": true}\n', "")
    assert (place / "manager.py").stat().st_mtime_ns == stamp
    assert os.listdir(place.parent) == [bundle.name()]


def test_placer_says_where_it_could_not_write(tmp_path: Path) -> None:
    (tmp_path / "AppData").write_text("a file")
    answer = json.loads(placed(tmp_path)[0].partition("m4rk ")[2])
    assert answer["profile"][0] == str(tmp_path / bundle.PLACE) and answer["profile"][1]


def test_manager_takes_no_call_through_a_shell_that_changes_bytes(tmp_path: Path) -> None:
    placed(tmp_path)
    argv = [sys.executable, *bundle.command("python", "m4rk", "states")[1:]]
    for spoilt in (b"", bundle.PROBE.replace(b"\n", b"\r\n"), bundle.PROBE.decode("cp1252").encode()):
        done = subprocess.run(argv, input=spoilt + b"{}\n", cwd=tmp_path, capture_output=True, check=True)
        assert "PowerShell" in json.loads(done.stdout.decode().partition("m4rk ")[2])["error"]


def test_placer_can_be_read_by_python_2() -> None:
    program = bundle.placer("m4rk").decode()
    source = program.partition('PARTS = json.loads(base64.b64decode("')[2].partition('"')[0]
    assert json.loads(base64.b64decode(source)) == json.loads(bundle.source())
    newer = ast.JoinedStr | ast.NamedExpr | ast.AnnAssign | ast.Nonlocal | ast.AsyncFunctionDef | ast.YieldFrom
    assert not any(isinstance(node, newer) for node in ast.walk(ast.parse(program)))


def test_cmd_is_quoted_when_there_is_no_python() -> None:
    said = "'py' is not recognized as an internal or external command,\r\noperable program or batch file.\r\n"
    error = answers.translated(CommandFailed(["py"], "gaia", 1, "", said), "py", "gaia", "submit")
    assert isinstance(error, SubmitFailed)
    for piece in ("'py' is not recognized", "operable program or batch file.", "python_exe"):
        assert piece in str(error)


def test_what_python_said_last_is_told_without_the_frame_of_the_command() -> None:
    said = f"Traceback (most recent call last):\n  line\nValueError: odd\n\n{'0123456789ab' * 2} 1\n"
    error = answers.translated(CommandFailed(["py"], "gaia", 1, "", said), "py", "gaia", "states")
    assert "ended with 1 (ValueError: odd)" in str(error)
