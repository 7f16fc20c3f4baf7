# SPDX-License-Identifier: MIT
"""Plugins are found by name."""

from __future__ import annotations

from typing import Any

import pytest

from pybatch_async import (
    ConfigurationError,
    ConnectionParameters,
    GenericJob,
    LaunchParameters,
    LocalProtocol,
    create_job,
    reload_job,
)

PARAMS = LaunchParameters(["true"], "w")


@pytest.mark.parametrize("plugin", ["slurm", "nobatch", "local"])
def test_a_job_is_made_without_a_protocol_on_this_machine(plugin: str) -> None:
    job = create_job(plugin, PARAMS)
    assert isinstance(job, GenericJob)
    assert (job.protocol, job.params, job.job_id, list(job.tasks)) == (LocalProtocol(), PARAMS, "", [])


@pytest.mark.parametrize("plugin", ["pbs", "", "Slurm"])
def test_an_unknown_plugin_is_refused_with_the_known_ones(plugin: str) -> None:
    with pytest.raises(ConfigurationError, match=f"no plugin {plugin!r}; the known ones are .*local, nobatch, slurm"):
        create_job(plugin, PARAMS)


@pytest.mark.parametrize("protocol", ["gaia", LocalProtocol, ConnectionParameters("gaia")])
@pytest.mark.parametrize("plugin", ["slurm", "nobatch", "local"])
def test_what_is_no_protocol_is_refused(plugin: str, protocol: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"protocol is needed .*, not (a|the class) \w+( itself)?\.$"):
        create_job(plugin, PARAMS, protocol)


@pytest.mark.parametrize("name", [None, 3, PARAMS])
def test_what_is_no_name_of_a_plugin_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="name of a plugin comes first"):
        create_job(name, PARAMS)


@pytest.mark.parametrize("text", [None, 3, "", "{}", "[]", '{"format": 1, "plugin": "slurm"}'])
def test_what_is_no_dumped_job_is_refused(text: Any) -> None:
    with pytest.raises(ConfigurationError, match="dumped job"):
        reload_job(text)


def test_an_array_has_one_handle_per_index() -> None:
    job = create_job("slurm", LaunchParameters(["true"], "w", total_jobs=3))
    assert [task.index for task in job.tasks] == [0, 1, 2]


async def test_before_submission_nothing_is_known_and_nothing_waits() -> None:
    job = create_job("slurm", PARAMS)
    assert (await job.state(), await job.wait(), await job.exit_code()) == ("CREATED", "CREATED", None)
    await job.cancel()
    info = await job.info()
    assert (info.job_id, info.state, info.exit_code) == ("", "CREATED", None)
