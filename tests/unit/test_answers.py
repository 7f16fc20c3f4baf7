# SPDX-License-Identifier: MIT
"""What our scripts print on a host, read among whatever the login prints there."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybatch_async.plugins.slurm.answers import (
    Answer,
    AnswerReader,
    Record,
    between,
    framed,
    is_ambiguous,
    is_limit,
    is_unreached,
)

DATA = Path(__file__).parents[1] / "data" / "slurm"
TOKEN = "0123456789abcdef" * 2
REFUSALS = [
    "sbatch: error: invalid partition specified: nowhere",
    "sbatch: error: Batch job submission failed: Invalid partition name specified",
    "sbatch: error: Invalid --time specification",
    "sbatch: error: Batch job submission failed: Invalid job array specification",
    "sbatch: error: Batch job submission failed: Requested node configuration is not available",
    "sbatch: error: Batch job submission failed: Job dependency problem",
    "sbatch: error: Unable to open file /nonexistent",
]
LIMITS = [
    "sbatch: error: QOSMaxSubmitJobPerUserLimit",
    "sbatch: error: AssocMaxSubmitJobLimit",
    "sbatch: error: AssocGrpSubmitJobsLimit",
    "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying",
    "sbatch: error: Slurm job queue is full, sleeping and retrying",
]
AMBIGUOUS = [
    "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
    "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received",
    "sbatch: error: slurm_receive_msg: send/recv failure",
    "sbatch: error: Batch job submission failed: Unable to contact slurm controller (receive failure)",
]
USAGE = [
    "sbatch: unrecognized option '--nope'",
    "sbatch: error: Invalid --mem specification",
    'sbatch: error: "abc" is not a valid node count',
    "sbatch: option '--comment' requires an argument",
    "sbatch: error: --uid only permitted by root user",
]
UNREACHED = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"


@pytest.mark.parametrize("said", REFUSALS)
def test_a_refusal_is_sure(said: str) -> None:
    assert Record(lines=["begin 1 h 5", said, "rc 1"]).is_refused
    assert not is_limit(said)


@pytest.mark.parametrize("version", ["22.05", "26.05"])
def test_the_refusals_are_the_recorded_ones(version: str) -> None:
    recorded = (DATA / f"slurm-{version}" / "outputs.txt").read_text()
    said = {line[3:] for line in recorded.splitlines() if line.startswith("2> sbatch: error: ")}
    assert said <= {*REFUSALS, "sbatch: error: Memory specification can not be satisfied"}


@pytest.mark.parametrize("said", LIMITS)
def test_a_submit_limit_is_told_from_a_refusal(said: str) -> None:
    assert is_limit(said)
    assert not is_ambiguous(said)


@pytest.mark.parametrize("said", AMBIGUOUS)
def test_a_lost_answer_of_the_controller_leaves_open_whether_there_is_a_job(said: str) -> None:
    record = Record(lines=["begin 1 h 5", said, "rc 1"])
    assert is_ambiguous(said) and not record.is_refused and not is_unreached(said)
    assert record.job_id == ""


def test_a_controller_that_was_not_reached_has_made_no_job() -> None:
    assert is_unreached(UNREACHED) and not is_ambiguous(UNREACHED)


@pytest.mark.parametrize("said", USAGE)
def test_an_option_that_sbatch_does_not_understand_is_a_refusal(said: str) -> None:
    assert Record(lines=["begin 1 h 5", said, "rc 255"]).is_refused


@pytest.mark.parametrize("said", ["", "ssh: connect to host gaia1: Connection reset", "client_loop: send disconnect"])
def test_a_wrapper_that_lost_its_connection_leaves_open_whether_there_is_a_job(said: str) -> None:
    assert not Record(lines=["begin 1 h 5", said, "rc 255"]).is_refused


@pytest.mark.parametrize("code", [129, 137, 143])
def test_a_killed_sbatch_leaves_open_whether_there_is_a_job(code: int) -> None:
    assert not Record(lines=["begin 1 h 5", f"rc {code}"]).is_refused


@pytest.mark.parametrize(
    ("lines", "job_id"),
    [
        (["begin 1 h 5", "42", "rc 0"], "42"),
        (["begin 1 h 5", "42;gaia", "rc 0"], "42"),
        (["begin 1 h 5", "sbatch: lua: welcome", "42", "rc 0"], "42"),
        (["begin 1 h 5", "42"], "42"),  # the driver was killed before it noted the code
        (["begin 1 h 5", "rc 0"], ""),
        (["begin 1 h 5"], ""),
        ([], ""),
    ],
)
def test_the_id_is_what_sbatch_printed_on_a_line_of_its_own(lines: list[str], job_id: str) -> None:
    assert Record(lines=lines).job_id == job_id


def test_the_id_is_what_the_running_job_noted_where_sbatch_could_not() -> None:
    assert Record(lines=["begin 1 h 5"], runs=["start 42 0"]).job_id == "42"


def test_a_record_tells_who_began_it_and_when() -> None:
    assert Record(lines=["begin 123 front1 1700000000", "rc 0"]).began == ("front1", 1700000000.0)
    assert Record().began == ("", 0.0)


def test_what_sbatch_said_is_told_in_one_line_without_our_own_words() -> None:
    lines = ["claimed", "begin 1 h 5", *REFUSALS[:2], "rc 1"]
    said = "invalid partition specified: nowhere Batch job submission failed: Invalid partition name specified"
    assert Record(lines=lines).said == said


ANSWER = f"""Welcome to gaia!
PBx now 1700000000
PBx host front1
PBx job {TOKEN} /home/u/a dir
PBx is {TOKEN} begin 12 front1 1700000000
PBx is {TOKEN} 42
noise in between
PBx is {TOKEN} rc 0
PBx failed {TOKEN[::-1]} the work directory /x can not be created: mkdir: Permission denied
PBx run {TOKEN} start 42 0
PBx end
PBy is {TOKEN} 66
"""


def read(text: str, nonce: str) -> Answer:
    reader = AnswerReader(nonce)
    reader.feed(text.encode(errors="replace"))
    return reader.answer


def test_an_answer_is_found_among_what_the_login_prints() -> None:
    answer = read(ANSWER, "PBx")
    record = answer.records[TOKEN]
    assert (record.directory, record.job_id, record.code, record.runs) == (
        "/home/u/a dir",
        "42",
        0,
        ["start 42 0"],
    )
    assert answer.records[TOKEN[::-1]].failure.endswith("mkdir: Permission denied")
    assert (answer.now, answer.host, answer.is_whole) == (1700000000.0, "front1", True)


def test_a_cut_answer_says_what_had_come() -> None:
    answer = read(ANSWER.partition("noise")[0], "PBx")
    assert answer.records[TOKEN].job_id == "42"
    assert not answer.is_whole


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_who_reads_along_hears_of_each_sbatch_that_has_returned(size: int) -> None:
    heard: list[tuple[str, str]] = []
    reader = AnswerReader("PBx", lambda token, record: heard.append((token, record.job_id)))
    data = ANSWER.encode()
    start = data.index(b"noise")
    for position in range(0, start, size):
        reader.feed(data[position : min(position + size, start)])
    assert not heard
    for position in range(start, len(data), size):
        reader.feed(data[position : position + size])
    assert heard == [(TOKEN, "42")]
    assert reader.answer == read(ANSWER, "PBx")


def test_a_line_that_was_cut_says_nothing() -> None:
    assert read(f"PBx is {TOKEN} 4", "PBx").records == {}


def test_a_missing_sbatch_is_told() -> None:
    assert read("PBx nosbatch /bin:/usr/bin\n", "PBx").missing_sbatch == "/bin:/usr/bin"


def test_a_program_s_answer_stands_between_two_marks() -> None:
    assert between("noise\nPBx begin\na\nb\nPBx rc 0\nmore\n", "PBx") == ("a\nb\n", 0)
    assert between("PBx begin\nsorry\nPBx rc 1\n", "PBx") == ("sorry\n", 1)
    assert between("PBx begin\na\n", "PBx") == ("a\n", None)
    assert between("", "PBx") == ("", None)


def test_only_marked_lines_are_ours() -> None:
    assert list(framed("x\nPBx a b\nPBxy c\n PBx d\nPBx e\n", "PBx")) == ["a b", "e"]


@given(st.lists(st.sampled_from(ANSWER.splitlines()) | st.text(max_size=20)))
def test_no_answer_makes_the_reader_fail(lines: list[str]) -> None:
    text = "\n".join(lines)
    for record in read(text, "PBx").records.values():
        assert (record.job_id, record.is_refused, record.began, record.said) is not None
    between(text, "PBx")
