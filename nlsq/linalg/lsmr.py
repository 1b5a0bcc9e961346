r"""LSMR: only products with J and J', for Jacobians that are sparse, operators, or too large to factorise.

    minimise  |B y - b|,     B = [J; diag(d)^(1/2)] diag(c)^-1,     b = [-r; 0],     p = y / c

LSMR runs Golub and Kahan's bidiagonalisation and makes |B'(B y - b)| fall at every iteration [1]_. The columns of B
have unit length where those of J are known, c_j = (|J_j|^2 + d_j)^(1/2), so that units do not matter; of an operator
only the damping is known, and c = d^(1/2) where all of it is positive.

LSMR itself stops at ``|B's| <= atol |B| |s|``, s = b - B y. Near a minimum with a residual that is true at once, for y
= 0. What matters to a solver is the gradient of its linear problem against that at the start, so

    atol = tolerance |B'b| / (|B|_F |b|)      stops no later than       |B's| <= tolerance |B'b|.

References
----------
.. [1] D. Fong, M. Saunders, "LSMR: an iterative algorithm for sparse least-squares problems", SIAM J. Sci. Comput. 33,
   2011.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from nlsq.block_jacobian import BlockJacobian
from nlsq.linalg.linear_solver import FloatArray, LinearStatus

CONVERGED = (0, 1, 2, 4, 5)  # SciPy's `istop`: zero is the solution, compatible, least squares, and both to rounding
OUT_OF_ITERATIONS = 7


@final
@dataclass(frozen=True, kw_only=True)
class LSMR:
    """Damped least squares by LSMR.

    Parameters
    ----------
    tolerance : float
        Share of the gradient of the linear problem at which to stop. Default 1e-10.
    max_iterations : int, optional
        Default ``4 min(m, n)``, at least 100.
    options : dict
        Passed to `scipy.sparse.linalg.lsmr`; ``atol``, ``btol``, ``conlim`` and ``maxiter`` replace what follows from
        the tolerance.
    """

    tolerance: float = 1e-10
    max_iterations: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Validate."""
        if not 0.0 <= self.tolerance < 1.0:
            raise ValueError(f"tolerance must be in [0, 1), got {self.tolerance!r}.")

    def prepare(self, shape: tuple[int, int], pattern: Any = None) -> LSMRFactorization:
        """Allocate for Jacobians of shape (m, n)."""
        limit = max(100, 4 * min(shape)) if self.max_iterations is None else self.max_iterations
        return LSMRFactorization(shape, self.tolerance, {"maxiter": limit, **self.options})


@final
class LSMRFactorization:
    """Iterative solutions of one solve: there is nothing to factorise, but the column norms of J are kept.

    Parameters
    ----------
    shape : tuple of int
        ``(m, n)``.
    tolerance : float
        See `LSMR`.
    options : dict
        For `scipy.sparse.linalg.lsmr`.

    Attributes
    ----------
    tolerance : float
        May be changed between solves.
    iterations : int
        Spent so far.
    """

    def __init__(self, shape: tuple[int, int], tolerance: float, options: Mapping[str, Any]) -> None:
        m, n = self._shape = shape
        self.iterations = 0
        self.tolerance, self._options = tolerance, dict(options)
        self._product: Callable[[FloatArray], FloatArray] = no_jacobian
        self._transposed: Callable[[FloatArray], FloatArray] = no_jacobian
        self._norms: FloatArray | None = None
        self._target = np.zeros(m + n)
        self._roots = np.zeros(n)
        self._lengths = np.ones(n)
        self._image = np.empty(m + n)

    def factorize(self, jac: Any) -> LinearStatus:
        """Keep J and its column norms."""
        if tuple(jac.shape) != self._shape:
            raise ValueError(f"the Jacobian has shape {tuple(jac.shape)}, LSMR was prepared for {self._shape}.")
        self.take(*products(jac), column_norms(jac))
        finite = self._norms is None or bool(np.isfinite(self._norms).all())
        return LinearStatus.SOLVED if finite else LinearStatus.NONFINITE

    def take(
        self,
        product: Callable[[FloatArray], FloatArray],
        transposed: Callable[[FloatArray], FloatArray],
        norms: FloatArray | None,
    ) -> None:
        """Take in J as its two products and, if they are known or can be guessed, its column norms, shape (n,)."""
        self._product, self._transposed, self._norms = product, transposed, norms

    def solve(self, r: FloatArray, damping_diag: FloatArray, step_out: FloatArray) -> LinearStatus:
        """Iterate; see `Factorization.solve`."""
        from scipy.sparse.linalg import LinearOperator, lsmr

        m, n = self._shape
        options = dict(self._options)
        lengths = self._measure_columns(damping_diag, options.pop("damp", 0.0))
        gradient = self._transposed(r) / lengths
        slope, size = float(np.linalg.norm(gradient)), float(np.linalg.norm(r))
        if not (np.isfinite(slope) and np.isfinite(size)):
            return LinearStatus.NONFINITE
        if slope == 0.0:
            step_out[...] = 0.0
            return LinearStatus.SOLVED
        options.setdefault("atol", self.tolerance * slope / (self._frobenius(gradient) * size))
        options.setdefault("btol", self.tolerance)
        options.setdefault("conlim", 0.0)
        if options.get("x0") is not None:
            options["x0"] = lengths * options["x0"]
        target = self._target[: m + (n if self._roots.any() else 0)]
        target[:m] = -r
        operator = LinearOperator(
            (target.size, n), matvec=self._apply, rmatvec=self._apply_transposed, dtype=np.float64
        )
        y, stop, iterations = lsmr(operator, target, **options)[:3]
        self.iterations += iterations
        if not np.isfinite(y).all():
            return LinearStatus.NONFINITE
        np.divide(y, lengths, out=step_out)
        if stop in CONVERGED:
            return LinearStatus.SOLVED
        return LinearStatus.NOT_CONVERGED if stop == OUT_OF_ITERATIONS else LinearStatus.ILL_CONDITIONED

    def _measure_columns(self, damping_diag: FloatArray, damp: float) -> FloatArray:
        """Lengths of the columns of the damped J, as far as they are known; 1 where they are 0."""
        roots, lengths = self._roots, self._lengths
        np.sqrt(damping_diag + damp * damp, out=roots)
        if self._norms is not None:
            np.hypot(self._norms, roots, out=lengths)
            lengths[lengths == 0.0] = 1.0
        else:
            lengths[...] = roots if roots.all() else 1.0
        return lengths

    def _frobenius(self, gradient: FloatArray) -> float:
        """|B|_F: sqrt(n) when all columns have length 1; for an operator the same from its stretch of the gradient."""
        root = float(np.sqrt(gradient.size))
        if self._norms is not None:
            return root
        return root * float(np.linalg.norm(self._apply(gradient)) / np.linalg.norm(gradient))

    def _apply(self, y: FloatArray) -> FloatArray:
        m = self._shape[0]
        p = y / self._lengths
        image = self._product(p)
        if not self._roots.any():
            return image
        self._image[:m] = image
        np.multiply(self._roots, p, out=self._image[m:])
        return self._image

    def _apply_transposed(self, u: FloatArray) -> FloatArray:
        m = self._shape[0]
        image = self._transposed(u[:m])
        if u.size > m:
            image = image + self._roots * u[m:]
        return np.asarray(image / self._lengths)


def no_jacobian(_: FloatArray) -> FloatArray:
    """Stand for products with J until there is one: raise RuntimeError."""
    raise RuntimeError("solve comes after factorize: there is no Jacobian yet.")


def products(jac: Any) -> tuple[Callable[[FloatArray], FloatArray], Callable[[FloatArray], FloatArray]]:
    """Return ``v -> J v`` and ``u -> J'u`` for an array, a sparse array, a BlockJacobian or a LinearOperator."""
    if isinstance(jac, BlockJacobian):
        return jac.product, jac.transposed
    if isinstance(jac, np.ndarray) or hasattr(jac, "toarray"):
        jac_t = jac.T
        return lambda v: np.asarray(jac @ v), lambda u: np.asarray(jac_t @ u)
    return lambda v: np.ravel(jac.matvec(v)), lambda u: np.ravel(jac.rmatvec(u))


def column_norms(jac: Any) -> FloatArray | None:
    """Euclidean norms of the columns of J, shape (n,); None for a LinearOperator, which does not show them."""
    if isinstance(jac, np.ndarray):
        return np.asarray(np.sqrt(np.einsum("ij,ij->j", jac, jac)))
    if isinstance(jac, BlockJacobian):
        return jac.column_norms()
    sparse = sys.modules.get("scipy.sparse")
    if sparse is None or not sparse.issparse(jac):
        return None
    csr = jac.tocsr()
    return np.asarray(np.sqrt(np.bincount(csr.indices, weights=csr.data * csr.data, minlength=csr.shape[1])))
