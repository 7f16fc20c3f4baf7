# SPDX-License-Identifier: MIT
"""One event loop in a thread of its own, for all synchronous callers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

Result = TypeVar("Result")


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="pybatch", daemon=True).start()
    return loop


def result(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine on the background loop and wait for what it returns or raises."""
    future = asyncio.run_coroutine_threadsafe(work, _loop())
    try:
        return future.result()
    except BaseException:  # re-raised: also a KeyboardInterrupt here must end the work there
        future.cancel()
        raise
