"""Dogleg in a rectangular trust region, for bounds and small problems.

The numerics, their mathematics and references are in `nlsq.kernels.dogleg`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

from nlsq.kernels import dogleg as steps
from nlsq.problem import LeastSquaresProblem
from nlsq.solvers.dense import advance_dense, write_bounds
from nlsq.solvers.matrix_free import start_solve
from nlsq.solvers.subspace import DogboxSubspace
from nlsq.solvers.termination import Tolerances


@final
@dataclass(frozen=True, kw_only=True)
class Dogbox:
    """Dogleg in a box (Voglis and Lagaris 2004).

    Parameters
    ----------
    linear_solver : {"auto", "cholesky", "qr", "lsmr"}
        How the Gauss-Newton step is found; ``"lsmr"`` without factorisation, as for any sparse Jacobian or
        LinearOperator.
    lsmr_options : dict
        Passed to ``scipy.sparse.linalg.lsmr``.
    """

    linear_solver: str = "auto"
    lsmr_options: dict[str, Any] = field(default_factory=dict)

    kernels = (steps.linearise, steps.propose, steps.judge)

    def start(self, problem: LeastSquaresProblem, tolerances: Tolerances, max_evaluations: int | None) -> Any:
        """Evaluate the start and lay out the workspace."""
        state = start_solve(
            problem, self, tolerances, max_evaluations, lambda shape: DogboxSubspace(shape, self.lsmr_options)
        )
        write_bounds(problem, state)
        return state

    def advance(self, problem: LeastSquaresProblem, state: Any) -> None:
        """Linearise if the point is new, then propose, try, judge."""
        advance_dense(problem, state)
