# SPDX-License-Identifier: MIT
"""Start one task's command in a session of its own."""

import errno
import os
import signal
import subprocess

from .store import MARK, raw

_posix_spawn = getattr(os, "posix_spawn", None)  # Python 3.8
_DUP2 = getattr(os, "POSIX_SPAWN_DUP2", None)
_RESET = [getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ", "SIGINT", "SIGQUIT", "SIGHUP", "SIGTERM")]
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def log_name(stem, launch, index):
    """Return the path of a log below the work directory; an array has one per task."""
    return "logs/%s_%d.log" % (stem, index) if launch["array"] else "logs/%s.log" % stem


def start(launch, index, mark):
    """Start the command in the work directory and return its pid.

    :param mark: what tells the task among all others.
    :returns: (pid, None); or, where there is no such command or it can not be run, (None, a shell's exit code).
    :raises OSError: the work directory or the logs can not be used.
    """
    os.umask(launch["umask"])
    os.chdir(raw(launch["dir"]))
    if not os.path.isdir("logs"):
        os.makedirs("logs")
    _forget(log_name("exit_code", launch, index))
    files = [os.open(os.devnull, os.O_RDONLY)]
    try:
        files += [os.open(log_name(stem, launch, index), _FLAGS, 0o666) for stem in ("output", "error")]
        return _run(_argv(launch, index), _environment(launch, mark), files)
    finally:
        for file in files:
            os.close(file)


def _forget(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _argv(launch, index):
    argv = launch["argv"] + ([str(index)] if launch["array"] else [])
    if launch["script"]:
        shell = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
        argv = [shell, "-c", launch["script"], launch["name"] or "job"] + argv
    return [raw(word) for word in argv]


def _environment(launch, mark):
    environment = {raw(name): raw(value) for name, value in launch["environment"].items()}
    environment[raw(MARK)] = raw(mark)
    return environment


def _run(argv, environment, files):
    """Run a command as a shell would find it: 127 where there is none, 126 where it can not be run."""
    try:
        path = _found(argv[0], environment)
        try:
            return spawn(path, argv, environment, files), None
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            return spawn(b"/bin/sh", [b"sh", path] + argv[1:], environment, files), None  # as man 3 execvp has it
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        what = "there is no such command" if missing else error.strerror
        os.write(files[2], b"pybatch_async: can not run %s: %s\n" % (argv[0], raw(what)))
        return None, 127 if missing else 126


def _found(program, environment):
    """Return the path of a program, looked for in the command's own PATH."""
    if b"/" in program:
        return program
    refused = None
    for place in os.get_exec_path(environment):
        path = os.path.join(os.fsencode(place), program)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
        refused = refused or (path if os.path.isfile(path) else None)
    raise OSError(errno.EACCES if refused else errno.ENOENT, os.strerror(errno.EACCES))


def spawn(path, argv, environment, files):
    """Start a program in a session of its own; posix_spawn is several times faster than fork, but new."""
    if _posix_spawn is None:
        return _popen(path, argv, environment, files)
    actions = [(_DUP2, file, number) for number, file in enumerate(files)]
    try:
        return _posix_spawn(path, argv, environment, file_actions=actions, setsid=True, setsigmask=[], setsigdef=_RESET)
    except NotImplementedError:  # an old C library
        return _popen(path, argv, environment, files)


def _popen(path, argv, environment, files):
    process = subprocess.Popen(
        argv,
        executable=path,
        env=environment,
        stdin=files[0],
        stdout=files[1],
        stderr=files[2],
        start_new_session=True,
        preexec_fn=_reset,  # this process has one thread
    )
    process.returncode = 0  # the caller waits for the pid itself
    return process.pid


def _reset():
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)
