# SPDX-License-Identifier: MIT
"""Put a slow or faulty network before a server: a TCP proxy, in a process of its own so as not to slow the tests."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tests.services.workspace import wait_until

_SERVER = Path(__file__).with_name("proxy_server.py")

Action = Literal["cut", "reset", "stall", "half_close", "refuse"]
Direction = Literal["to_server", "to_client"]


@dataclass(frozen=True)
class Plan:
    """Say what happens to one connection.

    :param delay: seconds added each way (0.02 makes a round trip of 40 ms).
    :param action: what happens once `after` bytes have passed in `direction`: "cut" closes both sides politely,
        "reset" aborts both (RST), "stall" lets nothing pass any more in either direction and closes nothing,
        "half_close" ends this direction alone, "refuse" closes at once, whatever `after` says.
    :param direction: whose bytes are counted.
    :param after: bytes that still pass.
    """

    delay: float = 0.0
    action: Action | None = None
    direction: Direction = "to_client"
    after: int = 0


@dataclass(frozen=True)
class Traffic:
    """Count what a proxy has seen: connections accepted and open, faults done, plans left, bytes passed."""

    accepted: int
    open: int
    faults: int
    planned: int
    to_client: int
    to_server: int


class Proxy:
    """Steer one proxy: every connection takes the next pushed plan, else the default one."""

    host = "127.0.0.1"

    def __init__(self, target_port: int, plan: Plan | None = None) -> None:
        self.target_port = target_port
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(_SERVER), str(target_port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.port: int = self._answer()["port"]
        if plan is not None:
            self.set_default(plan)

    def set_default(self, plan: Plan) -> None:
        """Give the connections to come this plan."""
        self._ask("default", plan)

    def push(self, *plans: Plan) -> None:
        """Give the next connections these plans, one each, in order."""
        self._ask("next", *plans)

    def traffic(self) -> Traffic:
        """Return the counts so far."""
        return self._ask("traffic")

    @property
    def connections(self) -> int:
        """How many connections were accepted so far."""
        return self.traffic().accepted

    @property
    def open_connections(self) -> int:
        """How many connections stand."""
        return self.traffic().open

    def drop(self) -> None:
        """Reset all connections that stand."""
        self._ask("drop")

    def stall(self) -> None:
        """Let nothing pass on the connections that stand, without closing them."""
        self._ask("stall")

    def release(self) -> None:
        """Let stalled connections go on."""
        self._ask("release")

    def wait_closed(self, timeout: float = 10.0) -> None:
        """Block until no connection stands."""
        wait_until(lambda: self.open_connections == 0, "the proxy's connections to end", timeout)

    def close(self) -> None:
        """End the proxy and its connections."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.kill()
        self._process.wait(10)
        self._process.stdin.close()
        self._process.stdout.close()

    def _ask(self, verb: str, *plans: Plan) -> Traffic:
        assert self._process.stdin is not None
        command = {"verb": verb, "plans": [asdict(plan) for plan in plans]}
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        return Traffic(**self._answer())

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def random_faults(seed: int, count: int, largest: int, delay: float = 0.0) -> list[Plan]:
    """Draw plans that fail after up to `largest` bytes; the same seed gives the same plans."""
    draw = random.Random(seed)
    actions: tuple[Action, ...] = ("cut", "reset", "stall", "half_close")
    directions: tuple[Direction, ...] = ("to_server", "to_client")
    return [
        Plan(delay, draw.choice(actions), draw.choice(directions), draw.randrange(largest + 1)) for _ in range(count)
    ]
