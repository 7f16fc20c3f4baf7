# SPDX-License-Identifier: MIT
"""The parts of nobatch's manager that decide without touching anything, and what it may be written in."""

from __future__ import annotations

import ast
import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pybatch_async import ConfigurationError, LaunchParameters
from pybatch_async.plugins import nobatch
from pybatch_async.plugins.nobatch import bundle, records, script
from pybatch_async.plugins.nobatch.host import identity, schedule
from pybatch_async.plugins.nobatch.job import NobatchJob
from pybatch_async.protocols.local import LocalProtocol

HERE = Path(nobatch.__file__).parent
SENT = [HERE / "manager.py", *sorted((HERE / "host").glob("*.py"))]
SENT_TO_WINDOWS = sorted((HERE / "host/windows").glob("*.py"))


def job(number: int, **header: Any) -> Any:
    blank = {"total": 1, "simul": 0, "slots": 1, "exclusive": False, "after": [], "wall": None, "grace": 5.0}
    return schedule.Job(f"{number}.token", {**blank, "id": number, **header})


def chosen(jobs: list[Any], capacity: int, **outcomes: str) -> list[tuple[int, int]]:
    starts, _ = schedule.choose(jobs, schedule.Room(capacity), lambda name: outcomes[f"_{name.partition('.')[0]}"])
    return [(each.id, index) for each, index in starts]


def launch(**fields: Any) -> NobatchJob:
    return NobatchJob(LaunchParameters(["prog", "a b"], "work", **fields), LocalProtocol())


# Who starts next


def test_jobs_start_in_order_while_there_is_room() -> None:
    assert chosen([job(1), job(2, slots=2), job(3)], 3) == [(1, 0), (2, 0)]


def test_job_that_waits_for_slots_is_not_overtaken() -> None:
    assert chosen([job(1), job(2, slots=2), job(3)], 2) == [(1, 0)]


def test_job_larger_than_the_host_runs_alone() -> None:
    assert chosen([job(1, slots=99), job(2)], 4) == [(1, 0)]
    assert chosen([job(1), job(2, slots=99), job(3)], 4) == [(1, 0)]


def test_without_a_limit_all_start_but_beside_an_exclusive_one() -> None:
    assert chosen([job(number, slots=50) for number in range(1, 4)], 0) == [(1, 0), (2, 0), (3, 0)]
    assert chosen([job(1, exclusive=True), job(2)], 0) == [(1, 0)]
    assert chosen([job(1), job(2, exclusive=True), job(3)], 0) == [(1, 0)]


def test_throttled_array_lets_others_pass() -> None:
    assert chosen([job(1, total=5, simul=2), job(2)], 4) == [(1, 0), (1, 1), (2, 0)]


def test_freed_slots_are_given_again() -> None:
    room, array = schedule.Room(2), job(1, total=3)
    assert len(schedule.choose([array], room, str)[0]) == 2
    array.running.discard(0)
    room.take(array, -1)
    assert [index for _, index in schedule.choose([array], room, str)[0]] == [2]


def test_less_slots_than_run_start_nothing_until_there_is_room() -> None:
    room, array = schedule.Room(3), job(1, total=5)
    schedule.choose([array], room, str)
    room.capacity = 1
    assert schedule.choose([array], room, str)[0] == []


@pytest.mark.parametrize(
    ("kind", "outcome", "expected"),
    [
        ("afterok", "ok", "ready"),
        ("afterok", "failed", "never"),
        ("afterok", "running", "wait"),
        ("afternotok", "ok", "never"),
        ("afternotok", "failed", "ready"),
        ("afterany", "failed", "ready"),
        ("afterany", "waiting", "wait"),
        ("after", "waiting", "wait"),
        ("after", "running", "ready"),
    ],
)
def test_dependencies_mean_what_they_mean_to_slurm(kind: str, outcome: str, expected: str) -> None:
    assert schedule.verdict(job(2, after=[[kind, "1.token"]]), lambda name: outcome) == expected


def test_job_with_one_hopeless_dependency_never_starts() -> None:
    second = job(2, after=[["afterok", "0.token"], ["afterok", "1.token"]])
    starts, never = schedule.choose([second, job(3)], schedule.Room(1), {"0.token": "waiting", "1.token": "failed"}.get)
    assert never == [second] and [each.id for each, _ in starts] == [3]


# Identity


def test_process_is_told_from_a_later_one_with_its_pid() -> None:
    me = identity.identify(os.getpid())
    assert identity.is_alive(me)
    assert not identity.is_alive([me[0], me[1] + 1])


def test_zombie_is_not_alive() -> None:
    process = subprocess.Popen(["sleep", "1000"])
    who = identity.identify(process.pid)
    assert identity.is_alive(who)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not identity.is_alive(who)
    process.wait()


def test_process_is_found_by_its_environment() -> None:
    with subprocess.Popen(["sleep", "1000"], env={"TASK_MARK": "some job"}) as process:
        assert identity.find_marked(b"TASK_MARK=some job") == identity.identify(process.pid)
        assert identity.find_marked(b"TASK_MARK=other job") is None
        process.kill()


# What is sent


def test_manager_runs_with_python_3_6(tmp_path: Path) -> None:
    def check(*paths: Path) -> subprocess.CompletedProcess[str]:
        call = [sys.executable, "-c", "from vermin import main; main()", "--no-tips", "-t=3.6-", "--violations"]
        return subprocess.run([*call, *map(str, paths)], capture_output=True, text=True)

    done = check(*SENT, *SENT_TO_WINDOWS)
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "new.py").write_text("if (n := 1):\n    pass\n")
    assert check(tmp_path / "new.py").returncode == 1  # the check does see what is too new


def test_manager_imports_nothing_but_the_standard_library_and_itself() -> None:
    for path in [*SENT, *SENT_TO_WINDOWS]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert all(name.name.partition(".")[0] in sys.stdlib_module_names for name in node.names), path
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                assert (node.module or "").partition(".")[0] in sys.stdlib_module_names, path


def test_everything_the_manager_needs_is_sent() -> None:
    parts = json.loads(bundle.source())
    assert parts.keys() == {"__init__.py", "manager.py", *(f"host/{path.name}" for path in SENT[1:])}


def test_name_on_the_host_is_a_module_and_tells_the_content() -> None:
    assert bundle.name().isidentifier() and len(bundle.name()) > 20


def test_command_needs_no_quoting_that_shells_disagree_on() -> None:
    line = " ".join(bundle.command("python3", "mark", "states"))
    assert not set("!\\\n\r'") & set(line) and len(line) < 4000


def test_first_lines_can_be_read_by_python_2() -> None:
    text = base64.b64decode(bundle.command("python3", "mark", "states")[4].split('"')[1]).decode()
    before, found, _ = text.partition("source = sys.stdin.buffer")
    assert found and 'say("old"' in before
    assert not any(
        isinstance(node, ast.JoinedStr | ast.NamedExpr | ast.AnnAssign) for node in ast.walk(ast.parse(text))
    )


# What a job becomes


def test_launcher_is_split_and_stands_before_the_command() -> None:
    assert script.argv(launch(launcher="mpirun -n 4")) == ["mpirun", "-n", "4", "prog", "a b"]


def test_batch_file_is_a_shell_script_with_all_there_is() -> None:
    text = launch(
        setup=["module load x"], teardown=["rm tmp"], environment={"A": "1 2"}, create_nodefile=True, total_jobs=2
    ).batch_file()
    assert text.startswith("#!/bin/bash\n")
    for piece in ("cd work", "module load x", "rm tmp", "A='1 2'; export A", "LIBBATCH_NODEFILE", "prog 'a b' \"$1\""):
        assert piece in text
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0


def test_slots_are_tasks_times_cpus() -> None:
    assert records.described(launch(), 5.0)["header"]["slots"] == 1
    assert records.described(launch(ntasks=3, cpus_per_task=2), 5.0)["header"]["slots"] == 6


def test_dependencies_are_read_in_slurms_words() -> None:
    assert records.after_ids(["12", "afterany:3:4,after:5"]) == [
        ("afterok", 12),
        ("afterany", 3),
        ("afterany", 4),
        ("after", 5),
    ]
    with pytest.raises(ConfigurationError, match="'aftercorr:1'"):
        records.after_ids(["aftercorr:1"])


def test_job_stays_one_for_a_posix_host() -> None:
    job = launch()
    job.params.is_posix = False
    with pytest.raises(ConfigurationError, match="is_posix"):
        job.check()
