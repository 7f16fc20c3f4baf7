# SPDX-License-Identifier: MIT
"""Command lines for Windows mean the argument list they were made of, by the rules that Microsoft documents."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybatch_async import ConfigurationError
from pybatch_async.plugins.nobatch.windows import words
from pybatch_async.quoting import PlainCommand, framed_line

ODD = st.text(st.sampled_from("\"\\ \t'%^&|<>()!,;=@~a1é"), max_size=12)
ANY = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"))
ARGUMENTS = st.lists(ODD | ANY, max_size=5)
PROGRAM = st.sampled_from(["prog", "C:\\Program Files\\x.exe", "C:\\100%\\a^b&c.exe", "\\\\server\\share\\p.exe"])


class Program:
    """Split a command line as a program does: "Parsing C command-line arguments" in Microsoft's documentation.

    2n backslashes and a quote are n backslashes, and the quote opens or closes; 2n+1 are n backslashes and the quote
    itself; other backslashes are themselves. Within quotes, two quotes are one. The program's own name ends at the
    second quote, whatever comes before it.
    """

    def __init__(self, line: str) -> None:
        self.rest = line
        self.argv = [self.name()]
        while self.rest.lstrip(" \t"):
            self.rest = self.rest.lstrip(" \t")
            self.argv.append(self.argument())

    def name(self) -> str:
        assert self.rest.startswith('"')
        name, _, self.rest = self.rest[1:].partition('"')
        return name

    def argument(self) -> str:
        found, is_quoted = "", False
        while self.rest and (is_quoted or self.rest[0] not in " \t"):
            bare = self.rest.lstrip("\\")
            slashes = len(self.rest) - len(bare)
            if not bare.startswith('"'):
                found += "\\" * slashes + bare[: not slashes]
                self.rest = bare[not slashes :]
                continue
            found += "\\" * (slashes // 2)
            self.rest = bare[1:]
            if slashes % 2:
                found += '"'
            elif is_quoted and self.rest.startswith('"'):
                found, self.rest = found + '"', self.rest[1:]
            else:
                is_quoted = not is_quoted
        return found


def handed_on(line: str) -> str:
    """Read a line of a batch file as cmd.exe does, and return what the program gets; fail where it would act itself.

    First comes what stands between percent signs, of which two are one; then a quote hides special characters up to
    the next quote, and a caret outside of quotes hides the next character.
    """
    text = line.replace("%%", "\0")
    assert "%" not in text, "a variable would be replaced"
    found, is_quoted, characters = "", False, iter(text.replace("\0", "%"))
    for character in characters:
        if character == "^" and not is_quoted:
            found += next(characters)
            continue
        assert is_quoted or character not in "&|<>()", f"cmd.exe would act on {character}"
        is_quoted ^= character == '"'
        found += character
    assert not is_quoted, "a quote hides the end of the line"
    return found


@given(PROGRAM, ARGUMENTS)
def test_program_gets_its_arguments(program: str, arguments: list[str]) -> None:
    assert Program(words.argument_line([program, *arguments])).argv == [program, *arguments]


@given(ARGUMENTS)
def test_arguments_are_quoted_as_python_quotes_them(arguments: list[str]) -> None:
    ours = Program(words.argument_line(["prog", *arguments])).argv
    assert ours == Program(f'"prog" {subprocess.list2cmdline(arguments)}').argv


@given(PROGRAM, ARGUMENTS)
def test_batch_file_hands_the_arguments_on(program: str, arguments: list[str]) -> None:
    assert Program(handed_on(words.batch_line([program, *arguments]))).argv == [program, *arguments]


@given(ARGUMENTS)
def test_launcher_is_split_as_windows_splits(arguments: list[str]) -> None:
    assert words.split(" ".join(map(words.argument, arguments))) == arguments


def test_launcher_keeps_backslashes() -> None:
    line = '"C:\\Program Files\\MPI\\mpiexec.exe" -n 4 /dir C:\\x\\'
    assert words.split(line) == ["C:\\Program Files\\MPI\\mpiexec.exe", "-n", "4", "/dir", "C:\\x\\"]


@pytest.mark.parametrize(
    "argument, expected",
    [
        ("", '""'),
        ("plain", "plain"),
        ("a b", '"a b"'),
        ('a"b', '"a\\"b"'),
        ("c:\\x\\", "c:\\x\\"),
        ("c:\\x y\\", '"c:\\x y\\\\"'),
        ('\\"', '"\\\\\\""'),
    ],
)
def test_arguments_look_as_documented(argument: str, expected: str) -> None:
    assert words.argument(argument) == expected


# What goes to the host's shell


def test_plain_command_carries_the_mark_as_its_last_word() -> None:
    command = PlainCommand(["C:/Python312/python.exe", "-I", "-S", "AppData/Local/x/boot.py", "states", "a1"])
    assert framed_line(command, "m4rk") == "C:/Python312/python.exe -I -S AppData/Local/x/boot.py states a1 m4rk"


@pytest.mark.parametrize("word", ["", "a b", "a&b", "%x%", "$x", "a;b", '"a"', "'a'", "a`b", "(a)", "@a", "a,b", "é"])
def test_plain_command_refuses_what_a_shell_could_read(word: str) -> None:
    with pytest.raises(ConfigurationError, match="quotes"):
        PlainCommand(["python", word])
