# SPDX-License-Identifier: MIT
"""The archive of many jobs: work directories anchored, distinct inputs sent once."""

from __future__ import annotations

from pathlib import Path
from posixpath import normpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybatch_async.plugins.staging import Copy, Placement, Staged, anchored, stage

PATHS = st.lists(st.sampled_from(["a", "b c", ".", "..", "é", "~"]), max_size=4).map("/".join)


@pytest.mark.parametrize(
    ("directory", "place"),
    [
        ("w", "rel/w"), ("./w/", "rel/w"), ("/scratch/w", "abs/scratch/w"), ("//scratch/w", "abs/scratch/w"),
        ("~/w", "home/w"), ("~", "home/."), ("~/", "home/."), ("~//w", "home/w"), ("~/../w", "home/../w"),
        ("./~", "rel/~"), (".", "rel/."), ("a/../w", "rel/w"), ("../w", "rel/../w"),
        ("a/~/w", "rel/a/~/w"), ("~user/w", "rel/~user/w"),
    ],
)  # fmt: skip
def test_a_work_directory_lies_below_one_of_three_roots(directory: str, place: str) -> None:
    assert anchored(directory) == place


@given(PATHS)
def test_anchoring_keeps_where_the_path_leads(path: str) -> None:
    place = anchored(path or ".")
    root, _, rest = place.partition("/")
    if path.startswith("/"):
        assert root == "abs" and normpath(f"/{rest}") == normpath(path).replace("//", "/")
    elif path.split("/")[0] == "~":
        assert root == "home" and normpath(f"/h/o/m/e/{rest}") == normpath(f"/h/o/m/e/{path[1:]}")
    else:
        assert root == "rel" and normpath(f"/l/o/g/i/n/{rest}") == normpath(f"/l/o/g/i/n/{path}")


def test_every_file_and_input_has_its_place(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("x")
    staged = stage([Placement("w", {"batch.cmd": b"text"}, [tmp_path / "in.txt", f"{tmp_path}/"])])
    members = {member.name: member.source for member in staged.members}
    assert members == {
        "rel/w/batch.cmd": b"text",
        "rel/w/in.txt": tmp_path / "in.txt",
        f"rel/w/{tmp_path.name}": tmp_path,
    }
    assert staged.copies == []


def test_an_input_of_several_jobs_is_sent_once_and_copied(tmp_path: Path) -> None:
    shared = tmp_path / "shared.txt"
    shared.write_text("x")
    staged = stage(Placement(f"w{number}", {}, [shared]) for number in range(3))
    assert [member.name for member in staged.members] == ["blobs/0/shared.txt"]
    assert staged.copies == [Copy("blobs/0/shared.txt", f"w{number}") for number in range(3)]


def test_one_file_under_two_names_is_two_inputs(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").symlink_to("a")
    staged = stage([Placement("w", {}, [tmp_path / "a", tmp_path / "b"])])
    assert [(member.name, member.source) for member in staged.members] == [
        ("rel/w/a", tmp_path / "a"),
        ("rel/w/b", tmp_path / "a"),
    ]


@given(st.lists(st.lists(st.integers(0, 5), max_size=4, unique=True), max_size=12))
def test_each_distinct_input_travels_once_and_reaches_every_job(jobs: list[list[int]]) -> None:
    placements = [Placement(f"w{number}", {}, [f"in/{each}" for each in those]) for number, those in enumerate(jobs)]
    staged: Staged = stage(placements)
    sources = [member.source for member in staged.members]
    assert len(sources) == len(set(sources)) == len({each for those in jobs for each in those})
    direct = {member.name.removeprefix("rel/") for member in staged.members if member.name.startswith("rel/")}
    copied = {f"{copy.directory}/{copy.source.rsplit('/', 1)[1]}" for copy in staged.copies}
    assert direct | copied == {f"w{number}/{each}" for number, those in enumerate(jobs) for each in those}
    assert not direct & copied
