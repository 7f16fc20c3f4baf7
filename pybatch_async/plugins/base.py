# SPDX-License-Identifier: MIT
"""What every job over a protocol shares: submission, waiting, cancellation, dump and pickle."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import anyio.to_thread

from ..errors import ConfigurationError, JobLost, StateUnknown
from ..interfaces import GenericProtocol, GenericTask
from ..parameters import LaunchParameters, own_copy
from ..protocols import waiting
from ..states import JobInfo, JobState
from ..validation import check_launch, refuse_fields
from .dump import dump_params, load_params, plain_params
from .output import JobOutput
from .queue import HostQueue, adopt, remember
from .staging import sizes_of_inputs
from .task import Tasks
from .ticket import Report, Ticket

FORMAT = 1  # of dump()


class BatchJob(JobOutput):
    """Handle one job of a host's queue.

    :raises ConfigurationError: the parameters are wrong.
    """

    queue_type: ClassVar[type[HostQueue]]
    refused_fields: ClassVar[Mapping[str, str]] = {}

    def __init__(self, params: LaunchParameters, protocol: GenericProtocol) -> None:
        super().__init__(params, protocol)
        self._under_way = 0
        self._given = params  # what the caller described the job with, while it is being submitted
        self.check()

    def check(self) -> None:
        """Refuse parameters that this plugin can not run.

        :raises ConfigurationError: naming every fault at once.
        """
        check_launch(self.params)
        refuse_fields(self.params, self.refused_fields, self.plugin_name)

    @property
    def tasks(self) -> Sequence[GenericTask]:
        """One handle per index of an array; empty for a job that is none."""
        return Tasks(self, self.params.total_jobs if self.is_array else 0)

    @abstractmethod
    def batch_file(self) -> str:
        """Return the text of the batch file, as it is or would be submitted."""

    async def submit(self) -> None:
        """Submit the job; one that is submitted already stays as it is."""
        if self.ticket:
            return
        self.check()
        with self._params_held():
            self.input_sizes = await anyio.to_thread.run_sync(sizes_of_inputs, self.params.input_files)
            await self._settle_dependencies()
            await self._queue.submit(self)

    @contextlib.contextmanager
    def _params_held(self) -> Iterator[None]:
        """Keep parameters of the job's own from here on, which the caller may change and use for another job.

        A job that surely was not submitted goes back to the caller's, so that they can be mended there.
        """
        if not self._under_way:
            self._given, self.params = self.params, own_copy(self.params)
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                is_given_back = self.ticket is None and not self.is_uncertain
                self._given = self.params = self._given if is_given_back else self.params

    async def state(self) -> JobState:
        """Return the state of the job."""
        if not self.ticket and self._is_on_its_way:
            return JobState.IN_PROCESS
        report = await self._look()
        return report.state if report else JobState.CREATED

    async def wait(self) -> JobState:
        """Wait for the end of the job and return its final state."""
        if not await self._is_submitted():
            return JobState.CREATED
        if self.final is None:
            self._keep(await self._queue.wait(self))
        assert self.final is not None
        return self.final.state

    async def exit_code(self) -> int | None:
        """Return the exit code of the command, or the number of the signal that ended it."""
        report = await self._look()
        return report.exit_code if report else None

    async def info(self) -> JobInfo:
        """Return all that the scheduler tells of the job."""
        report = await self._look()
        return report.whole(self.job_id) if report else JobInfo("", await self.state())

    def known(self) -> JobInfo:
        """Return what is known of the job without asking its host: what the last look told."""
        report = self.final or self.seen
        return report.whole(self.job_id) if report else JobInfo(self.job_id, self._early_state())

    async def cancel(self) -> None:
        """Stop the job; one that was never submitted, or has ended, stays as it is."""
        await self._submission_over()
        if self.is_uncertain and self.ticket is None:
            await self._revoke()
        if self.needs_watching:
            await self._queue.cancel(self)

    async def task_info(self, index: int) -> JobInfo | None:
        """Return what is known of one task, even if nobody knows others; None before submission."""
        try:
            report = await self._look()
        except (StateUnknown, JobLost):
            if not self.partial or not self.partial.infos[index].state.is_final:
                raise
            report = self.partial
        return report.infos[index] if report else None

    async def task_end(self, index: int) -> JobState:
        """Wait for the end of one task."""
        if not await self._is_submitted():
            return JobState.CREATED
        known = self.known_task(index)
        if known.state.is_final:
            return known.state
        report = await self._queue.wait_task(self, index)
        self._keep(report)
        return report.infos[index].state

    def known_task(self, index: int) -> JobInfo:
        """Return what is known of one task without asking its host."""
        report = self.final or self.seen
        return report.infos[index] if report else JobInfo("", self._early_state())

    async def cancel_task(self, index: int) -> None:
        """Stop one task of the array."""
        if await self._is_submitted() and self.needs_watching:
            await self._queue.cancel(self, index)

    def dump(self) -> str:
        """Return the job as JSON without secrets, for `reload_job`."""
        data = {
            "format": FORMAT,
            "plugin": self.plugin_name,
            "token": self.token,
            "params": dump_params(self.params),
            "ticket": self.ticket.as_dict() if self.ticket else None,
        }
        return json.dumps(data)

    @classmethod
    def load(cls, data: Mapping[str, Any], protocol: GenericProtocol) -> Self:
        """Make a job from what `dump` wrote of it."""
        job = cls(load_params(data["params"]), protocol)
        job.token = data["token"]
        if data["ticket"]:
            adopt(job, Ticket.from_dict(data["ticket"]))
        else:
            job.attempts, job.is_uncertain = 1, True  # the process that dumped it may have submitted it since
        return job

    def __getstate__(self) -> dict[str, Any]:
        plain = plain_params(self.params)
        return self.__dict__ | {
            "_under_way": 0,
            "_given": plain,
            "in_flight": 0,
            # The copy can not know what is submitted here after this, as one that was loaded from a dump can not.
            "attempts": max(self.attempts, 1),
            "is_uncertain": self.ticket is None,
            "params": plain,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.needs_watching:
            remember(self)

    @property
    def _is_on_its_way(self) -> bool:
        """Tell whether a task of this process is submitting the job."""
        return bool(self._under_way or self.in_flight)

    @property
    def _queue(self) -> HostQueue:
        return self.queue_type.of(self.protocol)

    def _keep(self, report: Report) -> None:
        if report.state.is_final:
            self.final = report

    def _early_state(self) -> JobState:
        """Return the state of a job that nobody has looked at yet."""
        if self.ticket:
            return JobState.QUEUED
        return JobState.IN_PROCESS if self._is_on_its_way else JobState.CREATED

    async def _look(self) -> Report | None:
        """Return what is known of the job; None if it was never submitted."""
        if not self.ticket and not await self._is_submitted():
            return None
        if self.final is None:
            report = await self._queue.look(self)
            self._keep(report)
            return report
        return self.final

    async def _is_submitted(self) -> bool:
        """Tell whether there is a job on the host, asking there if an attempt to submit was interrupted."""
        if self.ticket:
            return True
        await self._submission_over()
        if self.ticket is None and self.is_uncertain:
            ticket = await self._queue.locate(self, revoke=False)
            if ticket:
                adopt(self, ticket)
        return self.ticket is not None

    async def _submission_over(self) -> None:
        """Wait until no task of this process is submitting the job."""
        for pause in waiting.pauses(0.05, 1.0):  # ten thousand may wait here
            if self.ticket or not self._is_on_its_way:
                return
            await asyncio.sleep(pause)

    async def _revoke(self) -> None:
        ticket = await self._queue.locate(self, revoke=True)
        if ticket:
            adopt(self, ticket)
        else:
            self.token, self.attempts, self.is_uncertain = uuid.uuid4().hex, 0, False

    async def _settle_dependencies(self) -> None:
        """Wait until the jobs that this one depends on have an id to be named by."""
        for other in self.params.dependencies:
            if isinstance(other, BatchJob) and not await other._is_submitted():
                raise ConfigurationError(f"dependencies: {other} has to be submitted before {self}.")
        if not self.attempts:  # else it may be there already, and is adopted
            self.dependency_ids()
