# SPDX-License-Identifier: MIT
"""Copy files of a Windows host to this machine, with the manager there as the one who packs them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ....errors import CommandFailed, ConfigurationError, PathMissing, TransferFailed
from ....interfaces import GenericProtocol
from ....protocols.files.copying import Receiver
from ....protocols.files.placing import find_target
from ....protocols.framing import Frame, new_mark
from ....protocols.remote import Completed, RemoteProtocol, Sink
from ....protocols.waiting import in_thread
from ....quoting import PlainCommand
from ..answers import refuse, translated
from . import bundle, paths
from .queue import request_line

_NO_SUCH_FILE = 2  # Python's exit code where the manager is missing


class _Answered:
    """Part the line with the manager's answer from the archive behind it.

    :param archive: what takes the archive.
    """

    def __init__(self, mark: str, archive: Sink) -> None:
        self._mark = mark.encode()
        self._frame = Frame(mark)
        self._line = b""
        self._archive = archive
        self.answer: dict[str, Any] | None = None

    async def take(self, chunk: bytes) -> None:
        """Take the next piece of the manager's output."""
        if self.answer is not None:
            await self._archive(chunk)
            return
        self._line += chunk
        _, found, rest = self._line.partition(self._mark + b" ")
        line, ended, rest = rest.partition(b"\n")
        if found and ended:
            self.answer = json.loads(line)
            await self._archive(self._mark + b"\n" + rest)  # the receiver looks for the mark too


async def fetch(
    protocol: GenericProtocol, python: str, entries: Sequence[str], local_path: str | Path, place: Callable[[], Any]
) -> None:
    """Copy files and directories of a Windows host to this machine, as `cp -r` does.

    What the host sends is no more trusted than that of any other host; see `protocols.files.unpack`.

    :param place: coroutine function that puts the manager on the host.
    :raises PathMissing: an entry, or the directory to copy into, does not exist.
    :raises TransferFailed: not everything was copied.
    """
    if not isinstance(protocol, RemoteProtocol):
        raise ConfigurationError(
            f"get: {type(protocol).__name__} can not copy from a Windows host, which has no sh and no tar for it; use "
            f"AsyncsshProtocol or SshProtocol."
        )
    target = await in_thread(find_target, str(local_path), len(entries))
    names = [_name(entry) for entry in entries]
    for is_last in (False, True):
        mark = new_mark()
        request = request_line({"paths": list(entries), "names": names})
        command = bundle.command(python, mark, "fetch")
        async with Receiver(target, names, mark, protocol.host) as receiver:
            answered = _Answered(mark, receiver.take)
            done = await protocol.pipe(command, request, answered.take)
            if done.returncode == _NO_SUCH_FILE and answered.answer is None and not is_last:
                await place()
                continue
            _check(answered.answer, entries, protocol.host, python, command, done)
            await receiver.flush()
            if not receiver.is_complete and (said := done.stderr.decode(errors="replace").strip()):
                raise TransferFailed(
                    f"Can not download from {protocol.host}: {said.splitlines()[0]}. Nothing was copied."
                )
            await receiver.finish()
        return


def _name(entry: str) -> str:
    name = paths.last_name(entry)
    if not name:
        raise TransferFailed(f"Can not download {entry!r}: it has no name of its own; name what is in it.")
    return name


def _check(
    answer: dict[str, Any] | None,
    entries: Sequence[str],
    host: str,
    python: str,
    command: PlainCommand,
    done: Completed,
) -> None:
    if answer is None or done.returncode != 0:
        stderr = done.stderr.decode(errors="replace")
        raise translated(CommandFailed(command, host, done.returncode or 0, "", stderr), python, host, "fetch")
    refuse(answer, TransferFailed, host)
    if "missing" in answer:
        entry = entries[answer["missing"]]
        raise PathMissing(f"Can not download {entry!r} on {host}: there is no such file or directory; check the name.")
