# SPDX-License-Identifier: MIT
"""The manager's source as it is placed on a host, and the few lines that find or place it there."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files

_HOST = (
    "__init__ calling choice cleaning command crew ending identity keeper kernel ledger machine schedule shepherd "
    "store unpack"
).split()
_PARTS = ["manager.py", *(f"host/{part}.py" for part in _HOST)]

# Python 2 has to get through this far enough to say that it is too old.
_BOOT = """\
import json, os, sys
name, mark, verb = sys.argv[1:]
def say(key, value):
    sys.stdout.write("\\n%s %s\\n" % (mark, json.dumps({key: value})))
    sys.stdout.flush()
    sys.exit(0)
if sys.version_info < (3, 6):
    say("old", sys.version.split()[0])
source = sys.stdin.buffer
size = int(source.readline())
parts = json.loads(source.read(size).decode()) if size else {}
home = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "pybatch_async")
place = os.path.join(home, name)
if not os.path.isdir(place):
    if not parts:
        say("absent", True)
    new = "%s.%d" % (place, os.getpid())
    try:
        os.makedirs(os.path.join(new, "host"), 0o700)
        os.chmod(home, 0o700)
        for part in parts:
            with open(os.path.join(new, part), "w", encoding="ascii") as file:
                file.write(parts[part])
        os.rename(new, place)
    except OSError as error:
        import shutil
        shutil.rmtree(new, ignore_errors=True)
        if not os.path.isdir(place):
            say("cache", [home, error.strerror])
sys.path.insert(0, home)
__import__(name + ".manager")
sys.modules[name + ".manager"].main(verb, mark, source)
"""


@cache
def source() -> bytes:
    """Return the parts of the manager as JSON: text by file name."""
    here = files(__package__)
    parts = {name: here.joinpath(name).read_text(encoding="ascii") for name in _PARTS}
    return json.dumps({"__init__.py": "", **parts}).encode()


@cache
def name() -> str:
    """Return the name of the manager's directory on a host, which tells its content."""
    return f"nobatch_{hashlib.sha256(source()).hexdigest()[:16]}"


def command(python_exe: str, mark: str, verb: str) -> list[str]:
    """Return the argument list that runs one verb; the environment and other modules have no influence on it.

    The lines are encoded, since some login shells do not take line breaks in an argument.
    """
    boot = base64.b64encode(_BOOT.encode()).decode()
    return [python_exe, "-I", "-S", "-c", f'import base64;exec(base64.b64decode("{boot}"))', name(), mark, verb]
