# SPDX-License-Identifier: MIT
"""Find out what became of submissions that were interrupted, or to which sbatch gave no clear answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from ...errors import ConnectionFailed, PybatchException
from ...protocols.framing import new_mark
from ..staging import anchored
from .answers import Answer, AnswerReader, Record
from .scripts import script
from .units import Unit

_FOREIGN = 600.0  # seconds after which a driver on another front-end, which can not be seen from here, has ended

Run = Callable[..., Awaitable[object]]
Find = Callable[[float], Awaitable[dict[str, str]]]


@dataclass(frozen=True, slots=True)
class Settling:
    """Settle units, by their records on the host and by what the controller knows.

    :param host: name of the host, for messages.
    :param run: runs a command on the host and hands on its output.
    :param find: asks squeue and sacct for the jobs since a time and returns their ids by token.
    :param seconds: for so long a controller that answers must not know a job, for it not to exist.
    """

    host: str
    run: Run
    find: Find
    seconds: float

    async def settle(self, units: Iterable[Unit], wish: str) -> bool:
        """Find out what became of open units that may exist on the host.

        :param units: those that are settled already are left alone.
        :param wish: what lookup.sh is to do with an absent one: "look", or "revoke".
        :returns: whether the time during which the controller does not know a unit counts, so that to look again is
            what settles it.
        """
        units = [unit for unit in units if unit.is_open]
        answer = await self._look_up(units, wish)
        for unit in units:
            unit.is_unclear = self._is_unclear(unit, answer, wish)
        unclear = [unit for unit in units if unit.is_unclear]
        gone = [unit for unit in unclear if _has_driver_ended(answer.records[unit.token], answer)]
        for unit in unclear:
            unit.absent_since = unit.absent_since if unit in gone else None
        if gone:
            await self._search(gone, answer)
        return any(unit.is_open for unit in gone)

    async def _look_up(self, units: Sequence[Unit], wish: str) -> Answer:
        nonce = new_mark()
        lines = (line for unit in units for line in (unit.token, anchored(unit.job.directory), unit.intent))
        text = script("lookup.sh", nonce, [wish], lines)
        reader = AnswerReader(nonce)
        await self.run(["/bin/sh", "-s"], input=text, output=reader.take)
        if not reader.answer.is_whole:
            raise ConnectionFailed(f"The answer of {self.host} about interrupted submissions was cut; ask again.")
        return reader.answer

    def _is_unclear(self, unit: Unit, answer: Answer, wish: str) -> bool:
        """Take what the lookup tells of a unit for granted; tell whether it leaves doubt."""
        record = answer.records.get(unit.token, Record())
        if not record.lines and not record.runs:
            return record.is_alive  # absent, and the claim on the host keeps it from being submitted twice
        if record.is_revoked and wish == "revoke":
            return False
        unit.take(record, self.host)
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
            unit.is_unclear = not unit.job_id
            unit.absent_since = now if unit.absent_since is None else unit.absent_since
        gone = [unit for unit in units if not unit.job_id and now - (unit.absent_since or now) >= self.seconds]
        if gone:
            await self._look_up(gone, "clear")
        for unit in gone:
            unit.is_unclear, unit.absent_since = False, None


def _has_driver_ended(record: Record, answer: Answer) -> bool:
    """Tell whether nobody is still at work on a record: sbatch has returned, or its driver is dead."""
    if record.code is not None:
        return True
    if record.is_alive:
        return False
    host, began = record.began
    return host in ("", answer.host) or abs(answer.now - began) > _FOREIGN
