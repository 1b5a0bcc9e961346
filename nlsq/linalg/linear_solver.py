r"""The seam between damped methods and linear algebra: prepare once, factorise at each x, solve for each damping.

    minimise  |J p + r|^2 + |diag(d)^(1/2) p|^2        over p in R^n,      d >= 0 the diagonal `damping_diag`

is the linear problem of a Levenberg-Marquardt step, with d = lambda D^2. Damping reaches the linear solver as data, so
that nobody else builds the augmented matrix [J; diag(d)^(1/2)].

References
----------
.. [1] S. Agarwal, K. Mierle and others, "Ceres Solver": `LinearSolver::PerSolveOptions::D`, after which this seam is
   cut.
"""

from __future__ import annotations

import enum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels.backend import handle

FloatArray = NDArray[np.float64]


class LinearStatus(enum.Enum):
    """What became of a linear problem. Where ``usable`` is true there is a step."""

    SOLVED = enum.auto()
    HANDED_OVER = enum.auto()
    CORRECTED = enum.auto()
    REPLANNED = enum.auto()
    ILL_CONDITIONED = enum.auto()
    RANK_DEFICIENT = enum.auto()
    NOT_CONVERGED = enum.auto()
    NOT_DEFINITE = enum.auto()
    NONFINITE = enum.auto()

    @property
    def usable(self) -> bool:
        """Whether a step was computed, or can be."""
        return self not in (LinearStatus.NOT_DEFINITE, LinearStatus.NONFINITE)

    @property
    def message(self) -> str:
        """A sentence: what happened."""
        return _MESSAGES[self]


_MESSAGES = {
    LinearStatus.SOLVED: "The linear problem is solved.",
    LinearStatus.HANDED_OVER: "The normal equations lost too many digits; QR solved the problem in their place.",
    LinearStatus.CORRECTED: "The normal equations lost digits; conjugate gradients with their factor restored them.",
    LinearStatus.REPLANNED: "The Jacobian had entries outside its pattern; the pattern with them was analysed anew.",
    LinearStatus.ILL_CONDITIONED: "The problem is solved, but J is ill-conditioned and the step may have few digits.",
    LinearStatus.RANK_DEFICIENT: "The problem has many solutions; one was taken. Damp it, or use SVD for the shortest.",
    LinearStatus.NOT_CONVERGED: "The iteration limit came before the tolerance; the step is inexact.",
    LinearStatus.NOT_DEFINITE: (
        "Some columns of J depend on the others up to rounding; damp the problem, or hold what is not determined."
    ),
    LinearStatus.NONFINITE: "The Jacobian has entries that are not finite.",
}


class Factorization(Protocol):
    """The linear problems of one solve; owns its memory.

    Notes
    -----
    Factorisations of sparse problems have an attribute ``failed_column``, an int: the column of J at which the last
    factorisation failed (``NOT_DEFINITE``), or the first that is not finite where that was looked for, by which the
    caller names what is not determined; -1 if there is none. Callers take -1 where there is no such attribute.
    """

    def factorize(self, jac: Any) -> LinearStatus:
        """Take in a Jacobian.

        Parameters
        ----------
        jac : ndarray, shape (m, n), csr_array or LinearOperator
            Not kept or changed by dense factorisations; iterative ones keep it until the next call.
        """
        ...

    def solve(self, r: FloatArray, damping_diag: FloatArray, step_out: FloatArray) -> LinearStatus:
        """Minimise ``|J p + r|^2 + |diag(damping_diag)^(1/2) p|^2``.

        Parameters
        ----------
        r : ndarray, shape (m,)
            Residual.
        damping_diag : ndarray, shape (n,)
            Squares of the damping rows, >= 0.
        step_out : ndarray, shape (n,)
            Receives p; untouched if the status is not usable.

        Raises
        ------
        RuntimeError
            If no Jacobian has come yet; the dense factorisations do not look.
        """
        ...


class LinearSolver(Protocol):
    """A way of solving damped linear least-squares problems; immutable, shared between solves."""

    def prepare(self, shape: tuple[int, int], pattern: Any = None) -> Factorization:
        """Allocate for Jacobians of shape (m, n), nonzero only in `pattern` if that is given."""
        ...


def fill_transposed(jac: Any, jac_t_out: FloatArray) -> None:
    """Copy a Jacobian, dense or sparse, into ``jac_t_out``, shape (n, m).

    Raises
    ------
    TypeError
        If `jac` is a LinearOperator, of which no entries are known.
    ValueError
        If it has another shape.
    """
    if hasattr(jac, "toarray"):
        jac = jac.toarray()
    if not isinstance(jac, np.ndarray):
        raise TypeError(f"a dense factorisation needs the entries of J, got {type(jac).__name__}; use LSMR.")
    if jac.shape != jac_t_out.shape[::-1]:
        raise ValueError(
            f"the Jacobian has shape {jac.shape}, the factorisation was prepared for {jac_t_out.shape[::-1]}."
        )
    jac_t_out[...] = jac.T


def flat(array: NDArray[Any]) -> Any:
    """Give what a kernel takes for a contiguous array of any shape."""
    return handle(array.reshape(-1))
