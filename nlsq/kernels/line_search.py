"""Gauss-Newton and gradient descent with an undamped direction d: the steps of one iteration.

    Gauss-Newton   (J'J) d = -J'f           (basic solution where J loses rank)
    gradient       d = -D^-2 J'f            (projected: x + alpha d is cut to the box)

The step length alpha is 1 or fixed, or the first that gives Armijo's reduction ``a >= 1e-4 * (-g'(x_new - x))``; a
refused one is replaced by the minimum of the parabola through what is known, within [0.1, 0.5] of it [1]_.

References
----------
.. [1] J. Nocedal, S. Wright, "Numerical Optimization", 2nd ed., 2006, algorithm 3.1 and section 3.5.
.. [2] D. P. Bertsekas, "On the Goldstein-Levitin-Polyak gradient projection method", IEEE Trans. Autom. Control 21,
   1976.
"""

import math

from nlsq.kernels.backend import kernel
from nlsq.kernels.bounds import keep_inside
from nlsq.kernels.dense import dot, norm
from nlsq.kernels.judgement import conclude, evaluate_candidate, measure_step
from nlsq.kernels.layout import (
    ACTUAL_REDUCTION,
    COLUMN_SCALE,
    COSINE,
    COST,
    COST_NEW,
    DIRECTION_GRADIENT,
    DIRECTION_RULE,
    DIRECTIONAL_SLOPE,
    EXTRA_DIAGONAL,
    FIXED_LENGTH,
    FULL_PREDICTED_REDUCTION,
    GRADIENT,
    HAS_BOUNDS,
    LOWER,
    NEWTON_STEP,
    NJEV,
    NORMAL,
    OPTIMALITY,
    OPTIMALITY_TOLERANCE,
    PREDICTED_REDUCTION,
    RADIUS,
    RUN_COST,
    SCALED_STEP,
    SCALING,
    SEARCH_ARMIJO,
    SEARCH_FIXED,
    SEARCH_RULE,
    STATUS,
    STEP,
    STEP_LENGTH,
    STEP_NORM,
    UPPER,
    WORK_1,
    X_NEW,
    X_NORM,
    N,
    X,
    matrix,
    vector,
)
from nlsq.kernels.quadratic_model import factorize_model, linearise_cost
from nlsq.kernels.trust_region import update_scaling
from nlsq.status import Status

ARMIJO = 1e-4  # Nocedal and Wright 2006, section 3.1
LEAST_LENGTH = 1e-20
NONFINITE_JACOBIAN = int(Status.NONFINITE_JACOBIAN)
OPTIMALITY_REACHED = int(Status.OPTIMALITY)
DIVERGED = int(Status.DIVERGED)
STALLED = int(Status.STALLED)


@kernel("int(double*, int*)")
def linearise(w, iw):
    """Take in r and J at x and find the direction (in SCALED_STEP); returns a status, 0 to go on."""
    n = iw[N]
    if linearise_cost(w, iw) != 0:
        return NONFINITE_JACOBIAN
    normal = matrix(w, iw, NORMAL)
    update_scaling(w, iw)
    x, gradient, direction = vector(w, iw, X), vector(w, iw, GRADIENT), vector(w, iw, SCALED_STEP)
    scaling = vector(w, iw, SCALING)
    work = vector(w, iw, WORK_1)
    size = math.sqrt(2.0 * w[COST])
    w[COSINE] = 0.0
    for j in range(n):
        vector(w, iw, COLUMN_SCALE)[j] = 1.0 / scaling[j]
        vector(w, iw, EXTRA_DIAGONAL)[j] = 0.0
        work[j] = x[j] * scaling[j]
        held = gradient[j] > 0.0 and x[j] <= vector(w, iw, LOWER)[j]
        held = held or (gradient[j] < 0.0 and x[j] >= vector(w, iw, UPPER)[j])
        column = math.sqrt(normal[j * n + j])
        if not held and column > 0.0 and size > 0.0:
            w[COSINE] = max(w[COSINE], abs(gradient[j]) / column / size)
    w[X_NORM] = norm(work, n)
    w[OPTIMALITY] = w[COSINE]
    if w[OPTIMALITY] <= w[OPTIMALITY_TOLERANCE] or w[COST] == 0.0:
        return OPTIMALITY_REACHED
    _direction(w, iw, direction)
    first = 1.0
    if iw[SEARCH_RULE] == SEARCH_FIXED:
        first = w[FIXED_LENGTH]
    elif iw[DIRECTION_RULE] == DIRECTION_GRADIENT and iw[NJEV] > 1:
        length = norm(direction, n)  # twice the last step: the scale of the direction may have changed
        first = 2.0 * norm(vector(w, iw, STEP), n) / length if length > 0.0 else 1.0
    if iw[NJEV] == 1:
        w[RUN_COST] = w[COST]
    w[STEP_LENGTH] = first
    return 0


@kernel("void(double*, int*, double*)")
def _direction(w, iw, direction):
    n = iw[N]
    scale = vector(w, iw, COLUMN_SCALE)
    if iw[DIRECTION_RULE] == DIRECTION_GRADIENT:
        for j in range(n):
            direction[j] = -scale[j] * scale[j] * vector(w, iw, GRADIENT)[j]
        w[FULL_PREDICTED_REDUCTION] = math.inf
    else:
        factorize_model(w, iw)
        for j in range(n):
            direction[j] = scale[j] * vector(w, iw, NEWTON_STEP)[j]


@kernel("int(double*, int*)")
def propose(w, iw):
    """Candidate at the current step length; nonzero when the length has run out."""
    n = iw[N]
    if w[STEP_LENGTH] < LEAST_LENGTH:
        return 1
    x, x_new, step = vector(w, iw, X), vector(w, iw, X_NEW), vector(w, iw, STEP)
    work = vector(w, iw, WORK_1)
    for j in range(n):
        x_new[j] = x[j] + w[STEP_LENGTH] * vector(w, iw, SCALED_STEP)[j]
    if iw[HAS_BOUNDS] != 0:
        keep_inside(x_new, vector(w, iw, LOWER), vector(w, iw, UPPER), 0, n)
    for j in range(n):
        step[j] = x_new[j] - x[j]
        work[j] = step[j] * vector(w, iw, SCALING)[j]
    w[STEP_NORM] = norm(work, n)
    w[RADIUS] = math.inf
    if w[STEP_NORM] == 0.0:  # the length has run out against rounding
        return 1
    w[DIRECTIONAL_SLOPE] = dot(vector(w, iw, GRADIENT), step, n)
    w[PREDICTED_REDUCTION] = -0.5 * w[DIRECTIONAL_SLOPE]
    return 0


@kernel("int(double*, int*)")
def judge(w, iw):
    """Accept the candidate or shorten the step; without a search every finite candidate is accepted."""
    evaluate_candidate(w, iw)
    measure_step(w, iw, math.inf)
    slope, actual = w[DIRECTIONAL_SLOPE], w[ACTUAL_REDUCTION]
    if iw[SEARCH_RULE] != SEARCH_ARMIJO:
        code = conclude(w, iw, -math.inf)
        if w[COST_NEW] == math.inf:
            iw[STATUS] = DIVERGED
            return 2
        if code >= 2 and not w[COST] <= w[RUN_COST]:  # at rest, but higher than it began
            iw[STATUS] = DIVERGED
        return code
    if actual >= -ARMIJO * slope:
        return conclude(w, iw, -math.inf)
    shrink = 0.1
    if actual > -math.inf:
        shrink = min(max(0.5 * slope / (slope + actual), 0.1), 0.5)
    w[STEP_LENGTH] *= shrink
    code = conclude(w, iw, math.inf)
    return code
