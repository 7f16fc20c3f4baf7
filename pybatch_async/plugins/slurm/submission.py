# SPDX-License-Identifier: MIT
"""Submit many jobs in one trip, each exactly once, whatever happens to the connection or to the controller."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ...errors import (
    CommandFailed,
    CommandTimedOut,
    ConnectionFailed,
    PybatchException,
    StateUnknown,
    SubmitFailed,
    TransferFailed,
)
from ...parameters import RECORDS
from ...protocols.archive import Member, tar_stream
from ..queue import Pending, pauses
from ..staging import Placement, anchored, stage
from ..ticket import JobRecord, Ticket
from .answers import Answer, Record, is_limit, is_unreached, parse_answer
from .script import Part, parts, render
from .scripts import UNPACK, driver, new_nonce, script

_FOREIGN = 600.0  # seconds after which a driver on another front-end, which can not be seen from here, has ended

Run = Callable[..., Awaitable[str]]
Find = Callable[[float], Awaitable[dict[str, str]]]


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


@dataclass(slots=True)
class Submission:
    """Carry units to their end: an id, or an error.

    :param host: name of the host, for messages.
    :param run: runs a command on the host.
    :param find: asks squeue and sacct for the jobs since a time and returns their ids by token.
    :param patience: seconds for which what may pass is tried again.
    :param may_pass: tells whether a failure may pass.
    :param settling: seconds for which a controller that answers must not know a job, for it not to exist.
    :param is_sick: the controller seems to be sick: it has to answer a question before it is given more to do.
    """

    host: str
    run: Run
    find: Find
    patience: float
    may_pass: Callable[[Exception], bool]
    settling: float
    units: list[Unit] = field(default_factory=list)
    is_sick: bool = False

    async def carry_out(self) -> None:
        """Submit all units; what was begun earlier is looked for first and adopted.

        What would hold up those whose fate is known becomes Pending.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self.patience
        is_begun = any(unit.job.attempts > 1 for unit in self.units)
        async for pause in pauses():
            more = 2 * self.settling if any(unit.is_unclear for unit in self.units) else 0.0
            is_late = loop.time() + pause > end + more
            try:
                await self._go_on(is_begun)
            except (ConnectionFailed, CommandTimedOut, StateUnknown) as error:
                if not self.may_pass(error) or is_late:
                    self._fail(error)
            except CommandFailed as error:
                raise SubmitFailed(f"Jobs can not be submitted: {error}") from error
            if self._is_held_up() and not is_late:
                self._fail(Pending(f"The submission to {self.host} is not settled yet."))
            if is_late or not self._open_units():
                return
            is_begun = True

    def _open_units(self) -> list[Unit]:
        return [unit for unit in self.units if unit.is_open]

    def _has_settled(self) -> bool:
        """Tell whether a job is known to be submitted or refused."""
        return bool({unit.job for unit in self.units} - {unit.job for unit in self._open_units()})

    def _is_held_up(self) -> bool:
        """Tell whether what is left can take long, while others could be told their fate or be submitted."""
        left = self._open_units()
        is_stuck = bool(left) and all(unit.is_unclear or self.is_sick for unit in left)
        return is_stuck and (self._has_settled() or any(unit.job.attempts <= 1 for unit in left))

    def _fail(self, error: PybatchException) -> None:
        """Raise an error to the jobs that it concerns: those that are not settled."""
        if not self._has_settled():
            raise error
        for unit in self._open_units():
            unit.error = error

    async def _go_on(self, is_begun: bool) -> None:
        if is_begun:
            await self.settle("look")
        for unit in self._open_units():
            unit.error = unit.before.error if unit.before else None
        ready = [unit for unit in self._open_units() if not unit.is_unclear]
        if ready and (self.is_sick or len(ready) < len(self._open_units())):
            await self.find(max(unit.began for unit in self.units))  # fails if the controller does not answer
            self.is_sick = False
        await self._drive(ready)

    async def _drive(self, units: Sequence[Unit]) -> None:
        """Send one archive that makes the host submit the units."""
        if not units:
            return
        nonce = new_nonce()
        members = await asyncio.to_thread(_members, units)
        command = ["/bin/sh", "-c", UNPACK, "sh", nonce]
        deadline = self.patience + 3.0 * len(units)
        try:
            output = await self.run(command, input=tar_stream(members), deadline=deadline)
        except TransferFailed as error:
            return await self._drive_apart(units, error)
        except CommandFailed as error:
            if error.returncode is not None and 0 < error.returncode < 128:
                raise
            raise ConnectionFailed(f"What submitted jobs on {self.host} was killed there.") from error
        answer = parse_answer(output, nonce)
        self._judge_answer(answer)
        for unit in units:
            self._take(unit, answer.records.get(unit.token))
        self.is_sick = answer.is_stopped
        if not answer.is_whole:
            raise ConnectionFailed(f"The connection to {self.host} was lost while it submitted jobs.")

    async def _drive_apart(self, units: Sequence[Unit], error: TransferFailed) -> None:
        """Submit job by job what could not be packed together, so that a bad input fails its own job alone."""
        jobs = dict.fromkeys(unit.job for unit in units)
        for job in jobs:
            own = [unit for unit in units if unit.job is job]
            if len(jobs) > 1:
                await self._drive(own)
                continue
            for unit in own:
                unit.error = error

    def _judge_answer(self, answer: Answer) -> None:
        if answer.missing_sbatch is not None:
            raise SubmitFailed(
                f"There is no sbatch on {self.host} (searched {answer.missing_sbatch}). Check that this host is the "
                f"front-end of a Slurm cluster, or put Slurm on the PATH of its login shells."
            )
        if answer.is_cut:
            raise ConnectionFailed(f"The connection to {self.host} was lost while jobs were sent; none was submitted.")
        if answer.torn is not None:
            raise SubmitFailed(
                f"Jobs can not be submitted: {self.host} has no room to unpack them ({answer.torn}). Free some room in "
                f"its temporary directory, or have TMPDIR name another one there."
            )

    def _take(self, unit: Unit, record: Record | None) -> None:
        """Note what the host said of a unit."""
        if record is None:
            return  # not reached yet: it is looked for in the next round
        unit.directory = record.directory or unit.directory
        unit.began = record.began[1] or unit.began
        unit.intent, unit.said = record.intent, record.said
        if record.failure:
            unit.error = SubmitFailed(
                f"{unit.job}: {record.failure}. Free some room, or choose another work_directory."
            )
        elif record.is_revoked:
            unit.error = SubmitFailed(f"{unit.job}: it was cancelled before it was submitted.")
        elif record.job_id:
            unit.job_id = record.job_id
        elif record.is_refused:
            self._refuse(unit, record.said)
        elif record.is_alive:
            unit.is_unclear = True

    def _refuse(self, unit: Unit, said: str) -> None:
        """Raise a refusal to the job, unless nobody was there to refuse it and there is time to try again."""
        if is_unreached(said):
            return
        transient = is_limit(said)
        hint = "Submit it again once other jobs have ended." if transient else "Correct the parameters."
        unit.error = SubmitFailed(f"{unit.job}: sbatch on {self.host} refused it: {said}. {hint}", transient)

    async def settle(self, wish: str) -> None:
        """Find out what became of open units that may exist on the host.

        :param wish: what lookup.sh is to do with an absent one: "look", or "revoke".
        """
        units = [unit for unit in self.units if unit.is_open]
        answer = await self._look_up(units, wish)
        for unit in units:
            unit.is_unclear = self._is_unclear(unit, answer, wish)
        unclear = [unit for unit in units if unit.is_unclear]
        gone = [unit for unit in unclear if _has_driver_ended(answer.records[unit.token], answer)]
        for unit in unclear:
            unit.absent_since = unit.absent_since if unit in gone else None
        if gone:
            await self._search(gone, answer)

    async def _look_up(self, units: Sequence[Unit], wish: str) -> Answer:
        nonce = new_nonce()
        lines = (line for unit in units for line in (unit.token, anchored(unit.job.directory), unit.intent))
        text = script("lookup.sh", nonce, [wish], lines)
        answer = parse_answer(await self.run(["/bin/sh", "-s"], input=text), nonce)
        if not answer.is_whole:
            raise ConnectionFailed(f"The answer of {self.host} about interrupted submissions was cut; ask again.")
        return answer

    def _is_unclear(self, unit: Unit, answer: Answer, wish: str) -> bool:
        """Take what the lookup tells of a unit for granted; tell whether it leaves doubt."""
        record = answer.records.get(unit.token, Record())
        if not record.lines and not record.runs:
            return record.is_alive  # absent, and the claim on the host keeps it from being submitted twice
        if record.is_revoked and wish == "revoke":
            return False
        self._take(unit, record)
        return unit.is_open

    async def _search(self, units: Sequence[Unit], answer: Answer) -> None:
        """Look for units in squeue and sacct; one that a controller does not know for long enough does not exist."""
        try:
            found = await self.find(min(unit.began or answer.now for unit in units))
        except PybatchException:
            for unit in units:
                unit.absent_since = None  # it may yet do what it was asked before it fell silent
            raise
        now = asyncio.get_running_loop().time()
        for unit in units:
            unit.job_id = found.get(unit.token, "")
            unit.absent_since = now if unit.absent_since is None else unit.absent_since
        gone = [unit for unit in units if not unit.job_id and now - (unit.absent_since or now) >= self.settling]
        if gone:
            await self._look_up(gone, "clear")
        for unit in gone:
            unit.is_unclear, unit.absent_since = False, None


def _has_driver_ended(record: Record, answer: Answer) -> bool:
    """Tell whether nobody is still at work on a record: sbatch has returned, or its driver is dead."""
    host, began = record.began
    if record.is_alive or not (record.lines or record.runs):
        return record.code is not None
    return record.code is not None or host in ("", answer.host) or abs(answer.now - began) > _FOREIGN


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
    error = failed[0].error
    if error is not None:
        return error
    if failed[0].is_unclear:
        said = f" It said: {failed[0].said}." if failed[0].said else ""
        return StateUnknown(
            f"{failed[0].job}: whether it was submitted is not known, since sbatch gave no clear answer.{said} "
            f"Submit it again later: it is adopted if it exists."
        )
    what = "neither the Slurm controller nor an sbatch that other jobs wait for answered in time"
    return SubmitFailed(f"{failed[0].job}: it was not submitted: {what}. Submit it again later.", True)


def _members(units: Iterable[Unit]) -> list[Member]:
    """Lay out the archive of a submission, the driver first and its lists last."""
    listed = list(units)
    staged = stage(_placements(listed))
    copies = "".join(f"{copy.source}\n{anchored(copy.directory)}\n" for copy in staged.copies)
    places = {anchored(unit.job.directory): None for unit in listed}
    lists = {
        "copies": copies,
        "directories": "".join(f"{place}/{name}\0" for place in places for name in ("logs", RECORDS)),
        "private": "".join(f"{place}/{RECORDS}\0" for place in places),
        "jobs": "".join(_job_lines(unit) for unit in listed),
    }
    own = [(f"own/{name}", content.encode(errors="surrogateescape")) for name, content in lists.items()]
    own += [(f"own/{RECORDS}/{unit.token}.cmd", _batch_file(unit)) for unit in listed]
    return [Member(name, content, 0o600) for name, content in [("own/driver.sh", driver()), *own]] + staged.members


def _placements(units: Iterable[Unit]) -> Iterator[Placement]:
    """Yield what belongs into the work directories; sbatch reads its own copy, which no other driver rewrites."""
    for unit in units:
        if unit.part.first == 0:
            yield Placement(unit.job.directory, {"batch.cmd": _batch_file(unit)}, unit.job.params.input_files)


def _batch_file(unit: Unit) -> bytes:
    return render(unit.job.params, unit.part).encode(errors="surrogateescape")


def _job_lines(unit: Unit) -> str:
    chain = unit.before.token if unit.before and not unit.before.job_id else "-"
    return f"{unit.token} {chain} {_dependency(unit)}\n{anchored(unit.job.directory)}\n"


def _dependency(unit: Unit) -> str:
    if unit.before:
        return f"--dependency=afterany:{unit.before.job_id}" if unit.before.job_id else ""
    ids = unit.job.dependency_ids()
    if not ids:
        return ""
    spec = ",".join(each if ":" in each else f"afterok:{each}" for each in ids)
    return f"--dependency={spec} --kill-on-invalid-dep=yes"
