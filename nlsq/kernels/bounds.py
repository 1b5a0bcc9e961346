"""Steps and boxes."""

import math

from nlsq.kernels.backend import kernel

UNIT = 2.3e-16  # of a number: moves it by one unit of rounding
SMALLEST = 5e-324  # the same next to zero


@kernel("double(double*, double*, double*, double*, int)")
def step_to_bound(x, direction, lower, upper, n):
    """Largest t >= 0 with lower <= x + t direction <= upper; inf if none limits."""
    t = math.inf
    for j in range(n):
        if direction[j] > 0.0:
            t = min(t, (upper[j] - x[j]) / direction[j])
        elif direction[j] < 0.0:
            t = min(t, (lower[j] - x[j]) / direction[j])
    return max(t, 0.0)


@kernel("void(double*, double*, double*, int, int)")
def keep_inside(x, lower, upper, strictly, n):
    """Move x into the box; `strictly` moves it off the bounds by one unit of rounding where there is room."""
    for j in range(n):
        x[j] = min(max(x[j], lower[j]), upper[j])
        if strictly != 0 and lower[j] < upper[j]:
            if x[j] == lower[j]:
                x[j] = lower[j] + max(UNIT * abs(lower[j]), SMALLEST)
            elif x[j] == upper[j]:
                x[j] = upper[j] - max(UNIT * abs(upper[j]), SMALLEST)
            if x[j] <= lower[j] or x[j] >= upper[j]:
                x[j] = 0.5 * lower[j] + 0.5 * upper[j]


@kernel("int(double*, int)")
def all_finite(values, n):
    """Return 1 if no value is NaN or infinite."""
    total = 0.0
    for i in range(n):
        total += values[i] * 0.0
    return 1 if total == 0.0 else 0
