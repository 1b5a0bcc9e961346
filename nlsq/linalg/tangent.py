r"""Projection on the tangent space of constraints, and the multipliers that go with it.

Rows of A (k, n) are gradients of active constraints. With A^+ the pseudo-inverse,

    P v = (I - A^+ A) v                   the part of v along which, to first order, no constraint changes
    y   = argmin |g + A'y|                least-squares multipliers for a gradient g
    p   = -A^+ c                          the shortest step back to constraints whose values are c
    g + A'y = P g                         so that |P g| measures how far x is from a stationary point [1]_

Rows are brought to unit length first, so that the unit of a constraint does not matter, and may depend on each other.

    dense     A' E = Q R with column pivoting: rows past the rank follow from those before; P = I - Q_1 Q_1'       [2]_
    sparse    [I  A'       ] [p]   [v]
              [A  -delta^2 I] [y] = [0], factorised once; conjugate gradients take delta out again                 [3]_

References
----------
.. [1] J. Nocedal and S. J. Wright, "Numerical Optimization", 2nd ed., 2006, sections 12.8 and 18.3.
.. [2] G. H. Golub and C. F. Van Loan, "Matrix Computations", 4th ed., 2013, sections 5.4.2, 5.5.7 and 6.2.
.. [3] N. I. M. Gould, M. E. Hribar and J. Nocedal, "On the Solution of Equality Constrained Quadratic Programming
   Problems Arising in Optimization", SIAM Journal on Scientific Computing 23, 2001, sections 4 and 5.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

__all__ = ["DenseTangent", "TangentProjection", "tangent_projection"]

FloatArray = NDArray[np.float64]
DEPENDENT = 1e-10  # sine of the angle between a row and those before, below which it follows from them


class TangentProjection(Protocol):
    """Projection on the null space of A; for attributes see `tangent_projection`."""

    @property
    def rank(self) -> int:
        """Number of independent rows."""
        ...

    @property
    def dependent_rows(self) -> NDArray[np.int64]:
        """Rows that follow from the others, ascending: without them, A has `rank` rows and the same null space."""
        ...

    @property
    def basis(self) -> FloatArray:
        """Orthonormal basis Z of the null space, shape (n, n - rank), dense."""
        ...

    def project(self, v: FloatArray) -> FloatArray:
        """Return ``(I - A^+ A) v`` for v of shape (n,), or for each column of v (n, q)."""
        ...

    def multipliers(self, g: FloatArray) -> FloatArray:
        """Return the y of ``min |g + A'y|``, shape (k,).

        Where rows depend on each other there are many. From a dense A comes the one with the smallest
        ``sum_i (|A_i| y_i)^2``, from a sparse A one that is not far from it.
        """
        ...

    def normal_step(self, c: FloatArray) -> FloatArray:
        """Return the shortest p with ``A p = -c``, shape (n,), for c of shape (k,).

        Where dependent rows contradict each other it is a least-squares solution: exactly that of rows of unit length
        from a dense A, close to it from a sparse one.
        """
        ...


def tangent_projection(A: Any, *, tolerance: float | None = None) -> TangentProjection:
    """Prepare the projection on the tangent space of active constraints.

    Parameters
    ----------
    A : array_like or sparse array, shape (k, n)
        Gradients of the active constraints, one a row; in any number, duplicate, dependent or zero.
    tolerance : float, optional
        A row whose distance from the span of others is below this share of its length follows from them. Default
        1e-10.

    Returns
    -------
    TangentProjection
        With ``project(v)``, ``multipliers(g)``, ``rank``, ``dependent_rows`` and ``basis``.

    Raises
    ------
    ValueError
        If A is not a matrix of finite numbers, or `tolerance` is not between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> from nlsq.linalg.tangent import tangent_projection
    >>> tangent = tangent_projection([[1.0, 1.0, 0.0], [2.0, 2.0, 0.0]])
    >>> tangent.rank
    1
    >>> tangent.project(np.array([1.0, 3.0, 5.0]))
    array([-1.,  1.,  5.])
    """
    tolerance = DEPENDENT if tolerance is None else tolerance
    if not 0.0 < tolerance < 1.0:
        raise ValueError(f"tolerance is {tolerance!r}; give a number between 0 and 1, or None for {DEPENDENT:g}.")
    is_sparse = hasattr(A, "tocsr")
    matrix = A if is_sparse else np.asarray(A, dtype=np.float64)
    if matrix.ndim != 2:
        raise ValueError(f"A has shape {matrix.shape}; give a matrix with one row for each active constraint.")
    if is_sparse:
        from scipy.sparse import csr_array

        from nlsq.linalg.tangent_sparse import SparseTangent

        rows = csr_array(matrix, dtype=np.float64)
        rows.sum_duplicates()
        _check_finite(rows.data, np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr)))
        return SparseTangent(rows, tolerance)
    _check_finite(matrix, np.arange(matrix.shape[0])[:, np.newaxis])
    return DenseTangent(matrix, tolerance)


@final
class DenseTangent:
    """Projection by a pivoted QR factorisation; see `tangent_projection`.

    Parameters
    ----------
    rows : ndarray, shape (k, n)
        A.
    tolerance : float
        Below which a row is dependent.
    """

    def __init__(self, rows: FloatArray, tolerance: float) -> None:
        from scipy.linalg import qr

        self._rows = rows
        largest = np.abs(rows).max(axis=1, initial=0.0)
        unit = np.where(largest > 0.0, largest, 1.0)  # rows need not have a square
        lengths = unit * np.linalg.norm(rows / unit[:, np.newaxis], axis=1)
        lengths[largest == 0.0] = 1.0
        self._lengths = lengths
        k, n = rows.shape
        if k == 0 or n == 0:
            self._range, triangle, self._order = np.empty((n, 0)), np.empty((0, k)), np.arange(k)
        else:
            scaled = (rows / lengths[:, np.newaxis]).T
            self._range, triangle, self._order = qr(scaled, mode="economic", pivoting=True, check_finite=False)
        size = np.abs(triangle.diagonal())
        self._rank = rank = int(np.count_nonzero(np.logical_and.accumulate(size > tolerance)))
        self._range, self._triangle = self._range[:, :rank], triangle[:rank]

    @property
    def rank(self) -> int:
        """Number of independent rows."""
        return self._rank

    @property
    def dependent_rows(self) -> NDArray[np.int64]:
        """Rows that follow from the others, ascending."""
        return np.sort(self._order[self._rank :]).astype(np.int64)

    @cached_property
    def basis(self) -> FloatArray:
        """Orthonormal basis of the null space, shape (n, n - rank)."""
        basis: FloatArray = np.linalg.qr(self._range, mode="complete")[0][:, self._rank :]
        return basis

    @cached_property
    def _shortest(self) -> tuple[FloatArray, FloatArray]:
        """Factorise R' = Z T, so that the shortest solution of R z = b is Z T'^-1 b."""
        z, t = np.linalg.qr(self._triangle.T)
        return z, t

    def project(self, v: FloatArray) -> FloatArray:
        """Return ``(I - A^+ A) v``."""
        v = checked_vector(v, "v", self._rows.shape[1])
        once = v - self._range @ (self._range.T @ v)
        twice: FloatArray = once - self._range @ (self._range.T @ once)  # what is left may be short beside v
        return twice

    def multipliers(self, g: FloatArray) -> FloatArray:
        """Return the y of ``min |g + A'y|``, shape (k,)."""
        from scipy.linalg import solve_triangular

        g = checked_vector(g, "g", self._rows.shape[1])
        y = np.zeros((self._rows.shape[0], *g.shape[1:]))
        if self._rank:
            right = -(self._range.T @ g)
            if self._rank == len(y):
                y[self._order] = solve_triangular(self._triangle, right, check_finite=False)
            else:
                z, t = self._shortest
                y[self._order] = z @ solve_triangular(t, right, trans="T", check_finite=False)
        y /= self._lengths if g.ndim == 1 else self._lengths[:, np.newaxis]
        return y

    def normal_step(self, c: FloatArray) -> FloatArray:
        """Return the shortest p with ``A p = -c``, shape (n,)."""
        from scipy.linalg import solve_triangular

        right = -(checked_values(c, len(self._lengths)) / self._lengths)[self._order]
        if self._rank == len(right):
            along = solve_triangular(self._triangle, right, trans="T", check_finite=False) if self._rank else right
        else:
            z, t = self._shortest
            along = solve_triangular(t, z.T @ right, check_finite=False) if self._rank else np.empty(0)
        step: FloatArray = self._range @ along
        return step


def checked_values(c: Any, k: int) -> FloatArray:
    """Return the values of k constraints."""
    array = np.asarray(c, dtype=np.float64)
    if array.shape != (k,):
        raise ValueError(f"c has shape {array.shape}; A has {k} rows, so give shape ({k},).")
    return array


def checked_vector(v: Any, name: str, n: int) -> FloatArray:
    """Return a vector, or vectors as columns, of n components."""
    array = np.asarray(v, dtype=np.float64)
    if array.ndim not in (1, 2) or array.shape[0] != n:
        raise ValueError(f"{name} has shape {array.shape}; A has {n} columns, so give shape ({n},) or ({n}, q).")
    return array


def _check_finite(values: FloatArray, rows: NDArray[Any]) -> None:
    """Raise ValueError where A is not finite."""
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        row = np.broadcast_to(rows, values.shape).reshape(-1)[wrong[0]]
        raise ValueError(f"A is not finite in row {row}; a constraint whose gradient is unknown has no tangent space.")
