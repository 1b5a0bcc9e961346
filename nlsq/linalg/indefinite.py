"""Factorisation of sparse indefinite matrices by dense fronts, their inertia counted; see `nlsq.kernels.indefinite`."""

from __future__ import annotations

from typing import final

import numpy as np

from nlsq.kernels import indefinite as kernels
from nlsq.kernels.multifrontal import STRIP
from nlsq.linalg.kernel_calls import Call, FloatArray, check_ready, ints, inverse
from nlsq.linalg.multifrontal import MultifrontalPlan
from nlsq.linalg.symmetric_pattern import Pattern

__all__ = ["IndefiniteFactor"]

FURTHER = 64  # of the work of a front: what was found of a pivot, and a row


@final
class IndefiniteFactor:
    """Memory of factorisations of one pattern, and the factor; nothing after the constructor allocates.

    Parameters
    ----------
    pattern : Pattern
        Upper triangle.
    plan : MultifrontalPlan
        Of that pattern, with the signs that pivots are moved to where they are too small.
    values : ndarray, shape (nnz,)
        Of the matrix: read by each factorisation.

    Attributes
    ----------
    negative : int
        Negative pivots of the last factor.
    moved : int
        Pivots of the last factor that are not those of the matrix, since they were too small.
    failed : int
        The column that the last factorisation has found to depend on others; -1 if there was none.
    """

    def __init__(self, pattern: Pattern, plan: MultifrontalPlan, values: FloatArray) -> None:
        n = plan.n
        self._permutation = plan.permutation
        self.negative, self.failed, self.moved = 0, -1, 0
        self._failed, self._is_ready = ints(2), False
        scale, formed, self._signs = np.empty(n), np.empty(n), np.empty(n)
        width = int(plan.widths.max(initial=0))
        height = int((plan.widths + plan.sizes).max(initial=0))
        work = np.empty(3 * height + FURTHER + max(kernels.BLOCK + 1, width) * STRIP)
        panels, updates = np.empty(int(plan.panel_starts[-1])), np.empty(plan.updates_size)
        order, twos = ints(n), ints(n)
        self._measure = Call(
            kernels.measure, pattern.indptr, pattern.indices, inverse(plan.permutation), n, values, scale, formed
        )
        self._factorize = Call(
            kernels.factorize, plan.node_starts, plan.row_starts, plan.panel_starts, plan.update_starts, plan.heads,
            plan.following, plan.relative, plan.inside, plan.rows, plan.entry_starts, plan.sources, plan.places, plan.m,
            values, plan.signs, scale, formed, work, updates, panels, order, twos, self._signs, self._failed,
        )  # fmt: skip
        self._x = np.empty(n)
        self._solve = Call(
            kernels.solve, plan.node_starts, plan.row_starts, plan.panel_starts, plan.rows, plan.m, panels, self._signs,
            order, twos, np.empty(height + width), self._x,
        )  # fmt: skip

    def refactor(self) -> int:
        """Factorise the matrix whose values are in place; return RIGHT, SINGULAR or NOT_FINITE of the kernels."""
        self._is_ready, self.failed = False, -1
        if self._measure() == 0:
            return kernels.NOT_FINITE
        code = int(self._factorize())
        self.moved = int(self._failed[1])
        if code == kernels.RIGHT:
            self._is_ready = True
            self.negative = int(np.count_nonzero(self._signs < 0.0))
        elif code == kernels.SINGULAR:
            self.failed = int(self._permutation[self._failed[0]])
        return code

    def solve(self, b: FloatArray, out: FloatArray) -> None:
        """Solve A x = b with the last factor; `out` may be `b`."""
        check_ready(self._is_ready)
        np.take(b, self._permutation, out=self._x, mode="clip")
        self._solve()
        out[self._permutation] = self._x
