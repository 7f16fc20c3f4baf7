# SPDX-License-Identifier: MIT
"""Watch one task from its start to its end, whatever becomes of the queue's keeper."""

import contextlib
import gc
import json
import os
import signal
import time

from . import command, identity, kernel
from .store import raw, task_name

WATCHED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGALRM)
_AGAIN = 1.0  # seconds between two KILLs, and between two attempts to write a record


def fork(store, job, index, ready, foreign):
    """Start the shepherd of a task and return its pid.

    :param ready: descriptor on which it writes its pid, as a line, once the command runs or is known not to.
    :param foreign: descriptors of the keeper that it must not hold open.
    """
    # Blocked before the fork, so that no signal meets a shepherd that is not yet prepared for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    try:
        pid = os.fork()
        if pid == 0:
            _run(store, job, index, ready, foreign)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)


def _run(store, job, index, ready, foreign):
    try:
        for descriptor in foreign:
            os.close(descriptor)
        gc.disable()  # a collection would copy every page that is shared with the keeper
        os.setsid()
        signal.set_wakeup_fd(-1)
        kernel.set_title("nobatch job " + task_name(job.id, index))
        kernel.adopt_orphans()
        _shepherd(store, job.id, index, load(store, job.name), ready)
    finally:
        os._exit(0)


def load(store, name):
    """Return all that a task needs to start."""
    launch = store.launch(name)
    base = json.loads(store.read("environments", launch["base"]))
    environment = dict(base["environment"])
    environment.update(launch["environment"])
    launch.update(environment=environment, umask=base["umask"])
    return launch


def _shepherd(store, job_id, index, launch, ready):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        command.become(store, job_id, index, launch, writer)
    os.close(writer)
    said = os.read(reader, 4096).decode("utf-8", "replace")
    with contextlib.suppress(OSError):  # the keeper may be gone
        os.write(ready, b"%d\n" % os.getpid())
    if said == command.LOST:
        return
    flock = Flock(pid, launch["wall"], launch["grace"])
    word, code = flock.watch()
    if said:
        word, code = "FAILED", None
    else:
        _write_exit_code(launch, index, code)
    record_end(store, job_id, index, word, code, said)


class Flock:
    """Watch a command and its descendants; end them when the time is over or TERM asks for it.

    :param pid: the command, leader of its process group.
    :param wall: seconds it may take, None for any.
    :param grace: seconds between TERM and KILL.
    """

    def __init__(self, pid, wall, grace):
        self.pid = pid
        self.grace = grace
        self.code = None
        self.word = ""  # why it was ended
        self.is_killing = False
        if wall:
            signal.setitimer(signal.ITIMER_REAL, wall)

    def watch(self):
        """Return how it ended: Slurm's word, and the exit code as Popen gives it."""
        while True:
            number = signal.sigwait(WATCHED)
            if number == signal.SIGCHLD:
                alone = self._reap()
                if self.code is not None and (alone or not self.word):
                    break
            elif self.word and number == signal.SIGALRM:
                self.is_killing = True
            elif not self.word:
                self.word = "CANCELLED" if number == signal.SIGTERM else "TIMEOUT"
                self._signal(signal.SIGTERM)
                signal.setitimer(signal.ITIMER_REAL, max(self.grace, 0.01), _AGAIN)
            if self.is_killing:
                self._signal(signal.SIGKILL)
        signal.setitimer(signal.ITIMER_REAL, 0)
        return self.word or ("COMPLETED" if self.code == 0 else "FAILED"), self.code

    def _reap(self):
        """Take note of whoever has ended, and tell whether nobody is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return not _group_exists(self.pid)
            if pid == 0:
                return False
            if pid == self.pid:
                self.code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def _signal(self, number):
        end_tree(self.pid, identity.descendants(os.getpid()), number)


def end_tree(group, pids, number):
    """Send a signal to a process group and to further processes; a stopped one has to go on to hear of it."""
    for send, target in [(os.killpg, group)] + [(os.kill, pid) for pid in pids]:
        for each in (number, signal.SIGCONT):
            try:
                send(target, each)
            except (ProcessLookupError, PermissionError):
                pass  # it has just ended, or became another user's


def _group_exists(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # what became another user's can not be ended by this one
    return True


def _write_exit_code(launch, index, code):
    name = command.log_name("exit_code", launch, index)
    path = os.path.join(raw(launch["dir"]), raw(name))
    try:
        with open(path + b".part", "w") as file:
            file.write(str(code))
        os.rename(path + b".part", path)
    except OSError:
        pass  # the work directory is full or gone; the queue's own record tells the code


def record_end(store, job_id, index, word, code, reason=""):
    """Write how a task ended, for as long as it takes: the record is worth more than the slot."""
    name = task_name(job_id, index)
    record = json.loads(store.read("tasks", name) or "{}")
    record.update(word=word, code=code, reason=reason, ended=identity.now())
    content = json.dumps(record) + "\n"
    while True:
        try:
            store.put("tasks", name, content)
            return
        except OSError:
            pass  # most likely a full disk: the block of the record that is there may do
        try:
            store.overwrite("tasks", name, content)
            return
        except OSError:
            time.sleep(_AGAIN)
