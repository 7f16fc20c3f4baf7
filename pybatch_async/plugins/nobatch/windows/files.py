# SPDX-License-Identifier: MIT
"""Copy files of a Windows host to this machine, with the manager there as the one who packs them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from ....errors import CommandFailed, ConfigurationError, ConnectionFailed, PathMissing, TransferFailed
from ....interfaces import GenericProtocol
from ....protocols.files.copying import Receiver, check_path
from ....protocols.files.placing import Target, find_target
from ....protocols.framing import new_mark
from ....protocols.remote import RemoteProtocol, Sink
from ....protocols.running import Closed
from ....protocols.waiting import in_thread
from ...poller import is_passing
from ..answers import refuse, spoken, translated
from . import bundle, paths
from .queue import request_line

_NO_SUCH_FILE = 2  # Python's exit code where the manager is missing
_ATTEMPTS = 3
_LONGEST = 1 << 20  # bytes of an answer

Place = Callable[[], Awaitable[None]]


class _Answered:
    """Part the line with the manager's answer from the archive behind it.

    :param archive: what takes the archive.
    """

    def __init__(self, mark: str, archive: Sink) -> None:
        self._mark = mark.encode()
        self._line = b""
        self._archive = archive
        self.answer: dict[str, Any] | None = None

    async def take(self, chunk: bytes) -> None:
        """Take the next piece of the manager's output.

        :raises TransferFailed: it is not the manager's.
        """
        if self.answer is not None:
            await self._archive(chunk)
            return
        self._line += chunk
        _, found, rest = self._line.partition(self._mark + b" ")
        line, ended, rest = rest.partition(b"\n")
        if found and ended:
            self.answer = _read(line)
            await self._archive(self._mark + b"\n" + rest)  # the receiver looks for the mark too
        elif len(self._line) > _LONGEST:
            raise TransferFailed("What came is no answer of the manager. Nothing was copied.")


def _read(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise TransferFailed("What came is no answer of the manager. Nothing was copied.") from error
    return answer if isinstance(answer, dict) else {}


async def fetch(
    protocol: GenericProtocol, python: str, entries: Sequence[str], local_path: str | Path, place: Place
) -> None:
    """Copy files and directories of a Windows host to this machine, as `cp -r` does.

    What the host sends is no more trusted than that of any other host; see `protocols.files.unpack`.

    :param place: puts the manager on the host.
    :raises PathMissing: an entry, or the directory to copy into, does not exist.
    :raises TransferFailed: not everything was copied.
    """
    if not isinstance(protocol, RemoteProtocol):
        raise ConfigurationError(
            f"get: {type(protocol).__name__} can not copy from a Windows host, which has no sh and no tar for it; use "
            f"AsyncsshProtocol or SshProtocol."
        )
    names = [_name(entry) for entry in entries]
    target = await in_thread(find_target, check_path(local_path), len(entries))
    for attempt in range(_ATTEMPTS):
        try:
            if await _is_fetched(protocol, python, entries, names, target):
                return
            await place()
        except Closed:
            raise
        except ConnectionFailed as error:
            if attempt == _ATTEMPTS - 1 or not is_passing(error):
                raise
    raise TransferFailed(f"The manager of nobatch does not stay on {protocol.host}; look at what removes it there.")


async def _is_fetched(
    protocol: RemoteProtocol, python: str, entries: Sequence[str], names: Sequence[str], target: Target
) -> bool:
    """Copy what was asked for; return False if there is no manager on the host."""
    mark = new_mark()
    request = request_line({"paths": list(entries), "names": list(names)})
    async with Receiver(target, names, mark, protocol.host) as receiver:
        answered = _Answered(mark, receiver.take)
        done = await protocol.pipe(bundle.command(python, mark, "fetch"), request, answered.take)
        if done.returncode == _NO_SUCH_FILE and answered.answer is None:
            return False
        said = "\n".join(spoken(done.stderr.decode(errors="replace")))
        if answered.answer is None or done.returncode != 0:
            error = CommandFailed([python], protocol.host, done.returncode or 0, "", said)
            raise translated(error, python, protocol.host, "fetch")
        _check(answered.answer, entries, protocol.host)
        await receiver.flush()
        if not receiver.is_complete and said:
            raise TransferFailed(f"Can not download from {protocol.host}: {said.splitlines()[0]}. Nothing was copied.")
        await receiver.finish()
    return True


def _name(entry: str) -> str:
    name = paths.last_name(entry)
    if not name:
        raise TransferFailed(f"Can not download {entry!r}: it has no name of its own; name what is in it.")
    return name


def _check(answer: dict[str, Any], entries: Sequence[str], host: str) -> None:
    refuse(answer, TransferFailed, host)
    missing = answer.get("missing")
    if isinstance(missing, int) and 0 <= missing < len(entries):
        entry = entries[missing]
        raise PathMissing(f"Can not download {entry!r} on {host}: there is no such file or directory; check the name.")
