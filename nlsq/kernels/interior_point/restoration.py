"""Feasibility restoration: a damped Gauss-Newton method for the violation, when no step is acceptable to the filter.

    minimise  1/2 ||h(z)||^2 + zeta/2 ||D (z - z_R)||^2 - mu_r sum log(distances to bounds)

from the point z_R where it was called. With ``t = h + A dx - ds`` a step solves

    [ lambda + zeta D^2 + Sigma_x    A'         ] [ dx ]     [ gradient of the last two terms by x ]
    [ A                     -(1 + E)            ] [ t  ] = - [ h + E g_s                           ]

with E the inverse diagonal entry of the slacks and g_s the gradient of the last two terms by s: the system of the
search direction with another diagonal, and definite enough whatever A is. It ends when the violation has fallen to a
share of what it was and the filter takes the point [1]_ (section 3.3).

Where the violation stops falling, `certificate` says what has been found.

References
----------
.. [1] A. Waechter, L. T. Biegler, Mathematical Programming 106, 2006.
"""

import math

from nlsq.kernels.backend import kernel, shift
from nlsq.kernels.dense import copy
from nlsq.kernels.interior_point.acceptance import linearise_here, take_point
from nlsq.kernels.interior_point.certificate import (
    FAILED,
    INFEASIBLE,
    NO_EVALUATIONS,
    NO_ITERATIONS,
    RESTORED,
    UNDEFINED,
    conclude,
    escape,
    try_restoration,
)
from nlsq.kernels.interior_point.direction import longest_primal
from nlsq.kernels.interior_point.errors import constraints_transposed, update_errors, update_violation
from nlsq.kernels.interior_point.layout import (
    BARRIER,
    BOUNDS,
    COLUMN_WORK,
    COST,
    COST_TRIAL,
    ESCAPES,
    FILTER_SIZE,
    H_TRIAL,
    KIND,
    LOWER,
    LOWER_DUAL,
    MAX_EVALUATIONS,
    MAX_ITERATIONS,
    MC,
    MERIT,
    NFEV,
    NIT,
    PROXIMITY,
    REFERENCE,
    RESTORATION_BARRIER,
    RESTORATION_DAMPING,
    RESTORATIONS,
    RESTORED_FROM,
    ROW_SCALE,
    STEP,
    TO_BOUNDARY,
    TRIALS,
    UPPER,
    UPPER_DUAL,
    VIOLATION,
    Z_TRIAL,
    C,
    H,
    N,
    Z,
)
from nlsq.kernels.interior_point.line_search import augment_filter, barrier_function, is_dominated
from nlsq.kernels.interior_point.points import breaks_kept, place_evaluated
from nlsq.kernels.interior_point.restoration_model import restoration_direction, restoration_merit, restoration_slope
from nlsq.kernels.interior_point.slacks import reset_slacks
from nlsq.kernels.interior_point.start import begin_slacks, estimate_multipliers

ENOUGH = 0.9  # kappa_resto: share of the violation that has to be left at most
ITERATIONS = 300
FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-4, 1e-12, 1e14
ARMIJO = 1e-4
HALVINGS = 25
CLOSE = 0.995  # to the boundary
PROXIMITY_SHARE = 1e-2
LARGEST_BOUND_MULTIPLIER = 1e3
LEAST_BARRIER = 1e-13
SLOW, SLOW_STEPS = 1e-5, 3  # violation that falls by less, so many times
ESCAPES_MOST, LOWERED_MOST = 6, 4
LETTER_R = 114


@kernel("void(double*, int*, double)")
def step_restoration_multipliers(w, iw, alpha):
    """Step the bound multipliers after a step of this length, and keep them near mu_r over the distance."""
    z, lower, upper, step = shift(w, iw[Z]), shift(w, iw[LOWER]), shift(w, iw[UPPER]), shift(w, iw[STEP])
    zl, zu, mu = shift(w, iw[LOWER_DUAL]), shift(w, iw[UPPER_DUAL]), w[RESTORATION_BARRIER]
    for j in range(iw[N] + iw[MC]):
        if lower[j] > -math.inf:  # z has moved by alpha step
            before = z[j] - lower[j] - alpha * step[j]
            wanted = (mu - zl[j] * step[j]) / before if before > 0.0 else zl[j]
            central = mu / (z[j] - lower[j])
            zl[j] = max(min(max(wanted, (1.0 - CLOSE) * zl[j]), 1e10 * central), 1e-10 * central)
        if upper[j] < math.inf:
            before = upper[j] - z[j] + alpha * step[j]
            wanted = (mu + zu[j] * step[j]) / before if before > 0.0 else zu[j]
            central = mu / (upper[j] - z[j])
            zu[j] = max(min(max(wanted, (1.0 - CLOSE) * zu[j]), 1e10 * central), 1e-10 * central)


@kernel("int(double*, int*)")
def restoration_step(w, iw):
    """Take one step: 1 taken; 0 none found; NO_EVALUATIONS; below 0 what a function returned."""
    failed = restoration_direction(w, iw)
    if failed == -1:
        return 0
    if failed == 0:
        failed = constraints_transposed(w, iw, iw[H], iw[COLUMN_WORK])
    if failed != 0:
        return -failed
    slope = restoration_slope(w, iw)
    saved = w[TO_BOUNDARY]
    w[TO_BOUNDARY] = CLOSE
    alpha = longest_primal(w, iw, iw[STEP])
    w[TO_BOUNDARY] = saved
    before = restoration_merit(w, iw, iw[Z], iw[H])
    for k in range(HALVINGS):
        if iw[NFEV] >= iw[MAX_EVALUATIONS]:
            place_evaluated(w, iw, iw[Z])
            return NO_EVALUATIONS
        failed = try_restoration(w, iw, iw[STEP], alpha)
        if failed != 0:
            return -failed
        after = restoration_merit(w, iw, iw[Z_TRIAL], iw[H_TRIAL])
        if w[COST_TRIAL] < math.inf and breaks_kept(w, iw) == 0 and after <= before + ARMIJO * alpha * slope:
            take_point(w, iw)
            step_restoration_multipliers(w, iw, alpha)
            failed = linearise_here(w, iw)
            if failed == -1:
                return UNDEFINED
            if failed != 0:
                return -failed
            iw[TRIALS] = k + 1
            if k > 2:
                w[RESTORATION_DAMPING] *= 4.0
            elif k == 0:
                w[RESTORATION_DAMPING] = max(0.25 * w[RESTORATION_DAMPING], LEAST_DAMPING)
            return 1
        alpha *= 0.5
    place_evaluated(w, iw, iw[Z])
    return 0


@kernel("int(double*, int*)", cold=True)
def end_restoration(w, iw):
    """Go back to the problem itself: multipliers anew."""
    z, lower, upper, mu = shift(w, iw[Z]), shift(w, iw[LOWER]), shift(w, iw[UPPER]), w[BARRIER]
    zl, zu = shift(w, iw[LOWER_DUAL]), shift(w, iw[UPPER_DUAL])
    for j in range(iw[N] + iw[MC]):
        if lower[j] > -math.inf:
            zl[j] = min(mu / (z[j] - lower[j]), LARGEST_BOUND_MULTIPLIER)
        if upper[j] < math.inf:
            zu[j] = min(mu / (upper[j] - z[j]), LARGEST_BOUND_MULTIPLIER)
    failed = estimate_multipliers(w, iw)
    update_errors(w, iw)
    iw[KIND] = LETTER_R
    return failed


@kernel("void(double*, int*)")
def begin_restoration(w, iw):
    """Note where restoration begins and choose its first parameters."""
    n, mc = iw[N], iw[MC]
    h, zl, zu = shift(w, iw[H]), shift(w, iw[LOWER_DUAL]), shift(w, iw[UPPER_DUAL])
    copy(shift(w, iw[Z]), shift(w, iw[REFERENCE]), n + mc)
    squares, largest = 0.0, 0.0
    for i in range(mc):
        squares += 0.5 * h[i] * h[i]
        largest = max(largest, abs(h[i]))
    w[RESTORATION_BARRIER] = min(max(w[BARRIER], largest), 0.1 * squares + 1e-8)
    w[RESTORATION_DAMPING] = FIRST_DAMPING
    w[PROXIMITY] = PROXIMITY_SHARE * math.sqrt(w[RESTORATION_BARRIER]) * min(1.0, squares)
    w[RESTORED_FROM] = w[VIOLATION]
    for j in range(n + mc):
        zl[j] = min(zl[j], LARGEST_BOUND_MULTIPLIER)
        zu[j] = min(zu[j], LARGEST_BOUND_MULTIPLIER)


@kernel("int(double*, int*)")
def is_restored(w, iw):
    """Whether violation has fallen enough and the filter of the problem itself takes the point."""
    if not (w[VIOLATION] <= ENOUGH * w[RESTORED_FROM] and w[COST] < math.inf):
        return 0
    w[MERIT] = barrier_function(w, iw, iw[Z], w[COST])
    return 1 if is_dominated(w, iw, w[VIOLATION], w[MERIT]) == 0 else 0


@kernel("void(double*, int*)")
def lower_restoration_barrier(w, iw):
    """Lower mu_r, and the weight of the distance from where restoration began with it."""
    w[RESTORATION_BARRIER] = max(0.1 * w[RESTORATION_BARRIER], LEAST_BARRIER)
    w[PROXIMITY] *= 0.1


@kernel("int(double*, int*, double)")
def is_stuck(w, iw, before):
    """Whether the last step left the violation as it was though mu_r is small; mu_r is lowered where it is not."""
    if w[VIOLATION] < (1.0 - SLOW) * before:
        return 0
    if iw[BOUNDS] > 0 and w[RESTORATION_BARRIER] > LEAST_BARRIER:
        lower_restoration_barrier(w, iw)
        return 0
    w[PROXIMITY] *= 0.1
    return 1


@kernel("int(double*, int*)", cold=True)
def even_rows(w, iw):
    """Give all constraints one scale, so that the violation is weighted as it was given; nonzero: a function failed."""
    mc, scale, c = iw[MC], shift(w, iw[ROW_SCALE]), shift(w, iw[C])
    smallest = math.inf
    for i in range(mc):
        smallest = min(smallest, scale[i])
    for i in range(mc):
        c[i] *= smallest / scale[i]
        scale[i] = smallest
    begin_slacks(w, iw)
    iw[FILTER_SIZE] = 0
    update_violation(w, iw)
    copy(shift(w, iw[Z]), shift(w, iw[REFERENCE]), iw[N] + mc)
    w[RESTORATION_DAMPING], w[RESTORED_FROM] = FIRST_DAMPING, w[VIOLATION]
    return linearise_here(w, iw)


@kernel("int(double*, int*)", cold=True)
def restore_feasibility(w, iw):
    """Lower the violation until the filter takes the point: RESTORED or why not; below 0 what a function returned."""
    augment_filter(w, iw)
    begin_restoration(w, iw)
    escapes, slow, lowered, even, k = 0, 0, 0, 0, 0
    while k < ITERATIONS:
        if iw[NIT] >= iw[MAX_ITERATIONS]:
            return NO_ITERATIONS
        k += 1
        before = w[VIOLATION]
        outcome = restoration_step(w, iw)
        if outcome < 0 or outcome > 1:
            return outcome
        if outcome == 1:
            iw[RESTORATIONS] += 1
            iw[NIT] += 1
            reset_slacks(w, iw)
            if is_restored(w, iw) != 0:
                failed = end_restoration(w, iw)
                return RESTORED if failed == 0 else -failed
            slow = slow + 1 if is_stuck(w, iw, before) != 0 else 0
        else:
            w[RESTORATION_DAMPING] *= 10.0
            lower_restoration_barrier(w, iw)
            slow = SLOW_STEPS if w[RESTORATION_DAMPING] > MOST_DAMPING else slow
        if slow >= SLOW_STEPS:
            found = conclude(w, iw)
            if found == FAILED and lowered < LOWERED_MOST:  # it may be the damping that keeps the violation as it is
                w[RESTORATION_DAMPING] = max(1e-3 * w[RESTORATION_DAMPING], LEAST_DAMPING)
                lowered += 1
                slow = 0
                continue
            if found == FAILED and even == 0:
                failed = even_rows(w, iw)
                if failed != 0:
                    return min(-failed, -1)
                even, slow, lowered = 1, 0, 0
                continue
            if found != INFEASIBLE:
                break
            if escapes >= ESCAPES_MOST:
                moved = escape(w, iw)
                return moved if moved < 0 or moved == NO_EVALUATIONS else INFEASIBLE if moved == 0 else FAILED
            iw[ESCAPES] += 1
            escapes += 1
            slow = 0
            moved = escape(w, iw)
            if moved < 0 or moved == NO_EVALUATIONS:
                return moved
            if moved == 0:
                return INFEASIBLE
            w[RESTORATION_DAMPING] = FIRST_DAMPING
            copy(shift(w, iw[Z]), shift(w, iw[REFERENCE]), iw[N] + iw[MC])
    found = conclude(w, iw)
    if found == RESTORED:
        failed = end_restoration(w, iw)
        return RESTORED if failed == 0 else -failed
    return found
