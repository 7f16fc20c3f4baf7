# SPDX-License-Identifier: MIT
"""What a submission is made of: calls of sbatch, and what each came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import PybatchException, StateUnknown, SubmitFailed
from ..queue import PartlySubmitted
from ..ticket import JobRecord, Ticket
from .answers import Record, is_limit, is_unreached
from .script import Part, parts


@dataclass(slots=True, eq=False)
class Unit:
    """Hold one call of sbatch: a job, or one part of a split array.

    :param before: the unit that has to end before this one starts.
    :param intent: the line with which a driver on the host began to submit it.
    :param said: what sbatch said last.
    :param is_unclear: whether it exists on the host is not known: somebody is at work on it, or sbatch did not tell.
    :param absent_since: since when the controller answers that it does not know it, by the loop's clock.
    """

    job: JobRecord
    part: Part
    before: Unit | None = None
    job_id: str = ""
    directory: str = ""
    began: float = 0.0
    error: PybatchException | None = None
    intent: str = ""
    said: str = ""
    is_unclear: bool = False
    absent_since: float | None = None

    @property
    def token(self) -> str:
        """The unit's name on the host."""
        return self.part.token

    @property
    def is_open(self) -> bool:
        """Tell whether it is neither submitted nor refused."""
        return not self.job_id and self.error is None

    def take(self, record: Record | None, host: str) -> None:
        """Note what the host said of it."""
        if record is None:
            return  # not reached yet: it is looked for in the next round
        self.directory = record.directory or self.directory
        self.began = record.began[1] or self.began
        self.intent, self.said = record.intent, record.said
        if record.failure:
            self.error = SubmitFailed(
                f"{self.job}: {record.failure}. Free some room, or choose another work_directory."
            )
        elif record.is_revoked:
            self.error = SubmitFailed(f"{self.job}: it was cancelled before it was submitted.")
        elif record.job_id:
            self.job_id = record.job_id
        elif record.is_refused:
            self._refuse(record.said, host)
        elif record.is_alive:
            self.is_unclear = True

    def _refuse(self, said: str, host: str) -> None:
        """Raise a refusal to the job, unless nobody was there to refuse it and there is time to try again."""
        if is_unreached(said):
            return
        transient = is_limit(said)
        hint = "Submit it again once other jobs have ended." if transient else "Correct the parameters."
        self.error = SubmitFailed(f"{self.job}: sbatch on {host} refused it: {said}. {hint}", transient)


def units_of(job: JobRecord, largest: int) -> list[Unit]:
    """Return the calls of sbatch that a job takes.

    :param largest: the site's MaxArraySize.
    """
    pieces = parts(job.token, job.params.total_jobs, largest)
    units = [Unit(job, part) for part in pieces]
    if job.params.max_simul_jobs:
        for before, unit in zip(units, units[1:], strict=False):
            unit.before = before
    return units


def ticket_of(units: Sequence[Unit]) -> Ticket | PybatchException:
    """Return what a job's units came to."""
    failed = [unit for unit in units if not unit.job_id]
    if not failed:
        part = units[0].part.count
        return Ticket(tuple(unit.job_id for unit in units), units[0].directory, units[0].began, part)
    unclear = next((unit for unit in failed if unit.is_open and unit.is_unclear), None)
    if unclear:
        said = f" It said: {unclear.said}." if unclear.said else ""
        return StateUnknown(
            f"{unclear.job}: whether it was submitted is not known, since sbatch gave no clear answer.{said} "
            f"Submit it again later: it is adopted if it exists."
        )
    error = _first_error(failed)
    if isinstance(error, SubmitFailed) and len(failed) < len(units):
        return PartlySubmitted(
            f"{error} Some of its parts are submitted; cancel it if it is not to go on.", error.transient
        )
    return error


def _first_error(failed: Sequence[Unit]) -> PybatchException:
    """Return why a job has no ticket; a refusal counts only where nothing else is to be told."""
    errors = [unit.error for unit in failed if unit.error]
    for error in sorted(errors, key=lambda error: isinstance(error, SubmitFailed)):
        return error
    what = "neither the Slurm controller nor an sbatch that other jobs wait for answered in time"
    return SubmitFailed(f"{failed[0].job}: it was not submitted: {what}. Submit it again later.", True)
