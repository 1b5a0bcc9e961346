"""Values that parameters of a model may have, judged by its data alone.

Without knowing what a parameter means, it is one of few things: a location on the axis of x, a width there, a rate
(inverse to x), an exponent or another number near one, or a level or a size of y. Each predictor contributes its own.
Points are drawn from all of these by a Kronecker sequence, whose k-th coordinate is the fractional part of
i sqrt(prime_k): evenly spread, and the same at every call [1]_.

References
----------
.. [1] H. Niederreiter, "Random Number Generation and Quasi-Monte Carlo Methods", SIAM 1992, section 3.1.
"""

from __future__ import annotations

import math
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

MARGIN = 0.1  # of the span of x beyond its ends
WIDTHS = (-2.5, 0.5)  # decades of the span of x
RATES = (-1.5, 1.5)  # decades of the inverse size of x
UNITS = (-1.5, 1.5)  # decades around one
LEVELS = (-2.0, 2.0)  # decades of the size of y
NEGATIVE = 1 / 3  # of the rates and numbers
LOCATIONS = 24  # of a ladder, on each axis of x
RUNGS = 4  # a decade


def axes_of(x: Any) -> list[FloatArray]:
    """Return the finite real predictors in x: it itself, its rows, or the arrays in a tuple."""
    if isinstance(x, tuple):
        parts = [part for part in x if isinstance(part, np.ndarray)]
    else:
        array = np.asarray(x) if isinstance(x, np.ndarray) else np.empty(0)
        parts = list(array) if array.ndim == 2 and array.shape[0] <= array.shape[1] else [array]
    axes = [np.ravel(part) for part in parts if np.asarray(part).dtype.kind == "f" and np.size(part)]
    return [axis for axis in axes if np.isfinite(axis).all()]


def primes(count: int) -> list[int]:
    """Return the first primes."""
    found: list[int] = []
    number = 2
    while len(found) < count:
        if all(number % p for p in found):
            found.append(number)
        number += 1
    return found


@final
class Candidates:
    """Draws values for parameters, within bounds.

    Parameters
    ----------
    x : object
        Predictors; what is no array of numbers says nothing.
    y : ndarray, shape (m,)
        Response.
    lower, upper : ndarray, shape (k,)
        Bounds of the parameters.
    """

    def __init__(self, x: Any, y: FloatArray, lower: FloatArray, upper: FloatArray) -> None:
        self.lower, self.upper = lower, upper
        self.spans: list[tuple[float, float, float]] = []  # lowest, span, size
        for axis in axes_of(x):
            low, high = float(axis.min()), float(axis.max())
            size = max(abs(low), abs(high)) or 1.0
            span = high - low if high > low else size
            if math.isfinite(span):
                self.spans.append((low, span, size))
        self.y_low, self.y_span = float(y.min()), float(np.ptp(y))
        self.y_size = float(np.abs(y).max()) or 1.0
        self._roots = np.sqrt(np.array(primes(2 * lower.size), dtype=np.float64))
        self._kinds = ["unit", "level", "size"] + [
            f"{kind}{k}" for k in range(len(self.spans)) for kind in ("location", "width", "rate", "rate")
        ]

    def draw(self, i: int) -> FloatArray:
        """Return the i-th point, one value for each parameter."""
        u = np.modf((i + 1) * self._roots)[0]
        point = np.empty(self.lower.size)
        for j in range(point.size):
            choice = u[2 * j] * len(self._kinds)
            kind = self._kinds[int(choice)]
            value = self._value(kind, float(u[2 * j + 1]))
            if kind[:4] in ("unit", "rate") and choice % 1.0 < NEGATIVE:
                value = -value
            point[j] = self._inside(value, j, float(u[2 * j + 1]))
        return point

    def _value(self, kind: str, u: float) -> float:
        """Return the value of a kind at a share u of its range."""
        if kind == "unit":
            return _decades(UNITS, u)
        if kind == "level":
            return self.y_low + self.y_span * ((1.0 + 2.0 * MARGIN) * u - MARGIN)
        if kind == "size":
            return self.y_size * _decades(LEVELS, u)
        low, span, size = self.spans[int(kind.lstrip("abcdefghijklmnopqrstuvwxyz"))]
        if kind.startswith("location"):
            return low + span * ((1.0 + 2.0 * MARGIN) * u - MARGIN)
        return span * _decades(WIDTHS, u) if kind.startswith("width") else _decades(RATES, u) / size

    def _inside(self, value: float, j: int, u: float) -> float:
        """Move a value into the bounds of parameter j: anywhere between two, mirrored at one."""
        low, high = float(self.lower[j]), float(self.upper[j])
        if low <= value <= high:
            return value
        if math.isfinite(low) and math.isfinite(high):
            return low + u * (high - low)
        return low + abs(value - low) if math.isfinite(low) else high - abs(value - high)

    def ladder(self, j: int) -> FloatArray:
        """Return values over the whole range that parameter j may have."""
        low, high = float(self.lower[j]), float(self.upper[j])
        sizes = [1.0, self.y_size]
        values = [np.zeros(1)]
        for lowest, span, size in self.spans:
            values.append(lowest + span * np.linspace(-MARGIN, 1.0 + MARGIN, LOCATIONS))
            sizes += [1.0 / size, span]
        if math.isfinite(low) and math.isfinite(high):
            values.append(np.linspace(low, high, LOCATIONS))
        bottom, top = math.log10(min(sizes)) - 1.5, math.log10(max(sizes)) + 1.5
        rungs = 10.0 ** np.arange(bottom, top, 1.0 / RUNGS)
        ladder = np.unique(np.concatenate([*values, rungs, -rungs]))
        return ladder[(ladder >= low) & (ladder <= high)]


def _decades(ends: tuple[float, float], u: float) -> float:
    return float(10.0 ** (ends[0] + (ends[1] - ends[0]) * u))
