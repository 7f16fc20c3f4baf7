# SPDX-License-Identifier: MIT
"""Answer the questions of the ssh program (man ssh, SSH_ASKPASS) without a secret on a command line or in a file.

ssh runs a helper with the question as its argument; the helper asks this process, over a socket that only this user
can reach, and prints the answer.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path

from ...parameters import ConnectionParameters
from ..prompting import asked
from ..waiting import to_the_end

_HELPER = """\
import socket, sys
with socket.socket(socket.AF_UNIX) as ask:
    ask.connect(sys.argv[1])
    ask.sendall(sys.argv[2].encode(errors='surrogateescape'))
    ask.shutdown(socket.SHUT_WR)
    answer = b''.join(iter(lambda: ask.recv(4096), b''))
if not answer:
    sys.exit(1)
sys.stdout.buffer.write(answer[1:] + b'\\n')
"""
_ASKED_FOR = re.compile(r"(?:\((?P<who>\S+)\) )?(?:(?P<whose>\S+)'s )?password(?: for (?P<for>\S+?))?:?\s*", re.I)
_LONGEST_QUESTION = 64 * 1024


def stored_answer(question: str, params: ConnectionParameters, login: str) -> str | None:
    """Return what the parameters hold for a question; None where they hold nothing.

    The password goes to the host itself only, never to one on the way to it.

    :param login: the host's own "user@host", as ssh names it in its questions.
    """
    if "assphrase for" in question:
        return params.passphrase
    asked = _ASKED_FOR.fullmatch(question)
    if asked is None:
        return None
    whom = asked["who"] or asked["whose"]
    return params.password if whom in (None, login) else None


class Askpass:
    """Answer the questions of one login.

    :param login: the host's own "user@host".
    :param clock: entered while a person is asked, to stop the login's clock.
    """

    def __init__(
        self, params: ConnectionParameters, login: str, clock: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._params, self._login, self._clock = params, login, clock
        self._asked: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.failure: Exception | None = None  # what the prompt of the parameters raised, or what is wrong with it

    @asynccontextmanager
    async def serving(self, directory: Path) -> AsyncIterator[dict[str, str]]:
        """Serve while in it.

        :param directory: a directory of this user alone; a socket and a helper are put there.
        :returns: the environment variables that lead ssh here.
        """
        path, helper = directory / "ask", directory / "askpass"
        python = shlex.join([sys.executable or "python3", "-I", "-S", "-c", _HELPER, str(path)])
        helper.write_text(f'#!/bin/sh\nexec {python} "$1"\n')
        helper.chmod(0o700)
        server = await asyncio.start_unix_server(self._accept, path)
        try:
            # ssh older than 8.4 knows no SSH_ASKPASS_REQUIRE and asks only where there is a display.
            display = os.environ.get("DISPLAY") or ":0"
            yield {"SSH_ASKPASS": str(helper), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": display}
        finally:
            server.close()
            await to_the_end(self._stop())
            path.unlink(missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            question = (await reader.read(_LONGEST_QUESTION)).decode(errors="replace")
            answer = await self._answer(question)
            if answer is not None:
                writer.write(b"+" + answer.encode(errors="surrogateescape"))
                await writer.drain()
        except Exception as error:  # the caller's own prompt may raise anything; it ends the login
            self.failure = error
        finally:
            writer.close()

    async def _answer(self, question: str) -> str | None:
        if "continue connecting" in question:
            return None  # a host key is never accepted by an answer
        stored = stored_answer(question, self._params, self._login)
        is_refused = question in self._asked  # what is asked twice was not accepted the first time
        self._asked.add(question)
        if stored is not None and not is_refused:
            return stored
        if self._params.prompt is None:
            return None
        with self._clock():
            return await asked(self._params.prompt, question)
