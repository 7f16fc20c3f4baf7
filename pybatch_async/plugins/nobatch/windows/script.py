# SPDX-License-Identifier: MIT
"""What a job of a Windows host runs: for the queue there, and as the text of a batch file for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...ticket import JobRecord
from .. import records
from ..script import NODEFILE
from . import paths, words


def argv(job: JobRecord) -> list[str]:
    """Return the program and its arguments; an array's index is added at the start of each task."""
    return [*words.split(job.params.launcher), *job.params.command]


def described(job: JobRecord, grace: float) -> dict[str, Any]:
    """Return what the manager on a Windows host has to know to take a job into its queue."""
    told = records.described(job, grace)
    launch: Mapping[str, Any] = {
        **{name: value for name, value in told["launch"].items() if name != "script"},
        "argv": argv(job),
        "setup": list(job.params.setup),
        "teardown": list(job.params.teardown),
    }
    return {**told, "dir": paths.plain(job.params.work_directory), "launch": launch}


def render(job: JobRecord) -> str:
    """Return a batch file that does what the queue does for the job."""
    return "".join(f"{line}\r\n" for text in _lines(job) for line in text.splitlines() or [""])


def _lines(job: JobRecord) -> Iterator[str]:
    params = job.params
    yield "@echo off"
    yield "setlocal DisableDelayedExpansion"
    yield f"rem {params.name or 'job'}: run by the queue of pybatch_async{_limits(job)}"
    yield f'cd /d "{_directory(params.work_directory)}" || exit /b 1'
    if params.create_nodefile:
        yield f'set "LIBBATCH_NODEFILE=%CD%\\{NODEFILE}"'
    for name, value in params.environment.items():
        yield f'set "{name}={_doubled(_one_line(value))}"'
    suffix = "_%1" if job.is_array else ""
    yield f"call :job %1 >logs\\output{suffix}.log 2>logs\\error{suffix}.log <nul"
    yield "exit /b %ERRORLEVEL%"
    yield ":job"
    yield from params.setup
    yield words.batch_line([_one_line(word) for word in argv(job)]) + (" %1" if job.is_array else "")
    yield 'set "pb_code=%ERRORLEVEL%"'
    yield from params.teardown
    yield "exit /b %pb_code%"


def _limits(job: JobRecord) -> str:
    tasks = f", tasks 0 to {job.params.total_jobs - 1}" if job.is_array else ""
    return f"{tasks}, for at most {job.params.wall_time}" if job.params.wall_time else tasks


def _directory(path: str) -> str:
    inner = _doubled(paths.plain(path).replace("/", "\\"))
    return f"%USERPROFILE%{inner[1:]}" if inner == "~" or inner.startswith("~\\") else inner


def _doubled(text: str) -> str:
    return text.replace("%", "%%")


def _one_line(text: str) -> str:
    """Show line breaks as spaces: the queue hands them on, but no batch file can hold them."""
    return " ".join(text.splitlines()) if text.splitlines()[1:] else text
