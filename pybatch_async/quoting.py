# SPDX-License-Identifier: MIT
"""Argument lists to command lines that any login shell (sh, bash, zsh, tcsh, fish) reads alike."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from .errors import ConfigurationError

# Linux hands a program no single argument of 128 KiB (MAX_ARG_STRLEN), and sshd passes the line as one argument.
LONGEST_LINE = 131071

_DIFFERS_BETWEEN_SHELLS = re.compile(
    r"[!\\\n\r]"
)  # inside single quotes, in tcsh (history, newline) and fish (backslash)
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/.-")
_REBUILD = 'eval "exec $(printf %b "$1")"'


def command_line(argv: Sequence[str]) -> str:
    """Quote an argument list for the login shell of a host.

    :param argv: the program and its arguments, any text but NUL.
    :returns: one line of text that makes that shell run exactly this argument list.
    :raises ConfigurationError: empty list, a NUL in it, or a line longer than a host takes.
    """
    check_argv(argv)
    plain = shlex.join(argv)
    line = _portable(plain) if _DIFFERS_BETWEEN_SHELLS.search(plain) else plain
    if len(line.encode(errors="surrogateescape")) > LONGEST_LINE:
        raise ConfigurationError(
            f"The command {argv[0]!r} is {len(line)} characters long once quoted, more than the {LONGEST_LINE} that a "
            f"host takes; pass long data on its standard input or in a file."
        )
    return line


def framed_line(argv: Sequence[str], mark: str) -> str:
    """Quote an argument list so that a line with a mark comes before its output, at the cost of no further process.

    An rc file of the login shell may print; what stands before the mark is not the command's. `echo`, `;` and `exec`
    mean the same in sh, bash, zsh, tcsh and fish.

    :param mark: a random word of letters and digits.
    """
    return f"echo {mark};exec {command_line(argv)}"


def check_argv(argv: Sequence[str]) -> None:
    """Refuse an argument list that no system can run.

    :raises ConfigurationError: empty list, not a list, an item that is no text, or a NUL or a lone surrogate in one.
    """
    if isinstance(argv, str) or not argv or not argv[0]:
        raise ConfigurationError(f"A command is a non-empty list of program and arguments, not {argv!r}.")
    for item in argv:
        if not isinstance(item, str) or "\0" in item:
            raise ConfigurationError(f"An argument is text without NUL characters, not {item!r}.")
        check_encodable(item)


def check_encodable(text: str) -> None:
    """Refuse text that has no bytes: a lone surrogate that does not stand for an undecodable byte.

    :raises ConfigurationError: the text can not be encoded.
    """
    try:
        text.encode(errors="surrogateescape")
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"The text {text!r} holds a lone surrogate and can not be sent to a host.") from error


def _portable(line: str) -> str:
    """Hide a POSIX shell line behind printf escapes, so that the login shell sees nothing it could misread."""
    hidden = "".join(
        chr(byte) if byte in _PLAIN else f"\\0{byte:03o}" for byte in line.encode(errors="surrogateescape")
    )
    return f"/bin/sh -c '{_REBUILD}' sh '{hidden}'"
