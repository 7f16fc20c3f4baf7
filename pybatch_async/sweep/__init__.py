# SPDX-License-Identifier: MIT
"""Parameter sweeps: one job a point, a journal that makes them resumable, a table of results."""

from .grid import grid
from .journal import JournalFailed
from .sweep import Sweep
from .table import Table

__all__ = ["JournalFailed", "Sweep", "Table", "grid"]
