# SPDX-License-Identifier: MIT
"""What one run of the benchmark measured."""

from __future__ import annotations

from dataclasses import dataclass

from tests.benchmarks.crowd import Crowd
from tests.benchmarks.measures import Looks, Submissions, Waited
from tests.benchmarks.peers import PeerResult


@dataclass(frozen=True)
class Results:
    """Hold all that was measured."""

    submissions: list[Submissions]
    peers: list[tuple[str, str, PeerResult]]
    looks: list[Looks]
    waited: Waited
    array: Waited
    crowd: Crowd
    crowd_frozen: Crowd
