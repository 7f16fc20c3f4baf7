# SPDX-License-Identifier: MIT
"""Throw away records that nobody will ask for again."""

import time

from .store import machine

_KEPT = 60 * 86400.0  # seconds for which the records of an ended job are kept


def tidy(store, ledger):
    """Fold what has ended, and remove what is left over or old."""
    ledger.fold()
    with store.lock():
        if not store.names("jobs"):
            for kind in ("environments", "tasks"):  # of the latter, what a killed keeper did not get to
                for name in store.names(kind):
                    store.remove(kind, name)
    oldest = time.time() - _KEPT
    for kind in ("ended", "revoked", "tmp") + machine.KINDS:
        for name in store.names(kind):
            if store.modified(kind, name) < oldest:
                store.remove(kind, name)
