# SPDX-License-Identifier: MIT
"""What Slurm's commands printed, read: the recorded answers of 22.05 and 26.05, states, exit codes, array rows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybatch_async import JobState
from pybatch_async.plugins.slurm.parsing import (
    STATES,
    Row,
    final_exit_code,
    parse_exit_code,
    parse_job_id,
    parse_sacct,
    parse_squeue,
)

DATA = Path(__file__).parents[1] / "data" / "slurm"
TOKEN = "0123456789abcdef" * 2
FLAGS_AND_WAITING = {
    JobState.QUEUED: "PENDING REQUEUED REQUEUE_FED EXPEDITING",
    JobState.RUNNING: "RUNNING COMPLETING STAGE_OUT CONFIGURING RESIZING SIGNALING",
    JobState.PAUSED: "SUSPENDED STOPPED REQUEUE_HOLD SPECIAL_EXIT RESV_DEL_HOLD",
}
ENDS = {
    JobState.FINISHED: "COMPLETED",
    JobState.FAILED: "CANCELLED FAILED TIMEOUT NODE_FAIL PREEMPTED BOOT_FAIL DEADLINE OUT_OF_MEMORY",
}


def recorded(version: str) -> list[str]:
    """Return the rows that squeue -O printed, with the command and the times as our own format asks for them."""
    text = (DATA / f"slurm-{version}" / "outputs.txt").read_text()
    answer = text.split("squeue -h --me -t all -O ")[1].split("\n", 1)[1].split("# exit 0")[0]
    return [_as_ours(line) for line in answer.splitlines()]


def _as_ours(line: str) -> str:
    fields = line.split("|", 9)
    times = [_seconds(each) for each in fields[5:8]]
    return "|".join([*fields[:5], *times, fields[8], f"{' ' * 40}/home/u|ser/a dir/.pybatch_async/{TOKEN}.cmd"])


def _seconds(text: str) -> str:
    if "T" not in text:
        return text
    return f" {int(datetime.fromisoformat(text.strip()).replace(tzinfo=UTC).timestamp())}"


def told(version: str) -> dict[tuple[str, int | None], Row]:
    rows = parse_squeue("\n".join(recorded(version)))
    return {(row.job_id, index): row for row in rows for index in (row.indices or (None,))}


def squeue_row(word: str, code: str = "0", nodes: str = "n1") -> str:
    return f"12|{word}|{code}|None|0|1700000000|1700000001|1700000002|{nodes}|/w/.pybatch_async/{TOKEN}.cmd"


def sacct_row(word: str, code: str = "0:0", nodes: str = "n1") -> str:
    return f"12|{word}|{code}|1700000000|1700000001|1700000002|{nodes}|sbatch --parsable /w/.pybatch_async/{TOKEN}.cmd"


def ours(version: str) -> list[tuple[str, str, JobState, int | None]]:
    rows = parse_squeue("\n".join(recorded(version)))
    infos = [row.info for row in rows if row.info is not None]
    return [(info.job_id, info.scheduler_state, info.state, info.exit_code) for info in infos]


def test_recorded_rows_of_22_05() -> None:
    assert ours("22.05") == [
        ("208_[1-50:7%3]", "PENDING", JobState.QUEUED, None),
        ("210", "CANCELLED", JobState.FAILED, 15),
        ("206_0", "COMPLETED", JobState.FINISHED, 0),
        ("206_1", "FAILED", JobState.FAILED, 1),
        ("206_2", "FAILED", JobState.FAILED, 2),
        ("207", "FAILED", JobState.FAILED, 9),
        ("211", "PENDING", JobState.QUEUED, None),
        ("212", "PENDING", JobState.QUEUED, None),
        ("214", "PENDING", JobState.QUEUED, None),
        ("213", "PENDING", JobState.QUEUED, None),
        ("209", "RUNNING", JobState.RUNNING, None),
    ]


def test_recorded_rows_of_26_05() -> None:
    assert ours("26.05") == [
        ("9_[1-50:7%3]", "PENDING", JobState.QUEUED, None),
        ("11", "CANCELLED", JobState.FAILED, 15),
        ("7_0", "COMPLETED", JobState.FINISHED, 0),
        ("8", "FAILED", JobState.FAILED, 9),
        ("7_1", "FAILED", JobState.FAILED, 1),
        ("7_2", "FAILED", JobState.FAILED, 2),
        ("12", "PENDING", JobState.QUEUED, None),
        ("15", "PENDING", JobState.QUEUED, None),
        ("13", "PENDING", JobState.QUEUED, None),
        ("14", "PENDING", JobState.QUEUED, None),
        ("10", "SUSPENDED", JobState.PAUSED, None),
    ]


@pytest.mark.parametrize(("version", "array", "requeued"), [("22.05", "208", "214"), ("26.05", "9", "15")])
def test_recorded_rows_tell_indices_token_restarts_reason_nodes_and_times(
    version: str, array: str, requeued: str
) -> None:
    rows = told(version)
    assert [index for job, index in rows if job == array] == [1, 8, 15, 22, 29, 36, 43, 50]
    assert {row.token for row in rows.values()} == {TOKEN}
    again, waiting = rows[requeued, None].info, rows[array, 1].info
    assert again is not None and again.restarts == 1
    assert waiting is not None and (waiting.reason, waiting.nodes) == ("PartitionDown", "")
    assert waiting.start_time is None and waiting.end_time is None


def test_a_recorded_end_carries_its_times_and_nodes() -> None:
    info = told("22.05")["206", 1].info
    assert info is not None
    assert info.submit_time == datetime(2026, 11, 22, 11, 37, 38, tzinfo=UTC)
    assert info.start_time == info.end_time == datetime(2026, 11, 22, 11, 37, 39, tzinfo=UTC)
    assert (info.nodes, info.reason) == ("n1", "NonZeroExitCode")


def test_the_expected_end_of_a_running_job_is_not_its_end() -> None:
    info = told("22.05")["209", None].info
    assert info is not None and info.start_time is not None and info.end_time is None


@pytest.mark.parametrize("version", ["22.05", "26.05"])
def test_recorded_words_of_another_kind_are_no_rows(version: str) -> None:
    text = (DATA / f"slurm-{version}" / "outputs.txt").read_text()
    assert {row.token for row in parse_squeue(text)} == {""}  # the rows are recorded with a name, not with our command
    assert list(parse_sacct("slurm_load_jobs error: Invalid job id specified\n\nnoise|a|b|c|d|e|f|g")) == []
    assert list(parse_squeue("a|b|c|d|e|f|g|h|i|j\n12||0|None|0|0|0|0|n1|x")) == []


STATE_WORDS = [(word, state) for states in (FLAGS_AND_WAITING, ENDS) for state, words in states.items()
               for word in words.split()]  # fmt: skip


@pytest.mark.parametrize(("word", "state"), STATE_WORDS)
def test_every_state_word_is_known_to_both_commands(word: str, state: JobState) -> None:
    for row in (*parse_squeue(squeue_row(word)), *parse_sacct(sacct_row(word))):
        assert row.info is not None
        assert (row.info.state, row.info.scheduler_state, row.job_id, row.token) == (state, word, "12", TOKEN)
        assert row.info.state.is_final == (word in " ".join(ENDS.values()).split())


def test_no_other_state_word_is_known() -> None:
    assert set(STATES) == {word for word, _ in STATE_WORDS}


@pytest.mark.parametrize("word", ["REVOKED", "INVENTED_LATER"])
def test_an_unknown_word_says_nothing_of_the_job(word: str) -> None:
    assert [row.info for row in (*parse_squeue(squeue_row(word)), *parse_sacct(sacct_row(word)))] == [None, None]


def test_sacct_names_who_cancelled() -> None:
    (row,) = parse_sacct(sacct_row("CANCELLED by 1001"))
    assert row.info is not None
    assert (row.info.scheduler_state, row.info.state, row.info.exit_code) == ("CANCELLED", JobState.FAILED, 15)


def test_a_job_cancelled_before_it_started_has_no_exit_code() -> None:
    rows = [
        *parse_sacct(sacct_row("CANCELLED by 0", nodes="None assigned")),
        *parse_squeue(squeue_row("CANCELLED", nodes="")),
    ]
    assert [row.info and row.info.exit_code for row in rows] == [None, None]


def test_sacct_shows_arrays_by_task_and_folded() -> None:
    text = "5_[3-9%2]|PENDING|0:0|1|Unknown|Unknown|None assigned|sbatch\n5_2|OUT_OF_MEMORY|0:125|1|2|3|n1|sbatch"
    folded, task = parse_sacct(text)
    assert (folded.job_id, folded.indices) == ("5", (3, 4, 5, 6, 7, 8, 9))
    assert (task.indices, task.info and task.info.exit_code) == ((2,), 125)


@pytest.mark.parametrize(
    ("text", "code", "signal"),
    [
        ("0", 0, 0), ("256", 1, 0), ("512", 2, 0), ("9", 0, 9), ("15", 0, 15), ("139", 0, 11), ("65280", 255, 0),
        ("0:0", 0, 0), ("1:0", 1, 0), ("0:9", 0, 9), ("0:15", 0, 15), ("1:9", 1, 9), ("", 0, 0), ("N/A", 0, 0),
        ("1:x", 0, 0),
    ],
)  # fmt: skip
def test_exit_codes_are_read_in_every_form(text: str, code: int, signal: int) -> None:
    assert parse_exit_code(text) == (code, signal)


@pytest.mark.parametrize(
    ("word", "code", "signal", "was_started", "settled"),
    [
        ("COMPLETED", 0, 0, True, 0),
        ("FAILED", 3, 0, True, 3),
        ("FAILED", 0, 9, True, 9),
        ("FAILED", 137, 0, True, 9),  # the batch shell's way to tell of a command that signal 9 ended
        ("FAILED", 139, 0, True, 11),
        ("FAILED", 255, 0, True, 255),
        ("CANCELLED", 0, 15, True, 15),  # squeue
        ("CANCELLED", 0, 0, True, 15),  # sacct
        ("CANCELLED", 0, 0, False, None),
        ("TIMEOUT", 0, 0, True, 15),
        ("TIMEOUT", 143, 0, True, 15),
        ("NODE_FAIL", 0, 0, True, None),
        ("OUT_OF_MEMORY", 0, 125, True, 125),
    ],
)
def test_squeue_sacct_and_the_shell_settle_on_one_exit_code(
    word: str, code: int, signal: int, was_started: bool, settled: int | None
) -> None:
    assert final_exit_code(word, code, signal, was_started) == settled


@pytest.mark.parametrize(
    ("text", "job", "indices"),
    [
        ("12", "12", ()),
        ("12_3", "12", (3,)),
        ("12_[3]", "12", (3,)),
        ("12_[0-4,7,10-20:2%3]", "12", (0, 1, 2, 3, 4, 7, 10, 12, 14, 16, 18, 20)),
        ("2_[0-20:2%3]", "2", tuple(range(0, 21, 2))),
    ],
)
def test_array_ids_are_read_in_every_form(text: str, job: str, indices: tuple[int, ...]) -> None:
    assert parse_job_id(text) == (job, indices)


@pytest.mark.parametrize("text", ["", "12.batch", "12+0", "12_", "12_[", "12_[3-", "12_[1-9...]", "x", "²", "12_3_4"])
def test_what_is_no_job_id_is_not_read_as_one(text: str) -> None:
    assert parse_job_id(text) is None


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(1, 30), st.integers(1, 9)), min_size=1, max_size=8),
       st.none() | st.integers(1, 99))  # fmt: skip
def test_an_array_spec_expands_to_what_it_was_made_of(spans: list[tuple[int, int, int]], limit: int | None) -> None:
    written: list[str] = []
    expected: list[int] = []
    for first, count, step in spans:
        last = first + (count - 1) * step
        written.append(str(first) if count == 1 else f"{first}-{last}" + (f":{step}" if step > 1 else ""))
        expected += range(first, last + 1, step)
    text = f"77_[{','.join(written)}{'' if limit is None else f'%{limit}'}]"
    assert parse_job_id(text) == ("77", tuple(expected))


def test_a_blank_state_is_no_row() -> None:
    assert list(parse_sacct("12| |0:0|1|2|3|n1|sbatch x")) == []


@given(st.text(max_size=60))
def test_no_text_makes_the_parsers_fail(text: str) -> None:
    list(parse_squeue(text))
    list(parse_sacct(text))
    parse_job_id(text)


@given(st.lists(st.text("0123456789-,:_[]%abcNA/ ", max_size=12), min_size=10, max_size=10))
def test_no_odd_field_makes_the_parsers_fail(fields: list[str]) -> None:
    list(parse_squeue("|".join(["12", "RUNNING", *fields[2:]])))
    list(parse_squeue("|".join(fields)))
    list(parse_sacct("|".join(fields[:8])))
