# SPDX-License-Identifier: MIT
"""Render the batch file of a job."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from ...parameters import RECORDS, LaunchParameters

_SAFE = re.compile(r"[\w@%+=:,./\[\]*-]*", re.ASCII)

# The script records its start and its end beside the work, since squeue forgets a job soon after its end and not every
# site keeps accounts. The record is replaced in one step, so that a reader finds the old one or the new one. What the
# note needs is written into it as it is now: the user's environment and setup come later and may change every variable.
_RECORDING = """\
_pybatch_async_index={index}
printf -v _pybatch_async_record %q "$PWD/{records}/{token}.$_pybatch_async_index"
eval "_pybatch_async_note() {{
    printf '%s %s %s\\n' \\"\\$1\\" $SLURM_JOB_ID \\"\\$2\\" >| $_pybatch_async_record.tmp &&
        $(type -P mv) -f $_pybatch_async_record.tmp $_pybatch_async_record
}} 2> /dev/null"
trap '_pybatch_async_note exit "$?"' EXIT
trap 'exit 143' TERM
_pybatch_async_note start "${{SLURM_RESTART_COUNT:-0}}"
"""
# Also after `set -e` in the setup, the teardown runs, and to its end; `$?` is the command's code when it begins.
_TEARDOWN = """\
_pybatch_async_code=0
{command} || _pybatch_async_code=$?
set +e
(exit "$_pybatch_async_code")
{lines}
exit "$_pybatch_async_code"
"""
_NODEFILE = """\
export LIBBATCH_NODEFILE="$PWD/batch_nodefile.txt"
srun hostname > "$LIBBATCH_NODEFILE"
"""


@dataclass(frozen=True, slots=True)
class Part:
    """Say which tasks of an array one batch file is for; a job that is no array has one part of one task.

    :param first: index of the first task.
    :param count: number of tasks.
    :param token: the name of this part on the host.
    """

    first: int
    count: int
    token: str


def parts(token: str, total: int, largest: int) -> list[Part]:
    """Split an array into parts that the site accepts.

    Each part but the last has a power of ten of tasks, so that Slurm itself can name the log files by the whole index.

    :param total: number of tasks.
    :param largest: the site's MaxArraySize, which is one more than the highest index of an array (man slurm.conf).
    """
    if total <= largest:
        return [Part(0, total, token)]
    size = 10 ** (len(str(largest)) - 1)
    starts = range(0, total, size)
    return [Part(first, min(size, total - first), f"{token}-{first // size}" if first else token) for first in starts]


def render(params: LaunchParameters, part: Part) -> str:
    """Return the batch file of one part of a job.

    :param params: what to run.
    :param part: which tasks, and their name on the host.
    """
    lines = ["#!/bin/bash -l", *_directives(params, part)]
    lines += [f"#SBATCH {option}" for option in params.extra_as_list]
    lines += [params.extra_as_string.rstrip("\n")] if params.extra_as_string else []
    return "\n".join([*lines, "", *_body(params, part)]) + "\n"


def command_text(params: LaunchParameters) -> str:
    """Return the command as the batch file's shell reads it, without the index of an array."""
    return shlex.join([*shlex.split(params.launcher), *params.command])


def _body(params: LaunchParameters, part: Part) -> Iterator[str]:
    yield _RECORDING.format(index=_index(params, part), records=RECORDS, token=part.token)
    if params.create_nodefile:
        yield _NODEFILE
    for name, value in params.environment.items():
        yield f"export {name}={shlex.quote(value)}"
    yield from params.setup
    command = command_text(params) + (' "$_pybatch_async_index"' if params.total_jobs > 1 else "")
    lines = "\n".join(params.teardown)
    yield _TEARDOWN.format(command=command, lines=lines).rstrip("\n") if params.teardown else command


def _index(params: LaunchParameters, part: Part) -> str:
    if params.total_jobs == 1:
        return "0"
    return f"$(({part.first} + SLURM_ARRAY_TASK_ID))" if part.first else "$SLURM_ARRAY_TASK_ID"


def _directives(params: LaunchParameters, part: Part) -> Iterator[str]:
    """Yield the #SBATCH lines, which sbatch splits into words much as a shell does (man sbatch)."""
    for option, value in _options(params, part):
        yield f"#SBATCH --{option}" if value is True else f"#SBATCH --{option}={_quoted(str(value))}"


def _options(params: LaunchParameters, part: Part) -> Iterator[tuple[str, object]]:
    suffix = _log_suffix(params, part)
    yield "output", f"logs/output{suffix}.log"
    yield "error", f"logs/error{suffix}.log"
    plain: list[tuple[str, object]] = [
        ("job-name", params.name),
        ("array", _array(params, part)),
        ("ntasks", params.ntasks),
        ("nodes", params.nodes),
        ("cpus-per-task", params.cpus_per_task),
        ("gpus", params.gpus),
        ("exclusive", params.exclusive),
        ("time", _time(params.wall_time)),
        ("mem", params.mem_per_node),
        ("mem-per-cpu", params.mem_per_cpu),
        ("account", params.account),
        ("qos", params.queue),
        ("partition", params.partition),
        ("wckey", params.wckey),
        ("constraint", params.constraint),
        ("reservation", params.reservation),
    ]
    yield from ((option, value) for option, value in plain if value)


def _array(params: LaunchParameters, part: Part) -> str:
    if params.total_jobs == 1:
        return ""
    limit = f"%{params.max_simul_jobs}" if params.max_simul_jobs else ""
    return f"0-{part.count - 1}{limit}"


def _log_suffix(params: LaunchParameters, part: Part) -> str:
    """Name the log files of tasks by their index in the whole array: %4a is Slurm's index with leading zeros."""
    if params.total_jobs == 1:
        return ""
    if part.first == 0:
        return "_%a"
    if part.count == 1:
        return f"_{part.first}"
    zeros = len(str(part.first)) - len(str(part.first).rstrip("0"))
    return f"_{str(part.first)[:-zeros]}%{zeros}a"


def _time(wall_time: str | timedelta) -> str:
    if isinstance(wall_time, str):
        return wall_time.strip()
    seconds = -(-wall_time // timedelta(seconds=1))  # a part of a second counts as one: zero would mean no limit
    return f"{seconds // 60}:{seconds % 60:02}"


def _quoted(value: str) -> str:
    if _SAFE.fullmatch(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
