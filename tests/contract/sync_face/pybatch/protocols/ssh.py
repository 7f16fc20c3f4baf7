# SPDX-License-Identifier: MIT
"""The ssh program."""

from __future__ import annotations

import pybatch_async as pb

from ..generic_protocol import GenericProtocol


class SshProtocol(GenericProtocol):
    """Reach a host through SshProtocol.

    :param params: how to reach the host and log in there.
    """

    def __init__(self, params: pb.ConnectionParameters) -> None:
        super().__init__(pb.SshProtocol(params))
        self._host = params.host

    def run(self, command: list[str]) -> str:
        """Run a command on the host and return its standard output."""
        try:
            return super().run(command)
        except pb.ConnectionFailed as error:
            # Bridge: pybatch shows the list it gave to the ssh program; pybatch_async says why, and what to do.
            shown = ["ssh", self._host, *command]
            raise pb.PybatchException(f"Error 255.\n  command: {shown}.\n  stderr: {error}\n") from error
