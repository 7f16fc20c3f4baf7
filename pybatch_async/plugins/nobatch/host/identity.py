# SPDX-License-Identifier: MIT
"""Which process is which: a pid alone is nobody, since pids are used again."""

import os
import time

_BOOT_FILE = "/proc/sys/kernel/random/boot_id"


def boot_id():
    """Return what tells one run of the machine from the next."""
    path = os.environ.get("PYBATCH_ASYNC_BOOT_ID_FILE") or _BOOT_FILE
    with open(path) as file:
        return file.read().strip()


def identify(pid):
    """Return [pid, start time] of a process, the start time in clock ticks since the boot (man 5 proc, field 22)."""
    fields = _stat(pid)
    return [pid, int(fields[19])] if fields else [pid, 0]


def is_alive(identity):
    """Tell whether the process with this pid is the one that was identified, and not a zombie."""
    fields = _stat(identity[0])
    return fields is not None and int(fields[19]) == identity[1] and fields[0] not in (b"Z", b"X")


def descendants(pid):
    """Return the pids of all processes that descend from one."""
    children = {}
    for name in os.listdir("/proc"):
        fields = _stat(int(name)) if name.isdigit() else None
        if fields:
            children.setdefault(int(fields[1]), []).append(int(name))
    found, waiting = [], [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def now():
    """Return the seconds since the epoch."""
    return round(time.time(), 3)


def _stat(pid):
    """Return the fields of /proc/<pid>/stat from the state on; None if there is no such process."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return None
