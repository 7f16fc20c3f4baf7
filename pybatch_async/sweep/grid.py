# SPDX-License-Identifier: MIT
"""The points of a regular grid."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

from ..errors import ConfigurationError


def grid(**axes: Iterable[Any]) -> list[dict[str, Any]]:
    """Return every combination of the values of some axes; the last axis varies fastest.

    :param axes: the values of each parameter.
    :returns: one dict a point, its keys in the order of the axes.
    :raises ConfigurationError: the values of an axis are a single text, or can not be iterated over.
    """
    values = [_values(name, axis) for name, axis in axes.items()]
    return [dict(zip(axes, combination, strict=True)) for combination in product(*values)]


def _values(name: str, axis: Iterable[Any]) -> list[Any]:
    if isinstance(axis, str | bytes) or not isinstance(axis, Iterable):
        raise ConfigurationError(f"{name}: {axis!r} is a single value; write [{axis!r}] for an axis of one.")
    return list(axis)
