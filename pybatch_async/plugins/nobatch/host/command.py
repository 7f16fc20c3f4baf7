# SPDX-License-Identifier: MIT
"""One task's command: from a fork to exec, or to the reason why not. Everything here runs in the new process."""

import errno
import json
import os
import signal

from . import identity
from .store import raw, task_name

LOST = "lost"  # somebody else has started the task
_RESET = ("SIGPIPE", "SIGXFSZ", "SIGINT", "SIGQUIT", "SIGHUP", "SIGTERM", "SIGCHLD", "SIGALRM")


def become(store, job_id, index, launch, report):
    """Claim the task and become its command; never returns.

    :param report: descriptor to write on why it did not start; closed by the start itself.
    """
    try:
        os.setsid()
        if _claim(store, job_id, index):
            _prepare(launch, index)
            _execute(launch, index)
        else:
            os.write(report, LOST.encode())
    except OSError as error:
        os.write(report, _explain(error, launch).encode("utf-8", "replace"))
    finally:
        os._exit(1)


def log_name(stem, launch, index):
    """Return the path of a log below the work directory; an array has one per task."""
    return "logs/%s_%d.log" % (stem, index) if launch["array"] else "logs/%s.log" % stem


def _claim(store, job_id, index):
    record = {
        "by": identity.identify(os.getppid()),
        "pid": identity.identify(os.getpid()),
        "boot": identity.boot_id(),
        "began": identity.now(),
    }
    return store.claim("tasks", task_name(job_id, index), json.dumps(record) + "\n")


def _prepare(launch, index):
    os.umask(launch["umask"])
    os.chdir(raw(launch["dir"]))
    os.makedirs("logs", exist_ok=True)
    try:
        os.unlink(log_name("exit_code", launch, index))
    except FileNotFoundError:
        pass
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    for number, stem in ((1, "output"), (2, "error")):
        os.dup2(os.open(log_name(stem, launch, index), flags, 0o666), number)
    for name in _RESET:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _execute(launch, index):
    """Run the command as a shell would: 127 where there is none, 126 where it can not be run."""
    argv = launch["argv"] + ([str(index)] if launch["array"] else [])
    if launch["script"]:
        shell = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
        argv = [shell, "-c", launch["script"], launch["name"] or "job"] + argv
    environment = {raw(name): raw(value) for name, value in launch["environment"].items()}
    try:
        _exec([raw(word) for word in argv], environment)
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        what = "there is no such command" if missing else error.strerror
        os.write(2, raw("pybatch_async: can not run %r: %s\n" % (argv[0], what)))
        os._exit(127 if missing else 126)


def _exec(argv, environment):
    try:
        os.execvpe(argv[0], argv, environment)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        os.execve(b"/bin/sh", [b"sh"] + [_found(argv[0], environment)] + argv[1:], environment)


def _found(program, environment):
    """Return the path of a script without a first line that names its interpreter; man 3 execvp gives it to sh."""
    if b"/" in program:
        return program
    places = [os.path.join(place, program) for place in os.get_exec_path(environment)]
    return next((path for path in places if os.access(path, os.X_OK)), program)


def _explain(error, launch):
    return "It did not start in %s: %s." % (launch["dir"], error)
