# SPDX-License-Identifier: MIT
"""Measure connections in one run: `python -m tests.benchmarks.connections` (as root: it starts its own sshd).

First, what the pool costs: `/bin/true` one after another and eight at once, by the ssh program with a ControlMaster, by
bare asyncssh and by AsyncsshProtocol, in turns. (Bare asyncssh leaves a command's input open unless told otherwise; the
protocol ends it, which takes one packet more.) Then, whether many operations at once pass within sshd's limits.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import statistics
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import asyncssh

from pybatch_async.protocols.asyncssh import AsyncsshProtocol
from tests.services.accounts import Accounts
from tests.services.connection import connection_to
from tests.services.sshd import Sshd, SshdOptions, SshKeys, make_keys
from tests.services.workspace import Workspace

ROUNDS = 80
COMMANDS = 8  # a round: short ones, so that a busy machine disturbs all ways alike
RUNS, DOWNLOADS = 300, 40

Work = Callable[[], Awaitable[object]]


def main() -> None:
    """Start the servers, measure, and print the figures."""
    workspace = Workspace()
    try:
        keys, accounts = make_keys(workspace), Accounts(workspace)
        # Many sessions: bare asyncssh fails at sshd's ten, even with eight commands at a time when they are short.
        with _running(workspace, keys, accounts, SshdOptions(max_sessions=100)) as server:
            asyncio.run(_overhead(server, workspace.root))
        limits = {
            "sshd's defaults": SshdOptions(),
            "MaxSessions 1": SshdOptions(max_sessions=1),
            "MaxStartups 2:100:2": SshdOptions(max_startups="2:100:2"),
        }
        print(f"\n{RUNS} run() and {DOWNLOADS} download() at once")
        for name, options in limits.items():
            with _running(workspace, keys, accounts, options) as server:
                asyncio.run(_burst(name, server, workspace.root))
    finally:
        workspace.close()


@contextlib.contextmanager
def _running(workspace: Workspace, keys: SshKeys, accounts: Accounts, options: SshdOptions) -> Iterator[Sshd]:
    with contextlib.closing(Sshd(workspace, keys, accounts.plain(), options)) as server:
        server.start()
        yield server


# What the pool costs


async def _overhead(server: Sshd, root: Path) -> None:
    control = ["-o", "ControlMaster=auto", "-o", f"ControlPath={root}/cm", "-o", "ControlPersist=60"]
    options = ["-F", "none", "-i", str(server.client_key), "-o", f"UserKnownHostsFile={server.known_hosts}"]
    argv = ["ssh", *options, *control, "-p", str(server.port), f"{server.user}@{server.host}"]
    bare = await asyncssh.connect(
        server.host,
        server.port,
        username=server.user,
        client_keys=[str(server.client_key)],
        known_hosts=str(server.known_hosts),
        config=None,
        encryption_algs="^aes128-gcm@openssh.com",
    )

    async def ssh_program() -> None:
        process = await asyncio.create_subprocess_exec(*argv, "/bin/true", stdin=subprocess.DEVNULL)
        assert await process.wait() == 0

    async with AsyncsshProtocol(connection_to(server)) as protocol:
        ways: dict[str, Work] = {
            "ssh + ControlMaster": ssh_program,
            "bare asyncssh run()": lambda: bare.run("/bin/true", check=True),
            "the same with EOF": lambda: bare.run("/bin/true", check=True, stdin=asyncssh.DEVNULL),
            "AsyncsshProtocol": lambda: protocol.run(["/bin/true"]),
        }
        await _compare("one after another", ways, _one_after_another)
        await _compare("eight at once", ways, _eight_at_once)
        print(f"  {protocol!r}")
    bare.close()
    await bare.wait_closed()
    await asyncio.to_thread(subprocess.run, [*argv, "-O", "exit"], check=False, capture_output=True)


async def _compare(title: str, ways: dict[str, Work], pattern: Callable[[Work], Awaitable[None]]) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for work in ways.values():
        await pattern(work)  # warm up, untimed
    gc.collect()
    for turn in range(ROUNDS):
        names = list(ways)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            await pattern(ways[name])
            seconds[name].append((time.perf_counter() - start) / COMMANDS)
    print(f"\n/bin/true {title}: ms each, median of {ROUNDS} rounds; median ratio to the bare one of the same round")
    bare = seconds["bare asyncssh run()"]
    for name, values in seconds.items():
        ratio = statistics.median(mine / other for mine, other in zip(values, bare, strict=True))
        print(f"  {name:22} {statistics.median(values) * 1e3:7.2f}   {ratio:5.2f}")


async def _one_after_another(work: Work) -> None:
    for _ in range(COMMANDS):
        await work()


async def _eight_at_once(work: Work) -> None:
    async def worker() -> None:
        for _ in range(COMMANDS // 8):
            await work()

    await asyncio.gather(*(worker() for _ in range(8)))


# Many at once within the server's limits


async def _burst(name: str, server: Sshd, root: Path) -> None:
    async with AsyncsshProtocol(connection_to(server)) as protocol:
        await protocol.create("burst.txt", "x" * 10_000)
        counts = [0]
        watching = asyncio.create_task(_count_connections(server, counts))
        start = time.perf_counter()
        outcomes = await asyncio.gather(
            *(protocol.run(["echo", str(number)]) for number in range(RUNS)),
            *(protocol.download(["burst.txt"], root / f"got-{number}") for number in range(DOWNLOADS)),
            return_exceptions=True,
        )
        seconds = time.perf_counter() - start
        watching.cancel()
        await asyncio.wait((watching,))
        failures = [each for each in outcomes if isinstance(each, BaseException)]
        print(f"  {name:22} {seconds:6.2f} s, {len(failures)} failed, at most {max(counts)} connections; {protocol!r}")
        for failure in failures[:3]:
            print(f"    {failure!r}")


async def _count_connections(server: Sshd, counts: list[int]) -> None:
    while True:
        counts.append(len(await asyncio.to_thread(server.connections)))
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    main()
