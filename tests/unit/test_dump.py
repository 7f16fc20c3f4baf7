# SPDX-License-Identifier: MIT
"""Jobs as JSON and as pickles, and back."""

from __future__ import annotations

import json
import pickle
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybatch_async import (
    AsyncsshProtocol,
    ConfigurationError,
    ConnectionParameters,
    GenericJob,
    LaunchParameters,
    LocalProtocol,
    create_job,
    reload_job,
)
from pybatch_async.plugins.base import BatchJob
from pybatch_async.plugins.dump import dump_params, load_params
from pybatch_async.plugins.ticket import Ticket

LINE = st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r"), max_size=12)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
COUNT = st.integers(0, 5000)
PARAMETERS = st.builds(
    LaunchParameters,
    command=st.lists(TEXT, max_size=3).map(lambda rest: ["true", *rest]),
    work_directory=LINE.filter(lambda text: text and not set(text) & set("%\\")),
    name=LINE,
    total_jobs=st.integers(1, 5000),
    max_simul_jobs=COUNT,
    nodes=COUNT,
    ntasks=COUNT,
    exclusive=st.booleans(),
    wall_time=st.sampled_from(["", "10", "1-2:30"]) | st.timedeltas(timedelta(0), timedelta(days=99)),
    mem_per_node=LINE,
    partition=LINE,
    extra_as_string=TEXT,
    extra_as_list=st.lists(LINE, max_size=2),
    input_files=st.lists(st.integers(0, 99), max_size=3, unique=True).map(
        lambda them: [f"/in/{each}" for each in them]
    ),
    create_nodefile=st.booleans(),
    gpus=COUNT | st.just("a100:2"),
    environment=st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]*", fullmatch=True), TEXT, max_size=3),
    setup=st.lists(TEXT, max_size=2),
    dependencies=st.lists(st.integers(1, 10**9).map(str) | st.just("afterany:12"), max_size=2),
)


def job(**fields: Any) -> BatchJob:
    made = create_job("slurm", LaunchParameters(["true"], "w", **fields), LocalProtocol())
    assert isinstance(made, BatchJob)
    return made


def submitted(**fields: Any) -> BatchJob:
    made = job(**fields)
    made.ticket = Ticket(("12", "15"), "/home/u/w", 1700000000.5, 10)
    return made


@given(PARAMETERS)
def test_parameters_survive_a_dump(params: LaunchParameters) -> None:
    assert load_params(json.loads(json.dumps(dump_params(params)))) == params


@given(PARAMETERS)
def test_a_dumped_job_is_the_same_job(params: LaunchParameters) -> None:
    one = create_job("slurm", params, LocalProtocol())
    twin = reload_job(one.dump(), LocalProtocol())
    assert (twin.params, twin.batch_file(), twin.dump()) == (one.params, one.batch_file(), one.dump())


def twins(one: GenericJob) -> list[GenericJob]:
    return [reload_job(one.dump(), LocalProtocol()), pickle.loads(pickle.dumps(one))]


def test_a_submitted_job_keeps_its_token_and_its_ticket() -> None:
    one = submitted(total_jobs=20)
    for twin in twins(one):
        assert isinstance(twin, BatchJob)
        assert (twin.token, twin.ticket, twin.job_id, len(twin.tasks)) == (one.token, one.ticket, "12", 20)
        assert not twin.is_uncertain


def test_a_job_dumped_before_its_submission_may_have_been_submitted_since() -> None:
    one = job()
    for twin in twins(one):
        assert isinstance(twin, BatchJob)
        assert (twin.token, twin.ticket, twin.is_uncertain) == (one.token, None, True)


def test_input_files_are_found_again_from_another_directory() -> None:
    for twin in twins(job(input_files=[Path("some/file.txt"), "other"])):
        assert twin.params.input_files == [str(Path("some/file.txt").absolute()), str(Path("other").absolute())]


def test_jobs_that_are_depended_on_become_their_ids() -> None:
    for twin in twins(job(dependencies=[submitted(), "afterany:3", 4])):
        assert twin.params.dependencies == ["12", "afterany:3", "4"]


def test_a_job_that_depends_on_an_unsubmitted_one_is_not_dumped_without_it() -> None:
    one = job(dependencies=[job(name="first")])
    for dump in (one.dump, lambda: pickle.dumps(one)):
        with pytest.raises(ConfigurationError, match="submit slurm unsubmitted job .* 'first' on localhost first"):
            dump()


def test_no_secret_is_dumped_or_pickled() -> None:
    protocol = AsyncsshProtocol(ConnectionParameters(host="gaia", password="hunter2", passphrase="hunter3"))
    one = create_job("slurm", LaunchParameters(["true"], "w"), protocol)
    assert "hunter" not in one.dump() + repr(one) + str(one) + repr(protocol)
    assert b"hunter" not in pickle.dumps(one)
    twin = pickle.loads(pickle.dumps(one))
    assert twin.protocol.host == "gaia"


@pytest.mark.parametrize(
    "text",
    ["", "xvi", "[]", "{}", '{"format": 2, "plugin": "slurm"}', '{"format": 1}', '{"format": 1, "plugin": "slurm"}',
     '{"format": 1, "plugin": "slurm", "token": "t", "params": {"later": 1}, "ticket": null}',
     '{"format": 1, "plugin": "slurm", "token": "t", "params": 5, "ticket": null}'],
)  # fmt: skip
def test_what_is_no_dumped_job_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        reload_job(text)


def test_a_dump_of_a_plugin_that_is_not_installed_names_the_known_ones() -> None:
    text = job().dump().replace('"plugin": "slurm"', '"plugin": "pbs"')
    with pytest.raises(ConfigurationError, match=r"no plugin 'pbs'.*local, nobatch, slurm"):
        reload_job(text)
