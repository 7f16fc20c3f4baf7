# SPDX-License-Identifier: MIT
"""Command lines mean the same argument list to every shell."""

from __future__ import annotations

import shutil
import string
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pybatch_async as pb
from pybatch_async.quoting import LONGEST_LINE, check_argv, command_line, framed_line

SHELLS = [path for name in ("sh", "bash", "zsh", "ksh", "tcsh", "fish") if (path := shutil.which(name))]
ECHO = ["sh", "-c", r'for item; do printf "%s\0" "$item"; done', "sh"]
ODD = st.text(st.sampled_from("'\"`$;|&<>(){}[]*?~!#\\ \t\n\r%^=@-+:,é漢🦊" + string.ascii_letters), max_size=30)
ANY = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=30)
ONES = [
    "",
    "=ls",
    "%self",
    "%1",
    "@",
    "a=b",
    "~",
    "~root",
    "!!",
    "!x",
    "\\",
    "\\n",
    "{a,b}",
    "-n",
    "$HOME",
    "`id`",
    "\udcff",
]


def understood(shell: str, line: str) -> list[str]:
    done = subprocess.run([shell, "-c", line], capture_output=True, check=True, timeout=60)
    return done.stdout.decode(errors="surrogateescape").split("\0")[:-1]


@pytest.mark.parametrize("shell", SHELLS)
def test_odd_arguments_reach_the_program(shell: str) -> None:
    assert understood(shell, command_line([*ECHO, *ONES])) == ONES
    for argument in ONES:
        assert understood(shell, command_line([*ECHO, argument])) == [argument]


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=40, deadline=None)
@given(arguments=st.lists(ODD | ANY, max_size=6))
def test_any_arguments_reach_the_program(shell: str, arguments: list[str]) -> None:
    assert understood(shell, command_line([*ECHO, *arguments])) == arguments


@pytest.mark.parametrize("shell", SHELLS)
def test_line_of_the_greatest_length_reaches_the_program(shell: str) -> None:
    argument = "x y" * 40_000
    assert understood(shell, command_line([*ECHO, argument])) == [argument]


@pytest.mark.parametrize("shell", SHELLS)
def test_programs_come_before_the_shells_own(shell: str) -> None:
    done = subprocess.run([shell, "-c", command_line(["echo", "--version"])], capture_output=True, text=True)
    assert "coreutils" in done.stdout
    for keyword in ("if", "a=b", "@", "time x"):
        done = subprocess.run([shell, "-c", command_line([keyword])], capture_output=True, text=True)
        assert done.returncode != 0
        assert "not found" in done.stderr.lower() or "unknown command" in done.stderr.lower()


@pytest.mark.parametrize("shell", SHELLS)
def test_mark_comes_before_the_output(shell: str) -> None:
    for arguments in (["plain"], ["it's\nodd!"]):
        line = framed_line([*ECHO, *arguments], "a1b2")
        assert understood(shell, line) == [f"a1b2\n{arguments[0]}"]


@pytest.mark.parametrize("argv", [[], "ls", [""], ["a", "b\0"], ["a", 3], ["\ud800"], ["a", b"bytes"]])
def test_what_no_system_can_run_is_refused(argv: list[str]) -> None:
    with pytest.raises(pb.ConfigurationError):
        check_argv(argv)
    with pytest.raises(pb.ConfigurationError):
        command_line(argv)


def test_line_that_no_host_takes_is_refused_with_advice() -> None:
    with pytest.raises(pb.ConfigurationError, match="standard input"):
        command_line(["echo", "x" * LONGEST_LINE])
    with pytest.raises(pb.ConfigurationError, match="standard input"):
        command_line(["echo", "\n" * (LONGEST_LINE // 5)])
    longest = "x" * (LONGEST_LINE - len("exec echo "))
    assert len(command_line(["echo", longest])) == LONGEST_LINE
    with pytest.raises(pb.ConfigurationError):
        framed_line(["echo", longest], "a1b2")
