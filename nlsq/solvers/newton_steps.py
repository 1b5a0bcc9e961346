r"""Gauss-Newton steps in scaled variables, for the trust regions that only multiply with J: inexact ones, and direct.

    p = S y,     y = argmin |J S y + r|^2 + |e^(1/2) y|^2

S is the diagonal `scale`, zero where a variable is held, and e the diagonal `extra`. LSMR solves this as it stands. A
factorisation solves it for p, with e / S^2 on the diagonal, so that the pattern is that of J'J whatever S is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, final

import numpy as np

from nlsq.kernels import layout
from nlsq.linalg.linear_solver import LinearStatus
from nlsq.linalg.lsmr import LSMR
from nlsq.pattern import SparsityPattern
from nlsq.solvers.damped import tell
from nlsq.solvers.dense import FloatArray
from nlsq.solvers.matrix_free import MatrixFreeState

TOLERANCE = 1e-6  # of the gradient of the linear problem, where LSMR stops
SHARP = 1e-12  # the same where convergence is in question
HELD = 1e30  # times the square of a column's norm: a damping that leaves nothing of a step


class NewtonSteps(Protocol):
    """Where Gauss-Newton steps come from; owns the memory of one solve."""

    is_exact: bool
    is_direct: bool  # damped steps cost little more

    def find(self, state: MatrixFreeState, scale: FloatArray, extra: FloatArray, step_out: FloatArray) -> LinearStatus:
        """Find y.

        Parameters
        ----------
        state : MatrixFreeState
            Has J, its column norms and the weighted residual.
        scale : ndarray, shape (n,)
            S, >= 0.
        extra : ndarray, shape (n,)
            e, >= 0.
        step_out : ndarray, shape (n,)
            Receives y; untouched if the status is not usable.
        """
        ...

    def sharpen(self) -> bool:
        """Find exact steps from now on; False if that changes nothing."""
        ...


@final
class InexactNewton:
    """Steps by LSMR.

    Parameters
    ----------
    shape : tuple of int
        ``(m, n)``.
    options : dict
        For `scipy.sparse.linalg.lsmr`.
    """

    def __init__(self, shape: tuple[int, int], options: Mapping[str, Any]) -> None:
        self.is_exact = self.is_direct = False
        self.solver = LSMR(tolerance=TOLERANCE, options=options).prepare(shape)

    def find(self, state: MatrixFreeState, scale: FloatArray, extra: FloatArray, step_out: FloatArray) -> LinearStatus:
        """Iterate on the scaled problem."""
        product, transposed = state.product, state.transposed
        norms = state.vector(layout.COLUMN_NORM) * scale
        self.solver.take(lambda v: product(scale * v), lambda u: scale * transposed(u), norms)
        return self.solver.solve(state.space.residual_vector(layout.WEIGHTED), extra, step_out)

    def sharpen(self) -> bool:
        """Let LSMR go to the end from now on."""
        changed = self.is_exact is False
        self.is_exact = True
        self.solver.tolerance = SHARP
        return changed


@final
class DirectNewton:
    """Steps by a linear solver that is handed J itself, such as sparse Cholesky.

    Parameters
    ----------
    factorization : Factorization
        See `nlsq.linalg`. Variables are held by a damping out of proportion.
    """

    def __init__(self, factorization: Any) -> None:
        self.is_exact, self.is_direct = False, True
        self.factorization = factorization
        self._taken = 0  # how many Jacobians

    def find(self, state: MatrixFreeState, scale: FloatArray, extra: FloatArray, step_out: FloatArray) -> LinearStatus:
        """Factorise and solve."""
        count = int(state.iw[layout.NJEV])
        status: LinearStatus
        if count != self._taken:
            status = self.factorization.factorize(state.jac)
            tell(state, status)
            if not status.usable:
                return status
            self._taken = count
        free = scale > 0.0
        norms = state.vector(layout.COLUMN_NORM)
        damping = HELD * np.where(norms > 0.0, norms * norms, 1.0)
        np.divide(extra, scale * scale, out=damping, where=free)
        step = np.zeros(scale.size)
        status = self.factorization.solve(state.space.residual_vector(layout.WEIGHTED), damping, step)
        tell(state, status)
        if status.usable:
            step_out[...] = 0.0
            np.divide(step, scale, out=step_out, where=free)
        return status

    def sharpen(self) -> bool:
        """They are exact where they are not regularised."""
        changed = self.is_exact is False
        self.is_exact = True
        return changed


def newton_steps(
    shape: tuple[int, int], linear_solver: Any, pattern: SparsityPattern | None, lsmr_options: Mapping[str, Any]
) -> NewtonSteps:
    """Return the steps of a linear solver; those of LSMR work on the scaled problem and become exact when asked to."""
    if isinstance(linear_solver, LSMR):
        return InexactNewton(shape, {**linear_solver.options, **lsmr_options})
    return DirectNewton(linear_solver.prepare(shape, pattern))
