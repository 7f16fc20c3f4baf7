# SPDX-License-Identifier: MIT
"""Weigh the input files of jobs, and lay them out in one archive, each distinct one once."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ConfigurationError
from ..parameters import entry_name
from ..protocols.archive import Member


@dataclass(frozen=True, slots=True)
class Placement:
    """Say what belongs into one work directory.

    :param directory: the work directory, as the user gave it.
    :param files: contents of the library's own files, by their path below the directory.
    :param inputs: local files and directories to copy into it.
    """

    directory: str
    files: Mapping[str, bytes]
    inputs: Sequence[str | Path] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Copy:
    """Say that the host has to copy an input that several jobs share.

    :param source: path below the directory in which the archive is unpacked.
    :param directory: work directory to copy into.
    """

    source: str
    directory: str


@dataclass(frozen=True, slots=True)
class Staged:
    """Hold the members of the archive and the copies to be made on the host."""

    members: list[Member]
    copies: list[Copy]


def anchored(directory: str) -> str:
    """Return where a work directory lies below the directory in which the archive is unpacked.

    The three roots are links there: "rel" to the login directory, "home" to the home directory, "abs" to "/".
    """
    if directory == "~" or directory.startswith("~/"):
        return posixpath.join("home", posixpath.normpath(directory[2:].lstrip("/") or "."))
    path = posixpath.normpath(directory)
    return posixpath.join("abs", path.lstrip("/")) if path.startswith("/") else posixpath.join("rel", path)


def stage(placements: Iterable[Placement]) -> Staged:
    """Lay out an archive; an input that several jobs share is sent once, any other one straight to its place.

    Nothing is read from the disk but the targets of links; the archive reads the inputs as it is sent.
    """
    placed = list(placements)
    uses = Counter(_identity(entry) for placement in placed for entry in placement.inputs)
    staged = Staged([], [])
    blobs: dict[tuple[str, str], str] = {}
    for placement in placed:
        _stage_one(placement, uses, blobs, staged)
    return staged


def sizes_of_inputs(entries: Sequence[str | Path]) -> dict[str, int]:
    """Return the bytes of each input file; those of a directory's files are not worth the walk.

    :raises ConfigurationError: naming those that are missing or can not be read.
    """
    missing = [str(entry) for entry in entries if not Path(entry).exists()]
    if missing:
        raise ConfigurationError(f"input_files: {', '.join(missing)} do not exist on this machine.")
    closed = [str(entry) for entry in entries if not os.access(entry, os.R_OK)]
    if closed:
        raise ConfigurationError(f"input_files: {', '.join(closed)} can not be read by you.")
    return {str(entry): Path(entry).stat().st_size for entry in entries}


def _stage_one(
    placement: Placement, uses: Counter[tuple[str, str]], blobs: dict[tuple[str, str], str], staged: Staged
) -> None:
    base = anchored(placement.directory)
    for name, content in placement.files.items():
        staged.members.append(Member(posixpath.join(base, name), content, 0o600))
    for entry in placement.inputs:
        key = _identity(entry)
        if uses[key] == 1:
            staged.members.append(Member(posixpath.join(base, entry_name(entry)), Path(entry).resolve()))
            continue
        if key not in blobs:
            blobs[key] = f"blobs/{len(blobs)}/{entry_name(entry)}"
            staged.members.append(Member(blobs[key], Path(entry).resolve()))
        staged.copies.append(Copy(blobs[key], placement.directory))


def _identity(entry: str | Path) -> tuple[str, str]:
    """Tell inputs apart: the same file under the same name."""
    return str(Path(entry).resolve()), entry_name(entry)
