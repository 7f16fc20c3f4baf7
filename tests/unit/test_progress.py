# SPDX-License-Identifier: MIT
"""The line that shows how far things are."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from typing import Any

import pytest

from pybatch_async import ConfigurationError, JobState, LaunchParameters, create_job, progress
from pybatch_async.progress import Snapshot, render, states_of

FINISHED, FAILED, RUNNING, QUEUED = JobState.FINISHED, JobState.FAILED, JobState.RUNNING, JobState.QUEUED


class Terminal(io.StringIO):
    """Stand for a terminal."""

    def isatty(self) -> bool:
        return True


class Shy(io.StringIO):
    """Stand for a pipe whose reader is gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_line_counts_each_state_and_tells_the_time_left() -> None:
    snapshot = Snapshot({FINISHED: 9, FAILED: 1, RUNNING: 4, QUEUED: 6}, elapsed=61.0)
    assert render(snapshot) == (
        "[##########..........] 10/20, 1 failed, 9 finished, 4 running, 6 queued, 1:01, about 1:01 left"[:80]
    )
    assert render(snapshot, 200).endswith(", 1:01, about 1:01 left")
    assert len(render(snapshot, 30)) == 30


def test_time_left_is_told_from_what_ended_while_it_was_shown() -> None:
    assert Snapshot({FINISHED: 50, QUEUED: 50}, 10.0, ended_before=40).seconds_left == 50.0
    assert Snapshot({FINISHED: 50, QUEUED: 50}, 10.0, ended_before=50).seconds_left is None
    assert Snapshot({FINISHED: 1, QUEUED: 9999}, 1.0).seconds_left == 9999.0
    assert "2:46:39 left" in render(Snapshot({FINISHED: 1, QUEUED: 9999}, 1.0), 200)


def test_nothing_to_show_is_shown() -> None:
    assert render(Snapshot({})) == "[....................] 0/0, 0:00"


def test_an_array_counts_as_its_tasks() -> None:
    single = create_job("nobatch", LaunchParameters(["true"], "work"))
    array = create_job("nobatch", LaunchParameters(["true"], "work", total_jobs=3))
    assert states_of([single, array]) == [JobState.CREATED] * 4
    assert states_of(array.tasks) == [JobState.CREATED] * 3


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
async def test_the_last_line_tells_how_it_ended(stream: io.StringIO) -> None:
    async with progress([create_job("nobatch", LaunchParameters(["true"], "work"))], stream=stream, interval=0.001):
        await asyncio.sleep(0.05)
    assert stream.getvalue().startswith("\r" if stream.isatty() else "[")
    assert stream.getvalue().endswith("\n")
    assert stream.getvalue().count("\n") == 1, "a line for each change, and there was none"


async def test_a_stream_that_is_gone_stops_nothing() -> None:
    async with progress([], stream=Shy(), interval=0.001):
        await asyncio.sleep(0.01)


async def test_what_the_body_raises_comes_through_and_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    with pytest.raises(KeyError):
        async with progress([], stream=io.StringIO()):
            raise KeyError
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("wrong", [create_job("nobatch", LaunchParameters(["true"], "work")), 3, ["job"]])
async def test_what_are_no_jobs_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="A list of jobs is needed"):
        async with progress(wrong, stream=io.StringIO()):
            pass


def test_counts_may_lack_states() -> None:
    assert Snapshot(Counter([RUNNING])).ended == 0
