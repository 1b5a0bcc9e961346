"""The start: a point inside the bounds, scaling, slacks and multipliers.

x is moved inside its bounds, by a share of their distance [1]_ (section 3.6). Residual and constraints are scaled so
that no gradient of the cost or of a constraint has an entry above 100 there (section 3.8). Bounds are relaxed a
little, so that there is an inside even where the constraints leave none (section 3.5). Multipliers of constraints are
those of least squares (section 3.6).

References
----------
.. [1] A. Waechter, L. T. Biegler, Mathematical Programming 106, 2006.
"""

import math

from nlsq.kernels.backend import call_step, kernel, shift
from nlsq.kernels.bounds import all_finite
from nlsq.kernels.dense import copy
from nlsq.kernels.interior_point.acceptance import linearise_here, note_best
from nlsq.kernels.interior_point.errors import update_errors, update_multiplied, update_violation
from nlsq.kernels.interior_point.layout import (
    BARRIER,
    BEST_COST,
    BEST_VIOLATION,
    BOUNDS,
    C_TRIAL,
    CL,
    COLUMN_SQUARES,
    COST,
    COST_SCALE,
    COST_TRIAL,
    CU,
    CURVATURE_KNOWN,
    DIAGONAL,
    EVALUATE,
    EXTRA,
    FACTORIZE,
    FILTER_SIZE,
    FIRST_COST,
    FREE,
    GRADIENT,
    INERTIA,
    INERTIA_RIGHT,
    KEEP,
    LAST_COST,
    LOWER,
    LOWER_DUAL,
    MC,
    NFEV,
    OTHER_FACTORIZATIONS,
    PUSH,
    QUASI,
    QUASI_NEWTON,
    R_TRIAL,
    RESTARTS,
    RHS,
    ROOT_SCALE,
    ROW_SCALE,
    SCALED,
    SIZE,
    SOLUTION,
    SOLVE,
    START_BARRIER,
    STATUS,
    TINY_STEPS,
    UPPER,
    UPPER_DUAL,
    USE_HESSIAN,
    VIOLATION,
    VIOLATION_LARGEST,
    VIOLATION_SMALL,
    WARM,
    X_BEST,
    X_EVALUATED,
    XL,
    XU,
    Z_TRIAL,
    C,
    M,
    N,
    R,
    Y,
    Z,
)
from nlsq.status import Status

RELAXED = 1e-8  # of each limit of a constraint, relative
RELAXED_BOUNDS = 1e-10  # of each bound: where functions are not evaluated, but extended linearly
LARGEST_MULTIPLIER = 1e3  # beyond, least-squares multipliers are not used
FIRST_BOUND_MULTIPLIER = 1.0
LEAST_ROW = 1e-10  # delta_c while multipliers are estimated: rows may be dependent
LARGEST_FACTOR, SMALL_FACTOR = 1e4, 1e-4  # theta_max, theta_min by the violation at the start
NONFINITE_START, NONFINITE_JACOBIAN = int(Status.NONFINITE_START), int(Status.NONFINITE_JACOBIAN)


@kernel("double(double, double, double, double)")
def inside(value, lower, upper, share):
    """Move a value inside its bounds by a share of their size, or of the distance between them."""
    low, high = -math.inf, math.inf
    if lower > -math.inf:
        low = lower + min(share * max(1.0, abs(lower)), share * (upper - lower))
    if upper < math.inf:
        high = upper - min(share * max(1.0, abs(upper)), share * (upper - lower))
    return min(max(value, low), high)


@kernel("void(double*, int*)")
def begin_bounds(w, iw):
    """Fill bounds of variables, relaxed, with none where a variable is held; move x inside."""
    lower, upper, free, z = shift(w, iw[LOWER]), shift(w, iw[UPPER]), shift(w, iw[FREE]), shift(w, iw[Z])
    given_lower, given_upper, size = shift(w, iw[XL]), shift(w, iw[XU]), shift(w, iw[SIZE])
    for j in range(iw[N]):
        low, high = given_lower[j] / size[j], given_upper[j] / size[j]
        if given_lower[j] == given_upper[j]:
            free[j], z[j], lower[j], upper[j] = 0.0, low, -math.inf, math.inf
        else:
            free[j] = 1.0
            lower[j] = low - RELAXED_BOUNDS * max(1.0, abs(low))
            upper[j] = high + RELAXED_BOUNDS * max(1.0, abs(high))
            z[j] = inside(z[j], low, high, w[PUSH])


@kernel("void(double*, int*)")
def begin_slacks(w, iw):
    """Fill slacks and their bounds from the constraints at the start, as they are scaled."""
    n, c, scale = iw[N], shift(w, iw[C]), shift(w, iw[ROW_SCALE])
    given_lower, given_upper = shift(w, iw[CL]), shift(w, iw[CU])
    lower, upper = shift(w, iw[LOWER] + n), shift(w, iw[UPPER] + n)
    free, slack, keep = shift(w, iw[FREE] + n), shift(w, iw[Z] + n), shift(w, iw[KEEP])
    for i in range(iw[MC]):
        low, high = given_lower[i] * scale[i], given_upper[i] * scale[i]
        if given_lower[i] == given_upper[i]:
            free[i], slack[i], lower[i], upper[i] = 0.0, low, -math.inf, math.inf
        else:
            free[i] = 1.0
            share = RELAXED if keep[i] == 0.0 else 0.0
            lower[i] = low - share * max(min(scale[i], 1.0), abs(low)) if low > -math.inf else low
            upper[i] = high + share * max(min(scale[i], 1.0), abs(high)) if high < math.inf else high
            slack[i] = inside(c[i], low, high, w[PUSH])


@kernel("void(double*, int*)")
def begin_bound_multipliers(w, iw):
    """Count the bounds; their multipliers begin at 1, or at mu over the distance where they are warm but zero."""
    z, lower, upper = shift(w, iw[Z]), shift(w, iw[LOWER]), shift(w, iw[UPPER])
    zl, zu, y, n = shift(w, iw[LOWER_DUAL]), shift(w, iw[UPPER_DUAL]), shift(w, iw[Y]), iw[N]
    size, count = shift(w, iw[SIZE]), 0
    for j in range(iw[N] + iw[MC]):
        has_lower, has_upper = lower[j] > -math.inf, upper[j] < math.inf
        count += (1 if has_lower else 0) + (1 if has_upper else 0)
        if iw[WARM] == 0:
            zl[j] = FIRST_BOUND_MULTIPLIER if has_lower else 0.0
            zu[j] = FIRST_BOUND_MULTIPLIER if has_upper else 0.0
        else:
            if j < n:
                known_lower, known_upper = zl[j] * w[COST_SCALE] * size[j], zu[j] * w[COST_SCALE] * size[j]
            else:
                known_lower, known_upper = -y[j - n], y[j - n]
            zl[j] = max(known_lower, w[BARRIER] / (z[j] - lower[j])) if has_lower else 0.0
            zu[j] = max(known_upper, w[BARRIER] / (upper[j] - z[j])) if has_upper else 0.0
    iw[BOUNDS] = count


@kernel("int(double*, int*)")
def estimate_multipliers(w, iw):
    """Set y to least-squares multipliers: minimise |grad f + A'y - z_L + z_U|; zero where they are large."""
    n, mc = iw[N], iw[MC]
    d, rhs, free, y = shift(w, iw[DIAGONAL]), shift(w, iw[RHS]), shift(w, iw[FREE]), shift(w, iw[Y])
    gradient, zl, zu = shift(w, iw[GRADIENT]), shift(w, iw[LOWER_DUAL]), shift(w, iw[UPPER_DUAL])
    if mc == 0:
        return 0
    for j in range(n):
        d[j] = 1.0
        rhs[j] = (zl[j] - zu[j] - gradient[j]) * free[j]
    for i in range(mc):
        d[n + i] = free[n + i] + LEAST_ROW  # a slack has the gradient -y
        rhs[n + i] = (zl[n + i] - zu[n + i]) * free[n + i]
    iw[USE_HESSIAN] = 0
    failed = call_step(iw[FACTORIZE], w, iw)
    if failed != 0:
        return failed
    iw[OTHER_FACTORIZATIONS] += 1
    for i in range(mc):
        y[i] = 0.0
    if iw[INERTIA] == INERTIA_RIGHT:
        failed = call_step(iw[SOLVE], w, iw)
        if failed != 0:
            return failed
        solution, largest = shift(w, iw[SOLUTION] + n), 0.0
        for i in range(mc):
            largest = max(largest, abs(solution[i]))
            if solution[i] != solution[i]:
                largest = math.inf
        if largest <= LARGEST_MULTIPLIER:
            copy(solution, y, mc)
    return update_multiplied(w, iw)


@kernel("void(double*, int*)", cold=True)
def forget_scaled(w, iw):
    """Forget what was gathered in the scale of the last start: Marquardt's scaling and the quasi-Newton matrix."""
    n, squares = iw[N], shift(w, iw[COLUMN_SQUARES])
    for j in range(n):
        squares[j] = 0.0
    if iw[QUASI_NEWTON] != 0:
        quasi = shift(w, iw[QUASI])
        for i in range(n * n):
            quasi[i] = 0.0


@kernel("int(double*, int*)")
def start(w, iw):
    """Begin at the x in Z, at first or anew; nonzero: a function failed. STATUS says where there is no way to begin."""
    n, mc = iw[N], iw[MC]
    scale, y = shift(w, iw[ROW_SCALE]), shift(w, iw[Y])
    for i in range(mc):
        scale[i] = 1.0
    w[COST_SCALE], w[ROOT_SCALE], iw[SCALED] = 1.0, 1.0, 0
    w[BARRIER], iw[FILTER_SIZE] = w[START_BARRIER], 0
    iw[EXTRA], iw[TINY_STEPS], iw[CURVATURE_KNOWN] = 0, 0, 0
    if iw[RESTARTS] == 0:
        w[BEST_COST], w[BEST_VIOLATION] = math.inf, math.inf
    else:
        forget_scaled(w, iw)
    begin_bounds(w, iw)
    copy(shift(w, iw[Z]), shift(w, iw[Z_TRIAL]), n)
    failed = call_step(iw[EVALUATE], w, iw)
    if failed != 0:
        return failed
    iw[NFEV] += 1
    if iw[RESTARTS] == 0:
        copy(shift(w, iw[X_EVALUATED]), shift(w, iw[X_BEST]), n)
    copy(shift(w, iw[R_TRIAL]), shift(w, iw[R]), iw[M])
    copy(shift(w, iw[C_TRIAL]), shift(w, iw[C]), mc)
    w[COST] = w[COST_TRIAL]
    if not w[COST] < math.inf or all_finite(shift(w, iw[C]), mc) == 0:
        iw[STATUS] = NONFINITE_START
        return 0
    failed = linearise_here(w, iw)
    if failed == -1:
        iw[STATUS] = NONFINITE_JACOBIAN
        return 0
    if failed != 0:
        return failed
    begin_slacks(w, iw)
    if iw[WARM] != 0:
        for i in range(mc):
            y[i] *= w[COST_SCALE] / scale[i]
    begin_bound_multipliers(w, iw)
    failed = estimate_multipliers(w, iw) if iw[WARM] == 0 else update_multiplied(w, iw)
    if failed != 0:
        return failed
    w[FIRST_COST], w[LAST_COST] = w[COST], w[COST]
    update_violation(w, iw)
    note_best(w, iw)
    w[VIOLATION_LARGEST] = LARGEST_FACTOR * max(1.0, w[VIOLATION])
    w[VIOLATION_SMALL] = SMALL_FACTOR * max(1.0, w[VIOLATION])
    update_errors(w, iw)
    return 0
