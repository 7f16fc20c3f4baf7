# SPDX-License-Identifier: MIT
"""The batched verbs of one Slurm front-end."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, TypeVar

from ...errors import CommandFailed, PybatchException, StateUnknown
from ...interfaces import GenericProtocol
from ...protocols.framing import new_mark
from ..queue import HostQueue, pauses
from ..ticket import JobRecord, Report, Ticket
from .answers import between, framed
from .ledger import Ledger, RunRecord, parse_runs, task_id, unchanged
from .parsing import SACCT_FIELDS, SACCT_FIELDS_BEFORE_21_08, SQUEUE_FORMAT, Row, parse_sacct, read_squeue
from .scripts import command, script
from .settling import Settling
from .submission import Submission
from .units import Unit, ticket_of, units_of

Parsed = TypeVar("Parsed")

_SHELL = ["/bin/sh", "-s"]
_LARGE = 100_000  # characters; a longer answer is parsed in a thread, so that it does not stall the loop
_MANY = 1000  # tasks; what is known of more of them is put together in a thread, for the same reason
_AT_ONCE = 2000  # ids on one command line
_DEFAULT_MAX_ARRAY_SIZE = 1001  # man slurm.conf
_ACCOUNTING_PAUSE = 5.0  # seconds between two questions to sacct, which sites limit more than squeue
_CLOCKS_APART = 2 * 86400.0  # seconds by which the clocks of front-end and controller may differ


class SlurmQueue(HostQueue):
    """Submit, watch and cancel the jobs of one front-end; see HostQueue for what can be set.

    :cvar settling: seconds for which a controller that answers must not know a job whose sbatch was interrupted, until
        that job does not exist and may be submitted anew.
    """

    plugins: ClassVar[frozenset[str]] = frozenset({"slurm"})
    settling: float = 30.0

    def __init__(self, protocol: GenericProtocol) -> None:
        super().__init__(protocol)
        self._max_array: int | None = None
        self._config_lock = asyncio.Lock()
        self._sacct_fields = SACCT_FIELDS
        self._rows: dict[str, Row] = {}  # of the last answer of squeue, by line
        self._has_accounting = True
        self._is_accounting_silent = False
        self._accounting_asked = float("-inf")

    async def submit(self, job: JobRecord) -> Ticket:
        """Submit a job together with the others that wait now, once what it needs to know of the site is known."""
        await self._largest_array(job)  # here, where it fails for an array alone
        return await super().submit(job)

    async def submit_many(self, jobs: list[JobRecord]) -> Sequence[Ticket | Exception]:
        """Submit jobs in one trip; one that has a record on the host already is adopted."""
        units = {job: units_of(job, await self._largest_array(job)) for job in dict.fromkeys(jobs)}
        await self._submission([unit for those in units.values() for unit in those]).carry_out()
        return [ticket_of(units[job]) for job in jobs]

    async def locate(self, job: JobRecord, revoke: bool) -> Ticket | None:
        """Find out whether a job whose submission was interrupted exists."""
        units = units_of(job, await self._largest_array(job))
        async for _ in pauses():
            can_settle = await self.repeat(lambda: self._settling.settle(units, "revoke" if revoke else "look"))
            if not revoke or not can_settle:
                break
        if any(unit.is_unclear for unit in units):
            raise StateUnknown(
                f"{job}: whether it was submitted is not known yet; ask again later, or settle it: submit or cancel it."
            )
        found = [unit for unit in units if unit.job_id]
        ticket = ticket_of(found) if found and (revoke or len(found) == len(units)) else None
        return ticket if isinstance(ticket, Ticket) else None

    async def cancel_many(self, targets: list[tuple[JobRecord, int | None]]) -> Sequence[None | Exception]:
        """Cancel jobs and tasks with one scancel; unknown and finished ones are no error to it (man scancel)."""
        for some in _chunks(targets):
            await self.repeat(lambda some=some: self._cancel(some))  # type: ignore[misc]
        return [None] * len(targets)

    async def query(self, jobs: list[JobRecord]) -> Mapping[JobRecord, Report | StateUnknown]:
        """Ask squeue about all jobs, then their own records and sacct about those that have left the queue."""
        rows = await self._squeue()
        same = unchanged(jobs, rows)
        rest = [job for job in jobs if job not in same]
        if not rest:
            return same
        are_many = sum(job.params.total_jobs for job in rest) > _MANY
        ledger = Ledger(rest)
        await _apart(are_many, lambda: ledger.enter_rows(rows))
        if missing := ledger.incomplete():
            ledger.enter_runs(await self._runs(missing))
        if missing := ledger.unexplained():
            ledger.enter_ends(await self._accounting(missing))
        return same | await _apart(are_many, lambda: self._with_unanswered(ledger))

    def _with_unanswered(self, ledger: Ledger) -> dict[JobRecord, Report | StateUnknown]:
        """Tell the jobs that nobody knows from those that only the accounting could know, which gives no answer."""
        reports: dict[JobRecord, Report | StateUnknown] = dict(ledger.reports())
        if self._is_accounting_silent:
            for job in ledger.unexplained():
                silent = f"{job}: it has left the queue, and sacct on {self.host} gives no answer; ask again later."
                if not isinstance(told := reports.get(job), Report) or told.is_partial:
                    reports[job] = StateUnknown(silent)
        return reports

    def _submission(self, units: list[Unit]) -> Submission:
        return Submission(self.host, self.run, self._settling, self.patience, self.may_pass, units, self.tell)

    @property
    def _settling(self) -> Settling:
        return Settling(self.host, self.run, self._find, self.settling)

    async def _cancel(self, targets: Sequence[tuple[JobRecord, int | None]]) -> None:
        ids = [each for job, index in targets for each in _ids(job, index)]
        nonce = new_mark()
        text = script("cancel.sh", nonce, ids, _wishes(targets))
        body, code = between(await self.run(_SHELL, input=text), nonce)
        if code != 0:
            raise self._failure("scancel", body, code)

    async def _ask(self, name: str, program: str, *arguments: str) -> str:
        """Run one of the scripts that frame a program's answer, and return the answer."""
        nonce = new_mark()
        body, code = between(await self.run(command(name, nonce, arguments)), nonce)
        if code != 0:
            raise self._failure(program, body, code)
        return body

    async def _squeue(self) -> list[Row]:
        answer = await self._ask("poll.sh", "squeue", SQUEUE_FORMAT)
        self._rows = await _apart(len(answer) > _LARGE, lambda: read_squeue(answer, self._rows))
        return list(self._rows.values())

    async def _runs(self, jobs: Sequence[JobRecord]) -> list[RunRecord]:
        nonce = new_mark()
        lines = (line for job in jobs for line in (job.token, job.directory))
        output = await self.run(_SHELL, input=script("records.sh", nonce, lines=lines))
        if f"{nonce} end" not in output:
            raise StateUnknown(f"The answer of {self.host} about the jobs' own records was cut; ask again.")
        return await _parse(lambda text: parse_runs(framed(text, nonce)), output)

    async def _accounting(self, jobs: Sequence[JobRecord]) -> list[Row]:
        """Ask sacct, which not every site has and which may be down: then it tells nothing."""
        now = asyncio.get_running_loop().time()
        if not self._has_accounting or now - self._accounting_asked < _ACCOUNTING_PAUSE:
            return []
        self._accounting_asked = now
        self._is_accounting_silent = False  # until one of the questions gets no answer
        # Ids are recycled: none much older is ours.
        since = min(job.ticket.submitted_at for job in jobs if job.ticket) - _CLOCKS_APART
        ids = [job_id for job in jobs if job.ticket for job_id in job.ticket.job_ids]
        return [row for some in _chunks(ids) for row in await self._sacct(since, ",".join(some))]

    async def _sacct(self, since: float, ids: str) -> list[Row]:
        try:
            answer = await self._ask("account.sh", "sacct", self._sacct_fields, str(int(max(since, 0))), ids)
        except (StateUnknown, CommandFailed) as error:
            self._heed(str(error), error)
            return []
        return await _parse(parse_sacct, answer)

    def _heed(self, said: str, error: PybatchException) -> None:
        """Note why sacct gave no answer: where there is no accounting at all, it is not asked again."""
        if "accounting storage is disabled" in said or (isinstance(error, CommandFailed) and error.returncode == 127):
            self._has_accounting = False
        if "nvalid field" in said:
            self._sacct_fields = SACCT_FIELDS_BEFORE_21_08
        self._is_accounting_silent = self._has_accounting

    async def _find(self, since: float) -> dict[str, str]:
        """Return the ids of all our jobs that squeue and sacct know, by token."""
        rows = await self._squeue()
        if self._has_accounting:
            rows += await self._sacct(since - _CLOCKS_APART, "")
        return {row.token: row.job_id for row in rows if row.token}

    async def _largest_array(self, job: JobRecord) -> int:
        """Return the site's MaxArraySize, asked for once."""
        if not job.is_array:
            return _DEFAULT_MAX_ARRAY_SIZE
        async with self._config_lock:
            if self._max_array is None:
                answer = await self.repeat(lambda: self._ask("config.sh", "scontrol"))
                found = re.search(r"^MaxArraySize\s*=\s*(\d+)", answer, re.M)
                self._max_array = int(found[1]) if found else _DEFAULT_MAX_ARRAY_SIZE
        return self._max_array

    def _failure(self, program: str, said: str, code: int | None) -> PybatchException:
        """Return the error for a program that gave no answer: a passing one, unless the program is not there."""
        text = " ".join(said.split())[-500:]
        if code == 127:
            return CommandFailed([program], self.host, code, "", f"{text} Is this the front-end of a Slurm cluster?")
        return StateUnknown(f"{program} on {self.host} gave no answer ({text or 'none at all'}); ask again later.")


async def _parse(parser: Callable[[str], Iterable[Parsed]], text: str) -> list[Parsed]:
    return await _apart(len(text) > _LARGE, lambda: list(parser(text)))


async def _apart(is_long: bool, work: Callable[[], Parsed]) -> Parsed:
    """Do work that would stall the loop in a thread."""
    return await asyncio.to_thread(work) if is_long else work()


def _chunks(items: Sequence[Parsed]) -> Iterator[Sequence[Parsed]]:
    return (items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE))


def _ids(job: JobRecord, index: int | None) -> list[str]:
    assert job.ticket is not None
    return list(job.ticket.job_ids) if index is None else [task_id(job, index)]


def _wishes(targets: Iterable[tuple[JobRecord, int | None]]) -> Iterator[str]:
    for job, index in targets:
        yield job.token
        yield "all" if index is None else str(index)
        yield job.directory
