# SPDX-License-Identifier: MIT
"""Refuse wrong parameters before anything is sent, naming every fault at once."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from .errors import ConfigurationError
from .parameters import RECORDS, ConnectionParameters, LaunchParameters, entry_name, wall_seconds
from .quoting import check_argv, check_encodable

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ONE_LINE = (
    "work_directory name mem_per_node mem_per_cpu queue partition wckey python_exe "
    "account constraint reservation launcher"
).split()
_COUNTS = ("nodes", "ntasks", "cpus_per_task", "max_simul_jobs")
_DEPENDENCY = re.compile(r"[\w:+,?-]*", re.ASCII)  # "" stands for a job dumped before its submission
_NAME = re.compile(r"[^-\s\0][^\s\0]*")


def check_launch(params: LaunchParameters) -> None:
    """Refuse parameters that no plugin could run.

    :raises ConfigurationError: naming every fault at once.
    """
    _raise_all("The parameters of the job are wrong", _launch_faults(params))


def check_connection(params: ConnectionParameters) -> None:
    """Refuse parameters that no connection could be made with.

    :raises ConfigurationError: naming every fault at once.
    """
    _raise_all("The parameters of the connection are wrong", _connection_faults(params))


def set_fields(params: LaunchParameters) -> set[str]:
    """Name the fields that hold something else than their default."""
    blank = LaunchParameters([], "")
    return {item.name for item in fields(params) if getattr(params, item.name) != getattr(blank, item.name)}


def refuse_fields(params: LaunchParameters, refused: Mapping[str, str], plugin: str) -> None:
    """Refuse fields that a plugin can not honour.

    :param refused: name of each such field, and why.
    :raises ConfigurationError: naming each one that is set.
    """
    found = sorted(set_fields(params) & refused.keys())
    _raise_all(f"The plugin {plugin!r} can not honour", (f"{name}: {refused[name]}" for name in found))


def _raise_all(what: str, faults: Iterator[str]) -> None:
    found = list(faults)
    if found:
        raise ConfigurationError(f"{what}: {'; '.join(found)}.")


def _launch_faults(params: LaunchParameters) -> Iterator[str]:
    yield from _command_faults(params)
    yield from _text_faults(params)
    yield from _number_faults(params)
    yield from _input_faults(params)
    yield from _environment_faults(params.environment)
    yield from _dependency_faults(params.dependencies)
    if _is_refused(wall_seconds, params.wall_time):
        yield f'wall_time: {params.wall_time!r} is not a wall time ("minutes", "hours:minutes:seconds", "days-hours"…)'


def _command_faults(params: LaunchParameters) -> Iterator[str]:
    if isinstance(params.command, str) or not params.command or not params.command[0]:
        yield "command: a non-empty list of program and arguments is needed"
    elif _is_refused(check_argv, params.command):
        yield f"command: {params.command!r} holds something that is not text, a NUL or a lone surrogate"


def _text_faults(params: LaunchParameters) -> Iterator[str]:
    if not params.work_directory:
        yield "work_directory: it is empty"
    for name in _ONE_LINE:
        yield from _line_faults(name, getattr(params, name), one_line=True)
    for name in ("setup", "teardown", "extra_as_list"):
        value = getattr(params, name)
        if isinstance(value, str):
            yield f"{name}: a list of lines is needed, not one text"
            continue
        for line in value:
            yield from _line_faults(name, line, one_line=name == "extra_as_list")
    yield from _line_faults("extra_as_string", params.extra_as_string, one_line=False)
    yield from _line_faults("gpus", str(params.gpus), one_line=True)
    if isinstance(params.launcher, str) and _is_refused(shlex.split, params.launcher):
        yield f"launcher: {params.launcher!r} has an unbalanced quote"


def _line_faults(name: str, value: object, one_line: bool) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{name}: text is needed, not {value!r}"
    elif "\0" in value or _is_refused(check_encodable, value):
        yield f"{name}: {value!r} holds a NUL or a lone surrogate"
    elif one_line and ("\n" in value or "\r" in value):
        yield f"{name}: {value!r} holds a line break"


def _number_faults(params: LaunchParameters) -> Iterator[str]:
    for name in _COUNTS:
        if not _is_count(getattr(params, name), 0):
            yield f"{name}: a whole number from 0 is needed, not {getattr(params, name)!r}"
    if not _is_count(params.total_jobs, 1):
        yield f"total_jobs: a whole number from 1 is needed, not {params.total_jobs!r}"
    if not isinstance(params.gpus, str) and not _is_count(params.gpus, 0):
        yield f"gpus: a whole number from 0, or Slurm's type:count, is needed, not {params.gpus!r}"


def _input_faults(params: LaunchParameters) -> Iterator[str]:
    if isinstance(params.input_files, str | Path):
        yield "input_files: a list of paths is needed, not one path"
        return
    names = [entry_name(entry) for entry in params.input_files]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"input_files: two entries are named {name!r} and would overwrite each other"
    for name in sorted(set(names) & {RECORDS, "batch.cmd"}):
        yield f"input_files: {name!r} is a name that the library itself writes in the work directory"
    for name in names:
        yield from _line_faults("input_files", name, one_line=True)


def _environment_faults(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        if not _VARIABLE.fullmatch(name):
            yield f"environment: {name!r} is not the name of a variable"
        yield from _line_faults(f"environment[{name!r}]", value, one_line=False)


def _dependency_faults(dependencies: Sequence[object]) -> Iterator[str]:
    if isinstance(dependencies, str):
        yield "dependencies: a list of jobs or ids is needed, not one text"
        return
    for each in dependencies:
        is_id = isinstance(each, str | int) and _DEPENDENCY.fullmatch(str(each))
        if not is_id and not hasattr(each, "job_id"):
            yield f"dependencies: {each!r} is neither a job nor the id of one"


def _connection_faults(params: ConnectionParameters) -> Iterator[str]:
    if not _NAME.fullmatch(params.host):
        yield f"host: {params.host!r} is not the name of a host"
    if params.user is not None and not _NAME.fullmatch(params.user):
        yield f"user: {params.user!r} is not a login name"
    if params.port is not None and not (_is_count(params.port, 1) and params.port <= 65535):
        yield f"port: {params.port!r} is not a port number"
    for name in ("max_connections", "max_sessions"):
        if not _is_count(getattr(params, name), 1):
            yield f"{name}: a whole number from 1 is needed, not {getattr(params, name)!r}"
    for name in ("connect_timeout", "command_timeout"):
        if not getattr(params, name) > 0:
            yield f"{name}: seconds above 0 are needed, not {getattr(params, name)!r}"
    if params.keepalive_interval < 0:
        yield f"keepalive_interval: seconds from 0 are needed, not {params.keepalive_interval!r}"


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_refused(check: Callable[[Any], object], value: object) -> bool:
    try:
        check(value)
    except ValueError:  # ConfigurationError is one
        return True
    return False
