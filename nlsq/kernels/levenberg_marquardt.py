"""Levenberg-Marquardt for dense problems: the steps of one iteration.

At x with residual f and Jacobian J the step minimises ``|J p + f|^2`` either within the ellipsoid ``|D p| <= radius``
(More [1]_) or damped, ``(J'J + lambda D^2) p = -J'f`` (Nielsen [2]_). D holds the largest column norms seen so far, or
the user's scale. The candidate is accepted when the gain ratio exceeds 1e-4.

References
----------
.. [1] J. Moré, "The Levenberg-Marquardt algorithm: implementation and theory", 1978, sections 4-6.
.. [2] H. B. Nielsen, "Damping parameter in Marquardt's method", IMM-REP-1999-05, section 2.
"""

import math

from nlsq.kernels.backend import kernel
from nlsq.kernels.dense import dot, norm
from nlsq.kernels.judgement import conclude, evaluate_candidate, first_radius, measure_step
from nlsq.kernels.layout import (
    ACTUAL_REDUCTION,
    COLUMN_NORM,
    COLUMN_SCALE,
    COSINE,
    COST,
    DAMPING,
    DAMPING_GROWTH,
    DAMPING_NIELSEN,
    DAMPING_POWER,
    DAMPING_RULE,
    DIRECTIONAL_SLOPE,
    EXTRA_DIAGONAL,
    FACTOR,
    FIRST_DAMPING,
    GAIN_RATIO,
    GIVEN_SCALE,
    GRADIENT,
    NIT,
    NJEV,
    OPTIMALITY,
    OPTIMALITY_TOLERANCE,
    PREDICTED_REDUCTION,
    RADIUS,
    REWEIGHTED_NORM,
    SCALED_STEP,
    SCALING,
    STEP,
    STEP_CUT,
    STEP_NORM,
    TRIALS_LEFT,
    TYPICAL,
    WORK_1,
    X_NEW,
    X_NORM,
    N,
    X,
    vector,
)
from nlsq.kernels.quadratic_model import (
    damped_step,
    factorize_model,
    linearise_cost,
    model_reduction,
    step_within_radius,
)
from nlsq.kernels.watchdog import AGAIN, go_back, judge_trial, lost_influence, note_cut, propose_trial
from nlsq.status import Status

BLIND = 1e-15  # of its largest norm: a column of that size is zero
LEAST_INFLUENCE = (
    1e-12  # of a parameter on the residual in the scaling: a column next to zero must not free its parameter
)
LEAST_RATIO = 1e-4  # More 1978, algorithm 7.1
RADIUS_PRECISION = 0.1  # More 1978, section 5
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
    scale_parameters(w, iw)
    if w[COSINE] <= w[OPTIMALITY_TOLERANCE]:
        return OPTIMALITY_REACHED
    factorize_model(w, iw)
    if iw[NJEV] == 1:
        start_damping(w, iw)
    return 0


@kernel("void(double*, int*)")
def scale_parameters(w, iw):
    """D from the column norms unless the scale is the user's; the scaled length of x; optimality."""
    n = iw[N]
    scaling = vector(w, iw, SCALING)
    column_scale = vector(w, iw, COLUMN_SCALE)
    extra = vector(w, iw, EXTRA_DIAGONAL)
    for j in range(n):
        if iw[GIVEN_SCALE] == 0:
            column = vector(w, iw, COLUMN_NORM)[j]
            size = max(abs(vector(w, iw, X)[j]), vector(w, iw, TYPICAL)[j])
            least = LEAST_INFLUENCE * math.sqrt(2.0 * w[COST]) / size if size > 0.0 else 0.0
            scaling[j] = max(scaling[j], column, vector(w, iw, REWEIGHTED_NORM)[j], least)
        if scaling[j] == 0.0:
            column_scale[j] = 1.0
        else:
            column_scale[j] = 1.0 / scaling[j]
        extra[j] = 0.0
    w[X_NORM] = seen_length(w, iw)
    w[OPTIMALITY] = w[COSINE]


@kernel("double(double*, int*)")
def seen_length(w, iw):
    """|D x| over the parameters that the residual still depends on.

    A parameter that ran off to where its column is zero must not make every step of the others look short.
    """
    work = vector(w, iw, WORK_1)
    for j in range(iw[N]):
        seen = vector(w, iw, COLUMN_NORM)[j] > BLIND * vector(w, iw, SCALING)[j]
        work[j] = vector(w, iw, X)[j] / vector(w, iw, COLUMN_SCALE)[j] if seen else 0.0
    return norm(work, iw[N])


@kernel("void(double*, int*)")
def start_damping(w, iw):
    """First radius and first damping."""
    w[RADIUS] = first_radius(w, iw, w[FACTOR] * w[X_NORM] if w[X_NORM] > 0.0 else w[FACTOR])
    if iw[DAMPING_RULE] == DAMPING_NIELSEN:
        largest = 0.0
        for j in range(iw[N]):
            largest = max(largest, vector(w, iw, COLUMN_NORM)[j] * vector(w, iw, COLUMN_SCALE)[j])
        w[DAMPING] = w[FIRST_DAMPING] * largest * largest
        w[DAMPING_GROWTH] = 2.0


@kernel("int(double*, int*)")
def propose(w, iw):
    """Find the step and the candidate; returns 0, or 1 when no step can be computed."""
    if iw[TRIALS_LEFT] != 0:
        propose_trial(w, iw)
        return 0
    if iw[DAMPING_RULE] == DAMPING_NIELSEN:
        if damped_step(w, iw, w[DAMPING]) < 0.0:
            return 1
        w[PREDICTED_REDUCTION] = model_reduction(w, iw, w[DAMPING])
    else:
        step_within_radius(w, iw, RADIUS_PRECISION)
    take_step(w, iw)
    return 0


@kernel("void(double*, int*)")
def take_step(w, iw):
    """Candidate and plain step from the scaled step."""
    n = iw[N]
    step = vector(w, iw, STEP)
    scaled_step = vector(w, iw, SCALED_STEP)
    column_scale = vector(w, iw, COLUMN_SCALE)
    x = vector(w, iw, X)
    x_new = vector(w, iw, X_NEW)
    for j in range(n):
        step[j] = column_scale[j] * scaled_step[j]
        x_new[j] = x[j] + step[j]
    w[STEP_NORM] = norm(scaled_step, n)
    w[DIRECTIONAL_SLOPE] = dot(vector(w, iw, GRADIENT), step, n)
    if iw[NIT] == 0 and iw[DAMPING_RULE] != DAMPING_NIELSEN:
        w[RADIUS] = min(w[RADIUS], w[STEP_NORM])


@kernel("int(double*, int*)")
def judge(w, iw):
    """Compare the candidate with the model, adapt the damping, accept or reject, test for the end."""
    if iw[TRIALS_LEFT] != 0:
        return judge_trial(w, iw)
    evaluate_candidate(w, iw)
    held = iw[DAMPING_RULE] == DAMPING_NIELSEN and iw[STEP_CUT] != 0  # short because of its damping, or a bound
    measure_step(w, iw, 0.0 if held else math.inf)
    if iw[DAMPING_RULE] == DAMPING_NIELSEN:
        _adapt_damping(w, iw[DAMPING_POWER])
    else:
        _adapt_radius(w)
    code = conclude(w, iw, LEAST_RATIO)
    if code % 2 == 1:
        w[X_NORM] = seen_length(w, iw)
    note_cut(w, iw)
    return code


@kernel("void(double*)")
def _adapt_radius(w):
    ratio = w[GAIN_RATIO]
    if not ratio > 0.25:
        shrink = 0.5
        if w[ACTUAL_REDUCTION] < 0.0:
            slope = w[DIRECTIONAL_SLOPE]  # minimum of the parabola through the slope and the actual reduction
            shrink = 0.5 * slope / (slope + w[ACTUAL_REDUCTION]) if w[ACTUAL_REDUCTION] > -math.inf else 0.1
            if not (0.1 <= shrink <= 0.5) or w[ACTUAL_REDUCTION] < -99.0 * w[COST]:
                shrink = 0.1
        w[RADIUS] = shrink * min(w[RADIUS], 10.0 * w[STEP_NORM])
        w[DAMPING] /= shrink
    elif w[DAMPING] == 0.0 or ratio >= 0.75:
        w[RADIUS] = 2.0 * w[STEP_NORM]
        w[DAMPING] *= 0.5


@kernel("void(double*, int)", cold=True)
def _adapt_damping(w, power):
    ratio = w[GAIN_RATIO]
    if ratio > 0.0:
        t = 2.0 * min(ratio, 2.0) - 1.0
        answer = 1.0
        for _ in range(power):
            answer *= t
        w[DAMPING] *= max(1.0 / 3.0, 1.0 - answer)
        w[DAMPING_GROWTH] = 2.0
    else:
        w[DAMPING] *= w[DAMPING_GROWTH]
        w[DAMPING_GROWTH] *= 2.0
    w[RADIUS] = 2.0 * w[STEP_NORM]
