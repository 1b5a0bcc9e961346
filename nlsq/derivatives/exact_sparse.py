r"""Exact sparse Jacobians of compiled functions: dual numbers, several colours at a time.

All parameters of a colour c are seeded with the same partial e_c,

    r(x + sum_c e_c sum_{j in c} 1_j) = r(x) + sum_c e_c (J S)_c          with  e_c e_d = 0,

so that one run of the function on dual numbers of `width` partials gives as many columns of the compressed Jacobian,
and row i of column c is the entry (i, j) of the one column j of that colour in the row. Entries are written into the
values of a csr array as each residual comes; the compressed Jacobian is never stored.

References
----------
.. [1] A. Griewank, A. Walther, "Evaluating Derivatives", SIAM, 2nd edition, 2008, sections 3.1 and 8.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import numpy as np

from nlsq.derivatives.colored import ColoredLayout
from nlsq.derivatives.estimator import FloatArray, PreparedJacobian
from nlsq.derivatives.finite_difference import ForwardDifference
from nlsq.derivatives.steps import StepSizes
from nlsq.kernels.backend import address_of_array, handle
from nlsq.kernels.backend.signature import Signature

if TYPE_CHECKING:
    from nlsq.pattern import SparsityPattern

__all__ = ["PreparedSparseExact"]

_C_FUNCTION = Signature.parse("int(double*, int, double*)")


@final
class PreparedSparseExact:
    """Exact sparse Jacobian of one compiled residual.

    Parameters
    ----------
    residual : CompiledResidual
        With `seeded_derivative`.
    x0 : ndarray, shape (n,)
        Start.
    m : int
        Number of residuals.
    pattern : SparsityPattern
        Where the Jacobian may be nonzero.
    **options : array_like
        Bounds and scale, for differences where the derivative is not finite.

    Attributes
    ----------
    pattern : SparsityPattern
        As given.
    coloring : Coloring
        Its colours.
    residual_calls : int
        0, except after an evaluation that took differences.

    Raises
    ------
    TypeError
        If the function has no derivative by dual numbers, or one that differs from differences.
    """

    def __init__(self, residual: Any, x0: FloatArray, m: int, pattern: SparsityPattern, **options: Any) -> None:
        from nlsq.kernels.backend.seeded_derivative import width_for

        self._residual, self._options, self._start, self._m = residual, options, x0, m
        layout = self._layout = ColoredLayout(pattern, m, x0.size, np.zeros(x0.size, dtype=np.bool_))
        self.pattern: SparsityPattern | None = pattern
        self.coloring = layout.coloring
        self.residual_calls = 0
        width = width_for(layout.coloring.n_colors)
        derivative = residual.seeded_derivative(width)
        if not derivative.address:
            raise TypeError(f"no exact derivatives: {derivative.reason}; use jac='2-point' or '3-point'.")
        self._entry = _C_FUNCTION.prototype()(derivative.address)
        arrays = layout.coloring.colors, layout.indptr, layout.color_of
        self._arrays = [np.ascontiguousarray(one, dtype=np.int64) for one in arrays]
        passes = -(-layout.coloring.n_colors // width)
        addresses = [address_of_array(one) for one in self._arrays]
        self._table = np.array([m, x0.size, *addresses, passes], dtype=np.int64)
        self._differences: PreparedJacobian | None = None
        if not derivative.compared:
            self._compare(derivative, x0)

    def _compare(self, derivative: Any, x: FloatArray) -> None:
        """Hold the derivative against a difference, once for each function."""
        from nlsq.derivatives.exact import disagreement

        sizes = StepSizes("central", x, lower=self._options.get("lower"), upper=self._options.get("upper"))
        found = disagreement(self._residual, x, sizes, lambda direction: self._values(x) @ direction)
        if found:
            raise TypeError(f"no exact derivatives: {found}; use jac='2-point' or '3-point'.")
        derivative.compared = found is not None

    def _values(self, x: FloatArray) -> Any:
        values = np.zeros(self._layout.columns.size)
        if self._entry(handle(np.ascontiguousarray(x)), address_of_array(self._table), handle(values)):
            self._residual.raise_original(x)
        return self._layout.to_csr(values)

    def evaluate(self, x: FloatArray, r: FloatArray, jac_out: FloatArray | None = None) -> Any:
        """Return the Jacobian at `x` as a csr_array, shape (m, n); see `PreparedJacobian.evaluate`."""
        jac = self._values(x)
        self.residual_calls = 0
        if not np.isfinite(jac.data).all():
            if self._differences is None:
                self._differences = ForwardDifference().prepare(
                    self._residual, self._start, self._m, pattern=self.pattern, **self._options
                )
            jac = self._differences.evaluate(x, r, None)
            self.residual_calls = self._differences.residual_calls
        return jac
