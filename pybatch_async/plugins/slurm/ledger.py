# SPDX-License-Identifier: MIT
"""Put together what squeue, the jobs' own records and sacct tell, the surest first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...errors import StateUnknown
from ...states import JobInfo, JobState
from ..ticket import JobRecord, Report
from .parsing import Row, final_exit_code

_UNKNOWN = "UNKNOWN"  # stands for a task of which nobody told anything this time
_TERMINATED = 143  # what the batch script notes when Slurm ends it; only Slurm knows why


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Hold one line that a batch script, or a wish to cancel, left beside a job.

    :param index: index of the task, "0" for a job that is no array, or "cancel".
    :param words: "start ID RESTARTS", "exit ID CODE"; for "cancel" the index or "all".
    """

    token: str
    index: str
    words: tuple[str, ...]


def parse_runs(lines: Iterable[str]) -> Iterator[RunRecord]:
    """Read the answer of records.sh, without its nonce."""
    for line in lines:
        words = line.split()
        if len(words) > 3 and words[0] == "run":
            yield RunRecord(words[1], words[2], tuple(words[3:]))


def unchanged(jobs: Sequence[JobRecord], rows: Iterable[Row]) -> dict[JobRecord, Report | StateUnknown]:
    """Return the reports of the jobs of which squeue tells what it told last, as it does of most jobs most times.

    A row that has not changed is the very object it was; arrays are left to the ledger. This makes next to no objects,
    which would call Python's garbage collector to a heap of ten thousand jobs at each tick.
    """
    infos = {row.job_id: row.info for row in rows if not row.indices}
    single = (job for job in jobs if job.seen and not job.is_array)
    return {job: job.seen for job in single if job.seen and job.seen.infos[0] is infos.get(job.job_id)}


class Ledger:
    """Gather what is told of jobs in one round of questions.

    :param jobs: submitted jobs.
    """

    def __init__(self, jobs: Sequence[JobRecord]) -> None:
        self._jobs = jobs
        self._infos: dict[JobRecord, list[JobInfo | None]] = {job: [None] * job.params.total_jobs for job in jobs}
        self._noted: dict[tuple[str, int], int] = {}
        self._cancelled: set[tuple[str, str]] = set()
        self._places: dict[str, list[tuple[JobRecord, int]]] = {}  # a job and its reloaded copy have the same id
        for job in jobs:
            for job_id, first in _parts_of(job):
                self._places.setdefault(job_id, []).append((job, first))

    def enter_rows(self, rows: Iterable[Row]) -> None:
        """Enter what squeue told; a row of a recycled id, which is another job's, is left out."""
        for row in rows:
            for job, first in self._places.get(row.job_id, ()):
                if row.info is not None and row.token.partition("-")[0] in ("", job.token):
                    self._enter(job, first, row.indices or (0,), row.info)

    def _enter(self, job: JobRecord, first: int, indices: Iterable[int], info: JobInfo) -> None:
        infos = self._infos[job]
        for index in indices:
            if first + index < len(infos):
                infos[first + index] = info

    def enter_ends(self, rows: Iterable[Row]) -> None:
        """Enter what sacct told of jobs that have left the queue; that one of them runs can only be old news."""
        self.enter_rows(row for row in rows if row.info and row.info.state.is_final)

    def enter_runs(self, records: Iterable[RunRecord]) -> None:
        """Enter what the jobs' own records told."""
        for record in records:
            if record.index == "cancel":
                self._cancelled.update((record.token, word) for word in record.words)
            elif record.words[0] == "exit" and f"{record.index}{record.words[-1]}".isdecimal():
                self._noted[record.token, int(record.index)] = int(record.words[-1])

    def incomplete(self) -> list[JobRecord]:
        """Return the jobs of which a task is not known yet."""
        return [job for job, infos in self._infos.items() if None in infos]

    def unexplained(self) -> list[JobRecord]:
        """Return the jobs of which a task is neither known nor noted to have ended by itself."""
        return [job for job in self.incomplete() if any(self._is_unexplained(job, i) for i in self._open_indices(job))]

    def reports(self) -> Mapping[JobRecord, Report]:
        """Return what came out, partial reports included; a job of which nobody knows anything is left out."""
        reports = {job: self._report(job) for job in self._jobs}
        return {job: report for job, report in reports.items() if not report.is_partial or report.is_of_use}

    def _open_indices(self, job: JobRecord) -> Iterator[int]:
        return (index for index, info in enumerate(self._infos[job]) if info is None)

    def _is_unexplained(self, job: JobRecord, index: int) -> bool:
        return self._noted.get((job.token, index), _TERMINATED) == _TERMINATED

    def _report(self, job: JobRecord) -> Report:
        """Make the report of a job, or take the last one again where nothing has changed, as most times."""
        infos = self._filled(job)
        return job.seen if job.seen and job.seen.infos == infos else Report(infos)

    def _filled(self, job: JobRecord) -> list[JobInfo]:
        return [info or self._fallback(job, index) for index, info in enumerate(self._infos[job])]

    def _fallback(self, job: JobRecord, index: int) -> JobInfo:
        """Tell what the job's own record says of a task, else that a wish to cancel it was fulfilled."""
        job_id = task_id(job, index)
        is_cancelled = bool(self._cancelled & {(job.token, "all"), (job.token, str(index))})
        code = self._noted.get((job.token, index))
        if code == 0:
            return JobInfo(job_id, JobState.FINISHED, "COMPLETED", 0)
        if code is not None:
            word = "CANCELLED" if is_cancelled and code == _TERMINATED else "FAILED"
            return JobInfo(job_id, JobState.FAILED, word, final_exit_code(word, code, 0, was_started=True))
        if is_cancelled:
            return JobInfo(job_id, JobState.FAILED, "CANCELLED")
        return JobInfo(job_id, JobState.IN_PROCESS, _UNKNOWN)


def _parts_of(job: JobRecord) -> Iterator[tuple[str, int]]:
    """Yield the scheduler's ids of a job with the index of the first task of each."""
    if job.ticket:
        for number, job_id in enumerate(job.ticket.job_ids):
            yield job_id, number * job.ticket.part


def task_id(job: JobRecord, index: int | None) -> str:
    """Return the scheduler's id of one task, or of a whole job that has one id."""
    assert job.ticket is not None
    if index is None or not job.is_array:
        return job.job_id
    number, local = divmod(index, job.ticket.part)
    return f"{job.ticket.job_ids[min(number, len(job.ticket.job_ids) - 1)]}_{local}"
