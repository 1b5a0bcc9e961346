r"""Colouring a symmetric matrix so that few products give all its entries.

With the seed matrix S, S[j, colors[j]] = 1, the compressed matrix B = H S holds sums of columns of one colour. In a
star colouring every entry H_jk = H_kj can be read off B directly [1]_:

    H_jk = B[j, colors[k]]   where k is the only column of its colour with an entry in row j, else
    H_jk = B[k, colors[j]]   where j is the only one of its colour in row k.

Every partial distance-2 colouring of the columns is one, but a star colouring may have far fewer colours: two where one
column and one row are full beside the diagonal, which takes n by distance two. Both are tried, the star colouring in
two orders: columns as they come, and those with most entries first.

References
----------
.. [1] A. H. Gebremedhin, F. Manne and A. Pothen, "What Color Is Your Jacobian? Graph Coloring for Computing
   Derivatives", SIAM Review 47, 2005, sections 4 and 6.
.. [2] T. F. Coleman and J. J. More, "Estimation of Sparse Hessian Matrices and Graph Coloring Problems", Mathematical
   Programming 28, 1984.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlsq.derivatives.coloring import Coloring, color_columns
from nlsq.kernels.calling import run_kernel
from nlsq.kernels.coloring import BITS
from nlsq.kernels.star_coloring import color_stars
from nlsq.pattern import SparsityPattern

__all__ = ["Places", "color_symmetric", "hessian_pattern", "places_of_entries"]

IndexArray = NDArray[np.int64]


class Places(NamedTuple):
    """Where the entries of the lower triangle are in a compressed matrix, each shape (nnz,).

    Attributes
    ----------
    rows, columns : ndarray of int64
        Entries (j, k), j >= k.
    at : ndarray of int64
        Row of B that an entry is read from: j, or k where it is read as its mirror image.
    moved : ndarray of int64
        The other index of it: the column whose colour is read.
    """

    rows: IndexArray
    columns: IndexArray
    at: IndexArray
    moved: IndexArray


def hessian_pattern(pattern: SparsityPattern, curved: NDArray[np.bool_] | None = None) -> SparsityPattern:
    """Return where  sum_i w_i * (second derivatives of residual i)  may be nonzero.

    Two parameters that meet in no row of the Jacobian have no second derivative in common; the diagonal is counted in.

    Parameters
    ----------
    pattern : SparsityPattern
        Of the Jacobian, shape (m, n).
    curved : ndarray of bool, shape (m,), optional
        Rows that are not linear. Default: all.

    Returns
    -------
    SparsityPattern
        Shape (n, n), symmetric.
    """
    from scipy.sparse import csr_array, eye_array

    m, n = pattern.shape
    indptr, columns = pattern.by_rows()
    lengths = np.diff(indptr)
    kept = np.repeat(np.ones(m, dtype=np.bool_) if curved is None else np.asarray(curved, dtype=np.bool_), lengths)
    rows = np.repeat(np.arange(m), lengths)[kept]
    jac = csr_array((np.ones(rows.size, dtype=np.float32), (rows, columns[kept])), shape=(m, n))
    return SparsityPattern.from_matrix(jac.T @ jac + eye_array(n, dtype=np.float32, format="csr"))


def color_symmetric(pattern: SparsityPattern) -> Coloring:
    """Colour the columns of a symmetric pattern so that all entries can be read off directly.

    Parameters
    ----------
    pattern : SparsityPattern
        Shape (n, n), symmetric, with its diagonal.

    Returns
    -------
    Coloring
        Its `order` is that of a star colouring, or ``"distance two"``.
    """
    n = pattern.shape[1]
    columns = pattern.columns
    off = pattern.indices != columns
    indices = pattern.indices[off].astype(np.int64)
    degrees = np.bincount(columns[off], minlength=n)
    indptr = np.concatenate(([0], np.cumsum(degrees))).astype(np.int64)
    candidates = [
        _star(indptr, indices, np.arange(n, dtype=np.int64), "natural"),
        _star(indptr, indices, np.argsort(-degrees, kind="stable").astype(np.int64), "largest first"),
    ]
    fewest = min(candidate.n_colors for candidate in candidates)
    if pattern.densest_row <= fewest:  # no colouring at distance two has fewer colours than that
        by_distance = color_columns(pattern)
        candidates.append(Coloring(by_distance.colors, by_distance.n_colors, "distance two"))
    return min(candidates, key=lambda candidate: candidate.n_colors)


def _star(indptr: IndexArray, indices: IndexArray, order: IndexArray, name: str) -> Coloring:
    """Colour in `order`, with more words of bits until they are enough."""
    n, words = order.size, 1
    colors = np.zeros(n, dtype=np.int64)
    while True:
        seen, taken = np.zeros(n * words, dtype=np.int64), np.zeros(words, dtype=np.int64)
        used = int(run_kernel(color_stars, indptr, indices, order, n, words, seen, taken, colors))
        if used >= 0:
            return Coloring(colors.astype(np.intp, copy=False), used, name)
        words = min(2 * words, n // BITS + 1)


def places_of_entries(pattern: SparsityPattern, coloring: Coloring) -> Places:
    """Find where each entry of the lower triangle is alone in its colour.

    Parameters
    ----------
    pattern : SparsityPattern
        Shape (n, n), symmetric, with its diagonal.
    coloring : Coloring
        From `color_symmetric`.

    Returns
    -------
    Places

    Raises
    ------
    ValueError
        If the colouring is no star colouring of the pattern; the text names an entry.
    """
    rows, columns = pattern.indices.astype(np.int64), pattern.columns.astype(np.int64)
    colors = coloring.colors.astype(np.int64)
    cell = rows * max(coloring.n_colors, 1) + colors[columns]  # of B
    _, place, count = np.unique(cell, return_inverse=True, return_counts=True)
    alone = count[place] == 1
    # entries come by columns, so that those of the transpose come by rows
    mirrored = np.lexsort((columns, rows))
    alone_mirrored = np.empty_like(alone)
    alone_mirrored[mirrored] = alone
    lower = rows >= columns
    rows, columns, direct, mirror = rows[lower], columns[lower], alone[lower], alone_mirrored[lower]
    if not (direct | mirror).all():
        bad = int(np.argmin(direct | mirror))
        raise ValueError(f"the colouring hides entry ({rows[bad]}, {columns[bad]}): it is no star colouring.")
    return Places(rows, columns, np.where(direct, rows, columns), np.where(direct, columns, rows))
