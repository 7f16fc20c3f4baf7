# SPDX-License-Identifier: MIT
"""How far jobs or a sweep have got, shown in a terminal; it shows what is known and asks hosts nothing."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TextIO

import anyio.to_thread

from .interfaces import GenericJob, GenericTask
from .jobs import listed
from .known import known_of
from .states import JobState
from .sweep import Sweep

Shown = Sweep | Iterable[GenericJob | GenericTask]
_BAR = 20  # characters
_WORDS = {JobState.CREATED: "not submitted", JobState.IN_PROCESS: "being submitted"}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Hold how far things are at one moment.

    :param counts: how many are in each state.
    :param elapsed: seconds since the display began.
    :param ended_before: how many had ended when it began.
    """

    counts: Mapping[JobState, int]
    elapsed: float = 0.0
    ended_before: int = 0

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.counts.values())

    @property
    def ended(self) -> int:
        """How many have ended."""
        return sum(count for state, count in self.counts.items() if state.is_final)

    @property
    def seconds_left(self) -> float | None:
        """The seconds until all have ended, if they go on ending as they did; None before the first end."""
        fresh = self.ended - self.ended_before
        return self.elapsed * (self.total - self.ended) / fresh if fresh > 0 else None


def states_of(shown: Shown) -> list[JobState]:
    """Return the known state of each job, of each task of an array, or of each point of a sweep."""
    if isinstance(shown, Sweep):
        return shown.states
    return [known_of(unit).state for job in shown for unit in (getattr(job, "tasks", None) or [job])]


def render(snapshot: Snapshot, width: int = 80) -> str:
    """Write a snapshot as one line.

    :param width: most characters of the line.
    """
    full = _BAR * snapshot.ended // max(snapshot.total, 1)
    states = [
        f"{snapshot.counts[state]} {_WORDS.get(state, state.lower())}"
        for state in reversed(JobState)
        if snapshot.counts.get(state)
    ]
    parts = [f"[{'#' * full}{'.' * (_BAR - full)}] {snapshot.ended}/{snapshot.total}", *states, _times(snapshot)]
    return ", ".join(parts)[:width]


def _times(snapshot: Snapshot) -> str:
    left = snapshot.seconds_left
    expected = "" if not left else f", about {_clock(left)} left"
    return f"{_clock(snapshot.elapsed)}{expected}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@asynccontextmanager
async def progress(shown: Shown, *, stream: TextIO | None = None, interval: float | None = None) -> AsyncIterator[None]:
    """Show how far jobs, tasks or a sweep are while the body runs.

    It shows what those who wait for them learn: the body has to await them.

    :param shown: a sweep, or jobs and tasks; an array counts as its tasks.
    :param stream: where to write; None for standard error. A terminal gets one line that changes, any other stream a
        line for each change.
    :param interval: seconds between two looks; None for 0.5 on a terminal and 10 elsewhere.
    :raises ConfigurationError: something else was given.
    """
    units = shown if isinstance(shown, Sweep) else listed(shown, "wait")
    display = _Display(units, sys.stderr if stream is None else stream, interval)
    task = asyncio.create_task(display.run(), name="pybatch_async progress")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await display.draw(is_last=True)


class _Display:
    def __init__(self, shown: Shown, stream: TextIO, interval: float | None) -> None:
        self._shown = shown
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._interval = interval or (0.5 if self._is_terminal else 10.0)
        self._clock: Callable[[], float] = asyncio.get_running_loop().time
        self._start = self._clock()
        self._ended_before = Snapshot(Counter(states_of(shown))).ended
        self._drawn: Mapping[JobState, int] | None = None

    async def run(self) -> None:
        while True:
            await self.draw()
            await asyncio.sleep(self._interval)

    async def draw(self, is_last: bool = False) -> None:
        """Write the line, in a thread since a stream can block; a stream that is closed is nothing to fail for."""
        snapshot = self._snapshot()
        if not self._is_terminal and self._drawn == snapshot.counts:
            return
        self._drawn = snapshot.counts
        try:
            await anyio.to_thread.run_sync(self._write, self._text(snapshot, is_last))
        except (OSError, ValueError):
            pass

    def _snapshot(self) -> Snapshot:
        before = self._shown.settled_before if isinstance(self._shown, Sweep) else self._ended_before
        return Snapshot(Counter(states_of(self._shown)), self._clock() - self._start, before)

    def _text(self, snapshot: Snapshot, is_last: bool) -> str:
        if not self._is_terminal:
            return f"{render(snapshot, 200)}\n"
        width = shutil.get_terminal_size().columns - 1
        return f"\r{render(snapshot, width).ljust(width)}" + ("\n" if is_last else "")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
