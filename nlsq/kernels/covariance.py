"""Covariance of the parameters from the Jacobian that a solve left behind.

V = s^2 (J'J)^-1 = s^2 P R^-1 R^-T P',      J P = Q R,      s^2 = |r|^2 / (m - n)  or 1
"""

from nlsq.kernels.backend import kernel, shift
from nlsq.kernels.dense import qr_factorize, upper_rank, upper_transposed_solve
from nlsq.kernels.layout import (
    COST,
    INT_HEADER,
    NORMAL,
    RESIDUAL,
    TRIANGLE,
    WORK_1,
    M,
    N,
    jacobian,
    matrix,
    qr_work,
    residual_vector,
    vector,
)


@kernel("int(double*, int*, int)")
def covariance(w, iw, absolute):
    """Write V to the matrix NORMAL; 1 when J has lost rank exactly or there are no degrees of freedom to scale by."""
    m, n = iw[M], iw[N]
    q, r, v = qr_work(w, iw), matrix(w, iw, TRIANGLE), matrix(w, iw, NORMAL)
    jac_t, residual = jacobian(w, iw), residual_vector(w, iw, RESIDUAL)
    rhs, pivot = shift(q, n * m), shift(iw, INT_HEADER)
    if m <= n and absolute == 0:
        return 1
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
