# SPDX-License-Identifier: MIT
"""Parameters of a job as plain data, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from ..parameters import LaunchParameters, Submitted


def dump_params(params: LaunchParameters) -> dict[str, Any]:
    """Return parameters as plain data: paths as text, jobs as their ids, a timedelta as its seconds.

    :raises ConfigurationError: a job that this one depends on has no id yet.
    """
    data = asdict(plain_params(params))
    if isinstance(params.wall_time, timedelta):
        data["wall_time"] = {"seconds": params.wall_time.total_seconds()}
    return data


def load_params(data: Mapping[str, Any]) -> LaunchParameters:
    """Read parameters back from plain data; fields of a later version are refused.

    :raises ConfigurationError: a field that this version does not know.
    """
    unknown = data.keys() - {item.name for item in fields(LaunchParameters)}
    if unknown:
        raise ConfigurationError(f"The dumped job has the fields {sorted(unknown)}; reload it with a newer version.")
    wall_time = data["wall_time"]
    if isinstance(wall_time, dict):
        wall_time = timedelta(seconds=wall_time["seconds"])
    return LaunchParameters(**{**data, "wall_time": wall_time})


def plain_params(params: LaunchParameters) -> LaunchParameters:
    """Copy parameters with nothing in them but plain values.

    :raises ConfigurationError: a job that this one depends on has no id yet.
    """
    return replace(
        params,
        command=list(params.command),
        extra_as_list=list(params.extra_as_list),
        setup=list(params.setup),
        teardown=list(params.teardown),
        input_files=[str(Path(entry).absolute()) for entry in params.input_files],
        dependencies=[_plain_dependency(each) for each in params.dependencies],
        environment=dict(params.environment),
    )


def _plain_dependency(dependency: Submitted | str | int) -> str:
    if isinstance(dependency, str | int):
        return str(dependency)
    if not dependency.job_id:
        raise ConfigurationError(
            f"dependencies: submit {dependency} first; the job that depends on it can be dumped or pickled once it has "
            f"an id."
        )
    return dependency.job_id
