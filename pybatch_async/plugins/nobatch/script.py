# SPDX-License-Identifier: MIT
"""What a job runs, as text: for the shell that wraps it, and for people."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from ..ticket import JobRecord

NODEFILE = "batch_nodefile.txt"

# After `set -e` in the setup the teardown runs all the same, and to its end. What a signal ended is ended by the same
# signal again, which is what the caller has to see.
_TEARDOWN = """\
trap : TERM
code=0
"$@" || code=$?
set +e
(exit "$code")
{lines}
if [ "$code" -gt 128 ] && kill -l "$((code - 128))" >/dev/null 2>&1; then
    trap - TERM
    ulimit -c 0
    kill -s "$(kill -l "$((code - 128))")" "$$"
fi
exit "$code"
"""


def argv(job: JobRecord) -> list[str]:
    """Return the program and its arguments; an array's index is added at the start of each task."""
    return [*shlex.split(job.params.launcher), *job.params.command]


def wrapper(job: JobRecord) -> str:
    """Return the shell script around the command, which it finds in its arguments; "" if none is needed."""
    params = job.params
    if not params.setup and not params.teardown:
        return ""
    rest = _TEARDOWN.format(lines="\n".join(params.teardown)) if params.teardown else 'exec "$@"\n'
    return "".join(f"{line}\n" for line in params.setup) + rest


def render(job: JobRecord) -> str:
    """Return a shell script that does what the queue does for the job."""
    return "".join(f"{line}\n" for line in _lines(job))


def _lines(job: JobRecord) -> Iterator[str]:
    params = job.params
    yield "#!/bin/bash" if wrapper(job) else "#!/bin/sh"
    yield f"# {params.name or 'job'}: started by the queue of pybatch_async" + _limits(job)
    yield f"cd {_directory(params.work_directory)} || exit 1"
    if params.create_nodefile:
        yield f'LIBBATCH_NODEFILE="$PWD/{NODEFILE}"; export LIBBATCH_NODEFILE'
    for name, value in params.environment.items():
        yield f"{name}={shlex.quote(value)}; export {name}"
    suffix = '_"$1"' if job.is_array else ""
    yield f"exec >logs/output{suffix}.log 2>logs/error{suffix}.log </dev/null"
    command = shlex.join(argv(job)) + (' "$1"' if job.is_array else "")
    script = wrapper(job)
    yield from script.rstrip("\n").replace('"$@"', command).split("\n") if script else [f"exec {command}"]


def _limits(job: JobRecord) -> str:
    tasks = f", tasks 0 to {job.params.total_jobs - 1}" if job.is_array else ""
    return f"{tasks}, for at most {job.params.wall_time}" if job.params.wall_time else tasks


def _directory(path: str) -> str:
    return f"~/{shlex.quote(path[2:])}" if path.startswith("~/") else shlex.quote(path)
