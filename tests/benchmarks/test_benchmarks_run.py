# SPDX-License-Identifier: MIT
"""Run the benchmark's own machinery on tiny numbers: its structure and counts, never its times."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pybatch_async.plugins.poller import Polling
from tests.benchmarks.crowd import Crowd, Stall, watch_crowd
from tests.benchmarks.measures import (
    DISTINCT,
    FLOOR,
    OURS,
    Looks,
    Submissions,
    Waited,
    compare_looks,
    compare_submissions,
    wait_for_array,
    wait_for_jobs,
)
from tests.benchmarks.peers import PeerResult
from tests.benchmarks.report import chart_data, render, targets_missed
from tests.benchmarks.results import Results
from tests.benchmarks.site import ONE_WAY, Link, Site, make_inputs, user_requests
from tests.services.proxy import Plan, Proxy
from tests.services.slurm import SlurmCluster
from tests.services.sshd import Sshd
from tests.services.workspace import Workspace


class SharedSite(Site):
    """The session's services, which other tests use too: nothing is started anew."""

    def renew(self) -> None:
        """Count requests from zero."""
        self.cluster.command("sdiag", "--reset")


@pytest.fixture
def site(
    workspace: Workspace,
    slurm_without_accounting: SlurmCluster,
    sshd_without_accounting: Sshd,
    proxy_factory: Callable[..., Proxy],
) -> SharedSite:
    """The session's services in place of the benchmark's own."""
    slow = proxy_factory(sshd_without_accounting.port, Plan(delay=ONE_WAY))
    links = (Link("loopback", sshd_without_accounting.port), Link("slow", slow.port))
    return SharedSite(workspace, slurm_without_accounting, sshd_without_accounting, links)


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    """A few input files."""
    return make_inputs(tmp_path, 4)


async def test_each_way_submits_every_job_with_one_request(site: SharedSite, inputs: list[Path]) -> None:
    result = await compare_submissions(site, site.links[0], inputs, 1)
    assert {name: len(seconds) for name, seconds in result.seconds.items()} == {FLOOR: 1, OURS: 1, DISTINCT: 1}
    assert result.requests == len(inputs)
    site.cluster.command("scancel", "--user", site.server.user)


async def test_looks_are_compared_for_each_number_of_jobs(site: SharedSite, inputs: list[Path]) -> None:
    looks = await compare_looks(site, site.links[1], inputs, (2, 4), 2)
    assert [each.count for each in looks] == [2, 4]
    assert all(each.squeue > 2 * ONE_WAY and each.ours > 2 * ONE_WAY for each in looks)
    site.cluster.command("scancel", "--user", site.server.user)


async def test_an_array_takes_one_sbatch_and_each_task_is_awaited(site: SharedSite) -> None:
    waited = await wait_for_array(site, site.links[0], 3)
    assert (waited.count, waited.submissions) == (3, 1)


async def test_waiting_takes_fewer_requests_than_jobs_times_seconds(site: SharedSite, inputs: list[Path]) -> None:
    waited = await wait_for_jobs(site, site.links[0], 4, inputs[0])
    assert waited.submissions == 4
    assert waited.requests < 4 * waited.seconds + 4


async def test_a_crowd_is_asked_about_with_one_query_a_tick() -> None:
    crowd = await watch_crowd(300, 2, Polling(shortest=0.05, longest=0.05, share=0.0))
    assert crowd.count == 300
    assert 0 < crowd.memory < 50_000


async def test_page_names_every_figure_that_is_missed() -> None:
    results = invented_results(ours=2.0)
    assert all(name.startswith("submit") for name in targets_missed(results))
    page = render(results)
    assert "**missed**" in page and "@" not in page.replace("@n", "")
    assert not targets_missed(invented_results(ours=1.0))
    assert "bold" in str(chart_data(results))


def test_requests_are_read_from_what_sdiag_prints() -> None:
    report = (
        "Remote Procedure Call statistics by message type\n"
        "\tREQUEST_SUBMIT_BATCH_JOB ( 4003) count:12     ave_time:300    total_time:3\n"
        "\tREQUEST_STATS_INFO       ( 2035) count:5      ave_time:300    total_time:3\n"
        "\nRemote Procedure Call statistics by user\n"
        "\troot            (       0) count:40     ave_time:180    total_time:7\n"
        "\thpc             (    1001) count:13     ave_time:180    total_time:7\n"
    )
    assert user_requests(report, "hpc") == {"REQUEST_SUBMIT_BATCH_JOB": 12, "total": 13}


def invented_results(ours: float) -> Results:
    """Make results whose submissions take so many times what the floor takes."""
    submissions = Submissions("loopback", 10, {FLOOR: [1.0], OURS: [ours], DISTINCT: [ours]}, 10)
    peers = [("loopback", "bold", PeerResult(4, 1.0, 1.0, ""))]
    calm = Stall(0.001, 0.001, 0.0)
    crowd = Crowd(10, 2, calm, calm, calm, 0.01, 5000.0)
    return Results(
        [submissions],
        peers,
        [Looks("loopback", 10, 0.01, 0.02)],
        Waited(10, 5.0, 7, 10),
        Waited(10, 5.0, 7, 1),
        crowd,
        crowd,
    )
