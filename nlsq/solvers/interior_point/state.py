"""A solve in progress: the kernels' loop, or one of its iterations at a time where someone watches."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels.interior_point import layout
from nlsq.kernels.interior_point.loop import advance, begin_anew, solve_constrained
from nlsq.kernels.interior_point.start import start
from nlsq.problem import LeastSquaresProblem
from nlsq.solvers.dense import EVALUATIONS
from nlsq.solvers.interior_point.options import InteriorPoint
from nlsq.solvers.interior_point.outcome import collect
from nlsq.solvers.interior_point.plan import Plan, plan_of
from nlsq.solvers.termination import Tolerances
from nlsq.status import Status, StepReport

FloatArray = NDArray[np.float64]
WARM_BARRIER = 1e-6  # barrier parameter at a warm start, at most
WARM_PUSH = 1e-8
LACK_DIGITS = frozenset(
    {Status.ACCEPTABLE, Status.STALLED, Status.KKT_FAILED, Status.RESTORATION_FAILED, Status.LOCALLY_INFEASIBLE}
)
KINDS = {0: "", 70: "s", 72: "s"}  # corrected steps; other letters are themselves


def begin(
    problem: LeastSquaresProblem,
    options: InteriorPoint,
    tolerances: Tolerances,
    max_evaluations: int | None,
    warm_start: Any = None,
) -> InteriorState:
    """Write a problem into its workspace, whose plan is fresh; nothing is evaluated yet."""
    plan = problem.plans[options] if options in problem.plans else plan_of(problem, options)
    plan.begin()
    space, iw, w = plan.space, plan.space.iw, plan.space.w
    iw[layout.MAX_EVALUATIONS] = EVALUATIONS * (problem.n + 1) if max_evaluations is None else max_evaluations
    tolerance = tolerances.optimality
    chosen = options.tolerance if tolerance is None or tolerance <= 0.0 else tolerance
    w[layout.TOLERANCE], w[layout.ACCEPTABLE_TOLERANCE] = chosen, max(options.acceptable, chosen)
    first = space.start(layout.Z)
    w[first : first + space.n] = problem.x0 / plan.sizes
    if warm_start is not None:
        _write_warm_start(plan, warm_start)
    return InteriorState(problem, plan)


def _write_warm_start(plan: Plan, result: Any) -> None:
    """Begin at a result: its point, and its multipliers if it has them."""
    space = plan.space
    n, mc = space.n, space.mc
    x = np.asarray(result.x, dtype=np.float64)
    if x.shape != (n,):
        raise ValueError(f"warm_start has {x.size} variables, but the problem has {n}.")
    space.view(layout.Z)[:n] = x / plan.sizes
    multipliers = getattr(result, "multipliers", None)
    if multipliers is None or multipliers.constraints.shape != (mc,):
        return
    space.iw[layout.WARM] = 1
    space.view(layout.Y)[:] = multipliers.constraints
    space.view(layout.LOWER_DUAL)[:n], space.view(layout.UPPER_DUAL)[:n] = multipliers.lower, multipliers.upper
    space.w[layout.START_BARRIER] = min(space.w[layout.START_BARRIER], WARM_BARRIER)
    space.w[layout.PUSH] = WARM_PUSH


@final
class InteriorState:
    """A solve in progress.

    Parameters
    ----------
    problem : LeastSquaresProblem
        Owns the counters.
    plan : Plan
        Functions and memory.
    """

    by_address = False
    runs_whole = True

    __slots__ = ("fallbacks", "plan", "problem", "status")

    def __init__(self, problem: LeastSquaresProblem, plan: Plan) -> None:
        self.problem, self.plan = problem, plan
        self.status = 0
        self.fallbacks = [*plan.residual.notes, *(plan.constraints.notes if plan.constraints is not None else [])]
        if problem.moved_start:
            self.fallbacks.append(problem.moved_start)
        if plan.choice.fallback:
            self.fallbacks.append(plan.choice.fallback)

    def run_whole(self) -> None:
        """Let the kernels run to the end."""
        self._call(solve_constrained)
        while self._goes_on_with_central():
            self._call(begin_anew)
            if not self.status:
                self._call(solve_constrained)

    def advance(self) -> None:
        """Make one iteration; the first one begins the solve too."""
        if not self.plan.space.iw[layout.NJEV]:
            self._call(start)
        if not self.status:
            self._call(advance)
        if self._goes_on_with_central():
            self._call(begin_anew)

    def _goes_on_with_central(self) -> bool:
        """Go on with central differences where forward ones may be what ended the solve: they have half the digits."""
        plan, space = self.plan, self.plan.space
        if self.status not in LACK_DIGITS or not plan.takes_differences:
            return False
        if not any([one.use_central() for one in plan.functions]):
            return False
        self.fallbacks.append("tolerances beyond the digits of forward differences: went on with central ones")
        w, iw = space.w, space.iw
        for name in (layout.STATUS, layout.TINY_STEPS, layout.STUCK, layout.ACCEPTABLE_COUNT):
            iw[name] = 0
        iw[layout.ROUGH], w[layout.DAMPING] = 0, 0.0
        w[layout.START_BARRIER], w[layout.PUSH] = min(w[layout.START_BARRIER], WARM_BARRIER), WARM_PUSH
        self.status = 0
        return True

    def _call(self, kernel: Any) -> None:
        plan, space = self.plan, self.plan.space
        failed = kernel.entry(release_gil=plan.releases_gil)(space.w_handle, space.iw_handle)
        self.status = int(space.iw[layout.STATUS])
        self._count()
        if failed:
            self.raise_original(int(failed))

    def raise_original(self, failed: int) -> None:
        """Raise what the user's function raised."""
        if self.plan.sparse is not None:
            self.plan.sparse.raise_kept()
        x = self.plan.space.view(layout.X_EVALUATED)
        self.plan.functions[min(failed, len(self.plan.functions)) - 1].raise_original(x)

    def _count(self) -> None:
        iw, counters = self.plan.space.iw, self.problem.counters
        counters.nfev, counters.njev = int(iw[layout.NFEV]), int(iw[layout.NJEV])
        counters.nit = int(iw[layout.NIT])
        if self.plan.takes_differences:
            counters.nfev_jac = self.plan.evaluations_for_derivatives() - self.plan.evaluations_before

    def report(self) -> StepReport:
        """Describe the last iteration, in the scale of the problem as it was given."""
        space = self.plan.space
        w, iw = space.w, space.iw
        letter = int(iw[layout.KIND])
        return StepReport(
            nit=int(iw[layout.NIT]),
            x=space.view(layout.X_EVALUATED).copy(),
            cost=float(w[layout.COST] / w[layout.COST_SCALE]),
            optimality=float(w[layout.ERROR]),
            step_norm=float(np.abs(space.view(layout.STEP)[: space.n] * self.plan.sizes).max(initial=0.0)),
            cost_reduction=np.nan,
            gain_ratio=np.nan,
            accepted=True,
            nfev=int(iw[layout.NFEV]),
            njev=int(iw[layout.NJEV]),
            damping=float(w[layout.DAMPING]),
            residual=space.view(layout.R).copy(),
            gradient=space.view(layout.GRADIENT) / (w[layout.COST_SCALE] * self.plan.sizes),
            dual_infeasibility=float(w[layout.REPORTED_DUAL_ERROR]),
            constr_violation=float(max(w[layout.USER_VIOLATION], 0.0)),
            complementarity=float(w[layout.COMPLEMENTARITY] / w[layout.COST_SCALE]),
            barrier=float(w[layout.BARRIER]),
            regularisation=float(w[layout.REGULARISATION]),
            primal_step=float(w[layout.STEP_LENGTH]),
            dual_step=float(w[layout.DUAL_LENGTH]),
            line_search=int(iw[layout.TRIALS]),
            kind=KINDS.get(letter, chr(letter)),
        )

    def result(self) -> Any:
        """Collect the best point and what is known there."""
        return collect(self)
