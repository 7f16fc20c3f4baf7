# SPDX-License-Identifier: MIT
"""The jobs that have not ended, what runs of them, and how each comes to its end."""

import json
import os
import time
from collections import OrderedDict

from .choice import part
from .schedule import Job, Room, choose
from .store import LOST, MARK, RUNNING, machine, task_name

ending, identity = part("ending"), part("identity")
_FRESH = 2.0  # seconds that a shepherd may need to fill a record that it has begun
_CANCELLED = "It was cancelled before it started."
_NEVER = "DependencyNeverSatisfied"


class Running:
    """Hold what is known of a task that was started.

    :param shepherd: identity of the process that watches it; None if nobody knows yet.
    :param hand: that process, if it is a child of this keeper.
    """

    def __init__(self, shepherd, hand=None):
        self.shepherd = shepherd
        self.hand = hand
        self.doom = ""  # why it is being ended
        self.doomed = None  # since when its command is being ended, where no shepherd does that


class Ledger:
    """Keep the jobs of one user.

    :param store: state of the queue.
    :param crew: who runs tasks.
    """

    def __init__(self, store, crew):
        self.store = store
        self.crew = crew
        self.boot = identity.boot_id()
        self.room = Room(0)
        self.jobs = OrderedDict()  # name -> Job, in the order of submission
        self.running = {}  # (name, index) -> Running
        self.starting = set()  # tasks whose command does not run yet
        self.outcomes = {}  # name -> "ok" or "failed"
        self.over = []  # jobs that have ended, and whose records are not folded yet

    def scan(self):
        """Take notice of new jobs and of requests to stop some."""
        slots = (self.store.read("slots", "") or "").strip()
        self.room.capacity = int(slots) if slots.isdigit() else machine.cpus()
        known = {job.name for job in self.over}.union(self.jobs)
        names = [name for name in self.store.names("jobs") if name not in known]
        for name in sorted(names, key=lambda name: int(name.partition(".")[0])):
            header = self.store.header(name)
            if header:
                self.jobs[name] = job = Job(name, header)
                self._take_up(job)
        for request in self.store.names("cancels"):
            self._cancel(request)
            self.store.remove("cancels", request)

    def start(self):
        """Start what may start now."""
        never = [None]
        while never:  # others may depend on these
            starts, never = choose(self.jobs.values(), self.room, self._outcome)
            for job, index in starts:
                self._start(job, index)
            for job in never:
                self._end_queued(job, list(job.todo), "FAILED", _NEVER)

    def look(self):
        """Look after the tasks that no child of this keeper watches."""
        for (name, index), running in list(self.running.items()):
            if running.hand is None:
                self._check(self.jobs[name], index)

    def note(self, hand, task, word):
        """Take a report for true."""
        self.starting.discard(task)
        running = self.running.get(task)
        if word == RUNNING or running is None or hand is None or running.hand is not hand:
            return  # whose shepherd is gone is looked after anyway
        if word == LOST:  # started by a shepherd of an earlier keeper
            running.hand = None
            self._check(self.jobs[task[0]], task[1])
        else:
            self._ended(self.jobs[task[0]], task[1], word)

    def abandon(self, task):
        """Take note that the shepherd of a task has gone without a report."""
        self.starting.discard(task)
        if task in self.running:
            self.running[task].hand = None

    def fold(self):
        """Fold the records of jobs that have ended, each job's into one."""
        for job in self.over:
            header = self.store.header(job.name)
            if header is None:
                continue  # somebody removed it by hand
            tasks = {str(index): self.store.task(job.name, index) for index in range(job.total)}
            content = {"header": header, "ok": job.is_ok, "tasks": tasks}
            self.store.put("ended", job.name, json.dumps(content) + "\n")
            self.store.remove("jobs", job.name)
            for index in range(job.total):
                self.store.remove("tasks", task_name(job.name, index))
        self.over = []

    # From the queue to running

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
        task = (job.name, index)
        try:
            hand = self.crew.run(*task)
        except OSError:  # no more processes at the moment, or it was killed: the task stays first in the queue
            self._give_back(job, index, again=True)
            return
        self.running[task] = Running(hand.identity, hand)
        self.starting.add(task)

    def _outcome(self, name):
        """Tell how far a job is that another one depends on."""
        if name in self.jobs:
            return "running" if self.jobs[name].begun else "waiting"
        if name not in self.outcomes:
            ended = self.store.ended(name)
            self.outcomes[name] = "ok" if ended and ended["ok"] else "failed"
        return self.outcomes[name]

    # From running to the end

    def _give_back(self, job, index, again=False):
        """Take note that a task does not run any more, or did not start and is to be tried again."""
        self.running.pop((job.name, index), None)
        self.starting.discard((job.name, index))
        job.running.discard(index)
        self.room.take(job, -1)
        if again:
            job.todo.appendleft(index)

    def _ended(self, job, index, word):
        self._give_back(job, index)
        job.is_ok = job.is_ok and word == "COMPLETED"
        self._finish(job)

    def _finish(self, job):
        if not job.todo and not job.running and self.jobs.pop(job.name, None):
            self.outcomes[job.name] = "ok" if job.is_ok else "failed"
            self.over.append(job)

    def _end_queued(self, job, indices, word, reason):
        record = json.dumps({"word": word, "code": None, "reason": reason, "ended": identity.now()})
        for index in indices:
            job.todo.remove(index)
            descriptor = self.store.claim("tasks", task_name(job.name, index), record)
            if descriptor is not None:
                os.close(descriptor)
        job.is_ok = job.is_ok and not indices
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
            self._end_queued(job, sorted(set(wanted).intersection(job.todo)), "CANCELLED", _CANCELLED)

    def _stop(self, job, index):
        running = self.running[job.name, index]
        running.doom = "CANCELLED"
        if running.hand:
            try:
                running.hand.order("cancel")
            except OSError:
                pass  # it was killed; the next look tells
        elif running.shepherd and identity.is_alive(running.shepherd):
            ending.ask(self.store, job.name, index, running.shepherd)
        else:
            self._check(job, index)

    # Tasks that no child of this keeper watches

    def _check(self, job, index):
        """Find out what became of a task."""
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
        if identity.was_restarted(record, self.boot):
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
        if not running.doom and job.wall and identity.now() > record["began"] + job.wall:
            running.doom = "TIMEOUT"
        if running.doom:
            pid = record["pid"][0]
            running.doomed = running.doomed or time.monotonic()
            is_late = time.monotonic() > running.doomed + job.grace
            ending.end(pid, is_late)

    def _lost(self, job, index, running, record):
        """Record the end of a task that was watched by nobody."""
        word, reason = running.doom or "FAILED", ""
        if identity.was_restarted(record, self.boot):
            word, reason = "NODE_FAIL", "The host was restarted while it ran."
        elif not running.doom:
            reason = "The process that watched it was killed; nobody knows how it ended."
        record.update(word=word, code=None, reason=reason, ended=identity.now())
        self.store.put("tasks", task_name(job.name, index), json.dumps(record) + "\n")
        return record
