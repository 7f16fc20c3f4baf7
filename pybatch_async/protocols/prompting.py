# SPDX-License-Identifier: MIT
"""Ask the caller's prompt."""

from __future__ import annotations

from collections.abc import Awaitable

from ..errors import ConfigurationError
from ..parameters import Prompt


async def asked(prompt: Prompt, question: str) -> str:
    """Return what the prompt of the connection parameters answers.

    :raises ConfigurationError: it is no coroutine function, or returns no text.
    """
    answering: object = prompt(question)
    if not isinstance(answering, Awaitable):
        raise ConfigurationError("prompt: a coroutine function is needed (`async def`), not a plain one.")
    answer = await answering
    if not isinstance(answer, str):  # its type alone is told: it may hold a secret all the same
        raise ConfigurationError(f"prompt: it has to return text, not a value of type {type(answer).__name__}.")
    return answer
