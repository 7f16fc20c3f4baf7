# SPDX-License-Identifier: MIT
"""The state of one user's queue on one host: small files, each written whole or not at all.

jobs/<id>.<token>      two lines of JSON: what the queue needs to know, and what the task needs to start
tasks/<id>.<index>     a task that was started: who runs it and, at last, how it ended; begun once, then added to
ended/<id>.<token>     a job of which all tasks have ended, with its records; jobs/ and tasks/ hold it no more
cancels/<id>.<token>[.<index>]     a request to stop a job or a task
revoked/<token>        a submission that was given up and must not come late
environments/<hash>    the environment and umask that a client submitted with
"""

import contextlib
import errno
import itertools
import json
import os
import time

from .choice import part

machine = part("machine")
FORMAT = "1"
MARK = "PYBATCH_ASYNC_TASK"  # variable that tells which task a process belongs to
RUNNING, LOST = "RUNNING", "LOST"  # what a shepherd reports: it started the task; somebody else has
_KINDS = ("jobs", "tasks", "ended", "cancels", "revoked", "environments") + machine.KINDS + ("tmp",)
_numbers = itertools.count()


class Refused(Exception):
    """Say in one sentence why nothing can be done."""


def raw(text):
    """Return the bytes of a text for the system, whatever the locale."""
    return text.encode("utf-8", "surrogateescape")


def text(data):
    """Return the text of bytes of the system, whatever the locale."""
    return data.decode("utf-8", "surrogateescape")


def home():
    """Return the home directory, as bytes."""
    return os.path.expanduser(b"~")


def host_name():
    return machine.host_name()


def absolute(directory, base):
    """Return the absolute path of a work directory, as the user gave it.

    :param base: where relative paths start.
    """
    path = raw(directory)
    if path == b"~" or path.startswith(b"~/"):
        path = home() + path[1:]
    return os.path.normpath(os.path.join(base, path))


def default_root():
    """Return where the state of this user on this host lies; homes may be shared between hosts."""
    return os.path.join(machine.state_base(home()), b"pybatch_async", raw("nobatch-" + host_name()))


class Store:
    """Keep the records below one directory.

    :param root: the directory, as bytes.
    """

    def __init__(self, root):
        self.root = root

    def path(self, kind, name=""):
        return os.path.join(self.root, raw(kind), raw(name)) if name else os.path.join(self.root, raw(kind))

    def open(self):
        """Make the directories at the first use, and refuse those of another format."""
        try:
            if not os.path.isdir(self.path("tmp")):
                for kind in _KINDS:
                    os.makedirs(self.path(kind), 0o700, exist_ok=True)
                os.chmod(self.root, 0o700)
            found = self._format()
        except OSError as error:
            raise Refused(
                "The queue is kept in %s, which can not be written (%s): make it writable, or set XDG_STATE_HOME there."
                % (text(self.root), error.strerror)
            ) from error
        if found != FORMAT:
            raise Refused(
                "The queue in %s was made by another version of pybatch_async (its format is %r, this version's %r): "
                "use that version there, or remove the directory once its jobs have ended."
                % (text(self.root), found, FORMAT)
            )
        return self

    def _format(self):
        path = self.path("format")
        try:
            with open(path) as file:
                return file.read().strip()
        except FileNotFoundError:
            self.put("format", "", FORMAT)
            return FORMAT

    @contextlib.contextmanager
    def lock(self):
        """Hold off every other client while jobs come into being."""
        with open(self.path("lock"), "ab") as file:
            machine.lock(file)
            yield

    def names(self, kind):
        return [text(name) for name in os.listdir(self.path(kind))]

    def put(self, kind, name, content):
        """Write a record, in place of one that is there."""
        temporary = self._temporary(content)
        machine.replace(temporary, self.path(kind, name))

    def claim(self, kind, name, line):
        """Begin a record, of lines of JSON, unless there is one.

        :returns: descriptor to add further lines to; None if there was one.
        """
        path = self.path(kind, name)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | machine.BINARY, 0o600)
        except FileExistsError:
            return None
        try:
            _write(descriptor, line + "\n")
        except OSError:
            os.close(descriptor)
            os.unlink(path)
            raise
        return descriptor

    def read(self, kind, name):
        """Return the text of a record; None if there is none."""
        try:
            return machine.read(self.path(kind, name))
        except FileNotFoundError:
            return None

    def modified(self, kind, name):
        """Return when a record was last written, in seconds since the epoch; now if there is none."""
        try:
            return os.stat(self.path(kind, name)).st_mtime
        except FileNotFoundError:
            return time.time()

    def remove(self, kind, name):
        with contextlib.suppress(FileNotFoundError):
            machine.remove(self.path(kind, name))

    def task(self, name, index):
        """Return what is recorded of a task; None while it was not started, {} while its record begins."""
        content = self.read("tasks", task_name(name, index))
        if content is None:
            return None
        record = {}
        for line in content.split("\n")[:-1]:
            record.update(parsed(line) or {})
        return record

    def header(self, name):
        """Return what the queue needs to know of a job that has not ended; None if there is none."""
        content = self.read("jobs", name)
        return parsed(content.split("\n", 1)[0]) if content else None

    def launch(self, name):
        """Return what a task needs to start."""
        return parsed((self.read("jobs", name) or "\n").split("\n")[1])

    def ended(self, name):
        """Return the records of a job that has ended; None if it has not."""
        return parsed(self.read("ended", name))

    def _temporary(self, content):
        path = self.path("tmp", "%d.%d" % (os.getpid(), next(_numbers)))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | machine.BINARY, 0o600)
        try:
            _write(descriptor, content)
        except OSError:
            os.unlink(path)
            raise
        finally:
            os.close(descriptor)
        return path


def _write(descriptor, content):
    data = content.encode("ascii")
    if os.write(descriptor, data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def task_name(name, index, whole=False):
    """Return the name of a task's record: <id>.<index>; the whole name tells it from those of all other queues."""
    return "%s.%d" % (name if whole else name.partition(".")[0], index)


def parsed(content):
    """Read JSON; what a crash of the machine left half written counts as absent."""
    try:
        return json.loads(content) if content else None
    except ValueError:
        return None


def is_full(error):
    """Tell whether an error says that a disk is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
