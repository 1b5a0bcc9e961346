"""Dogleg in a box for bounds: the steps of one iteration.

The trust region is a box, so that its intersection with the bounds is one too. Variables at a bound whose gradient
points outwards are held; over the others the step follows the dogleg path, from x along the steepest descent to the
model's minimum on it and on to the Gauss-Newton point, up to where it leaves the box [1]_.

References
----------
.. [1] C. Voglis, I. E. Lagaris, "A rectangular trust region dogleg approach for unconstrained and bound constrained
   nonlinear optimization",
   WSEAS Int. Conf. on Applied Mathematics, 2004.
"""

import math

from nlsq.kernels.backend import kernel
from nlsq.kernels.bounds import keep_inside, step_to_bound
from nlsq.kernels.dense import dot, norm
from nlsq.kernels.judgement import conclude, evaluate_candidate, first_radius, measure_step, still_promising
from nlsq.kernels.layout import (
    CHOICE_1,
    COLUMN_NORM,
    COLUMN_SCALE,
    COSINE,
    COST,
    DIRECTIONAL_SLOPE,
    EXTRA_DIAGONAL,
    GAIN_RATIO,
    GRADIENT,
    LOWER,
    NEWTON_STEP,
    NJEV,
    OPTIMALITY,
    OPTIMALITY_TOLERANCE,
    PREDICTED_REDUCTION,
    RADIUS,
    RULE,
    RULE_SCIPY,
    SCALED_GRADIENT,
    SCALED_STEP,
    SCALING,
    STEP,
    STEP_CUT,
    STEP_NORM,
    UPPER,
    WORK_1,
    WORK_2,
    WORK_3,
    X_NEW,
    X_NORM,
    N,
    X,
    vector,
)
from nlsq.kernels.quadratic_model import factorize_model, linearise_cost, model_curvature
from nlsq.kernels.trust_region import minimise_parabola, update_scaling
from nlsq.status import Status

ROUNDING = 1e-15  # a path that ends this close to a bound, relative to the step, ends at it
NONFINITE_JACOBIAN = int(Status.NONFINITE_JACOBIAN)
OPTIMALITY_REACHED = int(Status.OPTIMALITY)


@kernel("int(double*, int*)")
def linearise(w, iw):
    """Take in r and J at x; returns a status, 0 to go on."""
    if linearise_cost(w, iw) != 0:
        return NONFINITE_JACOBIAN
    update_scaling(w, iw)
    small = free_variables(w, iw)
    factorize_model(w, iw)
    if small != 0 and still_promising(w, iw) == 0:
        return OPTIMALITY_REACHED
    if iw[NJEV] == 1:
        start_radius(w, iw)
    return 0


@kernel("int(double*, int*)")
def free_variables(w, iw):
    """Hold what a bound stops (column scale 0); 1 when the optimality of the rest is below its tolerance."""
    n = iw[N]
    x, gradient = vector(w, iw, X), vector(w, iw, GRADIENT)
    column_scale, extra = vector(w, iw, COLUMN_SCALE), vector(w, iw, EXTRA_DIAGONAL)
    size = math.sqrt(2.0 * w[COST])
    largest = 0.0
    w[COSINE] = 0.0
    for j in range(n):
        at_lower = x[j] <= vector(w, iw, LOWER)[j] and gradient[j] > 0.0
        at_upper = x[j] >= vector(w, iw, UPPER)[j] and gradient[j] < 0.0
        if at_lower or at_upper:
            column_scale[j] = 0.0
            extra[j] = 1.0
        else:
            column_scale[j] = 1.0
            extra[j] = 0.0
            largest = max(largest, abs(gradient[j]))
            column = vector(w, iw, COLUMN_NORM)[j]
            if column > 0.0 and size > 0.0:
                w[COSINE] = max(w[COSINE], abs(gradient[j]) / column / size)
    w[OPTIMALITY] = largest if iw[RULE] == RULE_SCIPY else w[COSINE]
    w[X_NORM] = norm(x, n)
    return 1 if w[OPTIMALITY] < w[OPTIMALITY_TOLERANCE] or w[COST] == 0.0 else 0


@kernel("void(double*, int*)")
def start_radius(w, iw):
    """First radius: the largest scaled entry of the start, 1 if that is 0."""
    largest = 0.0
    for j in range(iw[N]):
        largest = max(largest, abs(vector(w, iw, X)[j]) * vector(w, iw, SCALING)[j])
    w[RADIUS] = first_radius(w, iw, largest if largest > 0.0 else 1.0)


@kernel("int(double*, int*)")
def propose(w, iw):
    """Follow the dogleg path as far as the box allows."""
    descent = vector(w, iw, CHOICE_1)
    for j in range(iw[N]):
        descent[j] = -vector(w, iw, SCALED_GRADIENT)[j]
    follow_path(w, iw, model_curvature(w, iw, descent, descent))
    step = vector(w, iw, STEP)
    slope = dot(vector(w, iw, GRADIENT), step, iw[N])
    w[PREDICTED_REDUCTION] = -slope - 0.5 * model_curvature(w, iw, step, step)
    w[DIRECTIONAL_SLOPE] = slope
    return 0


@kernel("void(double*, int*, double)")
def follow_path(w, iw, curvature):
    """Step and candidate.

    Given the model's curvature along the steepest descent (CHOICE_1) and the Gauss-Newton step.
    """
    n = iw[N]
    x, step, newton = vector(w, iw, X), vector(w, iw, STEP), vector(w, iw, NEWTON_STEP)
    low, high = vector(w, iw, WORK_1), vector(w, iw, WORK_2)
    descent, rest = vector(w, iw, CHOICE_1), vector(w, iw, WORK_3)
    scaling, origin = vector(w, iw, SCALING), vector(w, iw, SCALED_STEP)
    iw[STEP_CUT] = 0
    whole = True
    for j in range(n):
        side = w[RADIUS] / scaling[j]
        low[j] = max(vector(w, iw, LOWER)[j] - x[j], -side)
        high[j] = min(vector(w, iw, UPPER)[j] - x[j], side)
        origin[j] = 0.0
        whole = whole and low[j] <= newton[j] <= high[j]
    if whole:
        for j in range(n):
            step[j] = newton[j] * (1.0 if vector(w, iw, COLUMN_SCALE)[j] > 0.0 else 0.0)
    else:
        to_box = step_to_bound(origin, descent, low, high, n)
        length = dot(descent, descent, n)
        t = minimise_parabola(curvature, -length, 0.0, to_box)
        for j in range(n):
            step[j] = t * descent[j]
            rest[j] = (newton[j] - step[j]) * (1.0 if vector(w, iw, COLUMN_SCALE)[j] > 0.0 else 0.0)
            if t == to_box and descent[j] != 0.0:
                end = high[j] if descent[j] > 0.0 else low[j]
                bound = vector(w, iw, UPPER)[j] if descent[j] > 0.0 else vector(w, iw, LOWER)[j]
                if end == bound - x[j] and end / descent[j] <= to_box:  # stays at the bound that the descent ends at
                    step[j] = end
                    rest[j] = 0.0
        further = min(step_to_bound(step, rest, low, high, n), 1.0)
        for j in range(n):
            step[j] += further * rest[j]
    for j in range(n):
        if abs(step[j]) >= (1.0 - 1e-10) * w[RADIUS] / scaling[j]:
            iw[STEP_CUT] = 1
        vector(w, iw, X_NEW)[j] = x[j] + step[j]
        near = ROUNDING * max(abs(x[j]), abs(step[j]))
        if step[j] < 0.0 and vector(w, iw, X_NEW)[j] - vector(w, iw, LOWER)[j] <= near:
            vector(w, iw, X_NEW)[j] = vector(w, iw, LOWER)[j]
        if step[j] > 0.0 and vector(w, iw, UPPER)[j] - vector(w, iw, X_NEW)[j] <= near:
            vector(w, iw, X_NEW)[j] = vector(w, iw, UPPER)[j]
    keep_inside(vector(w, iw, X_NEW), vector(w, iw, LOWER), vector(w, iw, UPPER), 0, n)
    w[STEP_NORM] = norm(step, n)


@kernel("int(double*, int*)")
def judge(w, iw):
    """Compare the candidate with the model, adapt the box, accept a reduction, test for the end."""
    n = iw[N]
    evaluate_candidate(w, iw)
    step, x = vector(w, iw, STEP), vector(w, iw, X)
    lower, upper = vector(w, iw, LOWER), vector(w, iw, UPPER)
    to_bound = step_to_bound(x, step, lower, upper, n)
    for j in range(n):  # a path to a Gauss-Newton point outside ends at a bound, also where the step zigzags next to it
        if iw[STEP_CUT] == 0 and not lower[j] <= x[j] + vector(w, iw, NEWTON_STEP)[j] <= upper[j]:
            to_bound = 1.0
    measure_step(w, iw, to_bound)
    largest = 0.0
    for j in range(n):
        largest = max(largest, abs(step[j]) * vector(w, iw, SCALING)[j])
    if not w[GAIN_RATIO] >= 0.25:  # Nocedal and Wright 2006, algorithm 4.1
        w[RADIUS] = 0.25 * largest
    elif w[GAIN_RATIO] > 0.75 and iw[STEP_CUT] != 0:
        w[RADIUS] = 2.0 * w[RADIUS]
    code = conclude(w, iw, 1e-300)
    if code % 2 == 1:
        w[X_NORM] = norm(vector(w, iw, X), n)
    return code
