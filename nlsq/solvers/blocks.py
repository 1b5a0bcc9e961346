r"""Levenberg-Marquardt over residual blocks: steps on manifolds, bounds by projection, losses of whole blocks.

The iteration is that of all solvers here (linearise, propose, try, judge) and so are damping, judgement and the seam to
linear algebra. What is its own: a point is an array of parameter blocks and a step one of columns of J, so that the
candidate is x (+) p, each block along its manifold. Where a bound holds a component back, its column is taken out of
the model; the candidate is projected on the bounds, and the model is asked what the projected step promises [1]_.

The damping follows the gain ratio, which takes one factorisation a step, with Nielsen's power 1. It starts at 1e-4
where independent blocks are eliminated first (points seen by few cameras; 1e-4 is Ceres' start) and at 1e-8 elsewhere:
graphs of poses bend far along their weakest modes, which damping holds back, and are nearly linear along the others.

Where the normal equations are not definite in floating point, the damping is raised and the step sought again; the
report names the parameter block at which the factorisation failed.

References
----------
.. [1] C. Kanzow, N. Yamashita and M. Fukushima, "Levenberg-Marquardt methods with strong local convergence properties
   for solving nonlinear equations with convex constraints", Journal of Computational and Applied Mathematics 172, 2004.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any, final

import numpy as np

from nlsq.kernels import layout
from nlsq.linalg.eliminated import eliminated_blocks
from nlsq.problem.blocks.block_problem import BlockProblem
from nlsq.problem.blocks.evaluation import BlockEvaluation
from nlsq.solvers.block_result import BlockResult, BlockTimes
from nlsq.solvers.damped import DampedSteps
from nlsq.solvers.damping import Nielsen
from nlsq.solvers.dense import LOSS_CODES, PYTHON_LOSS, FloatArray, describe
from nlsq.solvers.termination import Tolerances
from nlsq.solvers.workspace import Workspace
from nlsq.status import Counters, Status, StepReport

FIRST_OF_ELIMINATED, FIRST_OF_GRAPHS = 1e-4, 1e-8
EVALUATIONS = 1000  # the default limit
OVERDAMPED = 1.0  # times the columns' squared norms: such steps are short because they are held, and end no solve
LEAST_MOVE = 2e-14  # relative: what a step that damping holds to less does is rounding, whether it seems to gain or not
LEAST_DAMPING = 1e-16  # less is lost in rounding, and a step that fails would take long to raise it again
LARGEST_DAMPING = 1e16  # times the columns' squared norms: beyond, a step moves nothing


@final
class BlockState:
    """A solve over residual blocks in progress.

    Parameters
    ----------
    problem : BlockProblem
        Owns the counters.
    linear_solver : str or LinearSolver
        See `nlsq.linalg.sparse_choice`.
    tolerances : Tolerances
        Written into the workspace.
    max_evaluations : int or None
        Limit of residual evaluations.
    """

    def __init__(
        self, problem: BlockProblem, linear_solver: Any, tolerances: Tolerances, max_evaluations: int | None
    ) -> None:
        from nlsq.linalg.sparse_choice import choose_linear_solver

        began = perf_counter()
        self.problem = problem
        self.evaluation = evaluation = BlockEvaluation(problem)
        m, n = evaluation.m, evaluation.n
        self.space = Workspace(m, n, matrices=False)
        self.w, self.iw = self.space.w, self.space.iw
        solver, self.chosen = choose_linear_solver(evaluation.pattern, linear_solver)
        self.method = DampedSteps((m, n), solver, evaluation.pattern)
        self.jac = evaluation.pattern.zeros()
        self.product = self.jac.product
        self.point = evaluation.start()
        self.candidate = np.empty_like(self.point)
        self._squares = np.empty(n)
        self._at_bounds = np.zeros(n, dtype=np.bool_)
        self._judge = self.method.judge.entry()
        self.limit = EVALUATIONS if max_evaluations is None else max_evaluations
        self.status = self.pending = 0
        self.stale = True
        self._overdamped = False
        self.by_address = False
        self.finer: Any = None
        self.fallbacks: list[str] = list(evaluation.notes)
        self.detail = ""
        self.initial_cost = np.nan
        self.rejected = 0
        tolerances.write(self.w, self.iw)
        self.iw[layout.LOSS] = LOSS_CODES["linear"] if evaluation.is_linear else PYTHON_LOSS
        self.times = BlockTimes(setup=perf_counter() - began)
        self._began = began

    def own_damping(self) -> Nielsen:
        """Return the damping for problems of this structure."""
        eliminates = bool(eliminated_blocks(self.evaluation.pattern).any())
        return Nielsen(first=FIRST_OF_ELIMINATED if eliminates else FIRST_OF_GRAPHS, power=1)

    def start(self) -> None:
        """Evaluate the start."""
        self.problem.counters = Counters(nfev=1)
        space, began = self.space, perf_counter()
        self.evaluation.evaluate(self.point, space.residual)
        self.times.residuals += perf_counter() - began
        self.initial_cost = self.w[layout.COST] = self.evaluation.cost(space.residual)
        self.detail = self.evaluation.first_not_finite(space.residual)
        np.abs(self.evaluation.coordinates(self.point), out=space.vector(layout.TYPICAL))
        if self.detail:
            self.status = Status.NONFINITE_START
            self.w[layout.COST] = self.w[layout.OPTIMALITY] = np.nan

    def vector(self, index: int) -> Any:
        """View an n-vector of the workspace."""
        return self.space.vector(index)

    def linearise_here(self) -> bool:
        """Evaluate J at the point and take it in; True when that ends the solve."""
        space, counters, evaluation, w = self.space, self.problem.counters, self.evaluation, self.w
        began = perf_counter()
        weighted = space.residual_vector(layout.WEIGHTED)
        evaluation.linearise(self.point, space.residual, weighted, self.jac)
        self.times.jacobians += perf_counter() - began
        counters.njev += 1
        self.iw[layout.NJEV] = counters.njev
        w[layout.COST] = evaluation.cost(space.residual)
        gradient = self.vector(layout.GRADIENT)
        self.jac.gradient_and_norms(weighted, gradient, self._squares)
        space.x[:] = evaluation.coordinates(self.point)
        if evaluation.bounded:
            self._hold_at_bounds(gradient)
        self.vector(layout.SCALING)[:] = 0.0  # D holds the column norms at this point, not the largest so far
        norms = self.vector(layout.COLUMN_NORM)
        np.sqrt(self._squares, out=norms)
        size = float(np.linalg.norm(weighted))
        with np.errstate(invalid="ignore"):  # where J is not finite, which ends the solve below
            cosines = np.abs(gradient[norms > 0.0]) / norms[norms > 0.0]
        w[layout.COSINE] = cosines.max() / size if size > 0.0 and cosines.size else 0.0
        if np.isfinite(gradient).all() and np.isfinite(norms).all() and np.isfinite(w[layout.COST]):
            began = perf_counter()
            status = self.method.linearise(self)
            self.times.linear_solver += perf_counter() - began
        else:
            status = Status.NONFINITE_JACOBIAN
            bad = ~(np.isfinite(gradient) & np.isfinite(norms))
            if bad.any():
                self.detail = f"the derivatives by {evaluation.block_of(int(np.argmax(bad)))} are not finite"
        self.status = status or self.pending
        self.stale = False
        return self.status != 0

    def propose(self, w: Any, iw: Any) -> int:
        """Find the damped step; more damping where the normal equations are not definite; 1 if none helps."""
        began = perf_counter()
        failed, numbers = self.method.propose(self), self.w
        by_gain = self.iw[layout.DAMPING_RULE] == layout.DAMPING_NIELSEN
        while failed and by_gain and numbers[layout.DAMPING] < LARGEST_DAMPING:
            self._note_failure()
            numbers[layout.DAMPING] *= numbers[layout.DAMPING_GROWTH]
            numbers[layout.DAMPING_GROWTH] *= 2.0
            failed = self.method.propose(self)
        self._overdamped = bool(by_gain and numbers[layout.DAMPING] > OVERDAMPED)
        self.iw[layout.STEP_CUT] = self._overdamped
        if failed:
            self.detail = self._note_failure()
        self.times.linear_solver += perf_counter() - began
        return failed

    def try_candidate(self) -> None:
        """Move along the step, onto the bounds where it left them, and evaluate the residual there."""
        evaluation, space, began = self.evaluation, self.space, perf_counter()
        step = self.vector(layout.STEP)
        if evaluation.bounded:
            self._project(step)
        evaluation.move(self.point, step, self.candidate)
        evaluation.evaluate(self.candidate, space.residual_new)
        if not evaluation.is_linear:
            self.w[layout.COST_NEW] = evaluation.cost(space.residual_new)
        self.times.residuals += perf_counter() - began

    def judge(self, w: Any, iw: Any) -> int:
        """Judge the candidate, and move there if it is accepted."""
        lost = self._overdamped and self.w[layout.STEP_NORM] <= LEAST_MOVE * self.w[layout.X_NORM]
        code = int(self._judge(w, iw))
        if lost and code < 2:
            self.iw[layout.STATUS] = Status.STALLED
            code += 2
        if self.iw[layout.DAMPING_RULE] == layout.DAMPING_NIELSEN:
            self.w[layout.DAMPING] = max(float(self.w[layout.DAMPING]), LEAST_DAMPING)
        if code % 2 == 1:
            self.point, self.candidate = self.candidate, self.point
        else:
            self.rejected += 1
            if code == 0 and self.w[layout.DAMPING] > LARGEST_DAMPING:
                self.iw[layout.STATUS] = Status.STALLED
                return 2
        return code

    def report(self) -> StepReport:
        """Describe the step that was just judged."""
        report = describe(self, self.jac)
        report.x = self.point.copy()
        return report

    def result(self) -> BlockResult:
        """Collect the best point and what is known there."""
        counters, w, space = self.problem.counters, self.w, self.space
        counters.nit = int(self.iw[layout.NIT])
        self.times.total = perf_counter() - self._began
        return BlockResult(
            values=[view.copy() for view in self.evaluation.views(self.point)],
            cost=float(w[layout.COST]),
            initial_cost=float(self.initial_cost),
            residual=space.residual.copy(),
            gradient=self.vector(layout.GRADIENT).copy(),
            optimality=float(w[layout.OPTIMALITY]),
            status=Status(self.status),
            detail=self.detail,
            nfev=counters.nfev,
            njev=counters.njev,
            nit=counters.nit,
            rejected=self.rejected,
            linear_solver=self.chosen,
            times=self.times,
            fallbacks=list(self.fallbacks),
            jac=self.jac,
            structure=self.evaluation.describe(),
            at_bounds=self._at_bounds,
        )

    def _note_failure(self) -> str:
        """Add to the fallbacks that damping was raised; return where the factorisation failed."""
        column = int(getattr(self.method.factorization, "failed_column", -1))
        at = f" at {self.evaluation.block_of(column)}" if column >= 0 else ""
        text = f"damped more{at}: {self.method.status.message}"
        if text not in self.fallbacks:
            self.fallbacks.append(text)
        return f"the linear problem has no solution{at}"

    def _hold_at_bounds(self, gradient: FloatArray) -> None:
        """Take the components that press against a bound out of the model."""
        evaluation, x = self.evaluation, self.space.x
        held = ((x <= evaluation.lower) & (gradient > 0.0)) | ((x >= evaluation.upper) & (gradient < 0.0))
        held |= evaluation.lower == evaluation.upper
        self._at_bounds = held
        if held.any():
            self.jac.zero_columns(held)
            gradient[held] = self._squares[held] = 0.0

    def _project(self, step: FloatArray) -> None:
        """Shorten the components of a step that would leave the bounds, and ask the model anew."""
        evaluation, w, x = self.evaluation, self.w, self.space.x
        inside = np.clip(step, evaluation.lower - x, evaluation.upper - x)
        cut = inside != step
        if not cut.any():
            return
        self.iw[layout.STEP_CUT] = 1
        step[:] = inside
        slope = float(self.vector(layout.GRADIENT) @ step)
        image = self.product(step)
        w[layout.PREDICTED_REDUCTION] = -slope - 0.5 * float(image @ image)
        w[layout.DIRECTIONAL_SLOPE] = slope
        w[layout.STEP_NORM] = float(np.linalg.norm(step / self.vector(layout.COLUMN_SCALE)))
