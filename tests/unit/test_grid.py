# SPDX-License-Identifier: MIT
"""The points of a grid."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybatch_async import ConfigurationError, grid

AXES = st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(), max_size=4))


def test_the_last_axis_varies_fastest() -> None:
    points = grid(a=[1, 2], b="x y".split())
    assert points == [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}]
    assert list(points[0]) == ["a", "b"]


@given(AXES)
def test_there_is_one_point_for_each_combination(axes: dict[str, list[int]]) -> None:
    points = grid(**axes)
    assert len(points) == prod(map(len, axes.values()))
    assert all(point[name] in axes[name] for point in points for name in axes)


def test_an_axis_can_be_an_iterator() -> None:
    assert len(grid(a=iter(range(3)), b=(1, 2))) == 6


@pytest.mark.parametrize("axis", ["text", b"bytes", 3])
def test_a_single_value_is_no_axis(axis: object) -> None:
    with pytest.raises(ConfigurationError, match=r"a: .* is a single value"):
        grid(a=axis)  # type: ignore[arg-type]  # a mistake that users make
