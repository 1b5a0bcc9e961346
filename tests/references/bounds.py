"""Twins of `nlsq.kernels.bounds`: one variable after the other."""

import math


def step_to_bound(x, direction, lower, upper):
    """Return the largest t >= 0 that keeps x + t direction inside."""
    limits = [math.inf]
    for value, d, low, high in zip(x, direction, lower, upper, strict=True):
        if d > 0:
            limits.append((high - value) / d)
        if d < 0:
            limits.append((low - value) / d)
    return max(0.0, min(limits))


def has_inside(lower, upper):
    """Return whether a float lies strictly between."""
    return math.nextafter(lower, math.inf) < upper
