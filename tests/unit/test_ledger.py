# SPDX-License-Identifier: MIT
"""What squeue, the jobs' own records and sacct tell, put together: the surest first, and nothing made up."""

from __future__ import annotations

import pytest

from pybatch_async import JobInfo, JobState, LaunchParameters, LocalProtocol
from pybatch_async.plugins.slurm.ledger import Ledger, RunRecord, parse_runs, task_id
from pybatch_async.plugins.slurm.parsing import Row
from pybatch_async.plugins.ticket import JobRecord, Report, Ticket


class Submitted(JobRecord):
    """Stand for a submitted job."""

    plugin_name = "slurm"


def job(*ids: str, tasks: int = 1, part: int | None = None) -> Submitted:
    one = Submitted(LaunchParameters(["true"], "w", total_jobs=tasks), LocalProtocol())
    one.ticket = Ticket(ids, "/w", 0.0, part or tasks)
    return one


def row(job_id: str, state: JobState, *indices: int, token: str = "", code: int | None = None) -> Row:
    return Row(job_id, indices, token, JobInfo(job_id, state, "", code))


def told(one: JobRecord, rows: list[Row], runs: str = "") -> Report | None:
    ledger = Ledger([one])
    ledger.enter_rows(rows)
    ledger.enter_runs(parse_runs(runs.replace("TOKEN", one.token).splitlines()))
    return ledger.reports().get(one)


def summary(report: Report | None) -> list[tuple[JobState, int | None]]:
    assert report is not None
    return [(info.state, info.exit_code) for info in report.infos]


def test_a_row_is_entered_for_its_job() -> None:
    one = job("12")
    assert summary(told(one, [row("12", JobState.RUNNING, token=one.token)])) == [(JobState.RUNNING, None)]


def test_a_recycled_id_is_another_job_s() -> None:
    one = job("12")
    assert told(one, [row("12", JobState.FAILED, token="f" * 32)]) is None


def test_a_job_and_its_reloaded_copy_are_told_alike() -> None:
    one, twin = job("12"), job("12")
    twin.token = one.token
    ledger = Ledger([one, twin])
    ledger.enter_rows([row("12", JobState.RUNNING, token=one.token)])
    assert [report.state for report in ledger.reports().values()] == [JobState.RUNNING] * 2
    ledger = Ledger([one, twin])
    ledger.enter_runs([RunRecord(one.token, "0", ("exit", "12", "0"))])
    assert [report.state for report in ledger.reports().values()] == [JobState.FINISHED] * 2


def test_a_row_that_does_not_show_its_token_is_taken_by_its_id() -> None:
    assert summary(told(job("12"), [row("12", JobState.FINISHED, code=0)])) == [(JobState.FINISHED, 0)]


def test_a_row_of_an_unknown_state_says_nothing() -> None:
    assert told(job("12"), [Row("12", (), "", None)]) is None


def test_absence_from_every_answer_is_unknown() -> None:
    assert told(job("12"), []) is None


def test_an_array_has_ended_only_once_all_its_tasks_are_known_to() -> None:
    one = job("12", tasks=3)
    ended = row("12", JobState.FINISHED, 1, 2, code=0)
    partly = told(one, [ended])
    assert partly is not None and partly.is_partial
    assert summary(told(one, [ended, row("12", JobState.FAILED, 0, code=3)]))[0] == (JobState.FAILED, 3)


def test_one_unknown_task_does_not_hide_what_the_others_do() -> None:
    report = told(job("12", tasks=3), [row("12", JobState.QUEUED, 1), row("12", JobState.RUNNING, 2)])
    assert report is not None and report.state is JobState.RUNNING
    assert [info.state for info in report.infos] == [JobState.IN_PROCESS, JobState.QUEUED, JobState.RUNNING]


def test_parts_of_a_split_array_are_put_one_after_the_other() -> None:
    one = job("12", "15", "19", tasks=25, part=10)
    rows = [
        row("12", JobState.FINISHED, *range(10), code=0),
        row("15", JobState.FINISHED, *range(10), token=f"{one.token}-1", code=0),
        row("19", JobState.FAILED, *range(5), token=f"{one.token}-2", code=3),
    ]
    report = told(one, rows)
    assert [info.exit_code for info in report.infos if report] == [0] * 20 + [3] * 5  # type: ignore[union-attr]
    assert [task_id(one, index) for index in (0, 9, 10, 24, None)] == ["12_0", "12_9", "15_0", "19_4", "12"]


def test_a_row_beyond_the_array_is_left_out() -> None:
    one = job("12", tasks=2)
    assert summary(told(one, [row("12", JobState.QUEUED, 0, 1, 2, 3)])) == [(JobState.QUEUED, None)] * 2


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(0, (JobState.FINISHED, 0)), (3, (JobState.FAILED, 3)), (137, (JobState.FAILED, 9)), (143, (JobState.FAILED, 15))],
)
def test_the_job_s_own_record_tells_its_end(code: int, outcome: tuple[JobState, int | None]) -> None:
    assert summary(told(job("12"), [], f"run TOKEN 0 exit 12 {code}")) == [outcome]


def test_a_start_without_an_end_tells_no_end() -> None:
    assert told(job("12"), [], "run TOKEN 0 start 12 0") is None


def test_the_scheduler_is_surer_than_the_record() -> None:
    report = told(job("12"), [row("12", JobState.RUNNING)], "run TOKEN 0 exit 12 1")
    assert summary(report) == [(JobState.RUNNING, None)]  # it was requeued after that run


def test_a_wish_to_cancel_explains_an_absent_task() -> None:
    one = job("12", tasks=2)
    report = told(one, [row("12", JobState.FINISHED, 0, code=0)], "run TOKEN cancel 1")
    assert report is not None
    assert [info.scheduler_state for info in report.infos] == ["", "CANCELLED"]
    assert report.state is JobState.FAILED


def test_a_wish_to_cancel_explains_an_ended_one_only_if_it_was_terminated() -> None:
    words = [
        told(job("12"), [], f"run TOKEN 0 exit 12 {code}\nrun TOKEN cancel all").infos[0].scheduler_state  # type: ignore[union-attr]
        for code in (0, 3, 143)
    ]
    assert words == ["COMPLETED", "FAILED", "CANCELLED"]


def test_only_those_that_nobody_knows_are_asked_about_further() -> None:
    known, noted, terminated, unknown = (job(str(number)) for number in range(4))
    ledger = Ledger([known, noted, terminated, unknown])
    ledger.enter_rows([row("0", JobState.RUNNING)])
    assert ledger.incomplete() == [noted, terminated, unknown]
    ledger.enter_runs([RunRecord(noted.token, "0", ("exit", "1", "0"))])
    ledger.enter_runs([RunRecord(terminated.token, "0", ("exit", "2", "143"))])
    assert ledger.unexplained() == [terminated, unknown]
    assert set(ledger.reports()) == {known, noted, terminated}


def test_an_array_of_which_a_task_is_unknown_is_partly_known() -> None:
    one = job("12", tasks=2)
    report = told(one, [], "run TOKEN 1 exit 12 0")
    assert report is not None and report.is_partial
    assert [info.state for info in report.infos] == [JobState.IN_PROCESS, JobState.FINISHED]
    assert told(one, [], "") is None


@pytest.mark.parametrize("line", ["", "run", "end", "run T 0", "noise a b c d", "run T 0 exit"])
def test_what_is_no_record_is_left_out(line: str) -> None:
    ledger = Ledger([job("12")])
    ledger.enter_runs(parse_runs([line]))
    assert ledger.reports() == {}


def test_a_damaged_record_tells_nothing() -> None:
    assert told(job("12"), [], "run TOKEN 0 exit 12 x") is None
    assert told(job("12"), [], "run TOKEN 0 exit") is None
