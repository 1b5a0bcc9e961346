"""Which point functions are evaluated at, and how far trial points are from feasible."""

from nlsq.kernels.backend import call_step, kernel, shift
from nlsq.kernels.interior_point.layout import (
    C_TRIAL,
    CL,
    CU,
    EVALUATE,
    H_TRIAL,
    KEEP,
    KEEPS,
    MC,
    NFEV,
    ROW_SCALE,
    SIZE,
    X_EVALUATED,
    XL,
    XU,
    Z_TRIAL,
    C,
    N,
    Z,
)


@kernel("void(double*, int*, int)")
def place_evaluated(w, iw, z_offset):
    """Put the x of a point, moved inside the bounds that were given, where functions find it."""
    x, z, lower, upper = shift(w, iw[X_EVALUATED]), shift(w, z_offset), shift(w, iw[XL]), shift(w, iw[XU])
    size = shift(w, iw[SIZE])
    for j in range(iw[N]):
        x[j] = min(max(size[j] * z[j], lower[j]), upper[j])


@kernel("int(double*, int*, int, double)")
def evaluate_ahead(w, iw, step_offset, alpha):
    """Evaluate at z + alpha step, which becomes the trial point; nonzero: 1 + the function that failed."""
    z, trial, step = shift(w, iw[Z]), shift(w, iw[Z_TRIAL]), shift(w, step_offset)
    for j in range(iw[N] + iw[MC]):
        trial[j] = z[j] + alpha * step[j]
    failed = call_step(iw[EVALUATE], w, iw)
    if failed == 0:
        iw[NFEV] += 1
    return failed


@kernel("double(double*, int*)")
def violation_ahead(w, iw):
    """Write c - s of the trial point to H_TRIAL; returns the sum of absolute values."""
    slacks, c, h = shift(w, iw[Z_TRIAL] + iw[N]), shift(w, iw[C_TRIAL]), shift(w, iw[H_TRIAL])
    total = 0.0
    for i in range(iw[MC]):
        h[i] = c[i] - slacks[i]
        total += abs(h[i])
    return total


@kernel("int(double*, int*)")
def breaks_kept(w, iw):
    """Whether the trial point violates a constraint that is satisfied now and is to be kept (`keep_feasible`)."""
    if iw[KEEPS] == 0:
        return 0
    keep, scale, c, trial = shift(w, iw[KEEP]), shift(w, iw[ROW_SCALE]), shift(w, iw[C]), shift(w, iw[C_TRIAL])
    lower, upper = shift(w, iw[CL]), shift(w, iw[CU])
    for i in range(iw[MC]):
        now, then = c[i] / scale[i], trial[i] / scale[i]
        if keep[i] != 0.0 and lower[i] <= now <= upper[i] and not lower[i] <= then <= upper[i]:
            return 1
    return 0
