"""The line search: step lengths are halved until a trial point is acceptable to the filter.

A trial point is judged by its violation theta and its barrier function phi [1]_:

    it must not be dominated by a pair in the filter, nor have theta > theta_max;
    if theta is small and the model promises mostly decrease of phi (switching condition (19)), phi must fall as
    Armijo asks (20); else either theta or phi must fall by a share of theta (18).

Where the full step raises theta, second-order corrections are tried before it is shortened (section 2.4). A step so
short that (23) gives up calls for restoration.

References
----------
.. [1] A. Waechter, L. T. Biegler, Mathematical Programming 106, 2006, sections 2.3 and 2.4, Algorithm A.
"""

import math

from nlsq.kernels.backend import kernel, shift
from nlsq.kernels.interior_point.direction import longest_primal, solve_for_step, write_right_hand_side
from nlsq.kernels.interior_point.layout import (
    ALPHA_SMALLEST,
    BARRIER,
    CORRECTED_STEP,
    COST,
    COST_TRIAL,
    FILTER,
    FILTER_MOST,
    FILTER_SIZE,
    H_CORRECTED,
    H_TRIAL,
    KIND,
    LOWER,
    MAX_EVALUATIONS,
    MC,
    MERIT,
    MERIT_TRIAL,
    NFEV,
    PRIMAL_LENGTH,
    SLOPE,
    STEP,
    STEP_LENGTH,
    TINY_STEPS,
    TOLERANCE,
    TRIALS,
    UPPER,
    VIOLATION,
    VIOLATION_LARGEST,
    VIOLATION_SMALL,
    VIOLATION_TRIAL,
    Y_CORRECTED,
    Z_TRIAL,
    H,
    N,
    Z,
)
from nlsq.kernels.interior_point.points import breaks_kept, evaluate_ahead, place_evaluated, violation_ahead
from nlsq.kernels.interior_point.slacks import reset_trial_slacks

VIOLATION_SHARE, MERIT_SHARE = 1e-5, 1e-8  # gamma_theta, gamma_phi
ARMIJO = 1e-8  # eta_phi
SLOPE_POWER, VIOLATION_POWER = 2.3, 1.1  # s_phi, s_theta of the switching condition, whose delta is 1
ALPHA_SHARE = 0.05  # gamma_alpha
CORRECTIONS_MOST = 4  # p_max
CORRECTION_SHARE = 0.99  # kappa_soc
ROUNDING = 10.0 * 2.22e-16  # of phi: a rise that is forgiven
SHORTEST = 1e-13
SEARCHING, ACCEPTED, TOO_SHORT, NO_EVALUATIONS = 0, 1, 2, 3
LETTER_F, LETTER_H, LETTER_S_F, LETTER_S_H, LETTER_T = 102, 104, 70, 72, 116  # f, h, F, H, t; capitals: corrected


@kernel("double(double*, int*, int, double)")
def barrier_function(w, iw, z_offset, cost):
    """Cost less mu times the logarithms of all distances to bounds; infinite outside."""
    z, lower, upper, mu = shift(w, z_offset), shift(w, iw[LOWER]), shift(w, iw[UPPER]), w[BARRIER]
    total = 0.0
    for j in range(iw[N] + iw[MC]):
        if lower[j] > -math.inf:
            if not z[j] > lower[j]:
                return math.inf
            total += math.log(z[j] - lower[j])
        if upper[j] < math.inf:
            if not z[j] < upper[j]:
                return math.inf
            total += math.log(upper[j] - z[j])
    return cost - mu * total


@kernel("int(double*, int*, int, double)")
def try_step(w, iw, step_offset, alpha):
    """Evaluate at z + alpha step; violation and barrier function are infinite where anything is not finite."""
    failed = evaluate_ahead(w, iw, step_offset, alpha)
    if failed != 0:
        return failed
    reset_trial_slacks(w, iw)
    total = violation_ahead(w, iw)
    merit = barrier_function(w, iw, iw[Z_TRIAL], w[COST_TRIAL])
    finite = total < math.inf and merit < math.inf and breaks_kept(w, iw) == 0
    w[VIOLATION_TRIAL] = total if finite else math.inf
    w[MERIT_TRIAL] = merit if finite else math.inf
    return 0


@kernel("int(double*, int*, double, double)")
def is_dominated(w, iw, violation, merit):
    """Whether a pair in the filter is better in both; the filter includes theta_max."""
    entries = shift(w, iw[FILTER])
    if not violation <= w[VIOLATION_LARGEST] or not merit < math.inf:
        return 1
    for k in range(iw[FILTER_SIZE]):
        if violation >= entries[2 * k] and merit >= entries[2 * k + 1]:
            return 1
    return 0


@kernel("void(double*, int*)")
def augment_filter(w, iw):
    """Forbid what is not better than the current point; pairs that are dominated make room."""
    entries = shift(w, iw[FILTER])
    violation = (1.0 - VIOLATION_SHARE) * w[VIOLATION]
    merit = w[MERIT] - MERIT_SHARE * w[VIOLATION]
    kept = 0
    for k in range(iw[FILTER_SIZE]):
        if entries[2 * k] < violation or entries[2 * k + 1] < merit:
            entries[2 * kept], entries[2 * kept + 1] = entries[2 * k], entries[2 * k + 1]
            kept += 1
    if kept == FILTER_MOST:
        kept -= 1
    entries[2 * kept], entries[2 * kept + 1] = violation, merit
    iw[FILTER_SIZE] = kept + 1


@kernel("int(double*, double)")
def prefers_merit(w, alpha):
    """Switching condition: whether the model promises decrease of the barrier function, beyond what theta weighs."""
    if not w[SLOPE] < 0.0:
        return 0
    return 1 if alpha * math.pow(-w[SLOPE], SLOPE_POWER) > math.pow(w[VIOLATION], VIOLATION_POWER) else 0


@kernel("int(double*, int*, double)")
def judge_trial(w, iw, alpha):
    """Judge the trial point: 0 or the letter of an acceptable step: f for the barrier function, h for violation."""
    if is_dominated(w, iw, w[VIOLATION_TRIAL], w[MERIT_TRIAL]) != 0:
        return 0
    rise = w[MERIT_TRIAL] - w[MERIT] - ROUNDING * abs(w[MERIT])
    if (w[VIOLATION] <= w[VIOLATION_SMALL] and prefers_merit(w, alpha) != 0) or iw[MC] == 0:
        return LETTER_F if rise <= ARMIJO * alpha * w[SLOPE] else 0
    if w[VIOLATION_TRIAL] <= (1.0 - VIOLATION_SHARE) * w[VIOLATION] or rise <= -MERIT_SHARE * w[VIOLATION]:
        return LETTER_H
    return 0


@kernel("double(double*)")
def smallest_length(w):
    """Step length below which restoration takes over: [1]_ (23)."""
    length = VIOLATION_SHARE
    if w[SLOPE] < 0.0:
        length = min(length, MERIT_SHARE * w[VIOLATION] / -w[SLOPE])
        if w[VIOLATION] <= w[VIOLATION_SMALL]:
            ratio = math.pow(w[VIOLATION], VIOLATION_POWER) / math.pow(-w[SLOPE], SLOPE_POWER)
            length = min(length, ratio)
    return max(ALPHA_SHARE * length, SHORTEST)


@kernel("int(double*, int*)")
def correct_step(w, iw):
    """Try second-order corrections of the full step: ACCEPTED, SEARCHING, or below 0 what a function returned."""
    mc = iw[MC]
    h, h_trial, corrected = shift(w, iw[H]), shift(w, iw[H_TRIAL]), shift(w, iw[H_CORRECTED])
    alpha, violation = w[PRIMAL_LENGTH], w[VIOLATION_TRIAL]
    for i in range(mc):
        corrected[i] = alpha * h[i] + h_trial[i]
    for _ in range(CORRECTIONS_MOST):
        write_right_hand_side(w, iw, iw[H_CORRECTED])
        failed = solve_for_step(w, iw, iw[CORRECTED_STEP], iw[Y_CORRECTED])
        if failed == 0:
            alpha = longest_primal(w, iw, iw[CORRECTED_STEP])
            failed = try_step(w, iw, iw[CORRECTED_STEP], alpha)
        if failed != 0:
            return -failed
        iw[TRIALS] += 1
        letter = judge_trial(w, iw, w[PRIMAL_LENGTH])
        if letter != 0:
            w[STEP_LENGTH] = alpha
            iw[KIND] = LETTER_S_F if letter == LETTER_F else LETTER_S_H
            return ACCEPTED
        if not w[VIOLATION_TRIAL] <= CORRECTION_SHARE * violation or iw[NFEV] >= iw[MAX_EVALUATIONS]:
            return SEARCHING
        violation = w[VIOLATION_TRIAL]
        for i in range(mc):
            corrected[i] = alpha * corrected[i] + h_trial[i]
    return SEARCHING


@kernel("int(double*, int*)")
def is_tiny(w, iw):
    """Whether the direction moves nothing beyond rounding."""
    z, step = shift(w, iw[Z]), shift(w, iw[STEP])
    for j in range(iw[N] + iw[MC]):
        if not abs(step[j]) <= ROUNDING * (1.0 + abs(z[j])):
            return 0
    return 1


@kernel("int(double*, int*)")
def search(w, iw):
    """Do the work of `find_acceptable_trial_point`, which goes back to the current point where there is none."""
    w[MERIT] = barrier_function(w, iw, iw[Z], w[COST])
    w[ALPHA_SMALLEST] = smallest_length(w)
    alpha = w[PRIMAL_LENGTH]
    iw[TRIALS] = 0
    tiny = is_tiny(w, iw)
    iw[TINY_STEPS] = iw[TINY_STEPS] + 1 if tiny != 0 else 0
    while True:
        if iw[NFEV] >= iw[MAX_EVALUATIONS]:
            return NO_EVALUATIONS
        failed = try_step(w, iw, iw[STEP], alpha)
        if failed != 0:
            return -failed
        iw[TRIALS] += 1
        w[STEP_LENGTH] = alpha
        iw[KIND] = judge_trial(w, iw, alpha)
        if iw[KIND] != 0:
            return ACCEPTED
        if tiny != 0:
            iw[KIND] = LETTER_T
            return ACCEPTED if w[VIOLATION_TRIAL] <= w[TOLERANCE] else TOO_SHORT
        if iw[TRIALS] == 1 and iw[MC] > 0 and w[VIOLATION] <= w[VIOLATION_TRIAL] < math.inf:
            outcome = correct_step(w, iw)
            if outcome != SEARCHING:
                return outcome
        alpha *= 0.5
        if alpha < w[ALPHA_SMALLEST]:
            return TOO_SHORT


@kernel("int(double*, int*)")
def find_acceptable_trial_point(w, iw):
    """Shorten the step until its end is acceptable.

    Returns ACCEPTED, TOO_SHORT (restoration is next), NO_EVALUATIONS, or below 0 what a function returned.
    """
    outcome = search(w, iw)
    if outcome == TOO_SHORT or outcome == NO_EVALUATIONS:
        place_evaluated(w, iw, iw[Z])
    return outcome
