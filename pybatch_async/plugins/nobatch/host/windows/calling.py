# SPDX-License-Identifier: MIT
"""Call the keeper of the queue on Windows, and start one where there is none: by files, which both look for."""

import itertools
import os
import sys
import time

from ..store import Refused, text
from . import kernel32, machine, processes

LOCK = "keeper.lock"
_PATIENCE = 30.0  # seconds to wait for the keeper
_START = 5.0  # seconds that a new keeper may need until another one is started
_PAUSE = 0.02
_numbers = itertools.count()


def wake(store):
    """Have the keeper look at the queue, and return once it has started what can start now."""
    name = "%d.%d" % (os.getpid(), next(_numbers))
    store.put("calls", name, "")
    end, again = time.monotonic() + _PATIENCE, 0.0
    while os.path.exists(store.path("calls", name)):
        if time.monotonic() > end:
            store.remove("calls", name)
            raise _stuck(store)
        if time.monotonic() > again and not is_there(store):
            spawn(store)
            again = time.monotonic() + _START
        time.sleep(_PAUSE)


def revive(store):
    """Start a keeper if none is there."""
    if not is_there(store):
        wake(store)


def is_there(store):
    """Tell whether a keeper is at work."""
    try:
        descriptor = os.open(store.path(LOCK), os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not machine.is_locked_by_us(descriptor)
    finally:
        os.close(descriptor)


def spawn(store):
    """Start a keeper; where there is one already, it ends at once."""
    try:
        processes.launch(own_command("keeper"))
    except OSError as error:
        if getattr(error, "winerror", 0) != kernel32.ERROR_ACCESS_DENIED:
            raise
        raise Refused(
            "The queue in %s can not be kept: this session lets no process go on after it (CREATE_BREAKAWAY_FROM_JOB "
            "is denied). Use the OpenSSH server of Windows 10 1809, Server 2019 or newer." % text(store.root)
        ) from error


def own_command(*words):
    """Return the argument list of a process of the queue's own."""
    boot = os.path.join(os.path.dirname(os.path.abspath(__file__)), "boot.py")
    return [sys.executable, "-I", "-S", boot] + list(words)


def _stuck(store):
    pid = (store.read(LOCK, "") or "").strip()
    advice = "end process %s" % pid if is_there(store) else "keeper.log there may tell why"
    return Refused("The keeper of the queue in %s does not answer: %s." % (text(store.root), advice))
