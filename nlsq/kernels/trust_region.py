"""Trust-region reflective method for bounds: the steps of one iteration.

The bounds enter through the scaling of Coleman and Li: v_j is the distance to the bound that the negative gradient
points at, 1 where that bound is infinite. In the variables ``x = S y``, ``S = scale * v^(1/2)``, first-order optimality
is ``S J'f = 0`` and the model's Hessian gains the diagonal ``C = scale * |g| * |dv/dx|``. The step is the best of three
by the model: the trust-region step cut at the first bound, the same reflected there, and the steepest descent [1]_.

Without finite bounds v = 1, C = 0, and this is a plain trust-region method in a sphere of scaled variables.

References
----------
.. [1] M. A. Branch, T. F. Coleman, Y. Li, "A subspace, interior, and conjugate gradient method for large-scale
   bound-constrained minimization
   problems", SIAM J. Sci. Comput. 21, 1999.
.. [2] J. Nocedal, S. Wright, "Numerical Optimization", 2nd ed., 2006, chapter 4.
"""

import math

from nlsq.kernels.backend import kernel
from nlsq.kernels.bounds import keep_inside, step_to_bound
from nlsq.kernels.dense import dot, norm
from nlsq.kernels.judgement import conclude, evaluate_candidate, first_radius, measure_step, still_promising
from nlsq.kernels.layout import (
    CHOICE_1,
    CHOICE_2,
    CHOICE_3,
    COLUMN_NORM,
    COLUMN_SCALE,
    COSINE,
    COST,
    DAMPING,
    DIRECTIONAL_SLOPE,
    EXTRA_DIAGONAL,
    GAIN_RATIO,
    GIVEN_SCALE,
    GRADIENT,
    HAS_BOUNDS,
    LOWER,
    NJEV,
    OPTIMALITY,
    OPTIMALITY_TOLERANCE,
    PREDICTED_REDUCTION,
    RADIUS,
    REWEIGHTED_NORM,
    RULE,
    RULE_SCIPY,
    SCALED_GRADIENT,
    SCALED_STEP,
    SCALING,
    STEP,
    STEP_CUT,
    STEP_NORM,
    THETA,
    TRIALS_LEFT,
    UPPER,
    WORK_1,
    WORK_2,
    X_NEW,
    X_NORM,
    N,
    X,
    vector,
)
from nlsq.kernels.quadratic_model import factorize_model, linearise_cost, model_curvature, step_within_radius
from nlsq.kernels.watchdog import AGAIN, go_back, judge_trial, lost_influence, note_cut, propose_trial
from nlsq.status import Status

RADIUS_PRECISION = 0.01
LEAST_THETA = 0.995  # Branch, Coleman, Li 1999
NONFINITE_JACOBIAN = int(Status.NONFINITE_JACOBIAN)
OPTIMALITY_REACHED = int(Status.OPTIMALITY)


@kernel("int(double*, int*)")
def linearise(w, iw):
    """Take in r and J at x; returns a status, 0 to go on, -1 to evaluate J again (back at a saved point)."""
    status = _linearise(w, iw)
    if status != 0 and iw[TRIALS_LEFT] != 0:
        go_back(w, iw)
        return AGAIN
    return status


@kernel("int(double*, int*)")
def _linearise(w, iw):
    if linearise_cost(w, iw) != 0:
        return NONFINITE_JACOBIAN
    if lost_influence(w, iw) != 0:
        return AGAIN
    update_scaling(w, iw)
    small = scale_variables(w, iw)
    factorize_model(w, iw)
    if small != 0 and still_promising(w, iw) == 0:
        return OPTIMALITY_REACHED
    if iw[NJEV] == 1:
        start_radius(w, iw)
    return 0


@kernel("void(double*, int*)")
def update_scaling(w, iw):
    """D: largest column norms seen so far (1 for a zero column), unless the scale is the user's."""
    n = iw[N]
    scaling = vector(w, iw, SCALING)
    if iw[GIVEN_SCALE] == 0:
        for j in range(n):
            column = max(vector(w, iw, COLUMN_NORM)[j], vector(w, iw, REWEIGHTED_NORM)[j])
            if iw[NJEV] == 1 or scaling[j] == 0.0:
                scaling[j] = column if column > 0.0 else 1.0
            else:
                scaling[j] = max(scaling[j], column)


@kernel("int(double*, int*)")
def scale_variables(w, iw):
    """Coleman-Li scaling S, its diagonal C, optimality and theta; 1 when the optimality is below its tolerance."""
    n = iw[N]
    x, gradient = vector(w, iw, X), vector(w, iw, GRADIENT)
    lower, upper = vector(w, iw, LOWER), vector(w, iw, UPPER)
    scaling = vector(w, iw, SCALING)
    column_scale, extra = vector(w, iw, COLUMN_SCALE), vector(w, iw, EXTRA_DIAGONAL)
    largest = 0.0
    cosine = 0.0
    size = math.sqrt(2.0 * w[COST])
    for j in range(n):
        scale = 1.0 / scaling[j]
        distance = math.inf
        if gradient[j] < 0.0:
            distance = upper[j] - x[j]
        elif gradient[j] > 0.0:
            distance = x[j] - lower[j]
        if lower[j] == upper[j]:
            distance = 0.0
        if distance < math.inf:
            largest = max(largest, abs(gradient[j]) * distance)
            column_scale[j] = math.sqrt(distance * scaling[j]) * scale
            extra[j] = abs(gradient[j]) * scale if distance > 0.0 else 1.0
        else:
            largest = max(largest, abs(gradient[j]))
            column_scale[j] = scale
            extra[j] = 0.0
        column = vector(w, iw, COLUMN_NORM)[j]
        if column > 0.0 and size > 0.0:
            # at a bound the gradient may point outwards: what counts is the move it asks for, cut at the bound
            move = min(abs(gradient[j]) / column, distance * column)
            cosine = max(cosine, move / size)
    w[COSINE] = cosine
    w[THETA] = max(LEAST_THETA, 1.0 - largest)
    w[OPTIMALITY] = largest if iw[RULE] == RULE_SCIPY else cosine
    w[X_NORM] = norm(x, n)
    return 1 if w[OPTIMALITY] < w[OPTIMALITY_TOLERANCE] or w[COST] == 0.0 else 0


@kernel("void(double*, int*)")
def start_radius(w, iw):
    """First radius: the scaled length of the start, 1 if that is 0."""
    n = iw[N]
    work = vector(w, iw, WORK_1)
    for j in range(n):
        work[j] = vector(w, iw, X)[j] / vector(w, iw, COLUMN_SCALE)[j]
    length = norm(work, n)
    if not length < math.inf:
        length = 0.0
    w[RADIUS] = first_radius(w, iw, length if length > 0.0 else 1.0)


@kernel("int(double*, int*)")
def propose(w, iw):
    """Find the trust-region step, then the step that the bounds leave of it."""
    if iw[TRIALS_LEFT] != 0:
        propose_trial(w, iw)
        return 0
    step_within_radius(w, iw, RADIUS_PRECISION)
    if iw[STEP_CUT] != 0:
        end_on_sphere(w, iw)
    directions(w, iw)
    if iw[HAS_BOUNDS] != 0:
        step, other = vector(w, iw, CHOICE_1), vector(w, iw, CHOICE_2)
        descent = vector(w, iw, CHOICE_3)
        along, across = model_curvature(w, iw, step, step), model_curvature(w, iw, step, other)
        back, down = model_curvature(w, iw, other, other), model_curvature(w, iw, descent, descent)
        choose_step(w, iw, along, across, back, down)
    take_step(w, iw)
    return 0


@kernel("void(double*, int*)")
def end_on_sphere(w, iw):
    """Stretch a cut step to the radius exactly."""
    n = iw[N]
    step = vector(w, iw, SCALED_STEP)
    length = norm(step, n)
    if length > 0.0:
        for j in range(n):
            step[j] *= w[RADIUS] / length
        slope = dot(vector(w, iw, SCALED_GRADIENT), step, n)
        w[PREDICTED_REDUCTION] = -slope - 0.5 * model_curvature(w, iw, step, step)


@kernel("void(double*, int*)")
def directions(w, iw):
    """Scaled directions to choose from: CHOICE_1 the step up to the first bound, CHOICE_2 its reflection there.

    CHOICE_3 steepest descent.
    """
    n = iw[N]
    step = vector(w, iw, SCALED_STEP)
    scale = vector(w, iw, COLUMN_SCALE)
    first, reflected, descent = vector(w, iw, CHOICE_1), vector(w, iw, CHOICE_2), vector(w, iw, CHOICE_3)
    plain = vector(w, iw, WORK_1)
    x, lower, upper = vector(w, iw, X), vector(w, iw, LOWER), vector(w, iw, UPPER)
    for j in range(n):
        plain[j] = scale[j] * step[j]
        descent[j] = -vector(w, iw, SCALED_GRADIENT)[j]
    to_bound = min(step_to_bound(x, plain, lower, upper, n), 1.0)
    for j in range(n):
        first[j] = to_bound * step[j]
        reflected[j] = step[j]
        if to_bound < 1.0 and plain[j] != 0.0:
            limit = upper[j] if plain[j] > 0.0 else lower[j]
            if (limit - x[j]) / plain[j] <= to_bound:
                reflected[j] = -step[j]


@kernel("double(double*, double*, double, int)")
def to_sphere(start, direction, radius, n):
    """Positive t with |start + t direction| = radius; 0 when the start is outside."""
    a = dot(direction, direction, n)
    b = dot(start, direction, n)
    c = dot(start, start, n) - radius * radius
    if a == 0.0 or c > 0.0:
        return 0.0
    root = math.sqrt(b * b - a * c)
    return -c / (b + root) if b > 0.0 else (root - b) / a


@kernel("double(double, double, double, double)")
def minimise_parabola(curvature, slope, low, high):
    """Minimiser of 1/2 curvature t^2 + slope t in [low, high]."""
    at_low = (0.5 * curvature * low + slope) * low
    at_high = (0.5 * curvature * high + slope) * high
    best = low if at_low <= at_high else high
    if curvature > 0.0:
        t = -slope / curvature
        if low < t < high:
            best = t
    return best


@kernel("void(double*, int*, double, double, double, double)")
def choose_step(w, iw, first_first, first_other, other_other, descent_descent):
    """Best of the three by the model, given the curvatures a'Ba between the directions.

    SCALED_STEP and the prediction are replaced.
    """
    n = iw[N]
    x, lower, upper = vector(w, iw, X), vector(w, iw, LOWER), vector(w, iw, UPPER)
    scale, step = vector(w, iw, COLUMN_SCALE), vector(w, iw, SCALED_STEP)
    gradient = vector(w, iw, SCALED_GRADIENT)
    first, reflected, descent = vector(w, iw, CHOICE_1), vector(w, iw, CHOICE_2), vector(w, iw, CHOICE_3)
    plain, at_bound = vector(w, iw, WORK_1), vector(w, iw, WORK_2)
    theta = w[THETA]
    stride = 1.0
    for j in range(n):
        plain[j] = scale[j] * step[j]
    stride = step_to_bound(x, plain, lower, upper, n)
    if stride > 1.0:  # the whole step is inside
        return
    for j in range(n):
        at_bound[j] = min(max(x[j] + scale[j] * first[j], lower[j]), upper[j])
        plain[j] = scale[j] * reflected[j]
    slope_first = dot(gradient, first, n)
    # reflection: from the bound into the box, within the sphere
    to_bound = step_to_bound(at_bound, plain, lower, upper, n)
    radius_left = to_sphere(first, reflected, w[RADIUS], n)
    reach = min(to_bound, radius_left)
    best_reflected = math.inf
    t_reflected = 0.0
    if reach > 0.0:
        low = (1.0 - theta) * stride / reach
        high = theta * to_bound if to_bound <= radius_left else radius_left
        if low <= high:
            slope = dot(gradient, reflected, n)
            t_reflected = minimise_parabola(other_other, slope + first_other, low, high)
            best_reflected = slope_first + 0.5 * first_first
            best_reflected += t_reflected * (slope + first_other + 0.5 * t_reflected * other_other)
    best_first = theta * (slope_first + 0.5 * theta * first_first)
    for j in range(n):
        plain[j] = scale[j] * descent[j]
    length = norm(descent, n)
    to_bound = step_to_bound(x, plain, lower, upper, n)
    reach = w[RADIUS] / length if length > 0.0 else 0.0
    if to_bound < reach:
        reach = theta * to_bound
    t_descent = minimise_parabola(descent_descent, -length * length, 0.0, reach)
    best_descent = t_descent * (0.5 * t_descent * descent_descent - length * length)
    if best_first <= best_reflected and best_first <= best_descent:
        for j in range(n):
            step[j] = theta * first[j]
        w[PREDICTED_REDUCTION] = -best_first
    elif best_reflected <= best_descent:
        for j in range(n):
            step[j] = first[j] + t_reflected * reflected[j]
        w[PREDICTED_REDUCTION] = -best_reflected
    else:
        for j in range(n):
            step[j] = t_descent * descent[j]
        w[PREDICTED_REDUCTION] = -best_descent


@kernel("void(double*, int*)")
def take_step(w, iw):
    """Candidate and plain step from the scaled step."""
    n = iw[N]
    x, x_new, step = vector(w, iw, X), vector(w, iw, X_NEW), vector(w, iw, STEP)
    for j in range(n):
        step[j] = vector(w, iw, COLUMN_SCALE)[j] * vector(w, iw, SCALED_STEP)[j]
        x_new[j] = x[j] + step[j]
    if iw[HAS_BOUNDS] != 0:
        keep_inside(x_new, vector(w, iw, LOWER), vector(w, iw, UPPER), 1, n)
    w[STEP_NORM] = norm(step, n)
    w[DIRECTIONAL_SLOPE] = dot(vector(w, iw, GRADIENT), step, n)


@kernel("int(double*, int*)")
def judge(w, iw):
    """Compare the candidate with the model, adapt the radius, accept a reduction, test for the end."""
    if iw[TRIALS_LEFT] != 0:
        return judge_trial(w, iw)
    n = iw[N]
    evaluate_candidate(w, iw)
    step, scaled = vector(w, iw, STEP), vector(w, iw, SCALED_STEP)
    to_bound = math.inf
    if iw[HAS_BOUNDS] != 0:
        to_bound = step_to_bound(vector(w, iw, X), step, vector(w, iw, LOWER), vector(w, iw, UPPER), n)
    measure_step(w, iw, to_bound)
    length = norm(scaled, n)
    ratio = w[GAIN_RATIO]
    before = w[RADIUS]
    if not ratio >= 0.25:  # Nocedal and Wright 2006, algorithm 4.1
        w[RADIUS] = 0.25 * length
    elif ratio > 0.75 and length > 0.95 * before:
        w[RADIUS] = 2.0 * before
    if w[RADIUS] > 0.0:
        w[DAMPING] *= before / w[RADIUS]
    code = conclude(w, iw, 1e-300)
    if code % 2 == 1:
        w[X_NORM] = norm(vector(w, iw, X), n)
    note_cut(w, iw)
    return code
