# SPDX-License-Identifier: MIT
"""Wall times, remote paths and the secrets of a connection."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybatch_async import ConfigurationError, ConnectionParameters, LaunchParameters
from pybatch_async.parameters import entry_name, remote_join, wall_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", None), (" ", None), ("0", None), ("10", 600), ("10:30", 630), ("100:30", 6030), ("2:10:5", 7805),
        ("2-2:10:30", 180630), ("2-2", 180000), ("2-2:10", 180600), ("0-2:30", 9000), (" 1-0 ", 86400), ("0:1", 1),
    ],
)  # fmt: skip
def test_wall_times_are_read_as_slurm_reads_them(text: str, seconds: int | None) -> None:
    assert wall_seconds(text) == seconds


@pytest.mark.parametrize("text", ["2-0-4", "xvi", "1:2:3:4", "-5", "1.5", "10:", ":10", "1-", "1-2:3:4:5", "१", "1 2"])
def test_what_is_no_wall_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="wall_time"):
        wall_seconds(text)


def test_a_timedelta_is_a_wall_time() -> None:
    assert wall_seconds(timedelta(hours=2, minutes=30)) == 9000
    assert wall_seconds(timedelta(milliseconds=1200)) == 2  # never less than was asked for
    assert wall_seconds(timedelta(0)) is None
    with pytest.raises(ConfigurationError, match="negative"):
        wall_seconds(timedelta(seconds=-1))


@given(st.integers(0, 99), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_the_long_form_says_what_a_timedelta_says(days: int, hours: int, minutes: int, seconds: int) -> None:
    span = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    assert wall_seconds(f"{days}-{hours}:{minutes}:{seconds}") == wall_seconds(span)


@pytest.mark.parametrize(
    ("directory", "path", "joined"),
    [("/w", "a", "/w/a"), ("/w", "/etc/x", "/etc/x"), ("/w", ".", "/w"), ("w", "a/b", "w/a/b"), ("~/w", "a", "~/w/a")],
)
def test_remote_paths_are_relative_to_the_work_directory(directory: str, path: str, joined: str) -> None:
    assert remote_join(directory, path) == joined


@pytest.mark.parametrize(("entry", "name"), [("a/b.txt", "b.txt"), ("a/dir/", "dir"), ("/x y", "x y")])
def test_an_entry_keeps_its_name(entry: str, name: str) -> None:
    assert entry_name(entry) == name


def test_parameters_compare_by_value_and_share_no_defaults() -> None:
    one, other = LaunchParameters(["true"], "w"), LaunchParameters(["true"], "w")
    assert one == other
    one.extra_as_list.append("--nice=5")
    assert other.extra_as_list == []


async def _answer(question: str) -> str:
    return "hunter2"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, replace])
def test_a_copy_of_a_connection_keeps_its_secrets(copied: Callable[..., ConnectionParameters]) -> None:
    params = ConnectionParameters("gaia", "u", "pw", passphrase="phrase", client_keys=["a"], prompt=_answer)
    twin = copied(params)
    assert twin == params and twin is not params


def test_no_secret_of_a_connection_is_shown_or_pickled() -> None:
    params = ConnectionParameters(host="gaia", password="hunter2", passphrase="hunter3", prompt=_answer)
    text = repr(params) + str(params) + str(pickle.dumps(params))
    assert "hunter" not in text and "_answer" not in text
    copy = pickle.loads(pickle.dumps(params))
    assert (copy.host, copy.password, copy.passphrase, copy.prompt) == ("gaia", None, None, None)
