# SPDX-License-Identifier: MIT
"""What the queue of a Slurm front-end makes of its programs' answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from pybatch_async import LaunchParameters, LocalProtocol, StateUnknown
from pybatch_async.plugins.slurm.queue import SlurmQueue
from pybatch_async.plugins.ticket import JobRecord, Ticket


class Job(JobRecord):
    """Stand for a submitted job."""

    plugin_name = "slurm"


class FrontEnd(SlurmQueue):
    """Play a front-end without scontrol that submits one job and lists none; sacct gives the codes it is told to."""

    def __init__(self, *sacct: int) -> None:
        super().__init__(LocalProtocol())
        self.sacct = list(sacct)
        self.token = ""

    async def run(self, argv: Sequence[str], *, input: Any = None, output: Any = None, deadline: float = 0.0) -> str:
        if input:
            if output:
                lines = (f"job {self.token} /w", f"is {self.token} 7", f"is {self.token} rc 0", "end")
                await output("".join(f"{argv[4]} {line}\n" for line in lines).encode())
                return ""
            return f"{re.findall(r'^set -- (.*)', input, re.M)[0]} end\n"
        if "scontrol" in argv[2]:
            return f"{argv[4]} begin\n{argv[4]} rc 1\n"
        code = self.sacct.pop(0) if "\nsacct " in argv[2] else 0
        return f"{argv[4]} begin\n{argv[4]} rc {code}\n"


async def test_accounting_that_answers_one_of_two_questions_has_not_answered() -> None:
    jobs = [Job(LaunchParameters(["true"], "w"), LocalProtocol()) for _ in range(2001)]
    for number, job in enumerate(jobs):
        job.ticket = Ticket((str(number),), "/w", 1.7e9)
    assert await FrontEnd(0, 0).query([*jobs]) == {}
    for codes in ((0, 1), (1, 0)):
        told = await FrontEnd(*codes).query([*jobs])
        assert len(told) == 2001 and all(isinstance(each, StateUnknown) for each in told.values())


async def test_an_array_whose_bounds_are_not_told_fails_alone() -> None:
    job, array = (Job(LaunchParameters(["true"], "w", total_jobs=total), LocalProtocol()) for total in (1, 5))
    front = FrontEnd()
    front.token = job.token
    ticket, error = await asyncio.gather(front.submit(job), front.submit(array), return_exceptions=True)
    assert isinstance(ticket, Ticket) and ticket.job_ids == ("7",)
    assert isinstance(error, StateUnknown) and "scontrol" in str(error)
    assert (array.attempts, array.is_uncertain) == (0, False)
