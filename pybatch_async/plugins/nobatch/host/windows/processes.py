# SPDX-License-Identifier: MIT
"""Processes on Windows: which is which, how one is started beside the session, and how a group of them is ended."""

import functools
import os
import subprocess
import time

from . import kernel32

_KILLED = 1  # the exit code of what had to be killed, as taskkill gives it


@functools.lru_cache(maxsize=None)
def kernel():
    return kernel32.load()


def started_at(pid):
    """Return when a process was created, in 100 ns since 1601; 0 if there is none, None if nobody may know."""
    try:
        handle = kernel().open_process(pid)
    except OSError as error:
        return None if getattr(error, "winerror", 0) == kernel32.ERROR_ACCESS_DENIED else 0
    try:
        return 0 if kernel().has_ended(handle, 0) else kernel().creation_time(handle)
    finally:
        kernel().close(handle)


def booted_at():
    """Return when the machine was started, in seconds since the epoch; setting the clock changes it."""
    return time.time() - kernel().uptime()


def launch(argv):
    """Start a process of the queue's own, which goes on when the session of this one ends, and return its pid.

    sshd puts what a session runs into a job object that ends all of it with the session, and lets processes break
    away. A console without a window is what CTRL_BREAK needs later. It inherits nothing that a client could wait for.

    :raises OSError: with ERROR_ACCESS_DENIED as winerror, the session lets no process break away.
    """
    flags = kernel32.CREATE_BREAKAWAY_FROM_JOB | kernel32.CREATE_NEW_PROCESS_GROUP | kernel32.CREATE_NO_WINDOW
    process, thread, pid = kernel().create_process(subprocess.list2cmdline(argv), flags)
    kernel().close(thread)
    kernel().close(process)
    return pid


class Group:
    """Run a command in a process group and a job object of its own, which hold all that it starts.

    The job object ends all of them when this process ends, however it does.

    :param path: the program.
    :param argv: its name and arguments; a text is the command line as it stands.
    :param environment: its variables.
    :param directory: where it runs.
    :param files: descriptors for its standard input, output and error.
    :raises OSError: it can not be started.
    """

    def __init__(self, path, argv, environment, directory, files):
        line = argv if isinstance(argv, str) else subprocess.list2cmdline(argv)
        self._job = kernel().new_job()
        flags = kernel32.CREATE_SUSPENDED | kernel32.CREATE_NEW_PROCESS_GROUP
        handles = [_inheritable(file) for file in files]
        try:
            self._process, thread, self.pid = kernel().create_process(
                line, flags, path, _block(environment), directory, handles
            )
        except OSError:
            kernel().close(self._job)
            raise
        try:
            kernel().assign(self._job, self._process)  # before it can start anything itself
            kernel().resume(thread)
        except OSError:
            kernel().end_process(self._process, _KILLED)
            raise
        finally:
            kernel().close(thread)

    def code(self, seconds):
        """Wait for the command's end for at most so long; return its exit code, None while it runs."""
        if not kernel().has_ended(self._process, int(seconds * 1000)):
            return None
        return kernel().exit_code(self._process)

    def is_empty(self):
        """Tell whether nothing is left of the command and what it started."""
        return kernel().active_processes(self._job) == 0

    def ask(self):
        """Ask all of them to end: CTRL_BREAK, which those without a handler for it end by."""
        try:
            kernel().ctrl_break(self.pid)
        except OSError:
            pass  # it has just ended, or has left the console: what does not hear is killed later

    def kill(self):
        """End all of them at once."""
        kernel().end_job(self._job, _KILLED)

    def close(self):
        """Let go; what the command left running ends."""
        kernel().close(self._process)
        kernel().close(self._job)


def _block(environment):
    """Return an environment as CreateProcessW takes it: sorted, and no name twice whatever its case."""
    return "".join("%s=%s\0" % item for item in sorted(environment.items(), key=lambda item: item[0].upper()))


def _inheritable(file):
    import msvcrt

    handle = msvcrt.get_osfhandle(file)
    os.set_handle_inheritable(handle, True)
    return handle
