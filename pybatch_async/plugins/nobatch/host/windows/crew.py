# SPDX-License-Identifier: MIT
"""The shepherds of a keeper on Windows: a process for each task, known by its record."""

import time

from .. import store as records
from . import calling, ending, identity, processes

_AGAIN = 1.0  # seconds until the next one is started after one that could not even begin its record


class Hand:
    """Hold a shepherd that this keeper has started.

    :param who: its pid and creation time.
    """

    def __init__(self, store, task, who):
        self.store = store
        self.task = task
        self.identity = who
        self.is_running = False

    def order(self, word):
        """Have it end its task: "cancel" is all it can be told."""
        ending.ask(self.store, *self.task)


class Crew:
    """Keep the shepherds.

    :param store: state of the queue.
    """

    def __init__(self, store):
        self.store = store
        self.hands = {}  # task -> Hand
        self._rest = 0.0  # when the next one may be started

    def run(self, name, index):
        """Start a shepherd for a task.

        :raises OSError: the host has no room for another process at the moment.
        """
        if time.monotonic() < self._rest:
            raise OSError("the last one could not begin its record")
        pid = processes.launch(calling.own_command("shepherd", name, str(index)))
        task = (name, index)
        self.hands[task] = hand = Hand(self.store, task, identity.identify(pid))
        return hand

    def hear(self):
        """Return what the records say anew: (hand, task, word) each."""
        found = []
        for task, hand in list(self.hands.items()):
            record = self.store.task(*task) or {}
            if "word" in record:
                del self.hands[task]
                found.append((hand, task, record["word"]))
            elif "pid" in record and not hand.is_running:
                hand.is_running = True
                found.append((hand, task, records.RUNNING))
        return found

    def reap(self):
        """Return the tasks of shepherds that have ended without a word."""
        gone = [task for task, hand in self.hands.items() if not identity.is_alive(hand.identity)]
        tasks = [task for task in gone if "word" not in (self.store.task(*task) or {})]
        for task in tasks:
            del self.hands[task]
            if self.store.task(*task) is None:
                self._rest = time.monotonic() + _AGAIN
        return tasks
