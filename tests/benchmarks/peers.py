# SPDX-License-Identifier: MIT
"""Run the peers, which live in a virtual environment of their own, on the same work."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.site import Link, Site

PACKAGES = ("salome-pybatch==1.0", "paramiko<4", "scp", "slurmly==0.5.0", "matplotlib>=3.8")
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Peer:
    """Name a peer and how it is run.

    :param workers: threads, or commands at once.
    :param counts: how many jobs it is measured on over the direct link and over the slow one, since it takes long.
    """

    name: str
    script: str
    workers: int
    counts: tuple[int, int]


PEERS = (
    Peer("salome-pybatch 1.0, 1 thread", "peer_pybatch.py", 1, (40, 12)),
    Peer("salome-pybatch 1.0, 4 threads", "peer_pybatch.py", 4, (80, 40)),
    Peer("slurmly 0.5 (takes no input file)", "peer_slurmly.py", 8, (200, 100)),
)


@dataclass(frozen=True)
class PeerResult:
    """Hold what a peer took.

    :param submit: seconds for all submissions.
    :param look: seconds for the states of all.
    :param note: the setting that survived, if the peer had to try.
    """

    count: int
    submit: float
    look: float
    note: str


def environment() -> Path:
    """Make the peers' virtual environment, kept for the next run, and return its Python."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or tempfile.gettempdir()) / "pybatch_async-benchmark-peers"
    python = root / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(root)], check=True)
    quiet = ["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    subprocess.run([str(python), *quiet, *PACKAGES], check=True)
    return python


async def run_peer(python: Path, site: Site, link: Link, peer: Peer, count: int, source: Path) -> PeerResult:
    """Let a peer log in, submit jobs, then ask for their states."""
    task = {
        "host": site.server.host,
        "port": link.port,
        "user": site.server.user,
        "key": str(site.server.client_key),
        "known_hosts": str(site.server.known_hosts),
        "home": str(site.server.home),
        "count": count,
        "workers": peer.workers,
        "input": str(source),
    }
    process = await asyncio.create_subprocess_exec(
        str(python), str(_HERE / peer.script), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    output, _ = await process.communicate(json.dumps(task).encode())
    if process.returncode:
        raise RuntimeError(f"{peer.name} failed with code {process.returncode}; what it said stands above")
    return PeerResult(count, **json.loads(output.splitlines()[-1]))


def draw_chart(python: Path, data: dict[str, object], path: Path) -> None:
    """Draw the chart with the peers' matplotlib."""
    text = json.dumps({"path": str(path), **data})
    subprocess.run([str(python), str(_HERE / "chart.py")], input=text, text=True, check=True)
