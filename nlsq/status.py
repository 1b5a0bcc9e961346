"""Words for what a solver did: statuses, counters, reports and results as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class Status(IntEnum):
    """Why a solver stopped. Members up to ``COST_AND_STEP``, and ``ACCEPTABLE``, are convergence."""

    RUNNING = 0
    OPTIMALITY = 1
    COST_CHANGE = 2
    STEP = 3
    COST_AND_STEP = 4
    MAX_EVALUATIONS = 5
    TIME_LIMIT = 6
    CALLBACK = 7
    NONFINITE_START = 8
    NONFINITE_JACOBIAN = 9
    COST_FLOOR = 10
    STEP_FLOOR = 11
    OPTIMALITY_FLOOR = 12
    STALLED = 13
    DIVERGED = 14
    NOT_FITTED = 15
    TOO_FEW_POINTS = 16
    ACCEPTABLE = 17
    LOCALLY_INFEASIBLE = 18
    RESTORATION_FAILED = 19
    MAX_ITERATIONS = 20
    DIVERGING = 21
    KKT_FAILED = 22

    @property
    def converged(self) -> bool:
        """Whether a stopping test of a minimum was met."""
        return Status.OPTIMALITY <= self <= Status.COST_AND_STEP or self == Status.ACCEPTABLE

    @property
    def message(self) -> str:
        """A sentence: what happened, and where it is no success, one thing to try."""
        return _MESSAGES[self]


_MESSAGES = {
    Status.RUNNING: "The solver has not stopped.",
    Status.OPTIMALITY: "Converged: the first-order optimality is below the optimality tolerance.",
    Status.COST_CHANGE: "Converged: the cost changes, and can still change, by less than the cost tolerance.",
    Status.STEP: "Converged: the full step is shorter than the step tolerance.",
    Status.COST_AND_STEP: "Converged: both the cost change and the full step are below their tolerances.",
    Status.MAX_EVALUATIONS: "Stopped at the limit of evaluations; raise max_evaluations or start closer.",
    Status.TIME_LIMIT: "Stopped at the time limit; raise time_limit to go on from this point.",
    Status.CALLBACK: "Stopped by the callback.",
    Status.NONFINITE_START: "The residuals, or constraints, are not finite at the start; "
    "move x0 to where they are defined.",
    Status.NONFINITE_JACOBIAN: "The Jacobian is not finite at the best point; check jac, or bound the parameters.",
    Status.COST_FLOOR: "The cost tolerance is below rounding: no further reduction of the cost is possible.",
    Status.STEP_FLOOR: "The step tolerance is below rounding: no further improvement of x is possible.",
    Status.OPTIMALITY_FLOOR: "The optimality tolerance is below rounding: residual and Jacobian are orthogonal.",
    Status.STALLED: "No step reduces the cost at a point that is not stationary; check jac.",
    Status.DIVERGED: "The cost left the finite numbers; use a line search or a damped method.",
    Status.NOT_FITTED: "Not fitted: the batch was interrupted before this row.",
    Status.TOO_FEW_POINTS: "Not fitted: fewer points than free parameters are left in this row.",
    Status.ACCEPTABLE: "Converged to the acceptable level: progress ended before the tolerance was reached.",
    Status.LOCALLY_INFEASIBLE: "Locally infeasible: no nearby point violates the constraints less; "
    "start elsewhere, or look for constraints that contradict each other.",
    Status.RESTORATION_FAILED: "No point that meets the constraints was found, nor is there proof that none is near; "
    "start elsewhere, or scale the constraints.",
    Status.MAX_ITERATIONS: "Stopped at the limit of iterations; raise max_iterations or start closer.",
    Status.DIVERGING: "The variables grow without end; bound them, as the cost may have no minimum.",
    Status.KKT_FAILED: "The linear system has no usable factorisation; "
    "check derivatives for values that are not finite.",
}


@dataclass(slots=True)
class Counters:
    """Evaluations so far.

    Attributes
    ----------
    nfev : int
        Residual evaluations that a solver asked for.
    nfev_jac : int
        Residual evaluations spent inside a Jacobian estimator.
    njev : int
        Jacobian evaluations.
    nit : int
        Accepted steps.
    """

    nfev: int = 0
    nfev_jac: int = 0
    njev: int = 0
    nit: int = 0


@dataclass(slots=True)
class StepReport:
    """What one accepted or rejected step did; the input of stopping tests, callbacks and the history.

    ``dual_infeasibility``, ``constr_violation``, ``complementarity`` and ``barrier`` are zero for solvers without
    constraints, and so is what follows them: what was added to the diagonal of the Hessian, step lengths of variables
    and bound multipliers, trial points of the line search, and a letter for the kind of step (see `format_log`).
    """

    nit: int
    x: FloatArray
    cost: float
    optimality: float
    step_norm: float
    cost_reduction: float
    gain_ratio: float
    accepted: bool
    nfev: int
    njev: int
    damping: float = 0.0
    radius: float = np.inf
    contraction: float = np.nan
    residual: FloatArray | None = None
    jac: Any = None
    gradient: FloatArray | None = None
    dual_infeasibility: float = 0.0
    constr_violation: float = 0.0
    complementarity: float = 0.0
    barrier: float = 0.0
    regularisation: float = 0.0
    primal_step: float | None = None
    dual_step: float | None = None
    line_search: int | None = None
    kind: str = ""


class Multipliers(NamedTuple):
    """Multipliers at a solution: ``g + A'constraints - lower + upper = 0``.

    Attributes
    ----------
    constraints : ndarray, shape (mc,)
        Of the constraints, in the order in which they were given: >= 0 at an upper limit, <= 0 at a lower one.
    lower, upper : ndarray, shape (n,)
        Of the bounds, >= 0; zero, or nearly so after an interior-point solve, where a bound is not active.
    """

    constraints: FloatArray
    lower: FloatArray
    upper: FloatArray


@dataclass(slots=True)
class SolveResult:
    """The outcome of ``nlsq.solve``.

    Attributes
    ----------
    x : ndarray, shape (n,)
        Best point found.
    cost : float
        ``1/2 sum rho(r_i^2)`` at `x`.
    residual : ndarray, shape (m,)
        Residuals at `x`, without the loss.
    jac : ndarray (m, n), csr_array or LinearOperator
        Jacobian at `x`, rows scaled by the loss.
    gradient : ndarray, shape (n,)
        Gradient of the cost.
    optimality : float
        The measure that the optimality tolerance was compared with.
    active_mask : ndarray of int, shape (n,)
        -1 at a lower bound, 1 at an upper bound, else 0.
    status : Status
        Why the solver stopped; ``message`` says it in words, ``converged`` whether it is a success.
    nfev, nfev_jac, njev, nit : int
        See `Counters`.
    fallbacks : list of str
        What was done differently from what was asked, empty when nothing was.
    linear_solver : str
        How the linear problems of a sparse Jacobian or an operator were solved, and why; empty for a dense one.
    history : list of StepReport or None
        Every judged step, when asked for.
    multipliers : Multipliers or None
        Of constraints and bounds (the gradient at active bounds); None without bounds.
    constr_violation : float
        Largest violation of bounds and constraints.
    """

    x: FloatArray
    cost: float
    residual: FloatArray
    jac: Any
    gradient: FloatArray
    optimality: float
    active_mask: NDArray[np.int_]
    status: Status
    nfev: int
    nfev_jac: int
    njev: int
    nit: int
    fallbacks: list[str] = field(default_factory=list)
    history: list[StepReport] | None = None
    multipliers: Multipliers | None = None
    constr_violation: float = 0.0
    linear_solver: str = ""

    @property
    def message(self) -> str:
        """What happened, in a sentence."""
        return self.status.message

    @property
    def converged(self) -> bool:
        """Whether the solver reached a minimum by its own tests."""
        return self.status.converged


@dataclass(slots=True)
class BatchOutcome:
    """What a batch of fits left behind, one row a fit.

    Attributes
    ----------
    params : ndarray, shape (B, n)
        Best point of each fit, held parameters included.
    cost : ndarray, shape (B,)
        ``1/2 sum rho(r_i^2)`` there; infinite where it never was finite.
    normal : ndarray, shape (B, n (n + 1) / 2)
        J'J there, the lower triangle row by row, rows of J scaled by weights and loss; NaN where it is unknown, zero
        where nothing was fitted.
    status : ndarray of int16, shape (B,)
        Members of `Status`.
    nfev, nit : ndarray of int32, shape (B,)
        Evaluations and accepted steps.
    points : ndarray of int32, shape (B,)
        Residuals that count: neither missing nor of weight zero.
    redone : ndarray of bool, shape (B,)
        Rows that were solved one by one because the kernel for several fits at once could not finish them.
    """

    params: FloatArray
    cost: FloatArray
    normal: FloatArray
    status: NDArray[np.int16]
    nfev: NDArray[np.int32]
    nit: NDArray[np.int32]
    points: NDArray[np.int32]
    redone: NDArray[np.bool_]
