# SPDX-License-Identifier: MIT
"""Which process is which on Windows: its pid and when it was created, which no other one ever has."""

import time

from . import processes

_SAME_BOOT = 300.0  # seconds by which a clock that is set may move the time of the boot


def check():
    """Accept this host: Windows tells all that is needed of processes."""


def boot_id():
    """Return what tells one run of the machine from the next, as far as the clock is right."""
    return "%d" % processes.booted_at()


def was_restarted(record, boot):
    """Tell whether the machine was restarted since a task was started, whose shepherd surely is gone then."""
    if "boot" not in record or abs(int(record["boot"]) - int(boot)) < _SAME_BOOT:
        return False
    return not is_alive(record["by"])


def identify(pid):
    """Return [pid, creation time] of a process."""
    return [pid, processes.started_at(pid) or 0]


def is_alive(identity):
    """Tell whether the process with this pid is the one that was identified; what nobody may know counts as alive."""
    found = processes.started_at(identity[0])
    return found is None or (found != 0 and found == identity[1])


def find_marked(variable):
    """Return None: a command whose shepherd is gone is gone too, since its job object was the shepherd's."""


def now():
    """Return the seconds since the epoch."""
    return round(time.time(), 3)
