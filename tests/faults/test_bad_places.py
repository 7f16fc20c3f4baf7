# SPDX-License-Identifier: MIT
"""Hosts and work directories in a bad state: clear errors, and second submissions that do not trip over the first."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pybatch_async import JobState, SubmitFailed
from pybatch_async.plugins.slurm.job import Job
from pybatch_async.plugins.slurm.queue import SlurmQueue
from tests.conftest import MakeSshd
from tests.faults.harness import jobs_by_token, make_job, reach, report, runs
from tests.services.accounts import Account, Accounts
from tests.services.slurm import SlurmCluster
from tests.services.sshd import Sshd
from tests.services.workspace import Workspace
from tests.waiting import until


@pytest.fixture
def place(workspace: Workspace) -> Path:
    """A new directory that every user can reach."""
    return workspace.directory(f"places/{time.time_ns()}")


@pytest.fixture
def small_disk(place: Path, accounts: Accounts) -> Iterator[Path]:
    """A file system of 256 KiB that every user can write to."""
    with mounted(place, "size=256k"):
        yield place


@pytest.fixture
def few_files(place: Path, accounts: Accounts) -> Iterator[Path]:
    """A file system that holds 40 files, as a quota on files allows, and that every user can write to."""
    with mounted(place, "size=1m,nr_inodes=40"):
        yield place


@contextlib.contextmanager
def mounted(place: Path, limits: str) -> Iterator[None]:
    """Mount a file system with limits."""
    argv = ["mount", "-t", "tmpfs", "-o", f"{limits},mode=1777", "none", str(place)]
    if subprocess.run(argv, capture_output=True).returncode != 0:
        pytest.fail("a small file system can not be mounted here: that takes CAP_SYS_ADMIN")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextlib.contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Fill a file system to its last byte, or to its last file."""
    ballast = disk / "ballast"
    ballast.mkdir()
    with contextlib.suppress(OSError):
        for number in range(1000):
            (ballast / f"{number}").write_bytes(b"x" * 16)
    with contextlib.suppress(OSError), (ballast / "0").open("ab", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    yield
    shutil.rmtree(ballast)


async def refused(job: Job, cluster: SlurmCluster, *words: str) -> None:
    """Check that a submission fails with words that help, and leaves no job."""
    with pytest.raises(SubmitFailed) as caught:
        await job.submit()
    report("refused", caught.value)
    assert any(word in str(caught.value) for word in words), caught.value
    assert await job.state() is JobState.CREATED
    assert job.token not in await asyncio.to_thread(jobs_by_token, cluster, False)


async def works(job: Job) -> None:
    """Check that a job runs once."""
    await job.submit()
    assert await job.wait() is JobState.FINISHED
    assert runs(Path(job.directory)) == 1


async def test_a_full_work_directory_is_told_and_can_be_used_once_it_has_room(
    sshd: Sshd, slurm: SlurmCluster, small_disk: Path
) -> None:
    async with reach(sshd) as protocol:
        job = make_job(protocol, small_disk / "job")
        with filled(small_disk):
            await refused(job, slurm, "disk full", "No space left")
        await works(job)
        other = make_job(protocol, small_disk / "job")
        with filled(small_disk):
            await refused(other, slurm, "disk full", "No space left")
        await works(make_job(protocol, small_disk / "other"))


async def test_a_work_directory_that_may_hold_no_more_files_is_told(
    sshd: Sshd, slurm: SlurmCluster, few_files: Path
) -> None:
    async with reach(sshd) as protocol:
        job, other = make_job(protocol, few_files / "job"), make_job(protocol, few_files / "other")
        (few_files / "job").mkdir()
        os.chown(few_files / "job", sshd.uid, -1)
        with filled(few_files):
            await refused(job, slurm, "No space left", "quota")
            await refused(other, slurm, "No space left", "quota")
        await works(job)
        again = make_job(protocol, few_files / "job")
        with filled(few_files):
            await refused(again, slurm, "No space left", "quota")
        await asyncio.gather(works(other), works(make_job(protocol, few_files / "third")))


async def test_no_job_starts_on_input_files_that_did_not_fit(
    sshd: Sshd, slurm: SlurmCluster, small_disk: Path, tmp_path: Path
) -> None:
    big, small = tmp_path / "big.dat", tmp_path / "small.dat"
    big.write_bytes(os.urandom(300 * 1024))
    small.write_bytes(b"small")
    async with reach(sshd) as protocol:
        bad = make_job(protocol, small_disk / "bad", input_files=[str(big)])
        good = make_job(protocol, sshd.home / f"good-{time.time_ns()}", input_files=[str(small)])
        await asyncio.gather(refused(bad, slurm, "Wrote only", "No space left"), works(good))
        big.write_bytes(b"smaller")
        await works(bad)


async def test_a_full_temporary_directory_is_told(make_sshd: MakeSshd, slurm: SlurmCluster, small_disk: Path) -> None:
    server = make_sshd(environment={**slurm.environment(), "TMPDIR": str(small_disk)})
    async with reach(server) as protocol:
        job = make_job(protocol, server.home / f"no-room-{time.time_ns()}")
        with filled(small_disk):
            await refused(job, slurm, "no room", "No space left")
        await works(job)


async def test_an_unwritable_work_directory_is_told_and_can_be_used_once_it_is_writable(
    sshd: Sshd, slurm: SlurmCluster
) -> None:
    place = sshd.home / f"closed-{time.time_ns()}"
    place.mkdir()
    async with reach(sshd) as protocol:
        job, below = make_job(protocol, place), make_job(protocol, place / "below")
        await refused(job, slurm, "ermission denied", "can not be written")
        await refused(below, slurm, "ermission denied", "can not be created")
        os.chown(place, sshd.uid, -1)
        await asyncio.gather(works(job), works(below))


async def test_a_work_directory_deleted_under_its_job_does_not_hide_the_end(sshd: Sshd, slurm: SlurmCluster) -> None:
    async with reach(sshd) as protocol:
        places = [sshd.home / f"deleted-{code}-{time.time_ns()}" for code in (0, 4)]
        jobs = [make_job(protocol, place, f"sleep 2; exit {code}") for place, code in zip(places, (0, 4), strict=True)]
        await asyncio.gather(*(job.submit() for job in jobs))
        await until(lambda: all((place / "logs/output.log").exists() for place in places), "the jobs to start")
        for place in places:
            await asyncio.to_thread(shutil.rmtree, place)
        assert [await job.wait() for job in jobs] == [JobState.FINISHED, JobState.FAILED]
        assert [await job.exit_code() for job in jobs] == [0, 4]


@pytest.mark.parametrize("seconds", [86400, pytest.param(-86400, marks=pytest.mark.whole)])
async def test_a_host_whose_clock_is_a_day_off_tells_the_truth(
    make_sshd: MakeSshd, slurm: SlurmCluster, place: Path, seconds: int
) -> None:
    server = make_sshd(environment={**slurm.environment(), "PATH": f"{_off_by(place, seconds)}:/usr/bin:/bin"})
    async with reach(server) as protocol:
        await works(make_job(protocol, server.home / f"clock-{time.time_ns()}"))
        job = make_job(protocol, server.home / f"clock-{time.time_ns()}", "exit 3")
        await job.submit()
        assert await job.wait() is JobState.FAILED
        assert job.ticket is not None
        assert abs(job.ticket.submitted_at - time.time() - seconds) < 60
        async with asyncio.timeout(30):
            queue = SlurmQueue.of(protocol)
            while not await queue._accounting([job]):
                queue._accounting_asked = float("-inf")  # spare the test the pause between two questions
                await asyncio.sleep(0.2)


def _off_by(directory: Path, seconds: int) -> Path:
    """Make a `date` that is off by so many seconds."""
    script = directory / "date"
    script.write_text(
        '#!/bin/sh\n[ "$1" != +%s ] || [ $# != 1 ] || '
        f'{{ echo $(($(/usr/bin/date +%s) + {seconds})); exit; }}\nexec /usr/bin/date "$@"\n'
    )
    script.chmod(0o755)
    return directory


@pytest.mark.whole  # with all other tests, tests/integration/test_slurm.py holds this and the next one
@pytest.mark.parametrize("role", ["noisy", "failing", "slow"])
async def test_a_home_with_a_bad_rc_file_runs_jobs(
    make_sshd: MakeSshd, accounts: Accounts, slurm_without_accounting: SlurmCluster, role: str
) -> None:
    account: Account = getattr(accounts, role)()
    server = make_sshd(account, environment=slurm_without_accounting.environment())
    async with reach(server) as protocol:
        await works(make_job(protocol, account.home / f"rc-{time.time_ns()}"))


@pytest.mark.whole
async def test_sbatch_is_found_on_the_path_of_login_shells(
    make_sshd: MakeSshd, accounts: Accounts, slurm_without_accounting: SlurmCluster, place: Path
) -> None:
    account = accounts.create("pbpath")
    server = make_sshd(account, environment={**slurm_without_accounting.environment(), "PATH": _no_slurm(place)})
    async with reach(server) as protocol:
        job = make_job(protocol, account.home / "job")
        (account.home / ".bash_profile").write_text(f"PATH={_no_slurm(place)}\n")
        await refused(job, slurm_without_accounting, "There is no sbatch")
        (account.home / ".bash_profile").write_text("echo Welcome\nPATH=/usr/bin:/bin\n")
        await works(job)


def _no_slurm(directory: Path) -> str:
    """Make a directory that has all programs but Slurm's."""
    if not (directory / "cat").exists():
        for path in Path("/usr/bin").iterdir():
            if not path.name.startswith(("s", "S")) or path.name in ("sed", "sh", "sleep", "sort"):
                (directory / path.name).symlink_to(path)
    return str(directory)
