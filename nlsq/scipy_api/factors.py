"""The QR factorisation that `leastsq` reports, in MINPACK's layout.

    J P = Q R,   Q = H_0 H_1 ... H_{n-1},   H_j = I - v_j v_j' / v_jj

Column j of J P is swapped, before step j, with the longest of the columns left. ``v_j = a / |a| sign(a_0) + e_0`` for
the part ``a`` of the column from row j on, and ``R_jj = -sign(a_0) |a|``.

References
----------
.. [1] J. J. More, B. S. Garbow and K. E. Hillstrom, "User Guide for MINPACK-1", ANL-80-74, 1980, sections 2.5 and 4
(qrfac, lmder).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def minpack_factors(jac: FloatArray, residual: FloatArray) -> tuple[FloatArray, NDArray[np.int32], FloatArray]:
    """Factorise the Jacobian as MINPACK does.

    Parameters
    ----------
    jac : ndarray, shape (m, n)
        Jacobian, ``m >= n``.
    residual : ndarray, shape (m,)
        Residual at the same point.

    Returns
    -------
    fjac : ndarray, shape (n, m)
        Row j holds column j of R up to its diagonal, then the rest of ``v_j``.
    ipvt : ndarray of int32, shape (n,)
        Column j of J P is column ``ipvt[j]`` of J.
    qtf : ndarray, shape (n,)
        First n entries of ``Q' residual``.
    """
    n = jac.shape[1]
    columns = np.array(jac.T, dtype=np.float64, order="C")
    rotated = np.array(residual, dtype=np.float64)
    ipvt = np.arange(n, dtype=np.int32)
    lengths = np.sqrt(np.einsum("ij,ij->i", columns, columns))
    for j in range(n):
        longest = j + int(np.argmax(lengths[j:]))
        if longest != j:
            columns[[j, longest]] = columns[[longest, j]]
            ipvt[[j, longest]] = ipvt[[longest, j]]
            lengths[longest] = lengths[j]
        v = columns[j, j:]
        length = float(np.linalg.norm(v))
        if length == 0.0:
            continue
        if v[0] < 0.0:
            length = -length
        v /= length
        v[0] += 1.0
        rest = columns[j + 1 :, j:]
        rest -= np.outer(rest @ v / v[0], v)
        rotated[j:] -= (rotated[j:] @ v / v[0]) * v
        columns[j, j] = -length
        tails = rest[:, 1:]
        lengths[j + 1 :] = np.sqrt(np.einsum("ij,ij->i", tails, tails))
    return columns, ipvt, rotated[:n].copy()


def triangle(fjac: FloatArray) -> FloatArray:
    """Return R, shape (n, n), from ``fjac``."""
    n = fjac.shape[0]
    return np.triu(fjac.T[:n, :])
