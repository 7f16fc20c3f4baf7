# SPDX-License-Identifier: MIT
"""The file that makes a sweep resumable."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pybatch_async import ConfigurationError, JobState
from pybatch_async.sweep.journal import Entry, Journal, JournalFailed, key_of

WRITER = """
import asyncio, os, signal, sys
from pybatch_async.sweep.journal import Entry, Journal

async def main():
    journal = Journal(sys.argv[1])
    await journal.open()
    await asyncio.gather(*(journal.record(Entry(f"{number}", job="dump")) for number in range(20)))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def contents(path: Path) -> dict[str, Entry]:
    """Open a journal, and close it again."""
    journal = Journal(path)
    try:
        return await journal.open()
    finally:
        await journal.aclose()


async def written(path: Path, *entries: Entry) -> None:
    """Make a journal of some entries."""
    journal = Journal(path)
    await journal.open()
    await asyncio.gather(*map(journal.record, entries))
    await journal.aclose()


async def test_what_was_recorded_last_is_found_again(tmp_path: Path) -> None:
    first, last = Entry("k", job="dump"), Entry("k", "dump", JobState.FINISHED, 0, {"a": [1.5, None]}, "late")
    other = Entry("other", state=JobState.FAILED, exit_code=9)
    await written(tmp_path / "j", first, other)
    await written(tmp_path / "j", last)
    assert await contents(tmp_path / "j") == {"k": last, "other": other}


async def test_only_its_owner_can_read_it_and_its_companions(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    await journal.open()
    await journal.record(Entry("k"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in map(tmp_path.joinpath, os.listdir(tmp_path))} == {0o600}
    await journal.aclose()
    assert os.listdir(tmp_path) == ["j"]


async def test_recorded_entries_outlive_a_killed_process(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", WRITER, str(tmp_path / "j")]
    done = await asyncio.to_thread(subprocess.run, argv, timeout=60, check=False)
    assert done.returncode == -9
    assert {entry.job for entry in (await contents(tmp_path / "j")).values()} == {"dump"}
    assert len(await contents(tmp_path / "j")) == 20


async def test_a_second_user_is_refused_until_the_first_has_closed_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    await journal.open()
    with pytest.raises(ConfigurationError, match="in use by another sweep"):
        await contents(tmp_path / "j")
    await journal.record(Entry("k"))
    await journal.aclose()
    assert list(await contents(tmp_path / "j")) == ["k"]


async def test_other_files_are_left_alone(tmp_path: Path) -> None:
    text, foreign = tmp_path / "text", tmp_path / "foreign"
    text.write_text("my notes " * 100)
    with closing(sqlite3.connect(foreign)) as database:
        database.execute("CREATE TABLE mine (a)")
    for path in (text, foreign):
        before = path.read_bytes()
        with pytest.raises(ConfigurationError, match="is no journal of a sweep"):
            await contents(path)
        assert path.read_bytes() == before


async def test_a_place_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        JournalFailed, match=r"j could not be opened: the directory .*missing does not exist: create it"
    ):
        await contents(tmp_path / "missing" / "j")


async def test_cancelled_record_leaves_the_others_writing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    await journal.open()
    tasks = [asyncio.create_task(journal.record(Entry(str(number)))) for number in range(5)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    tasks[3].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await journal.aclose()
    assert {"1", "2", "4"} <= set(await contents(tmp_path / "j"))


def test_a_point_is_known_by_its_values_in_any_order() -> None:
    assert key_of({"a": 1, "b": "é"}) == key_of({"b": "é", "a": 1}) != key_of({"a": 2, "b": "é"})
    with pytest.raises(ConfigurationError, match=r"can not be written as JSON.*object"):
        key_of({"a": object()})
