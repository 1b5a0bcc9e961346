r"""Second derivatives  H = sum_i w_i * (second derivatives of residual i)  from differences of the Jacobian.

    v(x) = J(x)' w,     D_j = (v(x + h_j e_j) - v(x)) / h_j,     H = (D + D') / 2            (dense)
    d_c = v(x + sum_{j in c} h_j e_j) - v(x),     H_kj = d_c[k] / h_j                         (sparse)

for w fixed: n + 1 Jacobians, or one more than there are colours [1]_. The steps are those of forward differences
(`nlsq.derivatives.steps`). With an exact Jacobian, half the digits of H are right.

References
----------
.. [1] A. H. Gebremedhin, F. Manne and A. Pothen, "What Color Is Your Jacobian? Graph Coloring for Computing
   Derivatives", SIAM Review 47, 2005, sections 4 and 6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlsq.derivatives.check_hessian import HessianReport, check_hessian
from nlsq.derivatives.estimator import FloatArray
from nlsq.derivatives.growing_steps import MAX_GROWTHS, THRESHOLD, GrowingSteps
from nlsq.derivatives.star_coloring import color_symmetric, hessian_pattern, places_of_entries
from nlsq.derivatives.steps import StepSizes
from nlsq.kernels import hessian_difference as kernels
from nlsq.kernels.backend import address_of_array, address_of_kernel
from nlsq.pattern import SparsityPattern

__all__ = [
    "ColoredHessian",
    "DenseDifferenceHessian",
    "DifferenceHessian",
    "HessianReport",
    "check_hessian",
    "colored_hessian",
    "difference_hessian",
]


MOST_COLORS = 64  # each is a Jacobian


@final
class DifferenceHessian:
    """Differences of a Jacobian that is called by address, as a C function without Python between its steps.

    Parameters
    ----------
    jacobian_address, jacobian_data : int
        ``int jac(x, data, jac_t_out)``, (n, m), and its data.
    m : int
        Number of residuals.
    x0 : ndarray, shape (n,)
        Start, which says how large parameters are.
    lower, upper : array_like, optional
        Bounds that no evaluation leaves.
    scale : array_like, optional
        Sizes of the parameters, where they are known.

    Attributes
    ----------
    address, data_address : int
        ``int hess(x, data, weights, out)`` and its data: adds H to the lower triangle of `out`, (n, n) row by row.
    """

    __slots__ = ("_arrays", "_table", "address", "data_address")

    def __init__(
        self,
        jacobian_address: int,
        jacobian_data: int,
        m: int,
        x0: FloatArray,
        *,
        lower: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        scale: ArrayLike | None = None,
    ) -> None:
        n = x0.size
        steps = StepSizes("forward", x0, lower=lower, upper=upper, scale=scale)
        sizes = [np.ascontiguousarray(steps.sizes[k], dtype=np.float64) for k in range(3)]
        grown, work = np.zeros(n), np.zeros(kernels.work_size(m, n))
        arrays = {
            kernels.LOWER: steps.lower,
            kernels.UPPER: steps.upper,
            kernels.LARGE: sizes[0],
            kernels.SMALL: sizes[1],
            kernels.AT_ZERO: sizes[2],
            kernels.GROWN: grown,
            kernels.WORK: work,
        }
        self._arrays = tuple(arrays.values())
        self._table = np.zeros(kernels.TABLE, dtype=np.int64)
        for place, array in arrays.items():
            self._table[place] = address_of_array(array)
        self._table[kernels.JACOBIAN], self._table[kernels.JACOBIAN_DATA] = jacobian_address, jacobian_data
        self._table[kernels.M], self._table[kernels.N] = m, n
        self.address = address_of_kernel(kernels.hessian_by_differences)
        self.data_address = address_of_array(self._table)

    @property
    def jacobian_evaluations(self) -> int:
        """Number of Jacobians evaluated so far."""
        return int(self._table[kernels.EVALUATIONS])


@final
class DenseDifferenceHessian:
    """Differences of a Jacobian that is a Python function.

    Parameters
    ----------
    jacobian : callable
        ``jacobian(x) -> J``, shape (m, n).
    x0, lower, upper, scale
        As for `DifferenceHessian`.

    Attributes
    ----------
    jacobian_evaluations : int
        Number of Jacobians evaluated so far.
    """

    __slots__ = ("_jacobian", "_steps", "jacobian_evaluations")

    def __init__(
        self,
        jacobian: Callable[[FloatArray], ArrayLike],
        x0: FloatArray,
        *,
        lower: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        scale: ArrayLike | None = None,
    ) -> None:
        self._jacobian = jacobian
        self._steps = GrowingSteps(x0, lower, upper, scale)
        self.jacobian_evaluations = 0

    def into(self, x: FloatArray, weights: FloatArray, out: FloatArray) -> None:
        """Add H at `x`, for `weights` (m,), to the lower triangle of `out`, shape (n, n)."""
        if not np.any(weights):
            return
        n = x.size
        base = self._weighted(x.copy(), weights)
        differences, columns = np.zeros((n, n)), np.flatnonzero(~self._steps.fixed)
        for attempt in range(MAX_GROWTHS + 1):
            moved = self._steps.moved(x)
            for j in columns:
                point = x.copy()
                point[j] = moved[j]
                differences[j] = self._weighted(point, weights) - base
            lost = np.all(np.abs(differences) <= THRESHOLD * np.abs(base), axis=1)
            broken = np.any(~np.isfinite(differences) & np.isfinite(base), axis=1)
            columns = self._steps.again(x, moved, lost, broken, attempt)
            if not columns.size:
                break
        width = moved - x
        moves = width != 0.0
        differences /= np.where(moves, width, 1.0)[:, np.newaxis]
        half = np.where(moves[:, np.newaxis] & moves, 0.5, 1.0)
        np.fill_diagonal(half, 0.5)
        out += np.tril(half * (differences + differences.T))

    def _weighted(self, x: FloatArray, weights: FloatArray) -> FloatArray:
        """J' w without the rows of weight 0."""
        self.jacobian_evaluations += 1
        jac = np.asarray(self._jacobian(x), dtype=np.float64)
        if jac.shape != (weights.size, x.size):
            raise ValueError(f"the Jacobian must have shape {(weights.size, x.size)}, got {jac.shape}.")
        used = weights != 0.0
        product: FloatArray = weights @ jac if used.all() else weights[used] @ jac[used]
        return product


def difference_hessian(
    jacobian: Callable[[FloatArray], ArrayLike],
    x: FloatArray,
    weights: FloatArray,
    lower: ArrayLike | None,
    upper: ArrayLike | None,
    out: FloatArray,
) -> int:
    """Add H at `x` to the lower triangle of `out`, by differences of a Python function.

    Parameters
    ----------
    jacobian : callable
        ``jacobian(x) -> J``, shape (m, n).
    x : ndarray, shape (n,)
        Point; steps are relative to its size.
    weights : ndarray, shape (m,)
        Of the residuals.
    lower, upper : array_like or None
        Bounds that no evaluation leaves.
    out : ndarray, shape (n, n)
        What H is added to.

    Returns
    -------
    int
        Number of Jacobians evaluated.
    """
    differences = DenseDifferenceHessian(jacobian, x, lower=lower, upper=upper)
    differences.into(x, weights, out)
    return differences.jacobian_evaluations


@final
class ColoredHessian:
    """Differences of a sparse Jacobian, all parameters of a colour moved together.

    Parameters
    ----------
    jacobian : callable
        ``jacobian(x) -> csr_array`` with the entries of `pattern`, columns ascending in each row.
    pattern : SparsityPattern
        Of the Jacobian, shape (m, n).
    x0, lower, upper, scale
        As for `DifferenceHessian`.
    curved : ndarray of bool, shape (m,), optional
        Rows that are not linear; the others are left out. Default: all.

    Attributes
    ----------
    rows, columns : ndarray of int64
        Place of each value in the lower triangle, no place twice.
    coloring : Coloring
        Of the parameters; one evaluation of H takes a Jacobian more than it has colours.
    jacobian_evaluations : int
        Number of Jacobians evaluated so far.
    """

    __slots__ = (
        "_at",
        "_cell",
        "_entry_columns",
        "_entry_rows",
        "_groups",
        "_jacobian",
        "_moved",
        "_steps",
        "_structure",
        "coloring",
        "columns",
        "jacobian_evaluations",
        "rows",
    )

    def __init__(
        self,
        jacobian: Callable[[FloatArray], Any],
        pattern: SparsityPattern,
        x0: FloatArray,
        *,
        lower: ArrayLike | None = None,
        upper: ArrayLike | None = None,
        scale: ArrayLike | None = None,
        curved: NDArray[np.bool_] | None = None,
    ) -> None:
        m, n = pattern.shape
        self._jacobian = jacobian
        self._steps = GrowingSteps(x0, lower, upper, scale)
        structure = hessian_pattern(pattern, curved)
        self.coloring = color_symmetric(structure)
        self.rows, self.columns, self._at, self._moved = places_of_entries(structure, self.coloring)
        self._cell = self.coloring.colors[self._moved] * n + self._at
        self._groups = self.coloring.groups()
        self._structure = pattern.by_rows()
        lengths = np.diff(self._structure[0])
        self._entry_rows = np.repeat(np.arange(m), lengths)
        if curved is not None:
            flat = ~np.asarray(curved, dtype=np.bool_)
            self._entry_rows[flat[self._entry_rows]] = m  # the weight there is 0
        self._entry_columns = self._structure[1]
        self.jacobian_evaluations = 0

    def into(self, x: FloatArray, weights: FloatArray, values_out: FloatArray) -> None:
        """Evaluate the entries of H at `x`, for `weights` (m,), into `values_out`."""
        if not np.any(weights):
            values_out[:] = 0.0
            return
        of_entries = np.append(weights, 0.0)[self._entry_rows]
        used = None if np.all(of_entries) else of_entries != 0.0
        base = self._weighted(x, of_entries, used)
        differences, colors = np.empty((len(self._groups), x.size)), np.arange(len(self._groups))
        read, noise = np.bincount(self._moved, minlength=x.size), THRESHOLD * np.abs(base[self._at])
        for attempt in range(MAX_GROWTHS + 1):
            moved = self._steps.moved(x)
            for color in colors:
                point, group = x.copy(), self._groups[color]
                point[group] = moved[group]
                np.subtract(self._weighted(point, of_entries, used), base, out=differences[color])
            np.take(differences.reshape(-1), self._cell, out=values_out)
            swallowed = np.bincount(self._moved, weights=np.abs(values_out) <= noise, minlength=x.size)
            no_number = ~np.isfinite(values_out) & np.isfinite(base[self._at])
            broken = np.bincount(self._moved, weights=no_number, minlength=x.size) > 0.0
            columns = self._steps.again(x, moved, swallowed == read, broken, attempt)
            if not columns.size:
                break
            colors = np.unique(self.coloring.colors[columns])
        width = moved - x
        values_out /= np.where(width != 0.0, width, 1.0)[self._moved]

    def _weighted(self, x: FloatArray, of_entries: FloatArray, used: NDArray[np.bool_] | None) -> FloatArray:
        """J' w without the rows of weight 0."""
        first = self.jacobian_evaluations == 0
        self.jacobian_evaluations += 1
        jac = self._jacobian(x)
        indptr, indices = self._structure
        if jac.data.size != indices.size or (
            first and not (np.array_equal(jac.indptr, indptr) and np.array_equal(jac.indices, indices))
        ):
            raise ValueError("the Jacobian's entries are not those of its pattern, row by row with ascending columns.")
        terms = jac.data * of_entries if used is None else np.where(used, jac.data * of_entries, 0.0)
        return np.asarray(np.bincount(self._entry_columns, weights=terms, minlength=x.size), dtype=np.float64)


def colored_hessian(
    jacobian: Callable[[FloatArray], Any],
    pattern: SparsityPattern,
    x0: FloatArray,
    *,
    lower: ArrayLike | None = None,
    upper: ArrayLike | None = None,
    scale: ArrayLike | None = None,
    curved: NDArray[np.bool_] | None = None,
    most_colors: int = MOST_COLORS,
) -> ColoredHessian | None:
    """Return coloured differences, or None where one evaluation would take too many Jacobians.

    Parameters that meet in a row of the Jacobian all have different colours.

    Parameters
    ----------
    jacobian, pattern, x0, lower, upper, scale, curved
        As for `ColoredHessian`.
    most_colors : int
        Largest number of Jacobians that one evaluation may take beside the first. Default 64.
    """
    lengths = np.diff(pattern.by_rows()[0])
    if curved is not None:
        lengths = lengths[np.asarray(curved, dtype=np.bool_)]
    if lengths.max(initial=0) > most_colors:
        return None
    found = ColoredHessian(jacobian, pattern, x0, lower=lower, upper=upper, scale=scale, curved=curved)
    return found if found.coloring.n_colors <= most_colors else None
