# SPDX-License-Identifier: MIT
"""The two functions of Python's module for Windows that the queue calls."""

import fcntl

LK_NBLCK = 2


def locking(descriptor: int, mode: int, size: int) -> None:
    """Lock bytes from the current position on, or raise OSError at once."""
    assert mode == LK_NBLCK
    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, size, 0, 1)


def get_osfhandle(descriptor: int) -> int:
    """Return the handle of a descriptor; here it is the descriptor."""
    return descriptor
