# SPDX-License-Identifier: MIT
"""Paths and parameters of Windows hosts: what can not be is refused by name, before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pybatch_async import AsyncsshProtocol, ConfigurationError, ConnectionParameters, LaunchParameters, create_job
from pybatch_async.plugins.nobatch.windows import paths
from pybatch_async.plugins.nobatch.windows.job import WindowsJob


def job(command: list[str] | None = None, work_directory: str = "C:\\runs\\one", **fields: Any) -> WindowsJob:
    params = LaunchParameters(command or ["solve.exe", "a b"], work_directory, is_posix=False, **fields)
    made = create_job("nobatch", params, AsyncsshProtocol(ConnectionParameters("workstation")))
    assert isinstance(made, WindowsJob)
    return made


@pytest.mark.parametrize(
    "path",
    [
        "runs",
        "runs\\one",
        "runs/one",
        "..\\runs",
        "C:\\runs",
        "c:/runs/one two",
        "C:\\",
        "~",
        "~\\runs",
        "~/runs",
        "\\\\server\\share\\runs",
        "//server/share",
        "console\\comet1\\nulls.txt\\.hidden",
        "été",
    ],
)
def test_good_paths_are_taken(path: str) -> None:
    assert paths.complaint(path) == ""


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("C:runs", "current directory of a drive"),
        ("\\runs", "no drive"),
        ("/home/me", "no drive"),
        ("\\\\server", ""),
        ("\\\\?\\C:\\runs", "device"),
        ("\\\\.\\COM1", "device"),
        ("//?/C:/runs", "device"),
        ("runs\\a:b", "':'"),
        ("1:\\runs", "1:"),
        ("a<b", "'<'"),
        ("a\\b?\\c", "'?'"),
        ("a*", "'*'"),
        ('a"b', "'\"'"),
        ("a|b", "'|'"),
        ("a\x07b", "'\\x07'"),
        ("runs.\\one", "dot or a space"),
        ("runs \\one", "dot or a space"),
        ("one...", "dot or a space"),
        ("CON", "device"),
        ("runs\\nul.txt", "device"),
        ("runs\\Com7\\x", "device"),
        ("aux .tar.gz", "device"),
        ("lpt¹", "device"),
        ("conin$", "device"),
        ("x" * 256, "255"),
    ],
)
def test_bad_paths_are_refused_with_the_reason(path: str, word: str) -> None:
    complaint = paths.complaint(path)
    assert complaint and word in complaint


@pytest.mark.parametrize(
    ("directory", "path", "joined"),
    [
        ("C:\\runs\\one", "logs/output.log", "C:/runs/one/logs/output.log"),
        ("C:\\runs\\one", "sub\\result.txt", "C:/runs/one/sub/result.txt"),
        ("C:\\runs\\one", "D:\\data", "D:/data"),
        ("\\\\server\\share\\x", "y", "//server/share/x/y"),
        ("runs", "~x", "runs/~x"),
    ],
)
def test_paths_are_joined_as_windows_does(directory: str, path: str, joined: str) -> None:
    assert paths.join(directory, path) == joined


def test_names_that_differ_by_case_only_are_twins() -> None:
    assert list(paths.twins(["a", "B", "A", "é", "É", "b2"])) == ["A", "É"]


def test_all_faults_of_a_job_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as error:
        job(
            ['so"lve', "\udcff"],
            "runs\\con",
            environment={"Path": "x", "PATH": "y"},
            input_files=[tmp_path / "Data", tmp_path / "data", tmp_path / "a:b"],
            python_exe="C:/Program Files/python.exe",
        )
    text = str(error.value)
    for word in (
        "work_directory",
        "'con'",
        "a quote",
        "no text",
        "'PATH'",
        "'data'",
        "'a:b'",
        "python_exe",
        "PROGRA~1",
    ):
        assert word in text


def test_too_long_lines_and_directories_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="32766 characters"):
        job(["solve", "x" * 33000])
    with pytest.raises(ConfigurationError, match="work_directory.*260"):
        job(work_directory="C:\\" + "\\".join(["directory"] * 30))


def test_cmd_can_not_stand_on_a_share() -> None:
    job(work_directory="\\\\server\\share\\runs")
    with pytest.raises(ConfigurationError, match="network share"):
        job(work_directory="\\\\server\\share\\runs", setup=["echo"])


async def test_get_refuses_what_can_not_be_on_the_host(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'a:b'"):
        await job().get(["good", "a:b"], tmp_path)


@pytest.mark.parametrize(("plugin", "word"), [("local", "take 'nobatch' with an ssh protocol"), ("slurm", "Unix-like")])
def test_other_plugins_refuse_windows(plugin: str, word: str) -> None:
    with pytest.raises(ConfigurationError, match=word):
        create_job(plugin, LaunchParameters(["a"], "w", is_posix=False))


def test_this_machine_is_no_windows_host() -> None:
    with pytest.raises(ConfigurationError, match="no Windows host"):
        create_job("nobatch", LaunchParameters(["a"], "w", is_posix=False))


# The batch file


def test_batch_file_is_one_for_cmd() -> None:
    text = job(
        ["C:\\Program Files\\solve.exe", "100%", "a & b"],
        "~\\runs\\100%",
        setup=["call activate.bat"],
        teardown=["del tmp"],
        environment={"A": "50%"},
        create_nodefile=True,
        total_jobs=2,
        launcher="C:\\MPI\\mpiexec.exe -n 2",
    ).batch_file()
    lines = text.split("\r\n")
    assert lines[0] == "@echo off" and lines[-1] == "" and "\n" not in text.replace("\r\n", "")
    assert 'cd /d "%USERPROFILE%\\runs\\100%%" || exit /b 1' in lines
    assert 'set "A=50%%"' in lines
    assert "call :job %1 >logs\\output_%1.log 2>logs\\error_%1.log <nul" in lines
    command = lines.index('"C:\\MPI\\mpiexec.exe" -n 2 ^"C:\\Program Files\\solve.exe^" 100%% ^"a ^& b^" %1')
    assert lines[command - 1] == "call activate.bat" and lines[command + 2] == "del tmp"
