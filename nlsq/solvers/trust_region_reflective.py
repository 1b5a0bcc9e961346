"""Trust-region reflective: the method of choice with bounds.

The numerics, their mathematics and references are in `nlsq.kernels.trust_region`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from nlsq.kernels import trust_region as steps
from nlsq.problem import LeastSquaresProblem
from nlsq.solvers.dense import FloatArray, advance_dense, write_bounds
from nlsq.solvers.matrix_free import start_solve
from nlsq.solvers.newton_steps import newton_steps
from nlsq.solvers.subspace import ReflectiveSubspace
from nlsq.solvers.termination import Tolerances

OFF_THE_BOUND = 1e-10  # relative; the method needs a start inside


@final
@dataclass(frozen=True, kw_only=True)
class TrustRegionReflective:
    """Trust-region reflective method (Branch, Coleman, Li 1999).

    Parameters
    ----------
    linear_solver : {"auto", "cholesky", "qr", "lsmr", "cholmod", "pardiso"} or LinearSolver
        How the subproblem is solved. A sparse Jacobian or LinearOperator, and ``"lsmr"``, work in the subspace of
        gradient and Gauss-Newton step, which is found by sparse Cholesky while its factor is small (or by the package
        that is named), else by LSMR. ``"qr"`` makes a sparse Jacobian dense.
    regularize : bool
        Damp LSMR's step by what the Cauchy step says about the curvature. Default True.
    lsmr_options : dict
        Passed to ``scipy.sparse.linalg.lsmr``.
    """

    linear_solver: Any = "auto"
    regularize: bool = True
    lsmr_options: dict[str, Any] = field(default_factory=dict)

    kernels = (steps.linearise, steps.propose, steps.judge)

    def start(self, problem: LeastSquaresProblem, tolerances: Tolerances, max_evaluations: int | None) -> Any:
        """Move the start off the bounds, evaluate it and lay out the workspace."""
        start = problem.x0
        if problem.lower is not None and problem.upper is not None:
            start = strictly_inside(start, problem.lower, problem.upper)
        state = start_solve(
            problem,
            self,
            tolerances,
            max_evaluations,
            lambda shape, linear_solver, pattern: ReflectiveSubspace(
                shape, self.regularize, newton_steps(shape, linear_solver, pattern, self.lsmr_options)
            ),
            start,
        )
        write_bounds(problem, state)
        return state

    def advance(self, problem: LeastSquaresProblem, state: Any) -> None:
        """Linearise if the point is new, then propose, try, judge."""
        advance_dense(problem, state)


def strictly_inside(x: FloatArray, lower: FloatArray, upper: FloatArray) -> FloatArray:
    """Move what lies on or next to a bound off it by 1e-10 of its size (at least 1e-10), at most to the middle."""
    with np.errstate(invalid="ignore"):  # inf - inf, for open ends
        low = lower + OFF_THE_BOUND * np.maximum(1.0, np.abs(lower))
        high = upper - OFF_THE_BOUND * np.maximum(1.0, np.abs(upper))
        narrow = low > high
        low[narrow] = high[narrow] = 0.5 * (lower + upper)[narrow]
    moved = np.where(x <= lower, low, np.where(x >= upper, high, x))
    return np.asarray(np.where(lower == upper, x, moved))
