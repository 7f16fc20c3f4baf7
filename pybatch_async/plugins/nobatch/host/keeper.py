# SPDX-License-Identifier: MIT
"""The keeper of the queue: starts what may start, and ends when there is nothing left to do.

It may be killed at any time. All that matters is in the store; the shepherds of running tasks go on without it, and
the next call, or the next task that ends, starts another keeper.
"""

import fcntl
import gc
import os
import select
import signal
import socket
import time
import traceback

from . import cleaning, identity, kernel
from .calling import SOCKET
from .crew import Crew
from .ledger import Ledger
from .store import MARK

_IDLE = 5.0  # seconds without work after which it ends
_ADOPTED = 0.2  # seconds between two looks at tasks whose shepherd is not a child of this keeper
_SANITY = 2.0  # seconds after which a keeper that waits for something looks around anyway
_TIDY = 0.05  # seconds of peace after which records are folded


def spawn(store):
    """Start a keeper, unless there is one, and return once it listens or has found another one."""
    reader, writer = os.pipe()
    middle = os.fork()
    if middle == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                _detached(store, writer)
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(middle, 0)
    os.read(reader, 1)
    os.close(reader)


def _detached(store, writer):
    try:
        # First, since closing any descriptor of the lock file, even one that was inherited, gives up the lock.
        _leave_the_client(writer)
        if _lock(store):
            os.environ.pop(MARK, None)
            kernel.set_title(identity.OWN + "keeper", "nobatch: manager, keeper of the queue")
            Keeper(store).run(writer)
    except BaseException:  # nobody is there to raise to; the next call starts another keeper
        with open(store.path("keeper.log"), "a") as file:
            file.write(traceback.format_exc())
    finally:
        os._exit(0)


def _lock(store):
    """Become the only keeper, for as long as this process lives; tell whether nobody else is."""
    lock = os.open(store.path("keeper.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    os.ftruncate(lock, 0)
    os.write(lock, b"%d\n" % os.getpid())
    return True


def _leave_the_client(writer):
    """Let go of everything that the connection of the client could wait for."""
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.closerange(3, writer)
    os.closerange(writer + 1, 4096)


class Keeper:
    """Keep the queue of one user.

    :param store: its state.
    """

    def __init__(self, store):
        self.store = store
        self.clients = []  # [socket, tasks it waits for]
        self.crew = Crew(store, self._descriptors)
        self.ledger = Ledger(store, self.crew)
        self.wake, wake_writer = os.pipe()
        for end in (self.wake, wake_writer):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.set_wakeup_fd(wake_writer)
        gc.enable()

    def run(self, writer):
        """Serve until there has been nothing to do for a while.

        :param writer: descriptor to close as soon as clients can call.
        """
        self._listen()
        os.close(writer)
        self.ledger.scan()
        self.ledger.start()
        busy = time.monotonic()
        while self.ledger.jobs or self.clients or time.monotonic() < busy + _IDLE:
            if self.ledger.jobs or self.clients:
                busy = time.monotonic()
            self._serve(self._wait())
        self._tidy()

    def _listen(self):
        os.chdir(self.store.root)  # the name of a socket has at most 107 bytes
        try:
            os.unlink(SOCKET)
        except FileNotFoundError:
            pass
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(SOCKET)
        os.chmod(SOCKET, 0o600)
        self.socket.listen(128)
        self.socket.setblocking(False)
        os.chdir("/")

    def _descriptors(self):
        """Return what a shepherd must not hold open."""
        return [self.socket.fileno(), self.wake] + [client[0].fileno() for client in self.clients]

    def _wait(self):
        """Return what has happened: descriptors that can be read."""
        if any(running.hand is None for running in self.ledger.running.values()):
            pause = _ADOPTED
        elif self.ledger.over:
            pause = _TIDY
        else:
            pause = _SANITY if self.ledger.jobs else _IDLE
        return select.select([self.socket, self.crew.reports, self.wake], [], [], pause)[0]

    def _serve(self, happened):
        if self.crew.reports in happened:
            for report in self.crew.hear():
                self.ledger.note(*report)
        if self.wake in happened:
            os.read(self.wake, 4096)
            for task in self.crew.reap():
                self.ledger.abandon(task)
        self.ledger.look()
        if self.socket in happened:
            self._accept()
            self.ledger.scan()
        if not happened:
            self.ledger.fold()
        self.ledger.start()
        self.crew.dismiss()
        self._answer()

    def _accept(self):
        while True:
            try:
                client = self.socket.accept()[0]
            except OSError:
                return
            client.setblocking(False)
            self.clients.append([client, None])

    def _answer(self):
        """Let go the clients whose jobs have got as far as they can."""
        waiting = []
        for client in self.clients:
            client[1] = self.ledger.starting.intersection(self.ledger.starting if client[1] is None else client[1])
            if client[1]:
                waiting.append(client)
                continue
            try:
                client[0].send(b"done\n")
            except OSError:
                pass  # it has gone; nothing depends on it
            client[0].close()
        self.clients = waiting

    def _tidy(self):
        """Throw away what nobody will ask for again."""
        self.socket.close()
        cleaning.tidy(self.store, self.ledger)
