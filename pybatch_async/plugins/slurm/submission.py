# SPDX-License-Identifier: MIT
"""Submit many jobs in one trip, each exactly once, whatever happens to the connection or to the controller."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ...errors import CommandFailed, CommandTimedOut, ConnectionFailed, PybatchException, StateUnknown, SubmitFailed
from ...parameters import RECORDS
from ...protocols.archive import Member, tar_stream
from ..poller import is_passing
from ..queue import pauses
from ..staging import Placement, anchored, stage
from ..ticket import JobRecord, Ticket
from .answers import Answer, Record, is_limit, is_unreached, parse_answer
from .script import Part, parts, render
from .scripts import UNPACK, driver, new_nonce, script

_SETTLE = 30.0  # seconds for which a job that sbatch may have made is looked for; MessageTimeout is 10 s by default
_FOREIGN = 600.0  # seconds after which a driver on another front-end, which can not be seen from here, has ended

Run = Callable[..., Awaitable[str]]
Find = Callable[[float], Awaitable[dict[str, str]]]


@dataclass(slots=True, eq=False)
class Unit:
    """Hold one call of sbatch: a job, or one part of a split array.

    :param chain: token of the unit that has to end before this one starts; "-" for none.
    """

    job: JobRecord
    part: Part
    chain: str = "-"
    job_id: str = ""
    directory: str = ""
    began: float = 0.0
    error: PybatchException | None = None
    unclear_since: float | None = None

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
    """

    host: str
    run: Run
    find: Find
    patience: float
    units: list[Unit] = field(default_factory=list)

    async def carry_out(self) -> None:
        """Submit all units; what was begun earlier is looked for first and adopted."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self.patience
        is_begun = any(unit.job.attempts > 1 for unit in self.units)
        async for pause in pauses():
            is_late = loop.time() + pause > end + (2 * _SETTLE if any(unit.unclear_since for unit in self.units) else 0)
            try:
                await self._go_on(is_begun)
            except (ConnectionFailed, CommandTimedOut, StateUnknown) as error:
                if not is_passing(error) or is_late:
                    raise
            except CommandFailed as error:
                raise SubmitFailed(f"Jobs can not be submitted: {error}") from error
            if is_late or not any(unit.is_open for unit in self.units):
                return
            is_begun = True

    async def _go_on(self, is_begun: bool) -> None:
        if is_begun:
            await self.settle("look")
        await self._drive([unit for unit in self.units if unit.is_open and unit.unclear_since is None])

    async def _drive(self, units: Sequence[Unit]) -> None:
        """Send one archive that makes the host submit the units."""
        if not units:
            return
        nonce = new_nonce()
        members = await asyncio.to_thread(_members, units)
        command = ["/bin/sh", "-c", UNPACK, "sh", nonce]
        output = await self.run(command, input=tar_stream(members), deadline=self.patience + 3.0 * len(units))
        answer = parse_answer(output, nonce)
        self._judge_answer(answer)
        for unit in units:
            self._take(unit, answer.records.get(unit.token))
        if not answer.is_whole:
            raise ConnectionFailed(f"The connection to {self.host} was lost while it submitted jobs.")

    def _judge_answer(self, answer: Answer) -> None:
        if answer.missing_sbatch is not None:
            raise SubmitFailed(
                f"There is no sbatch on {self.host} (searched {answer.missing_sbatch}). Check that this host is the "
                f"front-end of a Slurm cluster, or put Slurm on the PATH of its login shells."
            )
        if answer.is_cut:
            raise ConnectionFailed(f"The connection to {self.host} was lost while jobs were sent; none was submitted.")

    def _take(self, unit: Unit, record: Record | None) -> None:
        """Note what the host said of a unit."""
        if record is None:
            return  # not reached yet: it is looked for in the next round
        unit.directory = record.directory or unit.directory
        unit.began = record.began[1] or unit.began
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
        unclear = [unit for unit in units if not self._is_settled(unit, answer, wish)]
        if unclear:
            await self._search(unclear, answer)

    async def _look_up(self, units: Sequence[Unit], wish: str) -> Answer:
        nonce = new_nonce()
        lines = (line for unit in units for line in (unit.token, anchored(unit.job.directory)))
        text = script("lookup.sh", nonce, [wish], lines)
        answer = parse_answer(await self.run(["/bin/sh", "-s"], input=text), nonce)
        if not answer.is_whole:
            raise ConnectionFailed(f"The answer of {self.host} about interrupted submissions was cut; ask again.")
        return answer

    def _is_settled(self, unit: Unit, answer: Answer, wish: str) -> bool:
        """Take what the lookup tells of a unit for granted where it leaves no doubt."""
        record = answer.records.get(unit.token)
        if record is None or (not record.lines and not record.runs):
            unit.unclear_since = None  # absent, and the claim on the host keeps it from being submitted twice
            return True
        if record.is_revoked and wish == "revoke":
            return True
        self._take(unit, record)
        if not unit.is_open:
            return True
        if not _has_driver_ended(record, answer):
            unit.unclear_since = answer.now  # it counts from the end of the driver
            return True
        return False

    async def _search(self, units: Sequence[Unit], answer: Answer) -> None:
        """Look for units in squeue and sacct; one that is not there for long enough does not exist."""
        found = await self.find(min(unit.began for unit in units))
        gone = []
        for unit in units:
            unit.job_id = found.get(unit.token, "")
            unit.unclear_since = unit.unclear_since or answer.now
            if not unit.job_id and answer.now - max(unit.unclear_since, unit.began) >= _SETTLE:
                gone.append(unit)
        if gone:
            await self._look_up(gone, "clear")
            for unit in gone:
                unit.unclear_since = None


def _has_driver_ended(record: Record, answer: Answer) -> bool:
    """Tell whether nobody is still at work on a record: sbatch has returned, or its driver is dead."""
    host, began = record.began
    if record.code is not None:
        return True
    return not record.is_alive and (host in ("", answer.host) or answer.now - began > _FOREIGN)


def units_of(job: JobRecord, largest: int) -> list[Unit]:
    """Return the calls of sbatch that a job takes.

    :param largest: the site's MaxArraySize.
    """
    pieces = parts(job.token, job.params.total_jobs, largest)
    units = [Unit(job, part) for part in pieces]
    if job.params.max_simul_jobs:
        for before, unit in zip(units, units[1:], strict=False):
            unit.chain = before.token
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
    if failed[0].unclear_since is not None:
        return StateUnknown(
            f"{failed[0].job}: whether it was submitted is not known, since sbatch was interrupted. "
            f"Submit it again later: it is adopted if it exists."
        )
    return SubmitFailed(f"{failed[0].job}: the Slurm controller can not be reached. Submit it again later.", True)


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
    extra = [Member(name, content.encode(errors="surrogateescape"), 0o600) for name, content in lists.items()]
    return [Member("driver.sh", driver(), 0o600), *extra, *staged.members]


def _placements(units: Iterable[Unit]) -> Iterator[Placement]:
    for unit in units:
        text = render(unit.job.params, unit.part).encode(errors="surrogateescape")
        files = {f"{RECORDS}/{unit.token}.cmd": text}
        if unit.part.first == 0:
            files["batch.cmd"] = text
        yield Placement(unit.job.directory, files, unit.job.params.input_files if unit.part.first == 0 else ())


def _job_lines(unit: Unit) -> str:
    return f"{unit.token} {unit.chain} {_dependency(unit.job)}\n{anchored(unit.job.directory)}\n"


def _dependency(job: JobRecord) -> str:
    ids = job.dependency_ids()
    if not ids:
        return ""
    spec = ",".join(each if ":" in each else f"afterok:{each}" for each in ids)
    return f"--dependency={spec} --kill-on-invalid-dep=yes"
