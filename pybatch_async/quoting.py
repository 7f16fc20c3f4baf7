# SPDX-License-Identifier: MIT
"""Argument lists to command lines that any login shell (sh, bash, zsh, tcsh, fish) reads alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from .errors import ConfigurationError

# Linux hands a program no single argument of 128 KiB (MAX_ARG_STRLEN), and sshd passes the line as one argument.
LONGEST_LINE = 131071
_SHOWN = 300  # characters of a wrong value that a message repeats

# Inside single quotes: history and newlines in tcsh, backslashes in fish; other bytes depend on the locale there.
_DIFFERS_BETWEEN_SHELLS = re.compile(r"[^\x20-\x7e]|[!\\]")
# Outside quotes. Not "=", "%" and "@", as shlex.quote has it: an assignment in sh, "=ls" in zsh, "%self" in fish.
_BARE = re.compile(r"[A-Za-z0-9_/.,:+-]+", re.ASCII)
_PLAIN = frozenset(range(0x20, 0x7F)) - frozenset(b"'\\!")  # alike between single quotes everywhere
_REBUILD = 'eval "exec $(printf %b "$1")"'
_WORD = re.compile(r"[A-Za-z0-9_.:/\\+~-]+", re.ASCII)  # alike in cmd.exe and PowerShell too, where it is no quote


class PlainCommand(list[str]):
    """An argument list for a host whose shell may be cmd.exe or PowerShell: words that need no quoting anywhere.

    Nothing can be put around it there, so its program is given the mark that frames an answer as one more argument.
    It prints a line with the mark before its output, and one with the mark and its exit code, with a space between
    them, at the end of standard error.

    :raises ConfigurationError: a word would need quoting.
    """

    def __init__(self, words: Iterable[str]) -> None:
        super().__init__(words)
        for word in self:
            if not _WORD.fullmatch(word):
                raise ConfigurationError(
                    f"{word!r} would need quotes, which cmd.exe and PowerShell read in different ways: use letters, "
                    f"digits and _ . : / \\ + ~ - only."
                )

    def line(self, mark: str) -> str:
        """Return the command line, whatever the shell."""
        return " ".join([*self, mark])


def command_line(argv: Sequence[str]) -> str:
    """Quote an argument list for the login shell of a host.

    :param argv: the program and its arguments, any text but NUL.
    :returns: one line of text that makes that shell run exactly this argument list.
    :raises ConfigurationError: empty list, a NUL in it, or a line longer than a host takes.
    """
    return _checked(_line(argv), argv)


def framed_line(argv: Sequence[str], mark: str) -> str:
    """Quote an argument list so that a line with a mark comes before its output, at the cost of no further process.

    An rc file of the login shell may print; what stands before the mark is not the command's. `echo` and `;` mean
    the same in sh, bash, zsh, tcsh and fish.

    :param mark: a random word of letters and digits.
    :raises ConfigurationError: as for `command_line`.
    """
    if isinstance(argv, PlainCommand):
        return argv.line(mark)
    return _checked(f"echo {mark};{_line(argv)}", argv)


def check_argv(argv: Sequence[str]) -> None:
    """Refuse an argument list that no system can run.

    :raises ConfigurationError: empty list, not a list, an item that is no text, or a NUL or a lone surrogate in one.
    """
    if isinstance(argv, str | bytes) or not isinstance(argv, Sequence) or not argv or not argv[0]:
        raise ConfigurationError(f"A command is a non-empty list of program and arguments, not {_shown(argv)}.")
    for item in argv:
        if not isinstance(item, str) or "\0" in item:
            raise ConfigurationError(f"An argument is text without NUL characters, not {_shown(item)}.")
        check_encodable(item)


def check_encodable(text: str) -> None:
    """Refuse text that has no bytes: a lone surrogate that does not stand for an undecodable byte.

    :raises ConfigurationError: the text can not be encoded.
    """
    try:
        text.encode(errors="surrogateescape")
    except UnicodeEncodeError as error:
        message = f"The text {_shown(text)} holds a lone surrogate and can not be sent to a host."
        raise ConfigurationError(message) from error


def _shown(value: object) -> str:
    """Return a value for a message, which need not repeat megabytes of it."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _line(argv: Sequence[str]) -> str:
    check_argv(argv)
    plain = " ".join(map(_quoted, argv))
    # `exec` makes it the program of that name, never the shell's own, an alias, a function or a keyword.
    return f"exec {_portable(plain) if _DIFFERS_BETWEEN_SHELLS.search(plain) else plain}"


def _quoted(argument: str) -> str:
    if _BARE.fullmatch(argument):
        return argument
    escaped = argument.replace("'", "'\"'\"'")
    return f"'{escaped}'"


def _checked(line: str, argv: Sequence[str]) -> str:
    size = len(line.encode(errors="surrogateescape"))
    if size > LONGEST_LINE:
        raise ConfigurationError(
            f"The command {argv[0]!r} is {size} bytes long once quoted, more than the {LONGEST_LINE} that a host "
            f"takes; pass long data on its standard input or in a file."
        )
    return line


def _portable(line: str) -> str:
    """Hide a POSIX shell line behind printf escapes, so that the login shell sees nothing it could misread."""
    hidden = "".join(
        chr(byte) if byte in _PLAIN else f"\\0{byte:03o}" for byte in line.encode(errors="surrogateescape")
    )
    return f"/bin/sh -c '{_REBUILD}' sh '{hidden}'"
