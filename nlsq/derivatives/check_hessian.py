r"""Is this the sum of second derivatives that the Jacobian has? If not, which entry is wrong.

For weights w, with v(x) = J(x)' w, a Hessian H is compared along a direction d with central differences,

    H d  ~  (v(x + t d) - v(x - t d)) / 2t,

for two steps t, whose difference says how far to trust them. Where row j disagrees, half of the parameters in d are
tried alone, and the half that disagrees is halved again: after log2(n) more steps one parameter k is left, and entry
(j, k) is named. A Hessian that is not symmetric is found without differences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike

from nlsq.derivatives.estimator import FloatArray
from nlsq.derivatives.steps import full_array, typical_sizes

__all__ = ["HessianMismatchError", "HessianReport", "check_hessian"]

SEED = 20081117
RELATIVE = 6.0554544523933429e-06  # cube root of the rounding unit
ROUNDING = 1e3  # rounding units that v may be off by: J may come from differences, and is a sum over residuals
SAFETY = 10.0  # on the error estimate of the differences
ASYMMETRY = 1e-8  # relative to the largest entry


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class HessianReport:
    """Outcome of `check_hessian`.

    Attributes
    ----------
    ok : bool
        Whether no entry disagrees.
    entry : tuple of int, or None
        ``(j, k)`` of one that disagrees.
    hessian_value, difference_value, uncertainty : float
        What the Hessian says there, what differences of the Jacobian say, and how far they can be trusted; nan where no
        entry disagrees.
    message : str
        All this in a sentence.
    """

    ok: bool
    entry: tuple[int, int] | None = None
    hessian_value: float = np.nan
    difference_value: float = np.nan
    uncertainty: float = np.nan
    message: str

    def __bool__(self) -> bool:
        """Whether the Hessian is right."""
        return self.ok

    def __str__(self) -> str:
        """Return the message."""
        return self.message


class HessianMismatchError(ValueError):
    """A Hessian disagrees with differences; `report` says where."""

    def __init__(self, report: HessianReport) -> None:
        super().__init__(report.message)
        self.report = report


def check_hessian(
    hessian: Callable[[FloatArray, FloatArray], Any],
    jacobian: Callable[[FloatArray], Any],
    x: ArrayLike,
    weights: ArrayLike,
    *,
    bounds: tuple[ArrayLike, ArrayLike] | None = None,
    rtol: float = 1e-4,
    raise_on_error: bool = False,
) -> HessianReport:
    """Compare a weighted sum of second derivatives with differences of the Jacobian.

    Parameters
    ----------
    hessian : callable
        ``hessian(x, weights) -> H``, shape (n, n), both triangles: array, sparse array or LinearOperator.
    jacobian : callable
        ``jacobian(x) -> J``, shape (m, n): array, sparse array or LinearOperator.
    x : array_like, shape (n,)
        Where to compare; a parameter at a bound is moved inside by the width of a difference.
    weights : array_like, shape (m,)
        Of the residuals; those of weight 0 are not checked.
    bounds : tuple of array_like, optional
        ``(lower, upper)``; nothing is evaluated outside. Parameters with equal bounds are not checked.
    rtol : float, optional
        Relative disagreement that passes, besides what differences cannot resolve. Default 1e-4.
    raise_on_error : bool, optional
        Raise instead of returning a report that is not ok.

    Returns
    -------
    HessianReport

    Raises
    ------
    ValueError
        If H has another shape than (n, n).
    HessianMismatchError
        If something disagrees and `raise_on_error` is set.
    """
    point, step = _with_room(np.array(x, dtype=np.float64).reshape(-1), bounds)
    multipliers = np.array(weights, dtype=np.float64).reshape(-1)
    matrix = hessian(point.copy(), multipliers.copy())
    if np.shape(matrix) != (point.size, point.size):
        raise ValueError(f"the Hessian must have shape {(point.size, point.size)}, got {np.shape(matrix)}.")
    report = _without_differences(matrix)
    if report is None:
        report = _compare(matrix, jacobian, point, step, multipliers, rtol)
    if raise_on_error and not report.ok:
        raise HessianMismatchError(report)
    return report


def _with_room(x: FloatArray, bounds: tuple[ArrayLike, ArrayLike] | None) -> tuple[FloatArray, FloatArray]:
    """Give a point with room on both sides of each parameter, and steps that use it; 0 for those that are fixed."""
    lower, upper = (full_array(one, x.size, 0.0, "bounds") for one in bounds or (-np.inf, np.inf))
    sizes = typical_sizes(x, lower, upper, None)
    size = RELATIVE * np.where(x == 0.0, sizes.at_zero, np.maximum(np.abs(x), sizes.typical))
    step = np.minimum(size, 0.5 * (upper - lower))
    return np.where(step > 0.0, np.minimum(np.maximum(x, lower + step), upper - step), x), step


def _without_differences(matrix: Any) -> HessianReport | None:
    """Find an entry that is no number, or the one that differs most from its mirror image; None where there is none."""
    if hasattr(matrix, "tocoo"):
        entries = matrix.tocoo()
        rows, columns, values = entries.row, entries.col, entries.data
        difference = (matrix - matrix.T).tocoo()
        places = difference.row, difference.col, difference.data
        dense = matrix.tocsr()
    elif hasattr(matrix, "matvec"):
        return None
    else:
        dense = np.asarray(matrix, dtype=np.float64)
        rows, columns = (index.ravel() for index in np.indices(dense.shape))
        values, places = dense.ravel(), (rows, columns, (dense - dense.T).ravel())
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        j, k = int(rows[bad[0]]), int(columns[bad[0]])
        value = float(values[bad[0]])
        return HessianReport(
            ok=False, entry=(j, k), hessian_value=value, message=f"entry ({j}, {k}) of the Hessian is {value}."
        )
    if not np.max(np.abs(places[2]), initial=0.0) > ASYMMETRY * np.max(np.abs(values), initial=0.0):
        return None
    worst = int(np.argmax(np.abs(places[2])))
    j, k = int(places[0][worst]), int(places[1][worst])
    j, k = max(j, k), min(j, k)
    below, above = float(dense[j, k]), float(dense[k, j])
    text = f"the Hessian is not symmetric: entry ({j}, {k}) is {below:.6g} and entry ({k}, {j}) is {above:.6g}."
    if below and not above:
        text += " Both triangles are needed."
    return HessianReport(ok=False, entry=(j, k), hessian_value=below, message=text)


def _compare(
    matrix: Any,
    jacobian: Callable[[FloatArray], Any],
    x: FloatArray,
    step: FloatArray,
    weights: FloatArray,
    rtol: float,
) -> HessianReport:
    """Compare along a direction, and along parts of it where the whole disagrees."""
    direction = step * np.random.default_rng(SEED).uniform(0.5, 1.0, x.size)
    used = weights != 0.0

    def product(point: FloatArray) -> FloatArray:
        jac = jacobian(point)
        if hasattr(jac, "tocsr"):
            jac = jac.tocsr()[used]
        elif not hasattr(jac, "matvec"):
            jac = np.asarray(jac, dtype=np.float64)[used]
        elif not used.all():  # an operator has all its rows
            return np.asarray(jac.T @ weights, dtype=np.float64).reshape(-1)
        return np.asarray(jac.T @ weights[used], dtype=np.float64).reshape(-1)

    def along(part: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Product with the Hessian, the same by differences, and what the two may differ by."""
        ahead, behind = product(x + part), product(x - part)
        near = product(x + 0.5 * part) - product(x - 0.5 * part)
        far = 0.5 * (ahead - behind)
        noise = ROUNDING * np.finfo(np.float64).eps * np.maximum(np.abs(ahead), np.abs(behind))
        return np.asarray(matrix @ part, dtype=np.float64).reshape(-1), near, SAFETY * np.abs(near - far) + noise

    return _search(along, direction, rtol)


def _search(along: Callable[[FloatArray], Any], direction: FloatArray, rtol: float) -> HessianReport:
    """Find a row that disagrees, and in it the parameter that makes it so."""
    exact, difference, uncertain = along(direction)
    excess = np.abs(exact - difference) - rtol * np.maximum(np.abs(exact), np.abs(difference)) - uncertain
    excess[~np.isfinite(difference)] = -np.inf  # nothing to hold against
    excess[np.isfinite(difference) & ~np.isfinite(exact)] = np.inf
    if not np.isfinite(difference).any():
        return HessianReport(ok=True, message="differences of the Jacobian are no numbers: nothing was compared.")
    if not np.any(excess > 0.0):
        return HessianReport(ok=True, message="the Hessian agrees with differences of the Jacobian.")
    j = int(np.argmax(excess))
    left = np.flatnonzero(direction)
    values = [float(one[j]) for one in (exact, difference, uncertain)]
    while left.size > 1:
        halves = left[: left.size // 2], left[left.size // 2 :]
        worst = -np.inf
        for half in halves:
            part = np.zeros_like(direction)
            part[half] = direction[half]
            found = [float(one[j]) for one in along(part)]
            off = abs(found[0] - found[1]) - found[2]
            if not off <= worst:
                worst, left, values = off, half, found
    k = int(left[0])
    ours, theirs, unsure = (value / direction[k] for value in values)
    message = (
        f"entry ({j}, {k}) of the Hessian is {ours:.6g}, but differences of the Jacobian give {theirs:.6g}"
        f" (+- {abs(unsure):.1g})."
    )
    return HessianReport(
        ok=False,
        entry=(j, k),
        hessian_value=float(ours),
        difference_value=float(theirs),
        uncertainty=abs(float(unsure)),
        message=message,
    )
