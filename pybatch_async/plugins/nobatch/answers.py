# SPDX-License-Identifier: MIT
"""What the manager answered, and what it means to the user when it could not."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ...errors import CommandFailed, PybatchException, StateUnknown, SubmitFailed, TransferFailed

_KINDS: Mapping[str, type[PybatchException]] = {
    "submit": SubmitFailed,
    "read": TransferFailed,
    "fetch": TransferFailed,
}
_FRAME = re.compile(r"[0-9a-f]{24} [0-9]+")  # what `quoting.PlainCommand` tells of


def answer_of(output: str, mark: str, python: str, host: str, verb: str) -> dict[str, Any]:
    """Return what the manager answered, in one line after the mark.

    :raises PybatchException: it did not answer.
    """
    for line in output.splitlines():
        if line.startswith(f"{mark} "):
            answer: dict[str, Any] = json.loads(line[len(mark) :])
            return answer
    raise kind_of(verb)(f"{python} on {host} ran but did not answer; python_exe has to name Python 3.6 or newer there.")


def kind_of(verb: str) -> type[PybatchException]:
    """Return the kind of error that says that a verb came to nothing."""
    return _KINDS.get(verb, StateUnknown)


def translated(error: CommandFailed, python: str, host: str, verb: str) -> PybatchException:
    """Say what a manager that failed means to the user."""
    lines = spoken(error.stderr) or ["it printed nothing"]
    if error.returncode in (126, 127):
        return kind_of(verb)(
            f"{python!r} can not be run on {host} ({lines[-1]}): install Python 3.6 or newer there, or set "
            f"python_exe to the path of one."
        )
    said = _gist(lines)
    return kind_of(verb)(
        f"{python!r} on {host} ended with {error.returncode} ({said}): python_exe has to name Python 3.6 or newer "
        f"there."
    )


def spoken(stderr: str) -> list[str]:
    """Return the lines that were written on standard error, without the one that frames a plain command's end."""
    return [line for line in stderr.splitlines() if line.strip() and not _FRAME.fullmatch(line)]


def _gist(lines: list[str]) -> str:
    """Return what tells most of what a program said on standard error."""
    if "nknown option" in lines[0]:  # Python 2 does not know -I
        return lines[0]
    is_long = lines[0].startswith("Traceback") or len(lines) > 2
    return lines[-1] if is_long else " ".join(lines)  # cmd.exe says in two lines that there is no such program


def refuse(answer: Mapping[str, Any], kind: type[PybatchException], host: str) -> None:
    """Raise what the manager, or the lines before it, said for all jobs at once."""
    if "old" in answer:
        raise kind(f"python_exe is Python {answer['old']} on {host}: set it to the path of Python 3.6 or newer there.")
    if "cache" in answer:
        place, why = answer["cache"]
        raise kind(
            f"The manager of nobatch can not be placed in {place} on {host} ({why}): make it writable with some "
            f"room, or set XDG_CACHE_HOME there."
        )
    if "profile" in answer:
        place, why = answer["profile"]
        raise kind(f"The manager of nobatch can not be placed in {place} on {host} ({why}): make it writable there.")
    if "error" in answer:
        raise kind(f"On {host}: {answer['error']}")
