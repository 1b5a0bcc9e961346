"""Scales of cost and constraints.

No gradient of the cost or of a constraint has an entry above 100 at the start (Waechter and Biegler 2006, section 3.8).
Nor are both small for the units of the residuals or of a constraint: a cost whose gradient could not reach 1/100, were
residual and Jacobian parallel, and a constraint with no entry above it, are multiplied until they could.
"""

import math

from nlsq.kernels.backend import kernel, shift
from nlsq.kernels.interior_point.layout import (
    COST,
    COST_SCALE,
    FREE,
    GRADIENT,
    GRADIENT_BOUND,
    MC,
    ROOT_SCALE,
    ROW_SCALE,
    ROW_WORK,
    SCALED,
    C,
    N,
)

LARGEST_GRADIENT, SMALLEST_GRADIENT = 100.0, 1e-2
MOST_SCALE, LEAST_SCALE = 1e16, 1e-30  # of constraints
ROUNDING = 1e-13  # of the largest gradient of a constraint: smaller ones are taken for zero
LEAST_COST_SCALE, MOST_COST_SCALE = 1e-60, 1e60


@kernel("double(double, double, double, double)")
def scale_of(gradient, bound, least, most):
    """Give what brings a gradient down to 100, or its bound up to 1; 1 between."""
    if LARGEST_GRADIENT < gradient < math.inf:
        return max(LARGEST_GRADIENT / gradient, least)
    if 0.0 < bound < SMALLEST_GRADIENT:
        return min(1.0 / bound, most)
    return 1.0


@kernel("void(double*, int*)")
def choose_scales(w, iw):
    """Choose scales from the gradient and its bound, and from the largest entries of the rows of A in ROW_WORK.

    Cost and constraints are scaled; residual, gradient and Jacobians are the caller's to scale.
    """
    gradient, free = shift(w, iw[GRADIENT]), shift(w, iw[FREE])
    largest = 0.0
    for j in range(iw[N]):
        largest = max(largest, abs(gradient[j] * free[j]))
    w[COST_SCALE] = scale_of(largest, w[GRADIENT_BOUND], LEAST_COST_SCALE, MOST_COST_SCALE)
    w[ROOT_SCALE] = math.sqrt(w[COST_SCALE])
    w[COST] *= w[COST_SCALE]
    c, scale, rows = shift(w, iw[C]), shift(w, iw[ROW_SCALE]), shift(w, iw[ROW_WORK])
    largest = 0.0
    for i in range(iw[MC]):
        largest = max(largest, rows[i])
    for i in range(iw[MC]):
        scale[i] = scale_of(rows[i], rows[i] if rows[i] > ROUNDING * largest else 0.0, LEAST_SCALE, MOST_SCALE)
        c[i] *= scale[i]
    iw[SCALED] = 1
