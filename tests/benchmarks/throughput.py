# SPDX-License-Identifier: MIT
"""Measure throughput against the floor and the peers: `python -m tests.benchmarks.throughput [--quick]`, as root.

It starts its own Slurm cluster, ssh server and slow link, and writes docs/performance.md and docs/performance.png.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.crowd import watch_crowd
from tests.benchmarks.measures import (
    compare_looks,
    compare_submissions,
    measure_peers,
    wait_for_array,
    wait_for_jobs,
)
from tests.benchmarks.peers import draw_chart, environment
from tests.benchmarks.report import chart_data, render
from tests.benchmarks.results import Results
from tests.benchmarks.site import Site, make_inputs, running_site

_DOCS = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True)
class Scale:
    """Say how much is measured."""

    submitted: tuple[int, ...] = (300, 1000)
    rounds: int = 3
    looked_at: tuple[int, ...] = (10, 100, 300, 1000)
    looks: int = 9
    waited_for: int = 200
    crowd: int = 10_000
    ticks: int = 5
    tasks: int = 1000
    peers: float = 1.0


QUICK = Scale((100,), 1, (10, 100), 5, 40, 2000, 3, 50, 0.2)


async def measure(site: Site, scale: Scale, python: Path, inputs: list[Path]) -> Results:
    """Measure everything, one thing after the other."""
    submissions, looks = [], []
    for link in site.links:
        for count in scale.submitted:
            _say(f"submitting {count} jobs, {link.name}")
            submissions.append(await compare_submissions(site, link, inputs[:count], scale.rounds))
        _say(f"looking at jobs, {link.name}")
        looks += await compare_looks(site, link, inputs, scale.looked_at, scale.looks)
    _say("the peers")
    peers = await measure_peers(site, python, inputs[0], scale.peers)
    _say("waiting")
    waited = await wait_for_jobs(site, site.links[0], scale.waited_for, inputs[0])
    array = await wait_for_array(site, site.links[0], scale.tasks)
    crowd = await watch_crowd(scale.crowd, scale.ticks)
    frozen = await watch_crowd(scale.crowd, scale.ticks, is_frozen=True)
    return Results(submissions, peers, looks, waited, array, crowd, frozen)


def main() -> None:
    """Measure, print the table and write it into the documentation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small numbers, once, on the screen only")
    is_quick = parser.parse_args().quick
    scale = QUICK if is_quick else Scale()
    python = environment()
    most = max(*scale.submitted, *scale.looked_at)
    with running_site() as site, tempfile.TemporaryDirectory() as directory:
        results = asyncio.run(measure(site, scale, python, make_inputs(Path(directory), most)))
    text = render(results)
    print(text)
    if not is_quick:
        _DOCS.mkdir(exist_ok=True)
        (_DOCS / "performance.md").write_text(text)
        draw_chart(python, chart_data(results), _DOCS / "performance.png")


def _say(what: str) -> None:
    print(f"throughput: {what}", flush=True)


if __name__ == "__main__":
    main()
