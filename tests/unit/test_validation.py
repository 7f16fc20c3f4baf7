# SPDX-License-Identifier: MIT
"""Wrong parameters are refused before anything is sent, with the name of the field."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pybatch_async import (
    AsyncsshProtocol,
    ConfigurationError,
    ConnectionParameters,
    LaunchParameters,
    LocalProtocol,
    SshProtocol,
    create_job,
)
from pybatch_async.validation import check_connection, check_launch, refuse_fields

ONE_LINE = (
    "work_directory name mem_per_node mem_per_cpu queue partition wckey python_exe account constraint reservation "
    "launcher"
).split()


def refusal(**fields: Any) -> str:
    params = LaunchParameters(["true"], "w")
    for name, value in fields.items():
        setattr(params, name, value)
    with pytest.raises(ConfigurationError) as caught:
        check_launch(params)
    return str(caught.value)


@pytest.mark.parametrize("name", ONE_LINE)
@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\0b", "a\ud800b"])
def test_what_would_break_a_line_is_refused_in_every_text_field(name: str, text: str) -> None:
    assert f"{name}: {text!r} holds" in refusal(**{name: text})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("command", []),
        ("command", [""]),
        ("command", "ls -l"),
        ("command", ["ls", "a\0b"]),
        ("command", ["ls", 3]),
        ("command", ["ls", "\ud800"]),
        ("command", 3),
        ("command", {"ls": "-l"}),
        ("command", (word for word in ("ls", "-l"))),
        ("command", [Path("/bin/ls")]),
        ("work_directory", ""),
        ("work_directory", None),
        ("python_exe", ""),
        ("work_directory", Path("w")),
        ("name", None),
        ("total_jobs", 0),
        ("total_jobs", -1),
        ("total_jobs", True),
        ("total_jobs", 1.5),
        ("total_jobs", 2**31),
        ("max_simul_jobs", -1),
        ("nodes", -1),
        ("ntasks", -1),
        ("ntasks", "4"),
        ("cpus_per_task", -1),
        ("gpus", -1),
        ("gpus", "a100\n:2"),
        ("wall_time", "xvi"),
        ("wall_time", "1:2:3:4"),
        ("wall_time", 10),
        ("wall_time", None),
        ("wall_time", timedelta(seconds=-1)),
        ("wall_time", timedelta.max),
        ("wall_time", "9" * 50),
        ("exclusive", "no"),
        ("is_posix", None),
        ("create_nodefile", 1),
        ("extra_as_list", ["--nice=5\n#SBATCH --x"]),
        ("extra_as_list", "--nice=5"),
        ("extra_as_string", "#SBATCH \0"),
        ("setup", "module load x"),
        ("setup", None),
        ("setup", ["a\0"]),
        ("teardown", ["a\0"]),
        ("environment", {"A B": "1"}),
        ("environment", {"1A": "1"}),
        ("environment", {"A": "a\0"}),
        ("environment", {"A": 1}),
        ("environment", {1: "A"}),
        ("environment", None),
        ("environment", ["A=1"]),
        ("environment", {"A": "x" * ((128 << 10) - 2)}),
        ("dependencies", ["12\n--wrap"]),
        ("dependencies", ["12 --wrap"]),
        ("launcher", "srun 'x"),
        ("dependencies", [None]),
        ("dependencies", [""]),
        ("dependencies", "12"),
        ("input_files", "one.txt"),
        ("input_files", Path("one.txt")),
        ("input_files", ["a/same", "b/same"]),
        ("input_files", ["a\nb"]),
        ("input_files", ["a\0b/../c"]),
        ("input_files", [3]),
        ("input_files", None),
        ("input_files", {"a"}),
        ("input_files", ["batch.cmd"]),
        ("input_files", [".pybatch_async"]),
    ],
)
def test_every_wrong_value_is_refused_by_name(name: str, value: Any) -> None:
    assert f" {name}" in refusal(**{name: value}).replace("[", " ")


def test_what_to_write_instead_of_a_number_in_a_command_is_told() -> None:
    assert "command: 3 is not text: write str(3)" in refusal(command=["echo", 3, "a"])


def test_all_faults_are_named_at_once() -> None:
    text = refusal(command=[], wall_time="xvi", nodes=-1, name="a\nb", environment={"A B": ""})
    assert all(f"{name}:" in text for name in ("command", "wall_time", "nodes", "name", "environment"))


def test_a_multi_line_value_is_fine_where_nothing_breaks() -> None:
    params = LaunchParameters(["echo", "a\nb", "", "é", "#"], "w", environment={"A": "1\n2"})
    params.extra_as_string, params.setup = "#SBATCH --nice=5\n#SBATCH --hint=x", ["for i in 1\ndo true\ndone"]
    check_launch(params)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("host", ""), ("host", "-oProxyCommand=x"), ("host", "a b"), ("user", "-l"), ("user", ""), ("port", 0),
        ("port", 70000), ("port", "22"), ("max_connections", 0), ("max_sessions", 0), ("connect_timeout", 0),
        ("command_timeout", -1), ("keepalive_interval", -1), ("host", None), ("host", "a\ud800"), ("user", 3),
        ("gss_auth", "no"), ("verify_host_key", None), ("verify_host_key", 0), ("verify_host_key", ""),
        ("client_keys", "~/.ssh/id"), ("client_keys", [b"key"]), ("known_hosts", False), ("config", 0),
        ("proxy_jump", ["gate"]), ("proxy_jump", "gate,,host"), ("proxy_jump", "gate:x"), ("prompt", "?"),
        ("connect_timeout", "30"), ("connect_timeout", float("inf")), ("connect_timeout", float("nan")),
        ("command_timeout", None), ("keepalive_interval", True), ("max_sessions", None),
    ],
)  # fmt: skip
def test_every_wrong_value_of_a_connection_is_refused_by_name(name: str, value: Any) -> None:
    params = ConnectionParameters(host="gaia")
    setattr(params, name, value)
    with pytest.raises(ConfigurationError, match=f" {name}: "):
        check_connection(params)


@pytest.mark.parametrize("name", ["password", "passphrase"])
def test_a_secret_of_a_wrong_kind_is_refused_without_being_shown(name: str) -> None:
    params = ConnectionParameters(host="gaia")
    setattr(params, name, b"s3cret")
    with pytest.raises(ConfigurationError, match=f"{name}: text is needed, not a value of type bytes") as caught:
        check_connection(params)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("wrong", [None, {"host": "gaia"}, LocalProtocol()])
def test_what_is_no_parameters_at_all_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="LaunchParameters"):
        create_job("slurm", wrong)
    for protocol in (AsyncsshProtocol, SshProtocol):
        with pytest.raises(ConfigurationError, match="ConnectionParameters"):
            protocol(wrong)


def test_a_wrong_kind_of_value_keeps_no_other_fault_from_being_named() -> None:
    text = refusal(command=3, environment=None, wall_time="xvi", nodes=-1)
    assert all(f"{name}:" in text for name in ("command", "environment", "wall_time", "nodes"))


def test_all_faults_of_a_connection_are_named_at_once() -> None:
    with pytest.raises(ConfigurationError, match="host: .*port: .*max_sessions: "):
        check_connection(ConnectionParameters(host="", port=0, max_sessions=0))


def test_a_plugin_refuses_the_fields_it_can_not_honour_by_name() -> None:
    params = LaunchParameters(["true"], "w", mem_per_cpu="1G", wckey="k")
    with pytest.raises(ConfigurationError, match=r"'x' can not honour: mem_per_cpu: why; wckey: too"):
        refuse_fields(params, {"mem_per_cpu": "why", "wckey": "too", "account": "unset"}, "x")


def test_creating_a_job_refuses_wrong_parameters() -> None:
    with pytest.raises(ConfigurationError, match="command"):
        create_job("slurm", LaunchParameters([], "w"), LocalProtocol())
    with pytest.raises(ConfigurationError, match="mem_per_node and mem_per_cpu"):
        create_job("slurm", LaunchParameters(["a"], "w", mem_per_node="1G", mem_per_cpu="1G"), LocalProtocol())
    with pytest.raises(ConfigurationError, match="is_posix"):
        create_job("slurm", LaunchParameters(["a"], "w", is_posix=False), LocalProtocol())


@pytest.mark.parametrize("directory", ["runs/50%", "/scratch/%j", "a\\b"])
def test_slurm_refuses_a_work_directory_that_it_would_read_as_a_pattern(directory: str) -> None:
    with pytest.raises(ConfigurationError, match="work_directory: .* % or a backslash"):
        create_job("slurm", LaunchParameters(["a"], directory), LocalProtocol())
    create_job("nobatch", LaunchParameters(["a"], directory), LocalProtocol())


async def test_parameters_spoilt_after_creation_are_refused_at_submission() -> None:
    job = create_job("slurm", LaunchParameters(["true"], "w"), LocalProtocol())
    job.params.wall_time = "xvi"
    with pytest.raises(ConfigurationError, match="wall_time"):
        await job.submit()


async def test_every_missing_input_file_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    params = LaunchParameters(["true"], "w", input_files=[tmp_path / "one", tmp_path, str(tmp_path / "two")])
    job = create_job("slurm", params, LocalProtocol())
    with pytest.raises(ConfigurationError, match=r"input_files: \S*/one, \S*/two do not exist"):
        await job.submit()
    assert await job.state() == "CREATED"
