# SPDX-License-Identifier: MIT
"""The ssh program as a protocol: for hosts that only it can reach, with all that its configuration can do.

There is no scp here: files travel as tar streams through ssh. scp waits for the host several times for each file; over
a link with a round trip of 40 ms, 2000 small files take it minutes, and one tar stream a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import CommandTimedOut, ConfigurationError, ConnectionFailed, PybatchException
from ..parameters import ConnectionParameters
from ..validation import check_connection
from .framing import new_mark
from .openssh.errors import explain, is_not_shared
from .openssh.gate import Gate
from .openssh.login import NotShared, answering, check, dial
from .openssh.master import Master
from .openssh.options import login_argv, shared_argv
from .openssh.private import log_path, make_private_directory, read_log, remove_directory
from .openssh.remote_run import Ending, RemoteRun, killer
from .openssh.single_flight import SingleFlight
from .process import CannotStart
from .remote import Completed, RemoteProtocol, Sink, Source
from .streams import is_reopenable
from .waiting import acquired, in_thread, pauses, to_the_end

_TRIES = 3  # of what may be repeated when its connection is lost
_KILL_WITHIN = 5.0  # seconds for ending a remote command


@dataclass(frozen=True, slots=True)
class _Turns:
    """Hold what belongs to one event loop."""

    loop: asyncio.AbstractEventLoop
    gate: Gate
    dialling: SingleFlight[Master | None]


class SshProtocol(RemoteProtocol):
    """Run commands on a host, and copy files to and from it, with the ssh program of this machine.

    One login serves all operations (ControlMaster), as many at a time as max_sessions and the host allow; where it can
    not be shared, each operation logs in, as many at a time as max_connections says. A command that a signal ended
    gives 128 and the signal's number as its exit code, as in a shell: ssh tells no signals, and a shell on the host can
    not tell one from a program that ends with such a code.

    :param params: how to reach the host and log in.
    :param multiplex: share one login; False logs in for each operation.
    """

    def __init__(self, params: ConnectionParameters, *, multiplex: bool = True) -> None:
        check_connection(params)
        self.params = params
        self.command_timeout = params.command_timeout
        self._multiplex = self._is_shared = multiplex
        self._master: Master | None = None
        self._turns: _Turns | None = None

    @property
    def host(self) -> str:
        """The host's name, as error messages give it."""
        return self.params.host

    def __repr__(self) -> str:
        who = f"{self.params.user}@{self.host}" if self.params.user else self.host
        gate = self._turns.gate if self._turns else Gate(0)
        logins = int(self._master is not None and self._master.is_alive)
        return f"<SshProtocol {who}: {logins} shared logins, {gate.active} sessions, {gate.waiting} waiting>"

    def __getstate__(self) -> dict[str, Any]:
        return {"params": self.params, "multiplex": self._multiplex}

    def __setstate__(self, state: dict[str, Any]) -> None:
        SshProtocol.__init__(self, state["params"], multiplex=state["multiplex"])

    async def aclose(self) -> None:
        """End what runs in this event loop, and the shared login; the next use logs in again."""
        await super().aclose()
        await self._close_master()

    async def _close_master(self) -> None:
        master, self._master = self._master, None
        if master is not None:
            await in_thread(master.close)

    async def _execute(
        self, argv: Sequence[str], *, input: Source, output: Sink | None, timeout: float, repeatable: bool
    ) -> Completed:
        may_repeat = repeatable and output is None and is_reopenable(input)
        try:
            async with asyncio.timeout(timeout) as deadline:
                return await self._until_done(argv, input, output, _TRIES if may_repeat else 1)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise CommandTimedOut(argv, self.host, timeout) from error
        except CannotStart as error:
            text = f"The ssh program can not be started ({error}): install OpenSSH's client, or use AsyncsshProtocol."
            raise ConfigurationError(text) from error

    async def _until_done(self, argv: Sequence[str], input: Source, output: Sink | None, tries: int) -> Completed:
        give_up = asyncio.get_running_loop().time() + self.params.connect_timeout
        for pause in pauses(0.02, 1.0):
            master = await self._present_master()
            async with self._present_turns().gate.passage() as gate:
                if master is not None and not master.is_alive:
                    continue
                run = RemoteRun(argv, new_mark())
                done = await self._attempt(run, master, input, output)
                ending = run.ending if master is None else await _seen_from(run, master, gate)
            if ending is Ending.DONE:
                return done
            if ending is Ending.LOST:
                tries -= 1
                if not tries:
                    raise ConnectionFailed(f"The connection to {self.host} was lost while {argv[0]!r} ran there.")
            elif master is None:
                self._check_dropped(run, give_up)
            await asyncio.sleep(pause)
        raise AssertionError("pauses() has no end")

    def _check_dropped(self, run: RemoteRun, give_up: float) -> None:
        failure = run.failure or explain(run.log, self.params)
        if not failure.is_transient or asyncio.get_running_loop().time() > give_up:
            raise failure.error

    async def _present_master(self) -> Master | None:
        if not self._is_shared:
            return None
        if self._master is not None and self._master.is_alive:
            return self._master
        return await self._present_turns().dialling.join()

    async def _dial(self) -> Master | None:
        await self._close_master()
        try:
            self._master = await dial(self.params)
        except NotShared:
            self._is_shared, self._turns = False, None
        return self._master

    def _present_turns(self) -> _Turns:
        loop = asyncio.get_running_loop()
        if self._turns is None or self._turns.loop is not loop:
            most = self.params.max_sessions if self._is_shared else self.params.max_connections
            self._turns = _Turns(loop, Gate(most), SingleFlight(self._dial))
        return self._turns

    async def _attempt(self, run: RemoteRun, master: Master | None, input: Source, output: Sink | None) -> Completed:
        try:
            if master is None:
                return await self._run_alone(run, input, output)
            master.trim_log()
            return await run.run(self._over(master), input, output, None)
        except CannotStart:
            raise
        except BaseException:
            if run.was_launched:  # ending ssh does not end what it started
                await to_the_end(self._end_on_host(run.mark, master))
            raise

    def _over(self, master: Master) -> list[str]:
        return shared_argv(self.params, master.control_path)

    async def _run_alone(self, run: RemoteRun, input: Source, output: Sink | None) -> Completed:
        await check(self.params)
        directory = await acquired(make_private_directory, remove_directory)
        try:
            async with asyncio.timeout(None) as no_deadline, answering(self.params, directory, no_deadline) as answers:
                login = login_argv(self.params, log_path(directory))
                done = await run.run(login, input, output, answers.environment)
                run.failure = answers.failure
                run.log += await in_thread(read_log, directory)
                if run.ending is Ending.NEVER_STARTED and "debug1: Sending command" in run.log:
                    run.ending = Ending.LOST
                return done
        finally:
            await in_thread(remove_directory, directory)

    async def _end_on_host(self, mark: str, master: Master | None) -> None:
        try:
            async with asyncio.timeout(_KILL_WITHIN):
                if master is not None and await self._is_ended_over(master, mark):
                    return
                if self.params.prompt is None:  # nobody is asked for this
                    await self._run_alone(RemoteRun(killer(mark), new_mark()), None, None)
        except (TimeoutError, CannotStart, PybatchException):
            return  # the host is out of reach: what runs there can not be ended from here

    async def _is_ended_over(self, master: Master, mark: str) -> bool:
        for pause, _ in zip(pauses(0.05, 5.0), range(3), strict=False):
            if not master.is_alive:
                return False
            run = RemoteRun(killer(mark), new_mark())
            await run.run(self._over(master), None, None, None)
            if run.ending is Ending.DONE:
                return True
            await asyncio.sleep(pause)  # all sessions are taken, one of them by what is to be ended
        return False


async def _seen_from(run: RemoteRun, master: Master, gate: Gate) -> Ending:
    """Tell how a run over a shared login ended; a refused session (MaxSessions) narrows the gate."""
    if run.ending is Ending.DONE:
        return Ending.DONE
    is_lost = await master.has_died()
    if run.ending is Ending.NEVER_STARTED and is_not_shared(run.log):
        if not is_lost:
            gate.lower()
        return Ending.NEVER_STARTED
    return Ending.LOST if is_lost else Ending.DONE  # a signal ended the wrapper itself
