"""Difference Jacobians of a residual that is called by address, column by column without Python.

    forward     J_j = (r(x + h_j e_j) - r(x)) / h_j
    central     J_j = (r(x + h_j e_j) - r(x - h_j e_j)) / 2 h_j
    at a bound  J_j = (-3 r(x) + 4 r(x + h_j e_j) - r(x + 2 h_j e_j)) / 2 h_j

The steps are those of `nlsq.derivatives.steps`, which says why they are what they are: relative to the size of the
parameter, exactly representable, inside the bounds, and longer where rounding swallowed the difference. The Python twin
is `nlsq.derivatives.finite_difference`; a test holds both equal.

References
----------
.. [1] J. Dennis, R. Schnabel, "Numerical Methods for Unconstrained Optimization", 1983, section 5.4.
"""

import math

from nlsq.kernels.backend import call_function, kernel, shift
from nlsq.kernels.dense import copy
from nlsq.kernels.layout import (
    JACOBIAN_FUNCTION,
    LOWER,
    NFEV_JAC,
    NJEV,
    RELATIVE_STEP,
    RESIDUAL,
    RESIDUAL_DATA,
    RESIDUAL_FUNCTION,
    RESIDUAL_WORK,
    SCALING,
    SIZE_AT_ZERO,
    SIZE_LARGE,
    SIZE_SMALL,
    SIZES_GIVEN,
    TYPICAL,
    UPPER,
    X_NEW,
    M,
    N,
    X,
    jacobian,
    residual_vector,
    vector,
)

EPS = 2.220446049250313e-16
TYPICAL_FRACTION = 1e-3  # these three as in `nlsq.derivatives.steps`
SMALLEST_SIZE = 1e-300
LOST = 30.0  # a difference below LOST eps |r| has hardly more than one good digit
# At the start even that counts: it leads away from a point of symmetry.
ROUNDING = 2.0  # a difference of so many eps |r| at the longest step says nothing at all
MAX_GROWTHS = 4


@kernel("double(double, double, double, double)", strict=True)
def relative_step(x, relative, small, at_zero):
    """Signed step away from zero."""
    if x == 0.0:
        return relative * at_zero
    h = relative * max(abs(x), small)
    return h if x > 0.0 else -h


@kernel("double(double, double, double, double)", strict=True)
def place_forward(x, h, lower, upper):
    """X + h, on the other side where a bound is in the way, or at the farther bound where both are."""
    moved = x + h
    if moved < lower or moved > upper:
        below, above = x - lower, upper - x
        if abs(h) <= max(below, above):
            moved = x - h
        else:
            moved = upper if above >= below else lower
        moved = min(max(moved, lower), upper)
    return moved


@kernel("double(double, double, double, double)", strict=True)
def place_central(x, h, lower, upper):
    """Step of the central formula where it fits (shortened if need be), else of the one-sided one."""
    h = abs(h)
    h = (x + h) - x
    below, above = x - lower, upper - x
    if below >= h and above >= h:
        return h
    fitted = min(h, 0.5 * max(below, above))
    nearer = min(below, above)
    return nearer if fitted <= nearer else fitted


@kernel("int(double*, double*, int, double)")
def is_lost(difference, base, m, threshold):
    """Say whether no residual changed by more than `threshold` times itself; what is no number is not lost."""
    for i in range(m):
        if not abs(difference[i]) <= threshold * abs(base[i]):
            return 0
    return 1


@kernel("int(double*, int*, int, double, double*)", strict=True)
def residual_at(w, iw, j, value, out):
    """Evaluate the residual with x_j replaced."""
    x = vector(w, iw, X)
    kept = x[j]
    x[j] = value
    failed = call_function(iw[RESIDUAL_FUNCTION], x, iw[RESIDUAL_DATA], out)
    if failed != 0:  # the caller looks there for the point that failed
        copy(x, vector(w, iw, X_NEW), iw[N])
    x[j] = kept
    iw[NFEV_JAC] += 1
    return failed


@kernel("double(double*, int*, int, double)", strict=True)
def forward_column(w, iw, j, h):
    """Difference r(x + h e_j) - r(x) into column j; returns the width, nan when the residual failed."""
    m = iw[M]
    kept = vector(w, iw, X)[j]
    column = shift(jacobian(w, iw), j * m)
    base = residual_vector(w, iw, RESIDUAL)
    moved = place_forward(kept, h, vector(w, iw, LOWER)[j], vector(w, iw, UPPER)[j])
    if residual_at(w, iw, j, moved, column) != 0:
        return math.nan
    for i in range(m):
        column[i] -= base[i]
    return moved - kept


@kernel("double(double*, int*, int, double)", strict=True, cold=True)
def central_column(w, iw, j, h):
    """Two-sided difference into column j, one-sided at a bound; returns the width, nan when the residual failed."""
    m = iw[M]
    kept = vector(w, iw, X)[j]
    lower, upper = vector(w, iw, LOWER)[j], vector(w, iw, UPPER)[j]
    column = shift(jacobian(w, iw), j * m)
    base, other = residual_vector(w, iw, RESIDUAL), residual_vector(w, iw, RESIDUAL_WORK)
    h = place_central(kept, h, lower, upper)
    centred = kept - lower >= h and upper - kept >= h
    if centred:
        first, second = kept - h, kept + h
    elif upper - kept >= kept - lower:
        first, second = min(kept + h, upper), min(kept + 2.0 * h, upper)
    else:
        first, second = max(kept - h, lower), max(kept - 2.0 * h, lower)
    if residual_at(w, iw, j, first, column) != 0 or residual_at(w, iw, j, second, other) != 0:
        return math.nan
    for i in range(m):
        if centred:
            column[i] = other[i] - column[i]
        else:
            column[i] = -3.0 * base[i] + 4.0 * column[i] - other[i]
    return second - first if centred else second - kept


@kernel("int(double*, int*, int)", strict=True)
def difference_jacobian(w, iw, central):
    """Fill jac_t; nonzero when the residual failed."""
    m, n = iw[M], iw[N]
    base = residual_vector(w, iw, RESIDUAL)
    relative = w[RELATIVE_STEP]
    for j in range(n):
        kept = vector(w, iw, X)[j]
        lower, upper = vector(w, iw, LOWER)[j], vector(w, iw, UPPER)[j]
        column = shift(jacobian(w, iw), j * m)
        if lower == upper:
            for i in range(m):
                column[i] = 0.0
            continue
        size = vector(w, iw, SIZE_LARGE)[j]
        h = relative_step(kept, relative, vector(w, iw, SIZE_SMALL)[j], vector(w, iw, SIZE_AT_ZERO)[j])
        width = central_column(w, iw, j, h) if central != 0 else forward_column(w, iw, j, h)
        room = max(upper - kept, kept - lower) * (0.5 if central != 0 else 1.0)
        limit = min(relative * max(max(abs(kept), size), 1.0), room)
        for attempt in range(MAX_GROWTHS):
            h = abs(width) * (0.5 if central != 0 else 1.0)
            if not h < 0.5 * limit or is_lost(column, base, m, LOST * EPS) == 0:
                break
            h = limit if attempt == MAX_GROWTHS - 1 else min(h * (relative / (LOST * EPS)), limit)
            if kept < 0.0:
                h = -h
            width = central_column(w, iw, j, h) if central != 0 else forward_column(w, iw, j, h)
        if width != width:
            return 1
        if iw[NJEV] > 0 and is_lost(column, base, m, ROUNDING * EPS) != 0:
            width = 0.0  # the last digit of r divided by the step is no derivative
        for i in range(m):
            column[i] = column[i] / width if width != 0.0 else 0.0
    return 0


@kernel("void(double*, int*)")
def sizes_from_start(w, iw):
    """Sizes of the parameters from what is known of them: the scale that was given, else the start.

    Else the width of the bounds.
    """
    x = vector(w, iw, X)
    small, at_zero, large = vector(w, iw, SIZE_SMALL), vector(w, iw, SIZE_AT_ZERO), vector(w, iw, SIZE_LARGE)
    for j in range(iw[N]):
        width = vector(w, iw, UPPER)[j] - vector(w, iw, LOWER)[j]
        size = 1.0 / vector(w, iw, SCALING)[j] if iw[SIZES_GIVEN] != 0 else abs(x[j])
        if size == 0.0 and 0.0 < width < math.inf:
            size = width
        known = size > 0.0
        large[j] = size if known else 1.0
        small[j] = max(TYPICAL_FRACTION * large[j], SMALLEST_SIZE)
        at_zero[j] = small[j] if known else 1.0
        vector(w, iw, TYPICAL)[j] = abs(x[j])


@kernel("int(double*, int*)")
def forward_jacobian(w, iw):
    """Forward differences."""
    return difference_jacobian(w, iw, 0)


@kernel("int(double*, int*)")
def central_jacobian(w, iw):
    """Central differences."""
    return difference_jacobian(w, iw, 1)


@kernel("int(double*, int*)")
def analytic_jacobian(w, iw):
    """Fill jac_t by calling the derivative by address."""
    return call_function(iw[JACOBIAN_FUNCTION], vector(w, iw, X), iw[RESIDUAL_DATA], jacobian(w, iw))
