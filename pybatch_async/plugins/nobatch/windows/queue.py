# SPDX-License-Identifier: MIT
"""The queue of a Windows host: the verbs of nobatch, and the files that no program there hands out."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ....errors import CommandFailed, CommandTimedOut, TransferFailed
from ....protocols.archive import tar_stream
from ....protocols.framing import new_mark
from ...staging import Copy, Placement, Staged, stage
from ...ticket import JobRecord
from ..answers import answer_of, refuse, translated
from ..queue import DEFAULT_PYTHON, SHORT, SUBMISSION, NobatchQueue
from . import bundle, script

PYTHON = "python"  # where python_exe is not given: the installers for Windows make no python3
PIECE = 4 << 20  # bytes of files asked for in one call
_NO_SUCH_FILE = 2  # Python's exit code where its script is missing


class WindowsQueue(NobatchQueue):
    """Run jobs on a Windows host, so many at a time.

    `grace` is the time between CTRL_BREAK and the end of all of a job's processes.
    """

    async def read_files(self, python: str, wanted: Sequence[tuple[str, int]], most: int) -> list[bytes | None]:
        """Return a piece of each file, from a position on; None for a file that is not there."""
        request = {"files": list(wanted), "most": most}
        answer = await self.repeat(lambda: self._call(python, "read", request))
        refuse(answer, TransferFailed, self.host)
        return [None if piece is None else base64.b64decode(piece) for piece in answer["pieces"]]

    async def place(self, python: str) -> None:
        """Place the manager on the host, if it is not there."""
        refuse(await self._place(python, "fetch"), TransferFailed, self.host)

    def _python(self, job: JobRecord) -> str:
        return python_of(job)

    def _described(self, job: JobRecord) -> dict[str, Any]:
        return script.described(job, self.grace)

    def _staged(self, jobs: Sequence[JobRecord]) -> Staged:
        """Lay out the input files below the number of each job, whose directory the host knows."""
        staged = stage(Placement(str(number), {}, job.params.input_files) for number, job in enumerate(jobs))
        members = [replace(member, name=member.name.removeprefix("rel/")) for member in staged.members]
        return Staged(members, staged.copies)

    def _copied(self, copy: Copy) -> list[Any]:
        return [copy.source, int(copy.directory)]

    async def _call_once(
        self, python: str, verb: str, request: Mapping[str, Any], staged: Staged | None, is_sent: bool
    ) -> dict[str, Any]:
        if is_sent:
            answer = await self._place(python, verb)
            if "placed" not in answer:
                return answer
        mark = new_mark()
        deadline = SUBMISSION if staged else SHORT
        try:
            command = bundle.command(python, mark, verb)
            output = await self.run(command, input=_input(request, staged), deadline=deadline)
        except CommandTimedOut:
            raise
        except CommandFailed as error:
            if error.returncode == _NO_SUCH_FILE and not is_sent:
                return {"absent": True}
            raise translated(error, python, self.host, verb) from error
        return answer_of(output, mark, python, self.host, verb)

    async def _place(self, python: str, verb: str) -> dict[str, Any]:
        mark = new_mark()
        try:
            output = await self.run(bundle.placing(python), input=bundle.placer(mark), deadline=SHORT)
        except CommandTimedOut:
            raise
        except CommandFailed as error:
            raise translated(error, python, self.host, verb) from error
        return answer_of(output, mark, python, self.host, verb)


def request_line(request: Mapping[str, Any]) -> bytes:
    """Return what begins the standard input of every call."""
    return bundle.PROBE + json.dumps(request).encode() + b"\n"


def python_of(job: JobRecord) -> str:
    """Return the interpreter of a job's host."""
    named = job.params.python_exe
    return PYTHON if named == DEFAULT_PYTHON else named


async def _input(request: Mapping[str, Any], staged: Staged | None) -> AsyncIterator[bytes]:
    yield request_line(request)
    if staged:
        async for piece in tar_stream(staged.members):
            yield piece
