"""Gauss-Newton, undamped or with a line search, and gradient descent as the reference to measure others by.

The numerics, their mathematics and references are in `nlsq.kernels.line_search`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from nlsq.kernels import layout
from nlsq.kernels import line_search as steps
from nlsq.problem import LeastSquaresProblem
from nlsq.solvers.dense import advance_dense, new_state, write_bounds
from nlsq.solvers.line_search import FixedLength, LineSearch
from nlsq.solvers.termination import Tolerances


@final
@dataclass(frozen=True, kw_only=True)
class GaussNewton:
    """Gauss-Newton: ``x <- x + alpha d``, d the least-squares solution of ``J d = -r``.

    Parameters
    ----------
    linear_solver : {"auto", "cholesky", "qr"}
        How d is found.
    line_search : LineSearch, FixedLength or None
        None (default): undamped, alpha = 1. Then the contraction near a minimum is ``|sum r_i r_i''| / J'J`` for one
        parameter; the history's ``contraction`` shows it.
    """

    linear_solver: str = "auto"
    line_search: LineSearch | FixedLength | None = None

    kernels = (steps.linearise, steps.propose, steps.judge)

    def start(self, problem: LeastSquaresProblem, tolerances: Tolerances, max_evaluations: int | None) -> Any:
        """Evaluate the start and lay out the workspace."""
        if problem.bounded:
            raise ValueError(
                "GaussNewton takes no bounds; use method 'trf', 'dogbox' or 'gradient' (TrustRegionReflective, Dogbox, "
                "GradientDescent)."
            )
        state = new_state(problem, self, tolerances, max_evaluations)
        write_bounds(problem, state)
        state.iw[layout.DIRECTION_RULE] = layout.DIRECTION_GAUSS_NEWTON
        _write_search(self.line_search, state)
        return state

    def advance(self, problem: LeastSquaresProblem, state: Any) -> None:
        """Linearise if the point is new, then propose, try, judge."""
        advance_dense(problem, state)


@final
@dataclass(frozen=True, kw_only=True)
class GradientDescent:
    """Gradient descent in scaled variables, projected on the bounds: the reference that other methods are measured by.

    Parameters
    ----------
    line_search : LineSearch or FixedLength
        Default: Armijo's rule, starting from twice the last length.
    """

    line_search: LineSearch | FixedLength = LineSearch()  # noqa: RUF009 - frozen

    kernels = (steps.linearise, steps.propose, steps.judge)
    linear_solver = "auto"

    def start(self, problem: LeastSquaresProblem, tolerances: Tolerances, max_evaluations: int | None) -> Any:
        """Evaluate the start and lay out the workspace."""
        state = new_state(problem, self, tolerances, max_evaluations)
        write_bounds(problem, state)
        state.iw[layout.DIRECTION_RULE] = layout.DIRECTION_GRADIENT
        _write_search(self.line_search, state)
        return state

    def advance(self, problem: LeastSquaresProblem, state: Any) -> None:
        """Linearise if the point is new, then propose, try, judge."""
        advance_dense(problem, state)


def _write_search(search: LineSearch | FixedLength | None, state: Any) -> None:
    state.iw[layout.SEARCH_RULE] = layout.SEARCH_NONE
    if search is not None:
        search.write(state.w, state.iw)
