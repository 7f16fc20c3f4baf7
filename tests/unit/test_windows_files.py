# SPDX-License-Identifier: MIT
"""A Windows host is trusted no more than another one with what it answers and sends."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pybatch_async import ConnectionFailed, PathMissing, TransferFailed
from pybatch_async.plugins.nobatch.windows.files import fetch
from pybatch_async.protocols.remote import Completed, RemoteProtocol, Sink, Source

Answer = Callable[[str], tuple[bytes, int, bytes]]


class Host(RemoteProtocol):
    """Answer every command with what a test says, given the manager's mark."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)

    @property
    def host(self) -> str:
        return "gaia"

    async def _execute(
        self, argv: Sequence[str], *, input: Source, output: Sink | None, timeout: float, repeatable: bool
    ) -> Completed:
        stdout, code, stderr = self.answers.pop(0)(argv[-1])
        assert output is not None
        for start in range(0, len(stdout), 1000):
            await output(stdout[start : start + 1000])
        return Completed(code, b"", stderr)


def archive(*names: str, end: int | None = None) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 5
            tar.addfile(info, io.BytesIO(b"bytes"))
    return held.getvalue()[:end]


def told(answer: object, rest: bytes = b"", stderr: bytes = b"") -> Answer:
    return lambda mark: (f"banner\r\n\n{mark} {json.dumps(answer)}\r\n".encode() + rest, 0, stderr)


def lost(mark: str) -> tuple[bytes, int, bytes]:
    raise ConnectionFailed("the connection was lost")


async def place() -> None:
    """Place nothing: this host answers as it likes."""


async def get(host: Host, directory: Path, *entries: str) -> None:
    await fetch(host, "python", [f"C:/work/{entry}" for entry in entries], directory, place)


async def test_what_was_asked_for_comes(tmp_path: Path) -> None:
    await get(Host(told({"archive": True}, archive("./a.txt", "./b/c.txt"))), tmp_path, "a.txt", "b")
    assert (tmp_path / "a.txt").read_bytes() == (tmp_path / "b/c.txt").read_bytes() == b"bytes"


async def test_lost_connection_and_missing_manager_are_made_good(tmp_path: Path) -> None:
    absent: Answer = lambda mark: (b"", 2, b"can't open file")  # noqa: E731
    await get(Host(lost, absent, told({"archive": True}, archive("./a.txt"))), tmp_path, "a.txt")
    assert (tmp_path / "a.txt").exists()


@pytest.mark.parametrize(
    "answer",
    [
        told({"archive": True}, archive("./other.txt")),
        told({"archive": True}, archive("./a.txt", "../outside.txt")),
        told({"archive": True}, archive("/etc/outside.txt")),
        told({"archive": True}, archive("./a.txt", end=600)),
        told({"archive": True}, b"no archive" * 100),
        told({"archive": True}),
        told({"missing": 17}),
        told({"missing": "x"}),
        told(["a list"]),
        told({"error": "The disk is gone."}),
        lambda mark: (f"{mark} no JSON\n".encode(), 0, b""),
        lambda mark: (b"x" * (2 << 20), 0, b""),
        lambda mark: (b"", 1, b"'python' is not recognized"),
    ],
)
async def test_odd_answers_leave_nothing_behind(tmp_path: Path, answer: Answer) -> None:
    (tmp_path / "here").mkdir()
    with pytest.raises(TransferFailed):
        await get(Host(answer), tmp_path / "here", "a.txt")
    assert (os.listdir(tmp_path), os.listdir(tmp_path / "here")) == (["here"], [])


async def test_reason_is_told_without_the_frame_of_the_command(tmp_path: Path) -> None:
    said = b"[Errno 13] Permission denied\r\n\r\n" + b"0123456789ab" * 2 + b" 0\r\n"
    with pytest.raises(TransferFailed, match="Permission denied. Nothing was copied"):
        await get(Host(told({"archive": True}, archive("./a.txt", end=600), said)), tmp_path, "a.txt")
    with pytest.raises(TransferFailed, match="it printed nothing"):
        await get(Host(lambda mark: (b"", 1, b"\r\n" + b"0123456789ab" * 2 + b" 1\r\n")), tmp_path, "a.txt")


async def test_missing_entry_is_named(tmp_path: Path) -> None:
    with pytest.raises(PathMissing, match="C:/work/b.txt"):
        await get(Host(told({"missing": 1})), tmp_path, "a.txt", "b.txt")
