# SPDX-License-Identifier: MIT
"""This machine."""

from __future__ import annotations

import pybatch_async as pb

from ..generic_protocol import GenericProtocol


class LocalProtocol(GenericProtocol):
    """Run commands and copy files on this machine.

    :param params: not used.
    """

    def __init__(self, params: object = None) -> None:
        super().__init__(pb.LocalProtocol())
