# SPDX-License-Identifier: MIT
"""ssh inside this process: asyncssh in paramiko's place."""

from __future__ import annotations

import pybatch_async as pb

from ..generic_protocol import GenericProtocol


class ParamikoProtocol(GenericProtocol):
    """Reach a host through AsyncsshProtocol.

    :param params: how to reach the host and log in there.
    """

    def __init__(self, params: pb.ConnectionParameters) -> None:
        super().__init__(pb.AsyncsshProtocol(params))
        self._host = params.host
        self.open()  # Bridge: pybatch_async connects at the first use

    def open(self) -> None:
        """Connect now."""
        try:
            super().open()
        except pb.ConnectionFailed as error:  # Bridge: pybatch_async says why, and what to do
            raise pb.PybatchException(f"Failed to open ssh connection to {self._host}.") from error
