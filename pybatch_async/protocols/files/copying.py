# SPDX-License-Identifier: MIT
"""The local side of a copy: which entries go under which names, and what is received put in its place."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Self

from ...errors import ConfigurationError, PathMissing, TransferFailed
from ...parameters import entry_name
from ...quoting import check_encodable
from ..archive import CHUNK, Member
from ..framing import Frame
from ..waiting import acquired, in_thread
from .placing import Target, make_part, place, remove_part
from .unpack import Unpacker

_LONGEST_BATCH = 16 * 1024  # bytes; quoting makes them five times as many at worst, and 128 KiB is the limit


def check_entries(entries: Iterable[str | Path]) -> list[str]:
    """Return the entries as text.

    :raises ConfigurationError: one path was given instead of a list, or one that no system knows.
    """
    if isinstance(entries, str | Path):
        raise ConfigurationError(f"A list of paths is needed, not one path: {str(entries)!r}.")
    if isinstance(entries, bytes) or not isinstance(entries, Iterable):
        raise ConfigurationError(f"A list of paths is needed, not {entries!r}.")
    return [check_path(entry) for entry in entries]


def check_path(path: str | Path) -> str:
    """Return a path as text.

    :raises ConfigurationError: it is neither text nor a Path, it is empty, or holds a NUL or a lone surrogate.
    """
    text = str(path) if isinstance(path, PurePath) else path
    if not isinstance(text, str) or not text or "\0" in text:
        raise ConfigurationError(f"A path is a non-empty text without NUL characters, not {path!r}.")
    check_encodable(text)
    return text


def batches(entries: Sequence[str]) -> Iterator[list[str]]:
    """Split a list of paths, because a host takes no command line of any length."""
    batch: list[str] = []
    size = 0
    for entry in entries:
        size += len(entry.encode(errors="surrogateescape")) + 1
        if batch and size > _LONGEST_BATCH:
            yield batch
            batch, size = [], 0
        batch.append(entry)
    yield batch


def packed_entries(entries: Sequence[str], prefix: str) -> list[Member]:
    """Describe local entries as the members of an archive; it looks at the disk.

    A symlink stays one, as for `cp -r`; with a slash behind its name it is the directory it leads to.

    :raises PathMissing: one of them does not exist.
    :raises TransferFailed: two have the same name.
    """
    for entry in entries:
        if not os.path.lexists(entry):
            raise PathMissing(f"Can not upload {entry!r}: there is no such file or directory on this machine.")
    names = [entry_name(entry) for entry in entries]
    _refuse_twins(names, "upload")
    if "" in names:
        raise TransferFailed("Can not upload '/': the root directory has no name of its own; name what is in it.")
    return [Member(f"{prefix}/{name}", _source(entry)) for name, entry in zip(names, entries, strict=True)]


def _source(entry: str) -> Path:
    stands_for_content = entry.endswith(("/", "/.", "/..")) or entry in (".", "..")
    return Path(entry).resolve() if stands_for_content else Path(entry)


def expected_names(entries: Sequence[str]) -> tuple[set[str], int]:
    """Tell what a host may send when it is asked for these entries.

    :returns: the names; how many more there may be, because only the host knows the names of ".", ".." and "~".
    :raises TransferFailed: two have the same name.
    """
    names = [_known_name(entry) for entry in entries]
    known = [name for name in names if name is not None]
    _refuse_twins(known, "download")
    return set(known), len(names) - len(known)


def _known_name(entry: str) -> str | None:
    parts = [part for part in entry.split("/") if part not in ("", ".")]
    is_home = parts == ["~"] and entry.startswith("~")
    return None if not parts or parts[-1] == ".." or is_home else parts[-1]


def _refuse_twins(names: Sequence[str], operation: str) -> None:
    twins = sorted(name for name, count in Counter(names).items() if count > 1)
    if twins:
        raise TransferFailed(f"Can not {operation} two entries named {twins[0]!r}: one would overwrite the other.")


class Receiver:
    """Unpack what a host sends into a private directory, then put it in its place at once.

    :param target: where it goes.
    :param entries: what the host was asked for.
    :param mark: what comes before the archive.
    :param host: the host's name, for errors.
    """

    def __init__(self, target: Target, entries: Sequence[str], mark: str, host: str) -> None:
        self._target, self._host = target, host
        self._expected = expected_names(entries)
        self._frame = Frame(mark)
        self._held = bytearray()

    async def __aenter__(self) -> Self:
        self._part = await acquired(make_part, remove_part, self._target.directory)
        self._unpacker = Unpacker(self._part)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._unpacker.close()
        await in_thread(remove_part, self._part)

    async def take(self, chunk: bytes) -> None:
        """Take the next piece of the host's output; many small files cost one change of thread."""
        self._held += self._frame.strip(chunk)
        if len(self._held) >= CHUNK:
            await self.flush()

    async def flush(self) -> None:
        """Unpack what was taken so far."""
        data, self._held = bytes(self._held), bytearray()
        await self._guarded(lambda: self._unpacker.feed(data))

    @property
    def is_complete(self) -> bool:
        """Tell whether the archive's end was seen."""
        return self._unpacker.is_complete

    async def finish(self) -> None:
        """Put everything in its place.

        :raises TransferFailed: the archive was cut, or held what was not asked for, or can not be written there.
        """
        await self._guarded(self._finish)

    def _finish(self) -> None:
        self._unpacker.finish()
        _check_names(self._part, *self._expected)
        place(self._part, self._target)

    async def _guarded(self, work: Callable[[], None]) -> None:
        try:
            await in_thread(work)
        except TransferFailed as error:
            where = str(self._target.directory / (self._target.name or ""))
            raise TransferFailed(f"Can not download from {self._host} to {where!r}: {error}") from error


def _check_names(part: Path, known: set[str], unknown: int) -> None:
    found = set(os.listdir(part))
    strange = found - known
    fit = all((part / name).is_dir() and not name.startswith(".") for name in strange)
    if len(strange) > unknown or not fit or not known <= found:
        raise TransferFailed(f"The host sent {sorted(found)!r}, not what was asked for. Nothing was copied.")
