"""Slacks moved to their constraints where that does good."""

import math

from nlsq.kernels.backend import kernel, shift
from nlsq.kernels.interior_point.errors import update_violation
from nlsq.kernels.interior_point.layout import C_TRIAL, FREE, LOWER, MC, UPPER, Z_TRIAL, C, N, Z


@kernel("void(double*, int*)")
def reset_trial_slacks(w, iw):
    """Move slacks of the trial point to constraints that lie farther inside: violation and phi both fall."""
    n, c = iw[N], shift(w, iw[C_TRIAL])
    lower, upper, slack = shift(w, iw[LOWER] + n), shift(w, iw[UPPER] + n), shift(w, iw[Z_TRIAL] + n)
    free = shift(w, iw[FREE] + n)
    for i in range(iw[MC]):
        if free[i] != 0.0:
            room = min(c[i] - lower[i], upper[i] - c[i])
            if room >= min(slack[i] - lower[i], upper[i] - slack[i]):
                slack[i] = c[i]


@kernel("void(double*, int*)")
def reset_slacks(w, iw):
    """Move each slack to its constraint where that lies inside its bounds, else as near as the bounds allow."""
    n, c, free = iw[N], shift(w, iw[C]), shift(w, iw[FREE] + iw[N])
    lower, upper, slack = shift(w, iw[LOWER] + n), shift(w, iw[UPPER] + n), shift(w, iw[Z] + n)
    for i in range(iw[MC]):
        if free[i] != 0.0:
            room = 1e-2 * min(slack[i] - lower[i], upper[i] - slack[i])
            if room == math.inf:
                slack[i] = c[i]
            else:
                slack[i] = min(max(c[i], lower[i] + room), upper[i] - room)
    update_violation(w, iw)
