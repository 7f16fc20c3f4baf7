# SPDX-License-Identifier: MIT
"""The ways to submit and to look: this library, and the least work that one ssh command can do."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from pybatch_async import AsyncsshProtocol, GenericJob, LaunchParameters, create_job
from tests.benchmarks.site import Link, Site

PENDING = "down"  # the partition whose jobs never start: what is measured is submission alone

# What a careful user would write: N work directories, N batch files, the input in each, N times sbatch.
_LOOP = """\
cat > input.txt <<'END OF INPUT'
{text}
END OF INPUT
number=0
while [ "$number" -lt {count} ]; do
    directory=$PWD/{tag}/$number
    mkdir -p "$directory/logs"
    cat > "$directory/batch.cmd" <<'END OF BATCH'
#!/bin/bash -l
#SBATCH --output=logs/output.log
#SBATCH --error=logs/error.log
#SBATCH --job-name=floor
#SBATCH --partition={partition}
{command}
END OF BATCH
    cp input.txt "$directory/"
    sbatch --parsable --chdir "$directory" "$directory/batch.cmd" < /dev/null
    number=$((number + 1))
done
"""


@dataclass(frozen=True)
class Work:
    """Say what every contender has to do: submit jobs that take one input file each.

    :param tag: name of the directory of the host in which the work directories are made.
    :param inputs: the input file of each job; the same one for all, or one for each.
    """

    tag: str
    inputs: Sequence[Path]
    command: tuple[str, ...] = ("true",)
    partition: str = PENDING

    @property
    def count(self) -> int:
        """How many jobs there are."""
        return len(self.inputs)


@contextlib.asynccontextmanager
async def logged_in(site: Site, link: Link) -> AsyncIterator[AsyncsshProtocol]:
    """Log in before the clock starts."""
    async with AsyncsshProtocol(site.parameters(link)) as protocol:
        await protocol.run(["true"])
        yield protocol


@contextlib.asynccontextmanager
async def bare_login(site: Site, link: Link) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """Log in with nothing between us and asyncssh."""
    async with asyncssh.connect(
        site.server.host,
        link.port,
        username=site.server.user,
        client_keys=[str(site.server.client_key)],
        known_hosts=str(site.server.known_hosts),
        config=None,
    ) as connection:
        await connection.run("true")
        yield connection


def jobs_of(work: Work, protocol: AsyncsshProtocol) -> list[GenericJob]:
    """Make the handles of this library's jobs."""
    return [
        create_job(
            "slurm",
            LaunchParameters(
                list(work.command), f"{work.tag}/{number}", name="ours", partition=work.partition, input_files=[path]
            ),
            protocol,
        )
        for number, path in enumerate(work.inputs)
    ]


async def submit(jobs: Sequence[GenericJob]) -> float:
    """Submit jobs with the obvious code and return the seconds it took."""
    start = time.perf_counter()
    await asyncio.gather(*(job.submit() for job in jobs))
    return time.perf_counter() - start


async def submit_by_this_library(site: Site, link: Link, work: Work) -> float:
    """Return the seconds that this library takes to submit."""
    async with logged_in(site, link) as protocol:
        seconds = await submit(jobs_of(work, protocol))
    return seconds


async def submit_by_the_floor(site: Site, link: Link, work: Work) -> float:
    """Return the seconds that one command takes which loops on the host; all jobs have the same input."""
    text = await asyncio.to_thread(work.inputs[0].read_text)
    script = _LOOP.format(
        text=text, count=work.count, tag=work.tag, partition=work.partition, command=" ".join(work.command)
    )
    async with bare_login(site, link) as connection:
        start = time.perf_counter()
        done = await connection.run("/bin/sh -s", input=script, check=True)
        seconds = time.perf_counter() - start
    assert str(done.stdout).split().__len__() == work.count
    return seconds


async def look_with_this_library(jobs: Sequence[GenericJob]) -> float:
    """Return the seconds that the states of all jobs take."""
    start = time.perf_counter()
    await asyncio.gather(*(job.state() for job in jobs))
    return time.perf_counter() - start


async def look_with_one_squeue(connection: asyncssh.SSHClientConnection) -> float:
    """Return the seconds that one squeue for all jobs takes."""
    start = time.perf_counter()
    await connection.run("squeue -h --me -t all -o '%i %T'", check=True)
    return time.perf_counter() - start
