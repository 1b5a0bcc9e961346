"""Patterns of symmetric matrices, and the elimination trees of their permutations."""

from __future__ import annotations

from typing import final

import numpy as np

from nlsq.kernels import elimination_tree
from nlsq.kernels.calling import run_kernel
from nlsq.linalg.kernel_calls import IndexArray, ints, inverse

__all__ = ["Pattern", "Tree", "ordered"]


@final
class Pattern:
    """Upper triangle by columns, as kernels take it."""

    def __init__(self, indptr: IndexArray, indices: IndexArray, n: int) -> None:
        self.n = n
        self.indptr = np.ascontiguousarray(indptr, dtype=np.int64)
        self.indices = np.ascontiguousarray(indices, dtype=np.int64)
        if self.indptr.shape != (n + 1,):
            raise ValueError(f"indptr has shape {self.indptr.shape}; for n = {n} columns it has {n + 1} entries")
        if self.indptr[0] != 0 or self.indptr[-1] != self.indices.size or np.any(np.diff(self.indptr) < 0):
            raise ValueError(f"indptr must ascend from 0 to the {self.indices.size} entries of indices")
        self.columns = columns = np.repeat(np.arange(n, dtype=np.int64), np.diff(self.indptr))
        wrong = np.flatnonzero((self.indices < 0) | (self.indices > columns))
        if wrong.size:
            p = int(wrong[0])
            raise ValueError(
                f"indices[{p}] is row {self.indices[p]} of column {columns[p]}; "
                "give the upper triangle: 0 <= row <= column"
            )
        again = np.flatnonzero((np.diff(self.indices) <= 0) & (np.diff(columns) == 0))
        if again.size:
            p = int(again[0]) + 1
            raise ValueError(
                f"indices[{p}] does not ascend within column {columns[p]}; sort the rows and add up repeats"
            )

    def full(self) -> tuple[IndexArray, IndexArray]:
        """Return both triangles without the diagonal."""
        starts, rows = ints(self.n + 2), ints(2 * self.indices.size)
        run_kernel(elimination_tree.both_triangles, self.indptr, self.indices, self.n, starts, rows)
        starts = starts[: self.n + 1]
        return starts, rows[: starts[-1]]

    def permuted(self, renamed: IndexArray, *, lower: bool) -> tuple[IndexArray, IndexArray, IndexArray]:
        """Return a triangle of P A P' by columns, and where its entries have been."""
        starts, rows, sources = ints(self.n + 2), ints(self.indices.size), ints(self.indices.size)
        parts = self.indptr, self.indices, self.n, renamed, int(lower), starts, rows, sources
        run_kernel(elimination_tree.permute, *parts)
        return starts[: self.n + 1], rows, sources


@final
class Tree:
    """Elimination tree of P A P' in postorder, and the counts of the columns of L."""

    def __init__(self, pattern: Pattern, permutation: IndexArray) -> None:
        n = pattern.n
        indptr, rows, _ = pattern.permuted(inverse(permutation), lower=False)
        parents, work = ints(n), ints(4 * n + 1)
        run_kernel(elimination_tree.elimination_tree, indptr, rows, n, work, parents)
        order = ints(n)
        run_kernel(elimination_tree.postorder, parents, n, work, order)
        self.permutation = permutation[order]
        renamed = np.append(inverse(order), -1)  # the parent -1 stays -1
        self.parents = np.ascontiguousarray(renamed[parents[order]])
        self.counts = ints(n)
        indptr, rows, _ = pattern.permuted(inverse(self.permutation), lower=True)
        run_kernel(elimination_tree.column_counts, indptr, rows, self.parents, n, work, self.counts)


def ordered(pattern: Pattern, ordering: str | IndexArray) -> IndexArray:
    """Return the permutation that is asked for."""
    n = pattern.n
    if isinstance(ordering, str):
        if ordering == "natural":
            return np.arange(n, dtype=np.int64)
        if ordering == "amd":
            from nlsq.linalg.ordering import minimum_degree

            return np.asarray(minimum_degree(*pattern.full()), dtype=np.int64)
        raise ValueError(f"ordering is {ordering!r}; it may be 'amd', 'natural' or a permutation")
    permutation = np.ascontiguousarray(ordering, dtype=np.int64)
    if permutation.shape != (n,) or not np.array_equal(np.sort(permutation), np.arange(n)):
        raise ValueError(f"ordering must be a permutation of 0 to {n - 1}")
    return permutation
