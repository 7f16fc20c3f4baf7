# SPDX-License-Identifier: MIT
"""What leads to a host, and which known_hosts files count."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest

from pybatch_async import ConfigurationError, ConnectionParameters
from pybatch_async.protocols.connecting.hostkeys import KnownHosts, known_hosts_files
from pybatch_async.protocols.connecting.plan import make_plan
from pybatch_async.targets import Target


def test_several_jump_hosts_are_taken_in_their_order() -> None:
    params = ConnectionParameters("front", config=False, proxy_jump="a, me@b:23", client_keys=[])
    plan = make_plan(params, Target("front"), is_last=True)
    assert plan.hops == [Target("a"), Target("b", "me", 23)]
    assert make_plan(params, Target("a"), is_last=False).hops == []


def test_an_explicit_none_turns_the_configurations_jump_hosts_off(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host front\n HostName front.example.org\n ProxyJump gate\n")
    params = ConnectionParameters("front", config=config, client_keys=[])
    plan = make_plan(params, Target("front"), is_last=True)
    assert (plan.host, plan.hops) == ("front.example.org", [Target("gate")])
    params.proxy_jump = "none"
    assert make_plan(params, Target("front"), is_last=True).hops == []


def test_a_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "id").write_text("no key")
    params = ConnectionParameters("front", config=False, client_keys=[tmp_path / "id"])
    with pytest.raises(ConfigurationError, match="id' is no private key"):
        make_plan(params, Target("front"), is_last=True)


def test_the_ciphers_of_the_configuration_are_kept(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Ciphers aes256-ctr\n")
    params = ConnectionParameters("front", config=config, client_keys=[])
    assert make_plan(params, Target("front"), is_last=True).options["encryption_algs"] == ()


def test_an_explicit_known_hosts_file_is_the_only_one() -> None:
    assert known_hosts_files("/x", ["/y"], ["/z"]) == [Path("/x")]
    assert known_hosts_files(None, ["/y"], ["/z"]) == [Path("/y"), Path("/z")]
    assert known_hosts_files(None, [], [])[0] == Path("~/.ssh/known_hosts").expanduser()


def test_known_kinds_of_key_are_asked_for_first_and_the_others_are_kept(tmp_path: Path) -> None:
    rsa = asyncssh.generate_private_key("ssh-rsa", key_size=2048).export_public_key().decode()
    (tmp_path / "known").write_text(f"[front]:2222 {rsa}\nfront {rsa}")
    known = KnownHosts([tmp_path / "known"])
    algorithms = known.algorithms("front", 2222).split(",")
    assert algorithms[0] == "rsa-sha2-512" and "ssh-ed25519" in algorithms
    assert known.has_key
    assert known.algorithms("other", 22).split(",")[0] == "ssh-ed25519"
    assert not known.has_key
