"""Boxes: how far a step may go, and moving into and off the bounds."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from references import bounds as twin
from references.kernel_calls import MODES, call

from nlsq.kernels import bounds

ROUNDING = 2.0 * float(np.finfo(np.float64).eps)  # of x + t (bound - x) / t, whose terms are as large as |x| + |bound|
ends = st.floats(allow_nan=False)
values = st.floats(allow_nan=False, allow_infinity=False)
ordinary = st.floats(-1e6, 1e6).map(lambda v: round(v, 3))


@st.composite
def boxes(draw):
    """Points in boxes with open, near and equal ends, and a direction."""
    n = draw(st.integers(1, 5))
    rows = []
    for _ in range(n):
        low, x, high = sorted(draw(ordinary) for _ in range(3))
        low = draw(st.sampled_from([low, -math.inf, x]))
        high = draw(st.sampled_from([high, math.inf, x]))
        rows.append((low, x, high, draw(st.sampled_from([0.0, 1.0, -1.0, draw(ordinary)]))))
    return [np.array(column, dtype=float) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("mode", MODES)
@given(box=boxes())
@example(box=[np.array([end]) for end in (0.0, 0.0, 121871.0, 50.5)])
@example(box=[np.array([end]) for end in (-1e6, -999999.999, 1e6, 0.007)])
def test_step_to_bound(mode, box):
    lower, x, upper, direction = box
    found = call(bounds.step_to_bound, mode, x, direction, lower, upper, x.size)
    assert found == pytest.approx(twin.step_to_bound(x, direction, lower, upper), rel=1e-15)
    if found < math.inf:
        end = x + found * direction
        below, above = (ROUNDING * (np.abs(x) + np.abs(bound)) for bound in (lower, upper))
        assert np.all((lower - below <= end) & (end <= upper + above))


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=300)
@given(x=values, ends=st.tuples(ends, ends).map(sorted), strictly=st.integers(0, 1))
@example(x=0.0, ends=[1e-310, math.inf], strictly=1)
@example(x=1e-310, ends=[-math.inf, 1e-310], strictly=1)
@example(x=0.0, ends=[-1e-310, 0.0], strictly=1)
@example(x=1.0, ends=[1.0, math.nextafter(1.0, 2.0)], strictly=1)
@example(x=1e308, ends=[-1.7e308, 1.7e308], strictly=1)
@example(x=1.7e308, ends=[1.6e308, 1.7e308], strictly=1)
def test_keep_inside(mode, x, ends, strictly):
    low, high = ends
    if low == high and math.isinf(low):
        return
    moved = np.array([x])
    call(bounds.keep_inside, mode, moved, np.array([low]), np.array([high]), strictly, 1)
    assert math.isfinite(moved[0])
    assert low <= moved[0] <= high
    if strictly and twin.has_inside(low, high):
        assert low < moved[0] < high
    if low < x < high:
        assert moved[0] == x
    if not strictly:
        assert moved[0] == min(max(x, low), high)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("strictly", [0, 1])
def test_keep_inside_does_not_hide_a_nan(mode, strictly):
    """A candidate that is no number must be refused, not moved to a bound."""
    moved = np.array([np.nan, 2.0])
    call(bounds.keep_inside, mode, moved, np.array([0.0, 0.0]), np.array([1.0, 1.0]), strictly, 2)
    assert np.isnan(moved[0])
    assert 0.9 < moved[1] <= 1.0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("values", "expected"),
    [([], 1), ([0.0, -1e308, 5e-324], 1), ([1.0, np.nan], 0), ([np.inf, 1.0], 0), ([np.inf, -np.inf], 0)],
)
def test_all_finite(mode, values, expected):
    assert call(bounds.all_finite, mode, np.array(values, dtype=float), len(values)) == expected
