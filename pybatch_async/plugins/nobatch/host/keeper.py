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

from . import identity, kernel, shepherd
from .schedule import Job, Room, choose
from .store import task_name

SOCKET = "keeper.sock"
_IDLE = 10.0  # seconds without work after which it ends
_ADOPTED = 0.2  # seconds between two looks at tasks whose shepherd is not a child of this keeper
_SANITY = 2.0  # seconds after which a keeper that waits for something looks around anyway
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
        kernel.set_title("nobatch manager: keeper of the queue")
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
        self.jobs = {}  # name -> Job, in the order of submission
        self.running = {}  # (name, index) -> Running
        self.outcomes = {}  # name -> "ok" or "failed"
        self.clients = []  # [socket, pids it waits for]
        self.starting = set()  # pids of shepherds whose command does not run yet
        self.room = Room(self._capacity())
        self.ready, self.ready_writer = _pipe()
        self.wake, wake_writer = _pipe()
        os.set_blocking(wake_writer, False)
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
        names = [name for name in self.store.names("jobs") if name not in self.jobs]
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
            starts, never = choose(list(self.jobs.values()), self.room, self._outcome)
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

    def _take_up(self, job):
        """Continue a job that an earlier keeper has begun."""
        for index in range(job.total):
            record = self.store.task(job.id, index)
            if record is None:
                continue
            job.begun = True
            job.todo.remove(index)
            if "word" not in record:
                job.running.add(index)
                self.room.take(job)
                self.running[job.name, index] = Running(record["by"])
                self._check(job, index)
        self._finish(job)

    def _start(self, job, index):
        try:
            pid = shepherd.fork(self.store, job, index, self.ready_writer, self._descriptors())
        except OSError:  # no more processes at the moment: it stays first in the queue
            self._give_back(job, index)
            job.todo.appendleft(index)
            return
        self.running[job.name, index] = Running(identity.identify(pid), is_child=True)
        self.starting.add(pid)

    def _descriptors(self):
        """Return what a shepherd must not hold open."""
        return [self.socket.fileno(), self.ready, self.wake] + [client[0].fileno() for client in self.clients]

    def _give_back(self, job, index):
        self.running.pop((job.name, index), None)
        job.running.discard(index)
        self.room.take(job, -1)

    def _check(self, job, index):
        """Find out what became of a task whose shepherd may have gone."""
        running = self.running[job.name, index]
        record = self.store.task(job.id, index)
        if record is None:  # its shepherd was killed before it could start anything
            if not identity.is_alive(running.shepherd):
                self._give_back(job, index)
                job.todo.appendleft(index)
            return
        if "word" not in record and record["boot"] != self.boot:
            record = self._lost(job, index, "NODE_FAIL", "The host was restarted while it ran.")
        elif "word" not in record and not identity.is_alive(record["by"]):
            record = self.store.task(job.id, index)  # it may have written the end just before its own
            if "word" not in record:
                record = self._orphan(job, index, running, record)
        elif "word" not in record:
            running.adopt(record["by"])
        if "word" in record:
            self._give_back(job, index)

    def _orphan(self, job, index, running, record):
        """Watch a task whose shepherd was killed; its exit code nobody can tell."""
        running.orphan = record
        if identity.is_alive(record["pid"]):
            end = record["began"] + job.wall if job.wall else None
            if not running.doom and end and identity.now() > end:
                running.doom = "TIMEOUT"
            if running.doom:
                late = running.doomed_at and time.monotonic() > running.doomed_at + job.grace
                shepherd.end_tree(
                    record["pid"][0],
                    identity.descendants(record["pid"][0]),
                    signal.SIGKILL if late else signal.SIGTERM,
                )
                running.doomed_at = running.doomed_at or time.monotonic()
            return record
        reason = "" if running.doom else "The process that watched it was killed; nobody knows how it ended."
        return self._lost(job, index, running.doom or "FAILED", reason)

    def _lost(self, job, index, word, reason):
        shepherd.record_end(self.store, job.id, index, word, None, reason)
        return self.store.task(job.id, index)

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
        if running.orphan is None and identity.is_alive(running.shepherd):
            os.kill(running.shepherd[0], signal.SIGTERM)
        else:
            self._check(job, index)
            self._finish(job)

    def _end_queued(self, job, indices, word, reason):
        record = json.dumps({"word": word, "code": None, "reason": reason, "ended": identity.now()}) + "\n"
        for index in indices:
            job.todo.remove(index)
            self.store.claim("tasks", task_name(job.id, index), record)
        self._finish(job)

    def _finish(self, job):
        """Fold the records of a job whose tasks have all ended into one."""
        if job.todo or job.running or job.name not in self.jobs:
            return
        records = [self.store.task(job.id, index) for index in range(job.total)]
        header = self.store.header(job.name)
        is_ok = all(record["word"] == "COMPLETED" for record in records)
        content = {"header": header, "ok": is_ok, "tasks": {str(i): record for i, record in enumerate(records)}}
        self.store.put("ended", job.name, json.dumps(content) + "\n")
        self.store.remove("jobs", job.name)
        for index in range(job.total):
            self.store.remove("tasks", task_name(job.id, index))
        self.outcomes[job.name] = "ok" if is_ok else "failed"
        del self.jobs[job.name]

    def _outcome(self, name):
        if name in self.jobs:
            return "running" if self.jobs[name].begun else "waiting"
        if name not in self.outcomes:
            ended = self.store.ended(name)
            self.outcomes[name] = "ok" if ended and ended["ok"] else "failed"
        return self.outcomes[name]

    def _wait(self):
        """Return what has happened: descriptors that can be read."""
        sources = [self.socket, self.ready, self.wake]
        pause = _SANITY if self.jobs else _IDLE
        if any(not running.is_child for running in self.running.values()):
            pause = _ADOPTED
        return select.select(sources, [], [], pause)[0]

    def _serve(self, happened):
        if self.wake in happened:
            _drain(self.wake)
        ended = self._reap()
        if self.ready in happened:
            self.starting.difference_update(int(line) for line in _drain(self.ready).split())
        self._look(ended)
        if self.socket in happened:
            self._accept()
        self.start()
        for client in self.clients:
            if client[1] is None:
                client[1] = set(self.starting)
        self._answer()

    def _reap(self):
        pids = set()
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return pids
            if pid == 0:
                return pids
            pids.add(pid)
            self.starting.discard(pid)

    def _look(self, ended):
        """Look at the tasks whose shepherd has ended, and at those that no child of this keeper watches."""
        for (name, index), running in list(self.running.items()):
            if running.shepherd[0] in ended or not running.is_child:
                job = self.jobs[name]
                running.is_child = False
                self._check(job, index)
                self._finish(job)

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
        with self.store.lock():
            if not self.store.names("jobs"):
                for name in self.store.names("environments"):
                    self.store.remove("environments", name)
        oldest = time.time() - _KEPT
        for kind in ("ended", "revoked", "tmp"):
            for name in self.store.names(kind):
                try:
                    if os.stat(self.store.path(kind, name)).st_mtime < oldest:
                        self.store.remove(kind, name)
                except FileNotFoundError:
                    pass


class Running:
    """Hold what a keeper knows of a task that was started.

    :param shepherd: identity of the process that watches it.
    """

    def __init__(self, shepherd, is_child=False):
        self.shepherd = shepherd
        self.is_child = is_child
        self.orphan = None  # its record, once the shepherd is gone
        self.doom = ""
        self.doomed_at = None

    def adopt(self, shepherd):
        if shepherd != self.shepherd:
            self.shepherd, self.is_child = shepherd, False


def _pipe():
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    return reader, writer


def _drain(descriptor):
    data = b""
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except BlockingIOError:
            return data
        data += piece
