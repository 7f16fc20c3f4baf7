# SPDX-License-Identifier: MIT
"""End tasks on Windows: whoever watches a task looks for a request in the store."""

from ..store import task_name


def ask(store, name, index, shepherd=None):
    """Have a shepherd end its task."""
    store.put("stops", task_name(name, index), "")


def end(pid, is_late):
    """Leave a command whose shepherd is gone alone: it ends with the job object that the shepherd held."""
