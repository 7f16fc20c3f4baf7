# SPDX-License-Identifier: MIT
"""What is known of each point, kept in a file, so that a sweep goes on where a client that died left it."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.to_thread

from ..errors import ConfigurationError, PybatchException
from ..states import JobState

# "pyba": tells our files from others (https://www.sqlite.org/pragma.html#pragma_application_id)
_APPLICATION = 0x70796261
_VERSION = 1
_NEW = f"""
BEGIN;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
CREATE TABLE points (
    key TEXT PRIMARY KEY, job TEXT NOT NULL, state TEXT NOT NULL, exit_code INTEGER, result TEXT NOT NULL,
    error TEXT NOT NULL
);
COMMIT;
"""


class JournalFailed(PybatchException):
    """Say that the journal of a sweep could not be read or written; no further job is submitted without it."""


@dataclass(slots=True)
class Entry:
    """Hold what is known of one point.

    :param key: the point as JSON with sorted keys.
    :param job: its dumped job; "" before there is one that may have been submitted.
    :param result: what was collected of it; anything JSON can hold.
    :param error: what went wrong last.
    """

    key: str
    job: str = ""
    state: JobState = JobState.CREATED
    exit_code: int | None = None
    result: Any = None
    error: str = ""

    @property
    def is_settled(self) -> bool:
        """Tell whether nothing is left to do for the point, unless failed ones are tried again."""
        return self.state is JobState.FAILED or (self.state is JobState.FINISHED and not self.error)


def key_of(point: Mapping[str, Any]) -> str:
    """Return what a point is known by in the journal.

    :raises ConfigurationError: the point is no dict, or holds something that JSON can not.
    """
    if not isinstance(point, Mapping):
        raise ConfigurationError(f"A sweep takes an iterable of dicts, one a point, but one of them is {point!r}.")
    try:
        return json.dumps(dict(point), sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"The point {point!r} can not be written as JSON ({error}): use numbers, texts, lists and dicts in points."
        ) from error


class Journal:
    """Keep entries in a SQLite file, which one process at a time may use.

    :param path: the file; it is made (mode 0600) if need be.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._database: sqlite3.Connection | None = None
        self._pending: deque[tuple[Any, ...]] = deque()
        self._writing = asyncio.Lock()
        self._failure: JournalFailed | None = None

    async def open(self) -> dict[str, Entry]:
        """Open the file and return its entries by their keys.

        :raises ConfigurationError: the file is no journal, or another process uses it.
        :raises JournalFailed: it could not be opened.
        """
        return await anyio.to_thread.run_sync(self._open)

    async def record(self, entry: Entry) -> None:
        """Write an entry, together with the others that wait now; it is on the disk when this returns.

        :raises JournalFailed: it could not be written, or an earlier one could not.
        """
        result = json.dumps(entry.result)
        self._pending.append((entry.key, entry.job, entry.state, entry.exit_code, result, entry.error))
        async with self._writing:
            if self._pending and not self._failure:
                await anyio.to_thread.run_sync(self._flush)
        if self._failure:
            raise JournalFailed(*self._failure.args) from self._failure

    async def aclose(self) -> None:
        """Write what waits and close the file."""
        async with self._writing:
            await anyio.to_thread.run_sync(self._close)

    def _open(self) -> dict[str, Entry]:
        try:
            _make(self._path)
            database = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            is_homeless = isinstance(error, FileNotFoundError)
            why = f"the directory {self._path.parent} does not exist: create it" if is_homeless else error
            raise JournalFailed(f"The journal {self._path} could not be opened: {why}.") from error
        try:
            self._prepare(database)
            entries = _entries(database)
        except ConfigurationError:
            database.close()
            raise
        except (sqlite3.Error, ValueError) as error:
            database.close()
            raise self._unusable(error) from error
        self._database = database
        return entries

    def _prepare(self, database: sqlite3.Connection) -> None:
        # An exclusive lock keeps a second client out, dies with this process, and spares WAL its shared memory,
        # which network file systems lack (https://www.sqlite.org/wal.html#noshm).
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        stamps = tuple(database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        is_new = not database.execute("SELECT 1 FROM sqlite_master").fetchone()
        if stamps != (_APPLICATION, _VERSION) and not (is_new and stamps == (0, 0)):
            raise ConfigurationError(
                f"{self._path} is no journal of a sweep, or a later version of the library wrote it: name another file."
            )
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        if is_new:
            database.executescript(_NEW)

    def _unusable(self, error: Exception) -> PybatchException:
        code = getattr(error, "sqlite_errorname", "")
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return ConfigurationError(f"The journal {self._path} is in use by another sweep: wait for its end.")
        if code == "SQLITE_NOTADB":
            return ConfigurationError(f"{self._path} is no journal of a sweep: name another file.")
        return JournalFailed(f"The journal {self._path} could not be read: {error}.")

    def _flush(self) -> None:
        assert self._database is not None
        rows = []
        while self._pending:
            rows.append(self._pending.popleft())
        try:
            with self._database:
                self._database.execute("BEGIN")
                self._database.executemany("INSERT OR REPLACE INTO points VALUES (?, ?, ?, ?, ?, ?)", rows)
        except sqlite3.Error as error:
            self._failure = JournalFailed(
                f"The journal {self._path} could not be written: {error}. The sweep stopped; its jobs go on, and "
                f"running it again takes them up."
            )

    def _close(self) -> None:
        if self._database is not None:
            if self._pending and not self._failure:
                self._flush()
            self._database.close()
            self._database = None


def _make(path: Path) -> None:
    """Create the file with a mode of its own choosing, which its companions inherit."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        pass  # and it must not be opened here: closing it again would undo SQLite's lock on it


def _entries(database: sqlite3.Connection) -> dict[str, Entry]:
    rows = database.execute("SELECT key, job, state, exit_code, result, error FROM points")
    return {
        key: Entry(key, job, JobState(state), exit_code, json.loads(result), error)
        for key, job, state, exit_code, result, error in rows
    }
