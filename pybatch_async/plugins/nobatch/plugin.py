# SPDX-License-Identifier: MIT
"""The plugin "nobatch"."""

from __future__ import annotations

from typing import Any

from ...interfaces import GenericProtocol
from ...parameters import LaunchParameters
from ...protocols.local import LocalProtocol
from .job import NobatchJob
from .windows.job import WindowsJob


class Plugin:
    """Make jobs for hosts without a batch manager."""

    description = "A host without a batch manager: a small queue that needs nothing there but Python."

    def create_job(self, params: LaunchParameters, protocol: GenericProtocol | None) -> NobatchJob:
        """Return a new job; no I/O happens.

        :raises ConfigurationError: the parameters are wrong.
        """
        kind = WindowsJob if isinstance(params, LaunchParameters) and params.is_posix is False else NobatchJob
        return kind(params, protocol or LocalProtocol())

    def reload_job(self, data: dict[str, Any], protocol: GenericProtocol | None) -> NobatchJob:
        """Return the job that was dumped; no I/O happens."""
        kind = NobatchJob if data["params"].get("is_posix", True) else WindowsJob
        return kind.load(data, protocol or LocalProtocol())
