# SPDX-License-Identifier: MIT
"""The plugin "local": this machine, with the queue of nobatch."""

from __future__ import annotations

from typing import Any

from ...errors import ConfigurationError
from ...interfaces import GenericProtocol
from ...parameters import LaunchParameters
from ...protocols.local import LocalProtocol
from ..nobatch.job import NobatchJob


class LocalJob(NobatchJob):
    """Handle one job of this machine's queue."""

    plugin_name = "local"


class Plugin:
    """Make jobs for this machine."""

    description = "This machine, without a batch manager."

    def create_job(self, params: LaunchParameters, protocol: GenericProtocol | None) -> LocalJob:
        """Return a new job; no I/O happens.

        :param protocol: None, or a LocalProtocol.
        :raises ConfigurationError: the parameters are wrong, or the protocol reaches another machine.
        """
        return LocalJob(params, _local(protocol))

    def reload_job(self, data: dict[str, Any], protocol: GenericProtocol | None) -> LocalJob:
        """Return the job that was dumped; no I/O happens."""
        return LocalJob.load(data, _local(protocol))


def _local(protocol: GenericProtocol | None) -> LocalProtocol:
    if protocol is None:
        return LocalProtocol()
    if not isinstance(protocol, LocalProtocol):
        raise ConfigurationError(
            f"The plugin 'local' runs jobs on this machine and takes no {type(protocol).__name__}; 'nobatch' takes one."
        )
    return protocol
