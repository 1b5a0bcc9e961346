"""Scales of cost and constraints: no gradient has an entry above 100 at the start.

Waechter and Biegler 2006, section 3.8.
"""

import math

from nlsq.kernels.backend import kernel, shift
from nlsq.kernels.interior_point.layout import (
    COST,
    COST_SCALE,
    FREE,
    GRADIENT,
    MC,
    ROOT_SCALE,
    ROW_SCALE,
    ROW_WORK,
    SCALED,
    C,
    N,
)

LARGEST_GRADIENT = 100.0
LEAST_SCALE = 1e-8


@kernel("void(double*, int*)")
def choose_scales(w, iw):
    """Choose scales from the gradient, and from the largest entries of the rows of A, which stand in ROW_WORK.

    Cost and constraints are scaled; residual, gradient and Jacobians are the caller's to scale.
    """
    gradient, free = shift(w, iw[GRADIENT]), shift(w, iw[FREE])
    largest = 0.0
    for j in range(iw[N]):
        largest = max(largest, abs(gradient[j] * free[j]))
    if LARGEST_GRADIENT < largest < math.inf:
        w[COST_SCALE] = max(LARGEST_GRADIENT / largest, LEAST_SCALE)
        w[ROOT_SCALE] = math.sqrt(w[COST_SCALE])
        w[COST] *= w[COST_SCALE]
    c, scale, rows = shift(w, iw[C]), shift(w, iw[ROW_SCALE]), shift(w, iw[ROW_WORK])
    for i in range(iw[MC]):
        if LARGEST_GRADIENT < rows[i] < math.inf:
            scale[i] = max(LARGEST_GRADIENT / rows[i], LEAST_SCALE)
            c[i] *= scale[i]
    iw[SCALED] = 1
