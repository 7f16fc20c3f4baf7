# SPDX-License-Identifier: MIT
"""What users of pybatch rely on, through a synchronous face: every protocol with every plugin."""

from __future__ import annotations

import pickle
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.sync_face import pybatch
from tests.contract.sync_face.pybatch.protocols.local import LocalProtocol
from tests.contract.sync_face.pybatch.protocols.paramiko import ParamikoProtocol
from tests.contract.sync_face.pybatch.protocols.ssh import SshProtocol
from tests.contract.sync_face.pybatch.tools import path_join, slurm_time_to_seconds
from tests.services.connection import connection_to
from tests.services.sshd import Sshd

SSH = {"ssh": SshProtocol, "paramiko": ParamikoProtocol}


@dataclass(frozen=True)
class Place:
    """Say where a job of a test runs."""

    plugin: str
    protocol: pybatch.GenericProtocol
    directory: str

    def params(self, script: str, **options: object) -> pybatch.LaunchParameters:
        """Describe a job that runs a line of shell."""
        return pybatch.LaunchParameters(["sh", "-c", script, "task"], self.directory, **options)  # type: ignore[arg-type]

    def job(self, script: str, **options: object) -> pybatch.GenericJob:
        """Make a job that runs a line of shell."""
        return pybatch.create_job(self.plugin, self.params(script, **options), self.protocol)


@pytest.fixture(
    params=["local-local", "nobatch-local", "nobatch-ssh", "nobatch-paramiko", "slurm-ssh", "slurm-paramiko"]
)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Each plugin over each protocol it goes with."""
    plugin, _, name = request.param.partition("-")
    if name == "local":
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield Place(plugin, LocalProtocol(), str(tmp_path / "work"))
        return
    server: Sshd = request.getfixturevalue("sshd")
    with SSH[name](connection_to(server)) as protocol:
        yield Place(plugin, protocol, path_join(str(server.home), tmp_path.name, is_posix=True))


def test_a_job_runs_and_its_results_come_back(place: Place, tmp_path: Path) -> None:
    script = tmp_path / "greet.sh"
    script.write_text('echo "good day, $1"; echo careful >&2; echo done > result.txt\n')
    params = place.params("", input_files=[script], wall_time="5")
    params.command = ["sh", "greet.sh", "Ada & co"]
    job = pybatch.create_job(place.plugin, params, place.protocol)
    assert (job.state(), job.exit_code()) == ("CREATED", None)
    job.submit()
    job.wait()
    assert (job.state(), job.exit_code()) == ("FINISHED", 0)
    assert (job.stdout(), job.stderr()) == ("good day, Ada & co\n", "careful\n")
    (tmp_path / "results").mkdir()
    job.get(["result.txt", "logs"], tmp_path / "results")
    assert (tmp_path / "results" / "result.txt").read_text() == "done\n"
    assert (tmp_path / "results" / "logs" / "output.log").read_text() == "good day, Ada & co\n"


def test_a_failing_job_tells_its_exit_code(place: Place) -> None:
    job = place.job("exit 7")
    job.submit()
    job.wait()
    assert (job.state(), job.exit_code()) == ("FAILED", 7)


def test_a_cancelled_job_fails_and_does_not_go_on(place: Place, tmp_path: Path) -> None:
    job = place.job("sleep 60; touch late.txt")
    job.submit()
    assert job.state() in ("QUEUED", "RUNNING")
    job.cancel()
    job.wait()
    assert job.state() == "FAILED"
    (tmp_path / "results").mkdir()
    job.get(["."], tmp_path / "results")
    name = place.directory.rpartition("/")[2]
    assert (tmp_path / "results" / name).is_dir()
    assert not (tmp_path / "results" / name / "late.txt").exists()


def test_a_pickled_job_is_awaited_by_its_copy(place: Place) -> None:
    job = place.job("sleep 1; echo awake")
    job.submit()
    copy = pickle.loads(pickle.dumps(job))
    copy.wait()
    assert (copy.state(), copy.stdout()) == ("FINISHED", "awake\n")


def test_an_array_fails_with_the_code_of_its_bad_task(place: Place, tmp_path: Path) -> None:
    job = place.job('echo "$1" > "result_$1"; test "$1" != 2 || exit 42', total_jobs=4, max_simul_jobs=2)
    job.submit()
    job.wait()
    assert (job.state(), job.exit_code()) == ("FAILED", 42)
    (tmp_path / "results").mkdir()
    job.get([f"result_{index}" for index in range(4)], tmp_path / "results")
    assert [(tmp_path / "results" / f"result_{index}").read_text() for index in range(4)] == [
        "0\n",
        "1\n",
        "2\n",
        "3\n",
    ]


def test_the_nodefile_has_a_line_for_each_task(place: Place) -> None:
    job = place.job('wc -l < "$LIBBATCH_NODEFILE"', ntasks=2, create_nodefile=True)
    job.submit()
    job.wait()
    assert job.stdout().split() == ["2"]


@pytest.mark.parametrize("plugin", ["local", "nobatch"])
def test_without_a_batch_manager_the_wall_time_ends_a_job(
    plugin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    params = pybatch.LaunchParameters(["sleep", "60"], str(tmp_path / "work"), wall_time="0:1")
    job = pybatch.create_job(plugin, params)
    job.submit()
    job.wait()
    assert (job.state(), job.exit_code()) == ("FAILED", -15)


@pytest.fixture(params=["local", "ssh", "paramiko"])
def protocol(request: pytest.FixtureRequest) -> Iterator[pybatch.GenericProtocol]:
    """Each protocol."""
    if request.param == "local":
        yield LocalProtocol()
        return
    with SSH[request.param](connection_to(request.getfixturevalue("sshd_bare"))) as protocol:
        yield protocol


def test_files_go_there_and_back(protocol: pybatch.GenericProtocol, tmp_path: Path) -> None:
    directory = protocol.run(["mktemp", "-d"]).strip()
    protocol.create(f"{directory}/made.txt", "Grüezi")
    assert protocol.read(f"{directory}/made.txt") == "Grüezi"
    protocol.download([f"{directory}/made.txt"], tmp_path / "fetched.txt")
    assert (tmp_path / "fetched.txt").read_text(encoding="utf-8") == "Grüezi"
    protocol.upload([tmp_path / "fetched.txt"], f"{directory}/sent.txt")
    assert protocol.run(["cat", f"{directory}/sent.txt"]) == "Grüezi"
    protocol.run(["rm", "-r", directory])


def test_paths_that_do_not_exist_are_named(protocol: pybatch.GenericProtocol, tmp_path: Path) -> None:
    present = tmp_path / "present.txt"
    present.touch()
    nowhere = str(tmp_path / "no" / "where")
    with pytest.raises(FileNotFoundError, match="/no/such/file"):
        protocol.download(["/no/such/file"], tmp_path)
    with pytest.raises(pybatch.PybatchException, match=nowhere):
        protocol.upload([nowhere], "/tmp")
    with pytest.raises(FileNotFoundError, match="/no/directory/"):
        protocol.upload([present], "/no/directory/")
    with pytest.raises(FileNotFoundError, match="/no/directory"):
        protocol.create("/no/directory/", "text")


def test_a_failed_command_tells_its_code(protocol: pybatch.GenericProtocol) -> None:
    with pytest.raises(pybatch.PybatchException, match="Error 3"):
        protocol.run(["sh", "-c", "exit 3"])


@pytest.mark.parametrize("name", ["ssh", "paramiko"])
def test_a_host_that_does_not_exist_is_named(name: str) -> None:
    params = pybatch.ConnectionParameters(host="no-such-host.invalid", config=False)
    with pytest.raises(pybatch.PybatchException, match=r"no-such-host\.invalid"):
        SSH[name](params).run(["true"])


def test_paths_are_joined_as_the_host_does() -> None:
    assert path_join("/home/ada", "runs", "one", is_posix=True) == "/home/ada/runs/one"
    assert path_join("C:\\runs", "one", is_posix=False) == "C:\\runs\\one"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", ""), ("3", "180"), ("3:20", "200"), ("1:0:1", "3601"), ("1-1", "90000"), ("0-2:30", "9000")],
)
def test_wall_times_are_read_as_slurm_reads_them(text: str, seconds: str) -> None:
    assert slurm_time_to_seconds(text) == seconds


def test_a_program_written_for_pybatch_runs_unchanged(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, pybatch\n"
        "params = pybatch.LaunchParameters(['echo', 'from', 'afar'], sys.argv[1], 'a job')\n"
        "job = pybatch.create_job('local', params)\n"
        "job.submit(); job.wait()\n"
        "print(job.state(), job.exit_code(), job.stdout())\n"
    )
    face = shlex.quote(str(Path(__file__).parent))
    home = shlex.quote(str(tmp_path))
    line = f"HOME={home} PYTHONPATH={face} exec {sys.executable} {program} {tmp_path / 'work'}"
    assert LocalProtocol().run(["sh", "-c", line]).split() == ["FINISHED", "0", "from", "afar"]
