# SPDX-License-Identifier: MIT
"""Tar streams out of local files and of bytes, as async iterators of chunks; `unpack` reads them."""

from __future__ import annotations

import os
import stat
import tarfile
import time
from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import PathMissing, TransferFailed
from .waiting import in_thread

END = ".pybatch_async.end"  # the last member: where it is missing, the archive did not arrive whole
PART = ".pybatch_async.part."  # how names of unfinished copies begin; they are never copied themselves
CHUNK = 512 * 1024
_RECORD = tarfile.BLOCKSIZE


@dataclass(frozen=True, slots=True)
class Member:
    """Describe one entry of an archive.

    :param name: its relative name in the archive.
    :param source: what it holds, or a local path: a file, a symlink (which stays one), or a directory with what it
        holds but sockets, fifos and devices.
    :param mode: permission bits; None for those of the local file, 0o644 for bytes.
    """

    name: str
    source: bytes | Path
    mode: int | None = None


async def tar_stream(members: Iterable[Member]) -> AsyncIterator[bytes]:
    """Pack members into a tar archive (GNU format), with a last one named END.

    Permission bits and times are kept; owners, set-user-id and set-group-id bits are not. Files are read in threads,
    many small ones at a time; about CHUNK bytes are in memory.

    :returns: the archive, in chunks of about CHUNK bytes.
    :raises PathMissing: a local path does not exist.
    :raises TransferFailed: one can not be read, changed while it was, or is no file, directory or symlink.
    """
    pieces = _archive(members)
    try:
        while chunk := await in_thread(_gather, pieces):
            yield chunk
    finally:
        pieces.close()


def _gather(pieces: Iterator[bytes]) -> bytes:
    held = bytearray()
    for piece in pieces:
        held += piece
        if len(held) >= CHUNK:
            break
    return bytes(held)


def _archive(members: Iterable[Member]) -> Generator[bytes, None, None]:
    for member in members:
        if isinstance(member.source, bytes):
            yield from _packed_bytes(member.name, member.source, member.mode)
        else:
            yield from _packed_tree(member.name, member.source, member.mode)
    yield from _packed_bytes(END, b"", None)
    yield bytes(2 * _RECORD)


def _packed_bytes(name: str, content: bytes, mode: int | None) -> Iterator[bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644 if mode is None else mode
    info.mtime = int(time.time())
    yield _header(info)
    yield content
    yield _padding(info.size)


def _packed_tree(name: str, top: Path, mode: int | None) -> Iterator[bytes]:
    waiting = [(name, str(top), mode)]
    while waiting:
        name, path, mode = waiting.pop()
        try:
            status = os.lstat(path)
            if _is_special(status.st_mode) and path == str(top):
                raise TransferFailed(f"Can not copy {path!r}: it is neither a file nor a directory nor a symlink.")
            yield from _packed(name, path, status, mode)
            if stat.S_ISDIR(status.st_mode):
                children = sorted(os.listdir(path), reverse=True)
                waiting += [(f"{name}/{item}", f"{path}/{item}", None) for item in children if item[:20] != PART]
        except FileNotFoundError as error:
            raise PathMissing(f"Can not copy {path!r}: there is no such file or directory on this machine.") from error
        except OSError as error:
            raise TransferFailed(f"Can not copy {path!r} from this machine: {error.strerror}.") from error


def _packed(name: str, path: str, status: os.stat_result, mode: int | None) -> Iterator[bytes]:
    info = tarfile.TarInfo(name)
    info.mtime = int(status.st_mtime)
    info.mode = stat.S_IMODE(status.st_mode) & 0o777 if mode is None else mode
    if stat.S_ISREG(status.st_mode):
        yield from _packed_file(info, path)
    elif stat.S_ISLNK(status.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
        yield _header(info)
    elif stat.S_ISDIR(status.st_mode):
        info.type = tarfile.DIRTYPE
        yield _header(info)


def _is_special(mode: int) -> bool:
    """Tell a socket, a fifo or a device, which hold nothing that another host could use."""
    return not (stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode))


def _packed_file(info: tarfile.TarInfo, path: str) -> Iterator[bytes]:
    # O_NONBLOCK: a fifo that took the file's place since lstat must not hang the thread.
    with open(path, "rb", buffering=0, opener=lambda p, flags: os.open(p, flags | os.O_NONBLOCK)) as file:
        info.size = left = os.fstat(file.fileno()).st_size
        yield _header(info)
        while left:
            piece = file.read(min(left, CHUNK))
            if not piece:
                raise TransferFailed(f"Can not copy {path!r}: it became shorter while it was read; try again.")
            left -= len(piece)
            yield piece
    yield _padding(info.size)


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _padding(size: int) -> bytes:
    return bytes(-size % _RECORD)
