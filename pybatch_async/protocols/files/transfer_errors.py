# SPDX-License-Identifier: MIT
"""How the end of a copying script becomes an error that says what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...errors import PathMissing, TransferFailed
from .scripts import verdict

_MISSING = {
    "missing": "there is no such file or directory; check the name",
    "parent": "the directory it would go into does not exist; create it first",
    "slash": "it ends with a slash and no such directory exists; create it first, or drop the slash",
    "directory": "several entries need an existing directory; create it first",
}
_REFUSED = {
    "is_directory": "it is a directory; give the name of a file",
    "special": "it is a socket, a fifo or a device; only files, directories and symlinks can be copied",
    "root": "it is the root directory, which has no name of its own; name what is in it",
    "cut": "the data did not arrive whole, and nothing was changed; try again",
}

_CHANGING = re.compile(r"file changed as we read it|removed before we read it")


def is_harmless(returncode: int | None, stderr: str) -> bool:
    """Tell whether tar at worst met files that a running job was writing or removing (GNU tar then exits with 1)."""
    return returncode == 0 or (returncode == 1 and bool(_CHANGING.search(stderr)))


def raise_for(operation: str, host: str, paths: Sequence[str], mark: str, returncode: int | None, stderr: str) -> None:
    """Raise what the end of a script means; return if it ended well.

    :param operation: "upload", "download", "create" or "read".
    :param paths: the paths of the host, as the caller wrote them.
    :raises PathMissing: the script found that a path is missing.
    :raises TransferFailed: anything else than success.
    """
    if returncode == 0:
        return
    word, said = verdict(mark, stderr)
    kind, _, index = word.partition(":")
    path = paths[int(index)] if index else ", ".join(repr(item)[1:-1] for item in paths[:5])
    if kind in _MISSING:
        raise PathMissing(f"Can not {operation} {path!r} on {host}: {_MISSING[kind]}.")
    if kind in _REFUSED:
        raise TransferFailed(f"Can not {operation} {path!r} on {host}: {_REFUSED[kind]}.")
    words = _one_line(said)[-2000:] or f"the host's shell ended with code {returncode} and said nothing"
    raise TransferFailed(f"Can not {operation} {path!r} on {host}: {words}. Put that right there and try again.")


def _one_line(said: str) -> str:
    """Join the lines of what the host's programs said, without that by which tar only ends."""
    return "; ".join(line for line in said.splitlines() if not line.startswith("tar: Exiting with failure status"))
