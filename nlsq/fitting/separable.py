r"""Which parameters a model is linear in, and their best values for given others.

    model(x, a, q) = g(q) + A(q) a,      a(q) = argmin |A(q) a - (y - g(q))|

so that only q has to be searched (variable projection [1]_). Linearity is found by trying: f is linear in a_j where two
difference quotients along a_j agree, and jointly in a_i and a_j where their mixed difference is zero.

References
----------
.. [1] G. H. Golub and V. Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems whose
   variables separate", SIAM Journal on Numerical Analysis 10, 1973.
.. [2] P. W. Holland and R. E. Welsch, "Robust regression using iteratively reweighted least-squares", Communications
   in Statistics A6, 1977.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.loss import Loss

FloatArray = NDArray[np.float64]

WITNESSES = 2  # points that must show a parameter to be linear
SLOPE_ERROR = 1e-7  # relative difference of quotients that rounding explains
ROUNDING = 1e-12
REWEIGHTED = 5  # times, for a robust loss [2]_
RCOND = 1e-10  # relative length of a direction below which linear parameters are not told apart


@final
class Screen:
    """Tries values of the unknown parameters at little cost; counts the calls.

    Parameters
    ----------
    values : callable
        ``p -> f``, the model's values (m,), weighted, over the unknown parameters.
    y : ndarray, shape (m,)
        Response, weighted.
    lower, upper : ndarray, shape (k,)
        Bounds.
    loss : Loss
        Decides what is better.

    Attributes
    ----------
    linear, others : list of int
        The parameters by which the model is linear, jointly, and the others; all are others before `find_linear`.
    evaluations : int
        Calls of the model.
    seconds : float
        Time that they took.
    """

    def __init__(
        self,
        values: Callable[[FloatArray], Any],
        y: FloatArray,
        lower: FloatArray,
        upper: FloatArray,
        loss: Loss,
    ) -> None:
        self._values, self.y, self.lower, self.upper, self.loss = values, y, lower, upper, loss
        self.linear: list[int] = []
        self.others = list(range(lower.size))
        self.evaluations = 0
        self.seconds = 0.0
        low = np.where(np.isfinite(lower), lower, np.where(np.isfinite(upper), upper - 1.0, 0.0))
        self._origin = np.clip(np.zeros(lower.size), low, np.where(np.isfinite(upper), upper, np.inf))
        step = np.ones(lower.size)
        room = upper - self._origin
        step[room < 1.0] = np.where(room > 0.0, room, -np.minimum(1.0, self._origin - lower))[room < 1.0]
        self._step = step

    def values(self, p: FloatArray) -> FloatArray | None:
        """Return the model's values; None where it has none: not finite, or an arithmetic or value error."""
        self.evaluations += 1
        begun = perf_counter()
        try:
            f: FloatArray = self._values(p)
        except (ArithmeticError, ValueError):
            return None
        finally:
            self.seconds += perf_counter() - begun
        return f if math.isfinite(float(f @ f)) else None

    def find_linear(self, points: Iterable[FloatArray]) -> None:
        """Find a set of parameters in which the model is jointly linear, at points where it has values."""
        k = self.lower.size
        shown, refuted = np.zeros(k, dtype=int), np.zeros(k, dtype=bool)
        clashing = np.zeros((k, k), dtype=bool)
        for p in points:
            base = self.values(p)
            if base is None:
                continue
            undecided = [j for j in range(k) if not refuted[j] and shown[j] < WITNESSES]
            if not undecided:
                break
            moved = {}
            for j in (j for j in range(k) if not refuted[j]):
                verdict, difference = self._is_linear(p, base, j)
                if verdict is not None:
                    shown[j] += verdict
                    refuted[j] = not verdict
                    if verdict:
                        moved[j] = difference
            self._find_clashes(p, base, moved, clashing)
        for j in range(k):
            if shown[j] and not refuted[j] and not clashing[j, self.linear].any():
                self.linear.append(j)
        self.others = [j for j in range(k) if j not in self.linear]

    def _is_linear(self, p: FloatArray, base: FloatArray, j: int) -> tuple[bool | None, FloatArray]:
        """Compare the slopes along parameter j on two sides; None where it has no effect or no values."""
        h = max(1.0, abs(float(p[j])))
        ends = np.clip([p[j] - h, p[j] + 2.0 * h], self.lower[j], self.upper[j])
        if ends[0] == p[j]:
            ends[0] = 0.5 * (p[j] + ends[1])
        if ends[1] == p[j]:
            ends[1] = 0.5 * (p[j] + ends[0])
        slopes, error = [], 0.0
        for end in ends:
            f = self._at(p, {j: float(end)})
            if f is None or end == p[j]:
                return None, base
            slopes.append((f - base) / (end - p[j]))
            error += ROUNDING * float(max(np.abs(f).max(), np.abs(base).max())) / abs(float(end - p[j]))
        size = max(float(np.abs(slope).max()) for slope in slopes)
        if size <= 1e3 * error:
            return None, base
        return bool(np.abs(slopes[0] - slopes[1]).max() <= SLOPE_ERROR * size + error), slopes[1]

    def _find_clashes(
        self, p: FloatArray, base: FloatArray, slopes: dict[int, FloatArray], clashing: NDArray[np.bool_]
    ) -> None:
        """Note the pairs whose mixed difference is not zero: the slope along i changes when j moves."""
        indices = list(slopes)
        for place, i in enumerate(indices):
            for j in indices[:place]:
                if clashing[i, j]:
                    continue
                step_i, step_j = self._inward(p, i), self._inward(p, j)
                f = self._at(p, {i: p[i] + step_i, j: p[j] + step_j})
                if f is None:
                    clashing[i, j] = clashing[j, i] = True
                    continue
                mixed = f - base - step_i * slopes[i] - step_j * slopes[j]
                size = np.abs(step_i * slopes[i]).max() + np.abs(step_j * slopes[j]).max()
                if np.abs(mixed).max() > SLOPE_ERROR * size + ROUNDING * np.abs(base).max():
                    clashing[i, j] = clashing[j, i] = True

    def _inward(self, p: FloatArray, j: int) -> float:
        """Return a step of parameter j that stays within its bounds."""
        h = max(1.0, abs(float(p[j])))
        up, down = self.upper[j] - p[j], p[j] - self.lower[j]
        return float(min(h, up)) if up >= down else -float(min(h, down))

    def _at(self, p: FloatArray, changes: dict[int, float]) -> FloatArray | None:
        point = p.copy()
        for j, value in changes.items():
            point[j] = min(max(value, self.lower[j]), self.upper[j])  # rounding may lead out of the bounds
        return self.values(point)

    def project(self, p: FloatArray) -> tuple[FloatArray | None, FloatArray]:
        """Return the residual (None without values) and the point with the best linear parameters for the others."""
        point = p.copy()
        point[self.linear] = self._origin[self.linear]
        base = self.values(point)
        if base is None or not self.linear:
            return (None if base is None else base - self.y), point
        columns = np.empty((base.size, len(self.linear)), order="F")
        for k, j in enumerate(self.linear):
            f = self._at(point, {j: float(self._origin[j] + self._step[j])})
            if f is None:
                return None, p
            np.subtract(f, base, out=columns[:, k])
            columns[:, k] /= self._step[j]
        coefficients = self._coefficients(columns, self.y - base)
        linear = np.clip(self._origin[self.linear] + coefficients, self.lower[self.linear], self.upper[self.linear])
        point[self.linear] = linear
        residual: FloatArray = base + columns @ (linear - self._origin[self.linear]) - self.y
        return residual, point

    def _coefficients(self, columns: FloatArray, target: FloatArray) -> FloatArray:
        """Return the best coefficients: by least squares, and for a robust loss reweighted by it a few times."""
        coefficients = solve_scaled(columns, target)
        if not self.loss.is_linear:
            for _ in range(REWEIGHTED):
                slope = self.loss.of_residual(columns @ coefficients - target)[1]
                root = np.sqrt(np.maximum(slope, 0.0))
                coefficients = solve_scaled(columns * root[:, np.newaxis], target * root)
        return coefficients

    def score(self, p: FloatArray) -> tuple[float, FloatArray]:
        """Return cost and point with the best linear parameters for the others in `p`; infinite without values."""
        residual, point = self.project(p)
        cost = math.inf if residual is None else self.loss.cost(residual)
        return (cost if math.isfinite(cost) else math.inf), point

    def projected_residual(self, p: FloatArray) -> Callable[[FloatArray], FloatArray]:
        """Return the residual over the parameters that are not linear; NaN where the model has no values."""
        nothing = np.full(self.y.size, np.nan)

        def residual(q: FloatArray) -> FloatArray:
            trial = p.copy()
            trial[self.others] = q
            projected = self.project(trial)[0]
            return nothing if projected is None else projected

        return residual


def solve_scaled(columns: FloatArray, target: FloatArray) -> FloatArray:
    """Return the least-squares coefficients, with columns brought to unit length before their rank is judged."""
    lengths = np.sqrt(np.einsum("ij,ij->j", columns, columns))
    lengths[lengths == 0.0] = 1.0
    solution: FloatArray = np.linalg.lstsq(columns / lengths, target, rcond=RCOND)[0] / lengths
    return solution
