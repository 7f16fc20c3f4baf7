# SPDX-License-Identifier: MIT
"""Choose the parts for Windows, whatever system this is."""

import subprocess  # noqa: F401 - it takes a system that has a msvcrt for Windows, so it is imported before that
import sys
from typing import Any

from . import locks  # type: ignore[import-not-found,unused-ignore]  # it is placed beside this module

sys.modules["msvcrt"] = locks
IS_WINDOWS = True


def part(name: str) -> Any:
    """Return the module for Windows of a name."""
    return __import__(f"{__package__}.windows.{name}", fromlist=["*"])
