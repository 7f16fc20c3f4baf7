# SPDX-License-Identifier: MIT
"""The shepherds of a keeper: hired when needed, told what to do, heard, and let go."""

import os

from . import identity, shepherd
from .store import RUNNING

_SPARE = 4  # shepherds that are kept without work


class Hand:
    """Hold a shepherd that is a child of this keeper.

    :param who: its pid and start time.
    :param orders: descriptor to write orders on.
    """

    def __init__(self, who, orders):
        self.identity = who
        self.orders = orders
        self.task = None

    def order(self, *words):
        """Tell it what to do.

        :raises OSError: it is gone.
        """
        os.write(self.orders, (" ".join(words) + "\n").encode("ascii"))


class Crew:
    """Keep the shepherds.

    :param store: state of the queue.
    :param foreign: tells which descriptors of the keeper they must not hold open.
    """

    def __init__(self, store, foreign):
        self.store = store
        self.foreign = foreign
        self.hands = {}  # pid -> Hand
        self.reports, self._writer = os.pipe()
        os.set_blocking(self.reports, False)
        self._held = b""

    def run(self, name, index):
        """Have a task run by somebody who is free, or by a new one.

        :raises OSError: the host has no room for another process at the moment.
        """
        hand = next((hand for hand in self.hands.values() if hand.task is None), None) or self._hire()
        hand.order("run", name, str(index))
        hand.task = (name, index)
        return hand

    def hear(self):
        """Return what was reported: (hand, task, word) each; the hand is None where it was let go."""
        found = []
        lines = (self._held + os.read(self.reports, 65536)).split(b"\n")
        self._held = lines.pop()
        for line in lines:
            pid, name, index, word, stays = line.decode("ascii").split()
            hand = self.hands.get(int(pid))
            found.append((hand, (name, int(index)), word))
            if hand and word != RUNNING:
                hand.task = None
                if stays == "0":
                    self._let_go(hand)
        return found

    def reap(self):
        """Return the tasks of shepherds that have ended without a report."""
        tasks = []
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return tasks
            if pid == 0:
                return tasks
            hand = self.hands.get(pid)
            if hand:
                self._let_go(hand)
                tasks.append(hand.task)

    def dismiss(self):
        """Let those go that have had nothing to do for a moment, but for a few."""
        for hand in [hand for hand in self.hands.values() if hand.task is None][_SPARE:]:
            self._let_go(hand)

    def _hire(self):
        reader, writer = os.pipe()
        orders = [hand.orders for hand in self.hands.values()]
        try:
            pid = shepherd.fork(self.store, reader, self._writer, [writer, self.reports] + orders + self.foreign())
        except OSError:
            os.close(writer)
            raise
        finally:
            os.close(reader)
        self.hands[pid] = hand = Hand(identity.identify(pid), writer)
        return hand

    def _let_go(self, hand):
        """Have a shepherd end, once it has nothing to do any more."""
        del self.hands[hand.identity[0]]
        os.close(hand.orders)
