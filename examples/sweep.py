# SPDX-License-Identifier: MIT
"""Sweep two parameters with a journal: interrupt it, run it again, and it goes on where it was.

sweep.py                     in the directory "sweep" below the current one
sweep.py --directory DIR     elsewhere
sweep.py --retry-failed      run the points anew that failed
sweep.py --cancel            stop the jobs that an interrupted run left going on
"""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

import pybatch_async as pb

SCRIPT = Path(__file__).with_name("lyapunov.py")
POINTS = pb.grid(r=[3.2, 3.5, 3.6, 3.83, 4.0], steps=[10_000, 100_000])


async def collect(job: pb.GenericJob) -> float:
    """Read the result of a job that went well."""
    return float(await job.stdout())


async def main() -> int:
    parser = argparse.ArgumentParser(description="Run a resumable sweep on this machine.")
    parser.add_argument("--directory", type=Path, default=Path("sweep"))
    parser.add_argument("--retry-failed", action="store_true")
    parser.add_argument("--cancel", action="store_true")
    options = parser.parse_args()
    root = options.directory.absolute()

    def make(point: dict[str, Any]) -> pb.LaunchParameters:
        """Describe the job of one point, in a directory of its own."""
        command = [sys.executable, SCRIPT.name, str(point["r"]), str(point["steps"])]
        return pb.LaunchParameters(command, str(root / "{r}_{steps}".format(**point)), input_files=[SCRIPT])

    await asyncio.to_thread(root.mkdir, parents=True, exist_ok=True)
    sweep = pb.Sweep(
        POINTS,
        make,
        plugin="nobatch",
        journal=root / "journal.sqlite",
        collect=collect,
        retry_failed=options.retry_failed,
    )
    async with pb.progress(sweep):
        table = await (sweep.cancel() if options.cancel else sweep.run())
    print(table)
    return 0 if all(row["result"] is not None for row in table) else 1


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except KeyboardInterrupt:
        sys.exit("interrupted; the jobs go on; run it again to resume")
