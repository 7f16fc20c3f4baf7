# SPDX-License-Identifier: MIT
"""Measure the queue of nobatch in one run: `python -m tests.benchmarks.nobatch` (as root: it starts its own sshd).

On this machine and through ssh: a thousand jobs of /bin/true against a floor of `xargs -P$(nproc)` that makes the same
directories, logs and exit files, in turns; the state of a thousand jobs; what a thousand queued jobs take on the host.
Then 200 jobs of one second on two slots, counted from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from pybatch_async import ConnectionParameters, GenericProtocol, JobState, LaunchParameters
from pybatch_async.plugins.nobatch.job import NobatchJob
from pybatch_async.plugins.nobatch.queue import NobatchQueue
from pybatch_async.protocols.asyncssh import AsyncsshProtocol
from pybatch_async.protocols.local import LocalProtocol
from tests.services.accounts import Accounts
from tests.services.connection import connection_to
from tests.services.sshd import Sshd, SshdOptions, make_keys
from tests.services.workspace import Workspace

JOBS, ROUNDS = 1000, 3
SLEEPERS, SLOTS = 200, 2

# The shell is dash here, which starts faster than any other.
_FLOOR = """mkdir -p "$0/$1/logs" && cd "$0/$1" && {
/bin/true >logs/output.log 2>logs/error.log </dev/null; printf %s $? >logs/exit_code.log; }"""


def main() -> None:
    """Measure, and print the figures."""
    workspace = Workspace()
    try:
        root = workspace.root / "nobatch"
        os.environ.update(XDG_STATE_HOME=str(root / "state"), XDG_CACHE_HOME=str(root / "cache"))
        asyncio.run(_figures("on this machine", LocalProtocol(), root, root))
        with _server(workspace) as (server, connection):
            asyncio.run(_through_ssh(connection, server.home))
        asyncio.run(_sleepers(root))
    finally:
        workspace.close()


@contextlib.contextmanager
def _server(workspace: Workspace) -> Iterator[tuple[Sshd, ConnectionParameters]]:
    keys, accounts = make_keys(workspace), Accounts(workspace)
    with contextlib.closing(Sshd(workspace, keys, accounts.plain(), SshdOptions())) as server:
        server.start()
        yield server, connection_to(server)


async def _through_ssh(connection: ConnectionParameters, home: Path) -> None:
    async with AsyncsshProtocol(connection) as protocol:
        await _figures("through ssh", protocol, home / "benchmark", home)


async def _figures(where: str, protocol: GenericProtocol, root: Path, home: Path) -> None:
    print(f"\n{where}")
    await _run([NobatchJob(LaunchParameters(["/bin/true"], str(root / "first")), protocol)])
    await _throughput(protocol, root)
    await _state(protocol, root)
    await _queued(protocol, root, home)


async def _throughput(protocol: GenericProtocol, root: Path) -> None:
    """Compare with the floor, in turns, so that a busy machine disturbs both alike."""
    ours, floors = [], []
    for number in range(ROUNDS):
        floors.append(await _floor(protocol, root / f"floor{number}"))
        begun = time.perf_counter()
        await _run(_jobs(protocol, root / f"round{number}", JOBS, ["/bin/true"]))
        ours.append(time.perf_counter() - begun)
    one, other = statistics.median(ours), statistics.median(floors)
    pairs = ", ".join(f"{mine:.2f}/{floor:.2f}" for mine, floor in zip(ours, floors, strict=True))
    print(f"  {JOBS} jobs of /bin/true: {one:.2f} s, floor {other:.2f} s: {one / other:.2f} x (rounds {pairs})")


async def _floor(protocol: GenericProtocol, directory: Path) -> float:
    command = ["xargs", f"-P{os.cpu_count()}", "-n1", "/bin/sh", "-c", _FLOOR, str(directory)]
    begun = time.perf_counter()
    await protocol.run(command, input="".join(f"{number}\n" for number in range(JOBS)))
    return time.perf_counter() - begun


async def _state(protocol: GenericProtocol, root: Path) -> None:
    jobs = _jobs(protocol, root / "state", JOBS, ["/bin/true"])
    await _run(jobs)
    queue = NobatchQueue.of(protocol)
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        reports = await queue.query([*jobs])
        times.append(time.perf_counter() - begun)
    print(f"  state of {len(reports)} jobs, one command: {statistics.median(times):.3f} s (most {max(times):.3f} s)")


async def _queued(protocol: GenericProtocol, root: Path, home: Path) -> None:
    queue = NobatchQueue.of(protocol)
    queue.slots = 1
    blocker = NobatchJob(LaunchParameters(["sleep", "1000"], str(root / "blocker")), protocol)
    await blocker.submit()
    before = _disk(home)
    jobs = _jobs(protocol, root / "queued", JOBS, ["/bin/true"])
    await asyncio.gather(*(job.submit() for job in jobs))
    memory, disk = _memory(home), _disk(home) - before
    print(
        f"  {JOBS} queued jobs: {memory / 2**20:.1f} MB of memory, {disk / 2**20:.1f} MB of disk, work directories too"
    )
    await asyncio.gather(*(job.cancel() for job in [*jobs, blocker]))
    await asyncio.gather(*(job.wait() for job in [*jobs, blocker]))
    queue.slots = os.cpu_count()


async def _sleepers(root: Path) -> None:
    protocol = LocalProtocol()
    NobatchQueue.of(protocol).slots = SLOTS
    meter = root / "meter"
    subprocess.run(["mkdir", str(meter)], check=True)  # noqa: ASYNC221 - nothing else runs
    command = ["sh", "-c", f": >{meter}/$$; sleep 1; rm {meter}/$$"]
    begun = time.perf_counter()
    running = asyncio.create_task(_run(_jobs(protocol, root / "sleepers", SLEEPERS, command)))
    most = 0
    while not running.done():
        most = max(most, len(os.listdir(meter)))
        await asyncio.sleep(0.002)
    await running
    seconds, least = time.perf_counter() - begun, SLEEPERS / SLOTS
    print(
        f"\n{SLEEPERS} jobs of 1 s on {SLOTS} slots: {seconds:.1f} s ({least:.0f} s at least), at most {most} at once"
    )


def _jobs(protocol: GenericProtocol, root: Path, count: int, command: list[str]) -> list[NobatchJob]:
    return [NobatchJob(LaunchParameters(command, str(root / str(number))), protocol) for number in range(count)]


async def _run(jobs: list[NobatchJob]) -> None:
    await asyncio.gather(*(job.submit() for job in jobs))
    states = await asyncio.gather(*(job.wait() for job in jobs))
    assert set(states) == {JobState.FINISHED}


def _memory(home: Path) -> int:
    """Return the memory of a queue's processes: their share of what they have in common (PSS)."""
    keeper = next(home.rglob("keeper.lock")).read_text().strip()
    found = 0
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            if path.name == keeper or parent == keeper:
                lines = (path / "smaps_rollup").read_text().splitlines()
                found += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return found


def _disk(home: Path) -> int:
    return int(subprocess.run(["du", "-s", "-B1", str(home)], check=True, capture_output=True).stdout.split()[0])


if __name__ == "__main__":
    main()
