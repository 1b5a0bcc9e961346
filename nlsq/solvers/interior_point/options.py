"""The method as its user chooses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

if TYPE_CHECKING:
    from nlsq.problem import LeastSquaresProblem
    from nlsq.solvers.interior_point.state import InteriorState
    from nlsq.solvers.termination import Tolerances

HESSIANS = ("auto", "exact", "differences", "constraints", "gauss-newton", "sr1")
FORMS = ("auto", "condensed", "augmented")
LINEAR_SOLVERS = ("auto", "dense", "sparse")
BARRIERS = ("adaptive", "monotone")


@final
@dataclass(frozen=True, kw_only=True)
class InteriorPoint:
    """Primal-dual interior-point method with a filter line search, for problems with constraints.

    Parameters
    ----------
    hessian : {"auto", "exact", "differences", "constraints", "gauss-newton", "sr1"}
        What is added to J'J in the Hessian of the Lagrangian: ``"exact"``, second derivatives of residual and
        constraints from their graphs, dual numbers or ``hess``; ``"differences"``, the same with differences of
        Jacobians where they are not known exactly; ``"constraints"``, those of the constraints alone;
        ``"gauss-newton"``, nothing; ``"sr1"``, a structured symmetric rank-one approximation of both. ``"auto"``: exact
        where it is known, differences where Jacobians are exact and the variables few, else SR1. The result says what
        was used.
    kkt : {"auto", "condensed", "augmented"}
        Form of sparse linear systems; see `nlsq.linalg.kkt`.
    linear_solver : {"auto", "dense", "sparse"}
        Bunch-Kaufman factorisation of a dense matrix, or sparse LDL^T.
    ordering : {"amd", "natural"}
        Order of elimination of sparse systems.
    barrier : {"adaptive", "monotone"}
        How the barrier parameter falls. Monotone is the rule of Fiacco and McCormick, as in [1]_ section 2.1; the
        adaptive one lets it fall faster where the products of multipliers and distances are small already.
    first_barrier : float
        Barrier parameter at the start. Default 0.1 [1]_.
    push : float
        How far the start is moved away from its bounds, relative to them or to the distance between them. Default 1e-2
        [1]_.
    tolerance : float
        Of the scaled optimality error E_0. Default 1e-8 [1]_. ``Tolerances(optimality=...)`` of a solve comes before
        it.
    acceptable : float
        Error at which a solve that makes no more progress has still converged, to the acceptable level. Default 1e-6.
    violation : float
        Largest violation of a constraint, as it was given, at a solution. Default 1e-7.
    max_iterations : int
        Limit of iterations. Default 3000.

    Raises
    ------
    ValueError
        If an option is not one of those named, or a number out of its range.

    References
    ----------
    .. [1] A. Waechter and L. T. Biegler, "On the implementation of an interior-point filter line-search algorithm for
       large-scale nonlinear programming", Mathematical Programming 106, 2006.
    """

    hessian: Literal["auto", "exact", "differences", "constraints", "gauss-newton", "sr1"] = "auto"
    kkt: Literal["auto", "condensed", "augmented"] = "auto"
    linear_solver: Literal["auto", "dense", "sparse"] = "auto"
    ordering: Literal["amd", "natural"] = "amd"
    barrier: Literal["adaptive", "monotone"] = "adaptive"
    first_barrier: float = 0.1
    push: float = 1e-2
    tolerance: float = 1e-8
    acceptable: float = 1e-6
    violation: float = 1e-7
    max_iterations: int = 3000

    takes_constraints: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Validate."""
        for name, known in (
            ("hessian", HESSIANS),
            ("kkt", FORMS),
            ("linear_solver", LINEAR_SOLVERS),
            ("barrier", BARRIERS),
            ("ordering", ("amd", "natural")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}.")
        for name in ("first_barrier", "push", "tolerance", "acceptable", "violation"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a positive number, got {getattr(self, name)!r}.")
        if self.push > 0.5:
            raise ValueError(f"push must be at most 0.5, got {self.push!r}.")
        if self.max_iterations < 1:
            raise ValueError(f"max_iterations must be at least 1, got {self.max_iterations!r}.")

    def start(
        self,
        problem: LeastSquaresProblem,
        tolerances: Tolerances,
        max_evaluations: int | None,
        warm_start: Any = None,
    ) -> InteriorState:
        """Lay out the solve; functions are evaluated by its first step."""
        from nlsq.solvers.interior_point.state import begin

        return begin(problem, self, tolerances, max_evaluations, warm_start)

    def advance(self, problem: LeastSquaresProblem, state: InteriorState) -> None:
        """Make one iteration: barrier, direction, line search, acceptance."""
        state.advance()
