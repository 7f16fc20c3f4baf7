# SPDX-License-Identifier: MIT
"""What every job does alike: each plugin over each protocol."""

from __future__ import annotations

import asyncio
import json
import pickle
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import pybatch_async as pb
from tests.contract.conftest import Place, set_up_queues
from tests.waiting import until

ALIVE = ("QUEUED", "RUNNING")
KNOWN_ODD = ["", " ", "a  b", "'", '"', "\\", "!", "!!", "$HOME", "${x}", "`id`", "$(id)", ";", "|", "&", "<", ">", "*",
             "~", "#", "a\nb", "\n", "\t", "-n", "--", "é漢🦊", "%s", "\\n", "{a,b}", "[x]", "^", "\r"]  # fmt: skip
ODD = st.text(st.sampled_from("'\"`$;|&<>(){}[]*?~!#\\ \t\n\r%^=-é漢🦊abcXYZ019"), max_size=20)
ARGUMENTS = st.lists(ODD | st.text(st.characters(codec="utf-8", exclude_characters="\0")), max_size=12)
FEW = settings(
    max_examples=2,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.large_base_example],
)


@pytest.fixture(autouse=True)
def begun(overdue: dict[str, str]) -> None:
    """Have the jobs that take longest begin before all others."""


def script(text: str) -> list[str]:
    return ["sh", "-c", text, "sh"]


# One job


async def test_hello(place: Place, tmp_path: Path) -> None:
    inputs = tmp_path / "inputs"
    (inputs / "tree" / "below").mkdir(parents=True)
    (inputs / "hello.txt").write_text("Hello\n")
    (inputs / "tree" / "below" / "x y.txt").write_text("deep\n")
    command = script("cat hello.txt; cat 'tree/below/x y.txt' >&2; mkdir out; echo 42 > out/result; cp hello.txt copy")
    job = place.job(*command, name="hello", input_files=[inputs / "hello.txt", str(inputs / "tree")])
    await asyncio.gather(job.submit(), job.submit())
    await job.submit()
    assert await job.state() in (*ALIVE, "FINISHED")
    assert (await job.wait(), await job.state(), await job.exit_code()) == ("FINISHED", "FINISHED", 0)
    assert (await job.stdout(), await job.stderr()) == ("Hello\n", "deep\n")
    here = tmp_path / "results"
    here.mkdir()
    await job.get(["copy", "out"], here)
    await job.get([str(place.directory / "job0" / "hello.txt")], here / "renamed")
    await job.get(["."], here / "all")
    assert (here / "copy").read_text() == (here / "renamed").read_text() == "Hello\n"
    assert (here / "out" / "result").read_text() == (here / "all" / "out" / "result").read_text() == "42\n"
    assert (here / "all" / "logs" / "output.log").read_text() == "Hello\n"
    if place.is_slurm:
        assert (here / "all" / "batch.cmd").read_text() == job.batch_file()
    info = await job.info()
    assert (info.job_id, info.state, info.exit_code) == (job.job_id, "FINISHED", 0)
    assert info.end_time is not None and info.start_time is not None and info.end_time >= info.start_time
    with pytest.raises(pb.TransferFailed, match="nowhere"):
        await job.get(["nowhere.txt"], here)


async def test_a_job_is_alive_at_once_and_ends_as_its_command_does(place: Place) -> None:
    sleeper = await place.submitted("sleep", "3")
    assert (await sleeper.state(), await sleeper.exit_code()) in [(state, None) for state in ALIVE]
    jobs = [place.job(*script(text)) for text in ("exit 3", "kill -9 $$", "kill -TERM $$", "exit 0")]
    jobs.append(place.job("/nowhere/program"))
    assert await pb.submit_all(jobs) == [None] * 5
    assert await pb.wait_all(jobs) == ["FAILED", "FAILED", "FAILED", "FINISHED", "FAILED"]
    assert [await job.exit_code() for job in jobs] == [3, 9, 15, 0, 127]
    assert "/nowhere/program" in await jobs[-1].stderr()
    assert (await sleeper.wait(), await sleeper.exit_code()) == ("FINISHED", 0)


async def test_a_cancelled_job_stops_and_an_ended_one_stays_as_it_is(place: Place) -> None:
    running, at_once = await asyncio.gather(place.submitted("sleep", "600"), place.submitted("sleep", "600"))
    ended = await place.done("true")
    await at_once.cancel()
    await until(lambda: is_in(running, "RUNNING"))
    await asyncio.gather(running.cancel(), ended.cancel())
    assert await pb.wait_all([running, at_once, ended]) == ["FAILED", "FAILED", "FINISHED"]
    assert (await running.exit_code(), await ended.exit_code()) == (15, 0)
    assert (await running.info()).scheduler_state == "CANCELLED"
    await running.cancel()


async def is_in(job: pb.GenericJob | pb.GenericTask, *states: str) -> bool:
    return await job.state() in states


async def test_what_never_started_has_written_nothing(place: Place) -> None:
    failed = await place.submitted("false")
    never = await place.submitted("echo", dependencies=[failed])
    array = await place.submitted("sleep", "600", total_jobs=2, max_simul_jobs=1)
    await until(lambda: is_in(array.tasks[0], "RUNNING"))
    assert (await array.tasks[1].stdout(), await array.tasks[1].stderr()) == ("", "")
    await array.tasks[1].cancel()
    assert await pb.wait_all([never, array.tasks[1]]) == ["FAILED", "FAILED"]
    assert (await never.stdout(), await never.stderr(), await array.tasks[1].stdout()) == ("", "", "")


async def test_output_that_is_gone_is_told_from_none(place: Place) -> None:
    job = await place.done(*script("echo here; rm -r logs"))
    with pytest.raises(pb.PathMissing, match=r"output\.log"):
        await job.stdout()


async def test_before_its_submission_a_job_is_created_and_nothing_waits(place: Place) -> None:
    job, array = place.job("true"), place.job("true", total_jobs=3)
    those: list[pb.GenericJob | pb.GenericTask] = [job, array, *array.tasks]
    for each in those:
        async with asyncio.timeout(5):
            assert (await each.state(), await each.wait(), await each.exit_code()) == ("CREATED", "CREATED", None)
            await each.cancel()
    assert (job.job_id, (await job.info()).state) == ("", "CREATED")


async def test_parameters_can_be_changed_and_used_for_the_next_job(place: Place) -> None:
    params = pb.LaunchParameters(script("sleep 1; pwd"), "", name="first", environment={"A": "1"})
    jobs = []
    for number in range(3):
        params.work_directory, params.name = str(place.directory / f"shared{number}"), f"number {number}"
        params.total_jobs = number + 1
        jobs.append(pb.create_job(place.plugin, params, place.protocol))
        submission = asyncio.create_task(jobs[-1].submit())
        await asyncio.sleep(0)
        params.command[2], params.environment = "pwd", {"A": "2"}  # while it is under way
        await submission
    params.command, params.total_jobs, params.wall_time = [], 7, "xvi"
    assert await pb.wait_all(jobs) == ["FINISHED"] * 3
    assert [await job.stdout() for job in jobs] == [
        f"{place.directory}/shared{number}\n" * (number + 1) for number in range(3)
    ]
    assert [len(job.tasks) for job in jobs] == [0, 2, 3]
    assert pb.reload_job(jobs[2].dump(), place.protocol).params == jobs[2].params


async def test_a_job_that_was_refused_is_mended_through_the_parameters_it_was_made_with(place: Place) -> None:
    params = pb.LaunchParameters(["true"], "/proc/nowhere")
    job = pb.create_job(place.plugin, params, place.protocol)
    place.jobs.append(job)
    outcomes = await asyncio.gather(job.submit(), job.submit(), return_exceptions=True)
    assert all(isinstance(outcome, pb.SubmitFailed) for outcome in outcomes)
    assert job.params is params
    params.work_directory = str(place.directory / "mended")
    await job.submit()
    assert await job.wait() == "FINISHED"


async def test_a_missing_input_file_is_named_before_anything_is_sent(place: Place, tmp_path: Path) -> None:
    job = place.job("true", input_files=[tmp_path / "missing.dat"])
    with pytest.raises(pb.ConfigurationError, match=r"missing\.dat"):
        await job.submit()
    assert await job.state() == "CREATED"
    assert list(place.directory.iterdir()) == []
    (tmp_path / "missing.dat").write_text("there now")
    await job.submit()
    assert await job.wait() == "FINISHED"


async def test_the_environment_setup_teardown_and_launcher_surround_the_command(place: Place) -> None:
    value = "a b'\"\n$HOME `x` \\ é #"
    job = await place.submitted(
        *script('printf "%s|%s|" "$ODD" "$FROM_SETUP"; exit 4'),
        environment={"ODD": value, "FROM_LAUNCHER": "0"},
        setup=["export FROM_SETUP=1", "echo setup >&2"],
        teardown=["echo teardown >&2"],
        launcher="env FROM_LAUNCHER=1",
    )
    assert (await job.wait(), await job.exit_code()) == ("FAILED", 4)
    assert (await job.stdout(), await job.stderr()) == (f"{value}|1|", "setup\nteardown\n")


async def test_a_node_file_has_a_line_for_each_task(place: Place) -> None:
    job = await place.done(*script('cat "$LIBBATCH_NODEFILE"'), ntasks=4, create_nodefile=True)
    lines = (await job.stdout()).splitlines()
    assert (len(lines), len(set(lines))) == (4, 1)
    assert await place.protocol.read(f"{place.directory}/job0/batch_nodefile.txt") == await job.stdout()


async def test_work_directories_are_absolute_relative_or_at_home(place: Place) -> None:
    name = f"work {uuid.uuid4().hex[:8]}"
    works = [f"{place.directory}/new/{name}", f"rel {name}/below", f"~/home {name}", f"./dot {name}/"]
    jobs = await asyncio.gather(*(place.done("pwd", work=work) for work in works))
    there = [place.directory / "new" / name, place.home / f"rel {name}/below", place.home / f"home {name}"]
    assert [await job.stdout() for job in jobs] == [f"{path}\n" for path in (*there, place.home / f"dot {name}")]


async def test_output_is_followed_while_it_grows(place: Place) -> None:
    job = await place.submitted(
        *script("for i in 1 2 3; do echo line $i é; sleep 0.8; done; echo end >&2; printf last")
    )
    pieces = [piece async for piece in job.follow()]
    assert "".join(pieces) == "line 1 é\nline 2 é\nline 3 é\nlast"
    assert len(pieces) > 1
    assert "".join([piece async for piece in job.follow("stderr")]) == "end\n"
    with pytest.raises(pb.ConfigurationError, match="stdin"):
        job.follow("stdin")


# In another process

OTHER = """
import asyncio, pickle, sys
import pybatch_async as pb
how, job, protocol = pickle.load(sys.stdin.buffer)
async def main():
    it = pb.reload_job(job, protocol) if how == "dump" else job
    async with it.protocol:
        print(it.job_id, await it.wait(), await it.exit_code(), await it.stdout())
asyncio.run(main())
"""


async def test_a_job_goes_on_in_another_process(place: Place) -> None:
    job = await place.submitted(*script("echo out; sleep 1; exit 5"))
    given_away = [("dump", job.dump(), place.protocol), ("pickle", job, None)]
    answers = await asyncio.gather(*(asyncio.to_thread(other_process, pickle.dumps(it)) for it in given_away))
    assert answers == [f"{job.job_id} FAILED 5 out\n\n"] * 2


def other_process(data: bytes) -> str:
    done = subprocess.run([sys.executable, "-c", OTHER], input=data, capture_output=True, timeout=60, check=False)
    return done.stdout.decode() + done.stderr.decode()


async def test_a_dumped_job_is_adopted_and_never_submitted_twice(place: Place) -> None:
    job = place.job(*script("echo once >> ../count"))
    dumped = job.dump()
    await job.submit()
    twin = pb.reload_job(dumped, place.protocol)
    assert await twin.state() != "CREATED"
    again = pb.reload_job(dumped, place.protocol)
    await again.submit()
    assert (twin.job_id, again.job_id) == (job.job_id, job.job_id)
    assert await pb.wait_all([job, twin, again]) == ["FINISHED"] * 3
    assert (place.directory / "count").read_text() == "once\n"


# Many jobs


async def test_a_hundred_jobs_at_once_and_a_bad_one_disturbs_nobody(place: Place, tmp_path: Path) -> None:
    shared = tmp_path / "shared.txt"
    shared.write_text("shared\n")
    jobs = [place.job(*script(f"cat shared.txt; exit {n % 3}"), input_files=[shared]) for n in range(100)]
    jobs.append(place.job("true", work="/proc/nowhere"))
    jobs.append(place.job("true", input_files=[tmp_path / "missing.dat"]))
    outcomes = await pb.submit_all(jobs)
    assert outcomes[:100] == [None] * 100
    assert isinstance(outcomes[100], pb.SubmitFailed) and "/proc/nowhere" in str(outcomes[100])
    assert isinstance(outcomes[101], pb.ConfigurationError)
    assert len({job.job_id for job in jobs[:100]}) == 100
    seen = [job async for job in pb.as_completed(jobs[:100])]
    assert sorted(map(id, seen)) == sorted(map(id, jobs[:100]))
    assert [await job.exit_code() for job in jobs[:100]] == [number % 3 for number in range(100)]
    assert await asyncio.gather(*(job.stdout() for job in jobs[:100:10])) == ["shared\n"] * 10


@FEW
@given(st.lists(ARGUMENTS, min_size=3, max_size=3))
async def test_arguments_reach_the_process_unchanged(place: Place, lists: list[list[str]]) -> None:
    commands = [["printf", "%s\\0", "first", *arguments] for arguments in (KNOWN_ODD, *lists)]
    jobs = await asyncio.gather(*(place.done(*command) for command in commands))
    for job, arguments in zip(jobs, (KNOWN_ODD, *lists), strict=True):
        here = place.directory / f"{uuid.uuid4().hex}.log"
        await job.get(["logs/output.log"], here)
        assert here.read_bytes().decode().split("\0")[1:-1] == arguments


# Arrays


async def test_an_array_passes_each_task_its_index(place: Place) -> None:
    job = await place.done(*script('echo "$@"; echo "err $1" >&2'), "a", total_jobs=4, max_simul_jobs=2)
    assert [await task.stdout() for task in job.tasks] == [f"a {index}\n" for index in range(4)]
    assert await job.stdout() == "a 0\na 1\na 2\na 3\n"
    assert await job.tasks[2].stderr() == "err a\n"
    infos = await asyncio.gather(*(task.info() for task in job.tasks))
    assert [(info.state, info.exit_code) for info in infos] == [("FINISHED", 0)] * 4
    assert len({info.job_id for info in infos}) == 4


async def test_an_array_fails_with_the_first_non_zero_code_in_index_order(place: Place) -> None:
    job = await place.submitted(*script("[ $1 = 1 ] && sleep 1; exit $((4 * $1))"), total_jobs=3)
    assert await job.tasks[0].wait() == "FINISHED"
    assert await pb.wait_all([*job.tasks, job]) == ["FINISHED", "FAILED", "FAILED", "FAILED"]
    assert [await task.exit_code() for task in job.tasks] == [0, 4, 8]
    assert [await task.state() for task in job.tasks] == ["FINISHED", "FAILED", "FAILED"]
    assert await job.exit_code() == 4


async def test_tasks_of_an_array_are_cancelled_singly_and_together(place: Place) -> None:
    job = await place.submitted("sh", "-c", "sleep 600", "sh", total_jobs=3)
    await until(lambda: is_in(job.tasks[1], "RUNNING"))
    await job.tasks[1].cancel()
    assert await job.tasks[1].wait() == "FAILED"
    assert await job.tasks[0].state() in ALIVE
    assert await job.state() == "RUNNING"
    await job.cancel()
    assert await job.wait() == "FAILED"
    assert [await task.state() for task in job.tasks] == ["FAILED"] * 3
    assert await job.exit_code() == 15


# The longest


@pytest.mark.timeout(200)
async def test_a_job_that_exceeds_its_wall_time_fails(
    place: Place, overdue: dict[str, str], request: pytest.FixtureRequest
) -> None:
    if place.is_slurm:
        protocol = request.node.callspec.params["place"].split("-")[0]
        job = pb.reload_job(overdue[protocol], place.protocol)
        assert json.loads(job.dump())["ticket"]
    else:
        job = await place.submitted("sleep", "600", wall_time="0:01")
    set_up_queues(place.protocol)
    assert (await job.wait(), await job.exit_code()) == ("FAILED", 15)
    assert (await job.info()).scheduler_state == "TIMEOUT"
