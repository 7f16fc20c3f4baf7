# SPDX-License-Identifier: MIT
"""A kernel32.dll that writes down its calls and answers as a test says: the lowest seam, below our ctypes code."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

Answer = Callable[..., int]


class Function:
    """Stand for one function of the library; ctypes' users set its types."""

    def __init__(self, name: str, calls: list[tuple[Any, ...]], answer: Answer) -> None:
        self.name, self.calls, self.answer = name, calls, answer
        self.restype: Any = None
        self.argtypes: list[Any] = []

    def __call__(self, *arguments: Any) -> int:
        assert len(arguments) == len(self.argtypes), f"{self.name} takes {len(self.argtypes)} arguments"
        for kind, argument in zip(self.argtypes, arguments, strict=True):
            kind.from_param(argument)  # ctypes refuses here what the real function can not be given
        seen = [pointed_to(argument) for argument in arguments]
        self.calls.append((self.name, *seen))
        return self.answer(*seen)


class Kernel32Dll:
    """Stand for the library: every function succeeds with 1, but for those that a test answers for.

    :param answers: functions by name; what a pointer leads to is given to them in its place.
    """

    def __init__(self, answers: Mapping[str, Answer] | None = None) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.error = 0
        self._answers = dict(answers or {})

    def __getattr__(self, name: str) -> Function:
        function = Function(name, self.calls, self._answers.get(name, lambda *arguments: 1))
        setattr(self, name, function)
        return function

    def last_error(self) -> int:
        """Return the code of the last failure."""
        return self.error

    def failing(self, code: int) -> Answer:
        """Return the answer of a function that fails."""

        def fail(*arguments: Any) -> int:
            self.error = code
            return 0

        return fail

    def names(self) -> list[str]:
        """Return the names of the functions that were called, in their order."""
        return [call[0] for call in self.calls]


def pointed_to(argument: Any) -> Any:
    """Return what a pointer made by ctypes leads to, and anything else as it is."""
    if type(argument).__name__ == "CArgObject":
        return argument._obj
    return argument.value if isinstance(argument, ctypes.c_wchar_p) else argument
