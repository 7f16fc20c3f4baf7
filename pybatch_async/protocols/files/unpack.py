# SPDX-License-Identifier: MIT
"""Unpack an archive that a host sent into a private directory; the host is not trusted with anything outside it."""

from __future__ import annotations

import contextlib
import os
import stat
import tarfile
from pathlib import Path

from ...errors import TransferFailed
from ..archive import PART
from .tar_reader import Entry, TarReader

_SPECIAL = (tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE)


class Unpacker:
    """Write the members of an archive below a directory that nobody else can reach.

    Refused: absolute names, "..", sparse files, a second member of the same name, members below a file or a symlink,
    hard links to anything but a file of this archive. Fifos and devices are left out of a directory, and refused
    elsewhere. Symlinks are created after everything else, so that none can lead a member elsewhere. Owners,
    set-user-id, set-group-id and sticky bits are dropped; the process's umask applies.

    :param root: an empty directory of mode 0700.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._reader = TarReader()
        self._file: int | None = None
        self._entry: Entry | None = None
        self._left = 0
        self._directories: dict[str, tuple[int, float] | None] = {}
        self._symlinks: dict[str, str] = {}
        self._left_out: set[str] = set()

    @property
    def is_complete(self) -> bool:
        """Tell whether the archive's end was seen."""
        return self._reader.is_complete

    def feed(self, data: bytes) -> None:
        """Take the next piece of the archive; it may take as long as a disk does.

        :raises TransferFailed: a member is refused, or can not be written.
        """
        try:
            for item in self._reader.feed(data):
                if isinstance(item, Entry):
                    self._begin(item)
                else:
                    self._write(item)
        except OSError as error:
            raise TransferFailed(f"Can not write {self._shown()} on this machine: {error.strerror}.") from error

    def finish(self) -> None:
        """Create the symlinks, and give directories their permissions and times.

        :raises TransferFailed: the archive did not arrive whole, or this can not be done.
        """
        if not self.is_complete:
            raise TransferFailed("The archive did not arrive whole; try again.")
        try:
            for name, target in self._symlinks.items():
                os.symlink(target, self._root / name)
            for name, known in reversed(self._directories.items()):
                if known:
                    _settle(self._root / name, *known)
        except (OSError, ValueError) as error:
            raise TransferFailed(f"Can not write what the host sent on this machine: {error}.") from error

    def close(self) -> None:
        """Close the file that is being written."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _shown(self) -> str:
        return repr(self._entry.name) if self._entry else "what the host sent"

    def _begin(self, entry: Entry) -> None:
        self._entry, self._left = entry, entry.size
        parts = _parts(entry.name)
        if any(part.startswith(PART) for part in parts):
            return  # an unfinished copy of somebody else's
        name = "/".join(parts)
        self._make_parents(parts)
        if entry.kind == tarfile.DIRTYPE:
            self._make_directory(name, entry)
        elif name in self._directories or name in self._symlinks or not name:
            raise _refused(entry, "its name stands there twice")
        elif entry.kind == tarfile.SYMTYPE:
            self._symlinks[name] = entry.target
        elif entry.kind == tarfile.LNKTYPE:
            self._link(name, entry)
        elif entry.kind in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE):
            self._open(name, entry)
        elif entry.kind in _SPECIAL and len(parts) > 1:
            self._left_out.add(name)
        else:
            raise _refused(entry, "it is neither a file nor a directory nor a link")

    def _make_parents(self, parts: list[str]) -> None:
        for depth in range(1, len(parts)):
            parent = "/".join(parts[:depth])
            if parent in self._symlinks:
                raise _refused(self._entry, "it would be written through a symlink")
            if parent not in self._directories:
                os.mkdir(self._root / parent)
                self._directories[parent] = None

    def _make_directory(self, name: str, entry: Entry) -> None:
        if name in self._symlinks:
            raise _refused(entry, "its name stands there twice")
        if name and name not in self._directories:
            os.mkdir(self._root / name, entry.mode & 0o777 | 0o700)
        if name:
            self._directories[name] = (entry.mode & 0o777, entry.mtime)

    def _link(self, name: str, entry: Entry) -> None:
        target = "/".join(_parts(entry.target))
        if target in self._left_out:
            self._left_out.add(name)
            return
        path = self._root / target
        # No symlink exists yet and the directory is private, so this path can not lead outside.
        if not path.is_file():
            raise _refused(entry, "it is a hard link to something that is no file of this archive")
        os.link(path, self._root / name, follow_symlinks=False)

    def _open(self, name: str, entry: Entry) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(self._root / name, flags, entry.mode & 0o777)
        if not entry.size:
            self._end_file()

    def _write(self, piece: bytes) -> None:
        self._left -= len(piece)
        if self._file is None:
            return
        view = memoryview(piece)
        while view:
            view = view[os.write(self._file, view) :]
        if not self._left:
            self._end_file()

    def _end_file(self) -> None:
        assert self._file is not None and self._entry is not None
        _set_time(self._file, self._entry.mtime)
        self.close()


def _parts(name: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise TransferFailed(f"The host sent {name!r}, which leads out of the directory. Nothing was copied.")
    return parts


def _refused(entry: Entry | None, reason: str) -> TransferFailed:
    name = entry.name if entry else ""
    return TransferFailed(f"The host sent {name!r}, which can not be copied: {reason}. Nothing was copied.")


def _settle(path: Path, mode: int, mtime: float) -> None:
    _set_time(path, mtime)
    if mode & 0o700 != 0o700:
        os.chmod(path, stat.S_IMODE(path.stat().st_mode) & (mode | 0o077))


def _set_time(where: Path | int, mtime: float) -> None:
    # A time that this file system can not hold is not worth failing for.
    with contextlib.suppress(OverflowError, OSError, ValueError):
        os.utime(where, (mtime, mtime))
