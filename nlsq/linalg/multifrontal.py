"""Factorisation of sparse symmetric matrices by dense fronts; see `nlsq.kernels.multifrontal`."""

from __future__ import annotations

from typing import final

import numpy as np

from nlsq.kernels import multifrontal as kernels
from nlsq.kernels import supernodes
from nlsq.kernels.backend.blas import blas_addresses
from nlsq.kernels.calling import run_kernel
from nlsq.linalg.kernel_calls import VALUES, Call, FloatArray, check_ready, checked_values, ints, inverse, sums
from nlsq.linalg.symmetric_pattern import Pattern, Tree

__all__ = ["MultifrontalFactor", "MultifrontalPlan"]


@final
class MultifrontalPlan:
    """Nodes, and where everything lies."""

    def __init__(self, pattern: Pattern, tree: Tree, signs: FloatArray) -> None:
        self.n = n = pattern.n
        starts, of_column = ints(n + 1), ints(n)
        count = run_kernel(supernodes.fundamental, tree.parents, tree.counts, n, starts, of_column)
        work, groups = ints(7 * count + 1), ints(count)
        parts = starts, of_column, tree.parents
        left = run_kernel(supernodes.amalgamate, *parts, tree.counts, count, work, groups)
        heights, order, widths, up = work[count : 2 * count].copy(), ints(n), ints(count), ints(count)
        run_kernel(supernodes.order_groups, *parts, groups, heights, count, work, order, widths, up)
        self.m = m = int(left)
        self.permutation = tree.permutation[order]
        self.signs = signs[self.permutation]
        self.widths, self.sizes = widths[:m], heights[:m] - widths[:m]
        self.tree = up[:m].copy()
        self.node_starts, self.row_starts = sums(self.widths), sums(self.sizes)
        self.panel_starts = sums(self.widths * heights[:m])
        self._place(pattern)

    def _place(self, pattern: Pattern) -> None:
        """Find rows and places of the nodes."""
        n, m, renamed = self.n, self.m, inverse(self.permutation)
        nodes = np.repeat(np.arange(m, dtype=np.int64), self.widths)
        indptr, indices, _ = pattern.permuted(renamed, lower=False)
        self.rows, work = ints(int(self.row_starts[-1])), ints(3 * m + 2)
        run_kernel(supernodes.row_structures, indptr, indices, nodes, self.tree, self.row_starts, n, m, work, self.rows)
        self.inside, self.relative = ints(m), ints(self.rows.size)
        structure = self.node_starts, self.tree, self.row_starts, self.rows, m
        run_kernel(supernodes.relative_rows, *structure, self.inside, self.relative)
        self.entry_starts, self.sources = ints(m + 2), ints(pattern.indices.size)
        self.places = ints(pattern.indices.size)
        given = pattern.indptr, pattern.indices, n, renamed, nodes, self.node_starts, self.row_starts, self.rows
        found = self.entry_starts, self.sources, self.places
        run_kernel(supernodes.place_entries, *given, self.panel_starts, m, *found)
        self.update_starts, stacks = ints(m), ints(2)
        run_kernel(supernodes.plan_updates, self.tree, self.row_starts, m, work, self.update_starts, stacks)
        self.updates_size = int(stacks.sum())
        self.heads, self.following = ints(m), ints(m)
        run_kernel(supernodes.list_children, self.tree, m, self.heads, self.following)

    def prepare(self) -> MultifrontalFactor:
        """Allocate."""
        return MultifrontalFactor(self)


@final
class MultifrontalFactor:
    """Memory of the multifrontal way."""

    def __init__(self, plan: MultifrontalPlan) -> None:
        self._permutation, self._count = plan.permutation, plan.sources.size
        panels, updates = np.empty(int(plan.panel_starts[-1])), np.empty(plan.updates_size)
        work = np.empty(max(int(plan.widths.max(initial=0)), kernels.PANEL) * kernels.STRIP)
        signed = int(np.any(plan.signs < 0.0))
        self._size = int(plan.sizes.max(initial=0))
        self._factorize = Call(
            kernels.factorize, plan.node_starts, plan.row_starts, plan.panel_starts, plan.update_starts, plan.heads,
            plan.following, plan.relative, plan.inside, plan.entry_starts, plan.sources, plan.places, plan.m, VALUES,
            plan.signs, signed, blas_addresses(), work, updates, panels,
        )  # fmt: skip
        self._x = np.empty(plan.n)
        self._panels, self._is_ready = panels, False
        nodes = np.repeat(np.arange(plan.m), plan.widths)
        within = np.arange(plan.n) - plan.node_starts[nodes]
        self._diagonal = plan.panel_starts[nodes] + within * ((plan.widths + plan.sizes)[nodes] + 1)
        self._factor = plan.node_starts, plan.row_starts, plan.panel_starts, plan.rows, plan.m, panels, plan.signs
        self._solve = Call(kernels.solve, *self._factor, np.empty(self._size), self._x)

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
        np.take(self._panels, self._diagonal, out=self._x, mode="clip")
        out[self._permutation] = np.square(self._x, out=self._x)
        return True

    def solve_many(self, b: FloatArray) -> FloatArray:
        """Solve A X = B for B of shape (n, k)."""
        check_ready(self._is_ready)
        x = np.ascontiguousarray(b[self._permutation], dtype=np.float64)
        many = x.shape[1]
        run_kernel(kernels.solve_many, *self._factor, many, np.empty(self._size * many), x.reshape(-1))
        out = np.empty_like(x)
        out[self._permutation] = x
        return out
