# SPDX-License-Identifier: MIT
"""Tables of results, as sequences, as text and as data frames."""

from __future__ import annotations

import sys

import pandas
import pytest

from pybatch_async import ConfigurationError, Table

ROWS = [
    {"r": 1.5, "method": "euler", "state": "FINISHED", "result": {"x": 1}},
    {"r": 2.0, "method": "leap\nfrog", "state": "FAILED", "error": "why"},
]


def test_a_table_is_a_sequence_of_rows() -> None:
    table = Table(ROWS)
    assert (len(table), table[1], list(table[:1])) == (2, ROWS[1], ROWS[:1])
    assert table == ROWS and isinstance(table[1:], Table)


def test_a_table_is_written_as_text_a_row_a_line() -> None:
    assert str(Table(ROWS)).splitlines() == [
        "  r  method     state     result    error",
        "1.5  euler      FINISHED  {'x': 1}",
        "  2  leap frog  FAILED              why",
    ]


def test_rows_become_a_data_frame() -> None:
    frame = Table(ROWS).to_pandas()
    assert list(frame.columns) == ["r", "method", "state", "result", "error"]
    assert frame["r"].sum() == 3.5 and frame["result"][0] == {"x": 1}
    assert pandas.isna(frame["error"][0]) and frame[frame["state"] == "FAILED"]["error"].item() == "why"
    assert list(Table().to_pandas().columns) == []


def test_where_pandas_is_missing_its_installation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigurationError, match="pip install pandas"):
        Table(ROWS).to_pandas()
