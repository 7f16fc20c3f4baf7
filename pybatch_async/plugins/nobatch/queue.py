# SPDX-License-Identifier: MIT
"""The queue of a host without a batch manager: each verb is one call of the manager, for any number of jobs."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from ...errors import CommandFailed, CommandTimedOut, PybatchException, StateUnknown, SubmitFailed
from ...interfaces import GenericProtocol
from ...parameters import LaunchParameters
from ...protocols.archive import tar_stream
from ...protocols.framing import new_mark
from ...protocols.local import LocalProtocol
from ..poller import Polling
from ..queue import HostQueue
from ..staging import Copy, Staged, stage
from ..ticket import JobRecord, Report, Ticket
from . import bundle
from .answers import answer_of, refuse, translated
from .records import described, placement, record_name, report_of, ticket_of

SHORT = 120.0  # seconds for a call that moves no files
SUBMISSION = 3600.0
DEFAULT_PYTHON = LaunchParameters([], "").python_exe


class NobatchQueue(HostQueue):
    """Run jobs on a host without a batch manager, so many at a time.

    :cvar slots: how many slots the host gives the jobs of this user; a job takes ntasks x cpus_per_task of them. 0 for
        no limit, a negative number for its CPU count; None for what the host was told last, which is its CPU count
        if it never was. Sent with each submission.
    :cvar grace: seconds between TERM and KILL for a job that is cancelled or has had its time.
    """

    plugins = frozenset({"nobatch", "local"})
    polling = Polling(shortest=0.2, longest=10.0, share=4.0)
    slots: int | None = None
    grace: float = 5.0

    def __init__(self, protocol: GenericProtocol) -> None:
        super().__init__(protocol)
        self._has_manager = False

    async def submit_many(self, jobs: list[JobRecord]) -> Sequence[Ticket | Exception]:
        """Submit jobs; one that has a record on the host already is adopted, never submitted twice."""
        return await _by_python(jobs, self._python, self._submit_group)

    async def cancel_many(self, targets: list[tuple[JobRecord, int | None]]) -> Sequence[None | Exception]:
        """Cancel jobs, or single tasks of them."""
        return await _by_python(targets, lambda target: self._python(target[0]), self._cancel_group)

    async def query(self, jobs: list[JobRecord]) -> Mapping[JobRecord, Report | StateUnknown]:
        """Return what is known of each job; leave out a job that nobody knows."""
        reports = await _by_python(jobs, self._python, self._query_group)
        return {job: _known(report) for job, report in zip(jobs, reports, strict=True) if report is not None}

    async def locate(self, job: JobRecord, revoke: bool) -> Ticket | None:
        """Find out whether a job whose submission was interrupted exists."""
        request = {"token": job.token, "revoke": revoke}
        answer = await self.repeat(lambda: self._call(self._python(job), "locate", request))
        refuse(answer, StateUnknown, self.host)
        return ticket_of(answer["job"]) if answer["job"] else None

    def _python(self, job: JobRecord) -> str:
        """Return the interpreter for the manager; on this machine, unless another one is named, the one that runs."""
        named = job.params.python_exe
        is_own = named == DEFAULT_PYTHON and isinstance(self.protocol, LocalProtocol) and not hasattr(sys, "frozen")
        return sys.executable if is_own and sys.executable else named

    async def _submit_group(self, python: str, jobs: list[JobRecord]) -> Sequence[Ticket | Exception]:
        staged = self._staged(jobs)
        request = {
            "slots": self.slots,
            "jobs": [self._described(job) for job in jobs],
            "copies": [self._copied(copy) for copy in staged.copies],
        }
        answer = await self.repeat(lambda: self._call(python, "submit", request, staged))
        refuse(answer, SubmitFailed, self.host)
        return [self._submitted(job, each) for job, each in zip(jobs, answer["jobs"], strict=True)]

    def _described(self, job: JobRecord) -> dict[str, Any]:
        return described(job, self.grace)

    def _staged(self, jobs: Sequence[JobRecord]) -> Staged:
        return stage(placement(job) for job in jobs)

    def _copied(self, copy: Copy) -> list[Any]:
        return [copy.source, copy.directory]

    def _submitted(self, job: JobRecord, answer: Mapping[str, Any]) -> Ticket | Exception:
        if "error" in answer:
            return SubmitFailed(f"{job} was not submitted. {answer['error']}")
        return ticket_of(answer)

    async def _cancel_group(self, python: str, targets: list[tuple[JobRecord, int | None]]) -> Sequence[None]:
        request = {"jobs": [[record_name(job), index] for job, index in targets]}
        answer = await self.repeat(lambda: self._call(python, "cancel", request))
        refuse(answer, StateUnknown, self.host)
        return [None] * len(targets)

    async def _query_group(self, python: str, jobs: list[JobRecord]) -> Sequence[Report | None]:
        answer = await self._call(python, "states", {"jobs": [record_name(job) for job in jobs]})
        refuse(answer, StateUnknown, self.host)
        found = zip(jobs, answer["jobs"], strict=True)
        return [report_of(job, each, answer["host"]) if each else None for job, each in found]

    async def _call(
        self, python: str, verb: str, request: Mapping[str, Any], staged: Staged | None = None
    ) -> dict[str, Any]:
        """Call the manager; it is sent along until this host is known to have it."""
        answer = await self._call_once(python, verb, request, staged, is_sent=not self._has_manager)
        if "absent" in answer:
            answer = await self._call_once(python, verb, request, staged, is_sent=True)
        self._has_manager = not answer.keys() & {"cache", "profile", "old"}
        return answer

    async def _call_once(
        self, python: str, verb: str, request: Mapping[str, Any], staged: Staged | None, is_sent: bool
    ) -> dict[str, Any]:
        mark = new_mark()
        argv = bundle.command(python, mark, verb)
        try:
            deadline = SUBMISSION if staged else SHORT
            output = await self.run(argv, input=_input(request, staged, is_sent), deadline=deadline)
        except CommandTimedOut:
            raise
        except CommandFailed as error:
            raise translated(error, python, self.host, verb) from error
        return answer_of(output, mark, python, self.host, verb)


Group = Callable[[str, list[Any]], Awaitable[Sequence[Any]]]


async def _by_python(items: list[Any], python: Callable[[Any], str], call: Group) -> list[Any]:
    """Make one call for all items of the same interpreter, and keep the failures of one from the others."""
    answers: dict[int, Any] = {}
    groups: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        groups.setdefault(python(item), []).append(number)
    for name, numbers in groups.items():
        try:
            found = await call(name, [items[number] for number in numbers])
        except PybatchException as error:
            if len(groups) == 1:
                raise
            found = [error] * len(numbers)
        answers.update(zip(numbers, found, strict=True))
    return [answers[number] for number in range(len(items))]


def _known(report: Report | Exception) -> Report | StateUnknown:
    return report if isinstance(report, Report | StateUnknown) else StateUnknown(str(report))


async def _input(request: Mapping[str, Any], staged: Staged | None, is_sent: bool) -> AsyncIterator[bytes]:
    source = bundle.source() if is_sent else b""
    yield b"%d\n%s%s\n" % (len(source), source, json.dumps(request).encode())
    if staged:
        async for piece in tar_stream(staged.members):
            yield piece
