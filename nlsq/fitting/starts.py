"""Start values from the data: where to begin when nobody says.

    1. find the parameters that enter linearly; they follow from the others          (`nlsq.fitting.separable`)
    2. try points drawn from what x and y suggest                                    (`nlsq.fitting.candidates`)
    3. polish the best by short fits over the parameters that are not linear
    4. move each of these, one at a time, over its whole range, and polish again
    5. go on with the next best points while neighbouring residuals are alike, as they are under a wrong curve [1]_

Every step keeps the bounds, and the same data give the same start unless time cuts the search short. A point at which
the model has no finite values, or raises an arithmetic or value error, is passed over. Of long data a part is looked
at, if the model goes by points.

References
----------
.. [1] J. Durbin and G. S. Watson, "Testing for serial correlation in least squares regression I", Biometrika 37, 1950.
"""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass, replace
from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.candidates import Candidates, axes_of
from nlsq.fitting.data import CurveData
from nlsq.fitting.parameters import Parameters
from nlsq.fitting.separable import Screen
from nlsq.fitting.task import FitTask
from nlsq.problem import LeastSquaresProblem
from nlsq.solvers import Tolerances, choose_solver, drive

FloatArray = NDArray[np.float64]
Entry: TypeAlias = tuple[float, FloatArray]  # cost and point

POINTS_TRIED = 12  # for linearity
DRAWN = 60  # points for each parameter to be searched
DRAWN_AT_MOST = 360
LOTS = (8, 16)  # drawn points that are polished; the second lot if the residual of the best still has structure
KEPT = 2  # of the points polished, moved over whole ranges
POLISH = Tolerances(cost=1e-6, step=1e-6)
POLISH_EVALUATIONS = 30
STRUCTURED = 1.0  # Durbin and Watson's ratio, which is 2 for independent residuals
PERFECT = 1e-20  # of the sum of squares of y
DIFFERENT = 0.1  # relative difference of a parameter that makes another point
ALIKE = 1e-9  # relative difference of costs that is none
PATIENCE = 5.0  # seconds inside the model after which a search ends with the best so far
DRAWING = 0.4  # share of the time for points drawn; what is left polishes them
LONG = 2000  # points that are looked at in longer data
CUT_SHORT = "the search for start values was cut short by time; give p0, or a faster model"
GOLDEN = 0.5 * (math.sqrt(5.0) - 1.0)


@final
@dataclass(slots=True)
class Found:
    """Start values that were found.

    Attributes
    ----------
    points : list of ndarray, shape (n,)
        All parameters, the best first; never empty.
    evaluations : int
        Calls of the model.
    cut_short : bool
        Whether time ended the search.
    """

    points: list[FloatArray]
    evaluations: int
    cut_short: bool


@final
class Clock:
    """Ends a search by the time spent inside the model, or at a deadline; what is compiled meanwhile does not count.

    Parameters
    ----------
    screen : Screen
        Measures the first.
    deadline : float or None
        Time of ``time.perf_counter()``.
    """

    def __init__(self, screen: Screen, deadline: float | None) -> None:
        self.screen, self.deadline = screen, deadline

    def is_over(self, share: float = 1.0) -> bool:
        """Whether a share of the time in the model is used up, or the deadline has passed."""
        return self.screen.seconds >= share * PATIENCE or out_of_time(self.deadline)


def find_starts(task: FitTask, parameters: Parameters, deadline: float | None = None, count: int = 1) -> Found:
    """Find values for the parameters that have no start.

    Parameters
    ----------
    task : FitTask
        What is to be fitted.
    parameters : Parameters
        Start with NaN where it is to be found; bounds.
    deadline : float, optional
        Time of ``time.perf_counter()`` at which the search is cut short; after `PATIENCE` in the model in any case.
    count : int
        How many points are wanted, at most; they differ from each other.

    Returns
    -------
    Found
        Ones, moved into the bounds, where the model has values nowhere.
    """
    unknown = np.flatnonzero(parameters.missing & ~parameters.fixed)
    lower, upper = parameters.lower[unknown], parameters.upper[unknown]
    candidates = Candidates(task.data.x, task.data.y, lower, upper)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the points are ours, and so are their overflows
        data, spent = thinned(task, parameters.start, unknown, candidates)
        screen = screen_of(task, data, parameters.start, unknown, lower, upper)
        clock = Clock(screen, deadline)
        pool = search(screen, candidates, clock, order_of(data), count)
    if not pool:
        pool = [(math.inf, np.clip(np.ones(unknown.size), lower, upper))]
    points = []
    for _, p in pool:
        point = parameters.start.copy()
        point[unknown] = p
        points.append(point)
    return Found(points, screen.evaluations + spent, clock.is_over())


def screen_of(
    task: FitTask,
    data: CurveData,
    template: FloatArray,
    unknown: NDArray[np.intp],
    lower: FloatArray,
    upper: FloatArray,
) -> Screen:
    """Return what tries values of the unknown parameters."""
    point, model = template.copy(), task.model

    def values(p: FloatArray) -> FloatArray:
        point[unknown] = p
        return np.asarray(data.whiten(data.flatten(model(data.x, *point))), dtype=np.float64)

    return Screen(values, np.asarray(data.whiten(data.y), dtype=np.float64), lower, upper, task.loss)


def thinned(
    task: FitTask, template: FloatArray, unknown: NDArray[np.intp], candidates: Candidates
) -> tuple[CurveData, int]:
    """Return a part of long data, if the model's value at a point depends on that point alone; and the calls it took.

    The part is drawn from equal intervals, at irregular places in them, so that no period is mistaken for another.
    """
    data = task.data
    x, m = data.x, data.y.size
    parts = x if isinstance(x, tuple) else (x,)
    by_points = all(isinstance(part, np.ndarray) and part.ndim and part.shape[-1] == m for part in parts)
    if m <= LONG or data.shape != (m,) or data.factor is not None or not by_points:
        return data, 0
    k = np.arange(LONG)
    rows = ((k + np.modf((k + 1) * GOLDEN)[0]) * (m / LONG)).astype(np.intp)
    cut = tuple(part[..., rows] for part in parts)
    weights = data.weights if np.ndim(data.weights) == 0 else data.weights[rows]
    part = replace(data, x=cut if isinstance(x, tuple) else cut[0], y=data.y[rows], shape=(LONG,), weights=weights)
    point = template.copy()
    for i in range(POINTS_TRIED):
        point[unknown] = candidates.draw(i)
        try:
            whole = data.flatten(task.model(x, *point))[rows]
            if not np.isfinite(whole).all():
                continue
            same = np.allclose(part.flatten(task.model(part.x, *point)), whole, rtol=ALIKE, atol=0.0)
        except (ArithmeticError, ValueError):
            same = False
        return (part if same else data), 2 * (i + 1)
    return data, POINTS_TRIED


def order_of(data: CurveData) -> NDArray[np.intp] | None:
    """Return the order of the residuals along x; None where there is none."""
    axes = axes_of(data.x)
    if len(axes) != 1 or data.complex or data.keep is not None or axes[0].size != data.y.size:
        return None
    return np.argsort(axes[0], kind="stable")


def search(
    screen: Screen,
    candidates: Candidates,
    clock: Clock,
    order: NDArray[np.intp] | None,
    count: int,
) -> list[Entry]:
    """Return the best points with their costs, best first."""
    screen.find_linear(candidates.draw(i) for i in range(POINTS_TRIED) if not clock.is_over(DRAWING))
    others = screen.others
    pool: list[Entry] = []
    for i in range(min(DRAWN * len(others), DRAWN_AT_MOST) if others else 1):
        entry = screen.score(candidates.draw(i))
        if entry[0] < math.inf:
            pool.append(entry)
        if clock.is_over(DRAWING):
            break
    pool.sort(key=lambda entry: entry[0])
    if not others:
        return pool
    hopeful = distinct(pool, others, max(sum(LOTS), 2 * count))
    found: list[Entry] = []
    for lot in LOTS:
        polished = polish(screen, hopeful[:lot], clock)
        moved = [move_each(screen, candidates, entry, clock) for entry in distinct(polished, others, KEPT)]
        found = sorted(found + polished + polish(screen, moved, clock), key=lambda entry: entry[0])
        hopeful = hopeful[lot:]
        if not hopeful or clock.is_over() or (count == 1 and not is_structured(screen.project(found[0][1])[0], order)):
            break
    found = [upright(screen, entry) for entry in distinct(found, others, count)]
    return distinct(found + hopeful, others, count)


def is_structured(residual: FloatArray | None, order: NDArray[np.intp] | None) -> bool:
    """Whether neighbouring residuals are alike, by the ratio of Durbin and Watson: then the curve is not right yet."""
    if residual is None or order is None:
        return False
    in_order = residual[order]
    steps = np.diff(in_order)
    return bool(steps @ steps < STRUCTURED * (in_order @ in_order))


def move_each(screen: Screen, candidates: Candidates, entry: Entry, clock: Clock) -> Entry:
    """Move one parameter after the other over its whole range, and keep what is better."""
    perfect = PERFECT * float(screen.y @ screen.y)
    for j in screen.others:
        p = entry[1]
        for value in candidates.ladder(j):
            trial = p.copy()
            trial[j] = value
            scored = screen.score(trial)
            if scored[0] < entry[0]:
                entry = scored
            if clock.is_over():
                return entry
        if entry[0] <= perfect:
            break
    return entry


def polish(screen: Screen, pool: list[Entry], clock: Clock) -> list[Entry]:
    """Fit shortly from each of the points, over the parameters that are not linear; best first."""
    others, polished = screen.others, []
    bounds = screen.lower[others], screen.upper[others]
    perfect = PERFECT * float(screen.y @ screen.y)
    for cost, p in pool:
        if cost <= perfect or clock.is_over():
            polished.append((cost, p))
            continue
        loss = screen.loss
        problem = LeastSquaresProblem(
            screen.projected_residual(p), p[others], bounds=bounds, loss=loss.function, loss_scale=loss.scale
        )
        solved = drive(
            problem,
            choose_solver(problem),
            POLISH,
            max_evaluations=POLISH_EVALUATIONS,
            callback=lambda report: clock.is_over(),
        )
        trial = p.copy()
        trial[others] = solved.x
        polished.append(min((cost, p), screen.score(trial), key=lambda entry: entry[0]))
    return sorted(polished, key=lambda entry: entry[0])


def distinct(pool: list[Entry], others: list[int], count: int) -> list[Entry]:
    """Return the first points of a sorted pool that differ from each other by more than a tenth in some parameter."""
    chosen: list[Entry] = []
    for cost, p in pool:
        q = p[others]
        if all(np.any(np.abs(q - c[others]) > DIFFERENT * np.abs(q)) for _, c in chosen):
            chosen.append((cost, p))
            if len(chosen) == count:
                break
    return chosen


def upright(screen: Screen, entry: Entry) -> Entry:
    """Take parameters positive where their sign makes no difference."""
    for j in screen.others:
        if entry[1][j] < 0.0 and -entry[1][j] <= screen.upper[j]:
            trial = entry[1].copy()
            trial[j] = -trial[j]
            scored = screen.score(trial)
            if scored[0] <= entry[0] * (1.0 + ALIKE):
                entry = scored
    return entry


def out_of_time(deadline: float | None) -> bool:
    """Whether the deadline has passed."""
    return deadline is not None and time.perf_counter() >= deadline
