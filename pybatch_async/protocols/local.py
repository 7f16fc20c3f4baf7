# SPDX-License-Identifier: MIT
"""This machine as a host: programs run as subprocesses, without a shell."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar, Self
from weakref import WeakKeyDictionary

from ..errors import CommandTimedOut
from .process import CannotStart, run_process
from .remote import Completed, RemoteProtocol, Sink, Source

_MOST_PROCESSES = 64  # at the same time, for each event loop; more would only fill the machine
_CANNOT_RUN, _NOT_FOUND = 126, 127  # as a POSIX shell reports them

_slots: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


class LocalProtocol(RemoteProtocol):
    """Run commands and copy files on this machine.

    There is one instance of it, so leaving an `async with` leaves alone what others run; `aclose` ends it, as for every
    protocol. Relative paths start at the current directory.
    """

    _only: ClassVar[Any]

    def __new__(cls) -> Self:
        """Return the one instance: queues are kept weakly by protocol, and would go with one of many that are equal."""
        if "_only" not in cls.__dict__:
            cls._only = super().__new__(cls)
        only: Self = cls._only
        return only

    @property
    def host(self) -> str:
        """The host's name, as error messages give it."""
        return "localhost"

    async def __aexit__(self, *_: object) -> None:
        """Leave everything as it is: nothing is open, and what runs may be somebody else's."""

    def __repr__(self) -> str:
        return "LocalProtocol()"

    async def _execute(
        self, argv: Sequence[str], *, input: Source, output: Sink | None, timeout: float, repeatable: bool
    ) -> Completed:
        try:
            async with asyncio.timeout(timeout) as deadline, _slot():
                return await run_process(argv, input=input, output=output)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise CommandTimedOut(argv, self.host, timeout) from error
        except CannotStart as error:
            code = _NOT_FOUND if isinstance(error.__cause__, FileNotFoundError) else _CANNOT_RUN
            words = f"{argv[0]}: {error}: it can not be started on this machine; check its name and PATH"
            return Completed(code, b"", words.encode(errors="surrogateescape"))


def _slot() -> asyncio.Semaphore:
    return _slots.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_MOST_PROCESSES))
