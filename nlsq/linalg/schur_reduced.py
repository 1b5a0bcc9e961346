"""The reduced system of a Schur complement, as a dense or a sparse matrix.

S is kept as blocks (f, g), f <= g, of the layout that `nlsq.kernels.schur` describes: in the dense case one for each
pair of kept blocks, in the sparse case one where the two meet in a residual block or an eliminated block.
"""

from __future__ import annotations

from functools import cached_property
from typing import final

import numpy as np

from nlsq.block_jacobian import BlockPattern
from nlsq.kernels import coloring, schur_pattern
from nlsq.kernels import schur as kernels
from nlsq.kernels.calling import run_kernel
from nlsq.linalg.kernel_calls import IndexArray, ints, ranges, sums
from nlsq.linalg.linear_solver import FloatArray
from nlsq.linalg.ordering import minimum_degree
from nlsq.linalg.schur_plan import BoolArray, Elimination, main_columns
from nlsq.linalg.sparse_factor import Analysis, analyse, weakest_pivot

REDUCED = ("auto", "dense", "sparse")
DENSE_BELOW = 200  # columns: a dense factorisation takes a fraction of a millisecond
DENSE_SHARE = 0.5  # of the upper triangle: beyond it a sparse factorisation cannot gain
DENSE_ADVANTAGE = 1.5  # time of an operation of a sparse factorisation over that of a dense one: 1.2 to 1.9 measured


@final
class DenseReduced:
    """S as a dense matrix, factorised by LAPACK.

    Parameters
    ----------
    plan : Elimination
        Kept blocks.

    Attributes
    ----------
    undamped, blocks : ndarray
        Blocks of U, and of S without its damping; these in the memory of the matrix, which they become.
    step : ndarray, shape (n,)
        Right-hand side g; after `solve`, the solution of S p = -g.
    failed_column : int
        Column of J whose pivot failed; -1 if none.
    """

    def __init__(self, plan: Elimination) -> None:
        starts = plan.starts
        n = int(starts[-1])
        widths = np.diff(starts)
        self._plan, self._n, self._starts = plan, n, starts
        sizes = widths * (n - starts[:-1])
        self._row_blocks = np.cumsum(sizes) - sizes
        self._panels_of = self._row_blocks - widths * starts[:-1]
        self.panels: IndexArray = np.append(self._panels_of[plan.slot_kept], 0)
        self.pair_blocks: IndexArray = np.zeros(1, dtype=np.int64)
        self.first_pairs: IndexArray = np.zeros(plan.columns.size, dtype=np.int64)
        self.undamped = np.zeros(int(sizes.sum()))
        self.step = np.zeros(n)
        self.failed_column = -1
        self._matrix = np.zeros((n, n))
        self._origin = n * n - self.undamped.size
        self.blocks = self._matrix.reshape(-1)[self._origin :]
        self._row = np.empty(n * int(widths.max(initial=0)))
        self._diagonal, self._damping = diagonal_places(plan, self._row_blocks), np.zeros(n)
        self._pivots, self._sums = np.zeros(n), np.zeros(n)

    def locate(self, f: IndexArray, g: IndexArray) -> IndexArray:
        """Say where the blocks (f, g), f <= g, begin."""
        return np.asarray(self._panels_of[f] + np.diff(self._starts)[f] * self._starts[g])

    def factorize(self, damping: FloatArray) -> float:
        """Factorise S + D; give the smallest ratio of a squared pivot to the diagonal, 0 if not definite."""
        from scipy.linalg.lapack import dpotrf

        self.failed_column = -1
        if self._n == 0:
            return 1.0
        np.take(damping, self._plan.kept_columns, out=self._damping)
        places = self._starts, self._row_blocks, self._starts.size - 1, self._damping
        run_kernel(kernels.expand, self._origin, *places, self._row, self._matrix.reshape(-1))
        _, info = dpotrf(self._matrix.T, lower=1, overwrite_a=1, clean=0)
        np.take(self.undamped, self._diagonal, out=self._sums)
        self._sums += self._damping
        np.square(self._matrix.diagonal(), out=self._pivots)
        failed = int(info) - 1 if info > 0 else self._n
        low = np.flatnonzero(~(self._pivots[:failed] > kernels.NO_DIGITS * self._sums[:failed]))
        failed = int(low[0]) if low.size else failed
        if failed < self._n:
            self.failed_column = int(self._plan.kept_columns[failed])
            return 0.0
        return float(np.min(np.divide(self._pivots, self._sums, out=self._pivots)))

    def solve(self) -> None:
        """Replace g in `step` by the solution of S p = -g."""
        from scipy.linalg.lapack import dpotrs

        if self._n:
            np.negative(self.step, out=self.step)
            dpotrs(self._matrix.T, self.step, lower=1, overwrite_b=1)


@final
class SparseReduced:
    """S as a sparse matrix, factorised by `nlsq.linalg.sparse_factor`.

    Parameters
    ----------
    plan : Elimination
        Kept blocks.

    Attributes
    ----------
    undamped, blocks, step, failed_column
        As of `DenseReduced`.
    density : float
        Share of the upper triangle that is stored.
    analysis : Analysis
        What elimination does to S; found when it is first asked for.
    """

    def __init__(self, plan: Elimination) -> None:
        self._plan, self._starts = plan, plan.starts
        self._n = int(plan.starts[-1])
        self.failed_column = -1
        widths, count = np.diff(plan.starts), plan.kept.size
        stars = _Stars(plan)
        self._column_first, self._rows = stars.columns()
        self._columns = np.repeat(np.arange(count), np.diff(self._column_first))
        sizes = widths[self._rows] * widths[self._columns]
        self._block_starts = np.cumsum(sizes) - sizes
        self._keys = self._columns * count + self._rows
        is_diagonal = self._columns == self._rows
        entries = np.where(is_diagonal, (sizes + widths[self._rows]) // 2, sizes)
        self._nnz, self._size = int(entries.sum()), int(sizes.sum())
        self.density = self._nnz / max(self._n * (self._n + 1) // 2, 1)
        self.panels: IndexArray = np.full(plan.slot_kept.size + 1, -1, dtype=np.int64)
        self.first_pairs, self.pair_blocks = stars.pairs(self._column_first, self._rows, self._block_starts)

    @cached_property
    def analysis(self) -> Analysis:
        """Order S by blocks and analyse it."""
        n, count = self._n, self._plan.kept.size
        self._indptr, indices, self._sources = ints(n + 1), ints(self._nnz), ints(self._nnz)
        lists = self._column_first, self._rows, self._block_starts, self._starts, count
        run_kernel(schur_pattern.list_entries, *lists, self._indptr, indices, self._sources)
        apart = self._rows != self._columns
        f, g = self._rows[apart], self._columns[apart]
        both = np.concatenate((f, g)), np.concatenate((g, f))
        order = np.lexsort(both[::-1])
        indptr = sums(np.bincount(both[0], minlength=count))
        widths = np.diff(self._starts)
        blocks = minimum_degree(indptr, both[1][order], weights=widths)
        return analyse(self._indptr, indices, n, ordering=ranges(self._starts[blocks], widths[blocks]))

    def allocate(self) -> None:
        """Take the memory of the numerical phase."""
        self._factor = self.analysis.prepare()
        self._values = np.empty(self._nnz)
        self.undamped, self.blocks = np.zeros(self._size), np.zeros(self._size)
        self.step, self._damping = np.zeros(self._n), np.zeros(self._n)
        self._ends = self._indptr[1:]
        kept = np.arange(self._plan.kept.size)
        self._diagonal = diagonal_places(self._plan, self.locate(kept, kept))
        self._sums, self._pivots = np.empty(self._n), np.empty(self._n)

    def locate(self, f: IndexArray, g: IndexArray) -> IndexArray:
        """Say where the blocks (f, g), f <= g, begin."""
        return np.asarray(self._block_starts[np.searchsorted(self._keys, g * self._plan.kept.size + f)])

    def factorize(self, damping: FloatArray) -> float:
        """Factorise S + D; give the smallest ratio of a pivot to the diagonal, 0 if not definite."""
        self.failed_column = -1
        np.take(damping, self._plan.kept_columns, out=self._damping)
        places = self._sources, self._ends, self._damping, self._nnz, self._n
        run_kernel(schur_pattern.gather, self.blocks, *places, self._values)
        failed, kept = self._factor.refactor(self._values), 0.0
        if failed < 0:
            np.take(self.undamped, self._diagonal, out=self._sums)
            self._sums += self._damping
            kept, failed = weakest_pivot(self._factor, self.analysis, self._sums, self._pivots)
        if failed < 0:
            return kept
        self.failed_column = int(self._plan.kept_columns[failed])
        return 0.0

    def solve(self) -> None:
        """Replace g in `step` by the solution of S p = -g."""
        np.negative(self.step, out=self.step)
        self._factor.solve(self.step, self.step)


@final
class _Stars:
    """Sets of kept blocks that meet one another: those of each eliminated block, then of other residual blocks."""

    def __init__(self, plan: Elimination) -> None:
        self._count, self._owners = plan.kept.size, plan.columns.size
        lengths, members = [np.diff(plan.slots)], [plan.slot_kept]
        for blocks in plan.stars():
            ordered = np.sort(blocks, axis=1)
            lengths.append(np.count_nonzero(ordered >= 0, axis=1))
            members.append(ordered[ordered >= 0])
        self._first = sums(np.concatenate(lengths))
        self._members = np.concatenate(members)
        self._star_first, self._stars = ints(self._count + 1), ints(self._members.size)
        parts = self._first, self._members, self._count, self._first.size - 1
        run_kernel(coloring.by_rows, *parts, self._star_first, self._stars)
        self._lists = self._first, self._members, self._star_first, self._stars

    def columns(self) -> tuple[IndexArray, IndexArray]:
        """Give for each kept block g those f <= g that it meets, ascending: first of each g, and all f."""
        count = self._count
        marks, row_first, room = ints(count), ints(count + 1), 0
        partners = ints(0)
        needed = run_kernel(schur_pattern.list_partners, *self._lists, count, room, marks, row_first, partners)
        partners = ints(needed)
        run_kernel(schur_pattern.list_partners, *self._lists, count, needed, marks, row_first, partners)
        column_first, rows = ints(count + 1), ints(needed)
        run_kernel(coloring.by_rows, row_first, partners, count, count, column_first, rows)
        return column_first, rows

    def pairs(
        self, column_first: IndexArray, rows: IndexArray, block_starts: IndexArray
    ) -> tuple[IndexArray, IndexArray]:
        """Give the first pair of each eliminated block, and where the block of each pair begins."""
        lengths = np.diff(self._first[: self._owners + 1])
        sizes = lengths * (lengths + 1) // 2
        ends = sums(sizes)
        pairs = ints(int(ends[-1]) + 1)
        blocks = column_first, rows, block_starts, ends, self._count, self._owners
        run_kernel(schur_pattern.place_pairs, *self._lists, *blocks, ints(self._count), pairs)
        return ends[:-1], pairs


def diagonal_places(plan: Elimination, diagonal_blocks: IndexArray) -> IndexArray:
    """Say where the diagonal entries of S lie among the blocks, given where the diagonal blocks begin."""
    widths = np.diff(plan.starts)
    order = np.arange(int(plan.starts[-1]))
    owner = np.repeat(np.arange(widths.size), widths)
    a, w = order - plan.starts[owner], widths[owner]
    main = np.array([main_columns(width) for width in range(int(w.max(initial=0)) + 1)], dtype=np.int64)[w]
    return np.asarray(diagonal_blocks[owner] + np.where(a < main, a * main + a, a * w + a))


def reduced_system(plan: Elimination, name: str) -> DenseReduced | SparseReduced:
    """Choose the form of the reduced system.

    Parameters
    ----------
    plan : Elimination
        Kept blocks.
    name : {"auto", "dense", "sparse"}
        "auto": sparse where that takes fewer than 1 / `DENSE_ADVANTAGE` of the operations of a dense factorisation of
        at least `DENSE_BELOW` columns.

    Raises
    ------
    ValueError
        If there is no such form.
    """
    if name not in REDUCED:
        raise ValueError(f"reduced must be one of {', '.join(map(repr, REDUCED))}; got {name!r}.")
    n = int(plan.starts[-1])
    if name == "dense" or n == 0 or (name == "auto" and n < DENSE_BELOW):
        return DenseReduced(plan)
    sparse = SparseReduced(plan)
    if name == "auto" and not _gains(sparse, n):
        return DenseReduced(plan)
    sparse.allocate()
    return sparse


def reduced_entries(pattern: BlockPattern, eliminated: BoolArray, enough: int) -> int:
    """Predict how many entries the factor of the reduced system has in the form that "auto" takes.

    Parameters
    ----------
    pattern : BlockPattern
        Pattern of J.
    eliminated : ndarray of bool, shape (n_blocks,)
        Blocks that are eliminated.
    enough : int
        The dense factor is counted, without a look at the pattern, where it has at most so many entries.
    """
    n = pattern.shape[1] - int(pattern.widths[eliminated].sum())
    dense = n * (n + 1) // 2
    if dense <= enough:
        return dense
    sparse = SparseReduced(Elimination(pattern, eliminated))
    return sparse.analysis.nnz_factor if _gains(sparse, n) else dense


def _gains(sparse: SparseReduced, n: int) -> bool:
    """Say whether a sparse factorisation is predicted to be faster than a dense one."""
    return sparse.density <= DENSE_SHARE and sparse.analysis.flops * DENSE_ADVANTAGE <= float(n) ** 3 / 3
