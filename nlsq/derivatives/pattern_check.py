r"""A sparsity pattern held against the function, at the first finite evaluation of a compressed Jacobian.

An entry that is missing in a pattern falsifies others without notice: columns that share a row share a colour. Along a
random direction d, of about the length of steps of central differences,

    r(x + d) - r(x) = J d + O(d^2)

holds only if nothing is missing, which one evaluation shows. Rows that differ are no proof: the function may be too
curved. But in a row i no column outside its pattern may matter. Those are moved together, and where r_i changes by more
than rounding the missing entry is found by bisection.
"""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nlsq.derivatives.estimator import FloatArray, PreparedJacobian, Residual
from nlsq.derivatives.probe import as_residual
from nlsq.derivatives.steps import StepSizes, machine_epsilon
from nlsq.pattern import SparsityPattern

__all__ = ["CheckedPattern", "MissingEntryError"]

DIRECTION_SEED = 19981203
AGREEMENT = 1e-4  # of the sum of |J_ij d_j|, below which rows are taken to agree
NOISE = 64.0  # rounding units of a residual, and of what it is made of
MOST_SUSPECTS = 8  # rows that are looked into, the worst first; each takes an evaluation


class MissingEntryError(ValueError):
    """A sparsity pattern lacks an entry.

    Attributes
    ----------
    row, column : int
        The entry.
    name : str
        What the function is called whose Jacobian it is; empty for the residual.
    """

    def __init__(self, row: int, column: int, name: str = "") -> None:
        of_name, what = (f"{name}: ", "value") if name else ("", "residual")
        super().__init__(
            f"{of_name}sparsity lacks entry (row {row}, column {column}): {what} {row} depends on parameter {column}. "
            "Add the entry, or find the pattern with nlsq.detect_sparsity."
        )
        self.row, self.column, self.name = row, column, name

    def __reduce__(self) -> Any:
        return MissingEntryError, (self.row, self.column, self.name)


@final
class CheckedPattern:
    """A sparse prepared Jacobian whose pattern is checked at its first evaluation that is finite.

    Parameters
    ----------
    prepared : PreparedJacobian
        What evaluates.
    residual : callable
        ``residual(x) -> r``.
    sizes : StepSizes
        Of central differences, with the bounds.

    Attributes
    ----------
    pattern : SparsityPattern
        That of `prepared`.
    residual_calls : int
        Evaluations of the residual by the latest `evaluate`, those of the check included.
    """

    def __init__(self, prepared: PreparedJacobian, residual: Residual, sizes: StepSizes) -> None:
        self._prepared = prepared
        self._residual = residual
        self._sizes = sizes
        self._is_checked = False
        self.residual_calls = prepared.residual_calls + 1

    @property
    def pattern(self) -> SparsityPattern | None:
        """Where the Jacobian may be nonzero."""
        return self._prepared.pattern

    @property
    def coloring(self) -> Any:
        """Colours of the pattern."""
        return getattr(self._prepared, "coloring", None)

    def evaluate(self, x: FloatArray, r: FloatArray, jac_out: FloatArray | None = None) -> Any:
        """Return the Jacobian at `x` as a csr_array, shape (m, n); see `PreparedJacobian.evaluate`.

        Raises
        ------
        MissingEntryError
            At the first evaluation that is finite, if the pattern lacks an entry.
        """
        jac = self._prepared.evaluate(x, r, jac_out)
        self.residual_calls = self._prepared.residual_calls
        if not self._is_checked:
            self.residual_calls += self._check(x, r, jac)
        return jac

    def _check(self, x: FloatArray, r: FloatArray, jac: Any) -> int:
        """Compare with a difference along a direction; return the evaluations that it took."""
        search = _Suspicion(self._residual, self._sizes, x, r)
        rows = search.suspects(jac)
        indptr, indices = jac.indptr, jac.indices
        for row in rows:
            column = search.find(int(row), indices[indptr[row] : indptr[row + 1]])
            if column >= 0:
                raise MissingEntryError(int(row), column)
        self._is_checked = search.is_finite
        return search.evaluations


@final
class _Suspicion:
    """The direction, and what is evaluated along it and parts of it."""

    def __init__(self, residual: Residual, sizes: StepSizes, x: FloatArray, r: FloatArray) -> None:
        above, below = sizes.upper - x, x - sizes.lower
        factors = np.random.default_rng(DIRECTION_SEED).uniform(0.5, 1.0, x.size)
        size = np.abs(np.asarray(sizes.stencil(x).first) - x) * factors
        self._moved = np.where(above >= below, x + np.minimum(size, above), x - np.minimum(size, below))
        self._residual, self._x, self._r = residual, x, r
        self._eps = sizes.eps
        self._scale = np.abs(r)
        self.evaluations = 0
        self.is_finite = False  # whether every row could be compared

    def _evaluate(self, point: FloatArray) -> FloatArray:
        self.evaluations += 1
        value = self._residual(point)
        value = np.atleast_1d(np.asarray(value)) if value is not None else value
        array = as_residual(value, self._r.shape)
        self._eps = max(self._eps, machine_epsilon(array.dtype))
        return array.astype(np.float64)

    def suspects(self, jac: Any) -> NDArray[np.intp]:
        """Return the rows that differ most along the whole direction; few."""
        moved = self._evaluate(self._moved.copy())
        direction = self._moved - self._x
        with np.errstate(invalid="ignore", over="ignore"):
            size = abs(jac)
            expected, terms = jac @ direction, size @ np.abs(direction)
            self._scale = np.maximum(np.maximum(np.abs(self._r), np.abs(moved)), size @ np.abs(self._x))
            # J itself errs by rounding over its own, shorter steps
            allowed = AGREEMENT * terms + NOISE * self._eps ** (2 / 3) * self._scale
            excess = np.abs(moved - self._r - expected) - allowed
            is_finite = np.isfinite(excess)
            worth = np.where(is_finite, excess, 0.0) / np.maximum(allowed, np.finfo(np.float64).tiny)
        self.is_finite = bool(is_finite.all())
        rows = np.flatnonzero(worth > 0.0)
        return np.asarray(rows[np.argsort(-worth[rows], kind="stable")][:MOST_SUSPECTS], dtype=np.intp)

    def find(self, row: int, columns: NDArray[Any]) -> int:
        """Return a column outside `columns` on which a row depends; -1 where none shows."""
        stays = np.zeros(self._x.size, dtype=np.bool_)
        stays[columns] = True
        others = np.flatnonzero(~stays & (self._moved != self._x))
        if others.size == 0 or not self._depends(row, others) or self._is_noisy(row):
            return -1
        while others.size > 1:
            first, second = np.array_split(others, 2)
            others = first if self._depends(row, first) else second
        return int(others[0])

    def _depends(self, row: int, columns: NDArray[np.intp]) -> bool:
        point = self._x.copy()
        point[columns] = self._moved[columns]
        change = abs(float(self._evaluate(point)[row]) - float(self._r[row]))
        return change > NOISE * self._eps * float(self._scale[row])

    def _is_noisy(self, row: int) -> bool:
        """Whether the residual is another at the same point."""
        return self._depends(row, np.empty(0, dtype=np.intp))


def checked(
    prepared: PreparedJacobian,
    residual: Residual,
    x0: FloatArray,
    *,
    lower: ArrayLike | None = None,
    upper: ArrayLike | None = None,
    scale: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
) -> CheckedPattern:
    """Return a prepared Jacobian that checks its pattern; the arguments are those of `JacobianEstimator.prepare`."""
    eps = machine_epsilon(x0.dtype, dtype)
    sizes = StepSizes("central", x0, lower=lower, upper=upper, scale=scale, eps=eps)
    return CheckedPattern(prepared, residual, sizes)
