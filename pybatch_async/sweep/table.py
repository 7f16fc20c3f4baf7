# SPDX-License-Identifier: MIT
"""The results of a sweep as rows, as text and as a data frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, overload

from ..errors import ConfigurationError

_WIDEST = 60  # characters of a cell


class Table(Sequence[dict[str, Any]]):
    """Hold one dict a row; as a string it is a table of plain text.

    :param rows: the rows; a column that a row lacks stays empty there.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self._rows = [dict(row) for row in rows]

    @property
    def columns(self) -> list[str]:
        """The names of the columns, in the order in which the rows bring them."""
        return list(dict.fromkeys(name for row in self._rows for name in row))

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> Table: ...

    def __getitem__(self, index: int | slice) -> dict[str, Any] | Table:
        return Table(self._rows[index]) if isinstance(index, slice) else self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Table | list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # rows can be changed

    def cells(self) -> list[list[str]]:
        """Return the rows as text, one line a cell."""
        return [[cell_text(row.get(name)) for name in self.columns] for row in self._rows]

    def to_pandas(self) -> Any:
        """Return the rows as a pandas.DataFrame.

        :raises ConfigurationError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ConfigurationError("to_pandas needs pandas: pip install pandas.") from error
        return pandas.DataFrame(self._rows, columns=self.columns)

    def __str__(self) -> str:
        lines = [self.columns, *self.cells()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        is_number = [any(_is_number(row.get(name)) for row in self._rows) for name in self.columns]
        return "\n".join(_line(line, widths, is_number) for line in lines)

    def __repr__(self) -> str:
        return f"<table of {len(self)} rows: {', '.join(self.columns)}>"


def cell_text(value: object) -> str:
    """Write a value for a cell: one short line that holds nothing a terminal would obey."""
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    line = "".join(character if character.isprintable() else " " for character in text).strip()
    return line if len(line) <= _WIDEST else f"{line[: _WIDEST - 1]}…"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _line(cells: Sequence[str], widths: Sequence[int], is_number: Sequence[bool]) -> str:
    aligned = [
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, is_number, strict=True)
    ]
    return "  ".join(aligned).rstrip()
