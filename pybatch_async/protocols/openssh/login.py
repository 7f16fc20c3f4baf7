# SPDX-License-Identifier: MIT
"""Log in with the ssh program: questions answered, dropped logins tried again, failures told."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ...errors import AuthenticationFailed, ConfigurationError
from ...parameters import ConnectionParameters
from ...validation import check_connection
from .. import troubles
from ..key_files import found_keys
from ..process import run_process
from ..waiting import acquired, in_thread, pauses, resting, to_the_end
from .askpass import Askpass
from .errors import Failure, explain
from .master import Master
from .options import can_answer, login_argv, resolve_argv
from .private import log_path, make_private_directory, read_log, remove_directory


class NotShared(Exception):
    """Say that a login succeeded but that its connection can not be shared here."""


class LoginFailed(Exception):
    """Carry why a login failed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure.error))
        self.failure = failure


async def dial(params: ConnectionParameters) -> Master:
    """Log in and keep the connection open for others.

    :raises ConfigurationError: the parameters are wrong.
    :raises ConnectionFailed: the host was not reached, or refused the login.
    :raises NotShared: others can not use the connection.
    """
    await check(params)
    loop = asyncio.get_running_loop()
    give_up = loop.time() + params.connect_timeout
    for pause in pauses(0.2, 5.0):
        try:
            return await _dial_once(params)
        except LoginFailed as failed:
            if not failed.failure.is_transient or loop.time() + pause > give_up:
                raise failed.failure.error from failed.failure.error.__cause__
        await asyncio.sleep(pause)
    raise AssertionError("pauses() has no end")


async def check(params: ConnectionParameters) -> None:
    """Refuse parameters that no login could be made with.

    :raises ConfigurationError: naming what is wrong.
    """
    check_connection(params)
    await in_thread(found_keys, params.client_keys or ())


async def _dial_once(params: ConnectionParameters) -> Master:
    directory = await acquired(make_private_directory, remove_directory)
    master: Master | None = None
    try:
        async with asyncio.timeout(params.connect_timeout) as deadline:
            async with answering(params, directory, deadline) as answers:
                master = Master(login_argv(params, log_path(directory)), directory, answers.environment)
                if not await master.is_ready():
                    raise LoginFailed(answers.failure or explain(read_log(directory), params))
        if not master.is_shared:
            raise NotShared
        return master
    except BaseException as error:
        await to_the_end(_discard(master, directory))
        if isinstance(error, TimeoutError) and deadline.expired():
            raise troubles.unfinished(params.host, params.connect_timeout) from error
        raise


async def _discard(master: Master | None, directory: Path) -> None:
    if master is not None:
        await in_thread(master.close)
    await in_thread(remove_directory, directory)


class Answers:
    """Hold how a login's questions are answered.

    :param environment: the environment for ssh.
    :param askpass: None where nothing can answer.
    """

    def __init__(self, host: str, environment: dict[str, str], askpass: Askpass | None) -> None:
        self._host, self.environment, self._askpass = host, environment, askpass

    @property
    def failure(self) -> Failure | None:
        """Why the prompt of the parameters answered nothing; None where it was not asked, or did."""
        error = self._askpass.failure if self._askpass else None
        if error is None:
            return None
        if isinstance(error, ConfigurationError):
            return Failure(error)
        text = f"The login to {self._host} was given up, because the prompt that answers its questions failed"
        refused = AuthenticationFailed(f"{text}: {error!r}.")
        refused.__cause__ = error
        return Failure(refused)


@asynccontextmanager
async def answering(params: ConnectionParameters, directory: Path, deadline: asyncio.Timeout) -> AsyncIterator[Answers]:
    """Answer what ssh asks while in it.

    :param deadline: of the login; it waits while a person is asked.
    """
    environment = dict(os.environ)
    if not can_answer(params):
        # Nor must the ssh of a hop, which knows nothing of BatchMode, put up a window.
        yield Answers(params.host, environment | {"SSH_ASKPASS_REQUIRE": "never"}, None)
        return
    askpass = Askpass(params, await _own_login(params), lambda: resting(deadline))
    async with askpass.serving(directory) as variables:
        yield Answers(params.host, environment | variables, askpass)


async def _own_login(params: ConnectionParameters) -> str:
    done = await run_process(resolve_argv(params), input=None, output=None)
    settings = dict(line.split(" ", 1) for line in done.stdout.decode(errors="replace").splitlines() if " " in line)
    return f"{settings.get('user', params.user)}@{settings.get('hostname', params.host)}"
