# SPDX-License-Identifier: MIT
"""Which process is which: a pid alone is nobody, since pids are used again."""

import os
import time

from .store import Refused

OWN = "nobatch:"  # how the names of the queue's own processes begin (man 5 proc, comm)
_DEAD = (b"Z", b"X")
_BOOT_FILE = "/proc/sys/kernel/random/boot_id"


def check():
    """Refuse a host that tells nothing of its processes.

    :raises Refused: it has no /proc.
    """
    if not os.path.exists("/proc/self/stat"):
        raise Refused(
            "The queue needs to know processes by /proc, which %s has not: it runs on Linux only." % os.uname()[0]
        )


def boot_id():
    """Return what tells one run of the machine from the next."""
    path = os.environ.get("PYBATCH_ASYNC_BOOT_ID_FILE") or _BOOT_FILE
    with open(path) as file:
        return file.read().strip()


def was_restarted(record, boot):
    """Tell whether the machine was restarted since a task was started.

    :param boot: what `boot_id` says now.
    """
    return record.get("boot", boot) != boot


def identify(pid):
    """Return [pid, start time] of a process, the start time in clock ticks since the boot (man 5 proc, field 22)."""
    fields = _stat(pid)
    return [pid, int(fields[19])] if fields else [pid, 0]


def is_alive(identity):
    """Tell whether the process with this pid is the one that was identified, and not a zombie."""
    fields = _stat(identity[0])
    return fields is not None and int(fields[19]) == identity[1] and fields[0] not in _DEAD


def descendants(pid):
    """Return the pids of all processes that descend from one, leaving out the queue's own and what these watch.

    A job may itself use the queue, and so have the keeper and other jobs among its descendants.
    """
    children = {}
    for name in os.listdir("/proc"):
        fields = _stat(int(name)) if name.isdigit() else None
        if fields and fields[0] not in _DEAD:
            children.setdefault(int(fields[1]), []).append(int(name))
    found, waiting = [], [pid]
    while waiting:
        below = [each for each in children.get(waiting.pop(), []) if not _is_own(each)]
        found += below
        waiting += below
    return found


def _is_own(pid):
    try:
        with open("/proc/%d/comm" % pid) as file:
            return file.read().startswith(OWN)
    except OSError:
        return False


def find_marked(variable):
    """Return the oldest process that has a variable, as "NAME=value", in its environment; None if there is none."""
    found = []
    for name in os.listdir("/proc"):
        try:
            with open("/proc/%s/environ" % name, "rb") as file:
                if name.isdigit() and variable in file.read().split(b"\0"):
                    found.append(identify(int(name)))
        except OSError:
            pass  # no process, not ours, or gone
    return min(found, key=lambda identity: identity[1], default=None)


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
