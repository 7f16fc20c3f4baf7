# SPDX-License-Identifier: MIT
"""A directory of this user alone: a path short enough for sockets in it, and the log of one ssh."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from ...errors import ConnectionFailed

_LONGEST = 60  # a socket's path has 104 bytes on some systems, and ssh appends 17 characters while it makes one
MOST_LOG = 1024 * 1024  # bytes of a log that are kept, and read


def make_private_directory() -> Path:
    """Make a directory of mode 0700.

    :raises ConnectionFailed: no place for it was found.
    """
    places = [tempfile.gettempdir(), "/tmp", "/var/tmp", os.path.expanduser("~")]
    for place in places:
        if len(os.fsencode(place)) <= _LONGEST and os.access(place, os.W_OK | os.X_OK):
            return Path(tempfile.mkdtemp(prefix="pba-", dir=place))
    raise ConnectionFailed(f"No temporary directory with a short path can be written to (of {', '.join(places)}).")


def remove_directory(directory: Path) -> None:
    """Remove such a directory with all that is in it."""
    shutil.rmtree(directory, ignore_errors=True)


def log_path(directory: Path) -> str:
    """Name the file in it that ssh writes its messages to."""
    return str(directory / "log")


def read_log(directory: Path) -> str:
    """Return what ssh wrote so far."""
    with open(log_path(directory), "a+b") as log:
        log.seek(0)
        return log.read(MOST_LOG).decode(errors="replace")
