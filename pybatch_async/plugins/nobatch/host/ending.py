# SPDX-License-Identifier: MIT
"""End processes, in ways that they can answer to (windows/ending.py has the same)."""

import os
import signal

from . import identity


def ask(store, name, index, shepherd):
    """Have a shepherd that is nobody's child end its task; it serves nobody any more after it."""
    os.kill(shepherd[0], signal.SIGTERM)


def end(pid, is_late):
    """End a command, and all that descend from it, whose shepherd is gone."""
    end_tree(pid, identity.descendants(pid), signal.SIGKILL if is_late else signal.SIGTERM)


def end_tree(group, pids, number):
    """Send a signal to a process group and to further processes; a stopped one has to go on to hear of it."""
    for send, target in [(os.killpg, group)] + [(os.kill, pid) for pid in pids]:
        for each in (number, signal.SIGCONT):
            try:
                send(target, each)
            except (ProcessLookupError, PermissionError):
                pass  # it has just ended, or became another user's
