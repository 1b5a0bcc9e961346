"""The watchdog: a few undamped steps on trial where the radius keeps every step short.

In a curved valley a monotone method creeps: each step is cut by the radius, and the radius never grows. Undamped
Gauss-Newton steps often cross such a valley by way of points that cost more. After a run of cut steps the watchdog
saves the point and takes up to `TRIALS` undamped steps, whatever they cost; the first that costs clearly less than the
saved point is kept, otherwise the solve returns to the saved point as if nothing had happened, and waits twice as long
before it tries again [1]_.

References
----------
.. [1] R. Chamberlain, M. Powell, C. Lemarechal, H. Pedersen, "The watchdog technique for forcing convergence in
   algorithms for constrained
   optimization", Math. Programming Study 16, 1982.
"""

import math

from nlsq.kernels.backend import kernel
from nlsq.kernels.bounds import all_finite
from nlsq.kernels.dense import copy, norm
from nlsq.kernels.judgement import evaluate_candidate
from nlsq.kernels.layout import (
    ACCEPTED,
    ACTUAL_REDUCTION,
    COLUMN_NORM,
    COLUMN_SCALE,
    COST,
    COST_NEW,
    CUT_LIMIT,
    CUT_RUN,
    DAMPING,
    GAIN_RATIO,
    INFLUENCE,
    LAST_STEP_NORM,
    NEWTON_STEP,
    NIT,
    RADIUS,
    RESIDUAL,
    RESIDUAL_NEW,
    RETREATS,
    RUN_COST,
    SAFE_COST,
    SAFE_DAMPING,
    SAFE_RADIUS,
    SAFE_RESIDUAL,
    SAFE_SCALING,
    SAFE_X,
    SCALED_STEP,
    SCALING,
    STATUS,
    STEP,
    STEP_CUT,
    STEP_NORM,
    TRIALS_ALLOWED,
    TRIALS_LEFT,
    TYPICAL,
    WORK_1,
    X_NEW,
    M,
    N,
    X,
    residual_vector,
    vector,
)

AGAIN = -1  # what linearise returns when J has to be evaluated at a saved point
FIRST_RUN = 10  # cut steps in a row before the first trial
TRIALS = 3
SLOW = 0.1  # a run in which the cost falls below this share of its start is no creeping
# times the scaled length of the saved point: what lies beyond is an escape, not a crossing (More's first radius)
FARTHEST = 100.0
WORTH_AFAR = 1e-6  # what a point beyond that must reach
BLIND = 1e-6  # influence below which a parameter counts as lost
SEEN = 1e-5  # influence that it must have had before
# relative growth of a parameter that makes it a suspect; a column also vanishes where a residual has its least value
FAR = 0.5
RETREAT = 0.1  # of the step that lost it
MOST_RETREATS = 8  # in a row; then the loss is taken for what the data say
WORTH = 0.9  # of the saved cost: what a trial must reach to be kept


@kernel("void(double*, int*)")
def note_cut(w, iw):
    """Count cut steps in a row; on a long run, from an accepted point, save it and begin a trial."""
    iw[CUT_RUN] = iw[CUT_RUN] + 1 if iw[STEP_CUT] != 0 else 0
    if iw[CUT_LIMIT] == 0:
        iw[CUT_LIMIT] = FIRST_RUN
    if iw[CUT_RUN] <= 1 or w[COST] < SLOW * w[RUN_COST]:  # a run begins, or begins anew after good progress
        w[RUN_COST] = w[COST]
        iw[CUT_RUN] = min(iw[CUT_RUN], 1)
    if iw[CUT_RUN] < iw[CUT_LIMIT] or iw[ACCEPTED] == 0 or iw[STATUS] != 0 or iw[TRIALS_ALLOWED] == 0:
        return
    n = iw[N]
    copy(vector(w, iw, X), vector(w, iw, SAFE_X), n)
    copy(vector(w, iw, SCALING), vector(w, iw, SAFE_SCALING), n)
    copy(residual_vector(w, iw, RESIDUAL), residual_vector(w, iw, SAFE_RESIDUAL), iw[M])
    w[SAFE_COST], w[SAFE_RADIUS], w[SAFE_DAMPING] = w[COST], w[RADIUS], w[DAMPING]
    iw[TRIALS_LEFT] = TRIALS


@kernel("void(double*, int*)", cold=True)
def go_back(w, iw):
    """Return to the saved point; the Jacobian there has to be evaluated again."""
    n = iw[N]
    copy(vector(w, iw, SAFE_X), vector(w, iw, X), n)
    copy(vector(w, iw, SAFE_SCALING), vector(w, iw, SCALING), n)
    copy(residual_vector(w, iw, SAFE_RESIDUAL), residual_vector(w, iw, RESIDUAL), iw[M])
    w[COST], w[RADIUS], w[DAMPING] = w[SAFE_COST], w[SAFE_RADIUS], w[SAFE_DAMPING]
    iw[TRIALS_LEFT] = 0
    iw[CUT_RUN] = 0
    iw[CUT_LIMIT] = 2 * iw[CUT_LIMIT]


@kernel("void(double*, int*)", cold=True)
def propose_trial(w, iw):
    """Candidate of an undamped step."""
    n = iw[N]
    copy(vector(w, iw, NEWTON_STEP), vector(w, iw, SCALED_STEP), n)
    for j in range(n):
        vector(w, iw, STEP)[j] = vector(w, iw, COLUMN_SCALE)[j] * vector(w, iw, NEWTON_STEP)[j]
        vector(w, iw, X_NEW)[j] = vector(w, iw, X)[j] + vector(w, iw, STEP)[j]
    w[STEP_NORM] = norm(vector(w, iw, NEWTON_STEP), n)


@kernel("int(double*, int*)", cold=True)
def judge_trial(w, iw):
    """Keep the candidate, go on from it, or go back; always 1: the Jacobian is needed at the new x."""
    evaluate_candidate(w, iw)
    n = iw[N]
    iw[TRIALS_LEFT] -= 1
    iw[STATUS] = 0
    iw[ACCEPTED] = 0
    w[GAIN_RATIO] = 0.0
    work = vector(w, iw, WORK_1)
    for j in range(n):
        work[j] = vector(w, iw, X_NEW)[j] / vector(w, iw, COLUMN_SCALE)[j]
    length = norm(work, n)
    for j in range(n):
        work[j] = vector(w, iw, SAFE_X)[j] / vector(w, iw, COLUMN_SCALE)[j]
    worth = WORTH if length <= FARTHEST * norm(work, n) else WORTH_AFAR
    kept = w[COST_NEW] <= worth * w[SAFE_COST]
    if not kept and (iw[TRIALS_LEFT] == 0 or w[COST_NEW] == math.inf or all_finite(vector(w, iw, X_NEW), n) == 0):
        go_back(w, iw)
        return 1
    copy(vector(w, iw, X_NEW), vector(w, iw, X), n)
    copy(residual_vector(w, iw, RESIDUAL_NEW), residual_vector(w, iw, RESIDUAL), iw[M])
    w[COST] = w[COST_NEW]
    if kept:
        w[ACTUAL_REDUCTION] = w[SAFE_COST] - w[COST]
        w[RADIUS], w[DAMPING] = 2.0 * w[STEP_NORM], 0.0
        w[LAST_STEP_NORM] = w[STEP_NORM]
        iw[TRIALS_LEFT] = 0
        iw[CUT_RUN] = 0
        iw[CUT_LIMIT] = FIRST_RUN
        iw[ACCEPTED] = 1
        iw[NIT] += 1
    return 1


@kernel("int(double*, int*)")
def lost_influence(w, iw):
    """Say whether the last accepted step made the residual blind to a parameter that it depended on; goes back if so.

    The influence of parameter j is ``|J_j| max(|x_j|, t_j) / |f|``, t_j its typical size. Where it is gone the gradient
    is gone too, and no later step can bring the parameter back, provided that others are still seen and this one has
    moved far out: an exponential that has decayed before the first point, a peak that has left the data.
    """
    n = iw[N]
    influence = vector(w, iw, INFLUENCE)
    size = math.sqrt(2.0 * w[COST])
    lost = 0
    others = 0
    for j in range(n):
        before, after = abs(vector(w, iw, SAFE_X)[j]), abs(vector(w, iw, X)[j])
        now = vector(w, iw, COLUMN_NORM)[j] * max(after, vector(w, iw, TYPICAL)[j])
        if now >= BLIND * size:
            others = 1
        elif influence[j] >= SEEN and after - before > FAR * before:
            lost = 1
    lost *= others
    if lost != 0 and iw[RETREATS] < MOST_RETREATS and iw[TRIALS_LEFT] == 0:
        iw[RETREATS] += 1
        w[SAFE_RADIUS], w[SAFE_DAMPING] = RETREAT * w[STEP_NORM], w[DAMPING]
        limit = iw[CUT_LIMIT]
        go_back(w, iw)
        iw[CUT_LIMIT] = limit
        return 1
    iw[RETREATS] = 0
    for j in range(n):
        now = vector(w, iw, COLUMN_NORM)[j] * max(abs(vector(w, iw, X)[j]), vector(w, iw, TYPICAL)[j])
        influence[j] = now / size if size > 0.0 else math.inf
    return 0
