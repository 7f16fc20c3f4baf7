# SPDX-License-Identifier: MIT
"""The queue of a host without a batch manager, on this machine and through ssh."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import stat
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from pybatch_async import (
    AsyncsshProtocol,
    ConfigurationError,
    ConnectionParameters,
    JobState,
    LaunchParameters,
    StateUnknown,
    SubmitFailed,
)
from pybatch_async.job_factory import create_job, reload_job
from pybatch_async.plugins.nobatch.job import NobatchJob
from pybatch_async.plugins.nobatch.queue import NobatchQueue
from tests.services.accounts import Accounts
from tests.services.connection import connection_to
from tests.services.nobatch_host import NobatchHost, comm, wait_gone
from tests.services.sshd import Sshd
from tests.waiting import until


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NobatchHost]:
    """This machine with an empty queue."""
    host = NobatchHost(tmp_path, monkeypatch)
    yield host
    host.close()


# One job


async def test_job_leaves_logs_and_its_exit_code_in_the_work_directory(host: NobatchHost) -> None:
    job = host.job(["sh", "-c", "echo out; echo err >&2; exit 3"], "work")
    await job.submit()
    assert await job.wait() is JobState.FAILED
    assert await job.exit_code() == 3
    assert (await job.stdout(), await job.stderr()) == ("out\n", "err\n")
    logs = host.root / "work" / "logs"
    assert (logs / "exit_code.log").read_bytes() == b"3"
    assert sorted(path.name for path in logs.iterdir()) == ["error.log", "exit_code.log", "output.log"]


async def test_job_runs_when_submit_returns(host: NobatchHost) -> None:
    job = host.job(["sleep", "100"], "work")
    assert await job.state() is JobState.CREATED
    await job.submit()
    assert await job.state() is JobState.RUNNING
    assert await job.exit_code() is None
    await job.cancel()
    await job.wait()


async def test_exit_code_of_a_signal_is_its_number(host: NobatchHost) -> None:
    job = host.job(["sh", "-c", "kill -USR1 $$"], "work")
    await job.submit()
    assert await job.wait() is JobState.FAILED
    assert await job.exit_code() == signal.SIGUSR1
    assert (host.root / "work/logs/exit_code.log").read_text() == str(-signal.SIGUSR1)


async def test_info_tells_times_and_the_host(host: NobatchHost) -> None:
    job = host.job(["true"], "work")
    await job.submit()
    assert await job.wait() is JobState.FINISHED
    info = await job.info()
    assert info.submit_time and info.start_time and info.end_time
    assert info.submit_time <= info.start_time <= info.end_time
    assert (info.scheduler_state, info.nodes, info.job_id) == ("COMPLETED", os.uname().nodename, job.job_id)


@pytest.mark.parametrize(("name", "code"), [("no such command", 127), ("./plain.txt", 126), ("/", 126)])
async def test_command_that_can_not_run_ends_as_in_a_shell(host: NobatchHost, name: str, code: int) -> None:
    (host.root / "plain.txt").write_text("text")
    job = host.job([name], "work", input_files=[host.root / "plain.txt"])
    await job.submit()
    assert await job.wait() is JobState.FAILED
    assert await job.exit_code() == code
    assert f"can not run {name}" in await job.stderr()


async def test_arguments_arrive_unchanged(host: NobatchHost) -> None:
    words = ["", "a b", "'\"`$(x)", "new\nline", "é\udcff", "*", "-n", "\\"]
    job = host.job(["sh", "-c", 'printf "%s\\0" "$@" >args', "sh", *words], "work with 'quotes' é")
    await job.submit()
    assert await job.wait() is JobState.FINISHED
    written = (Path(job.directory) / "args").read_bytes()
    assert written == b"".join(word.encode(errors="surrogateescape") + b"\0" for word in words)


async def test_script_without_a_first_line_for_its_interpreter_is_run_by_sh(host: NobatchHost) -> None:
    script = host.root / "script"
    script.write_text("echo it runs\n")
    script.chmod(0o755)
    job = host.job(["./script"], "work", input_files=[script])
    await job.submit()
    assert await job.wait() is JobState.FINISHED
    assert await job.stdout() == "it runs\n"


async def test_environment_of_the_submitting_client_reaches_the_job(
    host: NobatchHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = host.job(["true"], "first")
    await first.submit()  # the keeper lives on with this environment
    monkeypatch.setenv("SEEN", "later é")
    job = host.job(["sh", "-c", 'echo "$SEEN $MORE"'], "work", environment={"MORE": "a\nb"})
    await job.submit()
    await job.wait()
    assert await job.stdout() == "later é a\nb\n"


async def test_setup_and_teardown_stand_around_the_command(host: NobatchHost) -> None:
    job = host.job(
        ["sh", "-c", 'echo "$WORD"; exit 5'],
        "work",
        setup=["export WORD=set", "set -e"],
        teardown=["echo down with $?", "false", "echo done"],
    )
    await job.submit()
    await job.wait()
    assert (await job.stdout(), await job.exit_code()) == ("set\ndown with 5\ndone\n", 5)


async def test_signal_shows_through_the_teardown(host: NobatchHost) -> None:
    job = host.job(["sh", "-c", "kill -SEGV $$"], "work", teardown=["echo down"])
    await job.submit()
    await job.wait()
    assert (await job.stdout(), await job.exit_code()) == ("down\n", signal.SIGSEGV)


async def test_launcher_starts_the_command(host: NobatchHost) -> None:
    job = host.job(["sh", "-c", "echo $WORD"], "work", launcher="env 'WORD=two words'")
    await job.submit()
    await job.wait()
    assert await job.stdout() == "two words\n"


async def test_nodefile_names_the_host_once_a_task(host: NobatchHost) -> None:
    job = host.job(["sh", "-c", 'cat "$LIBBATCH_NODEFILE"'], "work", ntasks=3, create_nodefile=True)
    await job.submit()
    await job.wait()
    assert await job.stdout() == f"{os.uname().nodename}\n" * 3
    assert (host.root / "work/batch_nodefile.txt").exists()


async def test_input_files_reach_each_work_directory(host: NobatchHost) -> None:
    tree = host.root / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "file").write_text("shared")
    own = host.root / "own"
    own.write_text("own")
    jobs = [host.job(["cat", "tree/sub/file"], f"work{i}", input_files=[tree]) for i in range(3)]
    jobs.append(host.job(["cat", "own"], "work3", input_files=[own]))
    await asyncio.gather(*(job.submit() for job in jobs))
    await asyncio.gather(*(job.wait() for job in jobs))
    assert [await job.stdout() for job in jobs] == ["shared"] * 3 + ["own"]


async def test_job_is_reloaded_from_text_and_from_pickle(host: NobatchHost) -> None:
    job = host.job(["sh", "-c", "sleep 0.3; exit 4"], "work")
    await job.submit()
    copies = [reload_job(job.dump()), pickle.loads(pickle.dumps(job))]
    assert await asyncio.gather(*(copy.wait() for copy in copies)) == [JobState.FAILED] * 2
    assert [await copy.exit_code() for copy in copies] == [4, 4]


async def test_job_outlives_the_client_and_needs_none_to_start(host: NobatchHost) -> None:
    host.queue(slots=1)
    first, second = host.job(["sleep", "0.3"], "first"), host.job(["touch", "done"], "second")
    await first.submit()
    await second.submit()
    await until((host.root / "second" / "done").exists)


# Ending


async def test_cancel_reaches_children_and_grandchildren(host: NobatchHost) -> None:
    script = "sleep 1000 & echo $! >child; (setsid sh -c 'echo $$ >daemon; exec sleep 1000' &) ; wait"
    job = host.job(["sh", "-c", script], "work")
    await job.submit()
    files = [host.root / "work" / name for name in ("child", "daemon")]
    await until(lambda: all(path.exists() and path.read_text().strip() for path in files))
    await job.cancel()
    assert await job.wait() is JobState.FAILED
    info = await job.info()
    assert (info.scheduler_state, info.exit_code) == ("CANCELLED", signal.SIGTERM)
    for path in files:
        wait_gone(int(path.read_text()))


async def test_what_ignores_term_is_killed_after_the_grace(host: NobatchHost) -> None:
    host.queue(grace=0.3)
    job = host.job(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"], "work")
    await job.submit()
    await until(lambda: (host.root / "work/logs/output.log").read_text() == "ready\n")
    await job.cancel()
    assert await job.wait() is JobState.FAILED
    assert await job.exit_code() == signal.SIGKILL


async def test_child_that_ignores_term_does_not_survive_its_job(host: NobatchHost) -> None:
    host.queue(grace=0.3)
    script = "sh -c 'trap \"\" TERM; echo $$; exec sleep 1000' & wait"
    job = host.job(["sh", "-c", script], "work")
    await job.submit()
    output = host.root / "work/logs/output.log"
    await until(lambda: bool(output.read_text().strip()))
    await job.cancel()
    await job.wait()
    wait_gone(int(output.read_text()))


async def test_teardown_runs_when_the_job_is_cancelled(host: NobatchHost) -> None:
    job = host.job(["sleep", "100"], "work", teardown=["echo cleaned"])
    await job.submit()
    await asyncio.sleep(0.2)  # the shell sets its trap
    await job.cancel()
    assert await job.wait() is JobState.FAILED
    assert "cleaned" in await job.stdout()


async def test_wall_time_ends_the_job(host: NobatchHost) -> None:
    job = host.job(["sleep", "100"], "work", wall_time="0:01")
    begun = time.monotonic()
    await job.submit()
    assert await job.wait() is JobState.FAILED
    assert 1.0 <= time.monotonic() - begun < 10.0
    info = await job.info()
    assert (info.scheduler_state, info.exit_code) == ("TIMEOUT", signal.SIGTERM)


async def test_cancelled_in_the_queue_it_never_starts(host: NobatchHost) -> None:
    host.queue(slots=1)
    first, second = host.job(["sleep", "100"], "first"), host.job(["touch", "done"], "second")
    await first.submit()
    await second.submit()
    assert await second.state() is JobState.QUEUED
    await second.cancel()
    assert await second.wait() is JobState.FAILED
    assert await second.exit_code() is None
    await first.cancel()
    await first.wait()
    assert not (host.root / "second" / "done").exists()


async def test_cancelling_what_has_ended_changes_nothing(host: NobatchHost) -> None:
    job = host.job(["true"], "work")
    await job.submit()
    await until((host.root / "work/logs/exit_code.log").exists)
    await job.cancel()
    assert await job.wait() is JobState.FINISHED


async def test_daemon_of_a_finished_job_is_not_taken_for_the_next_one(host: NobatchHost) -> None:
    host.queue(slots=1)
    script = "(setsid sh -c 'echo $$ >daemon; exec sleep 1000' &); while [ ! -s daemon ]; do sleep 0.01; done"
    first = host.job(["sh", "-c", script], "first")
    await first.submit()
    assert await first.wait() is JobState.FINISHED
    second = host.job(["sleep", "100"], "second")
    await second.submit()
    await second.cancel()
    await second.wait()
    daemon = int((host.root / "first/daemon").read_text())
    assert comm(daemon) == "sleep"
    os.kill(daemon, signal.SIGKILL)


# Slots


class Meter:
    """Count from outside how many of a host's jobs run at the same time: each holds a file while it does."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()

    def command(self, seconds: float) -> list[str]:
        return ["sh", "-c", f'trap "rm {self.directory}/$$" EXIT; : >{self.directory}/$$; sleep {seconds}']

    async def most(self, end: asyncio.Future[list[JobState]]) -> int:
        most = 0
        while not end.done():
            most = max(most, len(os.listdir(self.directory)))
            await asyncio.sleep(0.002)
        return most


async def run_all(jobs: list[NobatchJob], meter: Meter) -> int:
    await asyncio.gather(*(job.submit() for job in jobs))
    end = asyncio.gather(*(job.wait() for job in jobs))
    most = await meter.most(end)
    assert set(await end) == {JobState.FINISHED}
    return most


async def test_never_more_run_than_there_are_slots(host: NobatchHost) -> None:
    host.queue(slots=2)
    meter = Meter(host.root / "meter")
    assert await run_all([host.job(meter.command(0.05), f"work{i}") for i in range(20)], meter) == 2


async def test_unlimited_slots_start_everything(host: NobatchHost) -> None:
    host.queue(slots=0)
    meter = Meter(host.root / "meter")
    assert await run_all([host.job(meter.command(2), f"work{i}") for i in range(12)], meter) == 12


async def test_job_that_asks_for_more_than_there_is_runs_alone(host: NobatchHost) -> None:
    host.queue(slots=2)
    meter = Meter(host.root / "meter")
    small = [host.job(meter.command(0.2), f"small{i}") for i in range(2)]
    large = host.job(
        ["sh", "-c", f"ls {meter.directory} | wc -l; sleep 0.2; ls {meter.directory} | wc -l"],
        "large",
        ntasks=2,
        cpus_per_task=8,
    )
    late = host.job(meter.command(0.1), "late")
    for job in (*small, large, late):
        await job.submit()
    await asyncio.gather(*(job.wait() for job in (*small, large, late)))
    assert (await large.stdout()).split() == ["0", "0"]


async def test_exclusive_job_runs_alone_even_without_a_limit(host: NobatchHost) -> None:
    host.queue(slots=0)
    meter = Meter(host.root / "meter")
    first = host.job(meter.command(1.5), "first")
    alone = host.job(["sh", "-c", f"ls {meter.directory} | wc -l; sleep 0.2"], "alone", exclusive=True)
    for job in (first, alone):
        await job.submit()
    assert await alone.state() is JobState.QUEUED
    await asyncio.gather(first.wait(), alone.wait())
    assert (await alone.stdout()).strip() == "0"


async def test_jobs_start_in_the_order_of_their_submission(host: NobatchHost) -> None:
    host.queue(slots=1)
    jobs = [host.job(["sh", "-c", f"echo {i} >>{host.root}/order"], f"work{i}") for i in range(10)]
    for job in jobs:
        await job.submit()
    await asyncio.gather(*(job.wait() for job in jobs))
    assert (host.root / "order").read_text().split() == [str(i) for i in range(10)]


# Arrays


async def test_array_tells_of_each_task(host: NobatchHost) -> None:
    job = host.job(["sh", "-c", 'echo "task $0"; exit $(( $0 % 3 ))'], "work", total_jobs=5)
    await job.submit()
    assert await job.wait() is JobState.FAILED
    assert await job.exit_code() == 1
    assert [await task.exit_code() for task in job.tasks] == [0, 1, 2, 0, 1]
    assert [await task.stdout() for task in job.tasks] == [f"task {i}\n" for i in range(5)]
    assert (host.root / "work/logs/exit_code_2.log").read_text() == "2"
    assert (await job.tasks[2].info()).job_id == f"{job.job_id}_2"


async def test_array_runs_as_many_tasks_as_it_may(host: NobatchHost) -> None:
    host.queue(slots=0)
    meter = Meter(host.root / "meter")
    job = host.job(meter.command(0.2), "work", total_jobs=9, max_simul_jobs=3)
    assert await run_all([job], meter) == 3


async def test_job_behind_a_throttled_array_is_not_held_up(host: NobatchHost) -> None:
    host.queue(slots=2)
    array = host.job(["sleep", "0.5"], "array", total_jobs=4, max_simul_jobs=1)
    job = host.job(["true"], "work")
    await array.submit()
    await job.submit()
    await job.wait()
    assert await array.state() is JobState.RUNNING
    await array.cancel()
    await array.wait()


async def test_single_tasks_are_cancelled(host: NobatchHost) -> None:
    host.queue(slots=1)
    job = host.job(["sh", "-c", '[ "$0" = 2 ] || sleep 100'], "work", total_jobs=3)
    await job.submit()
    await job.tasks[1].cancel()
    await job.tasks[0].cancel()
    assert await job.wait() is JobState.FAILED
    words = [(await task.info()).scheduler_state for task in job.tasks]
    assert words == ["CANCELLED", "CANCELLED", "COMPLETED"]
    assert [await task.exit_code() for task in job.tasks] == [15, None, 0]


async def test_a_negative_number_of_slots_goes_back_to_the_count_of_cpus(host: NobatchHost) -> None:
    host.queue(slots=1)
    cpus = len(os.sched_getaffinity(0))
    jobs = [host.job(["sleep", "100"], f"work{number}") for number in range(cpus + 1)]
    await asyncio.gather(*(job.submit() for job in jobs[:-1]))
    assert sorted([await job.state() for job in jobs[:-1]]) == sorted(["QUEUED"] * (cpus - 1) + ["RUNNING"])
    host.queue(slots=-1)
    await jobs[-1].submit()
    host.queue(slots=None)  # what the host was told last counts

    async def running() -> bool:
        return sum([await job.state() is JobState.RUNNING for job in jobs]) == cpus

    await until(running)
    assert await jobs[-1].state() is JobState.QUEUED
    await asyncio.gather(*(job.cancel() for job in jobs))


# Dependencies


async def test_job_waits_for_those_it_depends_on(host: NobatchHost) -> None:
    host.queue(slots=0)
    first = host.job(["sh", "-c", "until [ -e ../go ]; do sleep 0.1; done; echo done >../first.txt"], "first")
    second = host.job(["cat", "../first.txt"], "second", dependencies=[first])
    await first.submit()
    await second.submit()
    assert await second.state() is JobState.QUEUED
    (host.root / "go").touch()
    assert await second.wait() is JobState.FINISHED


async def test_job_whose_dependency_failed_never_starts(host: NobatchHost) -> None:
    first = host.job(["false"], "first")
    await first.submit()
    await first.wait()
    strict = host.job(["true"], "strict", dependencies=[first])
    chained = host.job(["true"], "chained", dependencies=[strict])
    lenient = host.job(["true"], "lenient", dependencies=[f"afterany:{first.job_id}"])
    opposite = host.job(["true"], "opposite", dependencies=[f"afternotok:{first.job_id}"])
    for job in (strict, chained, lenient, opposite):
        await job.submit()
    states = [await job.wait() for job in (strict, chained, lenient, opposite)]
    assert states == [JobState.FAILED, JobState.FAILED, JobState.FINISHED, JobState.FINISHED]
    assert (await strict.info()).reason == "DependencyNeverSatisfied"


async def test_dependency_that_nobody_knows_is_refused(host: NobatchHost) -> None:
    with pytest.raises(SubmitFailed, match="there is no job 999"):
        await host.job(["true"], "work", dependencies=["999"]).submit()
    with pytest.raises(ConfigurationError, match="dependencies: 'singleton'"):
        host.job(["true"], "work", dependencies=["singleton"])


# What is refused


async def test_unwritable_work_directory_fails_its_own_job_only(host: NobatchHost) -> None:
    (host.root / "file").write_text("")
    bad, good = host.job(["true"], "file/work"), host.job(["true"], "work")
    answers = await asyncio.gather(bad.submit(), good.submit(), return_exceptions=True)
    assert isinstance(answers[0], SubmitFailed) and answers[1] is None
    assert "work directory" in str(answers[0]) and "file/work" in str(answers[0])
    assert await good.wait() is JobState.FINISHED
    assert await bad.state() is JobState.CREATED


async def test_missing_python_is_told_in_one_sentence(host: NobatchHost) -> None:
    job = host.job(["true"], "work", python_exe="/no/such/python3")
    with pytest.raises(SubmitFailed, match="'/no/such/python3' can not be run on localhost.*set python_exe"):
        await job.submit()
    with pytest.raises(SubmitFailed, match="python_exe has to name Python 3.6"):
        await host.job(["true"], "work", python_exe="cat").submit()


async def test_python_2_is_told_in_one_sentence(host: NobatchHost) -> None:
    old = host.root / "python"
    old.write_text("#!/bin/sh\necho 'Unknown option: -I' >&2\necho 'Try python -h' >&2\nexit 2\n")
    old.chmod(0o755)
    with pytest.raises(SubmitFailed, match="Unknown option: -I.*python_exe has to name Python 3.6"):
        await host.job(["true"], "work", python_exe=str(old)).submit()


async def test_unwritable_state_is_told_in_one_sentence(host: NobatchHost, monkeypatch: pytest.MonkeyPatch) -> None:
    (host.root / "plain").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(host.root / "plain"))
    with pytest.raises(SubmitFailed, match="can not be written.*XDG_STATE_HOME"):
        await host.job(["true"], "work").submit()


async def test_unwritable_cache_is_told_in_one_sentence(host: NobatchHost, monkeypatch: pytest.MonkeyPatch) -> None:
    (host.root / "plain").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(host.root / "plain"))
    with pytest.raises(SubmitFailed, match="can not be placed in .*XDG_CACHE_HOME"):
        await host.job(["true"], "work").submit()


async def test_queue_of_another_version_is_refused(host: NobatchHost) -> None:
    job = host.job(["true"], "work")
    await job.submit()
    (host.state / "format").write_text("99")
    with pytest.raises(SubmitFailed, match="another version of pybatch_async"):
        await host.job(["true"], "other").submit()
    with pytest.raises(StateUnknown, match="another version of pybatch_async"):
        await job.state()


@pytest.mark.parametrize("name", ["partition", "queue", "mem_per_node", "mem_per_cpu", "constraint", "reservation"])
def test_fields_without_a_meaning_here_are_refused(host: NobatchHost, name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"nobatch.*{name}: "):
        host.job(["true"], "work", **{name: "x"})


def test_several_nodes_are_refused(host: NobatchHost) -> None:
    host.job(["true"], "work", nodes=1)
    with pytest.raises(ConfigurationError, match="nodes"):
        host.job(["true"], "work", nodes=2)


def test_local_takes_no_other_host() -> None:
    params = LaunchParameters(["true"], "work")
    assert create_job("local", params).plugin_name == "local"  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match="this machine"):
        create_job("local", params, AsyncsshProtocol(ConnectionParameters("elsewhere")))


async def test_state_directory_is_private(host: NobatchHost) -> None:
    job = host.job(["true"], "work")
    await job.submit()
    await job.wait()
    for path in (host.state, host.root / "cache" / "pybatch_async"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


async def test_manager_is_sent_again_when_somebody_cleared_the_cache(host: NobatchHost) -> None:
    job = host.job(["true"], "work")
    await job.submit()
    await job.wait()
    for path in sorted((host.root / "cache").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    again = host.job(["true"], "again")
    await again.submit()
    assert await again.wait() is JobState.FINISHED


async def test_keeper_ends_by_itself_and_leaves_no_environment_behind(host: NobatchHost) -> None:
    job = host.job(["true"], "work")
    await job.submit()
    await job.wait()
    await until(lambda: host.keeper() is None)
    assert not list(host.state.glob("environments/*")) and not list(host.state.glob("jobs/*"))
    assert await reload_job(job.dump()).state() is JobState.FINISHED


# Through ssh


@pytest.fixture
async def remote(sshd_bare: Sshd) -> AsyncIterator[AsyncsshProtocol]:
    """A host behind ssh."""
    async with AsyncsshProtocol(connection_to(sshd_bare)) as protocol:
        yield protocol


async def test_job_runs_on_the_far_side_of_ssh(remote: AsyncsshProtocol, tmp_path: Path) -> None:
    (tmp_path / "input é").write_text("content")
    params = LaunchParameters(
        ["sh", "-c", 'cat "input é"; pwd; exit 3'], "nobatch test/a b", input_files=[tmp_path / "input é"]
    )
    job = create_job("nobatch", params, remote)
    await job.submit()
    assert await job.wait() is JobState.FAILED
    assert await job.exit_code() == 3
    assert (await job.stdout()).startswith("content")
    await job.get(["logs"], tmp_path)
    assert (tmp_path / "logs" / "exit_code.log").read_text() == "3"


async def test_remote_job_goes_on_after_the_connection(remote: AsyncsshProtocol) -> None:
    job = create_job("nobatch", LaunchParameters(["sh", "-c", "sleep 0.5; echo late"], "nobatch_late"), remote)
    await job.submit()
    await remote.aclose()
    assert await job.wait() is JobState.FINISHED
    assert await job.stdout() == "late\n"


async def test_noisy_rc_file_changes_nothing(accounts: Accounts, remote: AsyncsshProtocol) -> None:
    await remote.create(".bashrc", "echo noise; echo more noise >&2\n")
    try:
        job = create_job("nobatch", LaunchParameters(["true"], "nobatch_noise"), remote)
        await job.submit()
        assert await job.wait() is JobState.FINISHED
    finally:
        await remote.run(["rm", ".bashrc"])


def test_one_queue_serves_both_plugins() -> None:
    assert NobatchQueue.plugins == {"nobatch", "local"}
