# SPDX-License-Identifier: MIT
"""Submit many jobs, of which some go wrong, and handle each as it ends.

`submit_all` tells what went wrong with each job instead of stopping at the first; `as_completed` yields the jobs as
their ends become known.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import pybatch_async as pb

CODES = [0, 0, 3, 0, 0, 0, 7, 0, 0, 0]


def make_jobs(root: Path) -> list[pb.GenericJob]:
    """Describe one job for each exit code, and one whose input file does not exist."""
    good = [
        pb.LaunchParameters(["sh", "-c", f"echo I am {n}; exit {code}"], str(root / str(n)), name=f"n{n}")
        for n, code in enumerate(CODES)
    ]
    bad = pb.LaunchParameters(["true"], str(root / "bad"), name="bad", input_files=[root / "no such file"])
    return [pb.create_job("nobatch", params) for params in [*good, bad]]


async def main() -> int:
    with tempfile.TemporaryDirectory(prefix="many-jobs-") as directory:
        jobs = make_jobs(Path(directory))
        outcomes = await pb.submit_all(jobs)
        for job, error in zip(jobs, outcomes, strict=True):
            if error is not None:
                print(f"{job.params.name} was not submitted: {error}")

        submitted = [job for job, error in zip(jobs, outcomes, strict=True) if error is None]
        async for job in pb.as_completed(submitted):
            print(f"job {job.job_id} ended: {await job.state()}, exit code {await job.exit_code()}")

        states = await pb.wait_all(submitted)
        print(f"{states.count(pb.JobState.FINISHED)} finished, {states.count(pb.JobState.FAILED)} failed.")
        return 0 if states.count(pb.JobState.FAILED) == 2 else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
