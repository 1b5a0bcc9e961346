"""Factorisation of sparse symmetric matrices by rows of L; see `nlsq.kernels.simplicial`."""

from __future__ import annotations

from typing import final

import numpy as np

from nlsq.kernels import simplicial as kernels
from nlsq.kernels.calling import run_kernel
from nlsq.linalg.kernel_calls import VALUES, Call, FloatArray, check_ready, checked_values, ints, inverse, sums
from nlsq.linalg.symmetric_pattern import Pattern, Tree

__all__ = ["SimplicialFactor", "SimplicialPlan"]


@final
class SimplicialPlan:
    """What the simplicial way needs of the pattern."""

    def __init__(self, pattern: Pattern, tree: Tree, signs: FloatArray) -> None:
        self.n, self.permutation, self.parents = pattern.n, tree.permutation, tree.parents
        self.signs = signs[self.permutation]
        self.triangle = pattern.permuted(inverse(self.permutation), lower=False)
        self.column_starts = sums(tree.counts - 1)

    def prepare(self) -> SimplicialFactor:
        """Allocate."""
        return SimplicialFactor(self)


@final
class SimplicialFactor:
    """Memory of the simplicial way."""

    def __init__(self, plan: SimplicialPlan) -> None:
        n, entries = plan.n, int(plan.column_starts[-1])
        self._n, self._permutation = n, plan.permutation
        self._count = plan.triangle[1].size
        rows, lower, diagonal = ints(entries), np.empty(entries), np.empty(n)
        lists, row = ints(3 * n), np.empty(n)
        given = *plan.triangle, plan.parents, plan.column_starts, n
        self._factorize = Call(kernels.factorize, *given, VALUES, plan.signs, lists, row, rows, lower, diagonal)
        factor = plan.column_starts, rows, lower, diagonal, n
        self._x = np.empty(n)
        self._solve = Call(kernels.solve, *factor, self._x)
        self._factor = factor
        self._diagonal, self._is_ready = diagonal, False

    def refactor(self, values: FloatArray) -> int:
        """Factorise; return -1, or the column whose pivot failed."""
        self._is_ready = False
        failed = int(self._factorize(checked_values(values, self._count)))
        self._is_ready = failed < 0
        return failed if failed < 0 else int(self._permutation[failed])

    def solve(self, b: FloatArray, out: FloatArray) -> None:
        """Solve A x = b; `out` may be `b`."""
        check_ready(self._is_ready)
        np.take(b, self._permutation, out=self._x, mode="clip")
        self._solve()
        out[self._permutation] = self._x

    def pivots(self, out: FloatArray) -> bool:
        """Give the size of each pivot; return True."""
        check_ready(self._is_ready)
        out[self._permutation] = np.abs(self._diagonal, out=self._x)
        return True

    def solve_many(self, b: FloatArray) -> FloatArray:
        """Solve A X = B for B of shape (n, k)."""
        check_ready(self._is_ready)
        x = np.ascontiguousarray(b[self._permutation], dtype=np.float64)
        run_kernel(kernels.solve_many, *self._factor, x.shape[1], x.reshape(-1))
        out = np.empty_like(x)
        out[self._permutation] = x
        return out
