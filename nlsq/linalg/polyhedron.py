r"""The point of a box and a plane that is nearest to a given one.

    min 1/2 |z - v|^2    subject to    A z = b,   l <= z <= u

For multipliers y of the plane the box gives z(y) = min(max(v - A'y, l), u), and y maximises the concave dual function

    q(y) = 1/2 |z(y) - v|^2 + y' (A z(y) - b),     grad q = A z(y) - b,

whose gradient is piecewise linear [1]_. Where variables are at their bounds it may not see all rows; so each round
maximises ``q(y) - epsilon/2 |y - y_before|^2`` [2]_, by Newton's method with the variables F between their bounds,

    (A_F A_F' + epsilon I) dy = A z - b - epsilon (y - y_before),

up to the highest point along each step, where a piecewise linear slope is zero. Without active bounds the first round
ends near the solution, and the rounds converge as ``epsilon / (s^2 + epsilon)`` for singular values s of A_F.

References
----------
.. [1] Y.-H. Dai and R. Fletcher, "New algorithms for singly linearly constrained quadratic programs subject to lower
   and upper bounds", Mathematical Programming 106, 2006, section 2: the dual of one constraint.
.. [2] R. T. Rockafellar, "Augmented Lagrangians and Applications of the Proximal Point Algorithm in Convex
   Programming", Mathematics of Operations Research 1, 1976, section 4.
"""

from __future__ import annotations

from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Nearest", "nearest_point"]

FloatArray = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)
PROXIMAL = 1e-8  # epsilon, for rows of unit length: multipliers move by |A z - b| / epsilon a round at most
ROUNDS = 40
NEWTON_STEPS = 60  # a round
NOTHING = 1e-14  # of a direction, seen by a variable that it does not move
STALLED = 0.9  # of the smallest distance: rounds that gain less than this are few


class Nearest(NamedTuple):
    """What `nearest_point` found.

    Attributes
    ----------
    point : ndarray, shape (n,)
        z, in the box to the last digit.
    multipliers : ndarray, shape (k,)
        y, with ``v - z - A'y`` zero between the bounds.
    distance : float
        ``|A z - b|``: far above rounding where box and plane do not meet.
    """

    point: FloatArray
    multipliers: FloatArray
    distance: float


@final
class _Dual:
    """The dual function of one projection."""

    def __init__(self, v: FloatArray, rows: Any, target: FloatArray, lower: FloatArray, upper: FloatArray) -> None:
        self.v, self.rows, self.target, self.lower, self.upper = v, rows, target, lower, upper

    def clip(self, shifted: FloatArray) -> FloatArray:
        """Return the point of the box that is nearest."""
        return np.minimum(np.maximum(shifted, self.lower), self.upper)

    def round(self, before: FloatArray, least: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Maximise q(y) - epsilon/2 |y - before|^2; return y, v - A'y and A z - b."""
        y = before
        shifted = self.v - self.rows.T @ y
        off = self.rows @ self.clip(shifted) - self.target
        for _ in range(NEWTON_STEPS):
            gradient = off - PROXIMAL * (y - before)
            if float(np.linalg.norm(gradient)) <= least:
                break
            free = (shifted > self.lower) & (shifted < self.upper)
            direction = _regularised(self.rows if free.all() else self.rows[:, free], gradient)
            image = self.rows.T @ direction
            image[np.abs(image) <= NOTHING * np.linalg.norm(direction)] = 0.0
            along = float(direction @ self.target) + PROXIMAL * float(direction @ (y - before))
            length = self._highest(shifted, image, along, PROXIMAL * float(direction @ direction))
            if not length > 0.0:
                break
            y = y + length * direction
            shifted = self.v - self.rows.T @ y
            off = self.rows @ self.clip(shifted) - self.target
        return y, shifted, off

    def _highest(self, shifted: FloatArray, image: FloatArray, along: float, falls: float) -> float:
        """Find the zero of the slope along a direction, which is piecewise linear and falls by `falls` at least.

        slope(t) = image' min(max(shifted - t image, l), u) - along - t falls
        """

        def slope(t: float) -> float:
            return float(image @ self.clip(shifted - t * image)) - along - t * falls

        moves = image != 0.0
        ends = [(shifted[moves] - bound[moves]) / image[moves] for bound in (self.lower, self.upper)]
        breaks = np.unique(np.concatenate(ends))
        breaks = breaks[np.isfinite(breaks) & (breaks > 0.0)]
        low, high = -1, breaks.size  # places of breaks between which the slope becomes negative
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if slope(float(breaks[middle])) > 0.0 else (low, middle)
        left = float(breaks[low]) if low >= 0 else 0.0
        right = float(breaks[high]) if high < breaks.size else 2.0 * left + 1.0
        at_left, at_right = slope(left), slope(right)
        return left + (right - left) * max(at_left, 0.0) / (at_left - at_right) if at_left > at_right else left


def nearest_point(v: FloatArray, rows: Any, target: FloatArray, lower: FloatArray, upper: FloatArray) -> Nearest:
    """Project on the intersection of a box and a plane.

    Parameters
    ----------
    v : ndarray, shape (n,)
        Point.
    rows : ndarray or csr_array, shape (k, n)
        A, rows of about unit length; they may depend on each other.
    target : ndarray, shape (k,)
        b.
    lower, upper : ndarray, shape (n,)
        Box; infinite where it is open.

    Returns
    -------
    Nearest
    """
    dual = _Dual(v, rows, target, lower, upper)
    y, z = np.zeros(target.size), dual.clip(v)
    if not target.size:
        return Nearest(z, y, 0.0)
    off = rows @ z - target
    best = Nearest(z, y, float(np.linalg.norm(off)))
    patience = 3
    for _ in range(ROUNDS):
        least = 4.0 * EPS * float(np.linalg.norm(abs(rows) @ np.abs(best.point) + np.abs(target)))
        if not best.distance > least:
            break
        y, shifted, off = dual.round(y, 0.25 * least)
        distance = float(np.linalg.norm(off))
        patience -= not distance < STALLED * best.distance
        if distance < best.distance:
            best = Nearest(dual.clip(shifted), y, distance)
        if not patience:
            break
    return best


def _regularised(among: Any, gradient: FloatArray) -> FloatArray:
    """Solve ``(A_F A_F' + epsilon I) d = gradient``."""
    if isinstance(among, np.ndarray):
        normal = among @ among.T
        normal.flat[:: len(normal) + 1] += PROXIMAL
        return np.linalg.solve(normal, gradient)
    from scipy.sparse import csc_array, eye_array
    from scipy.sparse.linalg import splu

    found: FloatArray = splu(csc_array(among @ among.T + PROXIMAL * eye_array(gradient.size))).solve(gradient)
    return found
