"""Robust losses on residuals: cost, and the weights that turn them into a linear least-squares model.

The cost is ``C = 1/2 sum_i s^2 rho(z_i)`` with ``z_i = (r_i / s)^2`` and loss scale s. With ``rho1 = rho'(z)``, ``rho2
= rho''(z)`` the gradient is ``J' (rho1 r)`` and the Gauss-Newton matrix ``J' diag(rho1 + 2 rho2 z) J``; rows of J are
multiplied by the root of that factor (kept above the rounding unit, as it may be negative) and r so that the gradient
is kept [1]_.

References
----------
.. [1] B. Triggs et al., "Bundle adjustment - a modern synthesis", 1999, section 4.3.
"""

import math

from nlsq.kernels.backend import kernel

LINEAR, HUBER, SOFT_L1, CAUCHY, ARCTAN = range(5)
EPS = 2.220446049250313e-16


@kernel("double(int, double)")
def rho(loss, z):
    """Evaluate rho(z)."""
    if loss == HUBER:
        return z if z <= 1.0 else 2.0 * math.sqrt(z) - 1.0
    if loss == SOFT_L1:
        root = math.sqrt(1.0 + z)
        return (
            2.0 * z / (1.0 + root) if z < 1.0 else 2.0 * (root - 1.0)
        )  # the first without cancellation, the second without inf / inf
    if loss == CAUCHY:
        return math.log1p(z)
    if loss == ARCTAN:
        return math.atan(z)
    return z


@kernel("double(int, double)")
def rho_first(loss, z):
    """Evaluate rho'(z)."""
    if loss == HUBER:
        return 1.0 if z <= 1.0 else 1.0 / math.sqrt(z)
    if loss == SOFT_L1:
        return 1.0 / math.sqrt(1.0 + z)
    if loss == CAUCHY:
        return 1.0 / (1.0 + z)
    if loss == ARCTAN:
        return 1.0 / (1.0 + z * z)
    return 1.0


@kernel("double(int, double)")
def rho_second(loss, z):
    """Evaluate rho''(z)."""
    if loss == HUBER:
        return 0.0 if z <= 1.0 else -0.5 / (z * math.sqrt(z))
    if loss == SOFT_L1:
        return -0.5 / ((1.0 + z) * math.sqrt(1.0 + z))
    if loss == CAUCHY:
        slope = 1.0 / (1.0 + z)
        return -slope * slope
    if loss == ARCTAN:
        slope = 1.0 / (1.0 + z * z)
        return -2.0 * (z * slope) * slope if slope > 0.0 else 0.0
    return 0.0


@kernel("double(int, double)")
def row_factor(loss, z):
    """Root of the curvature rho' + 2 rho'' z, whose second term vanishes where z overflows."""
    curvature = rho_first(loss, z)
    if z < math.inf:
        curvature += 2.0 * rho_second(loss, z) * z
    return math.sqrt(max(curvature, EPS))


@kernel("double(double*, int, int, double)", cold=True)
def robust_cost(residual, m, loss, scale):
    """1/2 sum s^2 rho((r/s)^2)."""
    total = 0.0
    if loss == LINEAR:
        for i in range(m):
            total += residual[i] * residual[i]
        return 0.5 * total
    for i in range(m):
        t = residual[i] / scale
        total += rho(loss, t * t)
    return 0.5 * scale * scale * total


@kernel("void(double*, int, int, int, double, double*, double*)", cold=True)
def reweighted_norms(residual, m, n, loss, scale, jac_t, norms_out):
    """Norms of the columns of J with rows weighted by rho': they stay where the curvature of the loss vanishes."""
    for j in range(n):
        total = 0.0
        for i in range(m):
            t = residual[i] / scale
            total += rho_first(loss, t * t) * jac_t[j * m + i] * jac_t[j * m + i]
        norms_out[j] = math.sqrt(total)


@kernel("void(double*, int, int, int, double, double*, double*)", cold=True)
def apply_loss(residual, m, n, loss, scale, jac_t_io, weighted_out):
    """Write the weighted residual and scale the rows of J in place."""
    for i in range(m):
        if loss == LINEAR:
            weighted_out[i] = residual[i]
        else:
            t = residual[i] / scale
            z = t * t
            factor = row_factor(loss, z)
            weighted_out[i] = residual[i] * (rho_first(loss, z) / factor)
            for j in range(n):
                jac_t_io[j * m + i] *= factor
