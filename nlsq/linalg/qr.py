r"""QR with column pivoting: as accurate as J itself, at about twice the cost of the normal equations.

    J P = Q R      Householder reflections, the largest remaining column first
    [R; diag(d)^(1/2) P] -> [S; 0]      plane rotations, again for each damping [2]_
    S P'p = -(Q'r, rotated along)

Without damping the leading ``rank`` rows of R are solved, those with |R_kk| > eps max(m, n) |R_11|, and the other
parameters stay where they are (the basic solution [1]_). Columns are compared as they are: scale them if their units
differ.

References
----------
.. [1] G. Golub, C. Van Loan, "Matrix Computations", 4th ed., 2013, sections 5.2.1, 5.4.2 and 5.5.5.
.. [2] J. Moré, "The Levenberg-Marquardt algorithm: implementation and theory", 1978, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from nlsq.kernels import dense
from nlsq.linalg.linear_solver import FloatArray, LinearStatus, fill_transposed, flat

EPS = float(np.finfo(np.float64).eps)


@final
@dataclass(frozen=True, kw_only=True)
class QR:
    """Householder QR with column pivoting."""

    def prepare(self, shape: tuple[int, int], pattern: Any = None) -> QRFactorization:
        """Allocate for Jacobians of shape (m, n)."""
        return QRFactorization(shape)


@final
class QRFactorization:
    """QR of one solve.

    Parameters
    ----------
    shape : tuple of int
        ``(m, n)``.

    Attributes
    ----------
    rank : int
        Of the last Jacobian.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        m, n = self._shape = shape
        self.rank = 0
        self._q = np.empty((n, m))
        self._rhs = np.zeros(max(m, n))  # Q'r, continued by zeros when m < n
        self._pivot = np.empty(n, dtype=np.int64)
        self._triangle = np.empty((n, n))
        self._damped = np.empty((n, n))
        self._rotated = np.empty(n)
        self._roots = np.empty(n)
        self._work = np.empty(2 * n)
        self._decompose = dense.qr_factorize.entry()
        self._reflect = dense.reflect_all.entry()
        self._damp = dense.damp_triangle_by.entry()
        self._count = dense.upper_rank.entry()
        self._backward = dense.upper_solve.entry()

    def factorize(self, jac: Any) -> LinearStatus:
        """Factorise J."""
        m, n = self._shape
        fill_transposed(jac, self._q)
        if not np.isfinite(self._q).all():
            return LinearStatus.NONFINITE
        pivot, triangle = flat(self._pivot), flat(self._triangle)
        self._decompose(flat(self._q), m, n, flat(self._rhs), pivot, triangle, flat(self._work))
        self.rank = int(self._count(triangle, n, EPS * max(m, n)))
        return LinearStatus.SOLVED if self.rank == n else LinearStatus.RANK_DEFICIENT

    def solve(self, r: FloatArray, damping_diag: FloatArray, step_out: FloatArray) -> LinearStatus:
        """Rotate the damping in and solve; see `Factorization.solve`."""
        m, n = self._shape
        rhs, rotated = self._rhs, self._rotated
        rhs[:m] = r
        self._reflect(flat(self._q), m, n, flat(rhs))
        rhs[m:] = 0.0
        if not damping_diag.any():
            rotated[...] = rhs[:n]
            self._backward(flat(self._triangle), n, self.rank, flat(rotated))
            step_out[self._pivot] = -rotated
            return LinearStatus.SOLVED if self.rank == n else LinearStatus.RANK_DEFICIENT
        roots = self._roots
        np.sqrt(damping_diag[self._pivot], out=roots)
        damped, work = flat(self._damped), flat(self._work)
        self._damp(flat(self._triangle), flat(rhs), flat(roots), n, damped, flat(rotated), work)
        if self.rank < n and not roots.all():
            return self._solve_again(step_out)
        self._backward(damped, n, n, flat(rotated))
        step_out[self._pivot] = -rotated
        return LinearStatus.SOLVED

    def _solve_again(self, step_out: FloatArray) -> LinearStatus:
        """Pivot the damped triangle anew: with J deficient and only partly damped, what is lost may lie anywhere."""
        n, rotated = step_out.size, self._rotated
        columns, triangle, pivot = (
            np.ascontiguousarray(np.triu(self._damped).T),
            np.empty((n, n)),
            np.empty(n, dtype=np.int64),
        )
        self._decompose(flat(columns), n, n, flat(rotated), flat(pivot), flat(triangle), flat(self._work))
        rank = int(self._count(flat(triangle), n, EPS * max(self._shape)))
        self._backward(flat(triangle), n, rank, flat(rotated))
        step_out[self._pivot[pivot]] = -rotated
        return LinearStatus.SOLVED if rank == n else LinearStatus.RANK_DEFICIENT
