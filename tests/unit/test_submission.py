# SPDX-License-Identifier: MIT
"""What a submission makes of a host's answers: ids, refusals, doubts."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from pybatch_async import (
    ConnectionFailed,
    LaunchParameters,
    LocalProtocol,
    PathMissing,
    StateUnknown,
    SubmitFailed,
)
from pybatch_async.plugins.poller import is_passing
from pybatch_async.plugins.queue import Pending
from pybatch_async.plugins.slurm.settling import Settling
from pybatch_async.plugins.slurm.submission import Submission
from pybatch_async.plugins.slurm.units import Unit, ticket_of, units_of
from pybatch_async.plugins.ticket import JobRecord, Ticket
from pybatch_async.protocols.remote import Sink

UNREACHED = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"
TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"


class Job(JobRecord):
    """Stand for a job that is being submitted for the first time."""

    plugin_name = "slurm"


class Host:
    """Play a front-end: each command takes the next answer, whose marks it fills in."""

    def __init__(self, *answers: str | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.found: dict[str, str] = {}
        self.silent = 0  # how many questions to the controller get no answer

    async def run(self, argv: list[str], *, input: Any, output: Sink, deadline: float = 0.0) -> None:
        if isinstance(input, str):
            self.asked.append(input)
            nonce = re.findall(r"^set -- (\w+)", input, re.M)[0]
        else:
            nonce = argv[-1]
            self.asked.append(b"".join([chunk async for chunk in input]).decode(errors="replace"))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        await output("".join(f"{nonce} {line}\n" for line in answer.splitlines()).encode())
        if answer.endswith("cut"):
            raise ConnectionFailed("cut")

    async def find(self, since: float) -> dict[str, str]:
        self.silent -= 1
        if self.silent >= 0:
            raise StateUnknown("squeue gave no answer")
        return self.found


def job(attempts: int = 1, **fields: Any) -> Job:
    made = Job(LaunchParameters(["true"], "w", **fields), LocalProtocol())
    made.attempts = attempts
    return made


def told(*answers: tuple[Job, str], end: str = "end") -> str:
    """Write a driver's or a lookup's answer: for each job what sbatch printed, and its code."""
    lines = ["now 1700000000", "host front1"]
    for each, text in answers:
        lines += [f"job {each.token} /w", f"is {each.token} begin 1 front1 1700000000"]
        lines += [f"is {each.token} {line}" for line in text.split("\n")]
    return "\n".join([*lines, end])


async def outcomes(
    host: Host,
    *jobs: Job,
    patience: float = 5.0,
    largest: int = 1001,
    tell: Callable[[JobRecord, Ticket], None] = lambda job, ticket: None,
) -> list[Any]:
    units = {each: units_of(each, largest) for each in jobs}
    settling = Settling("gaia", host.run, host.find, 0.0)
    submission = Submission(
        "gaia", host.run, settling, patience, is_passing, [unit for those in units.values() for unit in those], tell
    )
    await submission.carry_out()
    return [ticket_of(units[each]) for each in jobs]


async def test_all_jobs_travel_in_one_trip() -> None:
    jobs = [job() for _ in range(5)]
    host = Host(told(*((each, f"{number}\nrc 0") for number, each in enumerate(jobs))))
    assert [ticket.job_ids for ticket in await outcomes(host, *jobs) if isinstance(ticket, Ticket)] == [
        (str(number),) for number in range(5)
    ]
    assert len(host.asked) == 1
    assert all(each.token in host.asked[0] for each in jobs)


async def test_a_job_hears_that_it_is_submitted_while_others_are_under_way() -> None:
    first, second, array = job(), job(), job(total_jobs=15)
    heard: list[tuple[JobRecord, Ticket]] = []
    parts = units_of(array, 11)

    def trip(one: Job, job_id: int, part: Unit, end: str) -> str:
        return told((one, f"{job_id}\nrc 0"), end=f"is {part.token} {job_id + 1}\nis {part.token} rc 0\n{end}")

    host = Host(trip(first, 7, parts[0], "cut"), told(), trip(second, 9, parts[1], "end"))

    def tell(job: JobRecord, ticket: Ticket) -> None:
        heard.append((job, ticket))
        assert len(heard) > 1 or len(host.asked) == 1

    tickets = await outcomes(host, first, second, array, tell=tell, largest=11)
    assert [job for job, _ in heard] == [first, second, array]
    assert [ticket for _, ticket in heard] == tickets
    assert tickets[2].job_ids == ("8", "10")
    assert first.token not in host.asked[1]


async def test_a_refusal_fails_its_own_job_in_slurm_s_words() -> None:
    good, bad = job(), job(name="odd")
    host = Host(told((good, "7\nrc 0"), (bad, "sbatch: error: Invalid qos specification\nrc 1")))
    ticket, error = await outcomes(host, good, bad)
    assert isinstance(ticket, Ticket) and ticket.directory == "/w"
    assert isinstance(error, SubmitFailed) and not error.transient
    assert "'odd'" in str(error) and "gaia refused it: Invalid qos specification" in str(error)


async def test_a_submit_limit_is_transient() -> None:
    one = job()
    (error,) = await outcomes(Host(told((one, "sbatch: error: AssocMaxSubmitJobLimit\nrc 1"))), one)
    assert isinstance(error, SubmitFailed) and error.transient


async def test_an_input_that_can_not_be_packed_fails_its_own_job() -> None:
    good, bad = job(), job(input_files=["/nowhere/input.dat"])
    host = Host(told((good, "7\nrc 0")))
    ticket, error = await outcomes(host, good, bad)
    assert isinstance(ticket, Ticket)
    assert isinstance(error, PathMissing) and "input.dat" in str(error)


async def test_a_host_without_sbatch_is_told() -> None:
    with pytest.raises(SubmitFailed, match=r"no sbatch on gaia \(searched /bin\)"):
        await outcomes(Host("nosbatch /bin"), job())


async def test_after_a_cut_answer_what_exists_is_adopted_and_the_rest_submitted() -> None:
    first, second = job(), job()
    host = Host(told((first, "7\nrc 0"), end=""), told(), told((second, "8\nrc 0")))
    tickets = await outcomes(host, first, second)
    assert [ticket.job_ids for ticket in tickets if isinstance(ticket, Ticket)] == [("7",), ("8",)]
    assert [first.token in text for text in host.asked] == [True, False, False]


async def test_after_a_lost_connection_nothing_is_submitted_before_a_look() -> None:
    one = job()
    host = Host(ConnectionFailed("cut"), told((one, "7\nrc 0")))
    (ticket,) = await outcomes(host, one)
    assert isinstance(ticket, Ticket) and ticket.job_ids == ("7",)
    assert len(host.asked) == 2 and "sbatch --parsable" not in host.asked[1]


async def test_an_sbatch_that_timed_out_is_looked_for_by_its_token() -> None:
    one = job()
    host = Host(told((one, f"{TIMED_OUT}\nrc 1")))
    host.found = {one.token: "9"}
    (ticket,) = await outcomes(host, one)
    assert isinstance(ticket, Ticket) and ticket.job_ids == ("9",)
    assert sum("sbatch --parsable" in text for text in host.asked) == 1


async def test_an_unreached_controller_is_tried_again_and_then_a_transient_failure() -> None:
    one = job()
    (error,) = await outcomes(Host(told((one, f"{UNREACHED}\nrc 1"))), one, patience=0.5)
    assert isinstance(error, SubmitFailed) and error.transient


async def test_a_lost_connection_is_raised_when_patience_ends() -> None:
    with pytest.raises(ConnectionFailed, match="cut"):
        await outcomes(Host(ConnectionFailed("cut")), job(), patience=0.5)


async def test_a_job_whose_sbatch_hangs_does_not_hold_up_the_others() -> None:
    quick, stuck = job(), job()
    host = Host(told((quick, "7\nrc 0"), end=f"is {stuck.token} begin 1 front1 5\nalive {stuck.token}\nend"))
    ticket, pending = await outcomes(host, quick, stuck)
    assert isinstance(ticket, Ticket) and isinstance(pending, Pending)
    assert len(host.asked) == 1


async def test_what_was_pending_is_adopted_without_another_sbatch() -> None:
    quick, stuck = job(attempts=2), job(attempts=2)
    hangs = f"is {stuck.token} begin 1 front1 5\nalive {stuck.token}\nend"
    host = Host(told(end=hangs), told(end=hangs), told((stuck, "8\nrc 0")))
    host.found = {stuck.token: "never asked for"}
    (ticket,) = await outcomes(host, stuck)
    assert isinstance(ticket, Ticket) and ticket.job_ids == ("8",)
    host = Host(told((quick, "7\nrc 0"), end=hangs))
    ticket, pending = await outcomes(host, quick, stuck)
    assert isinstance(ticket, Ticket) and isinstance(pending, Pending)
    assert not any("sbatch --parsable" in text for text in host.asked)


async def test_a_controller_that_seems_sick_gets_no_more_jobs_before_it_has_answered() -> None:
    first, second = job(attempts=2), job(attempts=2)
    stopped = told((first, f"{UNREACHED}\nrc 1"), end="stopped\nend")
    host = Host(told(), stopped, told(), told(), told((first, "7\nrc 0"), (second, "8\nrc 0")))
    host.silent = 1
    tickets = await outcomes(host, first, second)
    assert [ticket.job_ids for ticket in tickets if isinstance(ticket, Ticket)] == [("7",), ("8",)]
    assert ["sbatch --parsable" in text for text in host.asked] == [False, True, False, False, True]


async def test_a_lost_connection_takes_no_answer_away_that_was_given() -> None:
    first, second = job(), job()
    host = Host(told((first, "7\nrc 0"), end=""), ConnectionFailed("cut"))
    ticket, error = await outcomes(host, first, second, patience=0.5)
    assert isinstance(ticket, Ticket) and isinstance(error, ConnectionFailed)


async def test_a_part_of_an_array_falls_with_the_one_that_it_waits_for() -> None:
    array = job(total_jobs=20, max_simul_jobs=2)
    host = Host(told((array, "sbatch: error: Invalid qos specification\nrc 1")))
    (error,) = await outcomes(host, array, largest=11)
    assert isinstance(error, SubmitFailed) and "Invalid qos" in str(error)
    assert len(host.asked) == 2


def test_parts_of_a_split_array_wait_for_each_other_only_where_a_limit_asks_for_it() -> None:
    free, limited = (units_of(job(total_jobs=25, max_simul_jobs=limit), 11) for limit in (0, 5))
    assert [unit.before for unit in free] == [None, None, None]
    assert [unit.before for unit in limited] == [None, *limited[:2]]


def test_a_split_array_has_one_ticket() -> None:
    units = units_of(job(total_jobs=25), 11)
    for number, unit in enumerate(units):
        unit.job_id, unit.directory = str(number), "/w"
    ticket = ticket_of(units)
    assert isinstance(ticket, Ticket)
    assert (ticket.job_ids, ticket.part) == (("0", "1", "2"), 10)
