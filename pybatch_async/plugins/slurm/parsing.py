# SPDX-License-Identifier: MIT
"""Read what Slurm's commands print: states, exit codes, array rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ...states import JobInfo, JobState

# A width of 0 means as wide as the value is. The command, being free text, comes last.
SQUEUE_FORMAT = ",".join(
    f"{name}:0|"
    for name in (
        "JobArrayID",
        "State",
        "exit_code",
        "Reason",
        "RestartCnt",
        "SubmitTime",
        "StartTime",
        "EndTime",
        "NodeList",
        "Command",
    )
)
SACCT_FIELDS = "JobID,State,ExitCode,Submit,Start,End,NodeList,SubmitLine"
SACCT_FIELDS_BEFORE_21_08 = "JobID,State,ExitCode,Submit,Start,End,NodeList,JobName"

# man squeue, JOB STATE CODES. A flag hides the base state while it lasts, so none of them is final. REVOKED (the job
# runs on another cluster of a federation) says nothing of the job, and neither does a word that is not listed here.
STATES = {
    "PENDING": JobState.QUEUED,
    "REQUEUED": JobState.QUEUED,
    "REQUEUE_FED": JobState.QUEUED,
    "EXPEDITING": JobState.QUEUED,
    "CONFIGURING": JobState.RUNNING,
    "RUNNING": JobState.RUNNING,
    "COMPLETING": JobState.RUNNING,
    "STAGE_OUT": JobState.RUNNING,
    "RESIZING": JobState.RUNNING,
    "SIGNALING": JobState.RUNNING,
    "SUSPENDED": JobState.PAUSED,
    "STOPPED": JobState.PAUSED,
    "REQUEUE_HOLD": JobState.PAUSED,
    "SPECIAL_EXIT": JobState.PAUSED,
    "RESV_DEL_HOLD": JobState.PAUSED,
    "COMPLETED": JobState.FINISHED,
    "CANCELLED": JobState.FAILED,
    "FAILED": JobState.FAILED,
    "TIMEOUT": JobState.FAILED,
    "NODE_FAIL": JobState.FAILED,
    "PREEMPTED": JobState.FAILED,
    "BOOT_FAIL": JobState.FAILED,
    "DEADLINE": JobState.FAILED,
    "OUT_OF_MEMORY": JobState.FAILED,
}
_ENDED_BY_SLURM = frozenset({"CANCELLED", "TIMEOUT", "PREEMPTED", "DEADLINE"})
_SIGNALS = frozenset({*range(1, 16), 24, 25, 31})  # those that end a process by default and that programs meet
_NEVER = 1 << 32  # seconds; Slurm's own times are no greater
_NO_NODES = frozenset({"", "None assigned", "(null)", "N/A"})
_SPAN = r"\d+(?:-\d+(?::[1-9]\d*)?)?"
_ARRAY_ID = re.compile(rf"(\d+)_(?:(\d+)|\[({_SPAN}(?:,{_SPAN})*)(?:%\d+)?\])", re.ASCII)
FOREIGN = "foreign"  # stands for the token of a job that was not submitted by this library
_TOKEN = re.compile(r"\.pybatch_async/([0-9a-f]{32}(?:-\d+)?)\.cmd")


@dataclass(frozen=True, slots=True)
class Row:
    """Hold one row of an answer.

    :param job_id: the id of the job, or of the array.
    :param indices: the indices of the array that the row is about; empty for a job that is no array.
    :param token: our name of the job; FOREIGN where it has none, "" where the answer does not show it.
    :param info: what the row tells; None where its state says nothing of the job.
    """

    job_id: str
    indices: tuple[int, ...]
    token: str
    info: JobInfo | None


def parse_squeue(text: str) -> Iterator[Row]:
    """Read the rows of `squeue -h -O SQUEUE_FORMAT`; what is no such row is left out."""
    for line in text.splitlines():
        fields = [field.strip() for field in line.split("|", 9)]
        if len(fields) != 10:
            continue
        job, word, code, reason, restarts, submit, start, end, nodes, command = fields
        row = _row(job, word, code, nodes, (submit, start, end), command, reason, _count(restarts))
        if row:
            yield row


def read_squeue(text: str, before: Mapping[str, Row]) -> dict[str, Row]:
    """Read an answer of squeue by lines; most of them stood in the answer before, whose rows are taken again.

    :param before: the rows of the answer before, by line.
    """
    return {line: row for line in text.splitlines() if (row := before.get(line) or next(parse_squeue(line), None))}


def parse_sacct(text: str) -> Iterator[Row]:
    """Read the rows of `sacct -nXP -o SACCT_FIELDS`; what is no such row is left out."""
    for line in text.splitlines():
        fields = line.split("|", 7)
        if len(fields) == 8:
            job, word, code, submit, start, end, nodes, command = fields
            row = _row(job, word, code, nodes, (submit, start, end), command)
            if row:
                yield row


def _row(
    job: str,
    words: str,
    code: str,
    nodes: str,
    times: tuple[str, str, str],
    command: str,
    reason: str = "",
    restarts: int = 0,
) -> Row | None:
    array = parse_job_id(job)
    if array is None or not words.strip():
        return None
    word = words.split()[0].rstrip("+")
    state = STATES.get(word)
    info = None
    if state is not None:
        nodes = "" if nodes in _NO_NODES else nodes
        is_final = state.is_final
        exit_code = final_exit_code(word, *parse_exit_code(code), was_started=bool(nodes)) if is_final else None
        submit, start, end = times
        ended = _time(end) if is_final else None
        info = JobInfo(job, state, word, exit_code, reason, nodes, _time(submit), _time(start), ended, restarts)
    return Row(*array, _token(command), info)


def _token(command: str) -> str:
    """Return the token that a command shows; one that shows none is not ours. Old versions of sacct tell no command."""
    token = _TOKEN.search(command)
    if token:
        return token[1]
    is_command = command.startswith(("/", "(null)", "sbatch ", "srun ", "salloc "))
    return FOREIGN if is_command else ""


def parse_job_id(text: str) -> tuple[str, tuple[int, ...]] | None:
    """Read "12", "12_3" or "12_[0-4,7,10-20:2%3]" into the id and the indices; None for anything else."""
    if text.isascii() and text.isdigit():
        return text, ()
    match = _ARRAY_ID.fullmatch(text)
    if not match:
        return None
    job_id, index, spec = match.groups()
    return job_id, (int(index),) if index else tuple(_expanded(spec))


def _expanded(spec: str) -> Iterator[int]:
    for each in spec.split(","):
        span, _, step = each.partition(":")
        first, _, last = span.partition("-")
        yield from range(int(first), int(last or first) + 1, int(step or 1))


def parse_exit_code(text: str) -> tuple[int, int]:
    """Read an exit code into code and signal: "1:9" as sacct and newer squeue write it, or a wait status (22.05)."""
    code, colon, signal = text.partition(":")
    try:
        if colon:
            return int(code), int(signal)
        status = int(code)
    except ValueError:
        return 0, 0
    return status >> 8, status & 0x7F


def final_exit_code(word: str, code: int, signal: int, was_started: bool) -> int | None:
    """Settle on one exit code where squeue, sacct and the batch script's shell say it each in its own way.

    :param word: Slurm's word for the final state.
    :param was_started: whether the job was given nodes.
    :returns: the signal's number if one ended the job, else the exit code; None if there is none.
    """
    if signal:
        return signal
    if code - 128 in _SIGNALS:  # what a shell makes of a command that a signal ended
        return code - 128
    if code or word == "COMPLETED":
        return code
    return 15 if was_started and word in _ENDED_BY_SLURM else None


def _time(text: str) -> datetime | None:
    """Read seconds since the epoch, which SLURM_TIME_FORMAT=%s makes of all times."""
    seconds = _count(text)
    return datetime.fromtimestamp(seconds, UTC) if 0 < seconds < _NEVER else None


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
