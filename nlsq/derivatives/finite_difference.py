r"""Dense difference quotients, column by column.

    forward    J_j = (r(x + h_j e_j) - r(x)) / h_j                     n evaluations,  error h |r''| / 2
    central    J_j = (r(x + h_j e_j) - r(x - h_j e_j)) / 2 h_j        2n evaluations,  error h^2 |r'''| / 6
    at a bound J_j = (-3 r(x) + 4 r(x + h_j e_j) - r(x + 2h_j e_j)) / 2 h_j            error h^2 |r'''| / 3

The steps, and why they are what they are, are in `nlsq.derivatives.steps`; with a sparsity pattern the columns are
grouped by colour (`nlsq.derivatives.colored`).

A fixed parameter (lb = ub) is never moved: its column is 0. A residual that turns out to compute in float32 has its
steps chosen for float32.

References
----------
.. [1] J. E. Dennis and R. B. Schnabel, "Numerical Methods for Unconstrained Optimization and Nonlinear Equations",
   SIAM, 1996, section 5.4.
.. [2] B. Fornberg, "Generation of Finite Difference Formulas on Arbitrarily Spaced Grids", Mathematics of Computation
   51, 1988.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nlsq.derivatives.by_address import write_bounds
from nlsq.derivatives.estimator import FloatArray, PreparedJacobian, Residual
from nlsq.derivatives.probe import FLOAT64, ResidualProbe
from nlsq.derivatives.steps import LOST, Rule, Scheme, Stencil, StepSizes, check_rule, machine_epsilon
from nlsq.derivatives.workers import WorkerMap, Workers
from nlsq.kernels import layout
from nlsq.kernels.backend import address_of_kernel
from nlsq.kernels.finite_difference import central_jacobian, forward_jacobian

if TYPE_CHECKING:
    from nlsq.pattern import SparsityPattern

__all__ = ["CentralDifference", "DenseDifference", "ForwardDifference"]

# At the start even that counts: it leads away from a point of symmetry.
ROUNDING = 2.0  # a difference of so many eps |r| at the longest step says nothing at all
MAX_GROWTHS = 4  # extra evaluations that a column lost in rounding may cost; the last one takes the longest step


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ForwardDifference:
    """Forward differences: n evaluations, half the digits.

    Parameters
    ----------
    rel_step : float or array_like, shape (n,), optional
        Relative step h_j / x_j, as SciPy's `diff_step`; its sign chooses the side. Default: eps^(1/2) of the precision
        of the residual (Dennis and Schnabel 1996, section 5.4).
    steps : {"scaled", "scipy"}
        ``"scaled"`` (default): relative to the size of each parameter. ``"scipy"``: exactly those of SciPy's
        `approx_derivative`, which are absolute below 1.
    workers : int or map-like callable, optional
        Evaluate the columns in parallel; SciPy's meaning. Default: serially.
    vectorized : bool
        The residual takes x of shape (n, k) and returns (m, k): all columns in one call. Default False.
    """

    rel_step: ArrayLike | None = None
    steps: Rule = "scaled"
    workers: Workers = None
    vectorized: bool = False

    def __post_init__(self) -> None:
        """Validate."""
        check_rule(self.steps, ("scaled", "scipy"))

    def prepare(
        self,
        residual: Residual,
        x0: FloatArray,
        m: int,
        *,
        lower: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        scale: ArrayLike | None = None,
        pattern: SparsityPattern | None = None,
        dtype: DTypeLike | None = None,
    ) -> PreparedJacobian:
        """Prepare for one residual; see `JacobianEstimator.prepare`."""
        sizes = _step_sizes(self, "forward", x0, lower, upper, scale, dtype)
        return _prepare(self, sizes, residual, m, pattern)

    def finer(self) -> CentralDifference | None:
        """Return central differences to go on with where tolerances need their digits; None for chosen steps."""
        if self.rel_step is not None or self.steps != "scaled":
            return None
        return CentralDifference(workers=self.workers, vectorized=self.vectorized)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class CentralDifference:
    """Central differences: 2n evaluations, two thirds of the digits; one-sided of second order at a bound.

    Parameters
    ----------
    rel_step : float or array_like, shape (n,), optional
        Relative step h_j / x_j, as SciPy's `diff_step`; its sign is ignored. Default: eps^(1/3) of the precision of the
        residual (Dennis and Schnabel 1996, section 5.4).
    steps : {"scaled", "scipy"}
        See `ForwardDifference`.
    workers : int or map-like callable, optional
        See `ForwardDifference`.
    vectorized : bool
        See `ForwardDifference`.
    """

    rel_step: ArrayLike | None = None
    steps: Rule = "scaled"
    workers: Workers = None
    vectorized: bool = False

    def __post_init__(self) -> None:
        """Validate."""
        check_rule(self.steps, ("scaled", "scipy"))

    def prepare(
        self,
        residual: Residual,
        x0: FloatArray,
        m: int,
        *,
        lower: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        scale: ArrayLike | None = None,
        pattern: SparsityPattern | None = None,
        dtype: DTypeLike | None = None,
    ) -> PreparedJacobian:
        """Prepare for one residual; see `JacobianEstimator.prepare`."""
        sizes = _step_sizes(self, "central", x0, lower, upper, scale, dtype)
        return _prepare(self, sizes, residual, m, pattern)


def _step_sizes(
    options: ForwardDifference | CentralDifference,
    scheme: Scheme,
    x0: FloatArray,
    lower: ArrayLike | None,
    upper: ArrayLike | None,
    scale: ArrayLike | None,
    dtype: DTypeLike | None,
) -> StepSizes:
    return StepSizes(
        scheme,
        x0,
        lower=lower,
        upper=upper,
        scale=scale,
        rule=options.steps,
        rel_step=options.rel_step,
        eps=machine_epsilon(x0.dtype, dtype),
    )


def _prepare(
    options: ForwardDifference | CentralDifference,
    sizes: StepSizes,
    residual: Residual,
    m: int,
    pattern: SparsityPattern | None,
) -> PreparedJacobian:
    probe = ResidualProbe(residual, m, WorkerMap(options.workers), vectorized=options.vectorized)
    if pattern is not None:
        from nlsq.derivatives.colored import prepare_colored

        return prepare_colored(probe, sizes, m, pattern)
    return DenseDifference(probe, sizes, m)


@final
class DenseDifference:
    """Dense difference Jacobian of one residual.

    Parameters
    ----------
    probe : ResidualProbe
        Calls the residual.
    sizes : StepSizes
        Chooses the steps.
    m : int
        Number of residuals.

    Attributes
    ----------
    pattern : None
        The Jacobian is dense.
    residual_calls : int
        Evaluations of the residual by the latest `evaluate`; before the first, what one will take.
    """

    def __init__(self, probe: ResidualProbe, sizes: StepSizes, m: int) -> None:
        n = sizes.fixed.size
        self.pattern: SparsityPattern | None = None
        self._probe = probe
        self._sizes = sizes
        self._shape = (m, n)
        self._at_start = True
        self._fixed = np.flatnonzero(sizes.fixed)
        self._columns: Sequence[int] = np.flatnonzero(~sizes.fixed).tolist() if self._fixed.size else range(n)
        per_column = 1 if sizes.scheme == "forward" else 2
        self._rows = np.empty((n, m))
        self._other_rows = np.empty((n, m)) if per_column == 2 else None
        self.residual_calls = per_column * len(self._columns)

    def evaluate(self, x: FloatArray, r: FloatArray, jac_out: FloatArray | None) -> FloatArray:
        """Fill `jac_out`, shape (m, n), with the Jacobian at `x`; see `PreparedJacobian.evaluate`."""
        calls_before = self._probe.calls
        if r.dtype is not FLOAT64:
            self._sizes.lower_precision(machine_epsilon(r.dtype))
        stencil = self._sizes.stencil_lists(x)
        rows = self._differences(x, r, stencil, self._columns)
        if self._probe.lowest is not FLOAT64 and self._sizes.lower_precision(machine_epsilon(self._probe.lowest)):
            stencil = self._sizes.stencil_lists(x)
            rows = self._differences(x, r, stencil, self._columns)
        if self._sizes.can_grow:
            stencil = self._regrow(x, r, stencil, rows)
        if jac_out is None:
            jac_out = np.empty(self._shape, order="F")
        np.divide(rows, stencil.width[:, np.newaxis], out=jac_out.T)
        self.residual_calls = self._probe.calls - calls_before
        self._at_start = False
        return jac_out

    def write(self, w: FloatArray, iw: NDArray[np.int64]) -> bool:
        """Hand these differences to kernels: sizes and step rule into a workspace. False where only Python can do them.

        A kernel calls the residual by address, so the steps must be the library's own and the evaluations serial.
        """
        if not (self._sizes.can_grow and self._probe.serial):
            return False
        write_bounds(w, self._sizes)
        w[layout.RELATIVE_STEP] = self._sizes.relative
        iw[layout.JACOBIAN_STEP] = address_of_kernel(
            forward_jacobian if self._sizes.scheme == "forward" else central_jacobian
        )
        return True

    def _differences(self, x: FloatArray, r: FloatArray, stencil: Stencil, columns: Sequence[int]) -> FloatArray:
        """Return the numerators of the quotients, one row a column of J; rows not in `columns` keep what they had."""
        n = self._shape[1]
        if len(columns) == n:
            return self._numerators(x, r, stencil, columns, self._rows, self._other_rows)
        part = np.empty((len(columns), r.size))
        other = None if self._other_rows is None else self._other_rows[: len(columns)]
        self._numerators(x, r, stencil, columns, part, other)
        self._rows[self._fixed] = 0.0
        self._rows[columns] = part
        return self._rows

    def _numerators(
        self,
        x: FloatArray,
        r: FloatArray,
        stencil: Stencil,
        columns: Sequence[int],
        rows: FloatArray,
        other: FloatArray | None,
    ) -> FloatArray:
        """Fill `rows` with the numerators for `columns`."""
        if len(columns) == 0:
            return rows
        self._probe.fill(x, columns, stencil.first, rows)
        if other is None or stencil.second is None:
            np.subtract(rows, r, out=rows)
            return rows
        self._probe.fill(x, columns, stencil.second, other)
        with np.errstate(invalid="ignore"):  # inf - inf
            if stencil.one_sided is None:
                np.subtract(other, rows, out=rows)
                return rows
            one_sided = stencil.one_sided[np.asarray(columns)]
            rows[one_sided] = -3.0 * r + 4.0 * rows[one_sided] - other[one_sided]
            rows[~one_sided] = other[~one_sided] - rows[~one_sided]
        return rows

    def _regrow(self, x: FloatArray, r: FloatArray, stencil: Stencil, rows: FloatArray) -> Stencil:
        """Repeat the columns whose differences were lost in rounding, with longer steps."""
        threshold = LOST * self._sizes.eps
        middle = r.size // 2
        noise = threshold * abs(float(r[middle]))
        # One residual that moved is enough, and the middle one mostly did; next the norms, and only then each residual.
        suspects = [j for j, moved in enumerate(rows[:, middle].tolist()) if -noise <= moved <= noise]
        if not suspects:
            return stencil
        limit = threshold * threshold * r.dot(r)
        suspects = [j for j in suspects if not rows[j].dot(rows[j]) > limit]
        lost = np.array([j for j in suspects if not _significant(rows[j], r, threshold)], dtype=np.intp)
        if lost.size == 0:
            return stencil
        doubtful = lost.tolist()
        for attempt in range(MAX_GROWTHS):
            lost, stencil = self._sizes.grow(x, stencil, lost, to_limit=attempt == MAX_GROWTHS - 1)
            if lost.size == 0:
                break
            columns = lost.tolist()
            part = np.empty((len(columns), r.size))
            other = None if self._other_rows is None else np.empty_like(part)
            rows[columns] = self._numerators(x, r, stencil, columns, part, other)
            lost = np.array([j for j in columns if not _significant(rows[j], r, threshold)], dtype=np.intp)
        for j in doubtful:
            if not self._at_start and not _significant(rows[j], r, ROUNDING * self._sizes.eps):
                rows[j] = 0.0  # the last digit of r divided by the step is no derivative
        return stencil


def _significant(difference: FloatArray, r: FloatArray, threshold: float) -> bool:
    """Whether some residual changed by more than rounding, or to what is no number."""
    return not np.all(np.abs(difference) <= threshold * np.abs(r))
