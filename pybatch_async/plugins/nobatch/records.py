# SPDX-License-Identifier: MIT
"""From jobs to what the manager is told, and from what it tells to reports."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ...errors import ConfigurationError
from ...parameters import wall_seconds
from ...states import JobInfo, JobState
from ..staging import Placement
from ..ticket import JobRecord, Report, Ticket
from . import script

_KINDS = ("afterok", "afterany", "afternotok", "after")
_DEPENDENCY = re.compile(r"(?:([a-z]+):)?(\d+(?::\d+)*)")


def described(job: JobRecord, grace: float) -> dict[str, Any]:
    """Return what the manager has to know to take a job into its queue."""
    params = job.params
    wall = wall_seconds(params.wall_time)
    header = {
        "total": params.total_jobs,
        "simul": params.max_simul_jobs,
        "slots": max(params.ntasks, 1) * max(params.cpus_per_task, 1),
        "exclusive": params.exclusive,
        "wall": wall,
        "grace": grace,
    }
    launch = {
        "name": params.name,
        "argv": script.argv(job),
        "script": script.wrapper(job),
        "environment": dict(params.environment),
        "array": job.is_array,
        "wall": wall,
        "grace": grace,
    }
    nodefile = {"name": script.NODEFILE, "lines": max(params.ntasks, 1)} if params.create_nodefile else None
    after = after_ids(job.dependency_ids())
    return {
        "token": job.token,
        "dir": params.work_directory,
        "header": header,
        "launch": launch,
        "nodefile": nodefile,
        "after": after,
    }


def placement(job: JobRecord) -> Placement:
    """Return what belongs into the job's work directory."""
    return Placement(job.params.work_directory, {}, job.params.input_files)


def after_ids(dependencies: Sequence[str]) -> list[tuple[str, int]]:
    """Read dependencies, as ids of jobs or in Slurm's words ("afterany:12:13").

    :raises ConfigurationError: naming what is none.
    """
    found = []
    for text in ",".join(dependencies).split(",") if dependencies else []:
        match = _DEPENDENCY.fullmatch(text.strip())
        kind = (match[1] or "afterok") if match else ""
        if not match or kind not in _KINDS:
            raise ConfigurationError(
                f"dependencies: {text!r} is neither a job's id nor one of {', '.join(f'{kind}:ID' for kind in _KINDS)}."
            )
        found += [(kind, int(number)) for number in match[2].split(":")]
    return found


def ticket_of(answer: Mapping[str, Any]) -> Ticket:
    """Return the ticket that the manager gave."""
    return Ticket((answer["name"].partition(".")[0],), answer["dir"], answer["submitted"])


def record_name(job: JobRecord) -> str:
    """Return the name that the job's record has on the host."""
    return f"{job.job_id}.{job.token}"


def report_of(job: JobRecord, answer: Mapping[str, Any], host: str) -> Report:
    """Return what the manager's records tell of a job."""
    submitted = _time(answer["submitted"])
    tasks = answer["tasks"]
    waiting = JobInfo(job.job_id, JobState.QUEUED, "PENDING", None, answer["waiting"], "", submitted)
    infos = [
        _info(_id(job, index), tasks[str(index)], host, submitted) if str(index) in tasks else waiting
        for index in range(answer["total"])
    ]
    return Report(infos)


def _info(job_id: str, record: Mapping[str, Any], host: str, submitted: datetime | None) -> JobInfo:
    word = record.get("word", "RUNNING")
    code = record.get("code")
    began, ended = _time(record.get("began")), _time(record.get("ended"))
    nodes = host if began else ""
    exit_code = None if code is None else abs(code)
    return JobInfo(job_id, _state(word), word, exit_code, record.get("reason", ""), nodes, submitted, began, ended)


def _state(word: str) -> JobState:
    return {"RUNNING": JobState.RUNNING, "COMPLETED": JobState.FINISHED}.get(word, JobState.FAILED)


def _id(job: JobRecord, index: int) -> str:
    return f"{job.job_id}_{index}" if job.is_array else job.job_id


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
