# SPDX-License-Identifier: MIT
"""Submit many jobs in one trip, each exactly once, whatever happens to the connection or to the controller."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
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
from ...protocols.archive import tar_stream
from ...protocols.framing import new_mark
from ..queue import Pending, pauses
from ..ticket import JobRecord, Ticket
from .answers import Answer, AnswerReader, Record
from .packing import members
from .scripts import UNPACK
from .settling import Run, Settling
from .units import Unit, ticket_of


@dataclass(slots=True)
class Submission:
    """Carry units to their end: an id, or an error.

    :param host: name of the host, for messages.
    :param run: runs a command on the host and hands on its output.
    :param settling: finds out what became of units, should that be open.
    :param patience: seconds for which what may pass is tried again.
    :param may_pass: tells whether a failure may pass.
    :param tell: is given each job that is submitted, with its ticket, while others are still under way.
    :param is_sick: the controller seems to be sick: it has to answer a question before it is given more to do.
    """

    host: str
    run: Run
    settling: Settling
    patience: float
    may_pass: Callable[[Exception], bool]
    units: list[Unit] = field(default_factory=list)
    tell: Callable[[JobRecord, Ticket], None] = lambda job, ticket: None
    is_sick: bool = False

    async def carry_out(self) -> None:
        """Submit all units; what was begun earlier is looked for first and adopted.

        What would hold up those whose fate is known becomes Pending.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self.patience
        is_begun = any(unit.job.attempts > 1 for unit in self.units)
        async for pause in pauses():
            more = 2 * self.settling.seconds if any(unit.is_unclear for unit in self.units) else 0.0
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
            await self.settling.settle(self.units, "look")
        for unit in self._open_units():
            unit.error = unit.before.error if unit.before else None
        ready = [unit for unit in self._open_units() if not unit.is_unclear]
        if ready and (self.is_sick or len(ready) < len(self._open_units())):
            await self.settling.find(max(unit.began for unit in self.units))  # fails if the controller does not answer
            self.is_sick = False
        await self._drive(ready)

    async def _drive(self, units: Sequence[Unit]) -> None:
        """Send one archive that makes the host submit the units."""
        if not units:
            return
        nonce = new_mark()
        reader = AnswerReader(nonce, self._told(units))
        packed = await asyncio.to_thread(members, units)
        command = ["/bin/sh", "-c", UNPACK, "sh", nonce]
        deadline = self.patience + 3.0 * len(units)
        try:
            await self.run(command, input=tar_stream(packed), output=reader.take, deadline=deadline)
        except TransferFailed as error:
            return await self._drive_apart(units, error)
        except CommandFailed as error:
            if error.returncode is not None and 0 < error.returncode < 128:
                raise
            raise ConnectionFailed(f"What submitted jobs on {self.host} was killed there.") from error
        answer = reader.answer
        self._judge_answer(answer)
        for unit in units:
            unit.take(answer.records.get(unit.token), self.host)
        self.is_sick = answer.is_stopped
        if not answer.is_whole:
            raise ConnectionFailed(f"The connection to {self.host} was lost while it submitted jobs.")

    def _told(self, units: Sequence[Unit]) -> Callable[[str, Record], None]:
        """Return what passes a job's ticket on as soon as it has one; all else waits for the end of the answer."""
        by_token = {unit.token: unit for unit in units}
        siblings: dict[JobRecord, list[Unit]] = {}
        for unit in self.units:
            siblings.setdefault(unit.job, []).append(unit)

        def note(token: str, record: Record) -> None:
            unit = by_token.get(token)
            if unit and record.job_id:
                unit.take(record, self.host)
                ticket = ticket_of(siblings[unit.job])
                if isinstance(ticket, Ticket):
                    self.tell(unit.job, ticket)

        return note

    async def _drive_apart(self, units: Sequence[Unit], error: TransferFailed) -> None:
        """Submit in halves what could not be packed together, so that a bad input fails its own job alone."""
        jobs = list(dict.fromkeys(unit.job for unit in units))
        if len(jobs) == 1:
            for unit in units:
                unit.error = error
            return
        first = set(jobs[: len(jobs) // 2])
        await self._drive([unit for unit in units if unit.job in first])
        await self._drive([unit for unit in units if unit.job not in first])

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
