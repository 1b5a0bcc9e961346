r"""Sparse normal equations whose solutions are corrected through J: the digits of a QR factorisation without one.

    minimise  |J p + r|^2 + |diag(d)^(1/2) p|^2,        M = L L' ~ J'J + diag(d)

The factor L of the normal equations has lost digits where J is ill-conditioned. Its solution is corrected by conjugate
gradients on the least-squares problem with M for preconditioner, the residual ``u = -(r + J p)`` carried along and the
gradient ``s = J'u - d p`` computed from it,

    z = M^-1 s,   q = z + (s'z / s'z of before) q,   a = s'z / (|J q|^2 + |d^(1/2) q|^2),   p += a q,   u -= a J q

The first iteration is the solution by the factor; the second alone is one step of iterative refinement, as in the
corrected seminormal equations [1]_, and usually its z is so short that nothing more is needed. With w_j = (|J_j|^2 +
d_j)^(1/2) the iteration ends where

    |z|_w <= 1e-8 |p|_w        in which case z is the last correction, or
    |s_j| <= 4 eps w_j |u|     for all j: no backward stable method promises less,

or where q lies in the null space of J.

Damping that is at least 1e-6 of the diagonal of M bounds its condition number: nothing is corrected then. Otherwise M
has 1e-11 more of its diagonal than J'J + diag(d). Then its pivots do not fail where J is rank-deficient, as that of a
bundle adjustment whose cameras and points may move together, and M^-1 J'u has no part in the null space of J: of many
solutions conjugate gradients find the one that is shortest in the norm of w.

References
----------
.. [1] Å. Björck, "Stability analysis of the method of seminormal equations for linear least squares problems", Linear
   Algebra and its Applications 88/89, 1987.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from nlsq.linalg.linear_solver import FloatArray, LinearStatus
from nlsq.linalg.lsmr import no_jacobian, products
from nlsq.linalg.sparse_cholesky import SparseCholesky, SparseCholeskyFactorization

__all__ = ["Corrected"]

SAFE_DAMPING = 1e-6  # share of the diagonal: the condition number in scaled variables is at most its inverse
CORRECT = 1e-8  # length of a correction, by that of the solution, that ends the iteration
LOST = 0.1  # length of the first correction from which on one is told that digits were lost
ROUNDING = 4.0 * np.finfo(float).eps
SHIFTS = 1e-11, 1e-8, 1e-5  # of the diagonal: in M, and where a pivot fails
MOST_CORRECTIONS = 15
NULL = 1e-16  # share of |q|_w^2 that J q has where q is in the null space of J


@final
@dataclass(frozen=True, kw_only=True)
class Corrected:
    """Normal equations by another linear solver, corrected by conjugate gradients.

    Parameters
    ----------
    normal : SparseCholesky
        Solves the normal equations.
    """

    normal: SparseCholesky

    def prepare(self, shape: tuple[int, int], pattern: Any = None) -> CorrectedFactorization:
        """Analyse and allocate for Jacobians of shape (m, n)."""
        return CorrectedFactorization(shape, self.normal.prepare(shape, pattern))


@final
class CorrectedFactorization:
    """Corrected solutions of one solve.

    Parameters
    ----------
    shape : tuple of int
        ``(m, n)``.
    normal : SparseCholeskyFactorization
        Of the normal equations.

    Attributes
    ----------
    corrections : int
        Iterations beyond the solution by the factor, so far.
    failed_column : int
        Column of J at which the last factorisation failed; -1 if it did not.
    """

    def __init__(self, shape: tuple[int, int], normal: SparseCholeskyFactorization) -> None:
        self.corrections = 0
        self.failed_column = -1
        self._normal = normal
        self._product: Callable[[FloatArray], FloatArray] = no_jacobian
        self._transposed: Callable[[FloatArray], FloatArray] = no_jacobian
        m, n = shape
        self._squares, self._diagonal, self._damping, self._shifted = np.zeros((4, n))
        self._step, self._direction, self._image, self._gradient = np.zeros((4, n))
        self._residual = np.zeros(m)

    def factorize(self, jac: Any) -> LinearStatus:
        """Take in J; factorisation waits for a damping."""
        self._product, self._transposed = products(jac)
        status: LinearStatus = self._normal.factorize(jac)
        self._squares = self._normal.diagonal
        self.failed_column = self._normal.failed_column
        return status

    def solve(self, r: FloatArray, damping_diag: FloatArray, step_out: FloatArray) -> LinearStatus:
        """Factorise for this damping, solve and correct; see `Factorization.solve`.

        Columns of zeros that are not damped get step 0.
        """
        damping, diagonal = self._damping, self._diagonal
        np.add(self._squares, damping_diag, out=diagonal)
        empty = diagonal == 0.0
        np.copyto(damping, damping_diag)
        damping[empty] = diagonal[empty] = 1.0
        gradient = self._transposed(r)
        if not np.isfinite(gradient).all():
            return LinearStatus.NONFINITE
        safe = bool((damping >= SAFE_DAMPING * diagonal).all())
        for shift in (0.0,) * safe + SHIFTS:
            np.multiply(diagonal, shift, out=self._shifted)
            self._shifted += damping
            status = self._normal.solve_gradient(gradient, self._shifted, self._step)
            self.failed_column = self._normal.failed_column
            if status.usable or status is LinearStatus.NONFINITE:
                break
        if not status.usable:
            return status
        if shift > 0.0:
            status = self._correct(r, gradient)
            if status.usable and shift > SHIFTS[0]:
                status = LinearStatus.RANK_DEFICIENT
        if not np.isfinite(self._step).all():
            return LinearStatus.NONFINITE
        step_out[...] = self._step
        return status

    def _correct(self, r: FloatArray, gradient: FloatArray) -> LinearStatus:
        """Go on from p = 0 with the factor's solution for the first direction."""
        step, direction, u = self._step, self._direction, self._residual
        np.copyto(direction, step)
        step[...] = 0.0
        np.negative(r, out=u)
        roots = np.sqrt(self._diagonal)
        slope = -float(gradient @ direction)
        status = LinearStatus.SOLVED
        for k in range(MOST_CORRECTIONS):
            image = self._product(direction)
            curvature = float(image @ image) + float(direction @ (self._damping * direction))
            if not (curvature > NULL * float(np.sum((roots * direction) ** 2)) and np.isfinite(slope)):
                break
            step += (slope / curvature) * direction
            u -= (slope / curvature) * image
            s = self._transposed(u)
            s -= self._damping * step
            np.negative(s, out=self._gradient)
            self._normal.solve_again(self._gradient, self._image)
            length, total = float(np.linalg.norm(roots * self._image)), float(np.linalg.norm(roots * step))
            if length <= CORRECT * total:
                step += self._image
                break
            if (np.abs(s) <= ROUNDING * float(np.linalg.norm(u)) * roots).all():
                break
            self.corrections += 1
            if k == 0 and length > LOST * total:
                status = LinearStatus.CORRECTED
            following = float(s @ self._image)
            direction *= following / slope
            direction += self._image
            slope = following
        else:
            status = LinearStatus.ILL_CONDITIONED
        return status
