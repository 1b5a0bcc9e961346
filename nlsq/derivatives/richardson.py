r"""Reference derivatives with an error estimate, for checking others: accuracy first, evaluations second.

Difference quotients D(h) at h, h/q, h/q^2, ... are extrapolated to h = 0 (Ridders 1982):

    T_k0 = D(h / q^k),      T_kp = T_k,p-1 + (T_k,p-1 - T_k-1,p-1) / (q^e_p - 1),

e_p = 2p for central quotients, p for one-sided ones at a bound. Each entry of the Jacobian takes the T_kp whose
estimated error is least:  the larger of |T_kp - T_k,p-1| and |T_kp - T_k-1,p-1|,  plus what rounding can do to the
quotient, noise / h_k. The noise of each residual is measured from differences of high order over seven close points
(Moré and Wild 2011), because a residual (model - data) is often much noisier than its own size suggests.

References
----------
.. [1] C. J. F. Ridders, "Accurate Computation of F'(x) and F'(x) F''(x)", Advances in Engineering Software 4, 1982.
.. [2] J. J. Moré and S. M. Wild, "Estimating Computational Noise", SIAM Journal on Scientific Computing 33, 2011,
   section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from nlsq.derivatives.estimator import FloatArray
from nlsq.derivatives.probe import as_residual
from nlsq.derivatives.steps import machine_epsilon, typical_sizes

__all__ = ["Reference", "reference_jacobian"]

LEVELS = 9
RATIO = 3.0  # q; the steps span q^8 = 6561
FIRST_STEP = 0.05  # of the parameter's size; small enough to keep the sign of the parameter
NOISE_POINTS = 7  # Moré and Wild 2011, section 3: 6 differences are enough
NOISE_SPACING = 1e-9  # of the parameter's size: curvature contributes its square, below rounding
NOISE_SAFETY = 4.0  # noise bound / standard deviation
DOUBTFUL = 1e-7  # relative error from which another guess of the size is worth its evaluations
CRAMPED = 1e-3  # of the first step: with less room than this on one side, quotients are one-sided
SEED = 19820401


class Reference(NamedTuple):
    """Derivatives and how far they can be trusted, each shape (m, n).

    Attributes
    ----------
    jac : ndarray
        Derivatives; nan where there are none.
    error : ndarray
        Estimated error; inf where nothing can be said.
    """

    jac: FloatArray
    error: FloatArray


def reference_jacobian(
    fun: Callable[..., Any], x: FloatArray, lower: FloatArray, upper: FloatArray, scale: FloatArray | None = None
) -> Reference:
    """Differentiate `fun` at `x` by extrapolated differences.

    Parameters
    ----------
    fun : callable
        ``fun(x) -> r``.
    x : ndarray, shape (n,)
        Point.
    lower, upper : ndarray, shape (n,)
        Bounds that no evaluation leaves.
    scale : ndarray, shape (n,), optional
        Sizes of the parameters.

    Returns
    -------
    Reference
    """
    raw = np.atleast_1d(np.asarray(fun(x.copy())))
    r = as_residual(raw, raw.shape).astype(np.float64)
    size = typical_sizes(x, lower, upper, scale).scale
    eps = machine_epsilon(raw.dtype)

    def residual(point: FloatArray) -> FloatArray:
        return as_residual(fun(point), r.shape).astype(np.float64)

    with np.errstate(all="ignore"):
        noise = np.maximum(_noise(residual, x, r, lower, upper, size, eps), eps * np.abs(r))
        jac, error = np.full((r.size, x.size), np.nan), np.full((r.size, x.size), np.inf)
        for j in range(x.size):
            jac[:, j], error[:, j] = _column(residual, x, r, j, (lower[j], upper[j]), size[j], noise)
            if size[j] < 1.0 and not np.max(error[:, j]) < DOUBTFUL * np.max(np.abs(jac[:, j])):
                # The size of a parameter near zero is a guess; where it led to nothing, 1 is the next one.
                other, other_error = _column(residual, x, r, j, (lower[j], upper[j]), 1.0, noise)
                better = other_error < error[:, j]
                jac[better, j], error[better, j] = other[better], other_error[better]
    return Reference(jac, error)


def _column(
    residual: Callable[[FloatArray], FloatArray],
    x: FloatArray,
    r: FloatArray,
    j: int,
    bounds: tuple[float, float],
    size: float,
    noise: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Extrapolate the derivatives by parameter j; returns values and error estimates, each shape (m,)."""
    below, above = x[j] - bounds[0], bounds[1] - x[j]
    longest = FIRST_STEP * size
    central = min(below, above) >= CRAMPED * longest and min(below, above) > 0
    first = min(longest, min(below, above) if central else max(below, above))
    if not first > 0:
        return np.full(r.size, np.nan), np.full(r.size, np.inf)
    direction = 1.0 if central or above >= below else -1.0

    def at(step: float) -> tuple[FloatArray, float]:
        point = x.copy()
        point[j] = min(max(x[j] + step, bounds[0]), bounds[1])
        moved = point[j] - x[j]
        return residual(point), moved

    best, best_error = np.full(r.size, np.nan), np.full(r.size, np.inf)
    previous: list[FloatArray] = []
    for k in range(LEVELS):
        step = direction * first / RATIO**k
        ahead, moved = at(step)
        behind, moved_back = at(-step) if central else (r, 0.0)
        if moved == moved_back:
            break
        row = [(ahead - behind) / (moved - moved_back)]
        rounding = NOISE_SAFETY * noise / abs(moved)
        for p in range(1, k + 1):
            weight = 1.0 / (RATIO ** (2 * p if central else p) - 1.0)
            row.append(row[p - 1] + weight * (row[p - 1] - previous[p - 1]))
            error = np.maximum(np.abs(row[p] - row[p - 1]), np.abs(row[p] - previous[p - 1])) + rounding
            better = np.isfinite(row[p]) & (error < best_error)
            best[better], best_error[better] = row[p][better], error[better]
        previous = row
    return best, best_error


def _noise(
    residual: Callable[[FloatArray], FloatArray],
    x: FloatArray,
    r: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
    size: FloatArray,
    eps: float,
) -> FloatArray:
    """Measure the computational noise of each residual near `x`, shape (m,)."""
    signs = np.where(upper - x >= x - lower, 1.0, -1.0)
    spacing = max(NOISE_SPACING, 8.0 * eps)
    direction = spacing * signs * size * np.random.default_rng(SEED).uniform(0.5, 1.0, x.size)
    table = [r] + [residual(np.clip(x + k * direction, lower, upper)) for k in range(1, NOISE_POINTS)]
    differences = np.array(table)
    deviation = np.zeros_like(r)
    for order in range(1, NOISE_POINTS - 1):
        differences = np.diff(differences, axis=0)
        if order >= 2:
            factor = math.factorial(order) ** 2 / math.factorial(2 * order)
            deviation = np.fmax(deviation, np.sqrt(factor * np.mean(differences**2, axis=0)))
    return deviation
