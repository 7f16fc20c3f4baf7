# SPDX-License-Identifier: MIT
"""What Python has no function for; where ctypes is missing, a little less is offered."""

import os

try:
    import ctypes

    _prctl = ctypes.CDLL(None).prctl
except (ImportError, OSError, AttributeError):
    ctypes = _prctl = None

_SET_NAME, _SET_CHILD_SUBREAPER = 15, 36  # man 2 prctl


def adopt_orphans():
    """Become the parent of every descendant that loses its own, so that none escapes by a double fork."""
    return _prctl is not None and _prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def set_title(name, text):
    """Show a name (15 characters) and a text as this process's command line in ps."""
    if _prctl is None:
        return
    _prctl(_SET_NAME, name.encode("ascii"), 0, 0, 0)
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        start, end = int(fields[45]), int(fields[46])  # arg_start, arg_end (man 5 proc)
        if 0 < start < end:
            ctypes.memmove(start, os.fsencode(text)[: end - start - 1].ljust(end - start, b"\0"), end - start)
    except (OSError, ValueError, IndexError):
        pass
