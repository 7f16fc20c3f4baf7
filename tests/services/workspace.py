# SPDX-License-Identifier: MIT
"""Give a test session its own directory, ports and janitor."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_JANITOR = Path(__file__).with_name("janitor.py")
# Below Linux's ephemeral range, so that no outgoing connection takes a port between our choice and the service's bind.
_PORTS = range(12000, 32000)


class ServiceUnavailable(Exception):
    """Say why a real service cannot be had on this machine."""


class Workspace:
    """Hold what one test session puts on the machine, and take it away again even if the session is killed."""

    def __init__(self) -> None:
        self.token = secrets.token_hex(2)
        self.root = Path(tempfile.mkdtemp(prefix=f"pb-{self.token}-"))
        self.root.chmod(0o755)  # the services' unprivileged users must reach what they own inside
        self._ports: set[int] = set()
        self._janitor = subprocess.Popen(
            [sys.executable, "-I", str(_JANITOR)], stdin=subprocess.PIPE, start_new_session=True, text=True
        )
        self.tell_janitor("directory", str(self.root))

    def tell_janitor(self, kind: str, value: str) -> None:
        """Have a process, user or directory cleared away at the end."""
        assert self._janitor.stdin is not None
        self._janitor.stdin.write(f"{kind} {value}\n")
        self._janitor.stdin.flush()

    def directory(self, name: str, mode: int = 0o755, owner: str | None = None) -> Path:
        """Make a directory inside the workspace."""
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)
        if owner is not None:
            shutil.chown(path, owner, owner)
        return path

    def free_port(self) -> int:
        """Choose a loopback port that nobody listens on and that was not handed out before."""
        while True:
            port = random.choice(_PORTS)
            if port not in self._ports and _can_bind(port):
                self._ports.add(port)
                return port

    def close(self) -> None:
        """Let the janitor end what is left, remove the users and the directory."""
        assert self._janitor.stdin is not None
        self._janitor.stdin.close()
        self._janitor.wait(60)


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def require_root() -> None:
    """Refuse to go on without the rights the services need."""
    if os.geteuid() != 0:
        raise ServiceUnavailable("that takes root, and the tests do not run as root")


def program(name: str, package: str) -> str:
    """Find a program, looking in the system directories too, which a user's PATH may lack."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise ServiceUnavailable(f"the program {name} is missing (Debian package {package})")
    return found


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
    """Block until the condition holds; for the start and end of services, which tell nobody."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(0.02)


def accepts(port: int) -> bool:
    """Say whether somebody listens on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
