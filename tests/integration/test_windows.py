# SPDX-License-Identifier: MIT
"""Jobs of a host that passes for Windows, through real ssh: see tests/services/windows for what that means."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from pybatch_async import (
    AsyncsshProtocol,
    JobState,
    PathMissing,
    SshProtocol,
    SubmitFailed,
    TransferFailed,
    create_job,
    reload_job,
)
from pybatch_async.plugins.nobatch.windows.job import WindowsJob
from pybatch_async.plugins.nobatch.windows.queue import WindowsQueue
from pybatch_async.plugins.poller import Polling
from tests.conftest import MakeSshd
from tests.services.accounts import Accounts
from tests.services.connection import connection_to
from tests.services.nobatch_host import comm
from tests.services.windows.host import WindowsHost

Protocol = AsyncsshProtocol | SshProtocol


@pytest.fixture
def host(
    accounts: Accounts, make_sshd: MakeSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WindowsHost]:
    """A host that passes for Windows, with an empty queue."""
    monkeypatch.setattr(WindowsQueue, "polling", Polling(shortest=0.05, longest=0.3, share=1.0))
    host = WindowsHost(accounts.plain(), f"windows {tmp_path.name}".replace(" ", "-"))
    host.prepare()
    host.server = make_sshd(account=host.account, environment=host.environment)
    yield host
    host.close()


@pytest.fixture
async def remote(host: WindowsHost) -> AsyncIterator[AsyncsshProtocol]:
    """The way to it."""
    async with AsyncsshProtocol(connection_to(host.server)) as protocol:
        yield protocol


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something that shows from outside only."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", [AsyncsshProtocol, SshProtocol])
async def test_job_is_run_and_its_files_come_back(host: WindowsHost, kind: type[Protocol], tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("carried there")
    async with kind(connection_to(host.server)) as protocol:
        command = ["sh", "-c", "cat own.txt; echo err >&2; mkdir out; cp own.txt out/result.txt; exit 3"]
        job = host.job(protocol, command, "work", input_files=[own])
        await job.submit()
        assert await job.wait() is JobState.FAILED
        assert await job.exit_code() == 3
        assert (await job.stdout(), await job.stderr()) == ("carried there", "err\n")
        await job.get(["out", "logs\\output.log"], tmp_path)
        assert (tmp_path / "out" / "result.txt").read_text() == "carried there"
        assert (tmp_path / "output.log").read_text() == "carried there"
        assert (host.root / "work/logs/exit_code.log").read_text() == "3"
        info = await job.info()
        assert info.submit_time and info.start_time and info.end_time and info.nodes


async def test_missing_file_is_named(host: WindowsHost, remote: AsyncsshProtocol, tmp_path: Path) -> None:
    job = host.job(remote, ["true"], "work")
    await job.submit()
    await job.wait()
    with pytest.raises(PathMissing, match="work/nothing.txt"):
        await job.get(["logs", "nothing.txt"], tmp_path)
    assert not os.listdir(tmp_path)


async def test_directory_that_can_not_be_read_leaves_nothing_behind(
    host: WindowsHost, remote: AsyncsshProtocol, tmp_path: Path
) -> None:
    job = host.job(remote, ["sh", "-c", "mkdir -m 0 closed"], "work")
    await job.submit()
    await job.wait()
    with pytest.raises(TransferFailed, match="Permission denied.*Nothing was copied"):
        await job.get(["logs", "closed"], tmp_path)
    assert not os.listdir(tmp_path)


async def test_missing_python_is_named(host: WindowsHost, remote: AsyncsshProtocol) -> None:
    job = host.job(remote, ["true"], "work")
    job.params.python_exe = "no-such-python"
    with pytest.raises(SubmitFailed, match="'no-such-python' can not be run.*python_exe"):
        await job.submit()
    assert not (host.root / "work").exists()


async def test_odd_arguments_arrive_unchanged(host: WindowsHost, remote: AsyncsshProtocol) -> None:
    words = ["", "a b", '"', '\\"', "c:\\x\\", "c:\\x y\\", "%PATH%", "^&|<>()!", "é漢", "new\nline", "'$(x)`"]
    job = host.job(remote, ["sh", "-c", 'printf "%s\\0" "$@" >args', "sh", *words], "work")
    await job.submit()
    assert await job.wait() is JobState.FINISHED
    assert (host.root / "work/args").read_bytes() == b"".join(word.encode() + b"\0" for word in words)


async def test_job_runs_when_submit_returns_and_is_cancelled_with_its_children(
    host: WindowsHost, remote: AsyncsshProtocol
) -> None:
    job = host.job(remote, ["sh", "-c", "sleep 1000 & echo $! >child; wait"], "work")
    await job.submit()
    assert await job.state() is JobState.RUNNING
    child = host.root / "work/child"
    await until(lambda: child.exists() and child.read_text() != "")
    await job.cancel()
    assert await job.wait() is JobState.FAILED
    assert (await job.info()).scheduler_state == "CANCELLED"
    assert not comm(int(child.read_text()))


async def test_wall_time_ends_what_does_not_hear(host: WindowsHost, remote: AsyncsshProtocol) -> None:
    host.queue(remote, grace=0.3)
    job = host.job(remote, ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"], "work", wall_time="0:1")
    await job.submit()
    assert await job.wait() is JobState.FAILED
    assert (await job.info()).scheduler_state == "TIMEOUT"
    assert await job.exit_code() == 1


async def test_array_runs_in_its_slots_with_logs_and_codes_of_its_tasks(
    host: WindowsHost, remote: AsyncsshProtocol
) -> None:
    script = 'mkdir one && sleep 0.1 && rmdir one && echo "task $1"; exit "$1"'
    host.queue(remote, slots=1)
    job = host.job(remote, ["sh", "-c", script, "sh"], "work", total_jobs=3)
    await job.submit()
    assert await job.wait() is JobState.FAILED
    assert [await task.exit_code() for task in job.tasks] == [0, 1, 2]
    assert await job.stdout() == "task 0\ntask 1\ntask 2\n"
    assert await job.tasks[2].stdout() == "task 2\n"
    assert await job.stderr() == ""


async def test_queue_goes_on_without_a_client_and_after_its_keeper_is_killed(
    host: WindowsHost, remote: AsyncsshProtocol
) -> None:
    host.queue(remote, slots=1)
    first, second = (host.job(remote, ["sh", "-c", "sleep 0.5; echo >>ran"], name) for name in ("first", "second"))
    await asyncio.gather(first.submit(), second.submit())
    keeper = host.keeper()
    assert keeper is not None
    os.kill(keeper, signal.SIGKILL)
    await until((host.root / "second/ran").exists)
    assert await second.wait() is JobState.FINISHED
    assert await first.wait() is JobState.FINISHED
    assert (host.root / "first/ran").read_text() == "\n"


async def test_each_job_runs_once_while_keepers_are_killed(host: WindowsHost, remote: AsyncsshProtocol) -> None:
    async with AsyncsshProtocol(connection_to(host.server)) as other:
        host.queue(remote, slots=4)
        jobs = [
            host.job(protocol, ["sh", "-c", "echo >>ran"], f"{number}")
            for number, protocol in enumerate([remote, other] * 15)
        ]
        ends = asyncio.gather(*(submitted(job) for job in jobs))
        while not ends.done():
            await asyncio.sleep(0.3)
            if (keeper := host.keeper()) is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(keeper, signal.SIGKILL)
        assert await ends == [JobState.FINISHED] * len(jobs)
        assert {(host.root / str(number) / "ran").read_text() for number in range(len(jobs))} == {"\n"}


async def submitted(job: WindowsJob) -> JobState:
    """Submit a job and wait for its end."""
    await job.submit()
    return await job.wait()


async def test_killed_shepherd_takes_its_command_along_and_the_job_failed(
    host: WindowsHost, remote: AsyncsshProtocol
) -> None:
    job = host.job(remote, ["sleep", "1000"], "work")
    await job.submit()
    shepherd, command = host.processes(job)
    os.kill(shepherd, signal.SIGKILL)
    assert await job.wait() is JobState.FAILED
    assert "was killed" in (await job.info()).reason
    await until(lambda: not comm(command))


async def test_setup_and_teardown_stand_around_the_command(host: WindowsHost, remote: AsyncsshProtocol) -> None:
    job = host.job(
        remote,
        ["sh", "-c", 'echo "$WORD $1"; exit 5', "sh", 'it"s %PATH% &'],
        "work",
        setup=['set "WORD=set"'],
        teardown=["echo down %WORD%"],
    )
    await job.submit()
    assert await job.wait() is JobState.FAILED
    assert (await job.stdout(), await job.exit_code()) == ('set it"s %PATH% &\ndown set\n', 5)
    assert not list((host.state / "tmp").iterdir())


async def test_command_that_is_not_there_ends_with_127(host: WindowsHost, remote: AsyncsshProtocol) -> None:
    job = host.job(remote, ["no such command"], "work")
    await job.submit()
    assert await job.wait() is JobState.FAILED
    assert await job.exit_code() == 127
    assert "can not run no such command" in await job.stderr()


async def test_environment_and_nodefile_reach_the_command(host: WindowsHost, remote: AsyncsshProtocol) -> None:
    command = ["sh", "-c", 'echo "$WORD"; cat "$LIBBATCH_NODEFILE" | wc -l']
    job = host.job(remote, command, "work", environment={"Word": "a  b"}, create_nodefile=True, ntasks=2)
    await job.submit()
    assert await job.wait() is JobState.FINISHED
    assert await job.stdout() == "a  b\n2\n"


async def test_output_is_followed(host: WindowsHost, remote: AsyncsshProtocol) -> None:
    job = host.job(remote, ["sh", "-c", "echo one; sleep 0.7; echo two"], "work")
    await job.submit()
    seen = [text async for text in job.follow()]
    assert "".join(seen) == "one\ntwo\n"
    assert len(seen) > 1


async def test_job_is_submitted_once_and_found_again(host: WindowsHost, remote: AsyncsshProtocol) -> None:
    job = host.job(remote, ["sh", "-c", "echo ran >>ran"], "work")
    unsubmitted = job.dump()
    await job.submit()
    again = reload_job(unsubmitted, remote)
    assert isinstance(again, WindowsJob)
    await again.submit()
    assert again.job_id == job.job_id
    await again.wait()
    assert (host.root / "work/ran").read_text() == "ran\n"


async def test_shared_input_crosses_once_and_reaches_each_job(
    host: WindowsHost, remote: AsyncsshProtocol, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/file").write_text("shared")
    jobs = [host.job(remote, ["cat", "tree/sub/file"], f"work{number}", input_files=[tree]) for number in range(3)]
    await asyncio.gather(*(job.submit() for job in jobs))
    await asyncio.gather(*(job.wait() for job in jobs))
    assert [await job.stdout() for job in jobs] == ["shared"] * 3


async def test_input_that_windows_can_not_name_fails_its_job_alone(
    host: WindowsHost, remote: AsyncsshProtocol, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "aux.txt").write_text("a device")
    bad, good = host.job(remote, ["true"], "bad", input_files=[tree]), host.job(remote, ["true"], "good")
    answers = await asyncio.gather(bad.submit(), good.submit(), return_exceptions=True)
    assert isinstance(answers[0], SubmitFailed) and "aux.txt" in str(answers[0])
    assert await good.wait() is JobState.FINISHED


async def test_job_waits_for_those_it_depends_on(host: WindowsHost, remote: AsyncsshProtocol) -> None:
    first = host.job(remote, ["sh", "-c", "sleep 0.3; exit 1"], "first")
    await first.submit()
    then = host.job(remote, ["true"], "then", dependencies=[f"afternotok:{first.job_id}"])
    never = host.job(remote, ["true"], "never", dependencies=[first])
    await asyncio.gather(then.submit(), never.submit())
    assert await then.state() is JobState.QUEUED
    assert await then.wait() is JobState.FINISHED
    assert await never.wait() is JobState.FAILED


async def test_plugin_makes_windows_jobs(remote: AsyncsshProtocol, host: WindowsHost) -> None:
    job = create_job("nobatch", host.job(remote, ["true"], "work").params, remote)
    await job.submit()
    assert await job.wait() is JobState.FINISHED
