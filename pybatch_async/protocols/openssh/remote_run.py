# SPDX-License-Identifier: MIT
"""One command through the ssh program: whether it started, what it answered, and how it ended.

ssh exits with 255 for a failure of its own, for a remote command that exits with 255, and for one that a signal
ended. A small wrapper on the host tells them apart: it prints a mark before the command starts, and the mark with the
exit code on standard error once it has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from enum import Enum

from ...quoting import PlainCommand, command_line
from ..framing import Frame
from ..process import run_process
from ..streams import Completed, Sink, Source, Tail, is_reopenable, opened
from .errors import Failure

SSH_FAILED = 255
# `exec` in a subshell: a program of that name is run, never the shell's own echo. One line without "!" and "\".
_WRAPPER = 'm=$1; shift; echo "$m"; echo "$m" >&2; (exec "$@"); s=$?; echo "$m $s" >&2; exit $s'
# Ends the process groups of what carries a mark on its command line (given in halves, so that this script does not find
# itself): TERM, and KILL for those that are still there after two or three seconds.
_KILLER = (
    "m=$1$2; found() { if test -e /proc/self/stat; then "
    'for f in $(grep -la "$m" /proc/[0-9]*/cmdline 2>/dev/null); do '
    'read -r line 2>/dev/null <"${f%/cmdline}/stat" || continue; set -- ${line##*) }; echo "$3"; done; '
    'else ps -A -o pgid= -o args= | while read -r g line; do case $line in *"$m"*) echo "$g" ;; esac; done; fi; }; '
    'alive() { if test -e /proc/self/stat; then grep -qs ") [^ZX] [0-9]* $1 " /proc/[0-9]*/stat; '
    'else kill -s 0 -- "-$1" 2>/dev/null; fi; }; '
    'left=$(found | sort -u); for g in $left; do kill -s TERM -- "-$g" 2>/dev/null; done; '
    "for pause in 0.05 0.1 0.2 0.4 1 1; do "
    'groups=$left; left=; for g in $groups; do alive "$g" && left="$left $g"; done; '
    'test -n "$left" || exit 0; sleep "$pause" 2>/dev/null || sleep 1; done; '
    'for g in $left; do kill -s KILL -- "-$g" 2>/dev/null; done; exit 0'
)


class Ending(Enum):
    """Say how far a command came."""

    DONE = "it ended and told its exit code"
    NEVER_STARTED = "ssh did not get so far"
    LOST = "the connection was lost; it may have started"


class RemoteRun:
    """Run one command once.

    :param mark: a new random word.
    """

    def __init__(self, argv: Sequence[str], mark: str) -> None:
        self._argv, self.mark = argv, mark
        self._frame = Frame(mark)
        self._started = asyncio.Event()
        self.ending = Ending.NEVER_STARTED
        self.log = ""  # what ssh itself wrote, where the command did not start
        self.failure: Failure | None = None  # why its own login failed, where that is known better than from the log
        self.was_launched = False

    async def run(
        self, ssh: Sequence[str], input: Source, output: Sink | None, env: Mapping[str, str] | None
    ) -> Completed:
        """Run it, and set `ending` and `log`.

        :param ssh: the command line of the ssh program up to and with the host.
        :raises CannotStart: the ssh program can not be started.
        """
        kept = Tail(None)
        deliver = output or kept.take

        async def take(chunk: bytes) -> None:
            payload = self._frame.strip(chunk)
            if self._frame.has_begun:
                self._started.set()
            if payload:
                await deliver(payload)

        line = self._line()
        source = input if is_reopenable(input) else self._when_started(input)
        self.was_launched = True
        done = await run_process([*ssh, line], input=source, output=take, env=env)
        return self._judged(done, kept.value)

    def _line(self) -> str:
        if isinstance(self._argv, PlainCommand):
            return self._argv.line(self.mark)
        return command_line(["/bin/sh", "-c", _WRAPPER, "sh", self.mark, *self._argv])

    async def _when_started(self, source: Source) -> AsyncIterator[bytes]:
        # A stream that can be read only once is not begun before it is sure that the command reads it.
        await self._started.wait()
        async with opened(source) as pieces:
            async for piece in pieces:
                yield piece

    def _judged(self, done: Completed, stdout: bytes) -> Completed:
        code, stderr = self._parted(done.stderr)
        if code is not None:
            self.ending = Ending.DONE
            return Completed(code, stdout, stderr)
        self.log = done.stderr.decode(errors="replace")
        if self._frame.has_begun:
            self.ending = Ending.LOST
        elif done.returncode != SSH_FAILED:
            self.ending = Ending.DONE  # the login shell refused to run the wrapper
        return Completed(done.returncode, stdout, stderr)

    def _parted(self, stderr: bytes) -> tuple[int | None, bytes]:
        """Split standard error into the exit code and what the command itself wrote."""
        mark = self.mark.encode()
        _, began, written = stderr.partition(mark + b"\n")
        written = written if began else stderr
        written, ended, code = written.rpartition(mark + b" ")
        if not ended:
            return None, code
        return int(code.partition(b"\n")[0]), written


def killer(mark: str) -> list[str]:
    """Return the command that ends, on the host, the process group of the run with this mark."""
    half = len(mark) // 2
    return ["/bin/sh", "-c", _KILLER, "sh", mark[:half], mark[half:]]
