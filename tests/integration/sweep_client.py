# SPDX-License-Identifier: MIT
"""A client process of the tests: run a sweep on this machine, and say each point as it ends."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

from pybatch_async import GenericJob, LaunchParameters, Sweep, grid

POINTS = grid(a=range(6), b=range(5))


def sweep_of(root: Path) -> Sweep:
    """Describe 30 points; each run of one adds a line to the point's own file."""

    def make(point: dict[str, Any]) -> LaunchParameters:
        name = "{a}_{b}".format(**point)
        script = f"echo ran >> {root}/ran/{name}; sleep 0.1; expr {point['a']} \\* 10 + {point['b']}; :"
        return LaunchParameters(["sh", "-c", script], str(root / "work" / name))

    return Sweep(POINTS, make, plugin="nobatch", journal=root / "journal", collect=collect)


async def collect(job: GenericJob) -> int:
    """Read the number that a job printed."""
    return int(await job.stdout())


async def main(root: Path) -> None:
    async with aclosing(sweep_of(root).as_completed()) as rows:
        async for row in rows:
            print(row["a"], row["b"], row["state"], flush=True)  # noqa: T201  # this is what the test waits for


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
