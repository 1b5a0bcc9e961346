r"""Normal equations and Cholesky: the fastest way while the pivots keep their digits.

    A = J'J + diag(d) = L L',      L L' p = -J'r

Squaring J squares its condition number. What is lost shows in the pivots: L_jj^2 / A_jj is the squared sine of the
angle between column j of [J; diag(d)^(1/2)] and the columns before it, whatever their scales, and rounding leaves about
eps / min_j (L_jj^2 / A_jj) of relative error. Below `PIVOT_LIMIT` (a scaled condition of about 3e5) `Automatic` solves
the same problem by QR, and says so.

References
----------
.. [1] G. Golub, C. Van Loan, "Matrix Computations", 4th ed., 2013, sections 4.2.3 and 5.3.2.
.. [2] N. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., 2002, sections 10.1 and 20.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from nlsq.kernels import dense
from nlsq.kernels.quadratic_model import PIVOT_LIMIT
from nlsq.linalg.linear_solver import FloatArray, LinearStatus, fill_transposed, flat
from nlsq.linalg.qr import QR, QRFactorization

BLAS_FROM = 32  # parameters from which BLAS forms J'J faster than a plain loop


@final
@dataclass(frozen=True, kw_only=True)
class Cholesky:
    """Normal equations and Cholesky: what to do about ``ILL_CONDITIONED`` and ``NOT_DEFINITE`` is the caller's."""

    def prepare(self, shape: tuple[int, int], pattern: Any = None) -> CholeskyFactorization:
        """Allocate for Jacobians of shape (m, n)."""
        return CholeskyFactorization(shape)


@final
class CholeskyFactorization:
    """Normal equations of one solve.

    Parameters
    ----------
    shape : tuple of int
        ``(m, n)``.

    Attributes
    ----------
    jac_t : ndarray, shape (n, m)
        Copy of the last Jacobian, transposed.
    kept : float
        Smallest ``L_jj^2 / A_jj`` of the last solve; 0 if A was not definite.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        m, n = shape
        self.kept = 1.0
        self._m, self._n = m, n
        self.jac_t = np.empty((n, m))
        self._normal = np.empty((n, n))
        self._damped = np.empty((n, n))
        self._factor = np.empty((n, n))
        self._step = np.empty(n)
        self._multiply = dense.normal_matrix.entry()
        self._decompose = dense.cholesky_factorize.entry()
        self._forward = dense.lower_solve.entry()
        self._backward = dense.lower_transposed_solve.entry()

    def factorize(self, jac: Any) -> LinearStatus:
        """Form J'J."""
        fill_transposed(jac, self.jac_t)
        if self._n < BLAS_FROM:
            self._multiply(flat(self.jac_t), self._m, self._n, flat(self._normal))
        else:
            np.matmul(self.jac_t, self.jac_t.T, out=self._normal)
        return LinearStatus.SOLVED if np.isfinite(self._normal).all() else LinearStatus.NONFINITE

    def solve(self, r: FloatArray, damping_diag: FloatArray, step_out: FloatArray) -> LinearStatus:
        """Solve the damped normal equations; see `Factorization.solve`."""
        n, step = self._n, self._step
        np.copyto(self._damped, self._normal)
        self._damped.ravel()[:: n + 1] += damping_diag
        self.kept = float(self._decompose(flat(self._damped), 0.0, n, flat(self._factor)))
        if self.kept == 0.0:
            return LinearStatus.NOT_DEFINITE
        np.matmul(self.jac_t, r, out=step)
        np.negative(step, out=step)
        self._forward(flat(self._factor), n, flat(step))
        self._backward(flat(self._factor), n, flat(step))
        step_out[...] = step
        return LinearStatus.SOLVED if self.kept >= PIVOT_LIMIT else LinearStatus.ILL_CONDITIONED


@final
@dataclass(frozen=True, kw_only=True)
class Automatic:
    """Cholesky where its pivots keep enough digits, pivoted QR where they do not."""

    def prepare(self, shape: tuple[int, int], pattern: Any = None) -> AutomaticFactorization:
        """Allocate for Jacobians of shape (m, n)."""
        return AutomaticFactorization(shape)


@final
class AutomaticFactorization:
    """Cholesky first, QR at need.

    Parameters
    ----------
    shape : tuple of int
        ``(m, n)``.

    Attributes
    ----------
    handovers : int
        How many problems went to QR so far.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.handovers = 0
        self._cholesky = CholeskyFactorization(shape)
        self._qr: QRFactorization = QR().prepare(shape)
        self._triangular = False

    def factorize(self, jac: Any) -> LinearStatus:
        """Form J'J; QR of J waits until a solve needs it."""
        self._triangular = False
        return self._cholesky.factorize(jac)

    def solve(self, r: FloatArray, damping_diag: FloatArray, step_out: FloatArray) -> LinearStatus:
        """Solve by Cholesky, else by QR: ``HANDED_OVER``, or ``RANK_DEFICIENT`` if QR finds that."""
        status = self._cholesky.solve(r, damping_diag, step_out)
        if status is LinearStatus.SOLVED:
            return status
        self.handovers += 1
        if not self._triangular:
            self._qr.factorize(self._cholesky.jac_t.T)
            self._triangular = True
        status = self._qr.solve(r, damping_diag, step_out)
        return LinearStatus.HANDED_OVER if status is LinearStatus.SOLVED else status
