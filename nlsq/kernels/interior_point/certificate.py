"""What a restoration that stopped has found: a minimum of the violation of the constraints as they were given, or not.

They are violated, the gradient of ``1/2 sum violation_i^2`` vanishes within the bounds, and no point of a few around
violates them less: a maximum of the violation, or a saddle, is stationary too.
"""

import math

from nlsq.kernels.backend import kernel, shift
from nlsq.kernels.interior_point.acceptance import linearise_here, take_point
from nlsq.kernels.interior_point.errors import constraints_transposed, update_violation
from nlsq.kernels.interior_point.layout import (
    C_TRIAL,
    CL,
    COLUMN_WORK,
    COST_TRIAL,
    CU,
    ESCAPES,
    FREE,
    LOWER,
    MAX_EVALUATIONS,
    MC,
    NFEV,
    ROW_SCALE,
    ROW_WORK,
    STEP,
    UPPER,
    USER_VIOLATION,
    VIOLATION_TOLERANCE,
    VIOLATION_TRIAL,
    C,
    N,
    Z,
)
from nlsq.kernels.interior_point.points import breaks_kept, evaluate_ahead, place_evaluated, violation_ahead
from nlsq.kernels.interior_point.start import inside

STATIONARY = 1e-5  # gradient of the violation, relative
NEAR_BOUND = 1e-6
DIRECTIONS = 40  # around a stationary point
FIRST_LENGTH = 1e-2  # of them, relative to x; then 10, 100, 1000 times as long
RESTORED, INFEASIBLE, FAILED, NO_EVALUATIONS, UNDEFINED, NO_ITERATIONS = 1, 2, 3, 4, 5, 6


@kernel("int(double*, int*, int, double)")
def try_restoration(w, iw, step_offset, alpha):
    """Evaluate at z + alpha step and put the violation of the trial point in H_TRIAL."""
    failed = evaluate_ahead(w, iw, step_offset, alpha)
    if failed == 0:
        w[VIOLATION_TRIAL] = violation_ahead(w, iw)
    return failed


@kernel("int(double*, int*)")
def is_stationary(w, iw):
    """Whether the violation, as constraints were given, has no direction of descent: 1, 0; below 0 a failure."""
    n, mc = iw[N], iw[MC]
    c, scale, v = shift(w, iw[C]), shift(w, iw[ROW_SCALE]), shift(w, iw[ROW_WORK])
    lower, upper = shift(w, iw[CL]), shift(w, iw[CU])
    largest, size = 0.0, 0.0
    for i in range(mc):
        value = c[i] / scale[i]
        v[i] = (value - min(max(value, lower[i]), upper[i])) / scale[i]
        largest = max(largest, abs(v[i]))
        if v[i] != v[i]:
            return 0
    failed = constraints_transposed(w, iw, iw[ROW_WORK], iw[COLUMN_WORK])
    if failed != 0:
        return -failed
    g, z, free = shift(w, iw[COLUMN_WORK]), shift(w, iw[Z]), shift(w, iw[FREE])
    xl, xu = shift(w, iw[LOWER]), shift(w, iw[UPPER])
    for j in range(n):
        share = g[j] * free[j] * max(1.0, abs(z[j]))
        if share > 0.0 and xl[j] > -math.inf and z[j] - xl[j] <= NEAR_BOUND * max(1.0, abs(xl[j])):
            share = 0.0
        if share < 0.0 and xu[j] < math.inf and xu[j] - z[j] <= NEAR_BOUND * max(1.0, abs(xu[j])):
            share = 0.0
        size = max(size, abs(share))
        if share != share:
            return 0
    return 1 if size <= STATIONARY * max(largest, 1e-300) else 0


@kernel("double(double*, int*, int)")
def squares_of_violation(w, iw, c_offset):
    """Sum the squares of the violations, as constraints were given, from scaled values; infinite for NaN."""
    c, scale, lower, upper = shift(w, c_offset), shift(w, iw[ROW_SCALE]), shift(w, iw[CL]), shift(w, iw[CU])
    total = 0.0
    for i in range(iw[MC]):
        value = c[i] / scale[i]
        outside = value - min(max(value, lower[i]), upper[i])
        total += outside * outside
    return total if total == total else math.inf


@kernel("int(double*, int*)")
def escape(w, iw):
    """Look for a point with less violation near a stationary one, and go there: 1, 0, NO_EVALUATIONS, or a failure."""
    n, mc = iw[N], iw[MC]
    z, step, xl, xu = shift(w, iw[Z]), shift(w, iw[STEP]), shift(w, iw[LOWER]), shift(w, iw[UPPER])
    slack_free, free = shift(w, iw[FREE] + n), shift(w, iw[FREE])
    here = squares_of_violation(w, iw, iw[C])
    state, length = 12345 + iw[ESCAPES], FIRST_LENGTH
    for k in range(DIRECTIONS):
        length = FIRST_LENGTH if k % 4 == 0 else 10.0 * length
        for j in range(n):
            state = (1103515245 * state + 12345) % 2147483648
            size = length * max(1.0, abs(z[j])) * (state / 1073741824.0 - 1.0)
            step[j] = (inside(z[j] + size, xl[j], xu[j], 1e-9) - z[j]) * free[j]
            if not xl[j] < z[j] + step[j] < xu[j]:
                step[j] = 0.0
        for i in range(mc):
            step[n + i] = 0.0
        if iw[NFEV] >= iw[MAX_EVALUATIONS]:
            place_evaluated(w, iw, iw[Z])
            return NO_EVALUATIONS
        failed = try_restoration(w, iw, iw[STEP], 1.0)
        if failed != 0:
            return -failed
        there = squares_of_violation(w, iw, iw[C_TRIAL])
        if there < (1.0 - 1e-6) * here and w[COST_TRIAL] < math.inf and breaks_kept(w, iw) == 0:
            take_point(w, iw)
            for i in range(mc):
                if slack_free[i] != 0.0:
                    shift(w, iw[Z] + n)[i] = inside(
                        shift(w, iw[C])[i], shift(w, iw[LOWER] + n)[i], shift(w, iw[UPPER] + n)[i], 1e-2
                    )
            update_violation(w, iw)
            failed = linearise_here(w, iw)
            return 1 if failed == 0 else min(-failed, -1)
    place_evaluated(w, iw, iw[Z])
    return 0


@kernel("int(double*, int*)")
def conclude(w, iw):
    """Say what a restoration that stopped has found, on the constraints as they were given."""
    if w[USER_VIOLATION] <= w[VIOLATION_TOLERANCE]:
        return RESTORED
    stationary = is_stationary(w, iw)
    if stationary <= 0:
        return stationary if stationary < 0 else FAILED
    return INFEASIBLE
