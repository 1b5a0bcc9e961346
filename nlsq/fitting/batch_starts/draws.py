"""Values that parameters of a model may have in many fits at once: drawn as shares of ranges.

A share belongs to a kind of value (a location on the axis of x, a width there, a rate, a frequency up to that of
Nyquist, a number near one), so that the same draw means the same place for any x. For single fits there is
`nlsq.fitting.candidates`, from which kinds and ranges are taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.candidates import LEVELS, MARGIN, NEGATIVE, RATES, UNITS, WIDTHS, axes_of, primes

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

JITTER = 0.3  # of the range of a kind, by which a part of a kept point is moved


@final
@dataclass(slots=True)
class Draws:
    """Points as shares of ranges, for whatever x these ranges follow from.

    Attributes
    ----------
    kinds : ndarray of int, shape (c, q)
        Places in a list of kinds.
    shares : ndarray, shape (c, q)
        Place in the range of the kind, from 0 to 1.
    negative : ndarray of bool, shape (c, q)
        Whether a number or rate is taken negative.
    """

    kinds: IntArray
    shares: FloatArray
    negative: NDArray[np.bool_]

    def __getitem__(self, which: Any) -> Draws:
        return Draws(self.kinds[which], self.shares[which], self.negative[which])

    def joined(self, other: Draws) -> Draws:
        """Return these points followed by others."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("kinds", "shares", "negative"))
        return Draws(*(np.concatenate(pair) for pair in pairs))


@final
class Ranges:
    """Kinds of values, and the ranges that they have for an x.

    Parameters
    ----------
    n_axes : int
        Predictors.
    levels : tuple of float or None
        Lowest value and span of y, for models that need them.
    lower, upper : ndarray, shape (q,)
        Bounds of the parameters.
    """

    def __init__(self, n_axes: int, levels: tuple[float, float] | None, lower: FloatArray, upper: FloatArray) -> None:
        self.levels, self.lower, self.upper = levels, lower, upper
        self.kinds: list[tuple[str, int]] = [("unit", 0)]
        for axis in range(n_axes):
            self.kinds += [(what, axis) for what in ("location", "width", "rate", "frequency")]
        if levels is not None:
            self.kinds += [("level", 0), ("size", 0)]

    def draw(self, first: int, count: int) -> Draws:
        """Return points of a Kronecker sequence, the `first` one and those after it."""
        u = kronecker(first, count, 2 * self.lower.size)
        choice = u[:, ::2] * len(self.kinds)
        kinds = choice.astype(np.intp)
        signed = np.array([what in ("unit", "rate") for what, _ in self.kinds])
        return Draws(kinds, u[:, 1::2], signed[kinds] & (choice % 1.0 < NEGATIVE))

    def cross(self, kept: Draws, first: int, count: int) -> Draws:
        """Return points whose parts are those of kept ones, moved a little."""
        q = self.lower.size
        u = kronecker(first, count, 2 * q)
        parents = (u[:, ::2] * kept.shares.shape[0]).astype(np.intp)
        places = np.arange(q)
        shares = kept.shares[parents, places] + JITTER * (u[:, 1::2] - 0.5)
        shares = np.abs(shares)
        return Draws(kept.kinds[parents, places], np.minimum(shares, 2.0 - shares), kept.negative[parents, places])

    def values(self, draws: Draws, scales: FloatArray) -> FloatArray:
        """Return the points, shape (c, q).

        Parameters
        ----------
        draws : Draws
            c points.
        scales : ndarray, shape (1 or c, axes, 4)
            As from `scales_of`.
        """
        u, shape = draws.shares, draws.shares.shape
        values = np.empty(shape)
        for number, (what, axis) in enumerate(self.kinds):
            chosen = draws.kinds == number
            share = u[chosen]
            if what == "unit":
                values[chosen] = decades(UNITS, share)
            elif what in ("level", "size"):
                low, span = self.levels or (0.0, 1.0)
                size = max(abs(low), abs(low + span)) or 1.0
                level = low + span * ((1.0 + 2.0 * MARGIN) * share - MARGIN)
                values[chosen] = level if what == "level" else size * decades(LEVELS, share)
            else:
                low_x, span_x, size_x, step_x = (
                    np.broadcast_to(scales[:, axis, k, np.newaxis], shape)[chosen] for k in range(4)
                )
                if what == "location":
                    values[chosen] = low_x + span_x * ((1.0 + 2.0 * MARGIN) * share - MARGIN)
                elif what == "width":
                    values[chosen] = span_x * decades(WIDTHS, share)
                elif what == "rate":
                    values[chosen] = decades(RATES, share) / size_x
                else:
                    values[chosen] = share * math.pi / step_x
        values = np.where(draws.negative, -values, values)
        return inside(values, u, self.lower, self.upper)


def kronecker(first: int, count: int, dimensions: int) -> FloatArray:
    """Return numbers between 0 and 1, shape (count, dimensions), evenly spread."""
    roots = np.sqrt(np.array(primes(dimensions), dtype=np.float64))
    u: FloatArray = np.modf(np.arange(first + 1, first + count + 1)[:, np.newaxis] * roots)[0]
    return u


def decades(ends: tuple[float, float], u: FloatArray) -> FloatArray:
    """Return values between two powers of ten, evenly by their logarithm."""
    values: FloatArray = 10.0 ** (ends[0] + (ends[1] - ends[0]) * u)
    return values


def inside(values: FloatArray, u: FloatArray, lower: FloatArray, upper: FloatArray) -> FloatArray:
    """Move values into bounds: anywhere between two, mirrored at one."""
    with np.errstate(invalid="ignore"):
        two = np.where(np.isfinite(lower) & np.isfinite(upper), lower + u * (upper - lower), np.nan)
        one = np.where(np.isfinite(lower), lower + np.abs(values - lower), upper - np.abs(values - upper))
    moved = np.where(np.isnan(two), one, two)
    return np.clip(np.where((values < lower) | (values > upper), moved, values), lower, upper)


def scales_of(x: Any) -> FloatArray:
    """Return lowest value, span, size and spacing of each predictor, shape (1, axes, 4)."""
    axes = axes_of(x)
    scales = np.empty((1, len(axes), 4))
    for k, axis in enumerate(axes):
        scales[0, k] = scales_of_rows(axis[np.newaxis], len(axes))[0]
    return scales


def scales_of_rows(rows: FloatArray, n_axes: int) -> FloatArray:
    """Return the same for the rows of one predictor, shape (b, 4)."""
    low, high = rows.min(axis=1), rows.max(axis=1)
    size = np.maximum(np.abs(low), np.abs(high))
    size[size == 0.0] = 1.0
    span = np.where(high > low, high - low, size)
    step = span / max(1.0, rows.shape[1] ** (1.0 / max(n_axes, 1)) - 1.0)
    return np.stack((low, span, size, step), axis=1)
