r"""Which parameters the data determine, and the covariance of those that they do.

Columns of the Jacobian are brought to unit length, so that the unit of a parameter does not matter, and the singular
values tell along which combinations of parameters the residual does not move:

    J = B D,    D = diag(|J e_j|),    B = U S V'

    seen     s_k >  precision * s_1      C = D^-1 V_s S_s^-2 V_s' D^-1      (the pseudo-inverse of J'J in these units)
    unseen   s_k <= precision * s_1      directions d = D^-1 v_k with J d = 0

A parameter is identified when no unseen direction contains it: then C holds its variance as if the unseen directions
were not there, whatever values are chosen along them [1]_. The variance of any other parameter is unbounded, and given
as NaN. `precision` is the relative accuracy of J: below it a singular value is noise.

References
----------
.. [1] S. R. Searle, "Linear Models", Wiley 1971, section 5.4: estimable functions.
.. [2] G. W. Stewart, "Rank degeneracy", SIAM Journal on Scientific and Statistical Computing 5, 1984: scaling the
   columns before the rank is judged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

EXACT = 1e-13  # relative accuracy of a Jacobian from formulas
CENTRAL = 1e-9  # of central differences: (eps^(2/3)), and some
FORWARD = 1e-7  # of forward differences: (eps^(1/2)), and some
LARGEST = 1e9  # trace of the inverse of the scaled J'J up to which J'J, itself exact to eps, is to be trusted
LEAST_SQUARE = 1e-290  # of a column's length; below, variances leave the range of numbers
LEAST_SHARE = 1e-6  # of a parameter in an unseen direction; less is rounding
MOST_SHARE = 1e-2
ROWS_DEPEND = 1e-9  # relative singular value of constraints' derivatives below which some follow from others


@final
@dataclass(frozen=True, slots=True)
class Identification:
    """What a Jacobian says about each parameter.

    Attributes
    ----------
    covariance : ndarray, shape (n, n)
        For residuals of unit variance; rows and columns of parameters that are not identified are NaN.
    seen : ndarray, shape (n, n)
        The pseudo-inverse that `covariance` is taken from, finite everywhere: valid for any combination of parameters
        that is orthogonal to the unseen directions.
    identifiable : ndarray of bool, shape (n,)
        Whether the data determine the parameter.
    null_directions : ndarray, shape (k, n)
        Unit vectors, in the units of the parameters, along which the residual does not move; the first component that
        is not zero is positive.
    relative_gap : float
        Smallest singular value of the scaled Jacobian in units of the largest, or a lower bound of it; 0 when the data
        cannot tell all parameters apart.
    scale : ndarray, shape (n,)
        Lengths of the columns of J; 1 for one that is zero.
    """

    covariance: FloatArray
    seen: FloatArray
    identifiable: NDArray[np.bool_]
    null_directions: FloatArray
    relative_gap: float
    scale: FloatArray


def identify(jac: FloatArray, precision: float = EXACT) -> Identification:
    """Tell what a Jacobian identifies.

    Parameters
    ----------
    jac : ndarray, shape (m, n)
        Jacobian at the solution, rows in units of one standard deviation.
    precision : float
        Relative accuracy of `jac`.

    Returns
    -------
    Identification
        With NaN and False throughout when `jac` is not finite.
    """
    m, n = jac.shape
    if not np.isfinite(jac).all():
        return unknown(n)
    scale = column_lengths(jac)
    _, values, v_t = np.linalg.svd(jac / scale, full_matrices=m < n)
    return _from_factors(values, v_t, scale, max(precision, max(m, n) * float(np.finfo(np.float64).eps)))


def identify_on_tangent(jac: FloatArray, rows: FloatArray, precision: float = EXACT) -> Identification:
    """Tell what a Jacobian identifies of parameters that active constraints hold to a tangent space.

    With N an orthonormal basis of the null space of ``rows D^-1``, in the units D of the columns of J, the parameters
    move by ``D^-1 N q``, and J D^-1 N is the Jacobian by q:

        C = D^-1 N C_q N' D^-1

    A parameter that the constraints determine has variance 0.

    Parameters
    ----------
    jac : ndarray, shape (m, n)
        Jacobian at the solution, rows in units of one standard deviation.
    rows : ndarray, shape (k, n)
        Derivatives of the active constraints.
    precision : float
        Relative accuracy of `jac`.

    Returns
    -------
    Identification
        With NaN and False throughout when `jac` or `rows` are not finite.

    References
    ----------
    .. [1] S. D. Silvey, "The Lagrangian multiplier test", Annals of Mathematical Statistics 30, 1959: the covariance of
       estimates under restraints.
    """
    n = jac.shape[1]
    if not (np.isfinite(jac).all() and np.isfinite(rows).all()):
        return unknown(n)
    scale = column_lengths(jac)
    scaled = rows / scale
    lengths = np.linalg.norm(scaled, axis=1)
    scaled = scaled[lengths > 0.0] / lengths[lengths > 0.0, np.newaxis]
    if not scaled.size:
        return identify(jac, precision)
    _, values, v_t = np.linalg.svd(scaled, full_matrices=True)
    basis = v_t[int(np.count_nonzero(values > ROWS_DEPEND * values[0])) :]
    basis[:, np.linalg.norm(basis, axis=0) <= ROWS_DEPEND] = 0.0
    found = identify((jac / scale) @ basis.T, precision)
    spread = basis / scale
    seen = spread.T @ found.seen @ spread
    covariance = seen.copy()
    identifiable = np.ones(n, dtype=bool)
    directions = found.null_directions @ basis
    if directions.size:
        unseen = np.linalg.qr(directions.T)[0]
        identifiable = np.linalg.norm(unseen, axis=1) <= LEAST_SHARE
        covariance[~identifiable] = covariance[:, ~identifiable] = np.nan
        directions[np.abs(directions) < LEAST_SHARE] = 0.0
        directions = directions / scale
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return Identification(covariance, seen, identifiable, directions, found.relative_gap, scale)


def identify_from_normal(normal: FloatArray) -> Identification | None:
    """Tell the same from J'J; None when J'J, whose condition is that of J squared, does not have the digits for it.

    Parameters
    ----------
    normal : ndarray, shape (n, n)
        J'J.
    """
    diagonal = normal.diagonal()
    if not (LEAST_SQUARE < diagonal.min(initial=np.inf) and diagonal.max(initial=0.0) < np.inf):
        return None
    scale = np.sqrt(diagonal)
    units = scale * scale[:, np.newaxis]
    scaled = normal / units
    try:
        inverse = np.linalg.inv(scaled)
    except np.linalg.LinAlgError:
        return None
    variances = inverse.diagonal()
    n, total = variances.size, float(variances.sum())
    if not (0.0 < variances.min(initial=np.inf) and total < LARGEST):
        return None
    gap = 1.0 / math.sqrt(n * total) if n else 0.0  # n and `total` bound the eigenvalues of J'J and of its inverse
    covariance = (inverse + inverse.T) / (2.0 * units)
    return Identification(covariance, covariance, np.ones(n, dtype=bool), np.empty((0, n)), gap, scale)


def unknown(n: int) -> Identification:
    """Return what is known about `n` parameters where there is no Jacobian: nothing."""
    nothing = np.full((n, n), np.nan)
    return Identification(nothing, nothing, np.zeros(n, dtype=bool), np.empty((0, n)), 0.0, np.ones(n))


def column_lengths(jac: FloatArray) -> FloatArray:
    """Return the norms of the columns, of values that need not have a square; 1 for a column of zeros."""
    largest = np.abs(jac).max(axis=0, initial=0.0)
    largest[largest == 0.0] = 1.0
    lengths: FloatArray = largest * np.sqrt(np.square(jac / largest).sum(axis=0))
    lengths[lengths == 0.0] = 1.0
    return lengths


def _from_factors(values: FloatArray, v_t: FloatArray, scale: FloatArray, precision: float) -> Identification:
    """Split the right singular vectors into seen and unseen ones."""
    n = scale.size
    all_values = np.zeros(n)
    all_values[: min(n, values.size)] = values[:n]
    threshold = precision * all_values[0] if n else 0.0
    is_seen = all_values > threshold
    root = v_t[is_seen] / all_values[is_seen, np.newaxis] / scale
    with np.errstate(over="ignore"):  # a variance beyond the largest number is infinite
        seen = root.T @ root
    unseen = v_t[~is_seen]
    covariance = seen.copy()
    identifiable = np.ones(n, dtype=bool)
    if unseen.size:
        smallest = all_values[is_seen].min() if is_seen.any() else 1.0
        share = min(max(LEAST_SHARE, 10.0 * threshold / smallest), MOST_SHARE)
        identifiable = np.linalg.norm(unseen, axis=0) <= share
        covariance[~identifiable] = covariance[:, ~identifiable] = np.nan
    directions = unseen / scale
    directions[np.abs(unseen) < LEAST_SHARE] = 0.0
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for direction in directions:
        if direction[np.argmax(direction != 0.0)] < 0.0:  # of the two signs, the one that begins with a plus
            np.negative(direction, out=direction)
    gap = float(all_values[-1] / all_values[0]) if n and all_values[0] > 0.0 else 0.0
    return Identification(covariance, seen, identifiable, directions, gap, scale)
