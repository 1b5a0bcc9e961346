"""Which point functions are evaluated at."""

from nlsq.kernels.backend import kernel, shift
from nlsq.kernels.interior_point.layout import X_EVALUATED, XL, XU, N


@kernel("void(double*, int*, int)")
def place_evaluated(w, iw, z_offset):
    """Put the x of a point, moved inside the bounds that were given, where functions find it."""
    x, z, lower, upper = shift(w, iw[X_EVALUATED]), shift(w, z_offset), shift(w, iw[XL]), shift(w, iw[XU])
    for j in range(iw[N]):
        x[j] = min(max(z[j], lower[j]), upper[j])
