# SPDX-License-Identifier: MIT
"""Batch files: what is rendered, and what bash makes of it."""

from __future__ import annotations

import os
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybatch_async import LaunchParameters
from pybatch_async.plugins.slurm.script import Part, parts, render

TOKEN = "0123456789abcdef" * 2
WHOLE = Part(0, 1, TOKEN)


def rendered(part: Part = WHOLE, command: tuple[str, ...] = ("true",), **fields: Any) -> str:
    return render(LaunchParameters(list(command), "w", **fields), part)


def directives(text: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")]


def run(text: str, directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a batch file as slurmstepd does, in a work directory that the driver has made."""
    (directory / ".pybatch_async").mkdir(exist_ok=True)
    (directory / "batch.cmd").write_text(text, encoding="utf-8", errors="surrogateescape")
    variables = {"PATH": os.environ["PATH"], "HOME": str(directory), "SLURM_JOB_ID": "77", **environment}
    argv = ["/bin/bash", str(directory / "batch.cmd")]
    return subprocess.run(argv, cwd=directory, env=variables, capture_output=True, text=True, timeout=30, check=False)


def noted(directory: Path, index: int = 0) -> str:
    return (directory / f".pybatch_async/{TOKEN}.{index}").read_text()


def test_a_plain_job_has_its_logs_and_nothing_else() -> None:
    assert directives(rendered()) == ["--output=logs/output.log", "--error=logs/error.log"]
    assert rendered().startswith("#!/bin/bash -l\n#SBATCH ")


def test_every_field_has_its_directive() -> None:
    text = rendered(
        name="myjob",
        nodes=2,
        ntasks=8,
        exclusive=True,
        wall_time="1-2:30",
        mem_per_node="32G",
        mem_per_cpu="1G",
        queue="urgent",
        partition="main",
        wckey="p:k",
        account="physics",
        cpus_per_task=4,
        gpus="a100:2",
        constraint="[rack1|rack2]",
        reservation="maint",
        extra_as_list=["--nice=5", "-k"],
        extra_as_string="#SBATCH --hint=x\n#SBATCH --signal=B:USR1\n",
    )
    assert directives(text)[2:] == [
        *("--job-name=myjob", "--ntasks=8", "--nodes=2", "--cpus-per-task=4", "--gpus=a100:2", "--exclusive"),
        *("--time=1-2:30", "--mem=32G", "--mem-per-cpu=1G", "--account=physics", "--qos=urgent", "--partition=main"),
        *("--wckey=p:k", '--constraint="[rack1|rack2]"', "--reservation=maint", "--nice=5", "-k", "--hint=x"),
        "--signal=B:USR1",
    ]


@pytest.mark.parametrize(
    ("wall_time", "option"),
    [
        ("10", "--time=10"),
        (" 10:30 ", "--time=10:30"),
        (timedelta(hours=2, seconds=5), "--time=120:05"),
        (timedelta(milliseconds=1), "--time=0:01"),
        (timedelta(microseconds=1), "--time=0:01"),
        (timedelta(minutes=1, microseconds=1), "--time=1:01"),
        (timedelta(days=20000, microseconds=1), "--time=28800000:01"),
        (timedelta(minutes=1), "--time=1:00"),
    ],
)
def test_wall_times_are_written_as_slurm_reads_them(wall_time: str | timedelta, option: str) -> None:
    assert option in directives(rendered(wall_time=wall_time))


@pytest.mark.parametrize("wall_time", ["", "  "])
def test_no_wall_time_leaves_the_site_s(wall_time: str) -> None:
    assert "--time" not in rendered(wall_time=wall_time)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("two words", '--job-name="two words"'),
        ('say "hi"', r'--job-name="say \"hi\""'),
        ("it's", '--job-name="it\'s"'),
        ("a#b", '--job-name="a#b"'),
        ("back\\slash", r'--job-name="back\\slash"'),
        ("é", '--job-name="é"'),
    ],
)
def test_odd_names_are_quoted_for_sbatch(name: str, option: str) -> None:
    assert option in directives(rendered(name=name))


def test_an_array_names_its_tasks_logs_by_index_and_passes_the_index_last() -> None:
    text = rendered(Part(0, 5, TOKEN), command=("echo", "a b"), total_jobs=5, max_simul_jobs=2)
    assert directives(text)[:2] == ["--output=logs/output_%a.log", "--error=logs/error_%a.log"]
    assert "--array=0-4%2" in directives(text)
    assert "\necho 'a b' \"$_pybatch_async_index\"\n" in text


def test_parts_of_a_split_array_run_the_index_on(tmp_path: Path) -> None:
    text = rendered(Part(20, 5, TOKEN), command=("echo",), total_jobs=25)
    assert directives(text)[:2] == ["--output=logs/output_2%1a.log", "--error=logs/error_2%1a.log"]
    assert "--array=0-4" in directives(text)
    assert run(text, tmp_path, SLURM_ARRAY_TASK_ID="3").stdout == "23\n"
    assert noted(tmp_path, 23) == "exit 77 0\n"


@given(st.integers(1, 30000), st.integers(2, 5001))
def test_parts_cover_every_index_once_and_fit_the_site(total: int, largest: int) -> None:
    split = parts(TOKEN, total, largest)
    assert [index for part in split for index in range(part.first, part.first + part.count)] == list(range(total))
    assert all(part.count <= largest for part in split)
    assert len({part.token for part in split}) == len(split)
    assert len({part.count for part in split[:-1]}) <= 1


@given(st.integers(1, 30000), st.integers(2, 5001))
def test_log_names_of_all_parts_follow_the_whole_index(total: int, largest: int) -> None:
    for part in parts(TOKEN, total, largest)[-2:]:
        pattern = directives(rendered(part, total_jobs=total))[0] if total > 1 else "--output=logs/output.log"
        last = part.first + part.count - 1
        assert as_slurm_names(pattern, part.count - 1) == f"--output=logs/output{f'_{last}' if total > 1 else ''}.log"


def as_slurm_names(pattern: str, task: int) -> str:
    """Fill in %a, and %4a with leading zeros (man sbatch, filename pattern)."""
    for width in range(1, 6):
        pattern = pattern.replace(f"%{width}a", f"{task:0{width}}")
    return pattern.replace("%a", str(task))


@pytest.mark.parametrize("code", [0, 1, 3, 137, 255])
def test_the_script_ends_as_the_command_does_and_notes_it(tmp_path: Path, code: int) -> None:
    done = run(rendered(command=("sh", "-c", f"exit {code}")), tmp_path)
    assert (done.returncode, noted(tmp_path)) == (code, f"exit 77 {code}\n")


def test_teardown_runs_and_does_not_hide_the_exit_code(tmp_path: Path) -> None:
    text = rendered(command=("sh", "-c", "exit 3"), setup=["echo setup", "X=1"], teardown=["echo teardown $X"])
    done = run(text, tmp_path)
    assert (done.returncode, done.stdout, noted(tmp_path)) == (3, "setup\nteardown 1\n", "exit 77 3\n")


def test_teardown_begins_with_the_exit_code_of_the_command(tmp_path: Path) -> None:
    text = rendered(command=("sh", "-c", "exit 3"), teardown=["echo $?", "false", "echo end"])
    done = run(text, tmp_path)
    assert (done.returncode, done.stdout, noted(tmp_path)) == (3, "3\nend\n", "exit 77 3\n")


def test_teardown_runs_to_its_end_whatever_the_setup_turned_on(tmp_path: Path) -> None:
    text = rendered(command=("false",), setup=["set -euo pipefail -C"], teardown=["echo $?", "false", "echo end"])
    done = run(text, tmp_path)
    assert (done.returncode, done.stdout, noted(tmp_path)) == (1, "1\nend\n", "exit 77 1\n")


@pytest.mark.parametrize(
    "name",
    ["SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_ARRAY_TASK_ID", "PWD", "IFS", "PATH", "pb_record", "pb_index"],
)
def test_no_variable_of_the_user_spoils_the_record(tmp_path: Path, name: str) -> None:
    text = rendered(Part(0, 9, TOKEN), ("/usr/bin/printenv", name), environment={name: "/s/"}, total_jobs=9)
    (tmp_path / "it's a $place").mkdir()
    done = run(text, tmp_path / "it's a $place", SLURM_ARRAY_TASK_ID="7")
    assert (done.returncode, noted(tmp_path / "it's a $place", 7)) == (1, "exit 77 1\n")  # of "printenv NAME 7"
    assert done.stdout == "/s/\n"


def test_the_environment_reaches_the_command_unchanged(tmp_path: Path) -> None:
    value = "a b'\"\n$HOME `x` \\ é #"
    done = run(rendered(command=("printenv", "ODD"), environment={"ODD": value}), tmp_path)
    assert done.stdout == f"{value}\n"


def test_the_launcher_starts_the_command(tmp_path: Path) -> None:
    assert run(rendered(command=("echo", "x y"), launcher="env -u HOME"), tmp_path).stdout == "x y\n"


def test_an_unwritable_record_does_not_disturb_the_job(tmp_path: Path) -> None:
    text = rendered(command=("echo", "done")).replace(".pybatch_async/", "nowhere/")
    done = run(text, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_arguments_reach_the_command_unchanged(tmp_path: Path) -> None:
    arguments = ["", " ", "a\nb", "'", '"', "$HOME", "`id`", "\\", "!", "é", ";|&><", "*", "~", "-n", "#"]
    done = run(rendered(command=("printf", "%s\\0", *arguments)), tmp_path)
    assert done.stdout.split("\0")[:-1] == arguments
