# SPDX-License-Identifier: MIT
"""What a task runs on Windows: which program, with which environment, and the batch file around it."""

import errno
import json
import os
import re
import shutil
import sys

from ..store import MARK, raw, text
from . import calling, processes

_FILE, _PYTHON, _BOOT = "PYBATCH_ASYNC_COMMAND", "PYBATCH_ASYNC_PYTHON", "PYBATCH_ASYNC_BOOT"
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | getattr(os, "O_BINARY", 0)
_BATCH = (".bat", ".cmd")
_SAFE = re.compile(r"[A-Za-z0-9_.,:/\\+=@ -]*")  # arguments that cmd.exe hands to a batch file as they are
_MISSING, _CLOSED = 127, 126  # exit codes, as on POSIX hosts
# Variables tell the paths, since a batch file would read characters of theirs as its own. The code page is UTF-8's.
_AROUND = """\
@echo off
chcp 65001 >nul
{setup}
"%PYBATCH_ASYNC_PYTHON%" -I -S "%PYBATCH_ASYNC_BOOT%" command
set "pb_code=%ERRORLEVEL%"
{teardown}
exit /b %pb_code%
"""


class Unusable(Exception):
    """Say why a command can not be run, and the exit code for it."""

    def __init__(self, code, reason):
        super().__init__(reason)
        self.code = code


def log_name(stem, launch, index):
    """Return the path of a log below the work directory; an array has one per task."""
    return "logs/%s_%d.log" % (stem, index) if launch["array"] else "logs/%s.log" % stem


def start(store, launch, index, mark):
    """Start the command in the work directory.

    :param mark: what tells the task among all others.
    :returns: (processes.Group, None); or, where it can not be run, (None, its exit code).
    :raises OSError: the work directory or the logs can not be used.
    """
    os.chdir(raw(launch["dir"]))
    os.makedirs("logs", exist_ok=True)
    if os.path.exists(log_name("exit_code", launch, index)):
        os.unlink(log_name("exit_code", launch, index))
    environment = dict(launch["environment"], **{MARK: mark})
    argv = launch["argv"] + ([str(index)] if launch["array"] else [])
    files = [os.open(os.devnull, os.O_RDONLY)]
    try:
        files += [os.open(log_name(stem, launch, index), _FLAGS, 0o666) for stem in ("output", "error")]
        try:
            if launch["setup"] or launch["teardown"]:
                path, line = _wrapped(store, launch, argv, mark, environment)
            else:
                path, line = resolved(argv, environment)
            return processes.Group(path, line, environment, text(os.getcwdb()), files), None
        except (Unusable, OSError) as error:
            code = getattr(error, "code", _CLOSED)
            os.write(files[2], raw("pybatch_async: can not run %s: %s\n" % (argv[0], error)))
            return None, code
    finally:
        for file in files:
            os.close(file)


def resolved(argv, environment):
    """Find a program as cmd.exe would: in PATH, with the endings of PATHEXT.

    :returns: its path, and its argument list or, for a batch file, the command line.
    :raises Unusable: it can not be run.
    """
    endings = [""] + [ending for ending in environment.get("PATHEXT", "").split(";") if ending]
    found = (shutil.which(argv[0] + ending, path=environment.get("PATH", os.defpath)) for ending in endings)
    path = next((path for path in found if path), None)
    if path is None:
        is_there = os.path.isfile(argv[0])
        raise Unusable(_CLOSED, "it is no program") if is_there else Unusable(_MISSING, "there is no such command")
    path = os.path.abspath(path)
    if not path.lower().endswith(_BATCH):
        return path, argv
    odd = [word for word in [path] + argv[1:] if not _SAFE.fullmatch(word)]
    if odd:
        raise Unusable(_CLOSED, "cmd.exe hands a batch file no argument with such characters unchanged: %r" % odd[0])
    words = " ".join('"%s"' % word for word in [path] + argv[1:])
    return shell(environment), '"%s" /d /s /c "%s"' % (shell(environment), words)


def shell(environment):
    """Return the path of cmd.exe."""
    return environment.get("COMSPEC") or environment.get("SYSTEMROOT", "C:\\Windows") + "\\System32\\cmd.exe"


def _wrapped(store, launch, argv, mark, environment):
    """Write the batch file around a command; the command itself is read from a file, so that nobody misreads it."""
    name = mark.replace(".", "_")
    store.put("tmp", name + ".json", json.dumps(argv))
    lines = {kind: "\n".join(launch[kind]) for kind in ("setup", "teardown")}
    path = text(store.path("tmp", name + ".cmd"))
    with open(raw(path), "w", encoding="utf-8", newline="\r\n") as file:
        file.write(_AROUND.format(**lines))
    boot = calling.own_command()[-1]
    environment.update({_FILE: text(store.path("tmp", name + ".json")), _PYTHON: sys.executable, _BOOT: boot})
    environment["PYBATCH_ASYNC_BATCH"] = path
    return shell(environment), '"%s" /d /v:off /s /c ""%%PYBATCH_ASYNC_BATCH%%""' % shell(environment)


def forget(store, mark):
    """Remove what `start` has written for a task."""
    for ending in (".json", ".cmd"):
        store.remove("tmp", mark.replace(".", "_") + ending)


def main():
    """Run the command in the middle of a batch file, and return its exit code as Python's sys.exit takes it."""
    import signal
    import subprocess

    with open(raw(os.environ[_FILE]), encoding="ascii") as file:
        argv = json.load(file)
    environment = {name: value for name, value in os.environ.items() if name not in (_FILE, _PYTHON, _BOOT)}
    environment.pop("PYBATCH_ASYNC_BATCH", None)
    if hasattr(signal, "SIGBREAK"):
        signal.signal(signal.SIGBREAK, lambda number, frame: None)  # the command answers to it, and tells how it ended
    try:
        path, line = resolved(argv, environment)
        code = subprocess.Popen(line, executable=path, env=environment, close_fds=False).wait()
    except (Unusable, OSError) as error:
        sys.stderr.write("pybatch_async: can not run %s: %s\n" % (argv[0], error))
        missing = getattr(error, "errno", None) == errno.ENOENT
        code = getattr(error, "code", _MISSING if missing else _CLOSED)
    return code - (1 << 32) if code >= 1 << 31 else code
