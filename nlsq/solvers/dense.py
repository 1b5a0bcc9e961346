"""One iteration of a dense solver: linearise, propose, try, judge; the numerics are the solver's kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels import driver as steps_driver
from nlsq.kernels import layout
from nlsq.kernels.backend import Kernel
from nlsq.kernels.watchdog import go_back
from nlsq.loss import scale_for_loss
from nlsq.problem import LeastSquaresProblem
from nlsq.problem.blocks.block_problem import BlockProblem
from nlsq.problem.compiled import CompiledResidual
from nlsq.solvers.termination import Tolerances
from nlsq.solvers.workspace import Workspace
from nlsq.status import Counters, Multipliers, SolveResult, Status, StepReport

ROUTES = {"auto": layout.ROUTE_AUTO, "cholesky": layout.ROUTE_CHOLESKY, "qr": layout.ROUTE_QR}
LOSS_CODES = {"linear": 0, "huber": 1, "soft_l1": 2, "cauchy": 3, "arctan": 4}
PYTHON_LOSS = -1
RADIUS_ANEW = 1e-2  # relative to x, at least, when central differences take over
DAMPING_ANEW = 1e-6  # of the damping, likewise
REFINED_FROM = frozenset(
    {Status.OPTIMALITY, Status.COST_CHANGE, Status.STEP, Status.COST_AND_STEP, Status.COST_FLOOR, Status.STEP_FLOOR}
)
EVALUATIONS = 1000  # the default limit, by n + 1: a guard against solves without end, beyond all that make progress
MOST_DENSE = 10**8  # entries of a Jacobian that may be made dense
BLAS_FROM = 32  # parameters from which BLAS forms the normal matrix, and the loss is applied before it in Python


FloatArray = NDArray[np.float64]


class DenseState:
    """A dense solve in progress.

    Parameters
    ----------
    problem : LeastSquaresProblem
        Owns the counters.
    kernels : three Kernels
        The solver's linearise, propose and judge.
    tolerances : Tolerances
        Written into the workspace.
    max_evaluations : int
        Limit of residual evaluations.
    """

    __slots__ = (
        "by_address",
        "estimate",
        "fallbacks",
        "finer",
        "iw",
        "judge",
        "kernels",
        "limit",
        "linearise",
        "pending",
        "problem",
        "propose",
        "python_loss",
        "space",
        "stale",
        "status",
        "w",
    )  # fmt: skip

    def __init__(
        self,
        problem: LeastSquaresProblem,
        space: Workspace,
        kernels: tuple[Kernel, Kernel, Kernel],
        tolerances: Tolerances,
        max_evaluations: int,
    ) -> None:
        self.problem, self.space, self.limit, self.kernels = problem, space, max_evaluations, kernels
        self.w, self.iw = space.w, space.iw
        self.linearise, self.propose, self.judge = (k.entry() for k in kernels)
        self.status = self.pending = 0
        self.stale = True
        self.by_address = False
        self.finer: Any = None
        self.fallbacks: list[str] = []
        self.estimate: Any = None
        tolerances.write(self.w, self.iw)
        loss = problem.loss
        self.python_loss = callable(loss.function) or (space.n >= BLAS_FROM and not loss.is_linear)
        self.iw[layout.LOSS] = PYTHON_LOSS if self.python_loss else LOSS_CODES[str(loss.function)]
        self.w[layout.LOSS_SCALE] = loss.scale

    def linearise_here(self) -> bool:
        """Evaluate J at x and take it in; True when that ends the solve."""
        return _linearise(self.problem, self)

    def try_candidate(self) -> None:
        """Evaluate the residual at the candidate."""
        try_candidate(self)

    def result(self) -> SolveResult:
        """Collect the best point and what is known there."""
        if self.iw[layout.NORMAL_READY] == layout.NORMAL_FUSED:  # the normal equations came without J
            self.estimate.evaluate(self.space.x, self.space.residual, self.space.jac_t.T)
            if not self.problem.loss.is_linear:
                scale_for_loss(self.problem.loss, self.space.jac_t.T, self.space.residual.copy())
        handovers = int(self.iw[layout.QR_FALLBACKS])
        if handovers:
            self.fallbacks.append(f"normal equations too ill-conditioned: {handovers} times QR in place of Cholesky")
        return collect(self, self.space.jac_t.T.copy())

    def report(self) -> StepReport:
        """Describe the step that was just judged."""
        return describe(self, self.space.jac_t.T)


def try_candidate(state: Any) -> None:
    """Evaluate the residual at the candidate, and its cost where the loss is applied in Python."""
    space, problem = state.space, state.problem
    problem.residual.into(space.x_new, space.residual_new)
    if state.python_loss:
        state.w[layout.COST_NEW] = problem.loss.cost(space.residual_new)


def collect(state: Any, jac: Any) -> SolveResult:
    """Collect the best point and what is known there."""
    space, counters, w = state.space, state.problem.counters, state.w
    counters.nit = int(state.iw[layout.NIT])
    active, multipliers = active_bounds(state.problem, space)
    return SolveResult(
        x=space.x.copy(),
        cost=float(w[layout.COST]),
        residual=space.residual.copy(),
        jac=jac,
        gradient=space.vector(layout.GRADIENT).copy(),
        optimality=float(w[layout.OPTIMALITY]),
        active_mask=active,
        status=Status(state.status),
        nfev=counters.nfev,
        nfev_jac=counters.nfev_jac,
        njev=counters.njev,
        nit=counters.nit,
        fallbacks=[*state.problem.fallbacks, *state.fallbacks],
        multipliers=multipliers,
    )


def describe(state: Any, jac: Any) -> StepReport:
    """Describe the step that was just judged."""
    w, iw, space, counters = state.w, state.iw, state.space, state.problem.counters
    return StepReport(
        nit=int(iw[layout.NIT]),
        x=space.x.copy(),
        cost=float(w[layout.COST]),
        optimality=float(w[layout.OPTIMALITY]),
        step_norm=float(w[layout.STEP_NORM]),
        cost_reduction=float(w[layout.ACTUAL_REDUCTION]),
        gain_ratio=float(w[layout.GAIN_RATIO]),
        accepted=bool(iw[layout.ACCEPTED]),
        nfev=counters.nfev,
        njev=counters.njev,
        damping=float(w[layout.DAMPING]),
        radius=float(w[layout.RADIUS]),
        contraction=float(w[layout.CONTRACTION]),
        residual=space.residual.copy(),
        jac=jac,
        gradient=space.vector(layout.GRADIENT).copy(),
    )


def active_bounds(problem: LeastSquaresProblem, space: Workspace) -> tuple[Any, Any]:
    """Mask of active bounds (-1, 0, 1), to within the step tolerance, and their multipliers: the gradient there."""
    active = np.zeros(space.n, dtype=int)
    if problem.lower is None or problem.upper is None:
        return active, None
    tolerance = max(float(space.w[layout.STEP_TOLERANCE]), 0.0)
    above, below = space.x - problem.lower, problem.upper - space.x
    near_lower, near_upper = (
        np.where(np.isfinite(bound), tolerance * np.maximum(1.0, np.abs(np.nan_to_num(bound))), -1.0)
        for bound in (problem.lower, problem.upper)
    )
    active[(above <= near_lower) & (above <= below)] = -1
    active[(below <= near_upper) & (below < above)] = 1
    gradient = space.vector(layout.GRADIENT)
    at_lower, at_upper = np.where(active < 0, gradient, 0.0), np.where(active > 0, -gradient, 0.0)
    return active, Multipliers(np.empty(0), at_lower, at_upper)


class Densified:
    """A sparse prepared Jacobian that fills a dense array."""

    def __init__(self, estimate: Any) -> None:
        self._estimate = estimate
        self.pattern = None

    @property
    def residual_calls(self) -> int:
        """Price of one evaluation."""
        calls: int = self._estimate.residual_calls
        return calls

    def evaluate(self, x: FloatArray, r: FloatArray, jac_out: FloatArray) -> FloatArray:
        """Fill `jac_out` with the sparse values and the zeros between them."""
        jac = self._estimate.evaluate(x, r, None)
        jac_out[...] = jac.toarray() if hasattr(jac, "toarray") else jac
        return jac_out


def new_state(
    problem: LeastSquaresProblem,
    solver: Any,
    tolerances: Tolerances,
    max_evaluations: int | None,
    start: FloatArray | None = None,
    first: FloatArray | None = None,
    estimate: Any = None,
) -> DenseState:
    """Evaluate the residual at the start, unless `first` is its value, and lay out the workspace for it."""
    problem.counters = Counters()
    residual, x0 = problem.residual, problem.x0 if start is None else start
    compiled = isinstance(residual, CompiledResidual)
    if first is None and not compiled:
        first = residual.first(x0)
    if (problem.pattern is not None or problem.sparse) and residual.m * x0.size > MOST_DENSE:
        raise ValueError(
            f"{type(solver).__name__} would make the sparse Jacobian a dense one of shape {(residual.m, x0.size)}; use "
            "method 'lm', 'trf' or 'dogbox' with their own linear solver."
        )
    space = Workspace(residual.m, x0.size)
    space.x[:] = x0
    limit = EVALUATIONS * (x0.size + 1) if max_evaluations is None else max_evaluations
    state = DenseState(problem, space, solver.kernels, tolerances, limit)
    state.iw[layout.LINEAR_ROUTE] = ROUTES[solver.linear_solver]
    np.abs(x0, out=space.vector(layout.TYPICAL))
    state.iw[layout.COUNT_ALL] = tolerances.rule == "minpack"
    state.iw[layout.TRIALS_ALLOWED] = not problem.bounded
    if problem.scale is not None:
        state.iw[layout.GIVEN_SCALE] = state.iw[layout.SIZES_GIVEN] = 1
        space.vector(layout.SCALING)[:] = 1.0 / problem.scale
    state.estimate = problem.prepare_jacobian(space.x, residual.m) if estimate is None else estimate
    if getattr(state.estimate, "pattern", None) is not None:
        state.estimate = Densified(state.estimate)
    if tolerances.tight and hasattr(problem.estimator, "finer"):
        state.finer = problem.estimator.finer()
    if compiled and not state.python_loss and x0.size < BLAS_FROM:
        state.by_address = write_estimator(state)
        if state.by_address:
            return state
    evaluate_start(problem, state, first)
    return state


def evaluate_start(problem: LeastSquaresProblem, state: DenseState, first: FloatArray | None = None) -> None:
    """Evaluate the residual at the start, unless `first` is its value."""
    space = state.space
    space.residual[:] = problem.residual.first(space.x) if first is None else first
    problem.counters.nfev = 1
    if not np.isfinite(space.residual).all():
        state.status = Status.NONFINITE_START
        leave_unknown(state)
    elif state.python_loss:
        state.w[layout.COST] = problem.loss.cost(space.residual)


def leave_unknown(state: DenseState) -> None:
    """Let cost, optimality and gradient say that nothing is known at a start that is not finite."""
    state.w[layout.COST] = state.w[layout.OPTIMALITY] = np.nan
    state.space.vector(layout.GRADIENT)[:] = np.nan


def write_estimator(state: DenseState) -> bool:
    """Hand the Jacobian to kernels too; False where that needs Python."""
    residual, write = state.problem.residual, getattr(state.estimate, "write", None)
    is_complex = getattr(state.estimate, "complex_arguments", False)
    assert isinstance(residual, CompiledResidual)
    if write is None or (is_complex and not residual.takes_complex) or not write(state.w, state.iw):
        return False
    if is_complex:
        state.iw[layout.COMPLEX_FUNCTION] = residual.complex_address()
    return True


def write_bounds(problem: LeastSquaresProblem, state: DenseState) -> None:
    """Put the bounds into the workspace, infinite where there are none."""
    lower, upper = state.space.vector(layout.LOWER), state.space.vector(layout.UPPER)
    lower[:] = -np.inf if problem.lower is None else problem.lower
    upper[:] = np.inf if problem.upper is None else problem.upper
    state.iw[layout.HAS_BOUNDS] = problem.bounded


def settle(problem: LeastSquaresProblem, state: DenseState) -> None:
    """If the solve was stopped in the middle of the watchdog's trial, go back to the best point, with its Jacobian."""
    if not state.iw[layout.TRIALS_LEFT]:
        return
    go_back.entry()(state.space.w_handle, state.space.iw_handle)
    status = state.status
    _linearise(problem, state)
    state.status = status


def refine(problem: LeastSquaresProblem, state: DenseState) -> bool:
    """Go on with central differences where forward ones met tolerances that are beyond their digits; True if so."""
    if state.finer is None or state.status not in REFINED_FROM or state.w[layout.COST] == 0.0:
        return False
    state.estimate = problem.prepare_jacobian(state.space.x, state.space.m, state.finer)
    state.finer = None
    state.fallbacks.append("tolerances beyond the digits of forward differences: went on with central ones")
    state.status = state.pending = 0
    state.stale = True
    nielsen = state.iw[layout.DAMPING_RULE] == layout.DAMPING_NIELSEN  # which only multiplies: 0 would stay 0
    state.w[layout.DAMPING] *= DAMPING_ANEW if nielsen else 0.0
    state.w[layout.RADIUS] = max(state.w[layout.RADIUS], RADIUS_ANEW * state.w[layout.X_NORM])
    state.w[layout.LAST_STEP_NORM] = np.nan
    return True


def advance_dense(problem: LeastSquaresProblem | BlockProblem, state: Any) -> None:
    """Advance by one judged step, or find that the point is final."""
    _advance(problem, state)
    if state.status and state.finer is not None:
        refine(state.problem, state)


def _advance(problem: LeastSquaresProblem | BlockProblem, state: Any) -> None:
    if state.stale and state.linearise_here():
        return
    counters, space = problem.counters, state.space
    spent = counters.nfev + counters.nfev_jac if state.iw[layout.COUNT_ALL] else counters.nfev
    if spent >= state.limit:
        state.status = Status.MAX_EVALUATIONS
        return
    if state.propose(space.w_handle, space.iw_handle):
        state.status = Status.STALLED
        return
    state.try_candidate()
    counters.nfev += 1
    code = state.judge(space.w_handle, space.iw_handle)
    if code == 0:
        return
    if code == 2:
        state.status = int(state.iw[layout.STATUS])
    else:
        state.stale = True
        if code == 3:
            _finish_or_relinearise(state)


def _finish_or_relinearise(state: DenseState) -> None:
    """After the last accepted step J is taken once more, so that optimality has the last word.

    Unless the step was tiny.
    """
    w, iw = state.w, state.iw
    state.pending = int(iw[layout.STATUS])
    if iw[layout.RULE] == layout.RULE_MINPACK and w[layout.STEP_NORM] <= steps_driver.CLOSE_ENOUGH * w[layout.X_NORM]:
        state.status = state.pending


def _linearise(problem: LeastSquaresProblem, state: DenseState) -> bool:
    """Evaluate J at x and take it in; True when that ends the solve."""
    space, counters = state.space, problem.counters
    state.estimate.evaluate(space.x, space.residual, space.jac_t.T)
    counters.njev += 1
    counters.nfev_jac += state.estimate.residual_calls
    state.iw[layout.NJEV] = counters.njev
    if state.python_loss:
        weighted = space.residual_vector(layout.WEIGHTED)
        weighted[:] = space.residual
        scale_for_loss(problem.loss, space.jac_t.T, weighted)
    if space.n >= BLAS_FROM:
        np.matmul(space.jac_t, space.jac_t.T, out=space.matrix(layout.NORMAL))
        state.iw[layout.NORMAL_READY] = layout.NORMAL_MATRIX
    status = state.linearise(space.w_handle, space.iw_handle)
    if status == -1:  # the watchdog went back to a saved point
        return _linearise(problem, state)
    state.status = status or state.pending
    state.stale = False
    return state.status != 0
