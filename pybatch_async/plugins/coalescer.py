# SPDX-License-Identifier: MIT
"""Turn many awaits into few calls, and hand each waiter its own answer."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

GATHER = 0.005  # seconds the first waiter waits for company
STRIDE = 200  # waiters woken in one turn of the loop, so that ten thousand of them do not stall it


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bound the batches of a coalescer.

    :param items: most items of one batch.
    :param weight: greatest weight of one batch (a single item may exceed it).
    :param heavy: a batch of this weight takes any number of items that add nothing to it.
    :param calls: most calls under way at the same time.
    """

    items: int = 1000
    weight: int = 64 << 20
    heavy: int = 4 << 20
    calls: int = 1


class Coalescer(Generic[Item, Answer]):
    """Gather the items that wait at the same moment, make one call for them, share out the answers.

    A waiter that is cancelled drops out and disturbs nobody; a call under way goes on to its end.

    :param call: coroutine function that is given items and returns one answer each, in their order; an answer that
        is an exception is raised to its waiter. It may `tell` some of them before.
    :param bounds: how large a batch and how many calls may be.
    :param weigh: tells the weights of what an item takes along, in the unit of `bounds.weight`; what several items of
        a batch take along counts once.
    """

    def __init__(
        self,
        call: Callable[[list[Item]], Awaitable[Sequence[Answer | Exception]]],
        bounds: Bounds | None = None,
        weigh: Callable[[Item], Mapping[str, int]] = lambda item: {},
    ) -> None:
        self._call = call
        self._bounds = bounds or Bounds()
        self._weigh = weigh
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._served: dict[Item, asyncio.Future[Answer]] = {}
        self._workers: set[asyncio.Task[None] | None] = set()
        self._is_gathering = False

    async def ask(self, item: Item) -> Answer:
        """Have the item served with the others that wait now, and return its answer."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._engage()
        return await outcome(future)

    def tell(self, item: Item, answer: Answer) -> None:
        """Answer one who waits for an item of a call under way, before the call ends."""
        future = self._served.get(item)
        if future and not future.done():
            future.set_result(answer)

    def _engage(self) -> None:
        if not self._is_gathering and self._waiting and len(self._workers) < self._bounds.calls:
            self._is_gathering = True
            worker = asyncio.create_task(self._work(), name="pybatch_async coalescer")
            self._workers.add(worker)

    async def _work(self) -> None:
        try:
            await self._gather()
            while batch := self._take():
                self._engage()
                await self._serve(batch)
        finally:  # now: one who was just served may ask again before this task counts as done
            self._workers.remove(asyncio.current_task())

    async def _gather(self) -> None:
        try:
            await asyncio.sleep(GATHER)
        finally:
            self._is_gathering = False

    def _take(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        batch: list[tuple[Item, asyncio.Future[Answer]]] = []
        load: dict[str, int] = {}
        weight = 0
        while self._waiting:
            item, future = self._waiting[0]
            load |= {} if future.done() else self._weigh(item)
            added = sum(load.values()) - weight
            if batch and not self._has_room(len(batch), weight, added):
                break
            weight += added
            self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
        return batch

    def _has_room(self, count: int, weight: int, added: int) -> bool:
        if count >= self._bounds.items:
            return weight >= self._bounds.heavy and not added
        return weight + added <= self._bounds.weight

    async def _serve(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        answers: Sequence[Answer | Exception]
        self._served.update(batch)
        try:
            answers = await self._call([item for item, _ in batch])
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:  # whatever went wrong, each waiter must hear of it
            answers = [error] * len(batch)
        finally:
            for item, _ in batch:
                self._served.pop(item, None)
        await share_out([future for _, future in batch], answers)


async def outcome(future: asyncio.Future[Answer]) -> Answer:
    """Wait for a future; one that fails while its waiter is cancelled is no failure that nobody heard of."""
    try:
        return await future
    finally:
        if future.done() and not future.cancelled():
            future.exception()


async def share_out(futures: Sequence[asyncio.Future[Answer]], answers: Sequence[Answer | Exception]) -> None:
    """Give each future its answer or its own copy of an error, in strides that leave the loop room to breathe."""
    for number, (future, answer) in enumerate(zip(futures, answers, strict=True), 1):
        if future.done():
            continue
        if isinstance(answer, Exception):
            future.set_exception(_own_copy(answer))
        else:
            future.set_result(answer)
        if number % STRIDE == 0:
            await asyncio.sleep(0)


def _own_copy(error: Exception) -> Exception:
    """Copy an error, since one that is raised in many tasks would collect all their tracebacks."""
    try:
        own = copy.copy(error)
    except Exception:  # a class of somebody else's that can not be made anew from its `args`; a waiter must hear of it
        return error
    own.__cause__ = error.__cause__
    return own
