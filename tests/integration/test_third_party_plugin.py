# SPDX-License-Identifier: MIT
"""A package of somebody else's brings a plugin: it is installed, found by its entry point, and used."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

MODULE = '''
"""A scheduler that runs a job on the spot."""
import subprocess
from pybatch_async import JobState, LaunchParameters, LocalProtocol

class Job:
    def __init__(self, params, protocol):
        self.params, self.protocol, self.job_id, self.tasks, self.done = params, protocol, "", [], None

    async def submit(self):
        self.job_id = "acme-1"
        self.done = subprocess.run(self.params.command, capture_output=True, text=True)

    async def state(self):
        if self.done is None:
            return JobState.CREATED
        return JobState.FAILED if self.done.returncode else JobState.FINISHED

    async def wait(self):
        return await self.state()

    async def stdout(self):
        return self.done.stdout

class Plugin:
    description = "Acme's scheduler"

    def create_job(self, params, protocol):
        return Job(params, protocol or LocalProtocol())

class Empty:
    pass
'''
POINTS = """[pybatch_async.plugins]
acme = acme_batch:Plugin
acme_empty = acme_batch:Empty
acme_missing = acme_batch:Nothing
"""
METADATA = "Metadata-Version: 2.1\nName: acme-batch\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory into which pip has installed the package."""
    directory = tmp_path_factory.mktemp("third-party")
    wheel = make_wheel(directory)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-index"]
    subprocess.run([*pip, "--no-deps", "--target", str(directory / "site"), str(wheel)], check=True, timeout=100)
    return directory / "site"


def make_wheel(directory: Path) -> Path:
    """Build the package's wheel (Python Packaging User Guide, binary distribution format)."""
    info = "acme_batch-1.0.dist-info"
    files = {
        "acme_batch.py": MODULE,
        f"{info}/METADATA": METADATA,
        f"{info}/WHEEL": WHEEL,
        f"{info}/entry_points.txt": POINTS,
    }
    record = "".join(f"{name},{digest(text)},{len(text.encode())}\n" for name, text in files.items())
    path = directory / "acme_batch-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(name, text)
    return path


def digest(text: str) -> str:
    hashed = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
    return f"sha256={hashed.decode().rstrip('=')}"


def run(code: str, site: Path) -> str:
    """Run code in a process in which the package is installed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    text = f"import asyncio\nimport pybatch_async as pb\nparams = pb.LaunchParameters(['echo', 'hi'], 'w')\n{code}"
    argv = [sys.executable, "-c", text]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal(code: str, site: Path) -> str:
    return run(f"try:\n    {code}\nexcept pb.ConfigurationError as error:\n    print(error)", site)


def test_a_job_of_the_plugin_runs(site: Path) -> None:
    code = """
async def main():
    job = pb.create_job("acme", params)
    print(await job.state())
    print(await pb.submit_all([job]), await pb.wait_all([job]), job.job_id, await job.stdout())
asyncio.run(main())
"""
    assert run(code, site).split("\n")[:2] == ["CREATED", "[None] [<JobState.FINISHED: 'FINISHED'>] acme-1 hi"]


def test_an_unknown_plugin_s_message_lists_it_among_the_known_ones(site: Path) -> None:
    said = refusal("pb.create_job('pbs', params)", site)
    assert "no plugin 'pbs'" in said
    assert all(name in said for name in ("acme,", "local,", "nobatch,", "slurm"))


def test_a_plugin_that_does_not_load_is_named(site: Path) -> None:
    assert "'acme_missing' (acme_batch:Nothing) does not load" in refusal("pb.create_job('acme_missing', params)", site)


def test_a_plugin_that_is_none_is_named(site: Path) -> None:
    assert "'acme_empty' (acme_batch:Empty) lacks a description" in refusal("pb.create_job('acme_empty', params)", site)


def test_a_plugin_need_not_reload_jobs(site: Path) -> None:
    said = refusal("""pb.reload_job('{"format": 1, "plugin": "acme"}')""", site)
    assert "'acme' can not reload jobs" in said
