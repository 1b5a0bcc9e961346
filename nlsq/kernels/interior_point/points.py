"""Which point functions are evaluated at."""

from nlsq.kernels.backend import kernel, shift
from nlsq.kernels.interior_point.layout import (
    C_TRIAL,
    CL,
    CU,
    KEEP,
    KEEPS,
    MC,
    ROW_SCALE,
    SIZE,
    X_EVALUATED,
    XL,
    XU,
    C,
    N,
)


@kernel("void(double*, int*, int)")
def place_evaluated(w, iw, z_offset):
    """Put the x of a point, moved inside the bounds that were given, where functions find it."""
    x, z, lower, upper = shift(w, iw[X_EVALUATED]), shift(w, z_offset), shift(w, iw[XL]), shift(w, iw[XU])
    size = shift(w, iw[SIZE])
    for j in range(iw[N]):
        x[j] = min(max(size[j] * z[j], lower[j]), upper[j])


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
