# SPDX-License-Identifier: MIT
"""The keeper of the queue on Windows: like ../keeper.py, but it looks around instead of being told.

Windows has neither fork nor a select for pipes. Files say everything: a call, a request, the record of a task.
"""

import os
import time
import traceback

from .. import cleaning
from ..ledger import Ledger
from ..store import MARK
from . import machine
from .calling import LOCK
from .crew import Crew

_IDLE = 5.0  # seconds without work after which it ends
_SHORT, _LONG = 0.05, 0.25  # seconds between two looks: while something happens, and else
_ATTEMPTS = 10  # at the lock
_LIVELY = 1.0  # seconds for which something that has happened makes it look more often


def main(store):
    """Keep the queue until there is nothing left to do, unless somebody else does."""
    lock = os.open(store.path(LOCK), os.O_RDWR | os.O_CREAT | machine.BINARY, 0o600)
    if not _is_ours(lock):
        return
    os.ftruncate(lock, 0)
    os.lseek(lock, 0, os.SEEK_SET)
    os.write(lock, b"%d\n" % os.getpid())
    os.environ.pop(MARK, None)
    try:
        Keeper(store).run()
    except Exception:  # nobody is there to raise to; the next call starts another keeper
        with open(store.path("keeper.log"), "a") as file:
            file.write(traceback.format_exc())
        raise


def _is_ours(lock):
    """Become the only keeper, if there is no other; a client that looks for one holds the lock for a moment."""
    for _ in range(_ATTEMPTS):
        if machine.is_locked_by_us(lock):
            return True
        time.sleep(_SHORT)
    return False


class Keeper:
    """Keep the queue of one user.

    :param store: its state.
    """

    def __init__(self, store):
        self.store = store
        self.crew = Crew(store)
        self.ledger = Ledger(store, self.crew)
        self.waiting = {}  # name of a call -> the tasks that it waits for

    def run(self):
        """Serve until there has been nothing to do for a while."""
        busy = lively = time.monotonic()
        while True:
            has_happened, calls = self._look()
            now = time.monotonic()
            lively = now if has_happened else lively
            if self.ledger.jobs or calls:
                busy = now
            if now > busy + _IDLE:
                break
            time.sleep(_SHORT if now < lively + _LIVELY else _LONG)
        cleaning.tidy(self.store, self.ledger)

    def _look(self):
        """Do what there is to do; tell whether there was anything, and who still waits."""
        calls = self.store.names("calls")
        reports, lost = self.crew.hear(), self.crew.reap()
        for report in reports:
            self.ledger.note(*report)
        for task in lost:
            self.ledger.abandon(task)
        self.ledger.look()
        self.ledger.scan()
        self.ledger.start()
        self._answer(calls)
        has_happened = bool(calls or reports or lost)
        if not has_happened:
            self.ledger.fold()
        return has_happened, calls

    def _answer(self, calls):
        """Let go the clients whose jobs have got as far as they can."""
        starting = self.ledger.starting
        self.waiting = {name: starting.intersection(self.waiting.get(name, starting)) for name in calls}
        for name in [name for name in calls if not self.waiting[name]]:
            self.store.remove("calls", name)
