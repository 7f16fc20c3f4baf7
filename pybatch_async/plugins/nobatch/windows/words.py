# SPDX-License-Identifier: MIT
"""Argument lists and the text of command lines on Windows.

A program gets one line of text and splits it itself, most by the rules of CommandLineToArgvW and the C library
("Parsing C command-line arguments" in Microsoft's documentation). cmd.exe reads a line of a batch file before that:
first it replaces what stands between percent signs, then a quote hides its special characters up to the next quote,
and elsewhere a caret hides the next one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

LONGEST_LINE = 32766  # characters, of CreateProcessW's command line
_NEEDS_QUOTES = re.compile(r'[\s"]|^\Z')
_BEFORE_QUOTE, _AT_END = re.compile(r'(\\*)"'), re.compile(r"(\\+)\Z")
_SPECIAL = re.compile(r'([&|<>^()!,;="%])')


def argument_line(argv: Sequence[str]) -> str:
    """Return the command line that a program splits into these arguments; its own name holds no quote."""
    return " ".join([f'"{argv[0]}"', *map(argument, argv[1:])])


def argument(text: str) -> str:
    """Return one argument as it stands in a command line."""
    if not _NEEDS_QUOTES.search(text):
        return text
    # Backslashes mean themselves, but before a quote: there each is doubled, and one more makes the quote a character.
    escaped = _BEFORE_QUOTE.sub(r'\1\1\\"', text)
    return '"' + _AT_END.sub(r"\1\1", escaped) + '"'


def batch_line(argv: Sequence[str]) -> str:
    """Return the line of a batch file that runs a program with these arguments, which hold no line break.

    The quotes around the program are cmd.exe's too, since it looks for the program's end. In the arguments every quote
    is hidden from it by a caret, so that it never takes anything for quoted.
    """
    program = argv[0].replace("%", "%%")
    return " ".join([f'"{program}"', *(_hidden(argument(text)) for text in argv[1:])])


def _hidden(text: str) -> str:
    return _SPECIAL.sub(lambda found: "%%" if found[1] == "%" else f"^{found[1]}", text)


def split(line: str) -> list[str]:
    """Split text into arguments as a program does on Windows; a backslash that precedes no quote means itself."""
    words: list[str] = []
    word, is_word, is_quoted, at = "", False, False, 0
    while at < len(line):
        if (run := _BEFORE_QUOTE.match(line, at)) is not None:
            slashes = len(run[1])
            word += "\\" * (slashes // 2)
            if slashes % 2:
                word += '"'
            else:
                is_quoted = not is_quoted
            is_word, at = True, run.end()
            continue
        if line[at] in " \t" and not is_quoted:
            if is_word:
                words.append(word)
            word, is_word = "", False
        else:
            word, is_word = word + line[at], True
        at += 1
    return [*words, word] if is_word else words
