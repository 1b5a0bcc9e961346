"""Difference Jacobians of a residual that is called by address, column by column without Python.

    forward:  J_j = (r(x + h_j e_j) - r(x)) / h_j            h_j = eps^(1/2) max(|x_j|, t_j)
    central:  J_j = (r(x + h_j e_j) - r(x - h_j e_j)) / 2 h_j     h_j = eps^(1/3) max(|x_j|, t_j)

t_j is the parameter's typical size. Steps stay inside the bounds: the other side is used where one is too near, and where a central step
does not fit, the one-sided formula of second order. The Python twins are in `nlsq.derivatives.finite_difference`.

References
----------
.. [1] J. Dennis, R. Schnabel, "Numerical Methods for Unconstrained Optimization", 1983, section 5.4.
"""

import math

from nlsq.kernels.backend import call_function, kernel, shift
from nlsq.kernels.layout import (
    JACOBIAN_FUNCTION,
    LOWER,
    NFEV_JAC,
    RELATIVE_STEP,
    RESIDUAL,
    RESIDUAL_DATA,
    RESIDUAL_FUNCTION,
    RESIDUAL_WORK,
    TYPICAL,
    UPPER,
    X,
    M,
    N,
    jacobian,
    residual_vector,
    vector,
)


@kernel("double(double, double, double, double, double)", strict=True)
def forward_step(x, relative, typical, lower, upper):
    """Signed step away from zero, or to the side (or as far) as the bounds allow; exactly representable."""
    h = relative * max(abs(x), typical)
    if h == 0.0:
        h = relative
    if x < 0.0:
        h = -h
    if not lower <= x + h <= upper:
        if lower <= x - h <= upper:
            h = -h
        else:
            h = upper - x if upper - x > x - lower else lower - x
    return (x + h) - x


@kernel("void(double*, int, double, double*)")
def divide_difference(base, m, h, column_io):
    """Column = (column - base) / h; a zero step (a fixed parameter) gives a zero column."""
    scale = 1.0 / h if h != 0.0 else 0.0
    for i in range(m):
        column_io[i] = (column_io[i] - base[i]) * scale


@kernel("int(double*, int*)")
def forward_jacobian(w, iw):
    """Fill jac_t by forward differences; nonzero when the residual failed."""
    m, n = iw[M], iw[N]
    x = vector(w, iw, X)
    jac_t = jacobian(w, iw)
    base = residual_vector(w, iw, RESIDUAL)
    for j in range(n):
        kept = x[j]
        h = forward_step(kept, w[RELATIVE_STEP], vector(w, iw, TYPICAL)[j], vector(w, iw, LOWER)[j], vector(w, iw, UPPER)[j])
        column = shift(jac_t, j * m)
        x[j] = kept + h
        failed = call_function(iw[RESIDUAL_FUNCTION], x, iw[RESIDUAL_DATA], column)
        x[j] = kept
        if failed != 0:
            return failed
        divide_difference(base, m, h, column)
    iw[NFEV_JAC] += n
    return 0


@kernel("int(double*, int*)")
def central_jacobian(w, iw):
    """Fill jac_t by central differences, one-sided of second order at a bound; nonzero when the residual failed."""
    m, n = iw[M], iw[N]
    x = vector(w, iw, X)
    jac_t = jacobian(w, iw)
    base = residual_vector(w, iw, RESIDUAL)
    other = residual_vector(w, iw, RESIDUAL_WORK)
    for j in range(n):
        kept = x[j]
        lower, upper = vector(w, iw, LOWER)[j], vector(w, iw, UPPER)[j]
        h = forward_step(kept, w[RELATIVE_STEP], vector(w, iw, TYPICAL)[j], lower, upper)
        centred = lower <= kept - h <= upper
        if not centred:
            h = forward_step(kept, 0.5 * w[RELATIVE_STEP], vector(w, iw, TYPICAL)[j], lower, upper)
            if not lower <= kept + 2.0 * h <= upper:
                h *= 0.5
        column = shift(jac_t, j * m)
        x[j] = kept + h
        failed = call_function(iw[RESIDUAL_FUNCTION], x, iw[RESIDUAL_DATA], column)
        if failed == 0:
            x[j] = kept - h if centred else kept + 2.0 * h
            failed = call_function(iw[RESIDUAL_FUNCTION], x, iw[RESIDUAL_DATA], other)
        x[j] = kept
        if failed != 0:
            return failed
        scale = 0.5 / h if h != 0.0 else 0.0
        for i in range(m):
            if centred:
                column[i] = (column[i] - other[i]) * scale
            else:
                column[i] = (4.0 * column[i] - 3.0 * base[i] - other[i]) * scale
    iw[NFEV_JAC] += 2 * n
    return 0


@kernel("int(double*, int*)")
def analytic_jacobian(w, iw):
    """Fill jac_t by calling the derivative by address."""
    from_user = call_function(iw[JACOBIAN_FUNCTION], vector(w, iw, X), iw[RESIDUAL_DATA], jacobian(w, iw))
    return from_user
