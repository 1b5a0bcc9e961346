"""Structure of a sparse KKT matrix: where its values come from, which rows keep company, and the order of elimination.

A row of constraints with E = 0 has no pivot before a column of its own. So rows are paired with columns by a matching
of A, and the two are eliminated one after the other, with one structure: on the graph of pairs an order is found, and
the front that has one has the other, so that a pivot of order 2 is there when it is needed [1]_.

References
----------
.. [1] I. S. Duff and S. Pralet, "Strategies for Scaling and Pivoting for Sparse Symmetric Indefinite Problems", SIAM
   Journal on Matrix Analysis and Applications 27, 2005, sections 4 and 5.
"""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels import kkt_assembly as kernels
from nlsq.kernels.calling import run_kernel
from nlsq.linalg.kernel_calls import FloatArray, IndexArray, ints, ranges, sums
from nlsq.linalg.multifrontal import MultifrontalPlan
from nlsq.linalg.ordering import minimum_degree
from nlsq.linalg.symmetric_pattern import Pattern, Tree
from nlsq.pattern import SparsityPattern

__all__ = ["Entries", "KKTStructure", "eliminate", "pair_columns"]

NOT_SMALL = 0.1  # part of the largest entry of its row, from which an entry may be paired


@final
class Entries:
    """Entries of an upper triangle from several sources, and the pattern that they make."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._rows: list[IndexArray] = []
        self._columns: list[IndexArray] = []

    def add(self, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> None:
        """Add the entries of one source; the two halves may be mixed."""
        self._rows.append(np.minimum(rows, columns).astype(np.int64, copy=False))
        self._columns.append(np.maximum(rows, columns).astype(np.int64, copy=False))

    def merged(self) -> tuple[Pattern, list[IndexArray]]:
        """Return the pattern, and for each source the places of its entries."""
        rows, columns = np.concatenate(self._rows), np.concatenate(self._columns)
        count, n = rows.size, self.n
        indptr, indices, places = ints(n + 1), ints(count), ints(count)
        found = run_kernel(
            kernels.merge_entries, rows, columns, count, n, ints(2 * count + n + 1), indptr, indices, places
        )
        ends = np.cumsum([part.size for part in self._rows])
        return Pattern(indptr, indices[:found].copy(), n), [
            np.ascontiguousarray(part) for part in np.split(places, ends[:-1])
        ]


def pair_columns(
    pattern: SparsityPattern, sizes: FloatArray, degrees: IndexArray, row_of: IndexArray, *, first: int, complete: bool
) -> None:
    """Pair rows with columns that are free.

    Parameters
    ----------
    pattern : SparsityPattern
        Of (m, n).
    sizes : ndarray, shape (nnz,)
        Of the entries by rows; a zero pairs nothing.
    degrees : ndarray of int64, shape (n,)
        Of the columns: low ones are taken first.
    row_of : ndarray of int64, shape (n,)
        Row of each column, or -1; changed.
    first : int
        Added to the row numbers.
    complete : bool
        Whether as many rows as possible are to be paired; then `first` is 0 and `row_of` all -1.
    """
    m, n = pattern.shape
    indptr, columns = (np.ascontiguousarray(part, dtype=np.int64) for part in pattern.by_rows())
    run_kernel(kernels.pair_rows_greedily, indptr, columns, sizes, m, first, NOT_SMALL, degrees, row_of)
    if complete and np.count_nonzero(row_of >= 0) < min(m, n):
        run_kernel(kernels.complete_pairs, indptr, columns, sizes, m, n, ints(n + 4 * m), row_of)


def eliminate(pattern: Pattern, partners: IndexArray, ordering: str) -> tuple[IndexArray, IndexArray, IndexArray]:
    """Order a matrix so that partners come together, and list what they must share.

    Parameters
    ----------
    pattern : Pattern
        Of the matrix.
    partners : ndarray of int64, shape (n,)
        The partner of each column, or -1.
    ordering : {"amd", "natural"}
        Of the pairs; naturally by the earlier column of each.

    Returns
    -------
    permutation : ndarray of int64, shape (n,)
        The columns in the order of elimination.
    rows, columns : ndarray of int64
        Entries that give partners one structure.
    """
    n = pattern.n
    own = np.arange(n, dtype=np.int64)
    leads = (partners < 0) | (own < partners)
    heads = own[leads]
    tails = partners[leads]
    group = ints(n)
    group[heads] = np.arange(heads.size)
    with_tail = tails >= 0
    group[tails[with_tail]] = np.flatnonzero(with_tail)
    graph = Entries(heads.size)
    graph.add(group[pattern.indices], group[pattern.columns])
    small, _ = graph.merged()
    sizes = 1 + with_tail.astype(np.int64)
    order = minimum_degree(*small.full(), weights=sizes) if ordering == "amd" else np.arange(heads.size)
    members = sums(sizes)
    listed = ints(n)
    listed[members[:-1]] = heads
    listed[members[1:][with_tail] - 1] = tails[with_tail]
    permutation = listed[ranges(members[:-1][order], sizes[order])]
    first, second = small.indices, small.columns
    rows, columns = [], []
    for a in (heads, tails):
        for b in (heads, tails):
            i, j = a[first], b[second]
            both = (i >= 0) & (j >= 0)
            rows.append(i[both])
            columns.append(j[both])
    return permutation, np.concatenate(rows), np.concatenate(columns)


@final
class KKTStructure:
    """Pattern, order and plan of a KKT matrix whose entries are known.

    Parameters
    ----------
    entries : Entries
        From all sources.
    partners : ndarray of int64, shape (n,)
        The partner of each column, or -1.
    signs : ndarray, shape (n,)
        Of the pivots of a matrix of right inertia, when each is of order 1.
    ordering : {"amd", "natural"}
        Of the pairs.

    Attributes
    ----------
    pattern : Pattern
        Of the matrix.
    places : list of ndarray of int64
        Where the entries of each source lie in the pattern.
    plan : MultifrontalPlan
        Of the pattern with what partners share.
    known : ndarray of int64
        Where each entry of the plan's pattern is in `pattern`, or -1.
    nnz_factor : int
        Entries of L, diagonal included, if no pivot is put off.
    flops : float
        Multiplications and additions of a factorisation.
    """

    def __init__(self, entries: Entries, partners: IndexArray, signs: FloatArray, ordering: str) -> None:
        self.pattern, self.places = entries.merged()
        permutation, rows, columns = eliminate(self.pattern, partners, ordering)
        entries.add(rows, columns)
        padded, places = entries.merged()
        self.known = np.full(padded.indices.size, -1, dtype=np.int64)
        for mine, theirs in zip(self.places, places[:-1], strict=True):
            self.known[theirs] = mine
        tree = Tree(padded, permutation)
        counts = tree.counts.astype(np.float64)
        self.nnz_factor, self.flops = int(tree.counts.sum()), float(counts @ counts)
        self.plan = MultifrontalPlan(padded, tree, signs)
