# SPDX-License-Identifier: MIT
"""Put what was unpacked in a private directory in its place on this machine, as `cp -r` would have."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ...errors import PathMissing, TransferFailed
from ..archive import PART


@dataclass(frozen=True, slots=True)
class Target:
    """Say where a copy goes.

    :param directory: an existing directory.
    :param name: the new name in it; None to keep the names of what is copied.
    """

    directory: Path
    name: str | None


def find_target(local_path: str, count: int) -> Target:
    """Decide where a copy of `count` entries goes, by the rules of `cp -r`.

    :raises PathMissing: the directory to copy into does not exist.
    """
    path = Path(local_path)
    if path.is_dir():
        return Target(path, None)
    if count != 1:
        raise _missing(local_path, "several entries need an existing directory; create it first")
    if local_path.endswith(("/", "/.")) or path.name == "..":
        raise _missing(local_path, "no such directory exists; create it first, or drop the slash")
    if not path.parent.is_dir():
        raise _missing(local_path, "the directory it would go into does not exist; create it first")
    return Target(path.parent, path.name)


def make_part(directory: Path) -> Path:
    """Create a private directory (mode 0700) beside the place where its content will go."""
    try:
        return Path(tempfile.mkdtemp(prefix=PART, dir=directory))
    except OSError as error:
        raise TransferFailed(f"Can not write in {str(directory)!r} on this machine: {error.strerror}.") from error


def remove_part(part: Path) -> None:
    """Remove a private directory with what is left in it, read-only directories included."""
    for parent, names, _ in os.walk(part):
        for path in (f"{parent}/{name}" for name in names):
            if not os.path.islink(path):
                os.chmod(path, 0o700)
    shutil.rmtree(part)


def place(part: Path, target: Target) -> None:
    """Move what a private directory holds into its place: each file at once, directories merged.

    :raises TransferFailed: a directory stands where a file should go, or the other way round, or it can not be moved.
    """
    try:
        for name in sorted(os.listdir(part)):
            _place(f"{part}/{name}", f"{target.directory}/{target.name or name}")
    except OSError as error:
        where = error.filename2 or error.filename
        raise TransferFailed(f"Can not write {where!r} on this machine: {error.strerror}.") from error


def _place(source: str, target: str) -> None:
    source_is_directory = _is_directory(source)
    if not source_is_directory and os.path.isdir(target):
        raise TransferFailed(f"Can not copy: {target!r} is a directory and would be overwritten by a file.")
    if not source_is_directory:
        os.replace(source, target)
    elif not os.path.lexists(target):
        _move_directory(source, target)
    elif _is_directory(target):
        _merge(source, target)
    else:
        raise TransferFailed(f"Can not copy: {target!r} is no directory and would be overwritten by one.")


def _merge(source: str, target: str) -> None:
    os.chmod(source, 0o700)
    for name in sorted(os.listdir(source)):
        _place(f"{source}/{name}", f"{target}/{name}")


def _move_directory(source: str, target: str) -> None:
    # A directory can only be moved by who may write in it, because its ".." changes (rename(2), EACCES).
    mode = stat.S_IMODE(os.stat(source).st_mode)
    if mode & stat.S_IWUSR:
        os.rename(source, target)
    else:
        os.chmod(source, mode | stat.S_IWUSR)
        os.rename(source, target)
        os.chmod(target, mode)


def _is_directory(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _missing(path: str, reason: str) -> PathMissing:
    return PathMissing(f"Can not copy to {path!r} on this machine: {reason}.")
