"""Complex-step Jacobian of a residual that is called by address with complex arguments.

    J_j = Im r(x + i h_j e_j) / h_j,      h_j = 1e-20 max(|x_j|, s_j)

There is no difference and so no cancellation: the step can be so small that truncation is below rounding [1]_. Complex
numbers are pairs of doubles. The Python twin, which also refuses what is not analytic, is in
`nlsq.derivatives.complex_step`.

References
----------
.. [1] W. Squire, G. Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review 40, 1998.
"""

from nlsq.kernels.backend import call_function, kernel, shift
from nlsq.kernels.dense import copy
from nlsq.kernels.layout import (
    COMPLEX_FUNCTION,
    NFEV_JAC,
    RESIDUAL_DATA,
    SIZE_LARGE,
    X_NEW,
    M,
    N,
    X,
    jacobian,
    qr_work,
    vector,
)

COMPLEX_STEP = 1e-20  # these three as in `nlsq.derivatives.steps`
SMALLEST_COMPLEX = 1e-292
LARGEST_COMPLEX_STEP = 1e-8


@kernel("int(double*, int*)", cold=True)
def complex_step_jacobian(w, iw):
    """Fill jac_t; nonzero when the residual failed."""
    m, n = iw[M], iw[N]
    x = vector(w, iw, X)
    z = qr_work(w, iw)
    out = shift(z, 2 * n)
    for j in range(n):
        z[2 * j] = x[j]
        z[2 * j + 1] = 0.0
    for j in range(n):
        size = max(abs(x[j]), vector(w, iw, SIZE_LARGE)[j])
        h = max(COMPLEX_STEP * size, min(SMALLEST_COMPLEX, LARGEST_COMPLEX_STEP * size))
        z[2 * j + 1] = h
        failed = call_function(iw[COMPLEX_FUNCTION], z, iw[RESIDUAL_DATA], out)
        z[2 * j + 1] = 0.0
        iw[NFEV_JAC] += 1
        if failed != 0:  # the caller looks there for the point that failed
            copy(x, vector(w, iw, X_NEW), n)
            return failed
        column = shift(jacobian(w, iw), j * m)
        for i in range(m):
            column[i] = out[2 * i + 1] / h
    return 0
