"""Covariance of the parameters from the Jacobian that a solve left behind.

V = s^2 (J'J)^-1 = s^2 P R^-1 R^-T P',      J P = Q R,      s^2 = |r|^2 / (m - n)  or 1
"""

import math

from nlsq.kernels.backend import kernel, shift
from nlsq.kernels.dense import (
    cholesky_factorize,
    copy,
    dot,
    lower_solve,
    qr_factorize,
    upper_rank,
    upper_transposed_solve,
)
from nlsq.kernels.layout import (
    COST,
    FACTORED,
    INT_HEADER,
    NORMAL,
    RESIDUAL,
    SCALED_NORMAL,
    TRIANGLE,
    WORK_1,
    WORK_2,
    M,
    N,
    jacobian,
    matrix,
    qr_work,
    residual_vector,
    vector,
)
from nlsq.kernels.quadratic_model import fill_jacobian

NINE_DIGITS = 1e-7  # least pivot L_jj^2 / B_jj for which the inverse of the normal matrix is right to nine digits


@kernel("int(double*, int*, int)")
def covariance(w, iw, absolute):
    """Write V to the matrix NORMAL; 1 when J has lost rank exactly or there are no degrees of freedom to scale by.

    By Cholesky from the normal matrix, scaled to unit diagonal, while that keeps nine digits; else by QR.
    """
    m, n = iw[M], iw[N]
    normal, scaled, factor = matrix(w, iw, NORMAL), matrix(w, iw, SCALED_NORMAL), matrix(w, iw, FACTORED)
    scale, row = vector(w, iw, WORK_1), vector(w, iw, WORK_2)
    if m <= n and absolute == 0:
        return 1
    for i in range(n):
        scale[i] = 1.0 / math.sqrt(normal[i * n + i]) if normal[i * n + i] > 0.0 else 0.0
        for j in range(i + 1):
            scaled[i * n + j] = scale[i] * scale[j] * normal[i * n + j]
    if cholesky_factorize(scaled, 0.0, n, factor) < NINE_DIGITS:
        return covariance_by_qr(w, iw, absolute)
    variance = 1.0 if absolute != 0 else 2.0 * w[COST] / (m - n)
    for k in range(n):  # row k of `scaled`: L^-1 e_k
        for i in range(n):
            row[i] = 1.0 if i == k else 0.0
        lower_solve(factor, n, row)
        copy(row, shift(scaled, k * n), n)
    for i in range(n):
        for j in range(i + 1):
            value = variance * scale[i] * scale[j] * dot(shift(scaled, i * n), shift(scaled, j * n), n)
            normal[i * n + j] = value
            normal[j * n + i] = value
    return 0


@kernel("int(double*, int*, int)", cold=True)
def covariance_by_qr(w, iw, absolute):
    """Write V to the matrix NORMAL, from QR with column pivoting."""
    fill_jacobian(w, iw)
    m, n = iw[M], iw[N]
    q, r, v = qr_work(w, iw), matrix(w, iw, TRIANGLE), matrix(w, iw, NORMAL)
    jac_t, residual = jacobian(w, iw), residual_vector(w, iw, RESIDUAL)
    rhs, pivot = shift(q, n * m), shift(iw, INT_HEADER)
    for i in range(n * m):
        q[i] = jac_t[i]
    for i in range(m):
        rhs[i] = residual[i]
    qr_factorize(q, m, n, rhs, pivot, r, vector(w, iw, WORK_1))
    if upper_rank(r, n, 0.0) < n:
        return 1
    scale = 1.0 if absolute != 0 else 2.0 * w[COST] / (m - n)
    inverse = q  # row k: R^-T e_k
    for k in range(n):
        row = shift(inverse, k * n)
        for i in range(n):
            row[i] = 0.0
        row[k] = 1.0
        upper_transposed_solve(r, n, row)
    for i in range(n):
        for j in range(i + 1):
            # (R^-1 R^-T)_ij = sum_k (R^-T)_ki (R^-T)_kj: column k of R^-T is the row solved for e_k
            total = 0.0
            for k in range(n):
                total += inverse[i * n + k] * inverse[j * n + k]
            v[pivot[i] * n + pivot[j]] = scale * total
            v[pivot[j] * n + pivot[i]] = scale * total
    return 0
