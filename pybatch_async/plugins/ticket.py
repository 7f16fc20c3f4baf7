# SPDX-License-Identifier: MIT
"""What a job is known by, what the host said of its submission, and what one look told of it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Self

from ..errors import ConfigurationError
from ..interfaces import GenericProtocol
from ..parameters import LaunchParameters
from ..states import JobInfo, JobState, fold_exit_codes, fold_states


@dataclass(frozen=True, slots=True)
class Ticket:
    """Hold what the host said of a submission.

    :param job_ids: the scheduler's ids; several where an array was split, in index order.
    :param directory: the absolute work directory.
    :param submitted_at: seconds since the epoch, by the host's clock.
    :param part: how many tasks each id but the last one stands for.
    """

    job_ids: tuple[str, ...]
    directory: str
    submitted_at: float
    part: int = 1

    def as_dict(self) -> dict[str, Any]:
        """Return the ticket as plain data, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read a ticket back from plain data."""
        return cls(tuple(data["job_ids"]), data["directory"], data["submitted_at"], data["part"])


@dataclass(frozen=True, slots=True)
class Report:
    """Hold what one look told of a job.

    :param infos: one entry a task, in index order; a single one for a job that is no array.
    """

    infos: Sequence[JobInfo]
    state: JobState = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", fold_states(info.state for info in self.infos))

    @property
    def is_partial(self) -> bool:
        """Tell whether nobody knows some of the tasks, while none of the others goes on."""
        return self.state is JobState.IN_PROCESS

    @property
    def is_of_use(self) -> bool:
        """Tell whether a task is known to have ended."""
        return any(info.state.is_final for info in self.infos)

    @property
    def exit_code(self) -> int | None:
        """The exit code, folded over the tasks; None until all have ended."""
        return fold_exit_codes(info.exit_code for info in self.infos) if self.state.is_final else None

    def whole(self, job_id: str) -> JobInfo:
        """Return one JobInfo for the whole job: that of its only task, or the array's folded one."""
        if len(self.infos) == 1:
            return self.infos[0]
        telling = next((info for info in self.infos if info.state is self.state), self.infos[0])
        starts = [info.start_time for info in self.infos if info.start_time]
        ends = [info.end_time for info in self.infos if info.end_time]
        return JobInfo(
            job_id,
            self.state,
            telling.scheduler_state,
            self.exit_code,
            telling.reason,
            ",".join(dict.fromkeys(info.nodes for info in self.infos if info.nodes)),
            telling.submit_time,
            min(starts, default=None),
            max(ends, default=None) if self.state.is_final else None,
            max(info.restarts for info in self.infos),
        )


class JobRecord:
    """Hold what is known of one job: plain data, so that it can be pickled and dumped at any time.

    :param params: what to run.
    :param protocol: how to reach the host.
    """

    plugin_name: ClassVar[str]

    def __init__(self, params: LaunchParameters, protocol: GenericProtocol) -> None:
        self.params = params
        self.protocol = protocol
        self.token = uuid.uuid4().hex  # names the job on the host from now on
        self.ticket: Ticket | None = None
        self.attempts = 0  # how often a submission under this token was begun
        self.in_flight = 0  # how many submissions of it are under way in this process, even if nobody waits for them
        self.is_uncertain = False  # an attempt to submit may have left a job on the host
        self.input_sizes: dict[str, int] = {}  # bytes of each input file, known once submit() has looked at them
        self.seen: Report | None = None  # what the last look told, so that it can be shown without another one
        self.partial: Report | None = None  # what it told, where nobody knew some of the tasks
        self.final: Report | None = None

    @property
    def job_id(self) -> str:
        """The scheduler's id, "" before submission."""
        return self.ticket.job_ids[0] if self.ticket else ""

    @property
    def is_array(self) -> bool:
        """Tell whether the job is an array."""
        return self.params.total_jobs > 1

    @property
    def needs_watching(self) -> bool:
        """Tell whether the job is submitted and not known to have ended."""
        return self.ticket is not None and self.final is None

    @property
    def directory(self) -> str:
        """The work directory: absolute once the host has told it."""
        return self.ticket.directory if self.ticket else self.params.work_directory

    def dependency_ids(self) -> list[str]:
        """Return the ids of the jobs that this one waits for; those known to have ended well need no waiting.

        :raises ConfigurationError: one of them was not submitted yet.
        """
        ids = [
            other if isinstance(other, str | int) else other.job_id
            for other in self.params.dependencies
            if not (isinstance(other, JobRecord) and other.final and other.final.state is JobState.FINISHED)
        ]
        if "" in ids:
            raise ConfigurationError(f"dependencies: a job has to be submitted before {self}, which depends on it.")
        return [str(each) for each in ids]

    def __str__(self) -> str:
        what = f"job {self.job_id}" if self.ticket else f"unsubmitted job {self.token[:8]}"
        name = f" {self.params.name!r}" if self.params.name else ""
        return f"{self.plugin_name} {what}{name} on {host_name(self.protocol)}"

    def __repr__(self) -> str:
        return f"<{self}>"


def host_name(protocol: GenericProtocol) -> str:
    """Return the name of a protocol's host for messages."""
    return str(getattr(protocol, "host", type(protocol).__name__))
