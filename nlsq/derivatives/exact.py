"""Exact Jacobians of compiled functions, by dual numbers.

    r(x + sum_k e_k) = r(x) + sum_k J_k e_k          with  e_j e_k = 0

A compiled residual brings a C function that fills the transposed Jacobian in one pass over the data, to the last
digits and without evaluating the residual (`nlsq.kernels.backend.dual`). This estimator hands its address to the
compiled loop, or calls it. At a point where the derivative is not finite, as that of sqrt at 0, a forward difference is
taken; the evaluations it costs are counted, which is how it shows.

Dual numbers differentiate what a program computes. Where that differs from what was meant (a table looked up at an
index that depends on a parameter), a comparison shows it: along one direction, with the one-sided difference of second
order

    J d ~ (4 r(x + d) - r(x + 2d) - 3 r(x)) / 2

References
----------
.. [1] A. Griewank, A. Walther, "Evaluating Derivatives", SIAM, 2nd edition, 2008, chapter 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nlsq.derivatives.estimator import FloatArray, PreparedJacobian
from nlsq.derivatives.finite_difference import ForwardDifference
from nlsq.derivatives.steps import StepSizes
from nlsq.kernels import layout
from nlsq.kernels.backend import address_of_kernel
from nlsq.kernels.exact import exact_jacobian, fused_normal_equations

if TYPE_CHECKING:
    from nlsq.pattern import SparsityPattern

__all__ = ["Exact", "PreparedExact", "why_not_exact"]

DIRECTION_SEED = 20081117
AGREEMENT = 1e-3  # relative; the difference is right to about 1e-7 where the function is smooth
NOISE = 30.0  # rounding units that the residual may be off by


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Exact:
    """Exact derivatives of a compiled function: all digits, and no evaluations where they are finite."""

    def prepare(
        self,
        residual: Any,
        x0: FloatArray,
        m: int,
        *,
        lower: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        scale: ArrayLike | None = None,
        pattern: SparsityPattern | None = None,
        dtype: DTypeLike | None = None,
    ) -> PreparedJacobian:
        """Prepare for one compiled residual, with a `pattern` for a sparse Jacobian; see `JacobianEstimator.prepare`.

        Raises
        ------
        TypeError
            If the residual is not compiled, or has no exact derivative.
        """
        if not getattr(residual, "differentiable", False):
            raise TypeError("exact derivatives need a function made by nlsq.compile; use jac='2-point' for others.")
        if pattern is not None:
            from nlsq.derivatives.exact_sparse import PreparedSparseExact

            return PreparedSparseExact(residual, x0, m, pattern, lower=lower, upper=upper, scale=scale)
        reason = why_not_exact(residual, x0, lower=lower, upper=upper)
        if reason:
            raise TypeError(f"no exact derivatives: {reason}; use jac='2-point' or '3-point'.")
        differences = ForwardDifference().prepare(residual, x0, m, lower=lower, upper=upper, scale=scale)
        return PreparedExact(residual, differences, x0.size, m)


@final
class PreparedExact:
    """Exact Jacobian of one compiled residual.

    Parameters
    ----------
    residual : CompiledResidual
        With a `jacobian_address`.
    differences : PreparedJacobian
        Forward differences, for points where the derivative is not finite.
    n, m : int
        Numbers of parameters and residuals.

    Attributes
    ----------
    pattern : None
        The Jacobian is dense.
    residual_calls : int
        0, except after an evaluation that took differences.
    """

    def __init__(self, residual: Any, differences: Any, n: int, m: int) -> None:
        self.pattern: SparsityPattern | None = None
        self._differences = differences
        self.residual_calls = 0
        self._residual = residual
        self._shape = (n, m)

    def write(self, w: FloatArray, iw: NDArray[np.int64]) -> bool:
        """Hand the derivative to the compiled loop, as normal equations in one pass where there are such."""
        self._differences.write(w, iw)
        iw[layout.JACOBIAN_FUNCTION] = self._residual.jacobian_address
        iw[layout.NORMAL_FUNCTION] = self._residual.normal_equations(int(iw[layout.LOSS]), float(w[layout.LOSS_SCALE]))
        fused = iw[layout.NORMAL_FUNCTION] != 0
        iw[layout.JACOBIAN_STEP] = address_of_kernel(fused_normal_equations if fused else exact_jacobian)
        return True

    def evaluate(self, x: FloatArray, r: FloatArray, jac_out: FloatArray | None) -> FloatArray:
        """Fill `jac_out`, shape (m, n), with the Jacobian at `x`; see `PreparedJacobian.evaluate`."""
        in_place = jac_out is not None and jac_out.T.flags.c_contiguous and jac_out.dtype == np.float64
        jac_t = jac_out.T if jac_out is not None and in_place else np.empty(self._shape)
        self._residual.jacobian_into(x, jac_t)
        self.residual_calls = 0
        if not np.isfinite(jac_t).all():
            self._differences.evaluate(x, r, jac_t.T)
            self.residual_calls = self._differences.residual_calls
        if jac_out is None:
            return jac_t.T
        if not in_place:
            jac_out[...] = jac_t.T
        return jac_out


def why_not_exact(
    residual: Any, x: FloatArray, *, lower: ArrayLike | None = None, upper: ArrayLike | None = None
) -> str:
    """Say why a compiled residual has no exact derivative to be trusted; empty when it has one.

    It is compiled, and compared with a difference, once for all data and starts of the function. Where nothing can be
    compared (the residual is not finite at `x`, or fails near it), it is not held against the derivative, and the next
    start is looked at.

    Parameters
    ----------
    residual : CompiledResidual
        With its `derivative`.
    x : ndarray, shape (n,)
        Start.
    lower, upper : array_like, optional
        Bounds that the comparison does not leave.
    """
    derivative = residual.derivative
    if derivative.address and not derivative.compared:
        jac_t = np.empty((x.size, residual.m))

        def slope(direction: FloatArray) -> FloatArray:
            residual.jacobian_into(x, jac_t)
            return direction @ jac_t

        found = disagreement(residual, x, StepSizes("central", x, lower=lower, upper=upper), slope)
        if found is not None:
            derivative.compared = True
            if found:
                derivative.refuse(found)
    reason: str = derivative.reason
    return reason


def disagreement(
    residual: Any, x: FloatArray, sizes: StepSizes, slope_along: Callable[[FloatArray], FloatArray]
) -> str | None:
    """Say where J d and the difference along d differ; empty if nowhere, None if there is nothing to compare.

    Parameters
    ----------
    residual : callable
        ``residual(x) -> r``.
    x : ndarray, shape (n,)
        Point.
    sizes : StepSizes
        Of central differences, with the bounds.
    slope_along : callable
        ``d -> J d`` at `x`.
    """
    above, below = sizes.upper - x, x - sizes.lower
    size = np.abs(sizes.stencil(x).first - x) * np.random.default_rng(DIRECTION_SEED).uniform(0.5, 1.0, x.size)
    direction = np.where(above >= below, np.minimum(size, 0.5 * above), -np.minimum(size, 0.5 * below))
    try:
        base, near, far = (residual(x + k * direction) for k in range(3))
        slope = slope_along(direction)
    except Exception:  # the solver meets it too if it matters, and then it passes through
        return None
    if not (np.isfinite(base).all() and np.isfinite(slope).any()):
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        first_order, second_order = near - base, 0.5 * (4.0 * near - far - 3.0 * base)
        finite = np.isfinite(second_order) & np.isfinite(slope)
        largest = np.max(np.abs(second_order), initial=0.0, where=finite)
        noise = NOISE * sizes.eps * np.max(np.abs([base, near, far]), axis=0)
        allowed = AGREEMENT * np.abs(second_order) + np.abs(first_order - second_order) + noise + 1e-8 * largest
        wrong = finite & ~(np.abs(slope - second_order) <= allowed)
    if not wrong.any():
        return ""
    row = int(np.argmax(wrong))
    return (
        f"at the start the derivative of residual {row} along a direction is {slope[row]:.6g} by dual numbers"
        f" and {second_order[row]:.6g} by differences"
    )
