# SPDX-License-Identifier: MIT
"""What the queue asks of a POSIX system's files and names (windows/machine.py has the same)."""

import fcntl
import os

KINDS = ()  # records that this system needs besides those of all
BINARY = 0
remove = os.unlink
replace = os.replace


def lock(file):
    """Wait until nobody else has locked a file; closing it gives up the lock."""
    fcntl.lockf(file, fcntl.LOCK_EX)


def read(path):
    """Return the text of a file, as the queue writes it."""
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read()


def host_name():
    return os.uname().nodename or "localhost"


def state_base(home):
    """Return the directory below which programs of this user keep their state, as bytes."""
    return os.environb.get(b"XDG_STATE_HOME") or os.path.join(home, b".local", b"state")


def environment():
    """Return the environment of this process, as text whatever the locale."""
    return {
        name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
        for name, value in os.environb.items()
    }


def cpus():
    return len(os.sched_getaffinity(0))


def check_name(name):
    """Refuse the name of a file that this system can not have; here every name is one."""


def set_mode(path, mode):
    """Give a file permission bits."""
    os.chmod(path, mode)
