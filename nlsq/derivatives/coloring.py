r"""Colouring the columns of a sparse Jacobian, so that one evaluation serves many of them.

Two columns may share a colour when no row has an entry in both (they are structurally orthogonal). With the seed
matrix S, shape (n, n_colors), S[j, colors[j]] = 1, every entry can be read off the compressed B = J S:

    J[i, j] = B[i, colors[j]].

That is a partial distance-2 colouring of the columns in the bipartite graph of rows and columns [1]_. The greedy
algorithm gives each column the smallest colour that no row of it has seen; the count depends on the order of the
columns, and three orders are tried, the best kept:

    natural         as they come
    largest first   descending number of distance-2 neighbours
    smallest last   repeatedly take the column with the fewest neighbours among those left; colour in reverse;
                    where several have equally few, the last one, and in small patterns once more the first

No colouring has fewer colours than the densest row has entries: the search ends as soon as one order reaches that. The
rows of J are coloured as the columns of its transpose: that is for products with J', as many as there are colours.

References
----------
.. [1] A. H. Gebremedhin, F. Manne and A. Pothen, "What Color Is Your Jacobian? Graph Coloring for Computing
   Derivatives", SIAM Review 47, 2005, sections 3.1 and 3.5, Algorithm 3.2.
.. [2] A. R. Curtis, M. J. D. Powell and J. K. Reid, "On the Estimation of Sparse Jacobian Matrices", IMA Journal of
   Applied Mathematics 13, 1974.
.. [3] D. W. Matula and L. L. Beck, "Smallest-Last Ordering and Clustering and Graph Coloring Algorithms", Journal of
   the ACM 30, 1983.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, final
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels import coloring as kernels
from nlsq.kernels.calling import run_kernel
from nlsq.pattern import SparsityPattern

__all__ = ["Coloring", "ColumnGraph", "color_columns", "color_rows"]

IndexArray: TypeAlias = NDArray[np.intp]

NEIGHBOUR_BUDGET = 100_000_000  # steps through rows to find all neighbours; beyond it only natural order is used
LIST_BUDGET = 1 << 24  # neighbours that are listed (128 MiB); beyond it smallest last is left out
BOTH_ENDS = 1 << 20  # neighbours up to which smallest last is tried from each end
BITS_BUDGET = 1 << 24  # words for the colours that rows have (128 MiB)
FIRST_LONG = 64  # entries: shorter rows are the first to keep no bits when there is no memory for all
NO_ROOM = -1  # what the kernel returns when the words of bits are too few

_COLORINGS: WeakKeyDictionary[SparsityPattern, Coloring] = WeakKeyDictionary()
_ROW_COLORINGS: WeakKeyDictionary[SparsityPattern, Coloring] = WeakKeyDictionary()


@final
@dataclass(frozen=True, eq=False)
class Coloring:
    """Colours of the columns of a pattern.

    Attributes
    ----------
    colors : ndarray of int, shape (n,)
        Colour of each column, 0 to ``n_colors - 1``; empty columns have colour 0.
    n_colors : int
        Number of colours: evaluations that one Jacobian takes. 0 for a pattern without entries.
    order : str
        The order that gave them: ``"natural"``, ``"largest first"`` or ``"smallest last"``.
    """

    colors: IndexArray
    n_colors: int
    order: str = "natural"

    def groups(self) -> list[IndexArray]:
        """Return the columns of each colour, ascending."""
        by_color = np.argsort(self.colors, kind="stable")
        ends = np.cumsum(np.bincount(self.colors, minlength=max(self.n_colors, 1)))
        return [np.asarray(group) for group in np.split(by_color, ends[:-1])][: self.n_colors]

    def compress(self, jac: Any) -> NDArray[np.float64]:
        """Return B = J S.

        Parameters
        ----------
        jac : ndarray or sparse array, shape (m, n)
            Jacobian.

        Returns
        -------
        ndarray, shape (m, n_colors)
        """
        seed = np.zeros((self.colors.size, self.n_colors))
        if self.n_colors:
            seed[np.arange(self.colors.size), self.colors] = 1.0
        return np.asarray(jac @ seed)

    def decompress(self, compressed: NDArray[np.float64], pattern: SparsityPattern) -> Any:
        """Read the Jacobian off its compressed form.

        Parameters
        ----------
        compressed : ndarray, shape (m, n_colors)
            B = J S.
        pattern : SparsityPattern
            The pattern that was coloured.

        Returns
        -------
        csr_array, shape (m, n)
        """
        from scipy.sparse import csr_array

        indptr, columns = pattern.by_rows()
        rows = np.repeat(np.arange(pattern.shape[0]), np.diff(indptr))
        return csr_array((compressed[rows, self.colors[columns]], columns, indptr), shape=pattern.shape)


def color_columns(pattern: SparsityPattern) -> Coloring:
    """Colour the columns of a pattern, the best of three orders; kept for as long as the pattern lives.

    Parameters
    ----------
    pattern : SparsityPattern
        Pattern, shape (m, n).

    Returns
    -------
    Coloring
    """
    coloring = _COLORINGS.get(pattern)
    if coloring is None:
        coloring = _COLORINGS[pattern] = _best_of_three(pattern)
    return coloring


def color_rows(pattern: SparsityPattern) -> Coloring:
    """Colour the rows of a pattern: no column has entries in two rows of a colour; kept while the pattern lives.

    Parameters
    ----------
    pattern : SparsityPattern
        Pattern, shape (m, n).

    Returns
    -------
    Coloring
        Of the m columns of ``pattern.transpose()``; its `compress` takes J', its `decompress` gives J'.
    """
    coloring = _ROW_COLORINGS.get(pattern)
    if coloring is None:
        coloring = _ROW_COLORINGS[pattern] = _best_of_three(pattern.transpose())
    return coloring


def _best_of_three(pattern: SparsityPattern) -> Coloring:
    """Colour in each order until the bound of the densest row is reached."""
    best = Coloring(np.zeros(pattern.shape[1], dtype=np.intp), 0)
    if pattern.nnz == 0:
        return best
    graph = ColumnGraph.of(pattern)
    for name, order in graph.orders():
        candidate = graph.color(order, name, best.n_colors - 1 if best.n_colors else pattern.shape[1])
        best = best if candidate is None else candidate
        if best.n_colors == graph.densest_row:
            break
    return best


@final
class ColumnGraph:
    """Rows and columns of a pattern, each with the others it meets, as kernels take them.

    Parameters
    ----------
    indptr, indices : ndarray of int64, shapes (n + 1,) and (nnz,)
        Rows of each column.
    row_indptr, columns : ndarray of int64, shapes (m + 1,) and (nnz,)
        Columns of each row.
    """

    def __init__(self, indptr: IndexArray, indices: IndexArray, row_indptr: IndexArray, columns: IndexArray) -> None:
        self.n = indptr.size - 1
        self.parts = indptr, indices, row_indptr, columns
        self.row_lengths = np.diff(row_indptr)
        self.densest_row = int(self.row_lengths.max(initial=0))

    @classmethod
    def of(cls, pattern: SparsityPattern) -> ColumnGraph:
        """Make the graph of a pattern, without rows that repeat the row before."""
        m, n = pattern.shape
        rows = [np.ascontiguousarray(part, dtype=np.int64) for part in pattern.by_rows()]
        indptr, columns = np.empty(m + 1, dtype=np.int64), np.empty(pattern.nnz, dtype=np.int64)
        kept = run_kernel(kernels.drop_repeated, *rows, m, indptr, columns)
        if kept == m:
            columns_of = [np.ascontiguousarray(part, dtype=np.int64) for part in (pattern.indptr, pattern.indices)]
            return cls(*columns_of, *rows)
        rows = [indptr[: kept + 1].copy(), columns[: indptr[kept]].copy()]
        by_columns = np.empty(n + 1, dtype=np.int64), np.empty(rows[1].size, dtype=np.int64)
        run_kernel(kernels.by_rows, *rows, n, kept, *by_columns)
        return cls(*by_columns, *rows)

    def orders(self) -> Iterator[tuple[str, IndexArray]]:
        """Yield names and orders, each found when it is asked for, and overwritten by the next."""
        yield "natural", np.arange(self.n, dtype=np.int64)
        steps = int(np.sum(self.row_lengths.astype(np.float64) ** 2))
        if steps > NEIGHBOUR_BUDGET:
            return
        degrees, order = np.empty(self.n, dtype=np.int64), np.empty(self.n, dtype=np.int64)
        neighbours: IndexArray = np.empty(min(steps - self.parts[3].size, LIST_BUDGET), dtype=np.int64)
        room, total = (
            neighbours.size,
            run_kernel(kernels.find_neighbours, *self.parts, self.n, neighbours.size, order, degrees, neighbours),
        )
        largest = int(degrees.max())
        run_kernel(kernels.largest_first, degrees, largest, self.n, np.empty(largest + 2, dtype=np.int64), order)
        yield "largest first", order
        if total > room:
            return
        work = np.empty(3 * self.n + largest + 2 + total, dtype=np.int64)
        for backward in (1, 0) if total <= BOTH_ENDS else (1,):
            run_kernel(kernels.smallest_last, neighbours, largest, backward, self.n, degrees.copy(), work, order)
            yield "smallest last", order

    def color(self, order: IndexArray, name: str, limit: int) -> Coloring | None:
        """Colour greedily in `order`, with more room for colours until it is enough; None beyond `limit` colours."""
        colors = np.empty(self.n, dtype=np.int64)
        words, used = self.densest_row // kernels.BITS + 1, NO_ROOM
        while used == NO_ROOM:
            is_long = self.row_lengths > self._longest_short_row(words)
            kept = int(np.count_nonzero(is_long))
            places = np.where(is_long, np.cumsum(is_long) - 1, -1).astype(np.int64, copy=False)
            seen, full, taken = (np.zeros(size, dtype=np.int64) for size in (kept * words, kept, 2 * words))
            work = seen, full, taken, colors
            used = run_kernel(kernels.color_greedily, *self.parts, order, places, self.n, limit, words, *work)
            words *= 2
        return None if used < 0 else Coloring(colors.astype(np.intp, copy=False), int(used), name)

    def _longest_short_row(self, words: int) -> int:
        """Return the length up to which rows keep no bits: 0 if there is memory for all."""
        length = 0
        while np.count_nonzero(self.row_lengths > length) * words > BITS_BUDGET and length < self.densest_row:
            length = max(2 * length, FIRST_LONG)
        return length
