# SPDX-License-Identifier: MIT
"""Uploads and downloads over connections that end in the middle: the target is the old file or the whole new one."""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path

import pytest

from pybatch_async import PybatchException
from tests.conftest import MakeProxy
from tests.faults.harness import reach, report
from tests.services.proxy import Action, Direction, Plan, Proxy
from tests.services.sshd import Sshd

SEED = 8
_SIZE = 300_000


@pytest.mark.timeout(600)
@pytest.mark.parametrize("rounds", [4, pytest.param(80, marks=pytest.mark.whole)])
async def test_a_copy_that_is_cut_leaves_the_old_file_or_the_whole_new_one(
    sshd_bare: Sshd, proxy_factory: MakeProxy, tmp_path: Path, rounds: int
) -> None:
    draw, proxy = random.Random(SEED), proxy_factory(sshd_bare.port)
    remote = sshd_bare.home / f"torn-{time.time_ns()}"
    async with reach(sshd_bare) as sound:
        await sound.run(["mkdir", str(remote)])
    await asyncio.to_thread((tmp_path / "here").mkdir)
    outcomes = [await _copy(sshd_bare, proxy, draw, tmp_path, remote, n % 2 == 0) for n in range(rounds)]
    counts = {name: outcomes.count(name) for name in sorted(set(outcomes))}
    report("copies cut in the middle", f"{proxy.traffic().faults} faults, {counts}")
    assert "torn" not in counts


async def _copy(server: Sshd, proxy: Proxy, draw: random.Random, here: Path, there: Path, is_upload: bool) -> str:
    """Replace a file by a copy over a faulty connection, and tell what is there then."""
    await asyncio.to_thread(proxy.push, *_faults(draw, "to_server" if is_upload else "to_client"))
    old, new = os.urandom(_SIZE), os.urandom(_SIZE)
    source, target = (here / "f", there / "f") if is_upload else (there / "f", here / "here" / "f")
    await asyncio.to_thread(_lay_out, source, new, target, old)
    told = "done"
    async with reach(server, proxy.port) as protocol:
        try:
            if is_upload:
                await protocol.upload([source], str(there))
            else:
                await protocol.download([str(source)], here / "here")
        except PybatchException:
            told = "raised"
    found = await asyncio.to_thread(target.read_bytes)
    if found == new:
        return f"{told}, new"
    return f"{told}, old" if found == old and told == "raised" else "torn"


def _faults(draw: random.Random, direction: Direction) -> list[Plan]:
    """Draw one fault, or as many as no retry gets through."""
    actions: tuple[Action, ...] = ("cut", "reset", "half_close", "stall")
    number = draw.choice((1, 9))
    return [Plan(0.0, draw.choice(actions), direction, draw.randrange(2000, _SIZE)) for _ in range(number)]


def _lay_out(source: Path, new: bytes, target: Path, old: bytes) -> None:
    for path, content in ((source, new), (target, old)):
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        path.chmod(0o666)
