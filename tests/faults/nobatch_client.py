# SPDX-License-Identifier: MIT
"""A client process: submit so many jobs, wait for them, print how many ended well."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from pybatch_async import JobState, LaunchParameters
from pybatch_async.job_factory import create_job
from pybatch_async.plugins.nobatch.queue import NobatchQueue


async def main(root: Path, name: str, count: int) -> None:
    """Run jobs that each leave a line in a file of their own."""
    NobatchQueue.slots = 4
    jobs = [create_job("local", _params(root, f"{name}{number}")) for number in range(count)]
    await asyncio.gather(*(job.submit() for job in jobs))
    states = await asyncio.gather(*(job.wait() for job in jobs))
    codes = await asyncio.gather(*(job.exit_code() for job in jobs))
    print(states.count(JobState.FINISHED), codes.count(0))


def _params(root: Path, name: str) -> LaunchParameters:
    return LaunchParameters(["sh", "-c", f"echo ran >>{root}/ran/{name}; sleep 0.02"], str(root / "work" / name))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
