# SPDX-License-Identifier: MIT
"""What the scripts for the front-end do to the environment that they find there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pybatch_async.plugins.slurm.scripts import text

HARMFUL = {
    "SQUEUE_STATES": "R",
    "SQUEUE_FORMAT2": "jobid",
    "SACCT_FORMAT": "jobid",
    "SBATCH_PARTITION": "other",
    "SBATCH_SOMETHING_NEW": "1",
    "SCANCEL_INTERACTIVE": "1",
    "SLURM_CLUSTERS": "elsewhere",
    "SLURM_JSON": "1",
}


@pytest.mark.parametrize("shell", ["dash", "bash --posix"])
def test_settings_of_the_user_for_slurm_are_left_behind(tmp_path: Path, shell: str) -> None:
    (tmp_path / "sbatch").touch(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    tricky = {"SLURM_CONF": "/etc/slurm.conf", "MY_SQUEUE_NAME": "kept", "TEXT": "lines\nSACCT_HIDDEN=not one"}
    script = f"{text('tools.sh')}env -0"
    done = subprocess.run(
        [*shell.split(), "-c", script], env=HARMFUL | tricky | {"PATH": path}, capture_output=True, check=True
    )
    left = dict(entry.split("=", 1) for entry in done.stdout.decode().rstrip("\0").split("\0"))
    assert not HARMFUL.keys() & left.keys()
    assert left.items() >= tricky.items()
    assert (left["LC_ALL"], left["SLURM_TIME_FORMAT"], left["PATH"]) == ("C", "%s", path)
