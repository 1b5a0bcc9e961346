"""From the workspace to what is told: everything in the scale of the problem as it was given."""

import math

from nlsq.kernels.backend import kernel, shift
from nlsq.kernels.dense import copy
from nlsq.kernels.interior_point.layout import (
    AY,
    CL,
    CONSTRAINT_JAC_T,
    COST_SCALE,
    CU,
    FREE,
    GRADIENT,
    JAC_T,
    LOSS,
    LOSS_SCALE,
    LOWER,
    LOWER_DUAL,
    MC,
    ROOT_SCALE,
    ROW_SCALE,
    SIZE,
    UPPER,
    UPPER_DUAL,
    X_EVALUATED,
    XL,
    XU,
    C,
    M,
    N,
    R,
    Y,
    Z,
)
from nlsq.kernels.interior_point.points import place_evaluated
from nlsq.kernels.robust import LINEAR, rho_first, row_factor

AT_BOUND = 1e-8  # relative distance, that of the relaxation of bounds
NEAR_BOUND = 1e-4  # farther away a bound is not active, whatever its multiplier


@kernel("int(double, double, double)")
def is_active(distance, bound, dual):
    """Whether a bound is active: x is at it, or nearer than its multiplier is large."""
    size = max(1.0, abs(bound))
    return 1 if distance <= AT_BOUND * size or (distance <= NEAR_BOUND * size and dual > distance) else 0


@kernel("void(double*, int*, double*, double*, double*, int*)")
def export_bounds(w, iw, gradient, lower_out, upper_out, mask_out):
    """Fill the multipliers of bounds, nearly zero where they are not active, and the mask of active ones: -1, 0, 1."""
    scale, x, ay, size = w[COST_SCALE], shift(w, iw[X_EVALUATED]), shift(w, iw[AY]), shift(w, iw[SIZE])
    xl, xu, zl, zu = shift(w, iw[XL]), shift(w, iw[XU]), shift(w, iw[LOWER_DUAL]), shift(w, iw[UPPER_DUAL])
    for j in range(iw[N]):
        unit = scale * size[j]
        lower_out[j], upper_out[j], mask_out[j] = zl[j] / unit, zu[j] / unit, 0
        if xl[j] == xu[j]:
            slope = gradient[j] + ay[j] / unit
            lower_out[j], upper_out[j], mask_out[j] = max(slope, 0.0), max(-slope, 0.0), -1
        else:
            if xu[j] < math.inf and is_active((xu[j] - x[j]) / size[j], xu[j] / size[j], zu[j]) != 0:
                mask_out[j] = 1
            if xl[j] > -math.inf and is_active((x[j] - xl[j]) / size[j], xl[j] / size[j], zl[j]) != 0:
                mask_out[j] = -1


@kernel("void(double*, int*, int*)")
def export_active_rows(w, iw, mask_out):
    """Fill the mask of constraints that hold the solution: equations, and slacks at a limit."""
    n = iw[N]
    z, lower, upper, free = (
        shift(w, iw[Z] + n),
        shift(w, iw[LOWER] + n),
        shift(w, iw[UPPER] + n),
        shift(w, iw[FREE] + n),
    )
    zl, zu = shift(w, iw[LOWER_DUAL] + n), shift(w, iw[UPPER_DUAL] + n)
    for i in range(iw[MC]):
        mask_out[i] = 1 if free[i] == 0.0 else 0
        if lower[i] > -math.inf and is_active(z[i] - lower[i], lower[i], zl[i]) != 0:
            mask_out[i] = 1
        if upper[i] < math.inf and is_active(upper[i] - z[i], upper[i], zu[i]) != 0:
            mask_out[i] = 1


@kernel("double(double*, int*)")
def worst_violation(w, iw):
    """Give the largest violation of a constraint as it was given; infinite for NaN."""
    c, scale, lower, upper = shift(w, iw[C]), shift(w, iw[ROW_SCALE]), shift(w, iw[CL]), shift(w, iw[CU])
    worst = 0.0
    for i in range(iw[MC]):
        value = c[i] / scale[i]
        if value != value:
            return math.inf
        worst = max(worst, lower[i] - value, value - upper[i])
    return worst


@kernel("void(double*, int*, double*)", cold=True)
def correct_rows(w, iw, jac_t_io):
    """Turn rows weighted with the root of rho' into those of Triggs' correction, as other solvers leave them."""
    m, r = iw[M], shift(w, iw[R])
    for i in range(m):
        t = r[i] / w[LOSS_SCALE]
        first = rho_first(iw[LOSS], t * t)
        factor = row_factor(iw[LOSS], t * t) / math.sqrt(first) if first > 0.0 else 0.0
        for j in range(iw[N]):
            jac_t_io[j * m + i] *= factor


@kernel("double(double*, int*, int, double*, int*)")
def export(w, iw, dense, out, mask_out):
    """Fill x, gradient, z_L, z_U (n each), r (m), y, c (mc each) and, where they are dense, J' (n, m) and A' (n, mc).

    The mask is that of active bounds (n) and constraints (mc). Returns the largest violation.
    """
    m, n, mc = iw[M], iw[N], iw[MC]
    place_evaluated(w, iw, iw[Z])
    scale, root, row_scale = w[COST_SCALE], w[ROOT_SCALE], shift(w, iw[ROW_SCALE])
    g, y, c, size = shift(w, iw[GRADIENT]), shift(w, iw[Y]), shift(w, iw[C]), shift(w, iw[SIZE])
    copy(shift(w, iw[X_EVALUATED]), out, n)
    for j in range(n):
        out[n + j] = g[j] / (scale * size[j])
    export_bounds(w, iw, shift(out, n), shift(out, 2 * n), shift(out, 3 * n), mask_out)
    export_active_rows(w, iw, shift(mask_out, n))
    rest = shift(out, 4 * n)
    copy(shift(w, iw[R]), rest, m)
    for i in range(mc):
        rest[m + i] = y[i] * row_scale[i] / scale
        rest[m + mc + i] = c[i] / row_scale[i]
    if dense != 0:
        jac_t, a_t, matrices = shift(w, iw[JAC_T]), shift(w, iw[CONSTRAINT_JAC_T]), shift(rest, m + 2 * mc)
        for j in range(n):
            for i in range(m):
                matrices[j * m + i] = jac_t[j * m + i] / (root * size[j])
            for i in range(mc):
                matrices[n * m + j * mc + i] = a_t[j * mc + i] / (row_scale[i] * size[j])
        if iw[LOSS] != LINEAR:
            correct_rows(w, iw, matrices)
    return worst_violation(w, iw)
