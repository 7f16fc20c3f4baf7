# SPDX-License-Identifier: MIT
"""The kinds of values that fields of parameters hold, told apart before anything looks into a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

MOST = 2**31 - 1  # of anything that is counted: what a scheduler or a socket option takes


@dataclass(frozen=True, slots=True)
class Kind:
    """Say what a field must hold.

    :param needed: the words for it.
    :param is_kept: tells whether a value is of this kind.
    :param is_secret: the value appears in no complaint.
    """

    needed: str
    is_kept: Callable[[object], bool]
    is_secret: bool = False

    def complaint(self, value: object) -> str:
        """Say what is wrong with a value."""
        shown = f"a value of type {type(value).__name__}" if self.is_secret else repr(value)
        return f"{self.needed} needed, not {shown}"


def optional(kind: Kind) -> Kind:
    """Return the kind that allows None as well."""
    return Kind(kind.needed, lambda value: value is None or kind.is_kept(value), kind.is_secret)


def is_count(value: object, least: int) -> bool:
    """Tell whether a value is a whole number that can count something."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= MOST


def is_duration(value: object) -> bool:
    """Tell whether a value is a number of seconds; infinity and NaN are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def _is_path(value: object) -> bool:
    return isinstance(value, str | Path)


def _is_list_of_paths(value: object) -> bool:
    return _is_list(value) and all(map(_is_path, value))


TEXT = Kind("text is", lambda value: isinstance(value, str))
SECRET = Kind("text is", lambda value: value is None or isinstance(value, str), is_secret=True)
FLAG = Kind("True or False is", lambda value: isinstance(value, bool))
PATH = Kind("a path is", _is_path)
LIST = Kind("a list is", _is_list)
LIST_OF_PATHS = Kind("a list of paths is", _is_list_of_paths)
MAPPING = Kind("a mapping of names to texts is", lambda value: isinstance(value, Mapping))
PROMPT = Kind("a coroutine function is", lambda value: value is None or callable(value), is_secret=True)
CONFIG = Kind("a path, None or False is", lambda value: value is None or isinstance(value, bool | str | Path))
