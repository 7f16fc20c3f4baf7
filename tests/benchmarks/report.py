# SPDX-License-Identifier: MIT
"""Write what the benchmark measured: the page of the documentation, and the numbers of its chart."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.measures import DISTINCT, FLOOR, OURS
from tests.benchmarks.results import Results

_TEXT = Path(__file__).with_name("performance.md.in")


def render(results: Results) -> str:
    """Return the page, with the figures put into its hand-written text."""
    figures = {
        "machine": _machine(),
        "targets": _table(("figure", "wanted", "seen", ""), _targets(results)),
        "submit": _table(("contender", "network", "jobs", "ms a job", "all rounds", "× the floor"), _submit(results)),
        "look": _table(("network", "jobs", "one squeue, ms", "this library, ms", "ratio"), _look(results)),
        "look_peers": _table(("peer", "network", "jobs", "ms for all", "ms a job"), _look_peers(results)),
        "crowd": _table(("", "worst stall, ms", "of the loop's thread", "of it the collector"), _crowd(results)),
    }
    text = _TEXT.read_text()
    for name, figure in figures.items():
        text = text.replace(f"@{name}@", figure)
    return text


def chart_data(results: Results) -> dict[str, object]:
    """Return milliseconds a job by network and contender, for the largest number of jobs."""
    bars: dict[str, dict[str, float]] = {}
    for each in results.submissions:
        for name in (FLOOR, OURS):
            bars.setdefault(each.link, {})[name] = each.best(name) * 1e3
    for link, name, peer in results.peers:
        bars[link][name] = peer.submit / peer.count * 1e3
    looks = [[each.link, each.count, each.squeue * 1e3, each.ours * 1e3] for each in results.looks]
    return {"submit": bars, "looks": looks}


def targets_missed(results: Results) -> list[str]:
    """Return the names of the figures that were not reached."""
    return [name for name, _, _, verdict in _targets(results) if verdict != "met"]


def _machine() -> str:
    load = f"load average {os.getloadavg()[2]:.1f}"
    return f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} processors, Python {platform.python_version()}, {load}"


def _verdict(is_met: bool) -> str:
    return "met" if is_met else "**missed**"


def _targets(results: Results) -> Iterator[tuple[str, str, str, str]]:
    for each in results.submissions:
        for contender, inputs in ((OURS, "that share one input file"), (DISTINCT, "with an input file of their own")):
            ratio = each.best(contender) / each.best(FLOOR)
            name = f"submit {each.count} jobs {inputs}, {each.link}"
            yield name, "at most 1.3 × the floor", f"{ratio:.2f} ×", _verdict(ratio <= 1.3)
    for look in results.looks:
        name = f"state of {look.count} jobs, {look.link}"
        yield name, "at most 3 × one squeue", f"{look.ratio:.2f} ×", _verdict(look.ratio <= 3)
    requests = max(each.requests / each.count for each in results.submissions)
    yield "requests to slurmctld a submitted job", "at most 1.1", f"{requests:.2f}", _verdict(requests <= 1.1)
    waited = results.waited
    name = f"requests while waiting for {waited.count} jobs of 1 s, which took {waited.seconds:.0f} s"
    yield name, "under 60", str(waited.requests), _verdict(waited.requests < 60)
    array = results.array
    name = f"sbatch requests of an array of {array.count} tasks, each awaited, which took {array.seconds:.0f} s"
    yield name, "1", f"{array.submissions} (of {array.requests} requests)", _verdict(array.submissions == 1)
    yield from _crowd_targets(results)


def _crowd_targets(results: Results) -> Iterator[tuple[str, str, str, str]]:
    crowd, frozen = results.crowd, results.crowd_frozen
    who = f"one loop waiting for {crowd.count} jobs:"
    for how, each in (("", crowd), (", after gc.freeze()", frozen)):
        stall = each.waiting.wall
        yield f"{who} worst stall{how}", "under 50 ms", f"{stall * 1e3:.0f} ms", _verdict(stall < 0.05)
    yield f"{who} client memory a job", "under 10 kB", f"{crowd.memory / 1e3:.1f} kB", _verdict(crowd.memory < 10e3)
    yield f"{who} processor time a tick", "under 0.3 s", f"{crowd.cpu:.2f} s", _verdict(crowd.cpu < 0.3)


def _submit(results: Results) -> Iterator[tuple[str, ...]]:
    for each in results.submissions:
        for name in (FLOOR, OURS, DISTINCT):
            rounds = ", ".join(f"{seconds / each.count * 1e3:.1f}" for seconds in each.seconds[name])
            ratio = each.best(name) / each.best(FLOOR)
            yield name, each.link, str(each.count), f"{each.best(name) * 1e3:.2f}", rounds, f"{ratio:.2f}"
    floors = {each.link: each.best(FLOOR) for each in results.submissions}
    for link, name, peer in results.peers:
        seconds = peer.submit / peer.count
        label = f"{name}, {peer.note}" if peer.note else name
        yield label, link, str(peer.count), f"{seconds * 1e3:.1f}", "", f"{seconds / floors[link]:.1f}"


def _look(results: Results) -> Iterator[tuple[str, ...]]:
    for each in results.looks:
        yield each.link, str(each.count), f"{each.squeue * 1e3:.0f}", f"{each.ours * 1e3:.0f}", f"{each.ratio:.2f}"


def _look_peers(results: Results) -> Iterator[tuple[str, ...]]:
    for link, name, peer in results.peers:
        yield name, link, str(peer.count), f"{peer.look * 1e3:.0f}", f"{peer.look / peer.count * 1e3:.1f}"


def _crowd(results: Results) -> Iterator[tuple[str, ...]]:
    for how, crowd in (("", results.crowd), (", after gc.freeze()", results.crowd_frozen)):
        for when, stall in (("all begin to wait", crowd.start), ("waiting", crowd.waiting), ("all end", crowd.end)):
            yield f"{when}{how}", *(f"{each * 1e3:.0f}" for each in (stall.wall, stall.own, stall.collector))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
