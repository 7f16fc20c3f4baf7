# SPDX-License-Identifier: MIT
"""Which point of a sweep has which work directory: two jobs in one would write the same logs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import PurePosixPath

from ..errors import ConfigurationError
from .journal import Entry


class Places:
    """Give each work directory to one point.

    :param entries: points; those that have a job keep its directory.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._owners = {_plain(_directory_of(entry.job)): entry.key for entry in entries if entry.job}

    def claim(self, key: str, directory: str) -> None:
        """Give a directory to a point.

        :raises ConfigurationError: another point has it.
        """
        owner = self._owners.setdefault(_plain(directory), key)
        if owner != key:
            raise ConfigurationError(
                f"work_directory: the points {owner} and {key} both have {directory!r}, where their jobs would write "
                f"the same logs: have make give each point a directory of its own."
            )


def _directory_of(job: str) -> str:
    """Return the work directory that a dumped job tells of; plugins of others may dump theirs in another way."""
    params = json.loads(job).get("params")
    return str(params.get("work_directory", "")) if isinstance(params, dict) else ""


def _plain(directory: str) -> str:
    return str(PurePosixPath(directory))
