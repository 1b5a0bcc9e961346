"""Solves without a matrix: J is sparse, a LinearOperator, or handed to a linear solver of the user's choice.

The iteration is that of the dense solvers (linearise, propose, try, judge), on the same workspace without its matrices.
What needs J works with the products ``J v`` and ``J'u`` and with column norms: `nlsq.solvers.subspace` for the trust
regions, `nlsq.solvers.damped` for Levenberg-Marquardt through the seam of `nlsq.linalg`. Which linear solver a sparse J
gets is for `nlsq.linalg.sparse_choice` to say: sparse Cholesky, corrected through J, while its factor is small.

Optimality is the cosine between the residual and a column of J, as everywhere. A LinearOperator shows no columns. They
are then taken to be of equal length in scaled variables, as a well chosen scale makes them, namely of the length with
which J stretches the scaled gradient:

    |J_j| ~ D_j |J D^-1 h| / |h|,     h = D^-1 J'r.

The largest cosine so estimated is at most that between r and the steepest descent's image ``J D^-2 J'r``, whose square
is the share of the cost that the Cauchy step promises to take away; with one parameter it is the cosine itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from nlsq.kernels import layout
from nlsq.kernels.backend import Kernel
from nlsq.kernels.watchdog import lost_influence
from nlsq.linalg.corrected import Corrected
from nlsq.linalg.lsmr import column_norms, products
from nlsq.linalg.sparse_choice import LINEAR_SOLVERS, choose_linear_solver
from nlsq.linalg.sparse_cholesky import SparseCholesky
from nlsq.loss import scale_for_loss
from nlsq.pattern import SparsityPattern
from nlsq.problem import LeastSquaresProblem
from nlsq.problem.compiled import CompiledResidual
from nlsq.solvers.dense import (
    EVALUATIONS,
    LOSS_CODES,
    PYTHON_LOSS,
    Densified,
    FloatArray,
    collect,
    describe,
    new_state,
    try_candidate,
)
from nlsq.solvers.termination import Tolerances
from nlsq.solvers.workspace import Workspace
from nlsq.status import Counters, SolveResult, Status, StepReport

FOR_DENSE = ("auto", "cholesky", "qr")
NAMES = (*FOR_DENSE, *(name for name in LINEAR_SOLVERS if name not in (*FOR_DENSE, "schur")))  # that needs blocks
MOST_DENSE = 10**7  # entries of J up to which a start that is not finite is taken for a dense problem's


class Method(Protocol):
    """What a solver does in an iteration without a matrix; owns the memory of one solve."""

    judge: Kernel

    def linearise(self, state: MatrixFreeState) -> int:
        """Make the model at x, of which gradient and column norms are known; returns a status, 0 to go on."""
        ...

    def propose(self, state: MatrixFreeState) -> int:
        """Find step, candidate and predicted reduction; nonzero if there is none."""
        ...

    def sharpen(self, state: MatrixFreeState) -> bool:
        """Solve linear problems as exactly as can be from now on; False if that changes nothing."""
        ...


class MatrixFreeState:
    """A solve in progress, without a matrix.

    Parameters
    ----------
    problem : LeastSquaresProblem
        Owns the counters.
    m : int
        Number of residuals.
    method : Method
        The solver's own part.
    tolerances : Tolerances
        Written into the workspace.
    max_evaluations : int or None
        Limit of residual evaluations.

    Attributes
    ----------
    chosen : str
        The linear solver and why it was chosen; empty where it is the user's object.
    jac : ndarray, csr_array or LinearOperator
        J at x, scaled by the loss.
    product, transposed : callable
        ``v -> J v`` and ``u -> J'u``.
    """

    __slots__ = (
        "_judge", "_lost_influence", "by_address", "chosen", "estimate", "fallbacks", "finer", "iw", "jac", "judge",
        "limit", "method", "pending", "problem", "product", "propose", "python_loss", "space", "stale", "status",
        "transposed", "w",
    )  # fmt: skip

    def __init__(
        self,
        problem: LeastSquaresProblem,
        m: int,
        method: Method,
        tolerances: Tolerances,
        max_evaluations: int | None,
    ) -> None:
        self.problem, self.method = problem, method
        self.space = Workspace(m, problem.n, matrices=False)
        self.w, self.iw = self.space.w, self.space.iw
        self.limit = EVALUATIONS * (problem.n + 1) if max_evaluations is None else max_evaluations
        self.status = self.pending = 0
        self.stale = True
        self.by_address = False
        self.finer: Any = None
        if tolerances.tight and hasattr(problem.estimator, "finer"):
            self.finer = problem.estimator.finer()
        self.fallbacks: list[str] = []
        self.chosen = ""
        self.estimate: Any = None
        self.jac: Any = None
        self.product: Callable[[FloatArray], FloatArray]
        self.transposed: Callable[[FloatArray], FloatArray]
        self.propose = lambda w, iw: method.propose(self)
        self._judge = method.judge.entry()
        self.judge = self._judge_step
        self._lost_influence = lost_influence.entry()
        tolerances.write(self.w, self.iw)
        self.python_loss = not problem.loss.is_linear
        self.iw[layout.LOSS] = PYTHON_LOSS if self.python_loss else LOSS_CODES["linear"]
        self.w[layout.LOSS_SCALE] = problem.loss.scale

    def result(self) -> SolveResult:
        """Collect the best point and what is known there."""
        result = collect(self, self.jac)
        result.linear_solver = self.chosen
        return result

    def report(self) -> StepReport:
        """Describe the step that was just judged."""
        return describe(self, self.jac)

    def vector(self, index: int) -> Any:
        """View an n-vector of the workspace."""
        return self.space.vector(index)

    def try_candidate(self) -> None:
        """Evaluate the residual at the candidate."""
        try_candidate(self)

    def linearise_here(self) -> bool:
        """Evaluate J at x and take it in; True when that ends the solve."""
        finite, again = self._take_jacobian()
        while again:  # the last step has lost a parameter: back at the point before it
            finite, again = self._take_jacobian()
        said = self.pending
        doubted = said != 0 and Status(said).converged and self.method.sharpen(self)
        self.pending = 0 if doubted else said
        status = self.method.linearise(self) if finite else Status.NONFINITE_JACOBIAN
        if doubted and self._little_left():
            self.pending = said
        self.status = status or self.pending
        self.stale = False
        return self.status != 0

    def _judge_step(self, w: Any, iw: Any) -> int:
        """Judge the candidate; what an inexact step says about convergence is checked against the exact model."""
        code = int(self._judge(w, iw))
        if code < 2 and self._lost_in_rounding():
            self.iw[layout.STATUS] = Status.COST_CHANGE
            code += 2
        if code == 2 and Status(int(self.iw[layout.STATUS])).converged and self.method.sharpen(self):
            self.method.linearise(self)
            if not self._little_left():
                self.iw[layout.STATUS] = 0
                return 0
        return code

    def _lost_in_rounding(self) -> bool:
        """Whether a step promised less than the tolerance, and the cost answered by less, not as promised.

        SciPy's test of the cost wants a gain ratio above 1/4. Where a J of differences is rounding in the directions
        that are left, no step has one, and the radius would have to shrink until the step is small.
        """
        w = self.w
        tolerance = w[layout.COST_TOLERANCE] * w[layout.COST]
        least = max(w[layout.PREDICTED_REDUCTION], abs(w[layout.ACTUAL_REDUCTION]))
        return bool(self.iw[layout.RULE] == layout.RULE_SCIPY and self.iw[layout.NIT] > 0 and least < tolerance)

    def _little_left(self) -> bool:
        """Whether the undamped step of the exact model promises a reduction, or a move, below the tolerances."""
        w = self.w
        tolerance = w[layout.STEP_TOLERANCE]
        slack = tolerance if self.iw[layout.RULE] == layout.RULE_SCIPY else 0.0
        move = float(np.linalg.norm(self.vector(layout.NEWTON_STEP) * self.vector(layout.COLUMN_SCALE)))
        cheap = w[layout.FULL_PREDICTED_REDUCTION] <= w[layout.COST_TOLERANCE] * w[layout.COST]
        return bool(cheap or move <= tolerance * (slack + w[layout.X_NORM]))

    def _take_jacobian(self) -> tuple[bool, bool]:
        """Evaluate J, gradient and column norms; tell if they are finite, and if the solve went back a step."""
        space, counters, loss, w = self.space, self.problem.counters, self.problem.loss, self.w
        jac = self.estimate.evaluate(space.x, space.residual, None)
        counters.njev += 1
        counters.nfev_jac += self.estimate.residual_calls
        self.iw[layout.NJEV] = counters.njev
        weighted = space.residual_vector(layout.WEIGHTED)
        weighted[:] = space.residual
        self.jac, _ = scale_for_loss(loss, jac, weighted)
        w[layout.COST] = loss.cost(space.residual)
        self.product, self.transposed = products(self.jac)
        gradient = self.vector(layout.GRADIENT)
        gradient[:] = self.transposed(weighted)
        known = self._measure_columns(gradient, math.sqrt(2.0 * w[layout.COST]))
        finite = np.isfinite(w[layout.COST]) and np.isfinite(w[layout.COSINE]) and bool(np.isfinite(gradient).all())
        return finite, finite and known and bool(self._lost_influence(space.w_handle, space.iw_handle))

    def _measure_columns(self, gradient: FloatArray, size: float) -> bool:
        """Find column norms, or what stands for them, and the largest cosine; True if the norms are known."""
        norms = column_norms(self.jac)
        known = norms is not None
        if norms is None:
            scaling = self.vector(layout.SCALING)
            scaled = gradient / scaling
            length = float(np.linalg.norm(scaled))
            image = self.product(scaled / length / scaling) if 0.0 < length < np.inf else np.ones(1)
            norms = scaling * float(np.linalg.norm(image))
        self.vector(layout.COLUMN_NORM)[:] = norms
        cosines = np.abs(gradient[norms > 0.0]) / norms[norms > 0.0]
        self.w[layout.COSINE] = (cosines.max() / size if size > 0.0 else 0.0) if cosines.size else 0.0
        if not np.isfinite(norms).all():
            self.w[layout.COSINE] = np.nan
        return known


def start_solve(
    problem: LeastSquaresProblem,
    solver: Any,
    tolerances: Tolerances,
    max_evaluations: int | None,
    make_method: Callable[[tuple[int, int], Any, SparsityPattern | None], Method],
    start: FloatArray | None = None,
) -> Any:
    """Evaluate the start and find out which kind of J the problem has: returns a DenseState or a MatrixFreeState.

    A problem is solved without a dense matrix if J is sparse or an operator, unless the solver's `linear_solver` is
    "qr", or if that is "lsmr" or "pcg" or an object.

    Parameters
    ----------
    problem, solver, tolerances, max_evaluations
        As in `nlsq.solvers.drive`.
    make_method : callable
        ``(shape, linear_solver, pattern) -> Method``.
    start : ndarray, shape (n,), optional
        Start instead of the problem's own.

    Raises
    ------
    ValueError
        If the linear solver is unknown, or a LinearOperator meets ``scale="jac"``.
    """
    residual, x0, wanted = problem.residual, problem.x0 if start is None else start, solver.linear_solver
    if isinstance(wanted, str) and wanted not in NAMES:
        raise ValueError(f"linear_solver must be one of {', '.join(NAMES)} or a LinearSolver, got {wanted!r}.")
    first = None if isinstance(residual, CompiledResidual) else residual.first(x0)
    finite = first is None or bool(np.isfinite(first).all())
    estimate = problem.prepare_jacobian(x0, residual.m)
    free = wanted not in FOR_DENSE  # of dense matrices, whatever J is
    jac = None
    if finite and wanted != "qr" and getattr(estimate, "kind", "known") is None:
        jac = estimate.evaluate(x0, residual.first(x0) if first is None else first, None)
        estimate = Remembered(estimate, jac)
    sparse = not isinstance(jac, np.ndarray) if jac is not None else getattr(estimate, "pattern", None) is not None
    if not (free or (sparse and wanted != "qr")) and (finite or residual.m * x0.size <= MOST_DENSE):
        if not sparse:
            return new_state(problem, solver, tolerances, max_evaluations, start, first, estimate)
        dense = new_state(problem, solver, tolerances, max_evaluations, start, first, Densified(estimate))
        dense.finer = None  # it would be sparse again
        return dense
    problem.counters = Counters(nfev=1)
    shape = residual.m, x0.size
    pattern = sparsity_of(estimate, jac) if finite else None
    linear_solver, reason = choose_linear_solver(pattern, wanted if finite else "lsmr")
    if isinstance(linear_solver, SparseCholesky):
        linear_solver = Corrected(normal=linear_solver)
    state = MatrixFreeState(
        problem, residual.m, make_method(shape, linear_solver, pattern), tolerances, max_evaluations
    )
    state.chosen = "" if hasattr(wanted, "prepare") else reason
    state.estimate = estimate
    space = state.space
    space.x[:] = x0
    space.residual[:] = residual.first(x0) if first is None else first
    np.abs(x0, out=space.vector(layout.TYPICAL))
    if problem.scale is not None:
        state.iw[layout.GIVEN_SCALE] = 1
        space.vector(layout.SCALING)[:] = 1.0 / problem.scale
    elif jac is not None and column_norms(jac) is None:
        raise ValueError(
            "scale='jac' needs the columns of J, which a LinearOperator does not show; give scale=1.0 or sizes."
        )
    if not np.isfinite(space.residual).all():
        state.status = Status.NONFINITE_START
    return state


def sparsity_of(estimate: Any, jac: Any) -> SparsityPattern | None:
    """Where J may have entries: what is known beforehand, or those of the first one; None if it is not sparse."""
    known: SparsityPattern | None = getattr(estimate, "pattern", None)
    if known is None and hasattr(jac, "tocsr"):
        return SparsityPattern.from_matrix(jac)
    return known


class Remembered:
    """A prepared Jacobian whose first value is known already."""

    def __init__(self, estimate: Any, first: Any) -> None:
        self._estimate, self._first = estimate, first
        self.pattern = estimate.pattern

    @property
    def residual_calls(self) -> int:
        """Price of the latest evaluation."""
        calls: int = self._estimate.residual_calls
        return calls

    def evaluate(self, x: FloatArray, r: FloatArray, jac_out: FloatArray | None) -> Any:
        """Give the known value the first time; evaluate after that."""
        jac, self._first = self._first, None
        if jac is None:
            return self._estimate.evaluate(x, r, jac_out)
        if jac_out is None:
            return jac
        jac_out[...] = jac
        return jac_out
