# SPDX-License-Identifier: MIT
"""A directory of this user alone, with a path short enough for sockets in it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ...errors import ConnectionFailed

_LONGEST = 60  # a socket's path has 104 bytes on some systems, and ssh appends 17 characters while it makes one


def make_private_directory() -> Path:
    """Make a directory of mode 0700.

    :raises ConnectionFailed: no place for it was found.
    """
    places = [tempfile.gettempdir(), "/tmp", "/var/tmp", os.path.expanduser("~")]
    for place in places:
        if len(os.fsencode(place)) <= _LONGEST and os.access(place, os.W_OK | os.X_OK):
            return Path(tempfile.mkdtemp(prefix="pba-", dir=place))
    raise ConnectionFailed(f"No temporary directory with a short path can be written to (of {', '.join(places)}).")
