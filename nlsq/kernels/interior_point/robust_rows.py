"""Robust losses: rows weighted so that J'J is definite, and what that leaves out of the Hessian."""

import math

from nlsq.kernels.backend import kernel, shift
from nlsq.kernels.interior_point.layout import CURVATURE_WEIGHT, JAC_T, LOSS, LOSS_SCALE, SECOND, M, N, R
from nlsq.kernels.robust import rho_first, rho_second


@kernel("double(double, int, double)")
def root_of_weight(residual, loss, scale):
    """Square root of rho' at a residual."""
    t = residual / scale
    return math.sqrt(rho_first(loss, t * t))


@kernel("void(double*, int, int, int, double, double*, double*)", cold=True)
def reweight(residual, m, n, loss, scale, jac_t_io, weighted_out):
    """Multiply residual and rows of J by the root of rho': J'J is then definite, and the gradient right.

    The part of the Hessian with rho'' is negative for residuals that count little; `bend` adds it to S.
    """
    for i in range(m):
        root = root_of_weight(residual[i], loss, scale)
        weighted_out[i] = root * residual[i]
        for j in range(n):
            jac_t_io[j * m + i] *= root


@kernel("void(double*, int*)", cold=True)
def bend(w, iw):
    """Add the part of the Hessian with rho'' to S: ``J' diag(2 rho'' z / rho') J``, of weighted rows."""
    m, n, s, r, jac_t = iw[M], iw[N], shift(w, iw[SECOND]), shift(w, iw[R]), shift(w, iw[JAC_T])
    factor = shift(w, iw[CURVATURE_WEIGHT])
    for i in range(m):
        t = r[i] / w[LOSS_SCALE]
        first = rho_first(iw[LOSS], t * t)
        factor[i] = 2.0 * rho_second(iw[LOSS], t * t) * t * t / first if first > 0.0 else 0.0
    for a in range(n):
        for b in range(a + 1):
            total = 0.0
            for i in range(m):
                total += factor[i] * jac_t[a * m + i] * jac_t[b * m + i]
            s[a * n + b] += total
