r"""Projected gradient with spectral step lengths, on bounds and constraints.

With P the projection on the set of points that satisfy bounds and constraints, linearised at x, in variables scaled by
D (the largest lengths that the columns of J have had), and g = J'r:

    x(t)   = P(x - t alpha D^-2 g)                          the projection arc                              [1]_
    alpha  = s'D^2 s / s'w   or   s'w / w'D^-2 w            s = x - x_before, w = change of g + A'y         [2]_ [3]_
    accept   F(x(t)) <= max(F of the last M points) + 1e-4 g'(x(t) - x)                                     [3]_

t starts at one and is cut by a parabola within [0.1, 0.5]. Where constraints are curved, x(t) is followed by steps back
to them (`nlsq.solvers.feasible_set`), and a t from which they do not return is halved. A start that is not feasible is
moved to the constraints first.

Optimality is the longest component of ``D (P(x - D^-2 g) - x)``, the projected gradient, relative to ``|r|``: without
active bounds and constraints the largest cosine between r and a column of J, as everywhere. The tests of step and cost
take the longest alpha of the last steps for the inverse of the smallest curvature. They are the same under every rule.

References
----------
.. [1] D. P. Bertsekas, "On the Goldstein-Levitin-Polyak gradient projection method", IEEE Transactions on Automatic
   Control 21, 1976, equations 12 to 15.
.. [2] J. Barzilai and J. M. Borwein, "Two-Point Step Size Gradient Methods", IMA Journal of Numerical Analysis 8, 1988.
.. [3] E. G. Birgin, J. M. Martinez and M. Raydan, "Nonmonotone Spectral Projected Gradient Methods on Convex Sets",
   SIAM Journal on Optimization 10, 2000: algorithm SPG1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from nlsq.problem import LeastSquaresProblem
from nlsq.solvers.spectral_descent import SpectralDescent
from nlsq.solvers.termination import Tolerances

__all__ = ["ProjectedGradient"]


@final
@dataclass(frozen=True, kw_only=True)
class ProjectedGradient:
    """Spectral projected gradient on bounds, equalities and inequalities: no matrix is factorised but A A'.

    Parameters
    ----------
    memory : int
        Costs of how many last points the next one is compared with; 1 makes the cost fall at every step. Default 10, as
        Birgin, Martinez and Raydan.
    feasibility : float
        By how much a constraint may be missed, in units of the larger of one and its limit. Default 1e-10.

    Raises
    ------
    ValueError
        If `memory` or `feasibility` is not positive.
    """

    memory: int = 10
    feasibility: float = 1e-10

    takes_constraints = True

    def __post_init__(self) -> None:
        """Validate."""
        if self.memory < 1:
            raise ValueError(f"memory must be at least 1, got {self.memory!r}.")
        if not self.feasibility > 0.0:
            raise ValueError(f"feasibility must be positive, got {self.feasibility!r}.")

    def start(self, problem: LeastSquaresProblem, tolerances: Tolerances, max_evaluations: int | None) -> Any:
        """Move the start to the constraints and evaluate there."""
        return SpectralDescent(problem, self.memory, self.feasibility, tolerances, max_evaluations)

    def advance(self, problem: LeastSquaresProblem, state: Any) -> None:
        """Linearise if the point is new, then try one point of the arc and judge it."""
        state.advance()
