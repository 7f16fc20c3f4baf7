# SPDX-License-Identifier: MIT
"""Run a job array on this machine and await each of its tasks on its own.

An array is one job for the scheduler. Its command gets the index of the task as its last argument; here the shell
looks that line up in a file of points.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import pybatch_async as pb

SCRIPT = Path(__file__).with_name("lyapunov.py")
POINTS = [3.5 + step / 16 for step in range(9)]
COMMAND = f'exec "{sys.executable}" {SCRIPT.name} "$(sed -n "$(($1 + 1))p" points.txt)"'


def make_array(root: Path) -> pb.GenericJob:
    """Describe the array; two of its tasks run at the same time."""
    points = root / "points.txt"
    points.write_text("".join(f"{r}\n" for r in POINTS))
    params = pb.LaunchParameters(
        ["sh", "-c", COMMAND, "task"],
        str(root / "array"),
        total_jobs=len(POINTS),
        max_simul_jobs=2,
        input_files=[SCRIPT, points],
    )
    return pb.create_job("nobatch", params)


async def result_of(task: pb.GenericTask) -> str:
    """Wait for one task and return its row."""
    state = await task.wait()
    return f"task {task.index}: r = {POINTS[task.index]:.4f}, {state}, {(await task.stdout()).strip()}"


async def main() -> int:
    with tempfile.TemporaryDirectory(prefix="array-") as directory:
        job = make_array(Path(directory))
        await job.submit()
        for row in asyncio.as_completed([result_of(task) for task in job.tasks]):
            print(await row)
        print(f"the array as a whole: {await job.state()}, exit code {await job.exit_code()}")
        return await job.exit_code() or 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
