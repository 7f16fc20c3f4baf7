# SPDX-License-Identifier: MIT
"""What a notebook shows of jobs and sweeps."""

from __future__ import annotations

from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from IPython.core.formatters import DisplayFormatter

from pybatch_async import LaunchParameters, Sweep, Table, create_job, grid
from pybatch_async.notebook import job_html, load_ipython_extension, show, table_html, unload_ipython_extension

OURS = {"table", "thead", "tbody", "tr", "th", "td", "span", "pre", "p"}


class Reader(HTMLParser):
    """Read a page as a browser does: its tags, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


def shell() -> Any:
    """Stand for an IPython with its real formatters."""
    return SimpleNamespace(display_formatter=DisplayFormatter())


def make(point: dict[str, Any]) -> LaunchParameters:
    return LaunchParameters(["true"], f"work/{point['a']}")


def test_jobs_arrays_tasks_sweeps_and_tables_are_shown_once_the_extension_is_loaded() -> None:
    array = create_job("nobatch", LaunchParameters(["true"], "work", name="mine", total_jobs=3))
    things = [array, array.tasks[1], Sweep(grid(a=[1, 2]), make, plugin="nobatch"), Table([{"a": 1}])]
    ipython = shell()
    load_ipython_extension(ipython)
    for thing in things:
        data, _ = ipython.display_formatter.format(thing)
        assert "<table>" in data["text/html"]
    unload_ipython_extension(ipython)
    unload_ipython_extension(ipython)
    assert all("text/html" not in ipython.display_formatter.format(thing)[0] for thing in things)


def test_an_array_has_a_row_for_each_task() -> None:
    array = create_job("nobatch", LaunchParameters(["true"], "work", total_jobs=3))
    page = Reader(job_html(array))
    assert page.tags.count("tr") == 1 + 3
    assert "0/3, 3 not submitted" in page.words


@given(st.text(alphabet='<>&"\'/abc =') | st.sampled_from(["<script>alert(1)</script>", '" onclick="x']))
def test_what_users_and_jobs_write_is_text_and_never_markup(text: str) -> None:
    table = table_html(Table([{"state": text, "result": text, f"n{text}": 1}]))
    jobs = show([create_job("nobatch", LaunchParameters(["true"], f"w{text}", name="<b>bold</b>"))])._repr_html_()
    for page in (Reader(table), Reader(jobs)):
        assert set(page.tags) <= OURS
    assert text.strip() in Reader(table).words
    assert f"w{text}" in Reader(jobs).words


def test_of_a_long_table_the_rest_is_counted() -> None:
    page = Reader(table_html(Table({"a": number} for number in range(1000))))
    assert page.tags.count("tr") == 1 + 60
    assert page.words.endswith("and 940 more")
