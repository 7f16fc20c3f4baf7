# SPDX-License-Identifier: MIT
"""Show jobs, arrays, sweeps and tables in a notebook: `%load_ext pybatch_async.notebook`.

What is shown is what is known: displaying a job asks its host nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

from .interfaces import GenericJob, GenericTask
from .jobs import listed
from .known import known_of
from .plugins.task import Task
from .plugins.ticket import JobRecord, host_name
from .progress import Snapshot, render, states_of
from .states import JobState
from .sweep import Sweep, Table

_COLOURS = {
    JobState.RUNNING: "#1a73c7",
    JobState.QUEUED: "#8a6d00",
    JobState.PAUSED: "#8a6d00",
    JobState.FINISHED: "#1c7c36",
    JobState.FAILED: "#c0271a",
}
_ROWS = 60  # of a table; the others are counted


class Html:
    """Hold what a notebook shows for an object."""

    def __init__(self, text: str) -> None:
        self._text = text

    def _repr_html_(self) -> str:
        return self._text


def show(jobs: Iterable[GenericJob | GenericTask]) -> Html:
    """Return a table of jobs, or of tasks of an array, for a notebook to display."""
    return Html(jobs_html(listed(jobs, "wait")))


def jobs_html(jobs: Sequence[GenericJob | GenericTask]) -> str:
    """Write what is known of jobs, or of tasks of an array, as an HTML table, one row each."""
    header = ["", "id", "state", "exit code", "reason", "nodes", "directory"]
    return _bar(states_of(jobs)) + _table(header, [_job_cells(job) for job in jobs])


def job_html(job: GenericJob) -> str:
    """Write what is known of a job as HTML; an array has a row for each task."""
    return jobs_html(job.tasks or [job])


def task_html(task: GenericTask) -> str:
    """Write what is known of a task of an array as HTML."""
    return jobs_html([task])


def sweep_html(sweep: Sweep) -> str:
    """Write what is known of the points of a sweep as HTML."""
    return _bar(sweep.states) + table_html(sweep.table)


def table_html(table: Table) -> str:
    """Write a table of results as HTML."""
    is_state = [name == "state" for name in table.columns]
    rows = [
        [_state(cell) if marked else escape(cell) for cell, marked in zip(row, is_state, strict=True)]
        for row in table[:_ROWS].cells()
    ]
    return _table(table.columns, rows, len(table) - len(rows))


def _job_cells(job: GenericJob | GenericTask) -> list[str]:
    info = known_of(job)
    code = "" if info.exit_code is None else str(info.exit_code)
    word = info.scheduler_state or str(info.state)
    title, directory = _place(job)
    cells = [escape(title), escape(info.job_id), _state(str(info.state), word), code]
    return cells + [escape(text) for text in (info.reason, info.nodes, directory)]


def _place(job: GenericJob | GenericTask) -> tuple[str, str]:
    """Return what a job or task is called, and its directory if it has one of its own."""
    if isinstance(job, GenericTask):
        return f"task {job.index}", ""
    directory = getattr(job, "directory", job.params.work_directory)
    return f"{job.params.name} on {host_name(job.protocol)}".strip(), directory


def _state(name: str, word: str = "") -> str:
    colour = _COLOURS.get(JobState(name), "inherit") if name in JobState.__members__ else "inherit"
    title = f' title="{escape(word)}"' if word else ""
    return f'<span style="color:{colour}"{title}>{escape(name)}</span>'


def _bar(states: Sequence[JobState]) -> str:
    return f"<pre>{escape(render(Snapshot(Counter(states)), 200))}</pre>" if len(states) > 1 else ""


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], left_out: int = 0) -> str:
    """Write a table; the cells are HTML already, the header is not."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    shown, left_out = rows[:_ROWS], left_out + len(rows[_ROWS:])
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in shown)
    more = f"<p>and {left_out} more</p>" if left_out else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


_DISPLAYS: list[tuple[type, Callable[[Any], str]]] = [
    (JobRecord, job_html),
    (Task, task_html),
    (Sweep, sweep_html),
    (Table, table_html),
]


def load_ipython_extension(ipython: Any) -> None:
    """Make IPython show jobs, tasks, sweeps and tables as HTML; `%load_ext pybatch_async.notebook` calls this."""
    formatter = ipython.display_formatter.formatters["text/html"]
    for kind, display in _DISPLAYS:
        formatter.for_type(kind, display)


def unload_ipython_extension(ipython: Any) -> None:
    """Undo what loading the extension did."""
    formatter = ipython.display_formatter.formatters["text/html"]
    for kind, _ in _DISPLAYS:
        formatter.pop(kind, None)
