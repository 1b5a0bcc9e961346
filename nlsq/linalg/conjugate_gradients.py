r"""Preconditioned conjugate gradients on the normal equations: products with J and J', and steps as exact as needed.

    (J'J + diag(d)) p = -J'r

The iteration is Hestenes and Stiefel's for least squares [1]_: the residual u = -(r + J p) is carried along, and the
gradient s = J'u - d p computed from it, so that J'J is neither formed nor applied.

    z = M^-1 s,   q = z + (s'z / s'z of before) q,   a = s'z / (|J q|^2 + |d^(1/2) q|^2),   p += a q,   u -= a J q

Every iterate minimises the model over the directions so far: it is shorter than the exact step in the norm of M and
goes downhill. A damped method needs no more than that far from the solution, and stops at iteration k when one of

    |s| <= tolerance |J'r|                     in the norm of M^-1: an inexact Newton method [2]_
    k (m_k - m_(k-1)) <= model_tolerance m_k   m_k the decrease of the model so far: an average step adds little [3]_

holds. The second is what Ceres goes by [4]_.

References
----------
.. [1] M. R. Hestenes and E. Stiefel, "Methods of Conjugate Gradients for Solving Linear Systems", Journal of Research
   of the National Bureau of Standards 49, 1952, section 10.
.. [2] R. S. Dembo, S. C. Eisenstat and T. Steihaug, "Inexact Newton Methods", SIAM Journal on Numerical Analysis 19,
   1982.
.. [3] S. G. Nash and A. Sofer, "Assessing a Search Direction within a Truncated-Newton Method", Operations Research
   Letters 9, 1990.
.. [4] S. Agarwal, K. Mierle and others, "Ceres Solver": `Solver::Options::eta`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np

from nlsq.block_jacobian import BlockPattern
from nlsq.linalg.linear_solver import FloatArray, LinearStatus
from nlsq.linalg.lsmr import no_jacobian, products
from nlsq.linalg.preconditioner import BlockJacobi, Jacobi, Preconditioner

__all__ = ["ConjugateGradients"]


@final
@dataclass(frozen=True, kw_only=True)
class ConjugateGradients:
    """Damped least squares by preconditioned conjugate gradients.

    Parameters
    ----------
    preconditioner : {"block-jacobi", "jacobi"}
        Diagonal blocks of J'J + diag(d), or its diagonal alone. A Jacobian that is not made of blocks has only the
        diagonal.
    tolerance : float
        Share of the gradient at which to stop.
    model_tolerance : float
        Stop when an average iteration adds less than this share to the decrease of the model; 0 switches the test off.
    max_iterations : int
        Default 500, as in Ceres.
    """

    preconditioner: Literal["block-jacobi", "jacobi"] = "block-jacobi"
    tolerance: float = 1e-6
    model_tolerance: float = 1e-2
    max_iterations: int = 500

    def __post_init__(self) -> None:
        """Validate."""
        if self.preconditioner not in ("block-jacobi", "jacobi"):
            raise ValueError(f'preconditioner must be "block-jacobi" or "jacobi", got {self.preconditioner!r}.')
        for name in ("tolerance", "model_tolerance"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)!r}.")
        if self.max_iterations < 1:
            raise ValueError(f"max_iterations must be at least 1, got {self.max_iterations!r}.")

    def prepare(self, shape: tuple[int, int], pattern: Any = None) -> ConjugateGradientsFactorization:
        """Allocate for Jacobians of shape (m, n), made of blocks if `pattern` is a BlockPattern."""
        by_blocks = isinstance(pattern, BlockPattern) and self.preconditioner == "block-jacobi"
        preconditioner: Preconditioner = BlockJacobi(pattern) if by_blocks else Jacobi(shape[1])
        return ConjugateGradientsFactorization(shape, preconditioner, self)


@final
class ConjugateGradientsFactorization:
    """Iterative solutions of one solve.

    Parameters
    ----------
    shape : tuple of int
        ``(m, n)``.
    preconditioner : Preconditioner
        M.
    solver : ConjugateGradients
        Options.

    Attributes
    ----------
    iterations : int
        Spent so far.
    failed_column : int
        First column of J that is not finite, -1 if all are.
    """

    def __init__(self, shape: tuple[int, int], preconditioner: Preconditioner, solver: ConjugateGradients) -> None:
        self.iterations = 0
        self.failed_column = -1
        self._shape, self._solver, self._preconditioner = shape, solver, preconditioner
        self._product: Callable[[FloatArray], FloatArray] = no_jacobian
        self._transposed: Callable[[FloatArray], FloatArray] = no_jacobian
        m, n = shape
        self._residual, self._rows = np.empty(m), np.empty(m)
        self._step, self._direction, self._gradient, self._image, self._columns = np.empty((5, n))

    def factorize(self, jac: Any) -> LinearStatus:
        """Keep J, and form what the preconditioner needs of it."""
        if tuple(jac.shape) != self._shape:
            raise ValueError(f"the Jacobian has shape {tuple(jac.shape)}, prepared was {self._shape}.")
        self._product, self._transposed = products(jac)
        self.failed_column = self._preconditioner.take(jac)
        return LinearStatus.SOLVED if self.failed_column < 0 else LinearStatus.NONFINITE

    def solve(self, r: FloatArray, damping_diag: FloatArray, step_out: FloatArray) -> LinearStatus:
        """Iterate; see `Factorization.solve`. ``NOT_CONVERGED`` gives the step that the limit left."""
        self._preconditioner.damp(damping_diag)
        np.negative(r, out=self._residual)
        self._step[...] = 0.0
        slope = first_slope = self._refresh(damping_diag)
        np.copyto(self._direction, self._image)
        status, decrease = LinearStatus.NOT_CONVERGED, 0.0
        for k in range(self._solver.max_iterations):
            if slope <= self._solver.tolerance**2 * first_slope:
                status = LinearStatus.SOLVED
                break
            curvature = self._curvature(damping_diag)
            if not (np.isfinite(slope) and np.isfinite(curvature)):
                return LinearStatus.NONFINITE
            if curvature <= 0.0:  # rounding alone: the direction lies in the null space
                status = LinearStatus.ILL_CONDITIONED
                break
            self.iterations += 1
            self._advance(slope / curvature)
            gain = 0.5 * slope * slope / curvature
            decrease += gain
            before, slope = slope, self._refresh(damping_diag)
            if (k + 1) * gain <= self._solver.model_tolerance * decrease:
                status = LinearStatus.SOLVED
                break
            self._direction *= slope / before
            self._direction += self._image
        if not (np.isfinite(slope) and np.isfinite(self._step).all()):
            return LinearStatus.NONFINITE
        step_out[...] = self._step
        return status

    def _refresh(self, damping_diag: FloatArray) -> float:
        """Set gradient s = J'u - d p and image z = M^-1 s; return s'z."""
        np.multiply(damping_diag, self._step, out=self._columns)
        np.subtract(self._transposed(self._residual), self._columns, out=self._gradient)
        self._preconditioner.apply(self._gradient, self._image)
        return float(self._gradient @ self._image)

    def _curvature(self, damping_diag: FloatArray) -> float:
        """Set J q; return |J q|^2 + |d^(1/2) q|^2."""
        np.copyto(self._rows, self._product(self._direction))
        np.multiply(damping_diag, self._direction, out=self._columns)
        return float(self._rows @ self._rows + self._direction @ self._columns)

    def _advance(self, length: float) -> None:
        """Go along the direction: p += length q, u -= length J q."""
        np.multiply(self._direction, length, out=self._columns)
        self._step += self._columns
        self._rows *= length
        self._residual -= self._rows
