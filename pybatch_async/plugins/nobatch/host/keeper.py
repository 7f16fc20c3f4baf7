# SPDX-License-Identifier: MIT
"""The keeper of the queue: starts what may start, and ends when there is nothing left to do.

It may be killed at any time. All that matters is in the store; the shepherds of running tasks go on without it.
"""

import fcntl
import json
import os
import select
import signal
import socket
import time
import traceback
from collections import OrderedDict

from . import identity, kernel, shepherd
from .calling import SOCKET
from .schedule import Job, Room, choose
from .store import MARK, task_name

_IDLE = 10.0  # seconds without work after which it ends
_ADOPTED = 0.2  # seconds between two looks at tasks whose shepherd is not a child of this keeper
_SANITY = 2.0  # seconds after which a keeper that waits for something looks around anyway
_FRESH = 2.0  # seconds that a shepherd may need to fill a record that it has begun
_TIDY = 0.05  # seconds of peace after which records are folded
_SPARE = 4  # shepherds that are kept without work
_KEPT = 60 * 86400.0  # seconds for which the records of an ended job are kept


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
        lock = os.open(store.path("keeper.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        os.ftruncate(lock, 0)
        os.write(lock, b"%d\n" % os.getpid())
        _leave_the_client(keep=(lock, writer))
        os.environ.pop(MARK, None)
        kernel.set_title(identity.OWN + "keeper", "nobatch: manager, keeper of the queue")
        Keeper(store).run(writer)
    except BaseException:  # nobody is there to raise to; the next call starts another keeper
        with open(store.path("keeper.log"), "a") as file:
            file.write(traceback.format_exc())
    finally:
        os._exit(0)


def _leave_the_client(keep):
    """Let go of everything that the connection of the client could wait for."""
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    start = 3
    for number in sorted(keep) + [4096]:
        os.closerange(start, number)
        start = number + 1


class Keeper:
    """Keep the queue of one user.

    :param store: its state.
    """

    def __init__(self, store):
        self.store = store
        self.boot = identity.boot_id()
        self.jobs = OrderedDict()  # name -> Job, in the order of submission
        self.running = {}  # (name, index) -> Running
        self.shepherds = {}  # pid -> Hand
        self.outcomes = {}  # name -> "ok" or "failed"
        self.over = []  # jobs that have ended, and whose records are not folded yet
        self.clients = []  # [socket, tasks it waits for]
        self.starting = set()  # tasks whose command does not run yet
        self.room = Room(self._capacity())
        self.reports, self.reports_writer = _pipe()
        self.wake, wake_writer = _pipe()
        os.set_blocking(wake_writer, False)
        self.held = b""
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.set_wakeup_fd(wake_writer)

    def run(self, writer):
        """Serve until there has been nothing to do for a while."""
        self._listen()
        os.close(writer)
        self.scan()
        self.start()
        busy = time.monotonic()
        while self.jobs or self.clients or time.monotonic() < busy + _IDLE:
            if self.jobs or self.clients:
                busy = time.monotonic()
            self._serve(self._wait())
        self._tidy()

    def scan(self):
        """Take notice of new jobs and of requests to stop some."""
        known = {job.name for job in self.over}.union(self.jobs)
        names = [name for name in self.store.names("jobs") if name not in known]
        for name in sorted(names, key=lambda name: int(name.split(".")[0])):
            header = self.store.header(name)
            if header:
                self.jobs[name] = job = Job(name, header)
                self._take_up(job)
        self.room.capacity = self._capacity()
        for request in self.store.names("cancels"):
            self._cancel(request)

    def start(self):
        """Start what may start now."""
        never = [None]
        while never:  # others may depend on these
            starts, never = choose(self.jobs.values(), self.room, self._outcome)
            for job, index in starts:
                self._start(job, index)
            for job in never:
                self._end_queued(job, list(job.todo), "FAILED", "DependencyNeverSatisfied")

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

    def _capacity(self):
        slots = (self.store.read("slots", "") or "").strip()
        return int(slots) if slots.isdigit() else len(os.sched_getaffinity(0))

    # Tasks

    def _take_up(self, job):
        """Continue a job that an earlier keeper has begun."""
        for index in range(job.total):
            record = self.store.task(job.name, index)
            if record is None:
                continue
            job.begun = True
            job.todo.remove(index)
            if "word" in record:
                job.is_ok = job.is_ok and record["word"] == "COMPLETED"
                continue
            job.running.add(index)
            self.room.take(job)
            self.running[job.name, index] = Running(record.get("by"))
            self._check(job, index)
        self._finish(job)

    def _start(self, job, index):
        hand = next((hand for hand in self.shepherds.values() if hand.task is None), None)
        try:
            hand = hand or self._hire()
            os.write(hand.orders, b"run %s %d\n" % (job.name.encode("ascii"), index))
        except OSError:  # no more processes at the moment, or it was killed: the task stays first in the queue
            self._give_back(job, index, again=True)
            return
        hand.task = (job.name, index)
        self.running[hand.task] = Running(hand.identity, hand)
        self.starting.add(hand.task)

    def _give_back(self, job, index, again=False):
        """Take note that a task does not run any more, or did not start and is to be tried again."""
        self.running.pop((job.name, index), None)
        self.starting.discard((job.name, index))
        job.running.discard(index)
        self.room.take(job, -1)
        if again:
            job.todo.appendleft(index)

    def _check(self, job, index):
        """Find out what became of a task that no child of this keeper watches."""
        running = self.running[job.name, index]
        record = self.store.task(job.name, index)
        if record is None:  # its shepherd was killed before it could start anything
            self._give_back(job, index, again=True)
            return
        running.shepherd = record.get("by")
        if "word" not in record and self._is_over(job, index, running, record):
            # A shepherd that ended after the first look may have written the end just before.
            record = self.store.task(job.name, index)
            if "word" not in record:
                record = self._lost(job, index, running, record)
        if "word" in record:
            self._ended(job, index, record["word"])

    def _is_over(self, job, index, running, record):
        if record.get("boot", self.boot) != self.boot:
            return True
        if running.shepherd is None:
            return time.time() > self.store.modified("tasks", task_name(job.name, index)) + _FRESH
        if identity.is_alive(running.shepherd):
            return False
        if "pid" not in record:  # the shepherd was killed just when it started the command
            variable = "%s=%s" % (MARK, task_name(job.name, index, whole=True))
            record["pid"] = identity.find_marked(variable.encode("ascii"))
        if record["pid"] and identity.is_alive(record["pid"]):
            self._tend(job, running, record)
            return False
        return True

    def _tend(self, job, running, record):
        """Watch over a task whose shepherd was killed; how it will have ended nobody can tell."""
        running.orphan = record["pid"]
        if not running.doom and job.wall and identity.now() > record["began"] + job.wall:
            running.doom = "TIMEOUT"
        if running.doom:
            pid = record["pid"][0]
            running.doomed = running.doomed or time.monotonic()
            is_late = time.monotonic() > running.doomed + job.grace
            pids = identity.descendants(pid)
            shepherd.end_tree(pid, pids, signal.SIGKILL if is_late else signal.SIGTERM)

    def _lost(self, job, index, running, record):
        """Record the end of a task that was watched by nobody."""
        word, reason = running.doom or "FAILED", ""
        if record.get("boot", self.boot) != self.boot:
            word, reason = "NODE_FAIL", "The host was restarted while it ran."
        elif not running.doom:
            reason = "The process that watched it was killed; nobody knows how it ended."
        record.update(word=word, code=None, reason=reason, ended=identity.now())
        self.store.put("tasks", task_name(job.name, index), json.dumps(record) + "\n")
        return record

    def _ended(self, job, index, word):
        self._give_back(job, index)
        job.is_ok = job.is_ok and word == "COMPLETED"
        self._finish(job)

    # Requests to stop

    def _cancel(self, request):
        """Stop a job or one task: <id>.<token>[.<index>]."""
        name, index = request, None
        if request.count(".") == 2:
            name, _, index = request.rpartition(".")
        job = self.jobs.get(name)
        if job:
            wanted = range(job.total) if index is None else [int(index)]
            for each in sorted(job.running.intersection(wanted)):
                self._stop(job, each)
            queued = set(wanted).intersection(job.todo)
            self._end_queued(job, sorted(queued), "CANCELLED", "It was cancelled before it started.")
        self.store.remove("cancels", request)

    def _stop(self, job, index):
        running = self.running[job.name, index]
        running.doom = "CANCELLED"
        if running.hand:
            try:
                os.write(running.hand.orders, b"cancel\n")
            except OSError:
                pass  # it was killed; the next look tells
        elif running.shepherd and identity.is_alive(running.shepherd):
            os.kill(running.shepherd[0], signal.SIGTERM)  # it serves nobody any more after this task
        else:
            self._check(job, index)

    def _end_queued(self, job, indices, word, reason):
        record = json.dumps({"word": word, "code": None, "reason": reason, "ended": identity.now()})
        for index in indices:
            job.todo.remove(index)
            descriptor = self.store.claim("tasks", task_name(job.name, index), record)
            if descriptor is not None:
                os.close(descriptor)
        job.is_ok = job.is_ok and not indices
        self._finish(job)

    def _finish(self, job):
        if not job.todo and not job.running and self.jobs.pop(job.name, None):
            self.outcomes[job.name] = "ok" if job.is_ok else "failed"
            self.over.append(job)

    def _fold(self):
        """Fold the records of jobs that have ended, each job's into one."""
        for job in self.over:
            tasks = {str(index): self.store.task(job.name, index) for index in range(job.total)}
            content = {"header": self.store.header(job.name), "ok": job.is_ok, "tasks": tasks}
            self.store.put("ended", job.name, json.dumps(content) + "\n")
            self.store.remove("jobs", job.name)
            for index in range(job.total):
                self.store.remove("tasks", task_name(job.name, index))
        self.over = []

    def _outcome(self, name):
        if name in self.jobs:
            return "running" if self.jobs[name].begun else "waiting"
        if name not in self.outcomes:
            ended = self.store.ended(name)
            self.outcomes[name] = "ok" if ended and ended["ok"] else "failed"
        return self.outcomes[name]

    # What happens

    def _wait(self):
        """Return what has happened: descriptors that can be read."""
        if any(running.hand is None for running in self.running.values()):
            pause = _ADOPTED
        elif self.over:
            pause = _TIDY
        else:
            pause = _SANITY if self.jobs else _IDLE
        return select.select([self.socket, self.reports, self.wake], [], [], pause)[0]

    def _serve(self, happened):
        if self.reports in happened:
            self._hear()
        if self.wake in happened:
            os.read(self.wake, 4096)
            self._reap()
        for (name, index), running in list(self.running.items()):
            if running.hand is None:
                self._check(self.jobs[name], index)
        if self.socket in happened:
            self._accept()
        if not happened and self.over:
            self._fold()
        self.start()
        self._dismiss()
        for client in self.clients:
            if client[1] is None:
                client[1] = set(self.starting)
        self._answer()

    def _hear(self):
        """Read what the shepherds report."""
        lines = (self.held + os.read(self.reports, 65536)).split(b"\n")
        self.held = lines.pop()
        for line in lines:
            pid, name, index, word, stays = line.decode("ascii").split()
            self._note(int(pid), name, int(index), word, stays == "1")

    def _note(self, pid, name, index, word, stays):
        self.starting.discard((name, index))
        if word == shepherd.RUNNING:
            return
        hand = self.shepherds.get(pid)
        if hand:
            hand.task = None
            if not stays:
                self._let_go(hand)
        running = self.running.get((name, index))
        if running is None or running.shepherd[0] != pid:
            return
        if word == shepherd.LOST:  # started by a shepherd of an earlier keeper
            running.hand = None
            self._check(self.jobs[name], index)
        else:
            self._ended(self.jobs[name], index, word)

    def _hire(self):
        """Start a shepherd."""
        reader, writer = os.pipe()
        try:
            pid = shepherd.fork(self.store, reader, self.reports_writer, [writer] + self._descriptors())
        except OSError:
            os.close(writer)
            raise
        finally:
            os.close(reader)
        self.shepherds[pid] = hand = Hand(identity.identify(pid), writer)
        return hand

    def _descriptors(self):
        """Return what a shepherd must not hold open."""
        own = [self.socket.fileno(), self.reports, self.wake]
        orders = [hand.orders for hand in self.shepherds.values()]
        return own + orders + [client[0].fileno() for client in self.clients]

    def _let_go(self, hand):
        """Have a shepherd end, once it has nothing to do any more."""
        del self.shepherds[hand.identity[0]]
        os.close(hand.orders)

    def _dismiss(self):
        idle = [hand for hand in self.shepherds.values() if hand.task is None]
        for hand in idle[_SPARE:]:
            self._let_go(hand)

    def _reap(self):
        """Take note of shepherds that have ended."""
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            hand = self.shepherds.get(pid)
            if hand:
                self._let_go(hand)
                if hand.task in self.running:
                    self.starting.discard(hand.task)
                    self.running[hand.task].hand = None

    def _accept(self):
        while True:
            try:
                client = self.socket.accept()[0]
            except OSError:
                break
            client.setblocking(False)
            self.clients.append([client, None])
        self.scan()

    def _answer(self):
        """Let go the clients whose jobs have got as far as they can."""
        waiting = []
        for client in self.clients:
            client[1] &= self.starting
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
        self._fold()
        with self.store.lock():
            if not self.store.names("jobs"):
                for name in self.store.names("environments"):
                    self.store.remove("environments", name)
        oldest = time.time() - _KEPT
        for kind in ("ended", "revoked", "tmp"):
            for name in self.store.names(kind):
                if self.store.modified(kind, name) < oldest:
                    self.store.remove(kind, name)


class Hand:
    """Hold a shepherd that is a child of this keeper.

    :param identity: its pid and start time.
    :param orders: descriptor to write orders on.
    """

    def __init__(self, identity, orders):
        self.identity = identity
        self.orders = orders
        self.task = None


class Running:
    """Hold what a keeper knows of a task that was started.

    :param shepherd: identity of the process that watches it; None if nobody knows yet.
    :param hand: that process, if it is a child of this keeper.
    """

    def __init__(self, shepherd, hand=None):
        self.shepherd = shepherd
        self.hand = hand
        self.orphan = None  # identity of a command whose shepherd was killed
        self.doom = ""
        self.doomed = None


def _pipe():
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    return reader, writer
