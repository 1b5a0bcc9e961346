"""The loop of the interior-point method: five steps an iteration [1]_.

    check convergence                  E_0 small?
    update the barrier                 E_mu small: lower mu
    compute the search direction       Newton's step for the barrier problem, with the right inertia
    find an acceptable trial point     filter, second-order corrections; restoration where there is none
    accept it                          multipliers, derivatives

References
----------
.. [1] A. Waechter, L. T. Biegler, "On the implementation of an interior-point filter line-search algorithm for
   large-scale nonlinear programming", Mathematical Programming 106, 2006, Algorithm A.
"""

from nlsq.kernels.backend import kernel, shift
from nlsq.kernels.interior_point.acceptance import accept_trial_point
from nlsq.kernels.interior_point.barrier import update_barrier
from nlsq.kernels.interior_point.certificate import INFEASIBLE, NO_ITERATIONS, RESTORED, UNDEFINED
from nlsq.kernels.interior_point.certificate import NO_EVALUATIONS as OUT_OF_EVALUATIONS
from nlsq.kernels.interior_point.direction import compute_search_direction
from nlsq.kernels.interior_point.layout import (
    ACCEPTABLE_COUNT,
    ACCEPTABLE_TOLERANCE,
    COMPLEMENTARITY,
    COST,
    COST_SCALE,
    DAMPING,
    DUAL_SCALE,
    ERROR,
    EXTRA,
    FILTER_SIZE,
    FIRST_COST,
    GRADIENT_BOUND,
    KIND,
    LAST_COST,
    LAST_VIOLATION,
    LONG_SEARCHES,
    MAX_ITERATIONS,
    MC,
    NIT,
    NJEV,
    RESTARTS,
    ROUGH,
    ROW_SCALE,
    STATUS,
    STUCK,
    TINY_STEPS,
    TOLERANCE,
    TRIALS,
    USED_HESSIAN,
    USER_DUAL_ERROR,
    USER_VIOLATION,
    VIOLATION,
    VIOLATION_SMALL,
    VIOLATION_TOLERANCE,
    WARM,
    N,
    Z,
)
from nlsq.kernels.interior_point.line_search import (
    ACCEPTED,
    LETTER_F,
    LETTER_S_F,
    NO_EVALUATIONS,
    augment_filter,
    find_acceptable_trial_point,
)
from nlsq.kernels.interior_point.restoration import end_restoration, restore_feasibility
from nlsq.kernels.interior_point.start import start
from nlsq.status import Status

ACCEPTABLE_ITERATIONS = 15
ACCEPTABLE_VIOLATION = 1e-6
EXTRA_ITERATIONS = 12
CLOSE = 1e-4  # dual infeasibility that is left to rounding, as the problem was given
FALLING, LITTLE, NOTHING = 0.5, 1e-6, 1e-15  # of the last cost; of the first one
DUAL_TOLERANCE, RELATIVE = 1e-6, 1e-6  # of what is not scaled; its size beyond which that is relative
DIVERGED = 1e20
SAME, LONG_SEARCH, STUCK_MOST = 1e-11, 6, 8
RESTARTS_MOST, LONG_SEARCHES_MOST = 3, 5
ROUGH_MOST = 3  # long line searches, or acceptable points, in a row before finer derivatives are asked for
STALE = 1e-2  # scale of cost or constraint, that may be another one elsewhere
DAMPING_GROWTH, FIRST_DAMPING, MOST_DAMPING = 10.0, 1e-3, 1e12
OPTIMALITY, ACCEPTABLE = int(Status.OPTIMALITY), int(Status.ACCEPTABLE)
STALLED, LIMIT, ITERATIONS = int(Status.STALLED), int(Status.MAX_EVALUATIONS), int(Status.MAX_ITERATIONS)
LOCALLY_INFEASIBLE, RESTORATION_FAILED = int(Status.LOCALLY_INFEASIBLE), int(Status.RESTORATION_FAILED)
NONFINITE_JACOBIAN, DIVERGING, KKT_FAILED = (
    int(Status.NONFINITE_JACOBIAN),
    int(Status.DIVERGING),
    int(Status.KKT_FAILED),
)


@kernel("int(double*, int*)")
def is_exact(w, iw):
    """Whether a point that is optimal as the problem is scaled is so as it was given, and its cost has settled.

    A cost that still falls to nothing has not: an ill-conditioned problem with residuals of zero is flat near its
    solution.
    """
    scale, tolerance = w[COST_SCALE], max(DUAL_TOLERANCE, 100.0 * w[TOLERANCE])
    largest = tolerance * max(1.0, RELATIVE * w[GRADIENT_BOUND] / scale)
    if w[USER_VIOLATION] > w[VIOLATION_TOLERANCE] or w[USER_DUAL_ERROR] > largest:
        return 0
    if w[COMPLEMENTARITY] > tolerance * max(scale, RELATIVE * w[COST]):
        return 0
    small = NOTHING * w[FIRST_COST] < w[COST] < LITTLE * w[FIRST_COST]
    falls = small and w[COST] < FALLING * w[LAST_COST]
    return 0 if falls and iw[NIT] > 0 else 1


@kernel("int(double*)")
def is_acceptable(w):
    """Whether a point at which progress ends has converged to the acceptable level."""
    small = w[ERROR] <= w[ACCEPTABLE_TOLERANCE]
    return 1 if small and w[USER_VIOLATION] <= max(ACCEPTABLE_VIOLATION, w[VIOLATION_TOLERANCE]) else 0


@kernel("void(double*, int*)")
def check_convergence(w, iw):
    """Set STATUS where the current point is optimal, or the iterations have come to an end."""
    if w[ERROR] <= w[TOLERANCE]:
        if is_exact(w, iw) != 0:
            iw[STATUS] = OPTIMALITY
            return
        iw[EXTRA] += 1
        if iw[EXTRA] > EXTRA_ITERATIONS or iw[TINY_STEPS] > 0:
            close = w[USER_VIOLATION] <= w[VIOLATION_TOLERANCE] and w[USER_DUAL_ERROR] <= CLOSE * max(
                w[DUAL_SCALE], RELATIVE * w[GRADIENT_BOUND] / w[COST_SCALE]
            )
            iw[STATUS] = OPTIMALITY if close else ACCEPTABLE
            return
    iw[ACCEPTABLE_COUNT] = iw[ACCEPTABLE_COUNT] + 1 if is_acceptable(w) != 0 else 0
    enough = ROUGH_MOST if iw[ROUGH] != 0 else ACCEPTABLE_ITERATIONS
    if iw[ACCEPTABLE_COUNT] >= enough or (iw[TINY_STEPS] >= 2 and iw[ACCEPTABLE_COUNT] > 0):
        iw[STATUS] = ACCEPTABLE
    elif iw[TINY_STEPS] >= 2 or (iw[ROUGH] != 0 and iw[LONG_SEARCHES] >= ROUGH_MOST):
        iw[STATUS] = STALLED
    elif iw[STUCK] >= STUCK_MOST:
        iw[STATUS] = ACCEPTABLE if iw[ACCEPTABLE_COUNT] > 0 else STALLED
    elif iw[NIT] >= iw[MAX_ITERATIONS]:
        iw[STATUS] = ITERATIONS
    else:
        z, largest = shift(w, iw[Z]), 0.0
        for j in range(iw[N]):
            largest = max(largest, abs(z[j]))
        if largest > DIVERGED:
            iw[STATUS] = DIVERGING


@kernel("void(double*, int*)")
def note_progress(w, iw):
    """Count iterations in a row with long line searches that changed neither cost nor violation beyond rounding."""
    cost, violation = abs(w[COST] - w[LAST_COST]), abs(w[VIOLATION] - w[LAST_VIOLATION])
    moved = cost > SAME * abs(w[COST]) or violation > SAME * w[VIOLATION] + SAME
    iw[LONG_SEARCHES] = iw[LONG_SEARCHES] + 1 if iw[TRIALS] >= LONG_SEARCH else 0
    iw[STUCK] = 0 if moved or iw[LONG_SEARCHES] == 0 else iw[STUCK] + 1
    w[LAST_VIOLATION] = w[VIOLATION]


@kernel("void(double*, int*)")
def damp(w, iw):
    """Adapt Marquardt's lambda to how the line search of a Gauss-Newton direction went."""
    if iw[USED_HESSIAN] == 1:
        if iw[TRIALS] > 2:
            w[DAMPING] = max(4.0 * w[DAMPING], 1e-4)
        elif iw[TRIALS] == 1:
            w[DAMPING] = 0.2 * w[DAMPING] if w[DAMPING] > 1e-9 else 0.0
    else:
        w[DAMPING] = 0.0


@kernel("int(double*, int*)")
def begins_anew(w, iw):
    """Whether to begin again from here with other scales: those of the start are small, and steps have become short."""
    if iw[RESTARTS] >= RESTARTS_MOST or iw[LONG_SEARCHES] < LONG_SEARCHES_MOST:
        return 0
    scale, smallest, largest = shift(w, iw[ROW_SCALE]), w[COST_SCALE], w[COST_SCALE]
    for i in range(iw[MC]):
        smallest, largest = min(smallest, scale[i]), max(largest, scale[i])
    return 1 if smallest < STALE or largest > 1.0 / STALE else 0


@kernel("int(double*, int*)")
def begin_anew(w, iw):
    """Begin again from the current point, with scales, slacks and multipliers that suit it."""
    iw[RESTARTS] += 1
    iw[WARM], iw[LONG_SEARCHES] = 0, 0
    return start(w, iw)


@kernel("int(double*, int*)")
def recover(w, iw):
    """Go on where no trial point was acceptable: nonzero, what a function returned."""
    if iw[MC] > 0 and w[VIOLATION] > 1e-10 * w[VIOLATION_SMALL]:
        outcome = restore_feasibility(w, iw)
        if outcome == RESTORED:
            return 0
        if outcome < 0:
            return -outcome
        failed = end_restoration(w, iw)  # multipliers of the problem itself
        if failed != 0:
            return failed
        if outcome == INFEASIBLE:
            iw[STATUS] = LOCALLY_INFEASIBLE
        elif outcome == UNDEFINED:
            iw[STATUS] = NONFINITE_JACOBIAN
        elif outcome == OUT_OF_EVALUATIONS:
            iw[STATUS] = LIMIT
        elif outcome == NO_ITERATIONS:
            iw[STATUS] = ITERATIONS
        else:
            iw[STATUS] = ACCEPTABLE if is_acceptable(w) != 0 else RESTORATION_FAILED
        return 0
    if iw[RESTARTS] < RESTARTS_MOST and w[USER_VIOLATION] > w[VIOLATION_TOLERANCE]:
        return begin_anew(w, iw)  # the violation is small only as it is scaled
    iw[FILTER_SIZE] = 0
    w[DAMPING] = max(DAMPING_GROWTH * w[DAMPING], FIRST_DAMPING)
    if w[DAMPING] > MOST_DAMPING:
        iw[STATUS] = ACCEPTABLE if is_acceptable(w) != 0 else STALLED
    return 0


@kernel("int(double*, int*)")
def advance(w, iw):
    """Make one iteration: nonzero, what a function returned that failed; STATUS says whether it was the last."""
    check_convergence(w, iw)
    if iw[STATUS] != 0:
        return 0
    if begins_anew(w, iw) != 0:
        return begin_anew(w, iw)
    update_barrier(w, iw)
    failed = compute_search_direction(w, iw)
    if failed == -1:
        iw[STATUS] = KKT_FAILED
    if failed != 0:
        return max(failed, 0)
    outcome = find_acceptable_trial_point(w, iw)
    if outcome < 0:
        return -outcome
    if outcome == NO_EVALUATIONS:
        iw[STATUS] = LIMIT
        return 0
    iw[NIT] += 1
    if outcome != ACCEPTED:
        return recover(w, iw)
    if iw[KIND] != LETTER_F and iw[KIND] != LETTER_S_F:
        augment_filter(w, iw)
    damp(w, iw)
    failed = accept_trial_point(w, iw)
    note_progress(w, iw)
    if failed == -1:
        iw[STATUS] = NONFINITE_JACOBIAN
        return 0
    return failed


@kernel("int(double*, int*)")
def solve_constrained(w, iw):
    """Run to the end; nonzero, what a function returned that failed."""
    if iw[NJEV] == 0:
        failed = start(w, iw)
        if failed != 0:
            return failed
    while iw[STATUS] == 0:
        failed = advance(w, iw)
        if failed != 0:
            return failed
    return 0
