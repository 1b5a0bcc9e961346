r"""Singular values: the shortest of all solutions, and what the data determine.

    J = U diag(s) V',      p = -V diag(1/s) U'r     over the singular values  s_i > rcond s_1

is the solution of least norm; directions with smaller singular values are left alone [1]_. Equal damping d_j = lambda
filters them smoothly, s / (s^2 + lambda). Any other damping is decomposed again, without J:

    |J p + r|^2 + |diag(d)^(1/2) p|^2 = |[diag(s) V'; diag(d)^(1/2)] p + [U'r; 0]|^2 + const.

The norm, and with it which solution is the shortest, depends on the scale of the parameters.

References
----------
.. [1] G. Golub, C. Van Loan, "Matrix Computations", 4th ed., 2013, section 5.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from nlsq.linalg.linear_solver import FloatArray, LinearStatus, fill_transposed

EPS = float(np.finfo(np.float64).eps)


@final
@dataclass(frozen=True, kw_only=True)
class SVD:
    """Singular value decomposition with truncation.

    Parameters
    ----------
    rcond : float, optional
        Singular values below this share of the largest count as zero. Default eps max(m, n), as in
        `numpy.linalg.lstsq`.
    """

    rcond: float | None = None

    def __post_init__(self) -> None:
        """Validate."""
        if self.rcond is not None and not 0.0 <= self.rcond < 1.0:
            raise ValueError(f"rcond must be None or in [0, 1), got {self.rcond!r}.")

    def prepare(self, shape: tuple[int, int], pattern: Any = None) -> SVDFactorization:
        """Allocate for Jacobians of shape (m, n)."""
        return SVDFactorization(shape, EPS * max(shape) if self.rcond is None else self.rcond)


@final
class SVDFactorization:
    """Decompositions of one solve; LAPACK's results are its own arrays.

    Parameters
    ----------
    shape : tuple of int
        ``(m, n)``.
    rcond : float
        See `SVD`.

    Attributes
    ----------
    rank : int
        Of the last Jacobian.
    singular_values : ndarray
        Of the last Jacobian, descending.
    """

    def __init__(self, shape: tuple[int, int], rcond: float) -> None:
        self.rank = 0
        self.singular_values = np.zeros(min(shape))
        self._rcond = rcond
        self._jac_t = np.empty(shape[::-1])
        self._stacked = np.zeros((min(shape) + shape[1], shape[1]))
        self._u = self._vt = np.empty((0, 0))

    def factorize(self, jac: Any) -> LinearStatus:
        """Decompose J."""
        fill_transposed(jac, self._jac_t)
        if not np.isfinite(self._jac_t).all():
            return LinearStatus.NONFINITE
        self._u, self.singular_values, self._vt = np.linalg.svd(self._jac_t.T, full_matrices=False)
        self.rank = _rank(self.singular_values, self._rcond)
        return LinearStatus.SOLVED if self.rank == self._jac_t.shape[0] else LinearStatus.RANK_DEFICIENT

    def solve(self, r: FloatArray, damping_diag: FloatArray, step_out: FloatArray) -> LinearStatus:
        """Filter the singular values by the damping; see `Factorization.solve`."""
        n, s, rank = step_out.size, self.singular_values, self.rank
        utr = self._u.T @ r
        damping = damping_diag[0] if n else 0.0
        if not (damping_diag == damping).all():
            k = s.size
            np.multiply(s[:, np.newaxis], self._vt, out=self._stacked[:k])
            self._stacked[k:].ravel()[:: n + 1] = np.sqrt(damping_diag)
            u, s, vt = np.linalg.svd(self._stacked, full_matrices=False)
            rank = _rank(s, self._rcond)
            step_out[...] = -vt[:rank].T @ ((u[:k, :rank].T @ utr) / s[:rank])
            return LinearStatus.SOLVED if rank == n else LinearStatus.RANK_DEFICIENT
        if damping > 0.0:
            root = np.sqrt(damping)
            step_out[...] = -self._vt.T @ (s / np.hypot(s, root) * utr / np.hypot(s, root))
            return LinearStatus.SOLVED
        step_out[...] = -self._vt[:rank].T @ (utr[:rank] / s[:rank])
        return LinearStatus.SOLVED if rank == n else LinearStatus.RANK_DEFICIENT


def _rank(s: FloatArray, rcond: float) -> int:
    """Count the singular values above ``rcond`` times the largest."""
    return int(np.count_nonzero(s > rcond * s[0])) if s.size else 0
