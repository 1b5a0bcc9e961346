"""The covariance of least-squares estimates, up to the variance of one residual.

Near the minimum r(x) is linear, r = r* + J (x - x*). If its entries are independent with variance s^2, then

    cov(x) = s^2 (J' J)^-1.

Two routes to (J' J)^-1, neither of which forms J' J and squares its condition:

    singular values   J = U S V'     (J' J)^+  = V S^-2 V'          directions that the data do not see count as known
    triangle          J P = Q R      (J' J)^-1 = P R^-1 R^-T P'     exists only where R has no zero on its diagonal

References
----------
.. [1] G. H. Golub and C. F. Van Loan, "Matrix Computations", 4th edition, sections 5.3 and 5.5.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)
MASKED_UP_TO = 50  # parameters


def covariance_from_jacobian(jac: FloatArray) -> FloatArray:
    """Return the pseudo-inverse of J' J from the singular values of J.

    Parameters
    ----------
    jac : ndarray, shape (m, n)
        Jacobian at the minimum, rows in units of one standard deviation.

    Returns
    -------
    ndarray, shape (n, n)
        Covariance for residuals of unit variance. Singular values below ``eps max(m, n) s[0]`` are left out, so that
        the variance along a direction without data is zero.

    Raises
    ------
    numpy.linalg.LinAlgError
        If `jac` is not finite.
    """
    _, singular_values, v_t = np.linalg.svd(jac, full_matrices=False)
    if singular_values.size and not singular_values[-1] > EPS * max(jac.shape) * singular_values[0]:
        seen = singular_values > EPS * max(jac.shape) * singular_values[0]
        singular_values, v_t = singular_values[seen], v_t[seen]
    root = v_t / singular_values[:, np.newaxis]
    covariance: FloatArray = root.T @ root
    return covariance


def upper_triangle(jac: FloatArray) -> FloatArray:
    """Return R of J = Q R.

    Parameters
    ----------
    jac : ndarray, shape (m, n)
        Jacobian, ``m >= n``.

    Returns
    -------
    ndarray, shape (n, n)
    """
    n = jac.shape[1]
    reflectors: FloatArray = np.linalg.qr(jac, mode="raw")[0]  # R', and the reflections above it
    if n < MASKED_UP_TO:
        r: FloatArray = reflectors.T[:n] * _mask(n)
        return r
    return np.triu(reflectors.T[:n])


@cache
def _mask(n: int) -> FloatArray:
    """Return ones on and above the diagonal: multiplying by them costs a tenth of ``np.triu``."""
    mask: FloatArray = np.triu(np.ones((n, n)))
    return mask


def covariance_from_triangle(r: FloatArray, permutation: NDArray[np.integer] | None = None) -> FloatArray | None:
    """Return the inverse of J' J from a QR factorisation of J.

    Parameters
    ----------
    r : ndarray, shape (n, n)
        Upper triangle R of J P = Q R.
    permutation : ndarray of int, shape (n,), optional
        Column j of J P is column ``permutation[j]`` of J; the natural order by default.

    Returns
    -------
    ndarray, shape (n, n), or None
        Covariance for residuals of unit variance, exactly symmetric; None where R has a zero on its diagonal.
    """
    if not r.diagonal().all():
        return None
    inverse = np.linalg.inv(r)
    if permutation is not None:
        unpermuted = np.empty_like(inverse)
        unpermuted[permutation] = inverse
        inverse = unpermuted
    covariance: FloatArray = inverse @ inverse.T
    return covariance
