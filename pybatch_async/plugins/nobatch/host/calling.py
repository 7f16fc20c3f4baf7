# SPDX-License-Identifier: MIT
"""Call the keeper of the queue, and start one where there is none."""

import fcntl
import os
import time

from .store import Refused, text

SOCKET = "keeper.sock"
_PATIENCE = 30.0  # seconds to wait for the keeper


def wake(store):
    """Have the keeper look at the queue, and return once it has started what can start now."""
    end, pause = time.monotonic() + _PATIENCE, 0.002
    while not _is_served(store):
        if time.monotonic() > end:
            raise _stuck(store)
        from . import keeper  # here, since it is seldom needed

        keeper.spawn(store)
        time.sleep(pause)  # the first may have found another one that was just ending
        pause = min(2 * pause, 0.5)


def _is_served(store):
    import socket  # here, since it is slow to import and seldom needed

    try:
        os.chdir(store.root)  # the name of a socket has at most 107 bytes
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(_PATIENCE)
            client.connect(SOCKET)
            return client.recv(16) == b"done\n"
    except socket.timeout as error:
        raise _stuck(store) from error
    except (ConnectionError, FileNotFoundError, BlockingIOError):
        return False


def _stuck(store):
    pid = (store.read("keeper.lock", "") or "").strip()
    advice = "end process %s" % pid if is_there(store) else "keeper.log there may tell why"
    return Refused("The keeper of the queue in %s does not answer: %s." % (text(store.root), advice))


def revive(store):
    """Start a keeper if none is there."""
    if not is_there(store):
        wake(store)


def is_there(store):
    """Tell whether a keeper is at work."""
    try:
        with open(store.path("keeper.lock"), "r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
