# SPDX-License-Identifier: MIT
"""Tell the answer of a command from what the rc file of a login shell prints around it."""

from __future__ import annotations

import secrets


def new_mark() -> str:
    """Return a random word that nobody else prints."""
    return secrets.token_hex(12)


class Frame:
    """Drop what comes before the answer: all up to the end of the line with the mark.

    :param mark: what `new_mark` gave.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark.encode()
        self._held = b""
        self.has_begun = False

    def strip(self, chunk: bytes) -> bytes:
        """Return the part of the next chunk of output that belongs to the answer."""
        if self.has_begun:
            return chunk
        self._held += chunk
        start = self._held.find(self._mark)
        if start < 0:
            self._held = self._held[-len(self._mark) :]
            return b""
        _, newline, rest = self._held[start:].partition(b"\n")
        if not newline:
            return b""
        self.has_begun, self._held = True, b""
        return rest
