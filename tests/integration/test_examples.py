# SPDX-License-Identifier: MIT
"""Every example, run as a newcomer runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.sshd import Sshd

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
RUNNABLE = ["job_array", "many_jobs", "quickstart", "sweep", "use_case"]


def run_example(name: str, *arguments: str, home: Path) -> str:
    """Run an example with a home of its own; return what it printed."""
    environment = os.environ | {"HOME": str(home), "XDG_CACHE_HOME": "", "XDG_STATE_HOME": ""}
    argv = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, cwd=home, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def login(server: Sshd) -> list[str]:
    """Tell an example how to reach a server of the tests."""
    where = ["--host", server.host, "--port", str(server.port), "--user", server.user]
    return [*where, "--client-key", str(server.client_key), "--known-hosts", str(server.known_hosts)]


def check_use_case(output: str) -> None:
    assert "it ended FINISHED with exit code 0" in output
    assert "brought back: result.txt" in output


def test_the_quickstart_prints_state_exit_code_and_result_of_each_point(tmp_path: Path) -> None:
    header, *rows, summary = run_example("quickstart.py", home=tmp_path).splitlines()
    assert header.split() == ["r", "state", "exit", "code", "Lyapunov", "exponent"]
    assert len(rows) >= 20
    assert all(row.split()[1:3] == ["FINISHED", "0"] for row in rows)
    assert rows[-1].split() == ["4.0000", "FINISHED", "0", "+0.693164", "chaos"]  # known to be log 2 there
    assert summary == f"{len(rows)} of {len(rows)} points have a result."


def test_the_tasks_of_an_array_are_awaited_one_by_one(tmp_path: Path) -> None:
    *rows, summary = run_example("job_array.py", home=tmp_path).splitlines()
    assert sorted(row.partition(":")[0] for row in rows) == [f"task {index}" for index in range(9)]
    assert all(", FINISHED, " in row for row in rows)
    assert summary == "the array as a whole: FINISHED, exit code 0"


def test_among_many_jobs_each_bad_one_is_told(tmp_path: Path) -> None:
    output = run_example("many_jobs.py", home=tmp_path)
    assert "bad was not submitted: " in output
    assert output.count("ended: FAILED") == 2
    assert output.endswith("8 finished, 2 failed.\n")


@pytest.mark.parametrize("plugin", ["nobatch", "local"])
def test_the_use_case_runs_on_this_machine(plugin: str, tmp_path: Path) -> None:
    check_use_case(run_example("use_case.py", "--plugin", plugin, home=tmp_path))
    assert (tmp_path / "job_test" / "result.txt").exists()


@pytest.mark.parametrize("protocol", ["asyncssh", "ssh"])
@pytest.mark.parametrize("plugin", ["slurm", "nobatch"])
def test_the_use_case_runs_on_a_cluster_through_ssh(plugin: str, protocol: str, sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir(mode=0o700)
    directory = f"use case {plugin} {protocol}"
    choices = ["--plugin", plugin, "--protocol", protocol, "--work-directory", directory]
    check_use_case(run_example("use_case.py", *choices, *login(sshd), home=tmp_path))
    assert (sshd.home / directory / "result.txt").exists()


def test_an_error_of_the_use_case_is_one_sentence(tmp_path: Path) -> None:
    argv = [sys.executable, str(EXAMPLES / "use_case.py"), "--plugin", "slrum"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("ConfigurationError: There is no plugin 'slrum'; the known ones are ")
    assert done.stderr.count("\n") == 1


def start(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["/bin/sh", EXAMPLES / "run", *arguments], capture_output=True, text=True, timeout=60)


def test_the_names_of_the_examples_are_told() -> None:
    helped, wrong = start("--help"), start("use-case")
    assert (helped.returncode, wrong.returncode) == (0, 2)
    for text in (helped.stdout, wrong.stderr):
        assert re.findall(r"^  (\w+) +\w", text, re.MULTILINE) == RUNNABLE
    assert wrong.stderr.startswith("There is no example use-case.\n")


def test_no_example_is_untested() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    scripts = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    assert not [name for name in scripts - {"lyapunov.py"} if f'"{name}"' not in text]  # which the others run
