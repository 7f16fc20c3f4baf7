# SPDX-License-Identifier: MIT
"""What every synchronous protocol does: call the coroutine and wait."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Self

import pybatch_async as pb

from .background import result


class GenericProtocol:
    """Reach a host through a protocol of pybatch_async.

    :param protocol: that protocol.
    """

    def __init__(self, protocol: pb.GenericProtocol) -> None:
        self.asynchronous = protocol

    def upload(self, local_entries: Iterable[str | Path], remote_path: str) -> None:
        """Copy local files and directories to the host."""
        result(self.asynchronous.upload(local_entries, remote_path))

    def download(self, remote_entries: Iterable[str], local_path: str | Path) -> None:
        """Copy files and directories of the host to this machine."""
        result(self.asynchronous.download(remote_entries, local_path))

    def create(self, remote_path: str, content: str) -> None:
        """Write a text file on the host."""
        result(self.asynchronous.create(remote_path, content))

    def read(self, remote_path: str) -> str:
        """Return the text of a file of the host."""
        return result(self.asynchronous.read(remote_path))

    def run(self, command: list[str]) -> str:
        """Run a command on the host and return its standard output."""
        return result(self.asynchronous.run(command))

    def open(self) -> None:
        """Connect now; it would happen at the first use."""
        self.run(["true"])

    def close(self) -> None:
        """Close what is open."""
        result(self.asynchronous.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
