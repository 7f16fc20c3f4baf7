# SPDX-License-Identifier: MIT
"""Sweep a parameter on this machine: one job a point, all submitted and awaited from one event loop.

No batch manager is needed: the plugin "nobatch" keeps a queue of its own here, with a slot for each CPU.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import pybatch_async as pb

SCRIPT = Path(__file__).with_name("lyapunov.py")
POINTS = [3.0 + step / 24 for step in range(25)]


def make_job(r: float, root: Path) -> pb.GenericJob:
    """Describe the job of one point; nothing happens yet."""
    params = pb.LaunchParameters(
        [sys.executable, SCRIPT.name, str(r)],
        str(root / f"r_{r:.4f}"),
        name=f"lyapunov {r:.4f}",
        input_files=[SCRIPT],
        wall_time="2",  # minutes
    )
    return pb.create_job("nobatch", params)


async def show(r: float, job: pb.GenericJob) -> bool:
    """Print one row of the table; tell whether the point has a result."""
    state, code, text = await job.state(), await job.exit_code(), await job.stdout()
    is_good = state == pb.JobState.FINISHED and code == 0
    result = f"{float(text):+.6f}  {'chaos' if float(text) > 0 else 'order'}" if is_good else await job.stderr()
    print(f"{r:8.4f}  {state:<10} {code!s:>9}  {result}")
    return is_good


async def main() -> int:
    with tempfile.TemporaryDirectory(prefix="quickstart-") as directory:
        jobs = [make_job(r, Path(directory)) for r in POINTS]
        await asyncio.gather(*(job.submit() for job in jobs))
        await asyncio.gather(*(job.wait() for job in jobs))

        print(f"{'r':>8}  {'state':<10} {'exit code':>9}  Lyapunov exponent")
        good = [await show(r, job) for r, job in zip(POINTS, jobs, strict=True)]
        print(f"{sum(good)} of {len(jobs)} points have a result.")
        return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
