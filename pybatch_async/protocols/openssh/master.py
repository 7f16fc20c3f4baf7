# SPDX-License-Identifier: MIT
"""One ssh that has logged in and lets others use its connection (man ssh_config, ControlMaster)."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from ..process import signal_group
from .private import MOST_LOG, log_path, remove_directory

_READY = "pybatch_async:ready"
_PATIENCE = 3.0  # seconds between TERM and KILL
# When this process is gone, however it went, the pipe closes, and the watcher ends ssh and removes the directory.
_WATCHED = (
    'd=$1; shift; exec 3<&0 </dev/null; { read -r _ <&3; kill "$$"; rm -rf "$d"; } >/dev/null 2>&1 & exec "$@" 3<&-'
)


class Master:
    """Run one such ssh; it belongs to no event loop.

    :param login: the command line of an ssh that logs in, up to and with "--" and the host.
    :param directory: a directory of this user alone, removed with the master.
    """

    def __init__(self, login: Sequence[str], directory: Path, environment: Mapping[str, str]) -> None:
        self.directory = directory
        self.control_path = str(directory / "s")
        options = ["-M", "-N", "-S", self.control_path, "-o", "ControlPersist=no"]
        options += ["-o", "PermitLocalCommand=yes", "-o", f"LocalCommand=echo {_READY}"]
        argv = ["/bin/sh", "-c", _WATCHED, "sh", str(directory), *login[:-2], *options, *login[-2:]]
        self._log = open(log_path(directory), "ab+", buffering=0)
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=dict(environment),
            start_new_session=True,
        )
        self._finalizer = weakref.finalize(self, _end, self._process, self._log, directory, os.getpid())

    async def is_ready(self) -> bool:
        """Wait until it has logged in; False if it ended before."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        stdout = self._process.stdout
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), stdout)
        try:
            while line := await reader.readline():
                if line.decode(errors="replace").strip() == _READY:
                    return True
            return False
        finally:
            transport.close()

    @property
    def is_shared(self) -> bool:
        """Tell whether others can use its connection."""
        return os.path.exists(self.control_path)

    @property
    def is_alive(self) -> bool:
        """Tell whether its connection stands, as far as it knows."""
        return self._finalizer.alive and self._process.poll() is None

    async def has_died(self) -> bool:
        """Tell whether it is gone or about to go: a lost connection is seen by those that use it first."""
        for _ in range(10):
            if not self.is_alive:
                return True
            await asyncio.sleep(0.02)
        return False

    def trim_log(self) -> None:
        """Keep the file of what it writes small, however long it lives."""
        if self.is_alive and os.fstat(self._log.fileno()).st_size > MOST_LOG:
            os.ftruncate(self._log.fileno(), 0)

    def close(self) -> None:
        """End it and remove its directory; it may take seconds."""
        self._finalizer()


def _end(process: subprocess.Popen[bytes], log: IO[bytes], directory: Path, owner: int) -> None:
    if os.getpid() != owner:
        return  # a fork of this process has a copy of this object, not of the master
    # The watcher is in the group too and keeps its id from being taken by another until it has gone itself.
    signal_group(process.pid, signal.SIGTERM)
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        signal_group(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout, log):
        if stream:
            stream.close()
    remove_directory(directory)
