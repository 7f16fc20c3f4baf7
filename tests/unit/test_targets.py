# SPDX-License-Identifier: MIT
"""How hosts to log in to are written."""

from __future__ import annotations

import pytest

from pybatch_async import ConfigurationError
from pybatch_async.targets import Target, jump_hosts


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("gate", Target("gate")),
        (" me@gate ", Target("gate", "me")),
        ("me@gate:2222", Target("gate", "me", 2222)),
        ("me@realm@gate:22", Target("gate", "me@realm", 22)),
        ("::1", Target("::1")),
        ("[::1]", Target("::1")),
        ("me@[::1]:2222", Target("::1", "me", 2222)),
        ("me@fe80::1%eth0", Target("fe80::1%eth0", "me")),
        ("ssh://gate", Target("gate")),
        ("ssh://me@gate:2222", Target("gate", "me", 2222)),
        ("ssh://me@gate:2222/", Target("gate", "me", 2222)),
        ("ssh://me%40realm@[::1]:2222", Target("::1", "me@realm", 2222)),
    ],
)
def test_a_host_is_read_as_ssh_reads_it(text: str, target: Target) -> None:
    assert Target.parse(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "", "@gate", "me@", "gate:", "gate:ssh", "gate:0", "gate:70000", "-gate", "-l@gate", "a b", "[::1", "[]:1",
        "ssh://", "ssh://%2Dgate", "ssh://gate/path", "http://gate",
    ],
)  # fmt: skip
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"write \[user@\]host\[:port\]"):
        Target.parse(text)


def test_several_hosts_are_taken_in_their_order() -> None:
    assert jump_hosts("a, ssh://me@b:23") == [Target("a"), Target("b", "me", 23)]
    assert jump_hosts("none") == []
    with pytest.raises(ConfigurationError):
        jump_hosts("a,,b")
