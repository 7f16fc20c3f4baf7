# SPDX-License-Identifier: MIT
"""The queue of a host without a batch manager, when processes die, pids come back and disks fill up."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import pybatch_async
from pybatch_async import JobState, SubmitFailed
from pybatch_async.plugins.nobatch import bundle
from pybatch_async.plugins.nobatch.job import NobatchJob
from pybatch_async.plugins.nobatch.records import described
from tests.conftest import or_left_out
from tests.services.nobatch_host import NobatchHost, comm, wait_gone
from tests.services.workspace import require_root
from tests.waiting import until

CLIENT = Path(__file__).with_name("nobatch_client.py")


@pytest.fixture
def boot_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that tells one run of this machine from the next."""
    path = tmp_path / "boot_id"
    path.write_text("first\n")
    monkeypatch.setenv("PYBATCH_ASYNC_BOOT_ID_FILE", str(path))
    return path


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boot_id: Path) -> Iterator[NobatchHost]:
    """This machine with an empty queue."""
    host = NobatchHost(tmp_path, monkeypatch)
    yield host
    host.close()


async def running(host: NobatchHost, command: list[str], directory: str = "work", **fields: object) -> NobatchJob:
    """Submit a job and return it once it runs."""
    job = host.job(command, directory, **fields)
    await job.submit()
    assert await job.state() is JobState.RUNNING
    return job


def restart(boot_id: Path) -> None:
    """Have the host look as if it had been restarted."""
    boot_id.write_text("second\n")


@pytest.fixture
def stranger() -> Iterator[int]:
    """Run a process that has nothing to do with the queue, and make sure that it survives."""
    process = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    with process:
        yield process.pid
        assert process.poll() is None
        process.kill()


def put_in_place(host: NobatchHost, job: NobatchJob, pid: int) -> None:
    """Have the record of a task name another process, with the start times of its own."""
    record = host.record(job)
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    for line in lines:
        line.update({key: [pid, line[key][1]] for key in ("by", "pid") if key in line})
    record.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def small_disk(host: NobatchHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep the queue on a disk that is full soon."""
    with or_left_out("small disk"):
        require_root()
    disk = host.root / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(disk)], check=True)
    monkeypatch.setenv("XDG_STATE_HOME", str(disk))
    host.state_home = disk
    yield disk
    host.close()
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Fill a disk to its last byte, and return the file that does."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
        while True:
            filler.write(bytes(512))
    return path


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        wait_gone(pid)


# The keeper


def other_version(root: Path) -> dict[str, str]:
    """Return the environment in which another version of the library is found, one with a manager of its own."""
    copy = shutil.copytree(Path(pybatch_async.__file__).parent, root / "other" / "pybatch_async")
    with (copy / "plugins/nobatch/host/store.py").open("a") as file:
        file.write("# This version differs.\n")
    return {**os.environ, "PYTHONPATH": str(root / "other")}


def client(host: NobatchHost, name: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, str(CLIENT), str(host.root), name, "250"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_jobs_of_two_clients_run_exactly_once_while_keepers_are_killed(host: NobatchHost) -> None:
    (host.root / "ran").mkdir()
    clients = [client(host, "left"), client(host, "right", other_version(host.root))]
    chance = random.Random(1)
    killed = 0
    while any(client.poll() is None for client in clients):
        time.sleep(chance.uniform(0.05, 0.5))
        killed += host.keeper() is not None
        host.kill_keeper()
    assert [client.communicate()[0].split() for client in clients] == [["250", "250"]] * 2
    lines = [path.read_text() for path in (host.root / "ran").iterdir()]
    assert lines == ["ran\n"] * 500
    assert killed > 5
    assert len(list((host.root / "cache" / "pybatch_async").glob("nobatch_*"))) == 2


def test_no_job_runs_twice_or_is_called_a_success_wrongly_while_shepherds_are_killed(host: NobatchHost) -> None:
    (host.root / "ran").mkdir()
    chance = random.Random(2)
    with client(host, "job") as process:
        while process.poll() is None:
            time.sleep(chance.uniform(0.05, 0.3))
            for pid in host.own_processes()[: chance.randint(1, 2)][-1:]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        finished, zeros = process.communicate()[0].split()
    lines = [path.read_text() for path in (host.root / "ran").iterdir()]
    assert set(lines) == {"ran\n"}
    assert finished == zeros and 200 < int(finished) <= len(lines)


async def test_exit_code_is_recorded_without_a_keeper(host: NobatchHost) -> None:
    job = await running(host, ["sh", "-c", "while [ ! -e go ]; do sleep 0.02; done; exit 7"])
    host.kill_keeper()
    (host.root / "work" / "go").touch()
    await until((host.root / "work/logs/exit_code.log").exists)
    assert await job.wait() is JobState.FAILED
    assert await job.exit_code() == 7


async def test_wall_time_holds_without_a_keeper(host: NobatchHost) -> None:
    job = await running(host, ["sleep", "100"], wall_time="0:01")
    host.kill_keeper()
    await until((host.root / "work/logs/exit_code.log").exists)
    assert (host.root / "work/logs/exit_code.log").read_text() == "-15"
    assert await job.wait() is JobState.FAILED
    assert (await job.info()).scheduler_state == "TIMEOUT"


async def test_next_call_starts_what_waits(host: NobatchHost) -> None:
    host.queue(slots=1)
    first = await running(host, ["sh", "-c", "while [ ! -e go ]; do sleep 0.02; done"], "first")
    second = host.job(["true"], "second")
    await second.submit()
    host.kill_keeper()
    (host.root / "first" / "go").touch()
    assert [await job.wait() for job in (first, second)] == [JobState.FINISHED] * 2


async def test_queue_goes_on_without_any_call(host: NobatchHost) -> None:
    host.queue(slots=1)
    await running(host, ["sh", "-c", "while [ ! -e go ]; do sleep 0.02; done"], "first")
    second = host.job(["touch", "done"], "second")
    await second.submit()
    host.kill_keeper()
    (host.root / "first" / "go").touch()
    await until((host.root / "second" / "done").exists)


async def test_job_of_an_earlier_keeper_is_cancelled(host: NobatchHost) -> None:
    job = await running(host, ["sleep", "100"])
    host.kill_keeper()
    await job.cancel()
    assert await job.wait() is JobState.FAILED
    assert await job.exit_code() == signal.SIGTERM


async def test_slots_hold_across_keepers(host: NobatchHost) -> None:
    host.queue(slots=1)
    first = await running(host, ["sleep", "100"], "first")
    host.kill_keeper()
    second = host.job(["true"], "second")
    await second.submit()
    assert await second.state() is JobState.QUEUED
    await first.cancel()
    assert await second.wait() is JobState.FINISHED


# Shepherds


async def test_job_whose_shepherd_was_killed_goes_on_and_is_no_success(host: NobatchHost) -> None:
    job = await running(host, ["sh", "-c", "while [ ! -e go ]; do sleep 0.02; done"])
    shepherd, command = host.processes(job)
    kill(shepherd)
    assert await job.state() is JobState.RUNNING
    assert comm(command) == "sh"
    (host.root / "work" / "go").touch()
    assert await job.wait() is JobState.FAILED
    assert await job.exit_code() is None
    assert "watched it was killed" in (await job.info()).reason


@pytest.mark.parametrize("with_keeper", [True, False])
async def test_job_whose_shepherd_was_killed_can_be_cancelled(host: NobatchHost, with_keeper: bool) -> None:
    job = await running(host, ["sleep", "100"])
    shepherd, command = host.processes(job)
    kill(shepherd)
    if not with_keeper:
        host.kill_keeper()
    await job.cancel()
    assert await job.wait() is JobState.FAILED
    assert (await job.info()).scheduler_state == "CANCELLED"
    wait_gone(command)


async def test_wall_time_holds_without_a_shepherd(host: NobatchHost) -> None:
    job = await running(host, ["sleep", "100"], wall_time="0:01")
    kill(host.processes(job)[0])
    assert await job.wait() is JobState.FAILED
    assert (await job.info()).scheduler_state == "TIMEOUT"


async def test_all_processes_of_the_queue_killed_leave_the_job_running(host: NobatchHost) -> None:
    host.queue(slots=1)
    job = await running(host, ["sh", "-c", "while [ ! -e go ]; do sleep 0.02; done"])
    second = host.job(["true"], "second")
    await second.submit()
    shepherd, _ = host.processes(job)
    host.kill_keeper()
    kill(shepherd)
    assert await second.state() is JobState.QUEUED
    (host.root / "work" / "go").touch()
    assert [await each.wait() for each in (job, second)] == [JobState.FAILED, JobState.FINISHED]


async def test_shepherd_killed_while_it_started_the_command_is_found_out(host: NobatchHost) -> None:
    host.queue(slots=0)
    found = await running(host, ["sh", "-c", "while [ ! -e go ]; do sleep 0.02; done"], "found")
    lost = await running(host, ["sleep", "100"], "lost")
    host.kill_keeper()
    for job in (found, lost):
        shepherd, command = host.processes(job)
        kill(shepherd, *([command] if job is lost else []))
        record = host.record(job)
        record.write_text(record.read_text().splitlines()[0] + "\n")  # as it was before the command's pid was known
    assert await lost.wait() is JobState.FAILED
    assert await found.state() is JobState.RUNNING
    await found.cancel()
    assert await found.wait() is JobState.FAILED


# Identity


async def test_restart_of_the_host_fails_what_ran_and_keeps_what_waited(host: NobatchHost, boot_id: Path) -> None:
    host.queue(slots=1)
    first = await running(host, ["sleep", "100"], "first")
    second = host.job(["true"], "second")
    await second.submit()
    host.kill_keeper()
    kill(*host.processes(first))
    restart(boot_id)
    assert await first.wait() is JobState.FAILED
    info = await first.info()
    assert info.scheduler_state == "NODE_FAIL" and "restarted" in info.reason and info.exit_code is None
    assert await second.wait() is JobState.FINISHED


async def test_recycled_pids_are_nobodys_job(host: NobatchHost, stranger: int) -> None:
    job = await running(host, ["sleep", "100"])
    host.kill_keeper()
    kill(*host.processes(job))
    put_in_place(host, job, stranger)
    await job.cancel()
    assert await job.wait() is JobState.FAILED


# Submissions


async def test_submission_that_is_repeated_is_adopted(host: NobatchHost) -> None:
    job = host.job(["sh", "-c", "echo ran >>../ran"], "work")
    queue = host.queue()
    tickets = [await queue.submit_many([job]) for _ in range(3)]
    assert tickets[0] == tickets[1] == tickets[2]
    await job.submit()
    await job.wait()
    assert tickets[0] == await queue.submit_many([job])
    assert (host.root / "ran").read_text() == "ran\n"


async def test_revoked_submission_never_starts(host: NobatchHost) -> None:
    job = host.job(["touch", "ran"], "work")
    queue = host.queue()
    assert await queue.locate(job, revoke=False) is None
    assert await queue.locate(job, revoke=True) is None
    answer = (await queue.submit_many([job]))[0]
    assert isinstance(answer, SubmitFailed) and "cancelled" in str(answer)
    assert await queue.locate(job, revoke=False) is None


async def test_submission_that_is_cut_starts_nothing(host: NobatchHost) -> None:
    queue = host.queue()
    job = host.job(["touch", "ran"], "work")
    request = {"slots": None, "jobs": [described(job, 5.0)], "copies": []}
    cut = b"%d\n%s%s\n" % (len(bundle.source()), bundle.source(), json.dumps(request).encode())
    output = await queue.run(bundle.command(sys.executable, "mark", "submit"), input=cut)
    assert "did not arrive whole" in output
    assert await queue.locate(job, revoke=False) is None


# Disks


async def test_full_disk_is_told_and_loses_no_exit_code(host: NobatchHost, small_disk: Path) -> None:
    job = await running(host, ["sh", "-c", "while [ ! -e go ]; do sleep 0.02; done; exit 6"])
    filler = fill(small_disk)
    (host.root / "work" / "go").touch()
    await until((host.root / "work/logs/exit_code.log").exists)
    with pytest.raises(SubmitFailed, match="No space left.*make room"):
        await host.job(["true"], "other").submit()
    assert await job.wait() is JobState.FAILED
    assert await job.exit_code() == 6
    filler.unlink()
    again = host.job(["true"], "other")
    await again.submit()
    assert await again.wait() is JobState.FINISHED
