"""Dogleg in a rectangular trust region, for bounds and small problems.

The numerics, their mathematics and references are in `nlsq.kernels.dogleg`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

from nlsq.kernels import dogleg as steps
from nlsq.problem import LeastSquaresProblem
from nlsq.solvers.box_subspace import DogboxSubspace
from nlsq.solvers.dense import advance_dense, write_bounds
from nlsq.solvers.matrix_free import start_solve
from nlsq.solvers.newton_steps import newton_steps
from nlsq.solvers.termination import Tolerances


@final
@dataclass(frozen=True, kw_only=True)
class Dogbox:
    """Dogleg in a box (Voglis and Lagaris 2004).

    Parameters
    ----------
    linear_solver : {"auto", "cholesky", "qr", "lsmr", "cholmod", "pardiso"} or LinearSolver
        How the Gauss-Newton step is found. That of a sparse Jacobian by sparse Cholesky while its factor is small (or
        by the package that is named), else by LSMR, as that of a LinearOperator. ``"qr"`` makes a sparse Jacobian
        dense.
    lsmr_options : dict
        Passed to ``scipy.sparse.linalg.lsmr``.
    """

    linear_solver: Any = "auto"
    lsmr_options: dict[str, Any] = field(default_factory=dict)

    kernels = (steps.linearise, steps.propose, steps.judge)

    def start(self, problem: LeastSquaresProblem, tolerances: Tolerances, max_evaluations: int | None) -> Any:
        """Evaluate the start and lay out the workspace."""
        state = start_solve(
            problem,
            self,
            tolerances,
            max_evaluations,
            lambda shape, linear_solver, pattern: DogboxSubspace(
                shape, newton_steps(shape, linear_solver, pattern, self.lsmr_options)
            ),
        )
        write_bounds(problem, state)
        return state

    def advance(self, problem: LeastSquaresProblem, state: Any) -> None:
        """Linearise if the point is new, then propose, try, judge."""
        advance_dense(problem, state)
