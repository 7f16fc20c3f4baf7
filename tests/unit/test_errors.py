# SPDX-License-Identifier: MIT
"""The tree of errors: what each one is, says, and survives."""

from __future__ import annotations

import copy
import pickle

import pytest

import pybatch_async as pb
from pybatch_async.protocols.files.transfer_errors import raise_for

ALL = [getattr(pb, name) for name in pb.__all__ if isinstance(getattr(pb, name), type)]
ERRORS = [each for each in ALL if issubclass(each, Exception)]
FAILED = pb.CommandFailed(["sbatch", "a b"], "gaia", 3, "out", "oops\n")
TIMED_OUT = pb.CommandTimedOut(["sleep", "9"], "gaia", 2.5)


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_has_one_root(error: type[Exception]) -> None:
    assert issubclass(error, pb.PybatchException)


def test_the_errors_are_also_what_python_calls_them() -> None:
    assert issubclass(pb.ConfigurationError, ValueError)
    assert issubclass(pb.ConnectionFailed, ConnectionError)
    assert issubclass(pb.CommandTimedOut, TimeoutError)
    assert issubclass(pb.PathMissing, FileNotFoundError)
    assert issubclass(pb.HostKeyUnknown, pb.ConnectionFailed)
    assert issubclass(pb.AuthenticationFailed, pb.ConnectionFailed)


def test_a_failed_command_names_command_host_code_and_what_it_said() -> None:
    assert str(FAILED) == "Error 3 on gaia, command: sbatch 'a b': oops"
    assert (FAILED.argv, FAILED.host, FAILED.returncode, FAILED.stdout) == (["sbatch", "a b"], "gaia", 3, "out")


def test_a_command_that_took_too_long_names_its_deadline() -> None:
    assert "sleep 9 did not end on gaia within 2.5 s" in str(TIMED_OUT)
    assert (TIMED_OUT.seconds, TIMED_OUT.returncode) == (2.5, None)


def test_a_long_command_is_cut_in_the_message() -> None:
    assert len(str(pb.CommandFailed(["x" * 100_000], "gaia", 1, "", "y" * 100_000))) < 5000


@pytest.mark.parametrize("error", [FAILED, TIMED_OUT, pb.SubmitFailed("no", transient=True), pb.JobLost("gone")])
def test_errors_can_be_pickled_and_copied(error: pb.PybatchException) -> None:
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(twin), str(twin), vars(twin)) == (type(error), str(error), vars(error))


def test_a_failed_copy_is_told_in_one_line_of_the_host_s_words() -> None:
    said = "tar: ./a: Cannot open: Permission denied\ntar: Exiting with failure status due to previous errors\n"
    with pytest.raises(pb.TransferFailed) as caught:
        raise_for("download", "gaia", ["/x/a"], "mark", 2, said)
    assert str(caught.value) == (
        "Can not download '/x/a' on gaia: tar: ./a: Cannot open: Permission denied. Put that right there and try again."
    )
