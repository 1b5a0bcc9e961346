r"""Colouring columns and rows together: for Jacobians with dense rows and dense columns.

A dense row forces all columns apart, a dense column all rows. Where products with J and with J' can both be had, as
from a LinearOperator, some entries are read off the one and some off the other. With seed matrices S of column colours
and T of row colours,

    B = J S,   C = J' T,       J_ij = B[i, color of column j]   or   J_ij = C[j, color of row i].

The first holds if no other column of j's colour has an entry in row i, the second if no other row of i's colour has one
in column j. Each entry needs one of them: a direct bidirectional determination [1]_, a bicolouring of the bipartite
graph [2]_. Entries are divided by taking away rows and columns in order of fewest entries [1]_, or by giving the
densest rows, or columns, to a side of their own; each side is coloured greedily, and the division with fewest colours
kept. An arrow matrix takes three products whatever its size.

References
----------
.. [1] T. F. Coleman and A. Verma, "The Efficient Computation of Sparse Jacobian Matrices Using Automatic
   Differentiation", SIAM Journal on Scientific Computing 19, 1998, section 3.1.
.. [2] A. H. Gebremedhin, F. Manne and A. Pothen, "What Color Is Your Jacobian? Graph Coloring for Computing
   Derivatives", SIAM Review 47, 2005, section 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, final
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from nlsq.derivatives.coloring import color_columns, color_rows
from nlsq.derivatives.estimator import FloatArray
from nlsq.derivatives.pattern_check import MissingEntryError
from nlsq.kernels import bicoloring as kernels
from nlsq.kernels.calling import run_kernel
from nlsq.pattern import SparsityPattern

__all__ = ["Bicoloring", "OperatorMatrix", "bicolor"]

IndexArray: TypeAlias = NDArray[np.intp]
Compressed: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]  # where each line begins, and its entries

DIRECTION_SEED = 19980119
AGREEMENT = 1e-8  # of the sum of |J_ij v_j|; products are right to rounding

_BICOLORINGS: WeakKeyDictionary[SparsityPattern, Bicoloring] = WeakKeyDictionary()


@final
@dataclass(frozen=True, eq=False)
class Bicoloring:
    """Colours of columns and rows, and which entry comes from which.

    Attributes
    ----------
    column_colors : ndarray of int, shape (n,)
        Colour of each column, -1 for those that no entry comes from.
    n_column_colors : int
        Products with J.
    row_colors : ndarray of int, shape (m,)
        Colour of each row, -1 for those that no entry comes from.
    n_row_colors : int
        Products with J'.
    by_columns : ndarray of bool, shape (nnz,)
        Whether an entry comes from its column's colour rather than its row's; in the order of ``pattern.by_rows()``.
    """

    column_colors: IndexArray
    n_column_colors: int
    row_colors: IndexArray
    n_row_colors: int
    by_columns: NDArray[np.bool_]

    @property
    def n_colors(self) -> int:
        """Products that one Jacobian takes."""
        return self.n_column_colors + self.n_row_colors

    def compress(self, jac: Any) -> tuple[FloatArray, FloatArray]:
        """Return J S, shape (m, n_column_colors), and J' T, shape (n, n_row_colors)."""
        columns, rows = (
            _seed(colors, count)
            for colors, count in ((self.column_colors, self.n_column_colors), (self.row_colors, self.n_row_colors))
        )
        return np.asarray(jac @ columns), np.asarray(jac.T @ rows)

    def decompress(self, products: FloatArray, transposed: FloatArray, pattern: SparsityPattern) -> Any:
        """Read the Jacobian off both products, as a csr_array, shape (m, n)."""
        from scipy.sparse import csr_array

        indptr, columns = pattern.by_rows()
        rows = np.repeat(np.arange(pattern.shape[0]), np.diff(indptr))
        values, chosen = np.empty(columns.size), self.by_columns
        values[chosen] = products[rows[chosen], self.column_colors[columns[chosen]]]
        values[~chosen] = transposed[columns[~chosen], self.row_colors[rows[~chosen]]]
        return csr_array((values, columns, indptr), shape=pattern.shape)


def bicolor(pattern: SparsityPattern) -> Bicoloring:
    """Colour columns and rows so that products with J and J' give all entries; kept while the pattern lives.

    Parameters
    ----------
    pattern : SparsityPattern
        Pattern, shape (m, n).

    Returns
    -------
    Bicoloring
        Of the columns alone, or of the rows alone, where that takes no more colours.
    """
    found = _BICOLORINGS.get(pattern)
    if found is None:
        found = _BICOLORINGS[pattern] = _fewest(pattern)
    return found


def _fewest(pattern: SparsityPattern) -> Bicoloring:
    m, n = pattern.shape
    none = np.full(n, -1, dtype=np.intp), np.full(m, -1, dtype=np.intp)
    if pattern.nnz == 0:
        return Bicoloring(none[0], 0, none[1], 0, np.empty(0, dtype=np.bool_))
    densest_column = int(np.diff(pattern.indptr).max())
    best: Bicoloring | None = None
    if pattern.densest_row > 2:  # below, nothing can be saved by looking at both sides
        best = _both_sides(pattern)
    everything = np.ones(pattern.nnz, dtype=np.bool_)
    if best is None or pattern.densest_row <= best.n_colors:
        coloring = color_columns(pattern)
        if best is None or coloring.n_colors <= best.n_colors:
            best = Bicoloring(coloring.colors, coloring.n_colors, none[1], 0, everything)
    if densest_column < best.n_colors:
        coloring = color_rows(pattern)
        if coloring.n_colors < best.n_colors:
            best = Bicoloring(none[0], 0, coloring.colors, coloring.n_colors, ~everything)
    return best


def _both_sides(pattern: SparsityPattern) -> Bicoloring:
    """Divide the entries in three ways, colour each side greedily, and keep the fewest colours."""
    m = pattern.shape[0]
    by_columns = _as_int64(pattern.indptr, pattern.indices)
    by_rows = _as_int64(*pattern.by_rows())
    rows = np.repeat(np.arange(m), np.diff(by_rows[0]))
    best: Bicoloring | None = None
    for row_times, column_times in _divisions(by_columns, by_rows):
        column_colors, column_count = _one_side(by_columns, by_rows, row_times, column_times)
        row_colors, row_count = _one_side(by_rows, by_columns, column_times, row_times)
        if best is None or column_count + row_count < best.n_colors:
            from_columns = row_times[rows] < column_times[by_rows[1]]
            best = Bicoloring(column_colors, column_count, row_colors, row_count, from_columns)
    assert best is not None
    return best


def _as_int64(*parts: NDArray[Any]) -> Compressed:
    first, second = (np.ascontiguousarray(part, dtype=np.int64) for part in parts)
    return first, second


def _divisions(by_columns: Compressed, by_rows: Compressed) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield times of rows and columns: an entry comes from its column if its row's time is the earlier one.

    Taking away the k densest rows leaves at least as many column colours as the next row has entries: the k with the
    smallest sum is one division, that for columns another, the order of fewest entries a third.
    """
    m, n = by_rows[0].size - 1, by_columns[0].size - 1
    row_times, column_times = np.empty(m, dtype=np.int64), np.empty(n, dtype=np.int64)
    work = np.empty(4 * (m + n + 1) + m + n, dtype=np.int64)
    run_kernel(kernels.order_by_fewest, *by_columns, *by_rows, m, n, work, row_times, column_times)
    yield row_times, column_times
    dense = _dense_lines(np.diff(by_rows[0]))
    if dense.size:
        times = np.zeros(m, dtype=np.int64)
        times[dense] = 2
        yield times, np.ones(n, dtype=np.int64)
    dense = _dense_lines(np.diff(by_columns[0]))
    if dense.size:
        times = np.zeros(n, dtype=np.int64)
        times[dense] = 2
        yield np.ones(m, dtype=np.int64), times


def _dense_lines(lengths: NDArray[np.int64]) -> IndexArray:
    """Return the densest rows: so many that their number and the length of the next are least in sum."""
    order = np.argsort(-lengths, kind="stable")
    count = int(np.argmin(np.arange(lengths.size) + lengths[order]))
    return order[:count]


def _one_side(
    by_columns: Compressed, by_rows: Compressed, row_times: NDArray[np.int64], column_times: NDArray[np.int64]
) -> tuple[IndexArray, int]:
    """Colour the columns that entries come from."""
    (row_indptr, columns), m, n = by_rows, row_times.size, column_times.size
    listed, ends = np.empty_like(columns), np.empty(m, dtype=np.int64)
    run_kernel(kernels.own_first, row_indptr, columns, m, row_times, column_times, listed, ends)
    best, fewest = np.full(n, -1, dtype=np.int64), -1
    lengths = np.diff(by_columns[0])
    for order in (np.arange(n), np.argsort(-lengths, kind="stable"), np.argsort(-column_times, kind="stable")):
        stamps, colors = np.full(n + 1, -1, dtype=np.int64), np.empty(n, dtype=np.int64)
        parts = (*by_columns, row_indptr, listed, ends, row_times, column_times)
        used = run_kernel(kernels.color_one_side, *parts, order.astype(np.int64, copy=False), n, stamps, colors)
        if fewest < 0 or used < fewest:
            best, fewest = colors, int(used)
    return best.astype(np.intp, copy=False), fewest


def _seed(colors: IndexArray, count: int) -> FloatArray:
    seed = np.zeros((colors.size, count))
    used = np.flatnonzero(colors >= 0)
    seed[used, colors[used]] = 1.0
    return seed


@final
class OperatorMatrix:
    """Makes sparse matrices of linear operators of one pattern.

    Parameters
    ----------
    pattern : SparsityPattern
        Where the operators have entries.

    Attributes
    ----------
    coloring : Bicoloring
        Products with the operator and its transpose that one matrix takes.
    """

    def __init__(self, pattern: SparsityPattern) -> None:
        self.pattern = pattern
        self.coloring = bicolor(pattern)
        self._indptr, self._columns = pattern.by_rows()
        self._rows = np.repeat(np.arange(pattern.shape[0]), np.diff(self._indptr))
        index = np.int32 if max(pattern.nnz, *pattern.shape) < 2**31 else np.int64
        self._structure: tuple[Any, Any] = self._columns.astype(index), self._indptr.astype(index)
        self._is_checked = False

    def __call__(self, operator: Any) -> Any:
        """Return the operator as a csr_array, shape (m, n).

        Raises
        ------
        MissingEntryError
            At the first finite matrix, if a product with a random vector shows that the pattern lacks an entry.
        """
        from scipy.sparse import csr_array

        coloring = self.coloring
        values: FloatArray = np.empty(self._columns.size)
        chosen = np.flatnonzero(coloring.by_columns)
        for entries, seed in _parts(chosen, coloring.column_colors, self._columns, coloring.n_column_colors):
            values[entries] = operator.matvec(seed)[self._rows[entries]]
        chosen = np.flatnonzero(~coloring.by_columns)
        for entries, seed in _parts(chosen, coloring.row_colors, self._rows, coloring.n_row_colors):
            values[entries] = operator.rmatvec(seed)[self._columns[entries]]
        jac = csr_array((values, *self._structure), shape=self.pattern.shape)
        if not self._is_checked:
            self._is_checked = self._check(operator, jac)
        return jac

    def _check(self, operator: Any, jac: Any) -> bool:
        """Compare a product; find the missing entry by products with parts of the vector.

        Returns whether all could be compared: what is not finite agrees with nothing and differs from nothing.
        """
        vector = np.random.default_rng(DIRECTION_SEED).uniform(0.5, 1.0, self.pattern.shape[1])
        wanted = np.asarray(operator.matvec(vector)).reshape(-1)
        with np.errstate(invalid="ignore", over="ignore"):
            error: FloatArray = np.abs(jac @ vector - wanted) - AGREEMENT * (abs(jac) @ vector + np.abs(wanted))
        for row in np.flatnonzero(error > 0.0).tolist():
            others = np.ones(vector.size, dtype=np.bool_)
            others[self._columns[self._indptr[row] : self._indptr[row + 1]]] = False
            found = np.flatnonzero(others)
            noise = AGREEMENT * float(np.abs(wanted[np.isfinite(wanted)]).max())
            if not _reaches(operator, vector, found, row, noise):
                continue
            while found.size > 1:
                first, second = np.array_split(found, 2)
                found = first if _reaches(operator, vector, first, row, noise) else second
            raise MissingEntryError(row, int(found[0]))
        return bool(np.isfinite(error).all())


def _reaches(operator: Any, vector: FloatArray, columns: IndexArray, row: int, noise: float) -> bool:
    """Whether a row of the product depends on some columns."""
    part = np.zeros_like(vector)
    part[columns] = vector[columns]
    return bool(abs(np.asarray(operator.matvec(part)).reshape(-1)[row]) > noise)


def _parts(
    entries: IndexArray, colors: IndexArray, line: IndexArray, count: int
) -> Iterator[tuple[IndexArray, FloatArray]]:
    """Yield for each colour its entries and its seed; `line` is the row or column of every entry."""
    of_entry = colors[line[entries]]
    order = np.argsort(of_entry, kind="stable")
    ends = np.searchsorted(of_entry[order], np.arange(count + 1))
    for color in range(count):
        yield entries[order[ends[color] : ends[color + 1]]], (colors == color).astype(np.float64)
