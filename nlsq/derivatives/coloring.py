r"""Colouring the columns of a sparse Jacobian, so that one evaluation serves many of them.

Two columns may share a colour when no row has an entry in both (they are structurally orthogonal). With the seed
matrix S, shape (n, n_colors), S[j, colors[j]] = 1, every entry can be read off the compressed B = J S:

    J[i, j] = B[i, colors[j]].

That is a partial distance-2 colouring of the columns in the bipartite graph of rows and columns [1]_. The greedy
algorithm gives each column the smallest colour that no row of it has seen; the count depends on the order of the
columns, and three orders are tried, the best kept:

    natural         as they come
    largest first   descending number of distance-2 neighbours
    smallest last   repeatedly take the column with the fewest neighbours among those left; colour in reverse

No colouring has fewer colours than the densest row has entries: the search ends as soon as one order reaches that.

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

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias, final
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from nlsq.pattern import SparsityPattern

__all__ = ["Coloring", "color_columns"]

IndexArray: TypeAlias = NDArray[np.intp]

NEIGHBOUR_BUDGET = (
    30_000_000  # row entries that may be visited to find neighbours; beyond it only natural order is used
)

_COLORINGS: WeakKeyDictionary[SparsityPattern, Coloring] = WeakKeyDictionary()


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


def _best_of_three(pattern: SparsityPattern) -> Coloring:
    """Colour in each order until the bound of the densest row is reached."""
    n = pattern.shape[1]
    if pattern.nnz == 0:
        return Coloring(np.zeros(n, dtype=np.intp), 0)
    rows_of = _split(pattern.indices, pattern.indptr)
    best = _greedy(rows_of, range(n), pattern.shape[0], "natural")
    indptr, columns = pattern.by_rows()
    row_lengths = np.diff(indptr)
    if best.n_colors == pattern.densest_row or float(np.sum(row_lengths.astype(float) ** 2)) > NEIGHBOUR_BUDGET:
        return best
    neighbours = _neighbours(rows_of, _split(columns, indptr))
    for name, order in (("largest first", _largest_first), ("smallest last", _smallest_last)):
        candidate = _greedy(rows_of, order(neighbours), pattern.shape[0], name)
        if candidate.n_colors < best.n_colors:
            best = candidate
        if best.n_colors == pattern.densest_row:
            break
    return best


def _split(indices: IndexArray, indptr: IndexArray) -> list[list[int]]:
    """Return compressed lists as lists of ints, which plain Python walks faster than arrays."""
    flat, ends = indices.tolist(), indptr.tolist()
    return [flat[start:stop] for start, stop in pairwise(ends)]


def _greedy(rows_of: list[list[int]], order: Iterable[int], m: int, name: str) -> Coloring:
    """Give each column, in `order`, the smallest colour that none of its rows has seen.

    The colours that a row has seen are the bits of one int, so that a column costs as many operations as it has
    entries, whatever the lengths of its rows.
    """
    seen = [0] * m
    colors = np.zeros(len(rows_of), dtype=np.intp)
    used = 0
    for j in order:
        taken = 0
        for i in rows_of[j]:
            taken |= seen[i]
        bit = ~taken & (taken + 1)  # lowest bit that is not set
        for i in rows_of[j]:
            seen[i] |= bit
        if rows_of[j]:
            color = bit.bit_length() - 1
            colors[j] = color
            used = max(used, color + 1)
    return Coloring(colors, used, name)


def _neighbours(rows_of: list[list[int]], columns_of: list[list[int]]) -> list[list[int]]:
    """Return for each column the others that share a row with it."""
    found = []
    for j, rows in enumerate(rows_of):
        near: set[int] = set()
        near.update(*(columns_of[i] for i in rows))
        near.discard(j)
        found.append(list(near))
    return found


def _largest_first(neighbours: list[list[int]]) -> list[int]:
    """Order by descending number of neighbours, ties as they come."""
    degrees = [len(near) for near in neighbours]
    return sorted(range(len(neighbours)), key=degrees.__getitem__, reverse=True)


def _smallest_last(neighbours: list[list[int]]) -> list[int]:
    """Order so that each column has the fewest neighbours among those before it (Matula and Beck 1983).

    Columns wait in buckets by degree; one whose degree has fallen since is met again in a lower bucket, and its old
    places are skipped.
    """
    degrees = [len(near) for near in neighbours]
    n = len(degrees)
    buckets: list[list[int]] = [[] for _ in range(max(degrees, default=0) + 1)]
    for j in range(n - 1, -1, -1):
        buckets[degrees[j]].append(j)
    removed = bytearray(n)
    order: list[int] = []
    low = 0
    while len(order) < n:
        while not buckets[low]:
            low += 1
        j = buckets[low].pop()
        if removed[j] or degrees[j] != low:
            continue
        removed[j] = 1
        order.append(j)
        for k in neighbours[j]:
            if not removed[k]:
                degrees[k] -= 1
                buckets[degrees[k]].append(k)
        low = max(low - 1, 0)
    order.reverse()
    return order
