# SPDX-License-Identifier: MIT
"""The manager's source as it is placed on a Windows host, and the command lines that place it and call it.

A Windows host's shell may be cmd.exe or PowerShell, whose quoting differs: every word on a command line needs none.
So the program that places the manager goes to `python -` on standard input, and the manager is then called by its
path below the login directory, where a session of sshd starts.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files

from ....quoting import PlainCommand

PLACE = "AppData/Local/pybatch_async"  # below the profile, which nobody else reads; the usual %LOCALAPPDATA%
_SHARED = "__init__ choice cleaning ledger schedule store unpack".split()
_OWN = "__init__ boot calling command crew ending identity keeper kernel32 machine processes reading shepherd".split()
_PARTS = ["manager.py", *(f"host/{part}.py" for part in _SHARED), *(f"host/windows/{part}.py" for part in _OWN)]
PROBE = b"\x00\xff\r\n\n"  # the manager takes no call without it (see host/windows/boot.py)
_OPTIONS = ("-I", "-S")  # neither the environment nor other modules have an influence

# Python 2 has to get through this far enough to say that it is too old.
_PLACER = """\
import base64, json, os, sys
mark, name, place = %r, %r, %r
frame = sys.argv[1] if len(sys.argv) > 1 else ""
def say(key, value):
    sys.stdout.write("\\n%%s %%s\\n" %% (mark, json.dumps({key: value})))
    sys.stdout.flush()
def main():
    if sys.version_info < (3, 6):
        return say("old", sys.version.split()[0])
    home = os.path.join(os.getcwd(), *place.split("/"))
    goal = os.path.join(home, name)
    if os.path.isdir(goal):
        return say("placed", True)
    new = "%%s.%%d" %% (goal, os.getpid())
    try:
        os.makedirs(os.path.join(new, "host", "windows"))
        for part, text in PARTS.items():
            with open(os.path.join(new, *part.split("/")), "w", encoding="ascii") as file:
                file.write(text)
        os.rename(new, goal)
    except OSError as error:
        import shutil
        shutil.rmtree(new, ignore_errors=True)
        if not os.path.isdir(goal):
            return say("profile", [home, error.strerror])
    say("placed", True)
PARTS = json.loads(base64.b64decode("%s").decode("ascii"))
if frame:
    sys.stdout.write(frame + "\\n")
try:
    main()
finally:
    if frame:
        sys.stderr.write("\\n%%s 0\\n" %% frame)
"""


@cache
def source() -> bytes:
    """Return the parts of the manager as JSON: text by file name."""
    here = files("pybatch_async.plugins.nobatch")
    parts = {name: here.joinpath(name).read_text(encoding="ascii") for name in _PARTS}
    return json.dumps({"__init__.py": "", **parts}).encode()


@cache
def name() -> str:
    """Return the name of the manager's directory on a host, which tells its content."""
    return f"nobatch_{hashlib.sha256(source()).hexdigest()[:16]}"


def placing(python_exe: str) -> PlainCommand:
    """Return the argument list that runs the program on its standard input."""
    return PlainCommand([python_exe, *_OPTIONS, "-"])


def placer(mark: str) -> bytes:
    """Return the program that places the manager and answers in one line after the mark."""
    return (_PLACER % (mark, name(), PLACE, base64.b64encode(source()).decode())).encode("ascii")


def command(python_exe: str, mark: str, verb: str) -> PlainCommand:
    """Return the argument list that runs one verb of the manager that was placed."""
    return PlainCommand([python_exe, *_OPTIONS, f"{PLACE}/{name()}/host/windows/boot.py", verb, mark])
