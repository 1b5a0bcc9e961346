"""A fit from several starts: the distinct ends, best first.

Starts are spread around `p0`, by factors from a tenth to ten and now and then with the other sign, or found from the
data (`nlsq.fitting.starts`). Two solves reached the same minimum when their costs and all parameters agree.
"""

from __future__ import annotations

import math
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.candidates import primes
from nlsq.fitting.core import FitCore
from nlsq.fitting.named import NamedArray, named
from nlsq.fitting.parameters import Parameters
from nlsq.fitting.result import FitResult
from nlsq.fitting.solving import SolveOptions, solve_from
from nlsq.fitting.starts import CUT_SHORT, find_starts, out_of_time
from nlsq.fitting.task import FitTask
from nlsq.status import Status

FloatArray = NDArray[np.float64]

SPREAD = 1.0  # decades around the start
OTHER_SIGN = 0.2  # share of the starts with another sign of a parameter
SAME_COST = 1e-6  # relative
VIOLATED = 1e-5  # largest violation of constraints: of more, an end is no solution
SAME_PARAMS = 1e-4  # of the largest that the parameter is in either, or of the typical size where it is zero


@final
@dataclass(frozen=True, slots=True)
class Minimum:
    """Where solves from one or more starts ended.

    Attributes
    ----------
    params : NamedArray, shape (n,)
        All parameters.
    cost : float
        1/2 sum rho(r_i^2).
    status : Status
        Of the best solve that ended here.
    starts : int
        How many solves did.
    """

    params: NamedArray
    cost: float
    status: Status
    starts: int


def solve_from_many(task: FitTask, parameters: Parameters, count: int, options: SolveOptions) -> FitCore:
    """Solve from `count` starts.

    Parameters
    ----------
    task : FitTask
        What is fitted.
    parameters : Parameters
        Starts, NaN where they are to be found from the data; bounds.
    count : int
        How many starts.
    options : SolveOptions
        How to solve; the time limit holds for all solves together.

    Returns
    -------
    FitCore
        The best, with ``minima``; its counts are those of all solves together.
    """
    spent, cut_short = 0, False
    if parameters.missing.any():
        found = find_starts(task, parameters, options.deadline, count)
        points, spent, cut_short = found.points, found.evaluations, found.cut_short
    else:
        points = [parameters.start]
    points = points + [spread(points[0], parameters, i) for i in range(count - len(points))]
    ends: list[FitCore] = []
    for point in points:
        if ends and out_of_time(options.deadline):
            break
        # From far away a model may overflow, which says nothing about the fit; at the given start it may not go unseen.
        with np.errstate(all="ignore") if ends else nullcontext():
            try:
                ends.append(solve_from(task, point, options))
            except BaseException as error:
                keep_best(error, ends)
                raise
    best = min(ends, key=rank)
    best.minima = minima_of(task, ends)
    best.nfev_start = spent
    if cut_short:
        best.fallbacks = [*best.fallbacks, CUT_SHORT]
    if len(ends) < count:
        best.fallbacks = [*best.fallbacks, f"the time limit ended the fit after {len(ends)} of {count} starts"]
    for name in ("nfev", "njev", "nit"):
        setattr(best, name, sum(getattr(end, name) for end in ends))
    return best


def keep_best(error: BaseException, ends: list[FitCore]) -> None:
    """Let the ``result`` of an exception be the best of all solves before it, where that is better than its own."""
    if not ends:
        return
    best, own = min(ends, key=rank), getattr(error, "result", None)
    if not isinstance(own, FitResult) or rank(best) < rank(own._core):
        with suppress(AttributeError, TypeError):  # an exception class with slots
            error.result = FitResult(best)  # type: ignore[attr-defined]


def rank(end: FitCore) -> tuple[bool, float, bool]:
    """Order ends by cost, those without one last, and at equal cost those that converged first.

    Ends that violate constraints come after all that do not.
    """
    violates = end.constrained is not None and not end.constrained.violation <= VIOLATED
    return violates, (end.cost if math.isfinite(end.cost) else math.inf), not end.status.converged


def spread(center: FloatArray, parameters: Parameters, i: int) -> FloatArray:
    """Return the i-th start around a point; anywhere within bounds that are both finite."""
    u = np.modf((i + 1) * np.sqrt(np.array(primes(2 * center.size), dtype=np.float64)))[0]
    size, sign = u[::2], np.where(u[1::2] < OTHER_SIGN, -1.0, 1.0)
    typical = np.where(center == 0.0, 1.0, center)
    point = typical * sign * 10.0 ** (SPREAD * (2.0 * size - 1.0))
    lower, upper = parameters.lower, parameters.upper
    boxed = np.isfinite(lower) & np.isfinite(upper)
    point[boxed] = lower[boxed] + size[boxed] * (upper - lower)[boxed]
    outside = (point < lower) | (point > upper)
    point[outside] = np.clip(-point, lower, upper)[outside]
    return np.where(parameters.fixed, center, point)


def minima_of(task: FitTask, ends: list[FitCore]) -> list[Minimum]:
    """Return the distinct ends, sorted by cost, each with the number of solves that reached it."""
    distinct: list[Minimum] = []
    for end in sorted(ends, key=rank):
        for k, minimum in enumerate(distinct):
            if same(end, minimum):
                distinct[k] = replace(minimum, starts=minimum.starts + 1)
                break
        else:
            distinct.append(Minimum(named(end.params.copy(), task.names), float(end.cost), end.status, 1))
    return distinct


def same(end: FitCore, minimum: Minimum) -> bool:
    """Whether costs and parameters agree; costs of all but zero, as in a perfect fit, do not tell."""
    a, b = end.params, np.asarray(minimum.params)
    size = np.maximum(np.abs(a), np.abs(b))
    near = np.abs(a - b) <= SAME_PARAMS * np.where(size > 0.0, size, 1.0)
    return bool(near.all()) and (
        abs(end.cost - minimum.cost) <= SAME_COST * abs(minimum.cost) or perfect(end) or not math.isfinite(end.cost)
    )


def perfect(end: FitCore) -> bool:
    """Whether the cost is nothing but rounding in y."""
    scatter = float(np.finfo(np.float64).eps) * np.asarray(end.task.data.whiten(end.task.data.y))
    return bool(2.0 * end.cost <= 1e6 * (scatter @ scatter))
