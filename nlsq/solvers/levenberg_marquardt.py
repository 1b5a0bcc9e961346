"""Levenberg-Marquardt: the method of choice without bounds.

    minimise |J p + r|^2  within |D p| <= radius,  or  (J'J + lambda D^2) p = -J'r

The numerics, their mathematics and references are in `nlsq.kernels.levenberg_marquardt` and
`nlsq.kernels.quadratic_model`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from nlsq.kernels import levenberg_marquardt as steps
from nlsq.problem import LeastSquaresProblem
from nlsq.problem.blocks.block_problem import BlockProblem
from nlsq.solvers.damped import DampedSteps
from nlsq.solvers.damping import MoreRadius, Nielsen
from nlsq.solvers.dense import advance_dense
from nlsq.solvers.matrix_free import start_solve
from nlsq.solvers.termination import Tolerances


@final
@dataclass(frozen=True, kw_only=True)
class LevenbergMarquardt:
    """Levenberg-Marquardt.

    Parameters
    ----------
    linear_solver : {"auto", "cholesky", "qr", "schur", "pcg", "lsmr", "cholmod", "pardiso"} or LinearSolver
        How the damped systems are solved. ``"auto"`` (default): for dense J normal equations and Cholesky, and pivoted
        QR where the pivots say that too many digits are lost; for sparse J and residual blocks what
        `nlsq.linalg.sparse_choice` finds fit, for a LinearOperator LSMR. ``"qr"`` is for dense J alone, ``"schur"`` for
        residual blocks. An object with the seam of `nlsq.linalg` is called for each step.
    damping : MoreRadius or Nielsen, optional
        Default ``MoreRadius(factor=100)``, as MINPACK; for residual blocks see `nlsq.solvers.blocks`.
    """

    linear_solver: Any = "auto"
    damping: MoreRadius | Nielsen | None = None

    kernels = (steps.linearise, steps.propose, steps.judge)

    def start(
        self, problem: LeastSquaresProblem | BlockProblem, tolerances: Tolerances, max_evaluations: int | None
    ) -> Any:
        """Evaluate the start and lay out the workspace."""
        if isinstance(problem, BlockProblem):
            return self._start_blocks(problem, tolerances, max_evaluations)
        if problem.bounded:
            raise ValueError(
                "LevenbergMarquardt takes no bounds; use method 'trf' or 'dogbox' (TrustRegionReflective, Dogbox)."
            )
        state = start_solve(problem, self, tolerances, max_evaluations, DampedSteps)
        (self.damping or MoreRadius()).write(state.w, state.iw)
        return state

    def _start_blocks(self, problem: BlockProblem, tolerances: Tolerances, max_evaluations: int | None) -> Any:
        from nlsq.solvers.blocks import BlockState

        state = BlockState(problem, self.linear_solver, tolerances, max_evaluations)
        (self.damping or state.own_damping()).write(state.w, state.iw)
        state.start()
        return state

    def advance(self, problem: LeastSquaresProblem | BlockProblem, state: Any) -> None:
        """Linearise if the point is new, then propose, try, judge."""
        advance_dense(problem, state)
