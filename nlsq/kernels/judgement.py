"""What a tried step says: gain ratio, how far the minimum along the step lies, and the tests that end a solve.

Let ``a`` be the actual reduction of the cost by a step p, ``l = -g'p`` what the slope alone promises and ``s = a / l``.
A parabola through both has its minimum at ``t = 1 / (2 (1 - s))`` steps from the start: 1 for a full Newton step (s =
1/2), without end for a cost that falls as steeply as at the start (s >= 1). This *extent* tells a step that is short
because the minimum is near from one that the radius cut short; a step that ends at a bound has no extent of its own. A
cost change counts as convergence only if the reduction left along the whole extent,

    a_full = l (t - (1 - s) t^2),

or the reduction that the undamped model promises, is below the tolerance too; a step only if t times its length is.
"""

import math

from nlsq.kernels.backend import kernel
from nlsq.kernels.bounds import all_finite
from nlsq.kernels.dense import copy, dot, norm
from nlsq.kernels.layout import (
    ACCEPTED,
    ACTUAL_REDUCTION,
    CONTRACTION,
    COSINE,
    COST,
    COST_NEW,
    COST_TOLERANCE,
    DIRECTIONAL_SLOPE,
    EXTENT,
    FULL_PREDICTED_REDUCTION,
    GAIN_RATIO,
    LAST_STEP_NORM,
    LOSS,
    LOSS_SCALE,
    NIT,
    PREDICTED_REDUCTION,
    RESIDUAL,
    RESIDUAL_NEW,
    RULE,
    RULE_CERES,
    RULE_MINPACK,
    RULE_NATIVE,
    RULE_SCIPY,
    SAFE_COST,
    SAFE_RESIDUAL,
    SAFE_SCALING,
    SAFE_X,
    SCALED_GRADIENT,
    SCALING,
    STATUS,
    STEP_CUT,
    STEP_NORM,
    STEP_TOLERANCE,
    X_NEW,
    X_NORM,
    M,
    N,
    X,
    residual_vector,
    vector,
)
from nlsq.kernels.robust import ARCTAN, LINEAR, robust_cost
from nlsq.status import Status

EPS = 2.220446049250313e-16
COST_CHANGE = int(Status.COST_CHANGE)
STEP_SMALL = int(Status.STEP)
COST_AND_STEP = int(Status.COST_AND_STEP)
COST_FLOOR = int(Status.COST_FLOOR)
STEP_FLOOR = int(Status.STEP_FLOOR)
STALLED = int(Status.STALLED)
NOISE = 1e-15  # relative rounding of a cost that is summed from differences of residuals
AT_BOUND = 1.01  # reflective steps stop at 0.995 of the way
PROMISE = 1e-8
REST = 30.0  # what the next steps would still add, in units of the tolerance: 4.5e-7 of x at 1.5e-8, six digits
FAR_FROM_ORTHOGONAL = 1e-3
LEAST_MOVE = 2e-14  # relative, about a hundred units in the last place: what a shorter step does is rounding
SETTLED = 0.5  # a step that still takes away more of the cost than this is no sign of convergence, however short
MEASURABLE = 1.5e-8  # sqrt(eps): a first step must promise this share of the cost, or rounding hides what it did


@kernel("void(double*, int*)")
def evaluate_candidate(w, iw):
    """Cost of the candidate and the actual reduction.

    Differences of residuals keep digits that a difference of costs loses.
    """
    m = iw[M]
    old = residual_vector(w, iw, RESIDUAL)
    new = residual_vector(w, iw, RESIDUAL_NEW)
    if iw[LOSS] == LINEAR:
        w[COST_NEW] = 0.5 * dot(new, new, m)
    elif iw[LOSS] > 0:
        w[COST_NEW] = robust_cost(new, m, iw[LOSS], w[LOSS_SCALE])
    w[ACTUAL_REDUCTION] = w[COST] - w[COST_NEW]
    if iw[LOSS] == LINEAR and w[COST_NEW] < 1e290:
        total = 0.0
        for i in range(m):
            total += (old[i] - new[i]) * (old[i] + new[i])
        w[ACTUAL_REDUCTION] = 0.5 * total
    bounded_loss = iw[LOSS] == ARCTAN or iw[LOSS] < 0  # may hide that a residual is infinite
    if not w[COST_NEW] < math.inf or (bounded_loss and all_finite(new, m) == 0):
        w[COST_NEW] = math.inf
        w[ACTUAL_REDUCTION] = -math.inf


@kernel("void(double*, int*, double)")
def measure_step(w, iw, to_bound):
    """Gain ratio (-1 where it cannot be told) and extent of the step.

    A step that ends at a bound (`to_bound` near 1) has no end.
    """
    actual, predicted, slope = w[ACTUAL_REDUCTION], w[PREDICTED_REDUCTION], w[DIRECTIONAL_SLOPE]
    w[GAIN_RATIO] = -1.0
    if predicted > 0.0 and actual > -math.inf:
        w[GAIN_RATIO] = actual / predicted
    if abs(actual) <= NOISE * w[COST] and 0.0 <= predicted <= NOISE * w[COST]:
        w[GAIN_RATIO] = 1.0  # rounding hides what the step did: the model has the say
    w[EXTENT] = 1.0
    if slope < -10.0 * EPS * w[COST] and actual > -math.inf:
        share = -actual / slope
        w[EXTENT] = 0.5 / (1.0 - share) if share < 1.0 else math.inf
        w[EXTENT] = max(1.0, w[EXTENT])
    if to_bound <= AT_BOUND:
        w[EXTENT] = math.inf


@kernel("double(double*)")
def reduction_left(w):
    """Largest reduction that the step's direction or the undamped model still offer, whichever is less."""
    slope, extent = -w[DIRECTIONAL_SLOPE], w[EXTENT]
    along = w[ACTUAL_REDUCTION]
    if slope > 0.0 and extent > 1.0:
        if extent == math.inf:
            along = math.inf
        else:
            share = w[ACTUAL_REDUCTION] / slope
            along = slope * (extent - (1.0 - share) * extent * extent)
    return min(max(along, w[ACTUAL_REDUCTION]), max(w[FULL_PREDICTED_REDUCTION], w[PREDICTED_REDUCTION]))


@kernel("double(double*)")
def step_left(w):
    """Distance that is left after this step if the following ones shrink as this one did.

    Q / (1 - q) times its length.
    """
    q = w[STEP_NORM] / w[LAST_STEP_NORM]
    if not q < math.inf:
        q = 0.5
    if q >= 1.0:
        return 0.0
    return q / (1.0 - q) * w[STEP_NORM]


@kernel("int(double*, int*)")
def convergence(w, iw):
    """Test cost and step; returns a status, 0 to go on."""
    cost, actual, predicted = w[COST], w[ACTUAL_REDUCTION], w[PREDICTED_REDUCTION]
    ratio = w[GAIN_RATIO]
    if iw[RULE] == RULE_SCIPY:
        cost_small = actual < w[COST_TOLERANCE] * cost and ratio > 0.25
        step_limit = w[STEP_TOLERANCE] * (w[STEP_TOLERANCE] + w[X_NORM])
    else:
        cost_small = abs(actual) <= w[COST_TOLERANCE] * cost and predicted <= w[COST_TOLERANCE] * cost and ratio <= 2.0
        step_limit = w[STEP_TOLERANCE] * w[X_NORM]
    if w[COST_NEW] == math.inf:  # short steps into undefined regions are no convergence
        return STALLED if w[STEP_NORM] <= max(step_limit, EPS * w[X_NORM]) else 0
    growing = iw[STEP_CUT] != 0 and ratio >= 0.75 and w[FULL_PREDICTED_REDUCTION] > w[COST_TOLERANCE] * cost
    if iw[RULE] == RULE_CERES:  # what the last step did decides, whatever the next ones may do
        cost_small = abs(actual) <= w[COST_TOLERANCE] * cost and ratio > 0.0 and not growing
        if cost_small:
            return COST_CHANGE
    tolerance = max(w[STEP_TOLERANCE], w[COST_TOLERANCE])
    cost_small = cost_small and not growing and reduction_left(w) <= w[COST_TOLERANCE] * cost
    cost_small = cost_small and step_left(w) <= REST * tolerance * w[X_NORM]
    step_small = (
        w[EXTENT] * w[STEP_NORM] <= step_limit and w[STEP_TOLERANCE] > 0.0 and actual <= SETTLED * cost and not growing
    )
    floor = abs(actual) <= EPS * cost and predicted <= EPS * cost and ratio <= 2.0 and w[EXTENT] < math.inf
    if (w[COST_NEW] == 0.0 and ratio > 0.0) or (floor and w[COST_TOLERANCE] >= EPS):
        cost_small = True
    if cost_small and step_small:
        return COST_AND_STEP
    if cost_small:
        return COST_CHANGE
    if step_small:
        # nothing was ever gained, far from orthogonality: more likely the derivative is wrong than the start a minimum
        hopeless = iw[RULE] == RULE_NATIVE and iw[NIT] == 0 and ratio <= 0.0 and w[COSINE] > FAR_FROM_ORTHOGONAL
        hopeless = hopeless and w[STEP_NORM] > LEAST_MOVE * w[X_NORM]  # not at a start that solves it to rounding
        return STALLED if hopeless else STEP_SMALL
    if iw[RULE] == RULE_SCIPY:
        return 0
    if floor:
        return COST_FLOOR
    if w[STEP_NORM] <= EPS * w[X_NORM] and w[EXTENT] < math.inf:
        return STEP_SMALL if w[EXTENT] * w[STEP_NORM] <= step_limit and not growing else STEP_FLOOR
    return 0


@kernel("int(double*, int*, double)")
def conclude(w, iw, least_ratio):
    """Move to the candidate if the gain ratio is large enough, then test.

    Returns 1 for an accepted step, plus 2 for a stop.
    """
    status = convergence(w, iw)
    accepted = w[GAIN_RATIO] >= least_ratio and w[COST_NEW] < math.inf
    if accepted:
        n = iw[N]
        copy(vector(w, iw, X), vector(w, iw, SAFE_X), n)
        copy(vector(w, iw, SCALING), vector(w, iw, SAFE_SCALING), n)
        copy(residual_vector(w, iw, RESIDUAL), residual_vector(w, iw, SAFE_RESIDUAL), iw[M])
        w[SAFE_COST] = w[COST]
        copy(vector(w, iw, X_NEW), vector(w, iw, X), iw[N])
        copy(residual_vector(w, iw, RESIDUAL_NEW), residual_vector(w, iw, RESIDUAL), iw[M])
        w[COST] = w[COST_NEW]
        w[CONTRACTION] = w[STEP_NORM] / w[LAST_STEP_NORM]
        w[LAST_STEP_NORM] = w[STEP_NORM]
        iw[NIT] += 1
    iw[ACCEPTED] = 1 if accepted else 0
    iw[STATUS] = status
    return (1 if accepted else 0) + (2 if status != 0 else 0)


@kernel("double(double*, int*, double)")
def first_radius(w, iw, proposed):
    """Take the proposed first radius, but no smaller than what changes the cost measurably."""
    slope = norm(vector(w, iw, SCALED_GRADIENT), iw[N])
    least = MEASURABLE * w[COST] / slope if slope > 0.0 else 0.0
    return max(proposed, least) if least < math.inf else proposed


@kernel("int(double*, int*)")
def still_promising(w, iw):
    """Say whether a small gradient hides a way down, as one in SciPy's absolute measure, or of ill-conditioned J, may.

    The undamped step promises more than `PROMISE` of the cost, and the last step (if there was one) shows that its
    promises can be trusted. So residuals in small units do not end a solve where it began.
    """
    if iw[RULE] == RULE_MINPACK or w[COST] == 0.0:
        return 0
    trusted = iw[NIT] == 0 or w[GAIN_RATIO] >= 0.75
    return 1 if trusted and w[FULL_PREDICTED_REDUCTION] > PROMISE * w[COST] else 0
