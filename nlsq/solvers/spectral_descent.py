"""One solve of `nlsq.solvers.projected_gradient`, where the mathematics and the references are."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels import layout
from nlsq.linalg.lsmr import column_norms, products
from nlsq.loss import scale_for_loss
from nlsq.problem import LeastSquaresProblem
from nlsq.solvers.dense import EVALUATIONS, REFINED_FROM
from nlsq.solvers.feasible_set import FeasibleSet, least_violation
from nlsq.solvers.interior_point.result import ConstrainedResult
from nlsq.solvers.termination import Tolerances
from nlsq.status import Counters, Multipliers, SolveResult, Status, StepReport

__all__ = ["SpectralDescent"]

FloatArray = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)
ARMIJO = 1e-4  # Birgin, Martinez and Raydan 2000, section 3
SHORTEST, LONGEST = 1e-10, 1e10  # alpha: one is the length for a single parameter, in scaled variables
CUTS = 0.1, 0.5
SECOND_RULE = 0.5  # ratio of the two spectral lengths below which the shorter one is taken
WINDOW = 20  # steps whose longest alpha stands for the inverse of the smallest curvature
ROUNDING = 10.0 * EPS  # of the cost: differences below it say nothing
PATIENCE = 200  # steps without progress in cost or optimality
AT_BOUND = 1e-10  # relative distance at which a bound is active


@final
class SpectralDescent:
    """A solve in progress; the point is z = (x, slacks).

    Parameters
    ----------
    problem : LeastSquaresProblem
        Owns the counters.
    memory, feasibility
        See `ProjectedGradient`.
    tolerances : Tolerances
        Of the stopping tests.
    limit : int or None
        Of residual evaluations.
    """

    by_address = False

    def __init__(
        self, problem: LeastSquaresProblem, memory: int, feasibility: float, tolerances: Tolerances, limit: int | None
    ) -> None:
        self.problem, self.tolerances = problem, tolerances
        self.limit = EVALUATIONS * (problem.n + 1) if limit is None else limit
        self.status = self.pending = 0
        self.fallbacks = [problem.moved_start] if problem.moved_start else []
        self.iw = np.zeros(layout.INT_HEADER, dtype=np.int64)  # no watchdog: the driver has nothing to settle
        self.set = FeasibleSet(problem, feasibility)
        problem.counters = self.counters = Counters(nfev=1)
        self.x = problem.x0.copy()
        self.z = self.x
        self.r: FloatArray = np.asarray(problem.residual.first(self.x), dtype=np.float64)
        self.jac: Any = None
        self.weighted = self.r
        self.cost = problem.loss.cost(self.r)
        self.gradient, self.multipliers = np.full(problem.n, np.nan), np.zeros(self.set.k)
        self.scaling = np.ones(problem.n) if problem.scale is None else 1.0 / problem.scale
        self.optimality, self.alpha, self.t, self.slope = math.nan, 1.0, 1.0, 0.0
        self.recent: deque[float] = deque(maxlen=memory)
        self.lengths: deque[float] = deque(maxlen=WINDOW)
        self.before: tuple[FloatArray, FloatArray, Callable[[FloatArray], FloatArray]] | None = None
        self.stale, self.accepted = True, False
        self.reduction, self.step_norm, self.gain = 0.0, 0.0, math.nan
        self.least, self.progressed = math.inf, 0
        self.estimate = problem.prepare_jacobian(self.x, self.r.size)
        self.finer = problem.estimator.finer() if tolerances.tight and hasattr(problem.estimator, "finer") else None
        if not np.isfinite(self.r).all():
            self.status, self.cost = Status.NONFINITE_START, math.nan
        elif self.set.k:
            self._enter()
        self.best = self.cost, self.z, self.r
        self.recent.append(self.cost)

    def advance(self) -> None:
        """Linearise at a new point, then try one point of the arc and judge it."""
        if self.stale and self._linearise():
            return
        if self.counters.nfev >= self.limit:
            self.status = Status.MAX_EVALUATIONS
            return
        candidate, failed = self._propose()
        if candidate is None:
            if failed == Status.STALLED:  # the step is below rounding of x
                flat = -self.slope <= 100.0 * ROUNDING * self.cost
                near = self._reach() <= (self.tolerances.step or 0.0) * float(np.linalg.norm(self.x * self.scaling))
                failed = Status.STEP if near else Status.COST_FLOOR if flat else failed
            self._conclude(failed)
            return
        r = self._residual(candidate[: self.problem.n])
        self._judge(candidate, r, self.problem.loss.cost(r))

    def _enter(self) -> None:
        """Move the start to the constraints, with the columns of the first J for scale."""
        self._rescale(self._jacobian())
        self.z = self.set.extended(self.x)
        if not np.isfinite(self.z).all():
            self.status = Status.NONFINITE_START
            return
        z, met = self.set.entered(self.z, self.scaling)
        if not met:
            z, self.status = least_violation(self.set, self.z, z)
        moved = not np.array_equal(z[: self.x.size], self.x)
        self.z, self.x = z, z[: self.x.size]
        if moved:
            self.r = self._residual(self.x)
            self.cost = self.problem.loss.cost(self.r)
            if not np.isfinite(self.cost):
                self.status, self.cost = Status.NONFINITE_START, math.nan

    def _residual(self, x: FloatArray) -> FloatArray:
        out = np.empty_like(self.r)
        self.problem.residual.into(x, out)
        self.counters.nfev += 1
        return out

    def _jacobian(self) -> Any:
        jac = self.estimate.evaluate(self.x, self.r, None)
        self.counters.njev += 1
        self.counters.nfev_jac += self.estimate.residual_calls
        self.jac, self.weighted = scale_for_loss(self.problem.loss, jac, self.r.copy())
        return self.jac

    def _rescale(self, jac: Any) -> None:
        """Let D grow with the columns of J."""
        norms = column_norms(jac) if self.problem.scale is None else None
        if norms is None or not np.isfinite(norms).all():
            return
        self.scaling = norms if self.counters.njev == 1 else np.maximum(self.scaling, norms)
        self.scaling = np.where(self.scaling > 0.0, self.scaling, 1.0)

    def _linearise(self) -> bool:
        """Take g, A and the multipliers at the point, test optimality, find alpha; True when the solve is over."""
        jac = self._jacobian()
        product, transposed = products(jac)
        with np.errstate(over="ignore", invalid="ignore"):
            self.gradient = transposed(self.weighted)
        self._rescale(jac)
        self.stale = False
        if not (np.isfinite(self.gradient).all() and self.set.linearise(self.z, self.scaling)):
            self.status = Status.NONFINITE_JACOBIAN
            return True
        found = self.set.nearest(self.z, self._aim(1.0))
        if found is None:
            self.status = Status.RESTORATION_FAILED
            return True
        direction = (found.point[: self.x.size] - self.x) * self.scaling
        self.multipliers = self.set.multipliers(found.multipliers)
        size = math.sqrt(2.0 * self.cost)
        self.optimality = float(np.abs(direction).max()) / size if size > 0.0 else 0.0
        tolerance, pending = self.tolerances.optimality, self.pending
        self.pending = 0
        if self.cost == 0.0 or (tolerance is not None and self.optimality <= tolerance):
            self._conclude(Status.OPTIMALITY)
        elif pending or self.counters.nit - self.progressed > PATIENCE:
            self._conclude(pending or Status.COST_FLOOR)
        if self.optimality < 0.5 * self.least:
            self.least, self.progressed = self.optimality, self.counters.nit
        self._choose_length(product, direction)
        self.t = 1.0
        return self.status != 0

    def _aim(self, length: float) -> FloatArray:
        """Return z - length D^-2 g."""
        aim = self.z.copy()
        aim[: self.x.size] -= length * self.gradient / self.scaling / self.scaling
        return aim

    def _choose_length(self, product: Callable[[FloatArray], FloatArray], direction: FloatArray) -> None:
        """Find alpha: Cauchy's at first; then the shorter spectral length where the two differ, else the longer."""
        if self.before is None:
            image = product(direction / self.scaling)
            curvature = float(image @ image)
            self.alpha = float(direction @ direction) / curvature if curvature > 0.0 else 1.0
        else:
            x, gradient, pull = self.before
            step = (self.x - x) * self.scaling
            change = self.gradient - gradient
            if not self.set.is_flat:
                change = change + self.set.pull(self.multipliers) - pull(self.multipliers)
            change = change / self.scaling
            along, square = float(step @ change), float(change @ change)
            longer = float(step @ step) / along if along > 0.0 else LONGEST
            shorter = along / square if along > 0.0 else LONGEST
            self.alpha = shorter if shorter < SECOND_RULE * longer else longer
            self.lengths.append(longer)
        self.alpha = min(max(self.alpha, SHORTEST), LONGEST)

    def _propose(self) -> tuple[FloatArray | None, int]:
        """Return the point of the arc at t, on the constraints; None where it does not move, and what that means."""
        failed = Status.STALLED
        d = self.set.scaling
        while self.t > EPS:
            found = self.set.nearest(self.z, self._aim(self.t * self.alpha))
            if found is not None:
                if not np.linalg.norm((found.point - self.z) * d) > EPS * np.linalg.norm(self.z * d):
                    break
                self.slope = min(float(self.gradient @ (found.point[: self.x.size] - self.x)), 0.0)
                point = found.point if self.set.is_flat else self.set.restored(found.point)
                if point is not None:
                    return point, 0
            failed = Status.RESTORATION_FAILED
            self.t *= CUTS[1]
        return None, failed

    def _judge(self, candidate: FloatArray, r: FloatArray, cost: float) -> None:
        """Accept the candidate, or cut t by the parabola through what is known."""
        self.reduction = self.cost - cost
        self.step_norm = float(np.linalg.norm((candidate - self.z) * self.set.scaling))
        self.gain = self.reduction / -self.slope if self.slope < 0.0 else math.nan
        self.accepted = cost <= max(self.recent) + ARMIJO * self.slope + ROUNDING * self.cost
        if not self.accepted:
            bend = cost - self.cost - self.slope
            length = -0.5 * self.slope / bend if bend > 0.0 else 0.0
            self.t *= min(max(length, CUTS[0]), CUTS[1])
            return
        self.before = self.x, self.gradient, self.set.puller()
        self._test(cost)
        self.z, self.x, self.r, self.cost = candidate, candidate[: self.x.size], r, cost
        self.recent.append(cost)
        self.counters.nit += 1
        self.stale = True
        if cost < self.best[0] * (1.0 - ROUNDING):
            self.progressed = self.counters.nit
        if cost <= self.best[0]:
            self.best = cost, candidate, r

    def _test(self, cost: float) -> None:
        """Judge whether what is left to gain, or to go, is below the tolerances."""
        if len(self.lengths) < min(WINDOW, 2 * self.x.size + 2) or self.t < 1.0:
            return
        reach = self._reach()
        left = max(0.5 * reach * self.optimality * math.sqrt(2.0 * self.cost), abs(self.cost - cost))
        cost_tolerance, step_tolerance = self.tolerances.cost, self.tolerances.step
        near = step_tolerance is not None and reach <= step_tolerance * float(np.linalg.norm(self.x * self.scaling))
        cheap = cost_tolerance is not None and left <= cost_tolerance * cost
        if near or cheap:
            both = Status.STEP if near else Status.COST_CHANGE
            self.pending = int(Status.COST_AND_STEP if near and cheap else both)

    def _reach(self) -> float:
        """Estimate how far the minimum is, in scaled variables."""
        return max([self.alpha, *self.lengths]) * self.optimality * math.sqrt(2.0 * self.cost)

    def _conclude(self, status: int) -> None:
        """End, or go on with central differences where forward ones met tolerances beyond their digits."""
        if self.finer is None or status not in REFINED_FROM or self.cost == 0.0:
            self.status = int(status)
            return
        self.estimate = self.problem.prepare_jacobian(self.x, self.r.size, self.finer)
        self.finer = None
        self.fallbacks.append("tolerances beyond the digits of forward differences: went on with central ones")
        self.lengths.clear()
        self.least, self.progressed = math.inf, self.counters.nit
        self.before = None
        self._linearise()

    def _go_to_best(self) -> None:
        """Take the best point, with its derivatives."""
        status = self.status
        self.cost, self.z, self.r = self.best
        self.x = self.z[: self.problem.n]
        self.finer = None
        self._linearise()
        self.status = status

    def report(self) -> StepReport:
        """Describe the step that was just judged."""
        return StepReport(
            nit=self.counters.nit,
            x=self.x.copy(),
            cost=self.cost,
            optimality=self.optimality,
            step_norm=self.step_norm,
            cost_reduction=self.reduction,
            gain_ratio=self.gain,
            accepted=self.accepted,
            nfev=self.counters.nfev,
            njev=self.counters.njev,
            residual=self.r.copy(),
            jac=self.jac,
            gradient=self.gradient.copy(),
            dual_infeasibility=self.optimality,
            constr_violation=self.set.violation(self.x),
        )

    def result(self) -> SolveResult:
        """Collect the best point and what is known there."""
        worse = self.best[0] < self.cost and not Status(self.status).converged
        if np.isfinite(self.cost) and (self.stale or worse):
            self._go_to_best()
        x, lower, upper = self.x, self.set.lower[: self.x.size], self.set.upper[: self.x.size]
        at_lower, at_upper = (
            np.isfinite(bound) & (np.abs(x - bound) <= AT_BOUND * np.maximum(1.0, np.abs(x)))
            for bound in (lower, upper)
        )
        reduced = self.gradient + self.set.pull(self.multipliers)
        multipliers = Multipliers(
            self.set.of_all_rows(self.multipliers),
            np.where(at_lower, np.maximum(reduced, 0.0), 0.0),
            np.where(at_upper, np.maximum(-reduced, 0.0), 0.0),
        )
        kind = SolveResult if self.set.constraints is None else ConstrainedResult
        return kind(
            x=x.copy(),
            cost=self.cost,
            residual=self.r.copy(),
            jac=np.full((self.r.size, x.size), np.nan) if self.jac is None else self.jac,
            gradient=self.gradient.copy(),
            optimality=self.optimality,
            active_mask=np.where(at_lower, -1, np.where(at_upper, 1, 0)),
            status=Status(self.status),
            nfev=self.counters.nfev,
            nfev_jac=self.counters.nfev_jac,
            njev=self.counters.njev,
            nit=self.counters.nit,
            fallbacks=[*self.problem.fallbacks, *self.fallbacks],
            multipliers=multipliers,
            constr_violation=self.set.violation(x),
            **self._of_constraints(reduced, multipliers),
        )

    def _of_constraints(self, reduced: FloatArray, multipliers: Multipliers) -> dict[str, Any]:
        """Return what the result of a problem with constraints has beside."""
        constraints = self.set.constraints
        if constraints is None:
            return {}
        values = constraints.function.value(self.x)
        limits = np.where(multipliers.constraints > 0.0, constraints.upper, constraints.lower)
        away = np.where(multipliers.constraints != 0.0, values - limits, 0.0)
        return {
            "dual_infeasibility": float(np.abs(reduced - multipliers.lower + multipliers.upper).max(initial=0.0)),
            "complementarity": float(np.abs(multipliers.constraints * away).max(initial=0.0)),
            "constraint_values": values,
            "constraint_jac": self.set.constraint_jac,
            "constraint_lower": constraints.lower,
            "constraint_upper": constraints.upper,
            "active_constraints": constraints.is_equality | (multipliers.constraints != 0.0),
            "constraint_parts": tuple((one.name, one.m) for one in constraints.blocks),
        }
