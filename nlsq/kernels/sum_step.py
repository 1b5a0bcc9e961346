"""One Levenberg-Marquardt step on sums: cost, gradient and normal matrix in, the next point to try out.

Nothing here has the length of the data, so that the same step serves eight fits in one vector register, one fit of a
billion points that are summed in parts, and a fit on a graphics processor. It is straight-line code: what it decides it
selects. Called with floats it is plain Python; called with symbols it writes itself into a program.

At the best point x with cost F, gradient g and normal matrix N the step solves

    (N + lambda D^2) p = -g,      D_j^2 the largest N_jj so far                                          [1]_
    x + p, cut back to the bounds

and is accepted when the gain ratio exceeds 1e-4. lambda falls while the model predicts well, down to zero, and rises
when a step is rejected, faster each time [2]_. A parameter at a bound that the gradient points out of stays there.

A small change of the cost or a short step counts as convergence only for a whole step: undamped and not cut at a bound.
After a small change under damping the next step is undamped. The pivots of N tell when the normal equations have lost
the digits for that; such a fit, and one that goes on for too long, is *hard*: it ends with ``STALLED``, and its caller
solves it by a slower method.

References
----------
.. [1] J. Moré, "The Levenberg-Marquardt algorithm: implementation and theory", 1978, section 6: the scaling.
.. [2] H. B. Nielsen, "Damping parameter in Marquardt's method", IMM-REP-1999-05, section 2.
.. [3] G. H. Golub, C. F. Van Loan, "Matrix Computations", 4th edition, section 4.1: L D L'.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from nlsq.kernels.backend.primitives import absolute, select, square_root
from nlsq.status import Status

LEAST_RATIO = 1e-4  # More 1978, algorithm 7.1
GOOD, POOR = 0.75, 0.25  # More 1978, section 6
FIRST_DAMPING = 1e-3  # of the scaled normal matrix, whose diagonal is one
FALL = 0.01  # of the damping after a good step
LEAST_DAMPING = 1e-7  # below it is zero: normal equations that pass the pivot test do not need it
RISE = 4.0  # of the damping after a poor step that is kept
FIRST_GROWTH = 10.0  # of the damping after a step that is not; the next time in a row it is twice that
MOST_DAMPING = 1e12  # beyond, steps are below rounding
PIVOT_LIMIT = 1e-11  # as in `nlsq.kernels.quadratic_model`
NOISE = 4.5  # relative error of a cost, in units of rounding
EPS = 2.220446049250313e-16
SMALLEST_SQUARE = 1e-290  # below, squares lose their digits
REST = 30.0  # as in `nlsq.kernels.judgement`
SETTLED = 0.5  # as there

# places of the scalars in a state
COST, DAMPING, GROWTH, PREDICTED, STEP_SQUARED, LAST_STEP_SQUARED, CUT, NFEV, NIT, STATUS, HEADER = range(11)
COST_TOLERANCE, STEP_TOLERANCE, OPTIMALITY_TOLERANCE, MAX_EVALUATIONS, HARD_AFTER, ROUNDING, OPTIONS = range(7)


class State(NamedTuple):
    """What is kept from step to step.

    Attributes
    ----------
    scalars : list
        By the places above.
    x, scaling, gradient : list of n
        Best point, D^2 and gradient there.
    normal : list of n (n + 1) / 2
        Normal matrix there, lower triangle row by row.
    """

    scalars: list[Any]
    x: list[Any]
    scaling: list[Any]
    gradient: list[Any]
    normal: list[Any]


def state_size(n: int) -> int:
    """Return how many numbers a state has."""
    return HEADER + 3 * n + n * (n + 1) // 2


def first_scalars() -> list[float]:
    """Return the scalars before the start is evaluated."""
    scalars = [0.0] * HEADER
    scalars[COST], scalars[DAMPING], scalars[GROWTH], scalars[CUT] = math.inf, FIRST_DAMPING, FIRST_GROWTH, 1.0
    return scalars


def first_state(x: list[Any]) -> State:
    """Return the state before the start `x` is evaluated."""
    n = len(x)
    return State(first_scalars(), x, [0.0] * n, [0.0] * n, [0.0] * (n * (n + 1) // 2))


def unpacked(n: int, values: list[Any]) -> State:
    """Return a state from its `state_size` numbers."""
    ends = [HEADER, HEADER + n, HEADER + 2 * n, HEADER + 3 * n, state_size(n)]
    return State(*(values[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)))


def packed(state: State) -> list[Any]:
    """Return the numbers of a state in a row."""
    return [number for part in state for number in part]


def _maximum(a: Any, b: Any) -> Any:
    return select(a >= b, a, b)


def _minimum(a: Any, b: Any) -> Any:
    return select(a <= b, a, b)


def _total(terms: list[Any]) -> Any:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def advance(
    trial: list[Any], sums: tuple[Any, ...], state: State, options: list[Any], bounds: Any = None
) -> tuple[list[Any], State]:
    """Judge the trial point and propose the next one.

    Parameters
    ----------
    trial : list of n
        Point at which the sums were taken.
    sums : tuple
        Cost, gradient (n) and normal matrix (lower triangle) there; for a robust loss also D^2 (n), of which the
        curvature of the loss takes nothing away.
    state : State
        As the last call left it.
    options : list
        By the places above; the rounding, that of doubles by default, may be left out.
    bounds : tuple of two lists of n, optional
        Lower and upper bounds; equal ones hold a parameter.

    Returns
    -------
    trial : list of n
        Where to take the sums next, if the status is still 0.
    state : State
        With the status among its scalars.
    """
    n, old = len(trial), state.scalars
    cost, gradient, normal, *others = sums
    sizes = others[0] if others and others[0] else [normal[_at(j, j)] for j in range(n)]
    fresh = old[NFEV] < 0.5
    rounding = options[ROUNDING] if len(options) > ROUNDING else EPS
    ratio, actual = _gain_ratio(cost, old, rounding)
    size = _total([cost] + [absolute(g) for g in gradient] + [normal[_at(j, j)] for j in range(n)])
    finite = absolute(size) < math.inf
    accepted = finite & (fresh | (ratio >= LEAST_RATIO))

    def kept(new: list[Any], before: list[Any]) -> list[Any]:
        return [select(accepted, a, b) for a, b in zip(new, before, strict=True)]

    x, g, a = kept(trial, state.x), kept(gradient, state.gradient), kept(normal, state.normal)
    scaling = [select(accepted, _maximum(d, size), d) for d, size in zip(state.scaling, sizes, strict=True)]
    held = None if bounds is None else _held(x, g, a, bounds)
    scalars = list(old)
    scalars[COST] = select(accepted, cost, old[COST])
    scalars[NFEV] = old[NFEV] + 1.0
    moved = accepted & ~_truth(fresh)
    scalars[NIT] = old[NIT] + select(moved, 1.0, 0.0)
    scalars[LAST_STEP_SQUARED] = select(moved, old[STEP_SQUARED], old[LAST_STEP_SQUARED])
    length = _total([d * (one * one) for d, one in zip(scaling, x, strict=True)])
    status, small = _convergence(actual, ratio, length, scalars[COST], old, options, rounding, accepted, finite)
    optimal = _is_optimal(scalars[COST], g, a, held, options) & accepted
    status = select(status > 0.0, status, select(optimal, float(Status.OPTIMALITY), 0.0))
    scalars[DAMPING], scalars[GROWTH] = _damped(ratio, fresh, accepted, small, old)
    step, weak = _solve(a, g, scaling, scalars[DAMPING], held)
    following, step, cut = _within(x, step, bounds)
    scalars[PREDICTED] = _predicted(step, g, a, scaling, scalars[DAMPING], bounds is not None)
    scalars[STEP_SQUARED] = _total([d * (s * s) for d, s in zip(scaling, step, strict=True)])
    scalars[CUT] = select((scalars[DAMPING] > 0.0) | cut, 1.0, 0.0)
    hard = weak | (scalars[DAMPING] > MOST_DAMPING) | (scalars[NFEV] >= options[HARD_AFTER]) | (fresh & ~_truth(finite))
    late = scalars[NFEV] >= options[MAX_EVALUATIONS]
    failed = select(hard, float(Status.STALLED), 0.0)
    failed = select(late, float(Status.MAX_EVALUATIONS), failed)
    failed = select(fresh & ~_truth(absolute(cost) < math.inf), float(Status.NONFINITE_START), failed)
    scalars[STATUS] = select(status > 0.0, status, failed)
    return following, State(scalars, x, scaling, g, a)


def _truth(condition: Any) -> Any:
    """Return a condition on which ``~`` is the logical not: of a Python bool it is not."""
    return _Truth(condition) if isinstance(condition, bool) else condition


class _Truth(int):
    """A Python truth value with a logical ``~``."""

    def __invert__(self) -> bool:
        return not self


def _at(i: int, j: int) -> int:
    """Return the place of N_ij, i >= j, in the packed triangle."""
    return i * (i + 1) // 2 + j


def _gain_ratio(cost: Any, old: list[Any], rounding: Any) -> tuple[Any, Any]:
    """Return the gain ratio (-1 where it cannot be told) and the actual reduction; before the start infinite."""
    predicted = old[PREDICTED]
    actual = old[COST] - cost
    downhill = predicted > 0.0
    ratio = select(downhill, actual / select(downhill, predicted, 1.0), -1.0)
    noise = NOISE * rounding * old[COST]
    hidden = (absolute(actual) <= noise) & (predicted <= noise)
    return select(hidden, 1.0, ratio), actual


def _convergence(
    actual: Any,
    ratio: Any,
    length: Any,
    cost: Any,
    old: list[Any],
    options: list[Any],
    rounding: Any,
    accepted: Any,
    finite: Any,
) -> tuple[Any, Any]:
    """Test what the last step did: a status (0.0 to go on), and whether its effect was small."""
    tolerance = options[COST_TOLERANCE]
    before = old[COST]
    judged = (old[NFEV] > 0.5) & finite
    least = rounding * before
    floor = (absolute(actual) <= least) & (old[PREDICTED] <= least) & (ratio <= 2.0)
    change = (absolute(actual) <= tolerance * before) & (old[PREDICTED] <= tolerance * before) & (ratio <= 2.0)
    last = old[LAST_STEP_SQUARED]
    shrinking = old[STEP_SQUARED] < last
    q = square_root(select(shrinking, old[STEP_SQUARED], 0.0) / select(shrinking, last, 1.0))
    slow = q >= 1.0 - EPS
    left = select(slow, 0.0, q / select(slow, 1.0, 1.0 - q))
    rest = REST * _maximum(tolerance, options[STEP_TOLERANCE])
    settled = left * left * old[STEP_SQUARED] <= rest * rest * length
    exact = accepted & (cost <= 0.0)
    change = judged & ((change & settled) | floor | exact)
    short = old[STEP_SQUARED] <= options[STEP_TOLERANCE] * options[STEP_TOLERANCE] * length
    short = judged & short & (actual <= SETTLED * before)
    whole = (old[CUT] < 0.5) | exact
    by_cost = select(tolerance >= rounding, float(Status.COST_CHANGE), float(Status.COST_FLOOR))
    by_cost = select(short, float(Status.COST_AND_STEP), by_cost)
    status = select(change, by_cost, select(short, float(Status.STEP), 0.0))
    return select(whole, status, 0.0), change | short


def _is_optimal(cost: Any, gradient: list[Any], normal: list[Any], held: Any, options: list[Any]) -> Any:
    """Whether the residual is orthogonal to each column of J: g_j^2 <= tolerance^2 N_jj |r|^2.

    Where these squares leave the range of numbers only a gradient of zero counts.
    """
    limit = options[OPTIMALITY_TOLERANCE] * options[OPTIMALITY_TOLERANCE] * (2.0 * cost)
    optimal = None
    for j, g in enumerate(gradient):
        least = limit * normal[_at(j, j)]
        in_range = (least >= SMALLEST_SQUARE) & (least < math.inf)
        one = ((g * g <= least) & in_range) | (absolute(g) <= 0.0)
        if held is not None:
            one = one | held[j]
        optimal = one if optimal is None else optimal & one
    return optimal


def _held(x: list[Any], gradient: list[Any], normal: list[Any], bounds: Any) -> list[Any]:
    """Return which parameters sit at a bound that the gradient points out of, or have no effect because of one."""
    lower, upper = bounds
    held = [((x[j] <= lower[j]) & (g >= 0.0)) | ((x[j] >= upper[j]) & (g <= 0.0)) for j, g in enumerate(gradient)]
    some = held[0]
    for one in held[1:]:
        some = some | one
    return [one | (some & (normal[_at(j, j)] <= 0.0)) for j, one in enumerate(held)]


def _damped(ratio: Any, fresh: Any, accepted: Any, small: Any, old: list[Any]) -> tuple[Any, Any]:
    """Return the damping of the next step, and the growth of the damping if that is rejected."""
    damping = old[DAMPING]
    least = _maximum(damping, FIRST_DAMPING)
    lower = FALL * damping
    lower = select(lower < LEAST_DAMPING, 0.0, lower)
    after = select(ratio >= GOOD, lower, select(ratio < POOR, RISE * least, damping))
    after = select(small, 0.0, after)
    rejected = _maximum(damping * old[GROWTH], FIRST_DAMPING)
    rejected = select(small, 0.0, rejected)
    after = select(accepted, select(fresh, damping, after), rejected)
    growth = select(accepted | small, FIRST_GROWTH, 2.0 * old[GROWTH])
    return after, growth


def _solve(normal: list[Any], gradient: list[Any], scaling: list[Any], damping: Any, held: Any) -> tuple[Any, Any]:
    """Solve for the step by L D L'; also say whether a pivot was too small."""
    n = len(gradient)
    pivots: list[Any] = []
    lower: list[list[Any]] = []
    weak = None
    for i in range(n):
        row: list[Any] = []  # L_ij d_j, then L_ij
        for j in range(i):
            value = normal[_at(i, j)]
            if held is not None:
                value = select(held[i] | held[j], 0.0, value)
            for k in range(j):
                value = value - row[k] * lower[j][k]
            row.append(value)
        diagonal = normal[_at(i, i)] + damping * scaling[i]
        if held is not None:
            diagonal = select(held[i], 1.0, diagonal)
        pivot = diagonal
        for j in range(i):
            factor = row[j] * pivots[j]
            pivot = pivot - factor * row[j]
            row[j] = factor
        small = ~_truth(pivot > PIVOT_LIMIT * diagonal)
        weak = small if weak is None else weak | small
        pivots.append(1.0 / select(small, 1.0, pivot))
        lower.append(row)
    step: list[Any] = []
    for i in range(n):
        value = -gradient[i]
        if held is not None:
            value = select(held[i], 0.0, value)
        for j in range(i):
            value = value - lower[i][j] * step[j]
        step.append(value)
    for i in range(n - 1, -1, -1):
        value = step[i] * pivots[i]
        for j in range(i + 1, n):
            value = value - lower[j][i] * step[j]
        step[i] = value
    return step, weak


def _within(x: list[Any], step: list[Any], bounds: Any) -> tuple[list[Any], list[Any], Any]:
    """Return the next point, the step to it, and whether a bound cut it."""
    following = [a + s for a, s in zip(x, step, strict=True)]
    if bounds is None:
        return following, step, following[0] != following[0]
    cut = None
    inside = []
    for j, (low, high) in enumerate(zip(*bounds, strict=True)):
        at = _minimum(_maximum(following[j], low), high)
        one = at != following[j]
        cut = one if cut is None else cut | one
        inside.append(at)
    return inside, [a - b for a, b in zip(inside, x, strict=True)], cut


def _predicted(
    step: list[Any], gradient: list[Any], normal: list[Any], scaling: list[Any], damping: Any, is_cut: bool
) -> Any:
    """Return the reduction that the model promises: -(g'p + p'N p / 2)."""
    slope = _total([g * s for g, s in zip(gradient, step, strict=True)])
    if not is_cut:  # p'N p = -(g'p + lambda p'D^2 p)
        stretched = _total([d * (s * s) for d, s in zip(scaling, step, strict=True)])
        return 0.5 * (damping * stretched - slope)
    curvature = 0.0 * slope
    for i, s in enumerate(step):
        row = 0.5 * (normal[_at(i, i)] * s)
        for j in range(i):
            row = row + normal[_at(i, j)] * step[j]
        curvature = curvature + s * row
    return -(slope + curvature)
