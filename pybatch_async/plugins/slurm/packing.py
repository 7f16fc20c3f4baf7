# SPDX-License-Identifier: MIT
"""The archive that makes a host submit jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...parameters import RECORDS
from ...protocols.archive import Member
from ..staging import Placement, anchored, stage
from .script import render
from .scripts import driver
from .units import Unit


def members(units: Iterable[Unit]) -> list[Member]:
    """Lay out the archive of a submission, the driver first and its lists last."""
    listed = list(units)
    staged = stage(_placements(listed))
    copies = "".join(f"{copy.source}\n{anchored(copy.directory)}\n" for copy in staged.copies)
    places = {anchored(unit.job.directory): None for unit in listed}
    lists = {
        "copies": copies,
        "directories": "".join(f"{place}/{name}\0" for place in places for name in ("logs", RECORDS)),
        "private": "".join(f"{place}/{RECORDS}\0" for place in places),
        "jobs": "".join(_job_lines(unit) for unit in listed),
    }
    own = [(f"own/{name}", content.encode(errors="surrogateescape")) for name, content in lists.items()]
    own += [(f"own/{RECORDS}/{unit.token}.cmd", _batch_file(unit)) for unit in listed]
    return [Member(name, content, 0o600) for name, content in [("own/driver.sh", driver()), *own]] + staged.members


def _placements(units: Iterable[Unit]) -> Iterator[Placement]:
    """Yield what belongs into the work directories; sbatch reads its own copy, which no other driver rewrites."""
    for unit in units:
        if unit.part.first == 0:
            yield Placement(unit.job.directory, {"batch.cmd": _batch_file(unit)}, unit.job.params.input_files)


def _batch_file(unit: Unit) -> bytes:
    return render(unit.job.params, unit.part).encode(errors="surrogateescape")


def _job_lines(unit: Unit) -> str:
    chain = unit.before.token if unit.before and not unit.before.job_id else "-"
    return f"{unit.token} {chain} {_dependency(unit)}\n{anchored(unit.job.directory)}\n"


def _dependency(unit: Unit) -> str:
    if unit.before:
        return f"--dependency=afterany:{unit.before.job_id}" if unit.before.job_id else ""
    ids = unit.job.dependency_ids()
    if not ids:
        return ""
    spec = ",".join(each if ":" in each else f"afterok:{each}" for each in ids)
    return f"--dependency={spec} --kill-on-invalid-dep=yes"
