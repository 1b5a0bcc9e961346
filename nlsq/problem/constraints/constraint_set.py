"""All constraints of a problem as one function with bounds on its values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from nlsq.problem.vector_function import VectorFunction, stacked_function
from nlsq.problem.vector_function.parts import GIVEN

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@final
class ConstraintSet:
    """``cl <= c(x) <= cu`` for all constraints, one below the other in the order in which they were given.

    Parameters
    ----------
    blocks : sequence of VectorFunction
        The functions.
    n : int
        Number of parameters.
    lower, upper : ndarray, shape (m,)
        Bounds of their values; equal ones make an equality.
    keep_feasible : ndarray of bool, shape (m,)
        Rows that are not to be violated on the way, once they are satisfied.
    bounds : tuple of ndarray (n,), or None
        Bounds of the parameters that were among the constraints.

    Attributes
    ----------
    m : int
        Number of rows.
    function : VectorFunction or None
        All functions as one; None where there are no rows.
    is_equality, is_free : ndarray of bool, shape (m,)
        Rows whose bounds are equal, and rows without a finite one.
    """

    __slots__ = (
        "_starts",
        "blocks",
        "bounds",
        "function",
        "is_equality",
        "is_free",
        "keep_feasible",
        "lower",
        "m",
        "n",
        "upper",
    )

    def __init__(
        self,
        blocks: Sequence[VectorFunction],
        n: int,
        lower: FloatArray,
        upper: FloatArray,
        keep_feasible: BoolArray,
        bounds: tuple[FloatArray, FloatArray] | None = None,
    ) -> None:
        self.blocks, self.n, self.m = tuple(blocks), n, lower.size
        self.lower, self.upper, self.keep_feasible, self.bounds = lower, upper, keep_feasible, bounds
        self.is_equality = lower == upper
        self.is_free = np.isinf(lower) & np.isinf(upper)
        self.function = stacked_function(self.blocks, n, "constraints") if self.blocks else None
        self._starts = np.cumsum([0] + [one.m for one in self.blocks])

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.m

    @property
    def is_linear(self) -> bool:
        """Whether all functions are linear."""
        return all(one.is_linear for one in self.blocks)

    @property
    def is_sparse(self) -> bool:
        """Whether the Jacobian of some function is known as a sparse matrix."""
        return any(one.is_sparse for one in self.blocks)

    @property
    def names(self) -> list[str]:
        """Names of all rows, as `row_name` gives them."""
        return [self.row_name(i) for i in range(self.m)]

    def row_name(self, i: int) -> str:
        """Return what messages call row `i`: ``"constraints[2][0]"`` is the first row of the third constraint."""
        if not 0 <= i < self.m:
            raise IndexError(f"there are {self.m} rows of constraints, none with index {i}.")
        block = int(np.searchsorted(self._starts, i, side="right")) - 1
        return f"{self.blocks[block].name}[{i - int(self._starts[block])}]"

    def refresh(self) -> bool:
        """See how plain functions are to be evaluated now, before each solve; True where addresses have changed."""
        return self.function is not None and self.function.refresh()

    def spend(self, started: float) -> None:
        """Note a solve that began at `started`, by `time.perf_counter`, in which plain functions were called."""
        for one in self.blocks:
            if one.route is not None and one.calls_python:
                one.route.spend(started)

    def violation(self, values: FloatArray) -> FloatArray:
        """Return by how much each row of c(x) is outside its bounds, shape (m,); NaN counts as infinitely much."""
        with np.errstate(invalid="ignore"):
            outside = np.maximum(np.maximum(self.lower - values, values - self.upper), 0.0)
        return np.where(np.isnan(values), np.inf, outside)

    def wrong_jacobians(self, x: FloatArray) -> list[str]:
        """Compare the Jacobians that the user gave with differences at `x`; a sentence for each that is wrong.

        Takes about 60 n evaluations of each function; bounds are not regarded.
        """
        from nlsq.derivatives.check import compare_jacobian

        given = [one for one in self.blocks if one.jacobian_kind == GIVEN]
        reports = [compare_jacobian(one.value, one.dense_jacobian, x, constraint=one.name) for one in given]
        return [report.message for report in reports if not report.ok and report.entry is not None]
