# SPDX-License-Identifier: MIT
"""States, and how those of an array's tasks fold into the array's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybatch_async import JobState
from pybatch_async.states import fold_exit_codes, fold_states

Q, R, P = JobState.QUEUED, JobState.RUNNING, JobState.PAUSED
B, D, F = JobState.IN_PROCESS, JobState.FINISHED, JobState.FAILED


@pytest.mark.parametrize("state", list(JobState))
def test_a_state_is_its_own_name(state: JobState) -> None:
    assert (str(state), f"{state}", state == state.name) == (state.name, state.name, True)
    assert state.is_final == (state.name in ("FINISHED", "FAILED"))


@pytest.mark.parametrize(
    ("tasks", "array"),
    [
        ([R], R), ([D], D), ([F], F), ([Q], Q), ([P], P),
        ([D, R, Q, F], R), ([D, Q, F], Q), ([P, D, F], P), ([P, Q], Q), ([D, F, D], F), ([D, D], D), ([B, F], B),
    ],
)  # fmt: skip
def test_an_array_s_state_follows_its_tasks(tasks: list[JobState], array: JobState) -> None:
    assert fold_states(tasks) is array


@pytest.mark.parametrize(
    ("codes", "folded"),
    [([0, 0], 0), ([0, 3, 9], 3), ([None, 3], 3), ([0, None], None), ([0], 0), ([None], None), ([9, 3], 9)],
)
def test_an_array_s_exit_code_is_the_first_non_zero_one(codes: list[int | None], folded: int | None) -> None:
    assert fold_exit_codes(codes) == folded


@given(st.lists(st.sampled_from([Q, R, P, B, D, F]), min_size=1))
def test_an_array_is_final_once_all_its_tasks_are(states: list[JobState]) -> None:
    assert fold_states(states) is fold_states(reversed(states))
    assert fold_states(states).is_final == all(state.is_final for state in states)
