# SPDX-License-Identifier: MIT
"""Who starts next: decided from what is known, without touching anything."""

from collections import deque


class Job:
    """Hold what the queue knows of a job that has not ended.

    :param name: name of its record.
    :param header: the first line of the record.
    """

    def __init__(self, name, header):
        self.name = name
        self.id = header["id"]
        self.total = header["total"]
        self.simul = header["simul"]
        self.slots = header["slots"]
        self.exclusive = header["exclusive"]
        self.after = header["after"]
        self.wall = header["wall"]
        self.grace = header["grace"]
        self.todo = deque(range(self.total))
        self.running = set()
        self.begun = False
        self.is_ok = True


class Room:
    """Count the slots of the host.

    :param capacity: how many there are; 0 for as many as anybody wants.
    """

    def __init__(self, capacity):
        self.capacity = capacity
        self.used = 0
        self.count = 0
        self.closed = 0  # tasks that share the host with nobody

    def share(self, job):
        """Return the slots that a task of the job takes: one that wants more than there are takes all."""
        return min(job.slots, self.capacity) if self.capacity else job.slots

    def fits(self, job):
        if self.closed or (job.exclusive and self.count):
            return False
        return not self.capacity or not self.count or self.used + self.share(job) <= self.capacity

    def take(self, job, sign=1):
        self.used += sign * self.share(job)
        self.count += sign
        self.closed += sign * bool(job.exclusive)


def verdict(job, outcome):
    """Tell whether a job's dependencies are met: "ready", "wait", or "never".

    :param outcome: tells of a job's name whether it is "ok", "failed", "running" or "waiting".
    """
    found = "ready"
    for kind, name in job.after:
        state = outcome(name)
        if state in ("waiting", "running"):
            met = kind == "after" and state == "running"
            found = found if met else "wait"
        elif (kind, state) in (("afterok", "failed"), ("afternotok", "ok")):
            return "never"
    return found


def choose(jobs, room, outcome):
    """Choose what starts now, first come first served, and count it in.

    A job that waits for others, or an array that has as many tasks running as it wants, lets those behind it pass;
    one that waits for slots does not, so that a large job gets its turn.

    :param jobs: the jobs in the order of their submission.
    :returns: the (job, index) pairs to start, and the jobs that can never start.
    """
    starts, never = [], []
    for job in jobs:
        if not job.todo:
            continue
        answer = "ready" if job.begun else verdict(job, outcome)
        if answer == "never":
            never.append(job)
        if answer != "ready":
            continue
        while job.todo and (not job.simul or len(job.running) < job.simul):
            if not room.fits(job):
                return starts, never
            index = job.todo.popleft()
            job.begun = True
            job.running.add(index)
            room.take(job)
            starts.append((job, index))
    return starts, never
