# SPDX-License-Identifier: MIT
"""pybatch's helpers."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

from pybatch_async.parameters import wall_seconds


def path_join(base: str, *paths: str, is_posix: bool) -> str:
    """Join paths as a POSIX or a Windows host does."""
    kind = PurePosixPath if is_posix else PureWindowsPath
    return str(kind(base, *paths))


def slurm_time_to_seconds(val: str) -> str:
    """Return the seconds of a wall time as text; "" for none."""
    seconds = wall_seconds(val)  # Bridge: a number, or None
    return "" if seconds is None else str(seconds)
