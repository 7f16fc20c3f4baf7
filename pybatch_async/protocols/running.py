# SPDX-License-Identifier: MIT
"""What runs over each protocol, so that closing it ends that too."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from ..errors import ConnectionFailed

_PATIENCE = 20.0  # seconds that closing waits; ending a command is bounded by less


class Closed(ConnectionFailed):
    """Say that a protocol was closed under an operation; it is not tried again."""


@dataclass(eq=False, slots=True)
class _Operation:
    cut: asyncio.Timeout
    loop: asyncio.AbstractEventLoop
    over: asyncio.Event = field(default_factory=asyncio.Event)


_operations: WeakKeyDictionary[object, set[_Operation]] = WeakKeyDictionary()  # by protocol


@asynccontextmanager
async def ended_with(protocol: object, what: str) -> AsyncIterator[None]:
    """Cancel the body when the protocol is closed.

    :param what: the words for the body.
    :raises Closed: that has happened.
    """
    operation = _Operation(asyncio.timeout(None), asyncio.get_running_loop())
    running = _operations.setdefault(protocol, set())
    try:
        async with operation.cut:
            running.add(operation)
            yield
    except TimeoutError as error:
        if not operation.cut.expired():
            raise
        text = "was closed meanwhile: it was ended, and what it did until then is not known"
        raise Closed(f"The protocol that {what} {text}.") from error
    finally:
        running.discard(operation)
        operation.over.set()


async def end_all(protocol: object) -> None:
    """End what runs over a protocol in this event loop, as a cancellation would, and wait for that."""
    loop = asyncio.get_running_loop()
    running = [each for each in _operations.get(protocol, ()) if each.loop is loop]
    for each in running:
        with contextlib.suppress(RuntimeError):  # it is about to end
            each.cut.reschedule(loop.time())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            for each in running:
                await each.over.wait()
