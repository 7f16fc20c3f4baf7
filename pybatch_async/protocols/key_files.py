# SPDX-License-Identifier: MIT
"""The private key files that the connection parameters name. It looks at the disk: use a thread."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfigurationError


def found_keys(names: Sequence[str | Path]) -> list[Path]:
    """Return the paths of key files.

    :raises ConfigurationError: one of them is missing, or can not be read.
    """
    paths = [Path(name).expanduser() for name in names]
    for path in paths:
        if not path.is_file():
            raise ConfigurationError(f"client_keys: {str(path)!r} can not be read: there is no such file.")
        if not os.access(path, os.R_OK):
            raise ConfigurationError(f"client_keys: {str(path)!r} can not be read by you: check its permissions.")
    return paths
