# SPDX-License-Identifier: MIT
"""The shell scripts that run on the front-end, and how they are sent there."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files

from ...protocols.archive import END

# Unpack an archive beside links to the places that work directories start from, then let its driver run. Where what
# many jobs share is not whole, nothing is done; what tar could not write for single jobs, the driver tells.
UNPACK = (
    'd=$(mktemp -d "${TMPDIR:-/tmp}/pybatch_async.XXXXXXXX") || exit 74; '
    # What is left behind when the connection is cut goes away before anybody is told of it, who may be gone too.
    'trap "rm -rf \\"$d\\"; exit 75" HUP INT PIPE TERM; '
    'ln -s "$PWD" "$d/rel"; ln -s "$HOME" "$d/home"; ln -s / "$d/abs"; '
    'if e=$(LC_ALL=C TAR_OPTIONS=--quoting-style=literal tar -xPf - -C "$d" 2>&1); then : > "$d/errors"; '
    'elif echo "$e" > "$d/errors"; then grep -qE "(^|[ \'])(own|blobs)/" "$d/errors" && rm -f "$d/{end}"; '
    'else rm -f "$d/{end}"; fi; [ -e "$d/{end}" ] && exec /bin/sh "$d/own/driver.sh" "$1" "$d"; '
    'echo "$1 torn $(echo "$e" | tail -n 3 | paste -sd " " -)"; rm -rf "$d"'
).replace("{end}", END)


@cache
def text(name: str) -> str:
    """Return the text of one of this directory's scripts."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def command(name: str, nonce: str, arguments: Sequence[str] = ()) -> list[str]:
    """Put a script that reads nothing on a command line, which spares the round trip that its text would take."""
    return ["/bin/sh", "-c", f"{text('tools.sh')}{text(name)}", "sh", nonce, *arguments]


def script(name: str, nonce: str, arguments: Sequence[str] = (), lines: Iterable[str] = ()) -> str:
    """Put a script together for `/bin/sh -s`, with its arguments and the lines it reads in its text.

    Data in the text need no quoting by the login shell, and are not bound to the length of a command line.
    """
    data = "".join(f"{line}\n" for line in lines)
    setting = f"set -- {shlex.join([nonce, *arguments])}\n"
    return f"{text('tools.sh')}{setting}{{\n{text(name)}}} <<'END{nonce}'\n{data}END{nonce}\n"


def driver() -> bytes:
    """Return the driver that submits jobs, as an archive carries it."""
    return f"{text('tools.sh')}{text('driver.sh')}".encode()
