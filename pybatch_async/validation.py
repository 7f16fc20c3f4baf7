# SPDX-License-Identifier: MIT
"""Refuse wrong parameters before anything is sent, naming every fault at once."""

from __future__ import annotations

import copy
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from . import kinds
from .errors import ConfigurationError
from .kinds import Kind, is_count, is_duration, optional
from .parameters import RECORDS, ConnectionParameters, LaunchParameters, entry_name, wall_seconds
from .quoting import check_argv, check_encodable
from .targets import jump_hosts

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ONE_LINE = (
    "work_directory name mem_per_node mem_per_cpu queue partition wckey python_exe "
    "account constraint reservation launcher"
).split()
_LAUNCH_KINDS = {
    **dict.fromkeys(("command", "extra_as_list", "setup", "teardown", "dependencies"), kinds.LIST),
    **dict.fromkeys(("exclusive", "is_posix", "create_nodefile"), kinds.FLAG),
    "input_files": kinds.LIST_OF_PATHS,
    "environment": kinds.MAPPING,
    "wall_time": Kind("text or a timedelta is", lambda value: isinstance(value, str | timedelta)),
}
_CONNECTION_KINDS = {
    "host": kinds.TEXT,
    **dict.fromkeys(("user", "proxy_jump"), optional(kinds.TEXT)),
    **dict.fromkeys(("password", "passphrase"), kinds.SECRET),
    **dict.fromkeys(("gss_auth", "verify_host_key"), kinds.FLAG),
    "client_keys": optional(kinds.LIST_OF_PATHS),
    "known_hosts": optional(kinds.PATH),
    "config": kinds.CONFIG,
    "prompt": kinds.PROMPT,
}
_COUNTS = ("nodes", "ntasks", "cpus_per_task", "max_simul_jobs")
_DEPENDENCY = re.compile(r"[\w:+,?-]+", re.ASCII)
_LONGEST_STRING = 128 << 10  # bytes with the final NUL: MAX_ARG_STRLEN (man execve)
_NAME = re.compile(r"[^-\s\0][^\s\0]*")
_BLANK = LaunchParameters(["true"], "w")
Params = TypeVar("Params", LaunchParameters, ConnectionParameters)


def check_launch(params: LaunchParameters) -> None:
    """Refuse parameters that no plugin could run.

    :raises ConfigurationError: naming every fault at once.
    """
    if not isinstance(params, LaunchParameters):
        raise ConfigurationError(f"A job is described by LaunchParameters, not by {params!r}.")
    sound, faults = _kinds_kept(params, _BLANK, _LAUNCH_KINDS)
    _raise_all("The parameters of the job are wrong", [*faults, *_launch_faults(sound)])


def check_connection(params: ConnectionParameters) -> None:
    """Refuse parameters that no connection could be made with.

    :raises ConfigurationError: naming every fault at once.
    """
    if not isinstance(params, ConnectionParameters):
        raise ConfigurationError(f"A connection is described by ConnectionParameters, not by {type(params).__name__}.")
    sound, faults = _kinds_kept(params, ConnectionParameters("h"), _CONNECTION_KINDS)
    _raise_all("The parameters of the connection are wrong", [*faults, *_connection_faults(sound)])


def refuse_fields(params: LaunchParameters, refused: Mapping[str, str], plugin: str) -> None:
    """Refuse fields that a plugin can not honour.

    :param refused: name of each such field, and why.
    :raises ConfigurationError: naming each one that is set.
    """
    found = sorted(name for name in refused if getattr(params, name) != getattr(_BLANK, name))
    _raise_all(f"The plugin {plugin!r} can not honour", [f"{name}: {refused[name]}" for name in found])


def _raise_all(what: str, faults: Sequence[str]) -> None:
    if faults:
        raise ConfigurationError(f"{what}: {'; '.join(faults)}.")


def _kinds_kept(params: Params, blank: Params, expected: Mapping[str, Kind]) -> tuple[Params, list[str]]:
    """Find the fields that hold a wrong kind of value.

    :param blank: gives the values that stand in for those, so that all the others can be looked at.
    :returns: sound parameters, and the faults.
    """
    wrong = [name for name, kind in expected.items() if not kind.is_kept(getattr(params, name))]
    sound = copy.copy(params)
    for name in wrong:
        setattr(sound, name, getattr(blank, name))
    return sound, [f"{name}: {expected[name].complaint(getattr(params, name))}" for name in wrong]


def _launch_faults(params: LaunchParameters) -> Iterator[str]:
    yield from _command_faults(params)
    yield from _text_faults(params)
    yield from _number_faults(params)
    yield from _input_faults(params)
    yield from _environment_faults(params.environment)
    yield from _dependency_faults(params.dependencies)
    if _is_refused(wall_seconds, params.wall_time):
        formats = '"minutes", "hours:minutes:seconds", "days-hours"…'
        yield f"wall_time: {params.wall_time!r} is not a wall time of 68 years at most ({formats})"


def _command_faults(params: LaunchParameters) -> Iterator[str]:
    if not params.command or not params.command[0]:
        yield "command: a non-empty list of program and arguments is needed"
    elif strangers := [each for each in params.command if not isinstance(each, str)]:
        yield f"command: {', '.join(f'{each!r} is not text: write str({each!r})' for each in strangers)}"
    elif _is_refused(check_argv, params.command):
        yield f"command: {params.command!r} holds a NUL or a lone surrogate"


def _text_faults(params: LaunchParameters) -> Iterator[str]:
    for name in ("work_directory", "python_exe"):
        if not getattr(params, name):
            yield f"{name}: it is empty"
    for name in _ONE_LINE:
        yield from _line_faults(name, getattr(params, name), one_line=True)
    for name in ("setup", "teardown", "extra_as_list"):
        for line in getattr(params, name):
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
        if not is_count(getattr(params, name), 0):
            yield f"{name}: a whole number from 0 is needed, not {getattr(params, name)!r}"
    if not is_count(params.total_jobs, 1):
        yield f"total_jobs: a whole number from 1 is needed, not {params.total_jobs!r}"
    if not isinstance(params.gpus, str) and not is_count(params.gpus, 0):
        yield f"gpus: a whole number from 0, or Slurm's type:count, is needed, not {params.gpus!r}"


def _input_faults(params: LaunchParameters) -> Iterator[str]:
    names = [entry_name(entry) for entry in params.input_files]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"input_files: two entries are named {name!r} and would overwrite each other"
    for name in sorted(set(names) & {RECORDS, "batch.cmd"}):
        yield f"input_files: {name!r} is a name that the library itself writes in the work directory"
    for name in names:
        yield from _line_faults("input_files", name, one_line=True)
    for entry in params.input_files:
        yield from _line_faults("input_files", str(Path(entry).parent), one_line=False)


def _environment_faults(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            yield f"environment: {name!r} is not the name of a variable"
        elif isinstance(value, str) and len(f"{name}={value}".encode(errors="replace")) >= _LONGEST_STRING:
            yield f"environment[{name!r}]: no program starts with a variable of 128 KiB or more; pass a file instead"
        yield from _line_faults(f"environment[{name!r}]", value, one_line=False)


def _dependency_faults(dependencies: Sequence[object]) -> Iterator[str]:
    for each in dependencies:
        is_id = isinstance(each, str | int) and _DEPENDENCY.fullmatch(str(each))
        if not is_id and not hasattr(each, "job_id"):
            yield f"dependencies: {each!r} is neither a job nor the id of one"


def _connection_faults(params: ConnectionParameters) -> Iterator[str]:
    if not _NAME.fullmatch(params.host):
        yield f"host: {params.host!r} is not the name of a host"
    if params.user is not None and not _NAME.fullmatch(params.user):
        yield f"user: {params.user!r} is not a login name"
    if params.proxy_jump and _is_refused(jump_hosts, params.proxy_jump):
        yield f"proxy_jump: {params.proxy_jump!r} is no list of [user@]host[:port] with commas between them"
    if params.port is not None and not (is_count(params.port, 1) and params.port <= 65535):
        yield f"port: {params.port!r} is not a port number"
    for name in ("max_connections", "max_sessions"):
        if not is_count(getattr(params, name), 1):
            yield f"{name}: a whole number from 1 is needed, not {getattr(params, name)!r}"
    for name in ("connect_timeout", "command_timeout"):
        if not is_duration(getattr(params, name)) or not getattr(params, name):
            yield f"{name}: seconds above 0 are needed, not {getattr(params, name)!r}"
    if not is_duration(params.keepalive_interval):
        yield f"keepalive_interval: seconds from 0 are needed, not {params.keepalive_interval!r}"
    for name in ("host", "user", "proxy_jump"):
        if getattr(params, name) is not None and _is_refused(check_encodable, getattr(params, name)):
            yield f"{name}: {getattr(params, name)!r} holds a lone surrogate"


def _is_refused(check: Callable[[Any], object], value: object) -> bool:
    try:
        check(value)
    except ValueError:  # ConfigurationError is one
        return True
    return False
