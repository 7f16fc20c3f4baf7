# SPDX-License-Identifier: MIT
"""For how long nobody has known a job, counting only the time in which all who could know it answered."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class _Absence:
    last: float | None  # when it was said last; None if there has been no answer since
    seconds: float = 0.0


class Absences(Generic[Key]):
    """Add up for how long nobody has known each key."""

    def __init__(self) -> None:
        self._absences: WeakKeyDictionary[Key, _Absence] = WeakKeyDictionary()

    def add(self, key: Key, now: float) -> float:
        """Count the time since it was said last that nobody knows the key.

        :param now: seconds, by any clock that only moves on.
        :returns: the sum, in seconds.
        """
        absence = self._absences.setdefault(key, _Absence(now))
        absence.seconds += 0.0 if absence.last is None else now - absence.last
        absence.last = now
        return absence.seconds

    def interrupt(self, key: Key) -> None:
        """Leave the time until the next word on the key out, since somebody who may know it gives no answer."""
        if absence := self._absences.get(key):
            absence.last = None

    def interrupt_all(self) -> None:
        """Leave the time until the next word out for all keys."""
        for absence in self._absences.values():
            absence.last = None

    def end(self, key: Key) -> None:
        """Forget what was counted, since the key is known again."""
        self._absences.pop(key, None)
