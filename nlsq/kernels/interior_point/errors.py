"""Optimality of a point: how far it is from satisfying the conditions of Karush, Kuhn and Tucker.

    dual infeasibility    grad f + A'y - z_L + z_U            for variables
                          -y - z_L + z_U                      for slacks
    violation             h = c(x) - s
    complementarity       z_L (z - l) - mu,  z_U (u - z) - mu

    E_mu = max(|dual|/s_d, |h|, |complementarity|/s_c)                                             [1]_ (5)

with infinity norms, and s_d, s_c of (6), which grow with the multipliers.

References
----------
.. [1] A. Waechter, L. T. Biegler, "On the implementation of an interior-point filter line-search algorithm for
   large-scale nonlinear programming", Mathematical Programming 106, 2006, section 2.1.
"""

import math

from nlsq.kernels.backend import call_step, kernel, shift
from nlsq.kernels.interior_point.layout import (
    ARGUMENT,
    AY,
    BARRIER,
    BARRIER_ERROR,
    BOUNDS,
    CL,
    COMPLEMENTARITY,
    CONSTRAINTS_TRANSPOSED,
    COST_SCALE,
    CU,
    DUAL_ERROR,
    DUAL_SCALE,
    ERROR,
    FREE,
    GRADIENT,
    LONG_WORK,
    LOWER,
    LOWER_DUAL,
    MC,
    MULTIPLY,
    PRIMAL_ERROR,
    PRODUCT,
    REPORTED_DUAL_ERROR,
    RESULT,
    ROUNDING,
    ROW_SCALE,
    SIZE,
    UPPER,
    UPPER_DUAL,
    USER_DUAL_ERROR,
    USER_VIOLATION,
    VIOLATION,
    C,
    H,
    N,
    Y,
    Z,
)

LARGEST_SCALE = 100.0  # s_max, [1]_ (6)
FORGIVEN = 2.0  # units of rounding in x
MOST_FORGIVEN = 1e4  # largest s_d: multipliers without end, as of dependent constraints, are no reason for any error


@kernel("int(double*, int*, int, int)")
def constraints_transposed(w, iw, given, out):
    """Multiply a vector of rows by A'; offsets of the vectors."""
    iw[ARGUMENT], iw[RESULT], iw[PRODUCT] = given, out, CONSTRAINTS_TRANSPOSED
    return call_step(iw[MULTIPLY], w, iw)


@kernel("void(double*, int*)")
def update_violation(w, iw):
    """Form h and its sum, and the largest violation as constraints were given, relative to limits above 1.

    What rounding of x does is forgiven.
    """
    mc, slack = iw[MC], shift(w, iw[Z] + iw[N])
    c, h, scale = shift(w, iw[C]), shift(w, iw[H]), shift(w, iw[ROW_SCALE])
    lower, upper, rounding = shift(w, iw[CL]), shift(w, iw[CU]), shift(w, iw[ROUNDING])
    total, largest = 0.0, 0.0
    for i in range(mc):
        h[i] = c[i] - slack[i]
        total += abs(h[i])
        value, blur = c[i] / scale[i], FORGIVEN * rounding[i] / scale[i]
        if lower[i] > -math.inf:
            largest = max(largest, (lower[i] - value - blur) * max(1.0, scale[i]) / max(1.0, abs(lower[i])))
        if upper[i] < math.inf:
            largest = max(largest, (value - upper[i] - blur) * max(1.0, scale[i]) / max(1.0, abs(upper[i])))
    w[VIOLATION] = total
    w[USER_VIOLATION] = largest


@kernel("void(double*, int*)")
def complementarity(w, iw):
    """Find the largest product of a bound multiplier and its distance, and the largest departure from mu.

    They are left in COMPLEMENTARITY and BARRIER_ERROR.
    """
    z, lower, upper = shift(w, iw[Z]), shift(w, iw[LOWER]), shift(w, iw[UPPER])
    zl, zu = shift(w, iw[LOWER_DUAL]), shift(w, iw[UPPER_DUAL])
    largest, departure, mu = 0.0, 0.0, w[BARRIER]
    for j in range(iw[N] + iw[MC]):
        if lower[j] > -math.inf:
            product = zl[j] * (z[j] - lower[j])
            largest = max(largest, abs(product))
            departure = max(departure, abs(product - mu))
        if upper[j] < math.inf:
            product = zu[j] * (upper[j] - z[j])
            largest = max(largest, abs(product))
            departure = max(departure, abs(product - mu))
    w[COMPLEMENTARITY], w[BARRIER_ERROR] = largest, departure


@kernel("void(double*, int*)")
def update_errors(w, iw):
    """Evaluate E_0 and E_mu at the current point; the gradient of the Lagrangian is left in LONG_WORK."""
    n, mc = iw[N], iw[MC]
    gradient, ay, y, free = shift(w, iw[GRADIENT]), shift(w, iw[AY]), shift(w, iw[Y]), shift(w, iw[FREE])
    zl, zu, dual = shift(w, iw[LOWER_DUAL]), shift(w, iw[UPPER_DUAL]), shift(w, iw[LONG_WORK])
    sum_bounds, sum_rows, primal_error, user, reported, size = 0.0, 0.0, 0.0, 0.0, 0.0, shift(w, iw[SIZE])
    for j in range(n):
        dual[j] = (gradient[j] + ay[j] - zl[j] + zu[j]) * free[j]
        user = max(user, abs(dual[j]))
        reported = max(reported, abs(dual[j]) / size[j])
        if dual[j] != dual[j]:
            user = math.inf
    dual_error = user
    for i in range(mc):
        dual[n + i] = (zu[n + i] - y[i] - zl[n + i]) * free[n + i]
        dual_error = max(dual_error, abs(dual[n + i]))
        sum_rows += abs(y[i])
    if sum_rows != sum_rows:
        dual_error = math.inf
    for j in range(n + mc):
        sum_bounds += zl[j] + zu[j]
    if sum_bounds != sum_bounds:
        dual_error = math.inf
    h, rounding = shift(w, iw[H]), shift(w, iw[ROUNDING])
    for i in range(mc):
        primal_error = max(primal_error, abs(h[i]) - FORGIVEN * rounding[i])
    mean = (sum_bounds + sum_rows) / max(1, iw[BOUNDS] + mc)
    w[DUAL_SCALE] = min(max(LARGEST_SCALE, mean) / LARGEST_SCALE, MOST_FORGIVEN)
    bound_scale = max(LARGEST_SCALE, sum_bounds / max(1, iw[BOUNDS])) / LARGEST_SCALE
    complementarity(w, iw)
    w[DUAL_ERROR], w[PRIMAL_ERROR], w[USER_DUAL_ERROR] = dual_error, primal_error, user / w[COST_SCALE]
    w[REPORTED_DUAL_ERROR] = reported / w[COST_SCALE]
    w[ERROR] = max(dual_error / w[DUAL_SCALE], primal_error, w[COMPLEMENTARITY] / bound_scale)
    w[BARRIER_ERROR] = max(dual_error / w[DUAL_SCALE], primal_error, w[BARRIER_ERROR] / bound_scale)


@kernel("int(double*, int*)")
def update_multiplied(w, iw):
    """Form A'y of the current multipliers."""
    return constraints_transposed(w, iw, iw[Y], iw[AY])
