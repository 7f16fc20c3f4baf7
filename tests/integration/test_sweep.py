# SPDX-License-Identifier: MIT
"""Sweeps on this machine and on a cluster: resumed after a crash, one run a point."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pybatch_async import (
    AsyncsshProtocol,
    ConfigurationError,
    GenericJob,
    JobState,
    LaunchParameters,
    Sweep,
    create_job,
    grid,
)
from pybatch_async.sweep.journal import Entry, Journal, key_of
from tests.integration.sweep_client import POINTS, sweep_of
from tests.services.connection import connection_to
from tests.services.nobatch_host import NobatchHost
from tests.services.slurm import QOS_LIMITED
from tests.services.sshd import Sshd
from tests.waiting import until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NobatchHost]:
    """This machine with an empty queue."""
    host = NobatchHost(tmp_path, monkeypatch)
    yield host
    host.close()


def maker(root: Path, script: str) -> Callable[[dict[str, Any]], LaunchParameters]:
    """Return what makes the job of point a: a shell script that has $a, in a directory of its own."""

    def make(point: dict[str, Any]) -> LaunchParameters:
        return LaunchParameters(["sh", "-c", script], str(root / str(point["a"])), environment={"a": str(point["a"])})

    return make


async def note(path: Path, entry: Entry) -> None:
    """Write an entry into a journal, as a client does."""
    journal = Journal(path)
    await journal.open()
    await journal.record(entry)
    await journal.aclose()


async def output(job: GenericJob) -> str:
    """Collect what a job printed."""
    return (await job.stdout()).strip()


@asynccontextmanager
async def running_client(root: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a client; whatever happened, it has ended afterwards, killed if need be."""
    argv = [sys.executable, "-m", "tests.integration.sweep_client", str(root)]
    client = await asyncio.create_subprocess_exec(*argv, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    try:
        yield client
    finally:
        if client.returncode is None:
            client.kill()
        await client.communicate()


def runs(root: Path) -> dict[str, int]:
    """Count how often each point ran."""
    return {path.name: len(path.read_text().splitlines()) for path in (root / "ran").iterdir()}


@pytest.mark.parametrize("ended", [0, 1, 15])
async def test_a_sweep_whose_client_was_killed_runs_each_point_once(host: NobatchHost, ended: int) -> None:
    root = host.root
    (root / "ran").mkdir()
    async with running_client(root) as client:
        await until(lambda: os.listdir(root / "ran"), "the first run", seconds=60)
        assert client.stdout is not None
        for _ in range(ended):
            await client.stdout.readline()
        client.kill()
    table = await sweep_of(root).run()
    assert [row["state"] for row in table] == ["FINISHED"] * 30
    assert [row["result"] for row in table] == [point["a"] * 10 + point["b"] for point in POINTS]
    assert runs(root) == {f"{a}_{b}": 1 for a in range(6) for b in range(5)}


async def test_a_client_killed_again_and_again_gets_there(host: NobatchHost) -> None:
    root = host.root
    (root / "ran").mkdir()
    for number in range(4):
        async with running_client(root) as client:
            assert client.stdout is not None
            for _ in range(7 * number + 1):
                await client.stdout.readline()
            client.kill()
    assert {row["state"] for row in await sweep_of(root).run()} == {"FINISHED"}
    assert set(runs(root).values()) == {1} and len(runs(root)) == 30


async def test_one_bad_point_of_any_kind_stops_no_other(host: NobatchHost) -> None:
    good = maker(host.root, 'echo "$a"; test "$a" != fails')

    def make(point: dict[str, Any]) -> LaunchParameters:
        params = good(point)
        if point["a"] == "not made":
            raise KeyError("no such thing")
        if point["a"] == "refused":
            params.partition = "there is none here"
        if point["a"] == "no input":
            params.input_files = ["/missing/file"]
        return params

    async def number(job: GenericJob) -> int:
        return int(await job.stdout())

    points = grid(a=["1", "fails", "not made", "refused", "no input", "no number", "2"])
    sweep = Sweep(points, make, plugin="nobatch", collect=number)
    rows = {row["a"]: row for row in await sweep.run()}
    assert (rows["1"]["result"], rows["2"]["result"]) == (1, 2)
    assert (rows["fails"]["state"], rows["fails"]["exit_code"], rows["fails"]["result"]) == ("FAILED", 1, None)
    assert "KeyError: 'no such thing'" in rows["not made"]["error"]
    assert "partition" in rows["refused"]["error"] and "/missing/file" in rows["no input"]["error"]
    assert rows["no number"]["state"] == "FINISHED" and "collect: ValueError" in rows["no number"]["error"]
    assert [job.params.environment["a"] for job in sweep.jobs] == ["1", "fails", "no number", "2"]


async def test_points_that_are_done_run_no_more_and_failed_ones_only_when_asked(host: NobatchHost) -> None:
    make = maker(host.root, f"echo ran >> {host.root}/ran_$a; test $a = 1 -o -e {host.root}/mended && echo $a")
    journal = host.root / "journal"

    async def results(**options: Any) -> list[tuple[str, str | None]]:
        sweep = Sweep(grid(a=[1, 2]), make, plugin="nobatch", journal=journal, collect=output, **options)
        return [(row["state"], row["result"]) for row in await sweep.run()]

    assert await results() == [("FINISHED", "1"), ("FAILED", None)]
    (host.root / "mended").touch()
    assert await results() == [("FINISHED", "1"), ("FAILED", None)]
    assert await results(retry_failed=True) == [("FINISHED", "1"), ("FINISHED", "2")]
    assert await results(retry_failed=True) == [("FINISHED", "1"), ("FINISHED", "2")]
    assert [(host.root / f"ran_{a}").read_text().count("ran") for a in (1, 2)] == [1, 2]


async def test_a_result_that_was_not_collected_is_collected_later_without_another_run(host: NobatchHost) -> None:
    make = maker(host.root, f"echo ran >> {host.root}/ran; echo $a")

    async def broken(job: GenericJob) -> object:
        return object()  # which JSON can not hold

    async def rows(collect: Callable[[GenericJob], Any]) -> list[dict[str, Any]]:
        journal = host.root / "journal"
        return list(await Sweep(grid(a=[1]), make, plugin="nobatch", journal=journal, collect=collect).run())

    [row] = await rows(broken)
    assert row["state"] == "FINISHED" and "not JSON serializable" in row["error"]
    assert await rows(output) == [{"a": 1, "state": "FINISHED", "exit_code": 0, "result": "1", "error": ""}]
    assert (host.root / "ran").read_text() == "ran\n"


async def test_points_come_as_they_end_and_leaving_early_leaves_the_jobs_going_on(host: NobatchHost) -> None:
    host.queue(slots=4)
    sweep = Sweep(
        grid(a=["slow", "fast"]),
        maker(host.root, f"test $a = fast || while ! test -e {host.root}/go; do sleep 0.05; done"),
        plugin="nobatch",
        journal=host.root / "journal",
    )
    before = asyncio.all_tasks()
    async with aclosing(sweep.as_completed()) as rows:
        first = await anext(rows)
        with pytest.raises(ConfigurationError, match="running already"):
            await sweep.run()
    assert first["a"] == "fast" and sweep.states == [JobState.RUNNING, JobState.FINISHED]
    assert {task.get_name() for task in asyncio.all_tasks() - before} <= {"pybatch_async poller"}
    (host.root / "go").touch()
    assert [row["state"] for row in await sweep.run()] == ["FINISHED", "FINISHED"]
    assert sweep.settled_before == 1


async def test_cancelled_run_can_be_taken_up_and_its_jobs_cancelled(host: NobatchHost) -> None:
    sweep = Sweep(grid(a=[1, 2]), maker(host.root, f"touch {host.root}/ran_$a; sleep 100"), plugin="nobatch")
    run = asyncio.create_task(sweep.run())
    await until((host.root / "ran_1").exists)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    await asyncio.gather(*(job.cancel() for job in sweep.jobs))
    assert [row["state"] for row in await sweep.run()] == ["FAILED", "FAILED"]


async def test_a_new_process_stops_what_an_interrupted_one_left_going_on(host: NobatchHost) -> None:
    make, journal = maker(host.root, f"touch {host.root}/ran_$a; sleep $a"), host.root / "journal"
    run = asyncio.create_task(Sweep(grid(a=[100]), make, plugin="nobatch", journal=journal).run())
    await until((host.root / "ran_100").exists)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    points = grid(a=[100, 0, 200])
    begun = create_job("nobatch", make({"a": 200}))
    await note(journal, Entry(key_of({"a": 200}), begun.dump()))  # its client died before it was submitted

    again = Sweep(points, make, plugin="nobatch", journal=journal)
    assert [row["state"] for row in await again.cancel()] == ["FAILED", "CREATED", "CREATED"]
    assert not (host.root / "ran_0").exists()
    later = Sweep(points, maker(host.root, "true"), plugin="nobatch", journal=journal, retry_failed=True)
    assert [row["state"] for row in await later.run()] == ["FINISHED"] * 3


async def test_two_points_never_share_a_work_directory(host: NobatchHost) -> None:
    def make(point: dict[str, Any]) -> LaunchParameters:
        return LaunchParameters(["true"], str(host.root / point["a"]))

    journal = host.root / "journal"
    runs: list[list[dict[str, Any]]] = [[{"a": "x"}], [{"a": "x/", "b": 1}, {"a": "x"}, {"a": "y"}]]
    for points in runs:  # also where one ran on another day
        sweep = Sweep(points, make, plugin="nobatch", journal=journal)
        rows = await sweep.run()
    assert [row["state"] for row in rows] == ["CREATED", "FINISHED", "FINISHED"]
    assert '{"a": "x"} and {"a": "x/", "b": 1} both have' in rows[0]["error"]
    assert sweep.job_of({"a": "x/", "b": 1}) is None


async def test_the_job_of_a_point_is_told(host: NobatchHost) -> None:
    sweep = Sweep(grid(a=[1, 2]), maker(host.root, "true"), plugin="nobatch")
    assert sweep.job_of({"a": 2}) is None
    await sweep.run()
    assert sweep.job_of({"a": 2}) is sweep.jobs[1]
    with pytest.raises(ConfigurationError, match="no point of this sweep"):
        sweep.job_of({"a": 3})


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"plugin": "slrum"}, "no plugin 'slrum'"),
        ({"protocol": "ssh"}, "protocol is needed"),
        ({}, "iterable of dicts"),
    ],
)
async def test_a_sweep_that_can_not_run_is_refused_at_once(wrong: dict[str, Any], told: str) -> None:
    points: Any = [{"a": 1}] if wrong else {"a": 1}
    with pytest.raises(ConfigurationError, match=told):
        Sweep(points, maker(Path(), ""), **wrong)


async def test_points_must_differ_and_leave_the_names_of_the_outcome_free() -> None:
    with pytest.raises(ConfigurationError, match="there twice"):
        Sweep([{"a": 1}, {"a": 1}], maker(Path(), ""))
    with pytest.raises(ConfigurationError, match=r"\['state'\]"):
        Sweep([{"state": 1}], maker(Path(), ""))


async def test_a_submit_limit_of_the_cluster_is_waited_out(sshd: Sshd, tmp_path: Path) -> None:
    """The quality of service allows two jobs at once; six are submitted."""

    def make(point: dict[str, Any]) -> LaunchParameters:
        params = maker(Path(f"sweep-{tmp_path.name}"), "echo $a")(point)
        params.queue, params.partition = QOS_LIMITED, "main"
        return params

    async with AsyncsshProtocol(connection_to(sshd)) as protocol:
        sweep = Sweep(grid(a=range(6)), make, protocol=protocol, journal=tmp_path / "journal", collect=output)
        rows = await sweep.run()
    assert [(row["state"], row["result"], row["error"]) for row in rows] == [("FINISHED", str(a), "") for a in range(6)]


async def test_the_example_goes_on_where_it_was(host: NobatchHost) -> None:
    async def example() -> list[str]:
        argv = [sys.executable, str(ROOT / "examples" / "sweep.py"), "--directory", str(host.root / "swept")]
        process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        assert process.returncode == 0
        return output.decode().splitlines()

    first = await example()
    assert first[0].split() == ["r", "steps", "state", "exit_code", "result", "error"]
    assert first[-1].split() == ["4", "100000", "FINISHED", "0", "0.693164"]
    written = (host.root / "swept" / "4.0_100000" / "logs" / "output.log").stat().st_mtime_ns
    assert await example() == first
    assert (host.root / "swept" / "4.0_100000" / "logs" / "output.log").stat().st_mtime_ns == written
