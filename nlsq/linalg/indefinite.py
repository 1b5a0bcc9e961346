"""Factorisation of sparse indefinite matrices by dense fronts; see `nlsq.kernels.indefinite_fronts`."""

from __future__ import annotations

from typing import final

import numpy as np

from nlsq.kernels import indefinite as pivots
from nlsq.kernels import indefinite_fronts as kernels
from nlsq.kernels.calling import run_kernel
from nlsq.kernels.multifrontal import STRIP
from nlsq.linalg.kernel_calls import Call, FloatArray, IndexArray, check_ready, ints, inverse, sums
from nlsq.linalg.multifrontal import MultifrontalPlan
from nlsq.linalg.symmetric_pattern import Pattern

__all__ = ["IndefiniteFactor"]

SLACK = 1.25  # room for columns that are put off, relative to what the plan says
MORE = 2.0  # how room grows when there was not enough
FURTHER = 64  # of the work of a front: what was found of a pivot, and a row


@final
class IndefiniteFactor:
    """Memory of factorisations of one pattern, and the factor.

    Nothing after the constructor allocates, unless more columns are put off than there is room for.

    Parameters
    ----------
    pattern : Pattern
        Upper triangle.
    plan : MultifrontalPlan
        Of that pattern, or of one with more entries, with the signs that pivots are moved to where they are too small.
    values : ndarray, shape (nnz,)
        Of the matrix: read by each factorisation.
    known : ndarray of int64, shape (nnz of the plan's pattern,)
        Which of the values each entry of the plan's pattern is; -1 where it is zero.

    Attributes
    ----------
    negative : int
        Negative pivots of the last factor.
    moved : int
        Pivots of the last factor that are not those of the matrix, since they were too small.
    put_off : int
        How often the last factorisation has put a column off to a later front.
    failed : int
        The column that the last factorisation has found to depend on others; -1 if there was none.
    """

    def __init__(self, pattern: Pattern, plan: MultifrontalPlan, values: FloatArray, known: IndexArray) -> None:
        n = plan.n
        self._plan, self._values = plan, values
        self.negative, self.failed, self.moved, self.put_off = 0, -1, 0, 0
        self._is_ready = False
        self._scale, self._formed = np.empty(n), np.empty(n)
        self._measure = Call(
            kernels.measure, pattern.indptr, pattern.indices, inverse(plan.permutation), n, values, self._scale,
            self._formed,
        )  # fmt: skip
        values_of, entries = known[plan.sources], plan.entry_starts[: plan.m + 1]
        is_known = values_of >= 0
        self._sources_places = np.concatenate([values_of[is_known], plan.places[is_known]])
        self._entry_starts = sums(is_known.astype(np.int64))[entries]
        self._sides = ints(plan.m)
        run_kernel(kernels.choose_sides, plan.tree, plan.m, self._sides)
        self._fronts, self._report, self._x = ints(kernels.FRONT_PARTS * plan.m), ints(3), np.empty(n)
        heights = plan.widths + plan.sizes
        room = np.array([plan.panel_starts[-1], heights.sum(), plan.updates_size, heights.max(initial=0), 0, 0])
        self._bind((SLACK * room).astype(np.int64) + 16)

    def _bind(self, room: IndexArray) -> None:
        """Allocate, and prepare the calls."""
        plan, self._room = self._plan, room
        panels, entries, updates, height = (int(size) for size in room[:4])
        work = np.empty(3 * height + FURTHER + max(pivots.BLOCK + 1, height) * STRIP)
        factor, signs, index, twos = np.empty(panels), np.empty(entries), ints(entries), ints(entries)
        self._factorize = Call(
            kernels.factorize, plan.node_starts, plan.row_starts, plan.panel_starts, plan.tree, plan.heads,
            plan.following, plan.relative, plan.inside, plan.rows, self._entry_starts, self._sources_places,
            self._sides, plan.m, self._values, plan.signs, self._scale, self._formed, room, work, ints(height),
            np.empty(2 * updates), factor, index, twos, signs, self._fronts, self._report,
        )  # fmt: skip
        self._count = Call(kernels.count_negative, self._fronts, plan.m, signs)
        self._solve = Call(
            kernels.solve, self._fronts, plan.m, factor, signs, index, twos, np.empty(2 * height), self._x
        )

    def refactor(self) -> int:
        """Factorise the matrix whose values are in place; return RIGHT, SINGULAR or NOT_FINITE of the kernels."""
        self._is_ready, self.failed = False, -1
        code = self._once()
        while code == kernels.NO_ROOM:
            self._bind((MORE * self._room).astype(np.int64))
            code = self._once()
        self.moved, self.put_off = int(self._report[pivots.MOVED]), int(self._report[pivots.PUT_OFF])
        if code == kernels.RIGHT:
            self._is_ready = True
            self.negative = int(self._count())
        elif code == kernels.SINGULAR:
            self.failed = int(self._plan.permutation[self._report[pivots.FAILED]])
        return code

    def _once(self) -> int:
        if self._measure() == 0:
            return kernels.NOT_FINITE
        return int(self._factorize())

    def solve(self, b: FloatArray, out: FloatArray) -> None:
        """Solve A x = b with the last factor; `out` may be `b`."""
        check_ready(self._is_ready)
        np.take(b, self._plan.permutation, out=self._x, mode="clip")
        self._solve()
        out[self._plan.permutation] = self._x
