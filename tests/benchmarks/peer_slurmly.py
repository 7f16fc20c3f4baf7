# SPDX-License-Identifier: MIT
"""Submit with slurmly what standard input says, with the most commands at once that survives; run by its own Python."""

import asyncio
import json
import sys
import time
from typing import Any

from slurmly import JobSpec, SlurmSSHClient
from slurmly.exceptions import SlurmlyError
from slurmly.ssh.transport import AsyncSSHTransport, SSHConfig


async def attempt(task: dict[str, Any], at_once: int) -> dict[str, object]:
    """Submit the jobs, look at them, and return the seconds."""
    config = SSHConfig(
        task["host"],
        task["user"],
        task["port"],
        key_path=task["key"],
        known_hosts_path=task["known_hosts"],
        accept_unknown_hosts=False,
        upload_method="heredoc",  # fewer round trips than its sftp
    )
    base = f"{task['home']}/slurmly"
    transport = AsyncSSHTransport(config)
    async with SlurmSSHClient(
        transport=transport, remote_base_dir=base, account="any", max_concurrent_commands=at_once
    ) as client:
        await client._run("true", operation="login", check=True)
        start = time.perf_counter()
        spec = JobSpec(name="peer", command=["true"], partition="down")
        jobs = await asyncio.gather(*(client.submit(spec) for _ in range(task["count"])))
        submit = time.perf_counter() - start
        start = time.perf_counter()
        found = await client.get_jobs([job.slurm_job_id for job in jobs])
        look = time.perf_counter() - start
        assert len(found) == len(jobs), (len(found), len(jobs))
    return {"submit": submit, "look": look, "note": f"{at_once} commands at once"}


def main() -> None:
    """Try settings, the boldest first."""
    task = json.load(sys.stdin)
    for at_once in (task["workers"], 6, 5, 4, 3, 2, 1):
        try:
            result = asyncio.run(attempt(task, at_once))
        except (SlurmlyError, AssertionError) as error:
            print(f"slurmly with {at_once} commands at once: {type(error).__name__}: {error}"[:300], file=sys.stderr)
        else:
            print(json.dumps(result))
            return
    sys.exit(1)


if __name__ == "__main__":
    main()
