# SPDX-License-Identifier: MIT
"""The client that the scenario of the killed client kills: `client.py SETTINGS`, with SETTINGS a JSON object.

It writes the dump of each job before it submits it, and again once it is submitted; what it finds dumped it reloads.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from pybatch_async import AsyncsshProtocol, ConnectionParameters, GenericProtocol, LaunchParameters
from pybatch_async.plugins.coalescer import Bounds
from pybatch_async.plugins.slurm.job import Job
from pybatch_async.plugins.slurm.plugin import Plugin
from pybatch_async.plugins.slurm.queue import SlurmQueue


async def main(settings: dict[str, Any]) -> None:
    """Submit what is not submitted yet."""
    SlurmQueue.submit_bounds = Bounds(items=settings["batch"], calls=2)
    async with AsyncsshProtocol(ConnectionParameters(**settings["connection"])) as protocol:
        jobs = [_job(settings, number, protocol) for number in range(settings["jobs"])]
        print("ready", flush=True)
        await asyncio.gather(*(_submit(job, path) for job, path in jobs))
    print("done", flush=True)


def _job(settings: dict[str, Any], number: int, protocol: GenericProtocol) -> tuple[Job, Path]:
    path = Path(settings["dumps"]) / f"{number}.json"
    if path.exists():
        job = Plugin().reload_job(json.loads(path.read_text()), protocol)
        assert isinstance(job, Job)
        return job, path
    script = ["sh", "-c", "echo ran >> ran.txt"]
    job = Job(LaunchParameters(script, f"{settings['root']}/{number}", wall_time="5"), protocol)
    _keep(job, path)
    return job, path


async def _submit(job: Job, path: Path) -> None:
    await job.submit()
    await asyncio.to_thread(_keep, job, path)


def _keep(job: Job, path: Path) -> None:
    part = path.with_suffix(".part")
    part.write_text(job.dump())
    os.replace(part, path)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
