"""Exact derivatives by address: of a residual that brings its Jacobian, and its normal equations in one pass.

Where a derivative is not finite though the residual is, as that of sqrt at 0, forward differences stand in for it.
"""

from nlsq.kernels.backend import call_normal, kernel
from nlsq.kernels.bounds import all_finite
from nlsq.kernels.dense import copy, dot
from nlsq.kernels.finite_difference import analytic_jacobian, forward_jacobian
from nlsq.kernels.layout import (
    COST,
    GRADIENT,
    LOSS,
    NJEV,
    NORMAL,
    NORMAL_FUNCTION,
    NORMAL_FUSED,
    NORMAL_NONE,
    NORMAL_READY,
    RESIDUAL,
    RESIDUAL_DATA,
    X_NEW,
    M,
    N,
    X,
    jacobian,
    matrix,
    residual_vector,
    vector,
)
from nlsq.kernels.robust import LINEAR


@kernel("int(double*, int*)")
def exact_jacobian(w, iw):
    """Fill jac_t by calling the derivative by address; where it is not finite, by forward differences."""
    iw[NORMAL_READY] = NORMAL_NONE
    if analytic_jacobian(w, iw) != 0:  # the caller looks there for the point that failed
        copy(vector(w, iw, X), vector(w, iw, X_NEW), iw[N])
        return 1
    if all_finite(jacobian(w, iw), iw[M] * iw[N]) != 0:
        return 0
    return forward_jacobian(w, iw)


@kernel("int(double*, int*)")
def fused_normal_equations(w, iw):
    """Gradient and normal matrix at x in one pass over the data; J is not stored."""
    n = iw[N]
    if iw[LOSS] != LINEAR and iw[NJEV] == 0:  # the scaling of a robust fit needs J itself, once
        return exact_jacobian(w, iw)
    cost = call_normal(
        iw[NORMAL_FUNCTION], vector(w, iw, X), iw[RESIDUAL_DATA], vector(w, iw, GRADIENT), matrix(w, iw, NORMAL)
    )
    if all_finite(vector(w, iw, GRADIENT), n) == 0 or all_finite(matrix(w, iw, NORMAL), n * n) == 0:
        return exact_jacobian(w, iw)
    iw[NORMAL_READY] = NORMAL_FUSED
    w[COST] = cost
    if iw[LOSS] == LINEAR:
        w[COST] = 0.5 * dot(residual_vector(w, iw, RESIDUAL), residual_vector(w, iw, RESIDUAL), iw[M])
    return 0
