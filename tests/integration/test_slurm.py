# SPDX-License-Identifier: MIT
"""What only Slurm brings: dependencies, split arrays, requeues, forgetful clusters, limits, odd logins."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import pybatch_async as pb
from pybatch_async.plugins.poller import Polling
from pybatch_async.plugins.slurm.queue import SlurmQueue
from tests.conftest import MakeSlurm, MakeSshd
from tests.services.accounts import Account, Accounts
from tests.services.connection import connection_to
from tests.services.slurm import ACCOUNT, QOS, QOS_LIMITED, WCKEY, SlurmCluster
from tests.services.slurm_config import SlurmOptions
from tests.services.sshd import Sshd
from tests.waiting import until

OFTEN = Polling(shortest=0.1, longest=0.3, share=1.0)
ODD_NAMES = ["two words", 'say "hi"', "it's", "a#b", "back\\slash", "$HOME `id`", "a|b", "é漢", "-n", "--wrap=x", "%j"]


class FrontEnd:
    """Make jobs of a cluster, through its front-end."""

    def __init__(self, server: Sshd) -> None:
        self.server = server
        self.protocol = pb.AsyncsshProtocol(connection_to(server))

    async def __aenter__(self) -> FrontEnd:
        await self.protocol.__aenter__()
        SlurmQueue.of(self.protocol).polling = OFTEN
        return self

    async def __aexit__(self, *reason: Any) -> None:
        await self.protocol.__aexit__(*reason)

    def job(self, *command: str, work: str = "", **fields: Any) -> pb.GenericJob:
        directory = work or f"jobs/{uuid.uuid4().hex}"
        return pb.create_job("slurm", pb.LaunchParameters(list(command), directory, **fields), self.protocol)

    async def submitted(self, *command: str, **fields: Any) -> pb.GenericJob:
        job = self.job(*command, **fields)
        await job.submit()
        return job

    def path(self, job: pb.GenericJob) -> Path:
        """Return the work directory as the tests see it."""
        return self.server.home / job.params.work_directory


@pytest.fixture
async def cluster(sshd: Sshd) -> AsyncIterator[FrontEnd]:
    """The cluster with accounting."""
    async with FrontEnd(sshd) as front:
        yield front


@pytest.fixture
async def forgetful(sshd_without_accounting: Sshd) -> AsyncIterator[FrontEnd]:
    """The cluster without accounting, which forgets jobs two seconds after their end."""
    async with FrontEnd(sshd_without_accounting) as front:
        yield front


def script(text: str) -> list[str]:
    return ["sh", "-c", text, "sh"]


async def is_forgotten(slurm: SlurmCluster, *jobs: pb.GenericJob) -> None:
    """Wait until the controller remembers none of the jobs."""
    ids = {job.job_id for job in jobs}
    await until(lambda: not ids & set(slurm.command("squeue", "-ht", "all", "-o", "%i").split()), "Slurm to forget")


# Dependencies


async def test_a_job_starts_after_those_it_depends_on(cluster: FrontEnd) -> None:
    log = cluster.server.home / f"{uuid.uuid4().hex}.log"
    first = cluster.job(*script(f"sleep 1; echo first >> {log}"))
    second = cluster.job(*script(f"echo second >> {log}"), dependencies=[first])
    third = cluster.job(*script(f"echo third >> {log}"), dependencies=[second, first])
    for job in (first, second, third):
        await job.submit()
    last = await cluster.submitted(
        *script(f"echo last >> {log}"), dependencies=[f"afterany:{third.job_id}", first.job_id]
    )
    assert await pb.wait_all([last, first, second, third]) == ["FINISHED"] * 4
    assert log.read_text().split() == ["first", "second", "third", "last"]
    late = await cluster.submitted("true", dependencies=[first])
    assert await late.wait() == "FINISHED"


async def test_a_failure_fails_those_that_depend_on_it(cluster: FrontEnd) -> None:
    first = await cluster.submitted(*script("sleep 1; exit 3"))
    second = await cluster.submitted("true", dependencies=[first])
    third = await cluster.submitted("true", dependencies=[second])
    always = await cluster.submitted("true", dependencies=[f"afterany:{first.job_id}"])
    assert await pb.wait_all([first, second, third, always]) == ["FAILED", "FAILED", "FAILED", "FINISHED"]
    assert (await second.exit_code(), (await third.info()).scheduler_state) == (None, "CANCELLED")


async def test_a_job_that_depends_on_an_unsubmitted_one_is_refused(cluster: FrontEnd) -> None:
    good, bad = cluster.job("true"), cluster.job("true", dependencies=[cluster.job("true")])
    outcomes = await pb.submit_all([bad, good])
    assert isinstance(outcomes[0], pb.ConfigurationError) and "dependencies" in str(outcomes[0])
    assert outcomes[1] is None
    assert (await bad.state(), await good.wait()) == ("CREATED", "FINISHED")


# Arrays that the site makes us split


async def test_an_array_longer_than_the_site_allows_is_one_job(make_slurm: MakeSlurm, make_sshd: MakeSshd) -> None:
    slurm = make_slurm(SlurmOptions(name="small", accounting=False, max_array_size=11))
    async with FrontEnd(make_sshd(environment=slurm.environment())) as front:
        jobs = [
            front.job(*script("echo $1; exit $(($1 / 23))"), total_jobs=25, max_simul_jobs=limit) for limit in (0, 6)
        ]
        assert await pb.submit_all(jobs) == [None, None]
        assert await pb.wait_all(jobs) == ["FAILED", "FAILED"]
        for job in jobs:
            assert await job.stdout() == "".join(f"{index}\n" for index in range(25))
            assert [await task.exit_code() for task in job.tasks] == [0] * 23 + [1, 1]
            assert (await job.tasks[17].stdout(), await job.exit_code()) == ("17\n", 1)
            assert len(json.loads(job.dump())["ticket"]["job_ids"]) == 3
            twin = pb.reload_job(job.dump(), front.protocol)
            assert (await twin.tasks[24].state(), await twin.tasks[9].state()) == ("FAILED", "FINISHED")


async def test_a_split_array_is_cancelled_whole(make_slurm: MakeSlurm, make_sshd: MakeSshd) -> None:
    slurm = make_slurm(SlurmOptions(name="tiny", accounting=False, max_array_size=4))
    async with FrontEnd(make_sshd(environment=slurm.environment())) as front:
        job = await front.submitted("sh", "-c", "sleep 600", "sh", total_jobs=6)
        await job.tasks[5].cancel()
        assert await job.tasks[5].wait() == "FAILED"
        assert await job.state() in ("QUEUED", "RUNNING")
        await job.cancel()
        assert await job.wait() == "FAILED"
        assert slurm.command("squeue", "-h", "-o", "%i") == ""


# What happens to jobs


async def test_a_requeued_job_is_followed_to_its_last_run(cluster: FrontEnd, slurm: SlurmCluster) -> None:
    again = script("if [ -e ran ]; then echo again; else touch ran; sleep 600; fi")
    job = await cluster.submitted(*again, extra_as_list=["--nodelist=n1"])
    wait = asyncio.create_task(job.wait())
    await until(lambda: (cluster.path(job) / "ran").exists(), "the first run")
    await asyncio.to_thread(slurm.command, "scontrol", "requeue", job.job_id)
    await asyncio.sleep(0.5)
    assert await job.state() in ("QUEUED", "RUNNING")
    await until(lambda: "Restarts=1" in slurm.command("scontrol", "show", "job", job.job_id), "the requeue")
    # On another node, since the first run may still be cleared away on this one; and now, not two minutes later.
    update = ["scontrol", "update", f"jobid={job.job_id}", "reqnodelist=n2", "starttime=now"]
    await asyncio.to_thread(slurm.command, *update)
    assert await wait == "FINISHED"
    assert (await job.exit_code(), (await job.info()).restarts, await job.stdout()) == (0, 1, "again\n")


async def test_a_held_job_waits_and_a_suspended_one_is_paused(cluster: FrontEnd, slurm: SlurmCluster) -> None:
    held = await cluster.submitted("true", extra_as_list=["--hold"])
    job = await cluster.submitted("sleep", "600")
    await until(lambda: "RUNNING" in slurm.command("squeue", "-hj", job.job_id, "-o", "%T"), "the job to run")
    await asyncio.to_thread(slurm.command, "scontrol", "suspend", job.job_id)
    await asyncio.sleep(0.2)
    assert await job.state() == "PAUSED"
    assert (await held.state(), (await held.info()).reason) == ("QUEUED", "JobHeldUser")
    await asyncio.to_thread(slurm.command, "scontrol", "resume", job.job_id)
    await asyncio.gather(job.cancel(), held.cancel())
    assert await pb.wait_all([job, held]) == ["FAILED", "FAILED"]
    assert await job.exit_code() in (9, 15)  # Slurm may kill what can not hear a TERM
    assert await held.exit_code() is None


async def test_a_recycled_id_is_not_mistaken(cluster: FrontEnd) -> None:
    ours, other = await cluster.submitted(*script("exit 5")), await cluster.submitted("sleep", "600")
    assert await ours.wait() == "FAILED"
    data = json.loads(ours.dump())
    data["ticket"]["job_ids"] = [other.job_id]  # as if Slurm had given our id to another job since
    twin = pb.reload_job(json.dumps(data), cluster.protocol)
    assert (await twin.state(), await twin.exit_code()) == ("FAILED", 5)
    assert await other.state() in ("QUEUED", "RUNNING")
    await other.cancel()


# What sbatch left open


async def left_open(cluster: FrontEnd, job: pb.GenericJob) -> pb.GenericJob:
    """Return the job as it was before its submission, of which sbatch did not say whether it made it."""
    data = json.loads(job.dump())
    records = f"{job.params.work_directory}/.pybatch_async"
    said = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
    await cluster.protocol.run(["mkdir", "-p", records])
    await cluster.protocol.create(f"{records}/{data['token']}", f"begin 1 front1 1700000000\n{said}\nrc 1\n")
    SlurmQueue.of(cluster.protocol).settling = 1.0
    return pb.reload_job(json.dumps(data | {"ticket": None}), cluster.protocol)


async def test_a_job_that_sbatch_left_open_and_made_can_be_cancelled(cluster: FrontEnd) -> None:
    made = await cluster.submitted("true", partition="down")
    job = await left_open(cluster, made)
    assert await job.state() == "QUEUED"
    twin = await left_open(cluster, made)
    await twin.cancel()
    assert twin.job_id == made.job_id
    assert await made.wait() == "FAILED"


async def test_a_job_that_sbatch_left_open_and_did_not_make_can_be_cancelled(cluster: FrontEnd) -> None:
    job = await left_open(cluster, cluster.job("true"))
    late = pb.reload_job(job.dump(), cluster.protocol)
    with pytest.raises(pb.StateUnknown, match="submit or cancel it"):
        await job.state()
    await job.cancel()
    assert await job.state() == "CREATED"
    with pytest.raises(pb.SubmitFailed, match="cancelled"):  # whoever still holds the old token comes too late
        await late.submit()


# A cluster that keeps no accounts and forgets soon


async def test_without_accounting_the_job_s_own_record_tells_its_end(
    forgetful: FrontEnd, slurm_without_accounting: SlurmCluster
) -> None:
    jobs = [forgetful.job(*script(text)) for text in ("true", "exit 3", "kill -9 $$")]
    array = forgetful.job(*script("exit $1"), total_jobs=3)
    assert await pb.submit_all([*jobs, array]) == [None] * 4
    dumps = [job.dump() for job in (*jobs, array)]
    assert await pb.wait_all([*jobs, array]) == ["FINISHED", "FAILED", "FAILED", "FAILED"]
    await is_forgotten(slurm_without_accounting, *jobs, array)
    late = [pb.reload_job(text, forgetful.protocol) for text in dumps]
    assert await pb.wait_all(late) == ["FINISHED", "FAILED", "FAILED", "FAILED"]
    assert [await job.exit_code() for job in late] == [0, 3, 9, 1]
    assert [await task.exit_code() for task in late[3].tasks] == [0, 1, 2]


async def test_without_accounting_a_cancelled_job_is_told_from_a_lost_one(
    forgetful: FrontEnd, slurm_without_accounting: SlurmCluster
) -> None:
    waiting = await forgetful.submitted("true", partition="down")
    lost = await forgetful.submitted(*script("kill -9 $PPID; sleep 600"))  # the batch script can record nothing then
    await waiting.cancel()
    await is_forgotten(slurm_without_accounting, waiting, lost)
    assert await waiting.wait() == "FAILED"
    SlurmQueue.of(forgetful.protocol).polling = Polling(shortest=0.1, longest=0.3, share=1.0, grace=1.0)
    with pytest.raises(pb.JobLost, match=lost.job_id):
        await pb.reload_job(lost.dump(), forgetful.protocol).wait()


# Refusals


async def test_a_submit_limit_is_transient(cluster: FrontEnd) -> None:
    waiting = [cluster.job("true", queue=QOS_LIMITED, partition="down") for _ in range(3)]
    outcomes = await pb.submit_all(waiting)
    (refused,) = [outcome for outcome in outcomes if outcome]
    assert isinstance(refused, pb.SubmitFailed) and refused.transient
    assert "QOSMaxSubmitJobPerUserLimit" in str(refused)
    back = waiting[outcomes.index(refused)]
    assert await back.state() == "CREATED"
    await asyncio.gather(*(job.cancel() for job in waiting))
    await pb.wait_all(waiting)
    await back.submit()
    assert await back.state() == "QUEUED"
    await back.cancel()


async def test_a_refusal_is_told_in_slurm_s_own_words_and_can_be_mended(cluster: FrontEnd) -> None:
    bad, good = cluster.job("true", partition="nowhere"), cluster.job("true")
    refusal, nothing = await pb.submit_all([bad, good])
    assert isinstance(refusal, pb.SubmitFailed) and not refusal.transient and nothing is None
    assert re.search(r"127\.0\.0\.1.*invalid partition specified: nowhere", str(refusal))
    bad.params.partition = "main"
    await bad.submit()
    assert await pb.wait_all([bad, good]) == ["FINISHED", "FINISHED"]


@pytest.mark.parametrize(
    ("option", "words"),
    [("--nope", "unrecognized option '--nope'"), ("--mem=much", "Invalid --mem"), ("--nodes=x", "is not a valid")],
)
async def test_a_misspelt_option_is_refused_at_once_and_can_be_mended(
    cluster: FrontEnd, option: str, words: str
) -> None:
    job = cluster.job("true", extra_as_list=[option])
    with pytest.raises(pb.SubmitFailed, match=words):
        async with asyncio.timeout(10):
            await job.submit()
    assert await job.state() == "CREATED"
    job.params.extra_as_list = []
    await job.submit()
    assert await job.wait() == "FINISHED"


@pytest.mark.parametrize("work", ["/root/nowhere/below", "/proc/nowhere", "~/a file/below"])
async def test_a_work_directory_that_can_not_be_made_is_named(cluster: FrontEnd, work: str) -> None:
    await asyncio.to_thread((cluster.server.home / "a file").touch)
    job = cluster.job("true", work=work)
    with pytest.raises(pb.SubmitFailed, match=f"work directory .*{work.removeprefix('~/')}") as caught:
        await job.submit()
    assert re.search("Permission denied|No such file|Not a directory|File exists", str(caught.value))
    assert await job.state() == "CREATED"
    job.params.work_directory = f"jobs/{uuid.uuid4().hex}"
    await job.submit()
    assert await job.wait() == "FINISHED"


def small_path(directory: Path, *without: str) -> dict[str, str]:
    """Make a PATH that leads to all usual programs but some."""
    directory.mkdir()
    directory.chmod(0o755)
    for program in Path("/usr/bin").iterdir():
        if program.name not in {"sbatch", *without}:
            (directory / program.name).symlink_to(program)
    return {"PATH": str(directory)}


@pytest.fixture
def programs() -> Path:
    return Path(f"/tmp/pybatch_async-path-{uuid.uuid4().hex}")


async def test_a_host_without_sbatch_is_told(make_sshd: MakeSshd, slurm: SlurmCluster, programs: Path) -> None:
    environment = await asyncio.to_thread(small_path, programs, "bash")
    async with FrontEnd(make_sshd(environment=environment | slurm.environment())) as front:
        with pytest.raises(pb.SubmitFailed, match=r"no sbatch on 127\.0\.0\.1.*front-end of a Slurm cluster"):
            await front.job("true").submit()
    await asyncio.to_thread(remove, programs)


async def test_sbatch_is_found_where_login_shells_find_it(
    make_sshd: MakeSshd, slurm: SlurmCluster, programs: Path
) -> None:
    environment = await asyncio.to_thread(small_path, programs)
    async with FrontEnd(make_sshd(environment=environment | slurm.environment())) as front:
        job = await front.submitted("true")
        assert await job.wait() == "FINISHED"
    await asyncio.to_thread(remove, programs)


def remove(directory: Path) -> None:
    for link in directory.iterdir():
        link.unlink()
    directory.rmdir()


# Logins of all kinds


async def test_jobs_run_whatever_the_login_shell_and_its_rc_file_do(
    accounts: Accounts, make_sshd: MakeSshd, slurm: SlurmCluster
) -> None:
    odd = ["", "a b", "'", '"', "$HOME", "\\", "!", "a\nb", "é", "`id`", ";", "*"]

    async def run(account: Account) -> tuple[str, list[str]]:
        server = await asyncio.to_thread(make_sshd, account=account, environment=slurm.environment())
        async with FrontEnd(server) as front:
            job = await front.submitted("printf", "%s|", *odd, name="odd 'name'", environment={"A": "b c"})
            state = await job.wait()
            return state, (await job.stdout()).split("|")[:-1]

    those = [accounts.noisy(), accounts.failing(), accounts.slow(), accounts.tcsh(), accounts.fish()]
    for account in those:
        await asyncio.to_thread(slurm.admit, account)
    assert await asyncio.gather(*map(run, those)) == [("FINISHED", odd)] * 5


# What Slurm is told


async def test_odd_names_reach_slurm_unchanged(cluster: FrontEnd, slurm: SlurmCluster) -> None:
    jobs = [cluster.job("true", name=name, partition="down") for name in ODD_NAMES]
    assert await pb.submit_all(jobs) == [None] * len(jobs)
    told = [slurm.command("squeue", "-hj", job.job_id, "-o", "%j")[:-1] for job in jobs]
    assert told == ODD_NAMES
    assert [await job.state() for job in jobs] == ["QUEUED"] * len(jobs)
    await asyncio.gather(*(job.cancel() for job in jobs))


async def test_every_field_reaches_slurm(cluster: FrontEnd, slurm: SlurmCluster) -> None:
    job = await cluster.submitted(
        "true",
        nodes=2,
        ntasks=4,
        cpus_per_task=3,
        exclusive=True,
        wall_time="1-2:30",
        mem_per_node="2G",
        queue=QOS,
        partition="down",
        wckey=WCKEY,
        account=ACCOUNT,
        gpus=2,
        constraint="fast",
        extra_as_list=["--nice=7"],
        extra_as_string="#SBATCH --comment=remark",
    )
    told = set(slurm.command("scontrol", "-o", "show", "job", job.job_id).split())
    await job.cancel()
    assert told >= {
        *("NumNodes=2-2", "NumTasks=4", "CPUs/Task=3", "OverSubscribe=NO", "TimeLimit=1-02:30:00", f"QOS={QOS}"),
        *("Partition=down", f"WCKey={WCKEY}", f"Account={ACCOUNT}", "Features=fast", "Nice=7", "Comment=remark"),
        *("MinMemoryNode=2G", "TresPerJob=gres:gpu:2"),
    }


# Load


async def test_two_hundred_short_jobs_cost_few_requests(cluster: FrontEnd, slurm: SlurmCluster) -> None:
    SlurmQueue.of(cluster.protocol).polling = Polling()
    jobs = [cluster.job("sleep", "1") for _ in range(200)]
    before = requests(slurm, cluster.server.user)
    assert await pb.submit_all(jobs) == [None] * 200
    submitted = requests(slurm, cluster.server.user)
    assert await pb.wait_all(jobs) == ["FINISHED"] * 200
    assert submitted - before <= 220
    assert requests(slurm, cluster.server.user) - submitted < 60


def requests(slurm: SlurmCluster, user: str) -> int:
    """Count the requests that the controller has had from a user."""
    found = re.search(rf"^\s*{user}\s*\(.*?count:(\d+)", slurm.command("sdiag"), re.M)
    return int(found[1]) if found else 0
