# SPDX-License-Identifier: MIT
"""Let one event loop wait for ten thousand jobs of a cluster that exists as text only, and watch the loop."""

from __future__ import annotations

import asyncio
import gc
import json
import time
import tracemalloc
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pybatch_async import GenericJob, JobState, LaunchParameters, create_job, reload_job
from pybatch_async.interfaces import Input
from pybatch_async.plugins.poller import Polling
from pybatch_async.plugins.slurm.queue import SlurmQueue

_BEAT = 0.001  # seconds between two heartbeats of the loop


class ScriptedCluster:
    """Answer as a front-end would whose squeue lists these jobs; a GenericProtocol.

    :param tokens: the names of the jobs, whose ids are 1, 2, 3…
    """

    host = "scripted"

    def __init__(self, tokens: Sequence[str]) -> None:
        self.queries = 0
        self._pending = self._rows(tokens, "PENDING|0|Priority|0|1795363459|N/A|N/A|")
        self._completed = self._rows(tokens, "COMPLETED|0|None|0|1795363459|1795363470|1795363480|n1")
        self.has_ended = False

    @staticmethod
    def _rows(tokens: Sequence[str], fields: str) -> str:
        return "".join(
            f"{number}|{fields}|/home/user/work/{number}/.pybatch_async/{token}.cmd|\n"
            for number, token in enumerate(tokens, 1)
        )

    async def run(self, command: Sequence[str], *, input: Input = None) -> str:
        """Answer squeue; nothing else should be asked."""
        assert "squeue" in command[2], command
        nonce = command[4]
        self.queries += 1
        return f"{nonce} begin\n{self._completed if self.has_ended else self._pending}{nonce} rc 0\n"

    async def upload(self, local_entries: Iterable[str | Path], remote_path: str) -> None:
        """Take no files."""
        raise NotImplementedError

    async def download(self, remote_entries: Iterable[str], local_path: str | Path) -> None:
        """Have no files."""
        raise NotImplementedError

    async def create(self, remote_path: str, content: str) -> None:
        """Take no files."""
        raise NotImplementedError

    async def read(self, remote_path: str) -> str:
        """Have no files."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Have nothing open."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        return None


@dataclass(frozen=True)
class Crowd:
    """Hold what was seen while one loop waited for many jobs.

    :param start: the longest stall while all the `wait()` began, in one `asyncio.gather`.
    :param waiting: the same while they waited.
    :param end: the same while all of them ended.
    :param cpu: processor seconds a tick.
    :param memory: bytes a job, with the tasks that wait.
    """

    count: int
    ticks: int
    start: Stall
    waiting: Stall
    end: Stall
    cpu: float
    memory: float


@dataclass(frozen=True)
class Stall:
    """Hold the longest that a loop was deaf.

    :param wall: in seconds of the clock, which a busy machine lengthens.
    :param own: in seconds of processor time of the loop's own thread.
    :param collector: longest run of Python's garbage collector in any thread, in seconds of the clock.
    """

    wall: float
    own: float
    collector: float


class Heart:
    """Beat every millisecond, and note the longest pause between two beats."""

    def __init__(self) -> None:
        self._wall = self._own = self._collector = self._began = 0.0
        gc.callbacks.append(self._note_collection)
        self._task = asyncio.create_task(self._beat())

    def take(self) -> Stall:
        """Return the longest pause since the last call, beyond the beat itself."""
        stall = Stall(self._wall, self._own, self._collector)
        self._wall = self._own = self._collector = 0.0
        return stall

    async def stop(self) -> None:
        """End it."""
        gc.callbacks.remove(self._note_collection)
        self._task.cancel()
        await asyncio.wait((self._task,))

    def _note_collection(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self._collector = max(self._collector, time.perf_counter() - self._began)

    async def _beat(self) -> None:
        wall, own = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(_BEAT)
            now, spent = time.perf_counter(), time.thread_time()
            self._wall = max(self._wall, now - wall - _BEAT)
            self._own = max(self._own, spent - own)
            wall, own = now, spent


def submitted_jobs(count: int) -> tuple[list[GenericJob], ScriptedCluster]:
    """Make handles of jobs that were submitted some other day."""
    tokens = [uuid.uuid4().hex for _ in range(count)]
    cluster = ScriptedCluster(tokens)
    dump = json.loads(create_job("slurm", LaunchParameters(["true"], "work"), cluster).dump())
    jobs = []
    for number, token in enumerate(tokens, 1):
        ticket = {"job_ids": [str(number)], "directory": f"/home/user/work/{number}", "submitted_at": 1.0, "part": 1}
        jobs.append(reload_job(json.dumps(dump | {"token": token, "ticket": ticket}), cluster))
    return jobs, cluster


async def watch_crowd(count: int, ticks: int, polling: Polling | None = None, is_frozen: bool = False) -> Crowd:
    """Wait for jobs that end after some ticks, and tell what that cost.

    :param is_frozen: whether the program calls `gc.freeze()` once its jobs wait, as one with so many objects may.
    """
    memory = await _memory(count)
    jobs, cluster = submitted_jobs(count)
    SlurmQueue.of(cluster).polling = polling or Polling()
    gc.collect()
    heart = Heart()
    waiting = asyncio.gather(*(job.wait() for job in jobs))
    await _ticks(cluster, 1)
    if is_frozen:
        gc.collect()
        gc.freeze()
        await asyncio.sleep(10 * _BEAT)
    start = heart.take()
    cpu = time.process_time()
    await _ticks(cluster, ticks)
    cpu = (time.process_time() - cpu) / ticks
    waited = heart.take()
    cluster.has_ended = True
    states = await waiting
    end = heart.take()
    await heart.stop()
    gc.unfreeze()
    assert set(states) == {JobState.FINISHED}
    return Crowd(count, ticks, start, waited, end, cpu, memory)


async def _ticks(cluster: ScriptedCluster, count: int) -> None:
    """Let some queries pass, and the sharing out of the last one's answer."""
    wanted = cluster.queries + count
    while cluster.queries < wanted:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)


async def _memory(count: int) -> float:
    """Return the bytes that each job and the task which waits for it take."""
    cluster = ScriptedCluster([])
    dump = json.loads(create_job("slurm", LaunchParameters(["true"], "work"), cluster).dump())
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    jobs, cluster = submitted_jobs(count)
    own = len(cluster._pending) + len(cluster._completed) + len(json.dumps(dump))
    waiting = asyncio.gather(*(job.wait() for job in jobs))
    await _ticks(cluster, 2)
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] - before - own
    tracemalloc.stop()
    cluster.has_ended = True
    await waiting
    return used / count
