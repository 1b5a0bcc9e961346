"""The model of a restoration step: what it minimises, and the system that it solves; see `restoration`."""

import math

from nlsq.kernels.backend import call_step, kernel, shift
from nlsq.kernels.dense import copy
from nlsq.kernels.interior_point.layout import (
    BARRIER,
    COLUMN_WORK,
    CURVATURE,
    CURVATURE_KNOWN,
    DIAGONAL,
    EXACT_CONSTRAINTS,
    EXACT_RESIDUAL,
    FACTORIZE,
    FREE,
    INERTIA,
    INERTIA_RIGHT,
    LONG_WORK,
    LOWER,
    LOWER_DUAL,
    MC,
    NHEV,
    OTHER_FACTORIZATIONS,
    PROXIMITY,
    QUASI_NEWTON,
    REFERENCE,
    RESTORATION_BARRIER,
    RESTORATION_DAMPING,
    RHS,
    SLACK_WEIGHT,
    SOLUTION,
    SOLVE,
    STEP,
    UPPER,
    UPPER_DUAL,
    USE_HESSIAN,
    H,
    N,
    Y,
    Z,
)
from nlsq.kernels.interior_point.line_search import barrier_function


@kernel("double(double*, int*, int)")
def proximity_weight(w, iw, j):
    """Weight of the distance from where restoration began: zeta D_j^2, D_j = min(1, 1/|z_j|)."""
    size = max(1.0, abs(shift(w, iw[REFERENCE])[j]))
    return w[PROXIMITY] / (size * size)


@kernel("double(double*, int*, int, int)")
def restoration_merit(w, iw, z_offset, h_offset):
    """Evaluate what restoration minimises."""
    z, h, reference = shift(w, z_offset), shift(w, h_offset), shift(w, iw[REFERENCE])
    total = 0.0
    for i in range(iw[MC]):
        total += 0.5 * h[i] * h[i]
    for j in range(iw[N] + iw[MC]):
        distance = z[j] - reference[j]
        total += 0.5 * proximity_weight(w, iw, j) * distance * distance
    saved = w[BARRIER]
    w[BARRIER] = w[RESTORATION_BARRIER]
    total = barrier_function(w, iw, z_offset, total)
    w[BARRIER] = saved
    return total


@kernel("int(double*, int*)")
def factorize_restoration(w, iw):
    """Factorise with second derivatives of the constraints, weighted with h, or without: 0, -1 or a failure."""
    exact = iw[EXACT_RESIDUAL]
    if iw[EXACT_CONSTRAINTS] != 0 and iw[QUASI_NEWTON] == 0:
        copy(shift(w, iw[H]), shift(w, iw[Y]), iw[MC])
        iw[EXACT_RESIDUAL] = 0
        failed = call_step(iw[CURVATURE], w, iw)
        iw[EXACT_RESIDUAL] = exact
        if failed != 0:
            return failed
        iw[NHEV] += 1
        iw[CURVATURE_KNOWN] = 0  # S is weighted with h now
        iw[USE_HESSIAN] = 2
        failed = call_step(iw[FACTORIZE], w, iw)
        if failed != 0:
            return failed
        iw[OTHER_FACTORIZATIONS] += 1
        if iw[INERTIA] == INERTIA_RIGHT:
            return 0
    iw[USE_HESSIAN] = 0
    failed = call_step(iw[FACTORIZE], w, iw)
    if failed != 0:
        return failed
    iw[OTHER_FACTORIZATIONS] += 1
    return 0 if iw[INERTIA] == INERTIA_RIGHT else -1


@kernel("int(double*, int*)")
def restoration_direction(w, iw):
    """Solve for the step and leave it in STEP, the gradient by z without the part of h in LONG_WORK."""
    n, mc, mu = iw[N], iw[MC], w[RESTORATION_BARRIER]
    z, lower, upper, free = shift(w, iw[Z]), shift(w, iw[LOWER]), shift(w, iw[UPPER]), shift(w, iw[FREE])
    zl, zu, reference = shift(w, iw[LOWER_DUAL]), shift(w, iw[UPPER_DUAL]), shift(w, iw[REFERENCE])
    d, rhs, h, g = shift(w, iw[DIAGONAL]), shift(w, iw[RHS]), shift(w, iw[H]), shift(w, iw[LONG_WORK])
    weight, step = shift(w, iw[SLACK_WEIGHT]), shift(w, iw[STEP])
    for j in range(n + mc):
        near = proximity_weight(w, iw, j)
        d[j] = w[RESTORATION_DAMPING] + near
        g[j] = near * (z[j] - reference[j])
        if lower[j] > -math.inf:
            d[j] += zl[j] / (z[j] - lower[j])
            g[j] -= mu / (z[j] - lower[j])
        if upper[j] < math.inf:
            d[j] += zu[j] / (upper[j] - z[j])
            g[j] += mu / (upper[j] - z[j])
        g[j] *= free[j]
        rhs[j] = -g[j]
    for i in range(mc):
        weight[i] = free[n + i] / d[n + i]
        rhs[n + i] = -h[i] - weight[i] * g[n + i]
        d[n + i] = 1.0 + weight[i]
    failed = factorize_restoration(w, iw)
    if failed != 0:
        return failed
    failed = call_step(iw[SOLVE], w, iw)
    if failed != 0:
        return failed
    solution = shift(w, iw[SOLUTION])
    for j in range(n):
        step[j] = solution[j] * free[j]
    for i in range(mc):
        step[n + i] = weight[i] * (solution[n + i] - g[n + i])
    return 0


@kernel("double(double*, int*)")
def restoration_slope(w, iw):
    """Form the whole gradient in LONG_WORK (A'h is in COLUMN_WORK) and return its product with the step."""
    n, mc = iw[N], iw[MC]
    g, h, ah = shift(w, iw[LONG_WORK]), shift(w, iw[H]), shift(w, iw[COLUMN_WORK])
    step, free = shift(w, iw[STEP]), shift(w, iw[FREE])
    total = 0.0
    for j in range(n):
        g[j] += ah[j] * free[j]
    for i in range(mc):
        g[n + i] -= h[i] * free[n + i]
    for j in range(n + mc):
        total += g[j] * step[j]
    return total
