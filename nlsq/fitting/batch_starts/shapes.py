"""A model split into what its linear parameters scale and the rest, at many points.

model(x, a, q) = g(q) + A(q) a        linear parameters a, others q
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

PROOFS = 6  # points at which calls for many points are compared with single ones
SAME = 1e-9  # relative difference of values that are the same
ROUNDING = 1e-12  # relative size of g that is none


@final
class Shapes:
    """Evaluates g and A at many points, by calls for many of them at once where the model takes arrays as parameters.

    Parameters
    ----------
    model : callable
        ``model(x, *p)``.
    x : object
        Handed to the model.
    m : int
        Values that it returns.
    template : ndarray, shape (n,)
        Values of the parameters that are not searched.
    linear, others : ndarray of int
        Places of the parameters that are.
    origin, step : ndarray, shape (n,)
        Values of the linear parameters between which slopes are taken.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        x: Any,
        m: int,
        template: FloatArray,
        linear: IntArray,
        others: IntArray,
        origin: FloatArray,
        step: FloatArray,
    ) -> None:
        self.model, self.x, self.m, self.template = model, x, m, template
        self.linear, self.others, self.origin, self.step = linear, others, origin, step
        self.together = False

    def at(self, q: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return g, shape (c, m), and A, shape (c, k, m), at points q, shape (c, others)."""
        points = np.repeat(self.template[np.newaxis], q.shape[0], axis=0)
        points[:, self.others] = q
        return separate(self.values, points, self.linear, self.origin, self.step)

    def values(self, points: FloatArray) -> FloatArray:
        """Return the model's values at points, shape (c, n) to (c, m); NaN where it has none."""
        if self.together:
            values = called_together(self.model, self.x, points, self.m)
            if values is not None:
                return values
        values = np.empty((points.shape[0], self.m))
        for row, p in zip(values, points, strict=True):
            row[:] = called(self.model, self.x, p, self.m)
        return values

    def prove(self, q: FloatArray) -> None:
        """Call the model for many points from now on, if that gives what single calls give."""
        points = np.repeat(self.template[np.newaxis], min(PROOFS, q.shape[0]), axis=0)
        points[:, self.others] = q[: points.shape[0]]
        points[:, self.linear] = self.origin[self.linear] + self.step[self.linear]
        single, many = self.values(points), called_together(self.model, self.x, points, self.m)
        self.together = many is not None and bool(np.allclose(single, many, rtol=SAME, atol=0.0, equal_nan=True))


def separate(
    values: Callable[[FloatArray], FloatArray],
    points: FloatArray,
    linear: IntArray,
    origin: FloatArray,
    step: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Return the part g and the columns A of the linear parameters from a model's values at their origin and beside."""
    points[:, linear] = origin[linear]
    start = values(points)
    base, columns = start.copy(), np.empty((start.shape[0], linear.size, start.shape[1]))
    size = np.abs(start)
    for k, j in enumerate(linear):
        points[:, j] = origin[j] + step[j]
        columns[:, k] = (values(points) - start) / step[j]
        points[:, j] = origin[j]
        base -= origin[j] * columns[:, k]
        size += np.abs(origin[j] * columns[:, k])
    base[np.abs(base) <= ROUNDING * size.max(axis=1, initial=0.0)[:, np.newaxis]] = 0.0
    return base, columns


def called(model: Callable[..., Any], x: Any, p: FloatArray, m: int) -> Any:
    """Return the model's values at one point; NaN where it raises an arithmetic or value error."""
    try:
        value = np.asarray(model(x, *p), dtype=np.float64).ravel()
    except (ArithmeticError, ValueError):
        return np.nan
    if value.size not in (1, m):
        raise ValueError(f"the model returned {value.size} values for one fit, but y has {m} values a fit.")
    return value


def called_together(model: Callable[..., Any], x: Any, points: FloatArray, m: int) -> FloatArray | None:
    """Return the model's values at many points, shape (c, m), from one call with columns; None where it takes none."""
    try:
        value = np.asarray(model(x, *(column[:, np.newaxis] for column in points.T)), dtype=np.float64)
        return np.array(np.broadcast_to(value, (points.shape[0], m)))
    except Exception:  # whatever a model raises that is meant for numbers
        return None
