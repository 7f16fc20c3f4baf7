# SPDX-License-Identifier: MIT
"""Start one task on Windows and watch it to its end, whatever becomes of the queue's keeper."""

import contextlib
import json
import os
import time

from ..store import Refused, raw, task_name
from . import calling, command, identity, machine

_GLANCE = 0.1  # seconds between two looks at the command and at requests to end it
_AGAIN = 1.0  # seconds between two attempts to end it, and between two attempts to write a record


def main(store, name, index):
    """Run a task, unless somebody else has begun it."""
    claim = {"by": identity.identify(os.getpid()), "boot": identity.boot_id(), "began": identity.now()}
    record = store.claim("tasks", task_name(name, index), json.dumps(claim))
    if record is None:
        return
    try:
        ending = _run(store, name, index, record)
        _append(record, dict(ending, ended=identity.now()))
    finally:
        os.close(record)
    os.chdir(os.path.dirname(os.path.abspath(__file__)))  # nobody can remove a directory that a process stands in
    store.remove("stops", task_name(name, index))
    with contextlib.suppress(OSError, Refused):
        calling.revive(store)  # if the keeper was killed meanwhile, somebody has to go on with the queue


def _run(store, name, index, record):
    launch = _load(store, name)
    mark = task_name(name, index, whole=True)
    try:
        group, code = command.start(store, launch, index, mark)
    except OSError as error:
        reason = "It did not start in %s: %s." % (launch["dir"], error)
        return {"word": "FAILED", "code": None, "reason": reason}
    word = "FAILED"
    if group is not None:
        _append(record, {"pid": identity.identify(group.pid)})
        try:
            word, code = Watch(group, launch["wall"], launch["grace"], _asked(store, name, index)).end()
        finally:
            group.close()
    command.forget(store, mark)
    _write_exit_code(launch, index, code)
    return {"word": word, "code": code, "reason": ""}


def _load(store, name):
    """Return all that a task needs to start; Windows knows a variable by its name in any case."""
    launch = store.launch(name)
    environment = json.loads(store.read("environments", launch["base"]))["environment"]
    environment.update({name.upper(): value for name, value in launch["environment"].items()})
    launch["environment"] = environment
    return launch


def _asked(store, name, index):
    path = store.path("stops", task_name(name, index))
    return lambda: os.path.exists(path)


class Watch:
    """Watch a command; end it, and all that it started, when the time is over or somebody asks for it.

    :param group: the command, as processes.Group.
    :param wall: seconds it may take, None for any.
    :param grace: seconds between CTRL_BREAK and the end of all of it.
    :param is_asked: tells whether it is to be cancelled.
    """

    def __init__(self, group, wall, grace, is_asked):
        self.group = group
        self.grace = grace
        self.is_asked = is_asked
        self.word = ""  # why it was ended
        self.due = time.monotonic() + wall if wall else None  # when to do the next step of ending it

    def end(self):
        """Wait for the end; return Slurm's word for it and the exit code."""
        code = None
        while code is None or (self.word and not self.group.is_empty()):
            if code is None:
                code = self.group.code(_GLANCE)
            else:
                time.sleep(_GLANCE)
            if code is None or self.word:
                self._step()
        return self.word or ("COMPLETED" if code == 0 else "FAILED"), code

    def _step(self):
        is_due = self.due is not None and time.monotonic() >= self.due
        if self.word:
            if is_due:
                self.due = time.monotonic() + _AGAIN
                self.group.kill()
            return
        is_asked = self.is_asked()
        if is_asked or is_due:
            self.word = "CANCELLED" if is_asked else "TIMEOUT"
            self.due = time.monotonic() + self.grace
            self.group.ask()


def _write_exit_code(launch, index, code):
    path = os.path.join(raw(launch["dir"]), raw(command.log_name("exit_code", launch, index)))
    with contextlib.suppress(OSError):  # the work directory is full or gone; the queue's own record tells the code
        with open(path + b".part", "w") as file:
            file.write(str(code))
        machine.replace(path + b".part", path)


def _append(record, content):
    """Add a line to a record, for as long as it takes: the record is worth more than the slot."""
    line = json.dumps(content).encode("ascii") + b"\n"
    while True:
        try:
            os.write(record, line)
            return
        except OSError:
            time.sleep(_AGAIN)  # most likely a full disk
