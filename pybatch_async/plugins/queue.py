# SPDX-License-Identifier: MIT
"""The queue of one host, as one event loop sees it: what every plugin's verbs share."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar
from weakref import WeakKeyDictionary, WeakSet, ref

from ..errors import (
    CommandFailed,
    CommandTimedOut,
    ConfigurationError,
    ConnectionFailed,
    HostUnreachable,
    StateUnknown,
    SubmitFailed,
)
from ..interfaces import GenericProtocol, Input
from ..protocols import waiting
from ..protocols.remote import RemoteProtocol, Sink
from .coalescer import Bounds, Coalescer
from .poller import Poller, Polling, is_passing
from .ticket import JobRecord, Report, Ticket, host_name

Result = TypeVar("Result")
_queues: WeakKeyDictionary[GenericProtocol, dict[Any, tuple[ref[asyncio.AbstractEventLoop], HostQueue]]]
_queues = WeakKeyDictionary()
_lock = threading.Lock()  # the event loops of several threads may use one protocol
_submitted: WeakKeyDictionary[GenericProtocol, WeakSet[JobRecord]] = WeakKeyDictionary()


def remember(job: JobRecord) -> None:
    """Note that a job is worth asking about whenever its host is asked about anything."""
    with _lock:
        _submitted.setdefault(job.protocol, WeakSet()).add(job)


def adopt(job: JobRecord, ticket: Ticket) -> None:
    """Take what the host said of a job's submission for true, and watch the job from now on."""
    job.ticket = ticket
    job.is_uncertain = False
    remember(job)


class Pending(StateUnknown):
    """Say that what becomes of a submission takes longer to find out than the others should wait."""


class PartlySubmitted(SubmitFailed):
    """Say that parts of a job were submitted and others not; the next submission, or a cancellation, finds them."""


class HostQueue(ABC):
    """Gather the verbs that wait at the same moment on one host into one command each.

    `polling` says how often the host is asked about jobs; set it on the class, or on the queue of one protocol:
    `SlurmQueue.of(protocol).polling = Polling(shortest=5)`.
    """

    plugins: ClassVar[frozenset[str]]  # the names of the plugins whose jobs wait in such a queue
    polling: Polling = Polling()
    submit_bounds: ClassVar[Bounds] = Bounds(items=250, weight=64 << 20, calls=2)
    patience: float = 120.0  # seconds for which a call that may safely be repeated is tried again

    def __init__(self, protocol: GenericProtocol) -> None:
        self._protocol = ref(protocol)
        self._is_reached = False
        self._submissions = Coalescer[JobRecord, Ticket](self._submit, self.submit_bounds, _weights)
        self._resumptions = Coalescer[JobRecord, Ticket](self._submit, self.submit_bounds, _weights)
        self._cancellations = Coalescer[tuple[JobRecord, int | None], None](self.cancel_many)
        self._poller = Poller[JobRecord, Report](self._query, lambda: self.polling, self._companions, self.may_pass)

    @classmethod
    def of(cls, protocol: GenericProtocol) -> Self:
        """Return the queue of a protocol's host in the running event loop."""
        loop = asyncio.get_running_loop()
        queues = _queues.get(protocol)
        if queues is None:
            queues = _queues[protocol] = {}
        found = queues.get((cls, id(loop)))
        if found is None or found[0]() is not loop:
            for key in [key for key, (other, _) in queues.items() if (it := other()) is None or it.is_closed()]:
                del queues[key]
            found = queues[cls, id(loop)] = (ref(loop), cls(protocol))
        assert isinstance(found[1], cls)
        return found[1]

    @property
    def protocol(self) -> GenericProtocol:
        """The protocol that reaches the host; whoever calls holds it alive."""
        protocol = self._protocol()
        assert protocol is not None
        return protocol

    @property
    def host(self) -> str:
        """The name of the host, for messages."""
        return host_name(self.protocol)

    async def submit(self, job: JobRecord) -> Ticket:
        """Submit a job together with the others that wait now; where its fate is open, it does not hold them up."""
        while True:
            line = self._resumptions if job.attempts else self._submissions
            try:
                return await line.ask(job)
            except Pending:
                continue

    async def cancel(self, job: JobRecord, index: int | None = None) -> None:
        """Cancel a job, or one task of it, together with the others that wait now."""
        await self._cancellations.ask((job, index))
        self._poller.forget(job)

    async def look(self, job: JobRecord) -> Report:
        """Return what is known of a job, a moment old at most."""
        return await self._poller.look(job)

    async def wait(self, job: JobRecord) -> Report:
        """Return what is known of a job once it has ended."""
        return await self._poller.wait(job, lambda report: report.state.is_final)

    async def wait_task(self, job: JobRecord, index: int) -> Report:
        """Return what is known of an array once one of its tasks has ended."""
        return await self._poller.wait(job, lambda report: report.infos[index].state.is_final)

    def tell(self, job: JobRecord, ticket: Ticket) -> None:
        """Have a job know that it is submitted while others that travel with it are still under way."""
        adopt(job, ticket)
        self._submissions.tell(job, ticket)
        self._resumptions.tell(job, ticket)

    @abstractmethod
    async def submit_many(self, jobs: list[JobRecord]) -> Sequence[Ticket | Exception]:
        """Submit jobs; one that has a record on the host already is adopted, never submitted twice."""

    @abstractmethod
    async def cancel_many(self, targets: list[tuple[JobRecord, int | None]]) -> Sequence[None | Exception]:
        """Cancel jobs, or single tasks of them."""

    @abstractmethod
    async def query(self, jobs: list[JobRecord]) -> Mapping[JobRecord, Report | StateUnknown]:
        """Return what is known of each job.

        Leave out a job that nobody knows. Give a StateUnknown for one that somebody may know who gives no answer now.
        """

    @abstractmethod
    async def locate(self, job: JobRecord, revoke: bool) -> Ticket | None:
        """Find out whether a job whose submission was interrupted exists.

        :param revoke: make sure that an absent job can not come into being any more.
        :returns: its ticket; None if there is no such job.
        """

    async def _submit(self, jobs: list[JobRecord]) -> Sequence[Ticket | Exception]:
        """Submit jobs and tell each its ticket, even one whose submitter was cancelled meanwhile."""
        for job in jobs:
            job.attempts += 1
            job.is_uncertain = True
            job.in_flight += 1
        try:
            answers = await self.submit_many(jobs)
        except HostUnreachable:
            if not self._is_reached:
                _call_off(jobs)
            raise
        finally:
            for job in jobs:
                job.in_flight -= 1
        for job, answer in zip(jobs, answers, strict=True):
            if isinstance(answer, Ticket):
                adopt(job, answer)
            elif _is_refusal(answer) and not job.in_flight:  # else another submission of it may yet succeed
                job.attempts, job.is_uncertain = 0, False
        return answers

    async def _query(self, jobs: list[JobRecord]) -> Mapping[JobRecord, Report | StateUnknown]:
        """Ask about jobs, and note on each what was learnt."""
        was_reached = self._is_reached
        reports = await self.query(jobs)
        if not was_reached:
            self._poller.discount()
        for job, report in reports.items():
            if report is job.seen or not isinstance(report, Report):  # the same as last time, as most of them are
                continue
            if report.is_partial:
                job.partial = report
            else:
                job.seen = report
                job.final = report if report.state.is_final else job.final
        return reports

    def _companions(self) -> Iterable[JobRecord]:
        with _lock:
            jobs = list(_submitted.get(self.protocol, ()))
        return [job for job in jobs if job.plugin_name in self.plugins and job.needs_watching]

    async def run(
        self, argv: Sequence[str], *, input: Input = None, output: Sink | None = None, deadline: float = 120.0
    ) -> str:
        """Run a command on the host within a deadline.

        :param output: takes the standard output as it comes, or at the end where the protocol tells it only then.
        :param deadline: seconds.
        :returns: the standard output; "" where it was taken.
        :raises CommandTimedOut: it did not end by then.
        """
        try:
            async with asyncio.timeout(deadline) as scope:
                answer = await _run(self.protocol, argv, input, output)
            self._is_reached = True
            return answer
        except CommandFailed:
            self._is_reached = True
            raise
        except TimeoutError as error:
            if isinstance(error, CommandTimedOut) or not scope.expired():
                raise
            raise CommandTimedOut(argv, self.host, deadline) from error

    async def repeat(self, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """Make an attempt again, with growing pauses, while it fails in a way that may pass.

        :param attempt: coroutine function that may safely be called again.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self.patience
        async for pause in pauses():
            try:
                return await attempt()
            except (ConnectionFailed, CommandTimedOut) as error:
                if not self.may_pass(error) or loop.time() + pause > end:
                    raise
        raise AssertionError("the pauses never end")

    def may_pass(self, error: Exception) -> bool:
        """Tell whether what failed may succeed later by itself; a host that never answered is rather a wrong one."""
        return is_passing(error) and (self._is_reached or not isinstance(error, HostUnreachable))


async def _run(protocol: GenericProtocol, argv: Sequence[str], input: Input, output: Sink | None) -> str:
    if output is None:
        return await protocol.run(argv, input=input)
    if isinstance(protocol, RemoteProtocol):
        done = await protocol.pipe(argv, input, output)
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace")
            raise CommandFailed(argv, protocol.host, done.returncode, "", said)
    else:
        await output((await protocol.run(argv, input=input)).encode(errors="replace"))
    return ""


async def pauses() -> AsyncIterator[float]:
    """Yield how long the pause before the next attempt will be, and make it, jittered and growing to 10 s."""
    for pause in waiting.pauses(0.2, 10.0):
        yield pause
        await asyncio.sleep(pause)


def _is_refusal(answer: Exception) -> bool:
    """Tell whether there surely is no job."""
    return isinstance(answer, SubmitFailed | ConfigurationError) and not isinstance(answer, PartlySubmitted)


def _call_off(jobs: Iterable[JobRecord]) -> None:
    """Note that the attempt under way has sent nothing."""
    for job in jobs:
        job.attempts -= 1
        job.is_uncertain = job.attempts > 0


def _weights(job: JobRecord) -> dict[str, int]:
    return job.input_sizes
