r"""Sparse normal equations and their Cholesky factor: what is common to block and entry-wise Jacobians.

    (J'J + diag(d)) p = -J'r,        P (J'J + diag(d)) P' = L L'

J'J is formed once for each Jacobian, in the order that the factorisation takes; each damping costs a copy of it, a
numerical factorisation over the structure that is known, and two triangular solves. Squaring J squares its condition
number: undamped problems beyond 1e7 or so have few digits here, see `nlsq.linalg.cholesky`.

Where the ratio of a pivot to the diagonal falls below `nlsq.kernels.schur.NO_DIGITS`, rounding has left nothing of it,
and the problem is reported as not definite; below `PIVOT_LIMIT` as ill-conditioned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, final

import numpy as np
from numpy.typing import ArrayLike

from nlsq.block_jacobian import IndexArray
from nlsq.kernels import normal_assembly as kernels
from nlsq.kernels.calling import run_kernel
from nlsq.kernels.quadratic_model import PIVOT_LIMIT
from nlsq.linalg.linear_solver import FloatArray, LinearStatus
from nlsq.linalg.lsmr import no_jacobian, products
from nlsq.linalg.sparse_factor import Analysis, weakest_pivot

Backend = Literal["cholmod", "pardiso"] | None
INVERSE_COLUMNS = 64  # columns of the inverse that are solved for at a time
LARGEST_INFLATION = 1e13  # beyond it rounding has left nothing of the angle between a column and the others


class NormalPlan(Protocol):
    """Structure of J'J: its upper triangle by columns, and how it is filled."""

    indptr: Any
    indices: Any
    diagonal: Any

    def assemble(self, jac: Any, normal_out: FloatArray) -> None:
        """Form the upper triangle of J'J."""
        ...


@final
class NormalFactorization:
    """Sparse normal equations of one solve.

    Parameters
    ----------
    plan : NormalPlan
        Structure of J'J.
    analysis : Analysis
        Of that structure.

    Attributes
    ----------
    analysis : Analysis
        Order, predicted entries and operations of the factor.
    failed_column : int
        Column of J at which the last factorisation failed; -1 if it did not.
    kept : float
        Smallest ratio of a pivot to the diagonal in the last factorisation; 0 if the matrix was not definite.
    """

    def __init__(self, plan: NormalPlan, analysis: Analysis) -> None:
        self.analysis = analysis
        self.failed_column, self.kept = -1, 0.0
        self._plan = plan
        self._factor = analysis.prepare()
        self._n = plan.diagonal.size
        self._normal, self._damped = np.zeros(plan.indices.size), np.empty(plan.indices.size)
        self._step, self._zeros = np.empty(self._n), np.zeros(self._n)
        self._sums, self._pivots = np.empty((2, self._n))
        self._transposed: Callable[[FloatArray], FloatArray] = no_jacobian

    @property
    def diagonal(self) -> FloatArray:
        """Diagonal of J'J, the squares of the column norms; shape (n,)."""
        return np.asarray(self._normal[self._plan.diagonal])

    def factorize(self, jac: Any) -> LinearStatus:
        """Form J'J; factorisation waits for a damping. The Jacobian is kept for J'r until the next call."""
        self.failed_column = -1
        self._plan.assemble(jac, self._normal)
        self._transposed = products(jac)[1]
        is_finite = np.isfinite(self._normal[self._plan.diagonal])
        if is_finite.all():
            return LinearStatus.SOLVED
        self.failed_column = int(np.argmin(is_finite))
        return LinearStatus.NONFINITE

    def solve(self, r: FloatArray, damping_diag: FloatArray, step_out: FloatArray) -> LinearStatus:
        """Factorise for this damping and solve; see `Factorization.solve`."""
        return self.solve_gradient(self._transposed(r), damping_diag, step_out)

    def solve_gradient(self, gradient: FloatArray, damping_diag: FloatArray, step_out: FloatArray) -> LinearStatus:
        """Solve ``(J'J + diag(d)) p = -gradient`` for any gradient, shape (n,); see `solve`."""
        if not self._refactor(damping_diag):
            return LinearStatus.NOT_DEFINITE
        self._factor.solve(gradient, self._step)
        if not np.isfinite(self._step).all():
            return LinearStatus.NONFINITE
        np.negative(self._step, out=step_out)
        return LinearStatus.SOLVED if self.kept >= PIVOT_LIMIT else LinearStatus.ILL_CONDITIONED

    def solve_again(self, gradient: FloatArray, step_out: FloatArray) -> None:
        """Solve ``(J'J + diag(d)) p = -gradient`` with the factor at hand; RuntimeError if there is none."""
        self._factor.solve(gradient, self._step)
        np.negative(self._step, out=step_out)

    def inverse_columns(self, columns: ArrayLike, damping_diag: FloatArray | None = None) -> FloatArray:
        """Return columns of (J'J + diag(d))^-1, for covariances.

        Parameters
        ----------
        columns : array_like of int, shape (k,)
            Which.
        damping_diag : ndarray, shape (n,), optional
            d; zero if it is not given.

        Returns
        -------
        ndarray, shape (n, k)

        Raises
        ------
        numpy.linalg.LinAlgError
            If the matrix is not definite; `failed_column` is where.
        """
        columns = np.asarray(columns, dtype=np.int64).reshape(-1)
        if columns.size and not 0 <= columns.min() <= columns.max() < self._n:
            raise ValueError(f"columns must lie in 0..{self._n - 1}, got {columns.min()}..{columns.max()}.")
        if not self._refactor(self._zeros if damping_diag is None else damping_diag):
            raise np.linalg.LinAlgError(_undetermined(self.failed_column))
        inverse = np.zeros((self._n, columns.size), order="F")
        inverse[columns, np.arange(columns.size)] = 1.0
        for start in range(0, columns.size, INVERSE_COLUMNS):
            part = inverse[:, start : start + INVERSE_COLUMNS]
            part[...] = self._factor.solve_many(part)
        self._check_inflation(columns, inverse[columns, np.arange(columns.size)], damping_diag)
        return inverse

    def _check_inflation(self, columns: IndexArray, variances: FloatArray, damping_diag: FloatArray | None) -> None:
        """Raise LinAlgError where a column lies in the span of the others up to rounding, though no pivot failed.

        The product of the diagonals of a matrix and its inverse is one over the squared sine of the angle between a
        column and the others.
        """
        diagonal = self._normal[self._plan.diagonal[columns]]
        if damping_diag is not None:
            diagonal = diagonal + damping_diag[columns]
        inflation = variances * diagonal
        bad = np.flatnonzero(~((inflation > 0.5) & (inflation < LARGEST_INFLATION)))
        if bad.size:
            self.failed_column = int(columns[bad[0]])
            raise np.linalg.LinAlgError(_undetermined(self.failed_column))

    def _refactor(self, damping_diag: FloatArray) -> bool:
        """Factorise J'J + diag(d); return whether it is definite."""
        if self._transposed is no_jacobian:
            no_jacobian(damping_diag)
        plan, damping = self._plan, np.ascontiguousarray(damping_diag, dtype=np.float64)
        if damping.shape != (self._n,):
            raise ValueError(f"damping_diag must have shape {(self._n,)}, got {damping.shape}.")
        run_kernel(kernels.damp, self._normal, plan.diagonal, damping, self._normal.size, self._n, self._damped)
        self.kept, self.failed_column = 0.0, int(self._factor.refactor(self._damped))
        if self.failed_column < 0:
            np.take(self._damped, plan.diagonal, out=self._sums, mode="clip")
            kept, self.failed_column = weakest_pivot(self._factor, self.analysis, self._sums, self._pivots)
            self.kept = kept if self.failed_column < 0 else 0.0
        return self.failed_column < 0


def _undetermined(column: int) -> str:
    return f"J'J is not definite: column {column} of J is not determined beside the others."
