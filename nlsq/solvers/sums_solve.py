"""Levenberg-Marquardt on sums alone: each point that is tried costs one pass over the data.

The step is that of `nlsq.kernels.sum_step`, in plain Python: cost, gradient and normal matrix of a trial point come out
of one pass, so that an accepted point needs no second one for its derivatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels import sum_step
from nlsq.solvers.driver import Hooks
from nlsq.solvers.sums import Sums
from nlsq.solvers.termination import Termination, Tolerances
from nlsq.status import Counters, Status, StepReport

FloatArray = NDArray[np.float64]
EVALUATIONS = 1000  # times (n + 1): as in `nlsq.solvers.dense`


@final
@dataclass(slots=True)
class SumOutcome:
    """The end of a solve.

    Attributes
    ----------
    x : ndarray, shape (n,)
        Best point.
    sums : Sums
        Cost, gradient and normal matrix there.
    status : Status
        Why it ended; ``STALLED`` where the normal equations do not have the digits, or no step is good.
    nfev, nit : int
        Passes over the data and accepted steps.
    active : ndarray of int, shape (n,), or None
        -1 at a lower bound, 1 at an upper one, where the gradient points out of it; None: no bound is active.
    """

    x: FloatArray
    sums: Sums
    status: Status
    nfev: int
    nit: int
    active: NDArray[np.int_] | None = None


@final
class SumSolve:
    """A solve in progress, as hooks look at it.

    Parameters
    ----------
    evaluate : callable
        ``p -> Sums``.
    start : ndarray, shape (n,)
        Start, within the bounds.
    bounds : tuple of ndarray, or None
        Lower and upper bounds.
    tolerances : Tolerances
        Under the native rule.
    limit : int
        Most evaluations.
    hard_after : float
        Evaluations after which the problem is left to another method.
    """

    def __init__(
        self,
        evaluate: Callable[[FloatArray], Sums],
        start: FloatArray,
        bounds: tuple[FloatArray, FloatArray] | None,
        tolerances: Tolerances,
        limit: int,
        hard_after: float = math.inf,
    ) -> None:
        self._evaluate = evaluate
        self._bounds = None if bounds is None else (bounds[0].tolist(), bounds[1].tolist())
        self._options = [
            -1.0 if tolerances.cost is None else tolerances.cost,
            0.0 if tolerances.step is None else tolerances.step,
            math.nan if tolerances.optimality is None else tolerances.optimality,
            float(limit),
            hard_after,
        ]
        self._trial: list[float] = start.tolist()
        self._state = self._before = sum_step.first_state(self._trial)
        self._triangle = np.tril_indices(start.size)
        self._first = math.nan
        self.status = 0
        self.counters = Counters()

    @property
    def problem(self) -> SumSolve:
        """What counts the evaluations."""
        return self

    def advance(self) -> None:
        """Evaluate the trial point, judge it, and propose the next one."""
        sums = self._evaluate(np.array(self._trial))
        if not self.counters.nfev:
            self._first = sums.cost
        packed = sums.normal[self._triangle].tolist()
        self._before = self._state
        parts = (sums.cost, sums.gradient.tolist(), packed, *(() if sums.sizes is None else (sums.sizes.tolist(),)))
        self._trial, self._state = sum_step.advance(self._trial, parts, self._state, self._options, self._bounds)
        scalars, counters = self._state.scalars, self.counters
        counters.nfev = counters.njev = int(scalars[sum_step.NFEV])
        counters.nit = int(scalars[sum_step.NIT])
        self.status = int(scalars[sum_step.STATUS])

    def report(self) -> StepReport:
        """Describe the last judged step."""
        before, now = self._before.scalars, self._state.scalars
        reduction = before[sum_step.COST] - now[sum_step.COST]
        predicted = before[sum_step.PREDICTED]
        return StepReport(
            nit=self.counters.nit,
            x=np.array(self._state.x),
            cost=now[sum_step.COST],
            optimality=self._optimality(),
            step_norm=math.sqrt(before[sum_step.STEP_SQUARED]),
            cost_reduction=reduction,
            gain_ratio=reduction / predicted if predicted > 0.0 else -1.0,
            accepted=now[sum_step.NIT] > before[sum_step.NIT],
            nfev=self.counters.nfev,
            njev=self.counters.njev,
            damping=now[sum_step.DAMPING],
            gradient=np.array(self._state.gradient),
        )

    def _optimality(self) -> float:
        """Return the largest cosine between the residual and a column of J, of parameters that are not at a bound."""
        sums = self._sums()
        lengths = np.sqrt(sums.normal.diagonal() * (2.0 * sums.cost))
        cosines = np.abs(sums.gradient) / np.where(lengths > 0.0, lengths, 1.0)
        active = self._active()
        return float(np.max(cosines if active is None else cosines[active == 0], initial=0.0))

    def _sums(self) -> Sums:
        normal = np.empty((len(self._state.x),) * 2)
        normal[self._triangle] = self._state.normal
        normal.T[self._triangle] = self._state.normal
        return Sums(self._state.scalars[sum_step.COST], np.array(self._state.gradient), normal)

    def _active(self) -> NDArray[np.int_] | None:
        """Return which bounds hold their parameters."""
        if self._bounds is None:
            return None
        x, gradient = np.array(self._state.x), np.array(self._state.gradient)
        lower, upper = (np.array(one) for one in self._bounds)
        active = np.where((x <= lower) & (gradient >= 0.0), -1, np.where((x >= upper) & (gradient <= 0.0), 1, 0))
        return active if active.any() else None

    def outcome(self) -> SumOutcome:
        """Collect the best point."""
        sums, status = self._sums(), Status(self.status)
        if not math.isfinite(sums.cost):  # nothing was ever accepted
            finite = math.isfinite(self._first)
            status = Status.NONFINITE_JACOBIAN if finite else Status.NONFINITE_START
            cost = self._first if finite else math.nan
            sums = Sums(cost, np.full_like(sums.gradient, np.nan), np.full_like(sums.normal, np.nan))
        x = np.array(self._state.x)
        return SumOutcome(x, sums, status, self.counters.nfev, self.counters.nit, self._active())


def drive_on_sums(
    solve: SumSolve,
    callback: Callable[[StepReport], Any] | None = None,
    time_limit: float | None = None,
    progress: bool = False,
    termination: Termination | None = None,
) -> SumOutcome:
    """Run a solve to its end.

    Parameters
    ----------
    solve : SumSolve
        With its start evaluated.
    callback, time_limit, progress
        As for `nlsq.solve`.
    termination : Termination, optional
        A user's own test.
    """
    hooks = Hooks(callback, time_limit, False, progress, termination)
    watched: Any = solve  # it has what hooks look at
    while not solve.status:
        solve.advance()
        hooks.after(watched)
    return solve.outcome()
