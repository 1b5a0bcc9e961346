r"""Sparse Jacobians from few evaluations: columns of one colour are moved together.

With the colours of `nlsq.derivatives.coloring`, one evaluation moves all parameters of a colour c,

    d_c = r(x + sum_{j in c} h_j e_j) - r(x),         J_ij = d_c[i] / h_j     for (i, j) in the pattern, j in c,

because row i depends on one parameter of the colour at most. Central and complex quotients go the same way; where a
bound makes some parameters of a colour one-sided, each entry takes the formula of its own parameter. Entries come out
in the order of a csr array, whose structure is made once.

References
----------
.. [1] A. R. Curtis, M. J. D. Powell and J. K. Reid, "On the Estimation of Sparse Jacobian Matrices", IMA Journal of
   Applied Mathematics 13, 1974.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nlsq.derivatives.analytic import Analytic
from nlsq.derivatives.coloring import Coloring, color_columns
from nlsq.derivatives.estimator import FloatArray, JacobianEstimator, PreparedJacobian, Residual
from nlsq.derivatives.probe import FLOAT64, ResidualProbe
from nlsq.derivatives.steps import LOST, Stencil, StepSizes, machine_epsilon
from nlsq.kernels import colored_difference as kernels
from nlsq.kernels.calling import run_kernel
from nlsq.pattern import SparsityPattern

__all__ = ["Colored", "ColoredComplex", "ColoredDifference", "ColoredLayout", "prepare_colored"]

IndexArray = NDArray[np.intp]

MAX_GROWTHS = 4  # as in the dense estimators


@final
@dataclass(frozen=True, eq=False)
class Colored:
    """A sparse estimator made of a dense one and a pattern.

    Parameters
    ----------
    estimator : JacobianEstimator
        `ForwardDifference`, `CentralDifference`, `ComplexStep`, `Exact`, or `Analytic` for a function that returns a
        LinearOperator.
    pattern : SparsityPattern
        Where the Jacobian may be nonzero; whatever `SparsityPattern.from_matrix` takes.
    check : bool
        Whether the first evaluation compares with a difference along one direction, which takes one evaluation of the
        residual more, since an entry that is missing falsifies others; `MissingEntryError` names it. Default True.
    """

    estimator: JacobianEstimator
    pattern: SparsityPattern
    check: bool = True

    def __post_init__(self) -> None:
        """Accept any description of a pattern."""
        object.__setattr__(self, "pattern", SparsityPattern.from_matrix(self.pattern))

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
        """Prepare for one residual; a `pattern` given here replaces the estimator's own."""
        if pattern is None:
            pattern = self.pattern
        prepared = self.estimator.prepare(
            residual, x0, m, lower=lower, upper=upper, scale=scale, pattern=pattern, dtype=dtype
        )
        if not self.check or prepared.pattern is None or x0.size == 0 or isinstance(self.estimator, Analytic):
            return prepared
        from nlsq.derivatives.pattern_check import checked

        if getattr(self.estimator, "vectorized", False):
            residual = one_point(residual)
        return checked(prepared, residual, x0, lower=lower, upper=upper, scale=scale, dtype=dtype)


def one_point(residual: Residual) -> Residual:
    """Turn a vectorised residual into one that takes and returns a single point."""
    return lambda x: np.asarray(residual(x[:, np.newaxis]))[:, 0]


@final
class ColoredLayout:
    """Pattern, colours, and where each entry of the csr array comes from.

    Parameters
    ----------
    pattern : SparsityPattern
        Pattern, shape (m, n).
    m, n : int
        Shape that it must have.
    fixed : ndarray of bool, shape (n,)
        Parameters that are never moved.
    """

    def __init__(self, pattern: SparsityPattern, m: int, n: int, fixed: NDArray[np.bool_]) -> None:
        if pattern.shape != (m, n):
            raise ValueError(f"the sparsity pattern has shape {pattern.shape}, expected {(m, n)}.")
        self.pattern = pattern
        self.coloring: Coloring = color_columns(pattern)
        self.indptr, self.columns = pattern.by_rows()
        self.rows = np.repeat(np.arange(m), np.diff(self.indptr))
        self.filled = np.flatnonzero(np.diff(pattern.indptr))
        as_kernels_take = (self.indptr, self.columns, self.coloring.colors)
        self.parts = tuple(np.ascontiguousarray(part, dtype=np.int64) for part in as_kernels_take)
        self.color_of = self.coloring.colors[self.columns]  # of each entry
        groups = [group[~fixed[group]] for group in self.coloring.groups()]
        index = np.int32 if max(pattern.nnz, m, n) < 2**31 else np.int64  # scipy.sparse would convert at each use
        self._csr_structure = self.columns.astype(index), self.indptr.astype(index)
        self.evaluated = [c for c, group in enumerate(groups) if group.size]
        self.groups = [groups[c] for c in self.evaluated]

    def to_csr(self, values: FloatArray) -> Any:
        """Return a csr array, shape (m, n), that owns `values` and shares the structure."""
        from scipy.sparse import csr_array

        return csr_array((values, *self._csr_structure), shape=self.pattern.shape)


def prepare_colored(probe: ResidualProbe, sizes: StepSizes, m: int, pattern: SparsityPattern) -> PreparedJacobian:
    """Prepare forward or central differences over a pattern."""
    return ColoredDifference(probe, sizes, ColoredLayout(pattern, m, sizes.fixed.size, sizes.fixed))


@final
class ColoredDifference:
    """Sparse difference Jacobian of one residual.

    Parameters
    ----------
    probe : ResidualProbe
        Calls the residual.
    sizes : StepSizes
        Chooses the steps.
    layout : ColoredLayout
        Pattern and colours.

    Attributes
    ----------
    pattern : SparsityPattern
        Where the Jacobian may be nonzero.
    coloring : Coloring
        Its colours.
    residual_calls : int
        Evaluations of the residual by the latest `evaluate`; before the first, what one will take.
    """

    def __init__(self, probe: ResidualProbe, sizes: StepSizes, layout: ColoredLayout) -> None:
        self.pattern: SparsityPattern | None = layout.pattern
        self.coloring = layout.coloring
        self._probe = probe
        self._sizes = sizes
        self._layout = layout
        shape = (layout.coloring.n_colors, layout.pattern.shape[0])
        central = sizes.scheme == "central"
        self._first = np.zeros(shape)
        self._second = np.zeros(shape) if central else None
        self._fixed = sizes.fixed.astype(np.int64)
        self.residual_calls = (2 if central else 1) * len(layout.evaluated)

    def evaluate(self, x: FloatArray, r: FloatArray, jac_out: FloatArray | None = None) -> Any:
        """Return the Jacobian at `x` as a csr_array, shape (m, n); see `PreparedJacobian.evaluate`."""
        calls_before = self._probe.calls
        self._adopt_precision(r.dtype)
        layout = self._layout
        stencil = self._sizes.stencil(x)
        self._evaluate_groups(x, stencil, layout.evaluated, layout.groups)
        if self._adopt_precision(self._probe.lowest):
            stencil = self._sizes.stencil(x)
            self._evaluate_groups(x, stencil, layout.evaluated, layout.groups)
        values = self._all_numerators(r, stencil)
        if self._sizes.can_grow:
            stencil = self._regrow(x, r, stencil, values)
        run_kernel(kernels.divide_columns, stencil.width, self._fixed, layout.parts[1], values.size, values)
        self.residual_calls = self._probe.calls - calls_before
        return layout.to_csr(values)

    def _adopt_precision(self, dtype: np.dtype[Any]) -> bool:
        """Choose steps for a precision lower than the one known so far; return whether it is lower."""
        return dtype is not FLOAT64 and self._sizes.lower_precision(machine_epsilon(dtype))

    def _evaluate_groups(self, x: FloatArray, stencil: Stencil, colors: list[int], groups: list[IndexArray]) -> None:
        """Evaluate the residual with each group of columns moved, into the rows of their colours."""
        self._evaluate_one_side(x, stencil.first, colors, groups, self._first)
        if self._second is not None and stencil.second is not None:
            self._evaluate_one_side(x, stencil.second, colors, groups, self._second)

    def _evaluate_one_side(
        self, x: FloatArray, moved: Any, colors: list[int], groups: list[IndexArray], rows_out: FloatArray
    ) -> None:
        if len(colors) == len(rows_out):
            self._probe.fill(x, groups, moved, rows_out)
        elif colors:
            part = np.empty((len(colors), rows_out.shape[1]))
            self._probe.fill(x, groups, moved, part)
            rows_out[colors] = part

    def _all_numerators(self, r: FloatArray, stencil: Stencil) -> FloatArray:
        """Return the numerators of the quotients for all entries of the pattern."""
        values: FloatArray = np.empty(self._layout.columns.size)
        base, m = np.ascontiguousarray(r, dtype=np.float64), r.size
        if self._second is None:
            run_kernel(kernels.forward_entries, self._first, base, *self._layout.parts, m, values)
        else:
            one_sided = np.zeros(self._fixed.size, dtype=np.int64)
            if stencil.one_sided is not None:
                one_sided[:] = stencil.one_sided
            parts = self._layout.parts
            run_kernel(kernels.central_entries, self._first, self._second, base, one_sided, *parts, m, values)
        return values

    def _some_numerators(self, r: FloatArray, stencil: Stencil, entries: IndexArray) -> FloatArray:
        """Return the numerators for some entries."""
        columns, rows = self._layout.columns[entries], self._layout.rows[entries]
        colors = self.coloring.colors[columns]
        first = self._first[colors, rows]
        if self._second is None:
            return np.asarray(first - r[rows])
        second = self._second[colors, rows]
        if stencil.one_sided is None:
            return np.asarray(second - first)
        one_sided = stencil.one_sided[columns]
        return np.asarray(np.where(one_sided, -3.0 * r[rows] + 4.0 * first - second, second - first))

    def _regrow(self, x: FloatArray, r: FloatArray, stencil: Stencil, values: FloatArray) -> Stencil:
        """Repeat the columns whose differences were lost in rounding, with longer steps."""
        layout, candidates = self._layout, self._layout.filled
        base, point = (np.ascontiguousarray(one, dtype=np.float64) for one in (r, x))
        for attempt in range(MAX_GROWTHS):
            seen = np.zeros(x.size, dtype=np.int64)
            indptr, columns, _ = layout.parts
            threshold = LOST * self._sizes.eps
            run_kernel(
                kernels.mark_significant, values, stencil.width, point, base, indptr, columns, r.size, threshold, seen
            )
            lost = candidates[seen[candidates] == 0]
            if lost.size == 0:
                break
            candidates, stencil = self._sizes.grow(x, stencil, lost, to_limit=attempt == MAX_GROWTHS - 1)
            if candidates.size == 0:
                break
            colors = self.coloring.colors[candidates]
            again = np.unique(colors).tolist()
            self._evaluate_groups(x, stencil, again, [candidates[colors == c] for c in again])
            is_again = np.zeros(x.size, dtype=np.bool_)
            is_again[candidates] = True
            entries = np.flatnonzero(is_again[layout.columns])
            values[entries] = self._some_numerators(r, stencil, entries)
        return stencil


@final
class ColoredComplex:
    """Sparse complex-step Jacobian of one residual.

    Parameters
    ----------
    probe : ResidualProbe
        Calls the residual, complex.
    sizes : StepSizes
        Chooses the steps.
    layout : ColoredLayout
        Pattern and colours.
    checked : bool
        Whether a real result is an error rather than a zero derivative.

    Attributes
    ----------
    pattern : SparsityPattern
        Where the Jacobian may be nonzero.
    coloring : Coloring
        Its colours.
    residual_calls : int
        Evaluations of the residual that one `evaluate` takes.
    """

    def __init__(self, probe: ResidualProbe, sizes: StepSizes, layout: ColoredLayout, *, checked: bool) -> None:
        self.pattern: SparsityPattern | None = layout.pattern
        self.coloring = layout.coloring
        self._probe = probe
        self._sizes = sizes
        self._layout = layout
        self._checked = checked
        self._rows = np.zeros((len(layout.evaluated), layout.pattern.shape[0]), dtype=np.complex128)
        self._row_of_color = np.zeros(max(layout.coloring.n_colors, 1), dtype=np.intp)
        self._row_of_color[layout.evaluated] = np.arange(len(layout.evaluated))
        self._entry_fixed = sizes.fixed[layout.columns]
        self.residual_calls = len(layout.evaluated)

    def evaluate(self, x: FloatArray, r: FloatArray, jac_out: FloatArray | None = None) -> Any:
        """Return the Jacobian at `x` as a csr_array, shape (m, n); see `PreparedJacobian.evaluate`."""
        layout = self._layout
        h = self._sizes.imaginary(x)
        self._probe.fill(x.astype(np.complex128), layout.groups, x + 1j * h, self._rows)
        if self._checked:
            self._probe.require_complex()
        values = np.zeros(layout.columns.size)
        if self._rows.size:
            values = self._rows.imag[self._row_of_color[layout.color_of], layout.rows] / h[layout.columns]
            values[self._entry_fixed] = 0.0
        return layout.to_csr(values)
