# SPDX-License-Identifier: MIT
"""Start tasks, one after the other, and watch each to its end, whatever becomes of the queue's keeper."""

import contextlib
import gc
import json
import os
import select
import signal
import time

from . import calling, command, identity, kernel
from .ending import end_tree
from .store import LOST, RUNNING, Refused, raw, task_name

_GLANCE = 0.1  # seconds between two looks at what is left of a task
_AGAIN = 1.0  # seconds between two KILLs, and between two attempts to write a record


def fork(store, orders, reports, foreign):
    """Start a shepherd and return its pid.

    :param orders: descriptor on which it reads lines "run <name> <index>" and "cancel".
    :param reports: descriptor on which it writes lines "<pid> <name> <index> <word> <stays>".
    :param foreign: descriptors of the keeper that it must not hold open.
    """
    pid = os.fork()
    if pid == 0:
        try:
            for descriptor in foreign:
                os.close(descriptor)
            Shepherd(store, orders, reports).run()
        finally:
            os._exit(0)
    return pid


class Shepherd:
    """Serve the keeper until it closes the orders; a task under way is watched to its end."""

    def __init__(self, store, orders, reports):
        gc.disable()  # a collection would copy every page that is shared with the keeper
        os.setsid()
        self.store = store
        self.orders = orders
        self.reports = reports
        self.wake, wake_writer = os.pipe()
        os.set_blocking(wake_writer, False)
        os.set_blocking(self.wake, False)
        signal.set_wakeup_fd(wake_writer)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda number, frame: None)
        kernel.adopt_orphans()
        kernel.set_title(identity.OWN + "job", "nobatch: runs a job and watches it")
        self.held = b""
        self.environments = {}

    def run(self):
        stays = True
        while stays:
            order = self._order()
            if order is None:
                return
            if order[0] == "run":
                stays = self._serve(order[1], int(order[2]))

    def _order(self):
        """Wait for an order; None once there will be none."""
        while b"\n" not in self.held:
            piece = os.read(self.orders, 4096)
            if not piece:
                return None
            self.held += piece
        line, _, self.held = self.held.partition(b"\n")
        return line.decode("ascii").split()

    def _serve(self, name, index):
        """Start a task and watch it; tell whether this process may serve another one."""
        record = self._claim(name, index)
        if record is None:
            self._tell(name, index, LOST)
            return True
        try:
            word, code, reason, stays = self._watch(name, index, record)
            _append(record, {"word": word, "code": code, "reason": reason, "ended": identity.now()})
        finally:
            os.close(record)
        os.chdir("/")
        self._tell(name, index, word, stays)
        if self.orders is None:
            self._call_for_a_keeper()
        return stays and self.orders is not None

    def _call_for_a_keeper(self):
        """Have somebody go on with the queue, since the keeper that this process served was killed."""
        with contextlib.suppress(OSError, Refused):
            calling.wake(self.store)

    def _claim(self, name, index):
        claim = {"by": identity.identify(os.getpid()), "boot": identity.boot_id(), "began": identity.now()}
        try:
            return self.store.claim("tasks", task_name(name, index), json.dumps(claim))
        except OSError:
            time.sleep(_AGAIN)  # the disk is full; the keeper will ask again
            return None

    def _watch(self, name, index, record):
        launch = self._load(name)
        try:
            pid, code = command.start(launch, index, task_name(name, index, whole=True))
        except OSError as error:
            self._tell(name, index, RUNNING)
            return "FAILED", None, "It did not start in %s: %s." % (launch["dir"], error), True
        if pid is not None:
            _append(record, {"pid": identity.identify(pid)})
        self._tell(name, index, RUNNING)
        flock = Flock(pid, code, launch["wall"], launch["grace"], self)
        word, code = flock.watch()
        _write_exit_code(launch, index, code)
        return word, code, "", flock.is_alone

    def _load(self, name):
        """Return all that a task needs to start."""
        launch = self.store.launch(name)
        base = launch["base"]
        if base not in self.environments:
            self.environments = {base: json.loads(self.store.read("environments", base))}
        environment = dict(self.environments[base]["environment"])
        environment.update(launch["environment"])
        launch.update(environment=environment, umask=self.environments[base]["umask"])
        return launch

    def _tell(self, name, index, word, stays=True):
        with contextlib.suppress(OSError):  # the keeper may be gone
            os.write(self.reports, b"%d %s %d %s %d\n" % (os.getpid(), raw(name), index, raw(word), stays))

    def is_asked_to_end(self, seconds):
        """Wait for a signal or an order for at most so many seconds; tell whether the task is to be cancelled."""
        sources = [self.wake] + ([self.orders] if self.orders is not None else [])
        happened = select.select(sources, [], [], seconds)[0]
        if self.orders in happened and not self._hear():
            self.orders = None  # the keeper is gone, and this process goes after the task
        numbers = os.read(self.wake, 4096) if self.wake in happened else b""
        asked = signal.SIGTERM in numbers or b"cancel\n" in self.held
        self.held = self.held.replace(b"cancel\n", b"")
        return asked

    def _hear(self):
        piece = os.read(self.orders, 4096)
        self.held += piece
        return piece


class Flock:
    """Watch a command and its descendants; end them when the time is over or somebody asks for it.

    :param pid: the command, leader of its process group; None for one that did not start.
    :param code: its exit code, if that is known already.
    :param wall: seconds it may take, None for any.
    :param grace: seconds between TERM and KILL.
    :param shepherd: who hears of what happens.
    """

    def __init__(self, pid, code, wall, grace, shepherd):
        self.pid = pid
        self.code = code
        self.grace = grace
        self.shepherd = shepherd
        self.word = ""  # why it was ended
        self.due = time.monotonic() + wall if wall else None  # when to do the next step of ending it
        self.is_alone = True  # nobody of its descendants is left

    def watch(self):
        """Return how it ended: Slurm's word, and the exit code as Popen gives it."""
        while self.code is None or (self.word and not self.is_alone):
            asked = self.shepherd.is_asked_to_end(self._patience())
            self._reap()
            if self.code is None or self.word:
                self._step(asked)
        return self.word or ("COMPLETED" if self.code == 0 else "FAILED"), self.code

    def _patience(self):
        """Return for how many seconds nothing has to be done; the end of a grandchild tells itself to nobody."""
        if self.word and self.code is not None:
            return _GLANCE
        return None if self.due is None else max(self.due - time.monotonic(), 0)

    def _step(self, asked):
        is_due = self.due is not None and time.monotonic() >= self.due
        if not self.word and (asked or is_due):
            self.word = "CANCELLED" if asked else "TIMEOUT"
            self.due = time.monotonic() + self.grace
            self._signal(signal.SIGTERM)
        elif self.word and is_due:
            self.due = time.monotonic() + _AGAIN
            self._signal(signal.SIGKILL)

    def _reap(self):
        """Take note of whoever has ended, and of whether anybody is left."""
        self.is_alone = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.is_alone = True
                break
            if pid == 0:
                break
            if pid == self.pid:
                self.code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        if self.word:
            self.is_alone = not _group_exists(self.pid) and not identity.descendants(os.getpid())

    def _signal(self, number):
        end_tree(self.pid, identity.descendants(os.getpid()), number)


def _group_exists(group):
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False  # what became another user's can not be ended by this one
    return True


def _write_exit_code(launch, index, code):
    path = os.path.join(raw(launch["dir"]), raw(command.log_name("exit_code", launch, index)))
    try:
        with open(path + b".part", "w") as file:
            file.write(str(code))
        os.rename(path + b".part", path)
    except OSError:
        pass  # the work directory is full or gone; the queue's own record tells the code


def _append(record, content):
    """Add a line to a record, for as long as it takes: the record is worth more than the slot."""
    line = json.dumps(content).encode("ascii") + b"\n"
    while True:
        try:
            os.write(record, line)
            return
        except OSError:
            time.sleep(_AGAIN)  # most likely a full disk
