# SPDX-License-Identifier: MIT
"""Read a tar stream piece by piece: plain, GNU and pax headers, as GNU tar, bsdtar and busybox write them.

The standard tarfile module wants a file to read from, which would cost a blocked thread for each download; its
filters are missing in the older patch releases of Python 3.11.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import TransferFailed

_RECORD = tarfile.BLOCKSIZE
_LONGEST_TEXT = 1024 * 1024  # of a name or a pax header
_LONG_NAME, _LONG_LINK = tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK


@dataclass(frozen=True, slots=True)
class Entry:
    """Hold what an archive says of one member.

    :param kind: its type flag, as tarfile names them (tarfile.REGTYPE…).
    """

    name: str
    kind: bytes
    size: int
    mode: int
    mtime: float
    target: str


class TarReader:
    """Turn pieces of a tar stream into entries, each followed by pieces of its content."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._left = 0  # bytes of the current content to come, then of padding
        self._padding = 0
        self._text: tuple[bytes, bytearray] | None = None  # a header that speaks of the next member
        self._about_next: dict[str, str] = {}
        self.is_complete = False

    def feed(self, data: bytes) -> Iterator[Entry | bytes]:
        """Take the next piece of the stream; yield what it completes.

        :raises TransferFailed: it is no tar archive.
        """
        self._held += data
        while not self.is_complete:
            if self._left:
                if not (piece := self._take(min(self._left, len(self._held)))):
                    return
                self._left -= len(piece)
                yield from self._content(piece)
            elif self._padding:
                if len(self._held) < self._padding:
                    return
                self._take(self._padding)
                self._padding = 0
            elif len(self._held) < _RECORD:
                return
            else:
                yield from self._record(self._take(_RECORD))
        self._held.clear()

    def _take(self, size: int) -> bytes:
        piece = bytes(self._held[:size])
        del self._held[:size]
        return piece

    def _record(self, record: bytes) -> Iterator[Entry]:
        if not any(record):
            self.is_complete = True
            return
        try:
            info = tarfile.TarInfo.frombuf(record, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError) as error:
            raise TransferFailed(f"What came is no tar archive: {error}.") from error
        kind = info.type
        size = self._size(info)
        if kind in (_LONG_NAME, _LONG_LINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE):
            if size > _LONGEST_TEXT:
                raise TransferFailed("What came is no tar archive: the name of a member is too long.")
            self._text = (kind, bytearray())
        else:
            yield self._entry(info, size)
        self._left, self._padding = size, -size % _RECORD
        if self._text and not size:
            self._end_text()

    def _size(self, info: tarfile.TarInfo) -> int:
        carries_data = info.type in (*tarfile.REGULAR_TYPES, _LONG_NAME, _LONG_LINK) or info.type in b"xgXS"
        size = int(self._about_next.get("size", info.size)) if info.type in tarfile.REGULAR_TYPES else info.size
        if size < 0:
            raise TransferFailed("What came is no tar archive: a member has a negative size.")
        return size if carries_data else 0

    def _entry(self, info: tarfile.TarInfo, size: int) -> Entry:
        about, self._about_next = self._about_next, {}
        name, mtime = about.get("path", info.name), _number(about.get("mtime"), info.mtime)
        is_directory = info.type in (tarfile.AREGTYPE, tarfile.REGTYPE) and name.endswith("/")
        kind = tarfile.DIRTYPE if is_directory else info.type
        return Entry(name, kind, size, info.mode, mtime, about.get("linkpath", info.linkname))

    def _content(self, piece: bytes) -> Iterator[bytes]:
        if self._text is None:
            yield piece
            return
        self._text[1].extend(piece)
        if not self._left:
            self._end_text()

    def _end_text(self) -> None:
        assert self._text is not None
        (kind, text), self._text = self._text, None
        if kind == _LONG_NAME:
            self._about_next["path"] = _name(bytes(text).partition(b"\0")[0])
        elif kind == _LONG_LINK:
            self._about_next["linkpath"] = _name(bytes(text).partition(b"\0")[0])
        elif kind != tarfile.XGLTYPE:  # what a global header says (a comment, a charset) changes no member here
            self._about_next.update(_pax_records(bytes(text)))


def _pax_records(text: bytes) -> Iterator[tuple[str, str]]:
    """Read records of the form "length key=value newline" (POSIX, pax, extended header)."""
    while text.strip(b"\0"):
        length, _, _ = text.partition(b" ")
        if not length.isdigit() or not len(length) + 2 < int(length) <= len(text):
            raise TransferFailed("What came is no tar archive: a pax header is malformed.")
        key, _, value = text[len(length) + 1 : int(length) - 1].partition(b"=")
        text = text[int(length) :]
        yield _name(key), _name(value)


def _name(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def _number(text: str | None, otherwise: float) -> float:
    try:
        return otherwise if text is None else float(text)
    except ValueError:
        return otherwise
