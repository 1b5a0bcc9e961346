"""The order in which a sparse symmetric matrix is eliminated, so that its factor has few entries.

The fill of L in P A P' = L L' depends on the permutation P. Finding the best one is NP-complete; minimum degree takes
next the variable with the fewest neighbours in the graph that the elimination has made so far, and approximate minimum
degree [1]_ bounds that number from above at a small part of the cost.

References
----------
.. [1] P. R. Amestoy, T. A. Davis and I. S. Duff, "An Approximate Minimum Degree Ordering Algorithm", SIAM Journal on
   Matrix Analysis and Applications 17, 1996.
.. [2] P. R. Amestoy, T. A. Davis and I. S. Duff, "Algorithm 837: AMD, an Approximate Minimum Degree Ordering
   Algorithm", ACM Transactions on Mathematical Software 30, 2004.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlsq.kernels import ordering as kernels
from nlsq.kernels import ordering_graph as graph_kernels
from nlsq.kernels.calling import run_kernel

__all__ = ["minimum_degree"]

DENSE = 10.0  # a vertex with more than DENSE sqrt(n) neighbours comes last [2]_
FEWEST_DENSE = 16  # neighbours that are never too many
ELBOW_ROOM = 5  # the lists get 1/5 more room than they need: [1]_, section 6


def minimum_degree(indptr: ArrayLike, indices: ArrayLike, *, weights: ArrayLike | None = None) -> NDArray[np.int64]:
    """Order the vertices of a graph by approximate minimum degree.

    Parameters
    ----------
    indptr : array_like of int, shape (n + 1,)
        Where the entries of each column begin in `indices`.
    indices : array_like of int, shape (nnz,)
        Rows of the entries of a symmetric pattern, column after column: both triangles, in any order within a column.
        The diagonal may be there or not.
    weights : array_like of int, shape (n,), optional
        How many scalar variables each vertex stands for, at least 1; 1 by default.

    Returns
    -------
    ndarray of int64, shape (n,)
        Permutation: its k-th entry is the vertex that is eliminated k-th. It is a postorder of the assembly tree, and
        does not depend on the order of rows within columns.

    Raises
    ------
    ValueError
        If the arrays are not those of a symmetric pattern, or a weight is below 1; the message names the place.
    """
    indptr, indices = _checked_pattern(indptr, indices)
    n = indptr.size - 1
    weights = _checked_weights(weights, n)
    total = int(weights.sum())
    room = indices.size + indices.size // ELBOW_ROOM + n
    storage = np.empty(room, dtype=np.int64)
    graph = np.empty((5, n), dtype=np.int64)
    sizes = np.empty((2, n), dtype=np.int64)
    lists = np.empty(3 * n + total + 1, dtype=np.int64)
    order = np.empty(n, dtype=np.int64)
    run_kernel(graph_kernels.list_neighbours, indptr, indices, n, graph[0], graph[1], storage)
    _check_symmetry(indptr, indices, n, graph, storage, order)
    dense = int(max(FEWEST_DENSE, DENSE * sqrt(n)))
    state = np.empty(kernels.STATES, dtype=np.int64)
    run_kernel(kernels.eliminate, n, total, dense, room, weights, storage, graph.ravel(), sizes.ravel(), lists, state)
    tree = np.empty(4 * n, dtype=np.int64)
    run_kernel(graph_kernels.order_tree, n, graph[4], sizes.ravel(), tree, order)
    return order


def _checked_pattern(indptr: ArrayLike, indices: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the arrays of a square pattern as the kernels take them; ValueError where they are none."""
    pointers, rows = _integers(indptr, "indptr"), _integers(indices, "indices")
    if pointers.size == 0 or pointers[0] != 0:
        raise ValueError(f"indptr must begin with 0; it is {'empty' if pointers.size == 0 else pointers[0]}")
    falling = np.flatnonzero(np.diff(pointers) < 0)
    if falling.size:
        j = int(falling[0])
        raise ValueError(f"indptr must not fall; indptr[{j}] is {pointers[j]} and indptr[{j + 1}] is {pointers[j + 1]}")
    if pointers[-1] != rows.size:
        raise ValueError(f"indptr must end with the number of indices, {rows.size}; it ends with {pointers[-1]}")
    n = pointers.size - 1
    outside = np.flatnonzero((rows < 0) | (rows >= n))
    if outside.size:
        q = int(outside[0])
        column = int(np.searchsorted(pointers, q, side="right")) - 1
        raise ValueError(f"indices[{q}], in column {column}, is {rows[q]}; rows go from 0 to {n - 1}")
    return pointers, rows


def _checked_weights(weights: ArrayLike | None, n: int) -> NDArray[np.int64]:
    """Return the weights as the kernels take them; ValueError where they are none."""
    if weights is None:
        return np.ones(n, dtype=np.int64)
    checked = _integers(weights, "weights")
    if checked.size != n:
        raise ValueError(f"weights must have one entry for each of the {n} columns; it has {checked.size}")
    low = np.flatnonzero(checked < 1)
    if low.size:
        raise ValueError(f"weights[{low[0]}] is {checked[low[0]]}; a vertex stands for at least 1 variable")
    return checked


def _integers(values: ArrayLike, name: str) -> NDArray[np.int64]:
    """Return a one-dimensional array of 64-bit integers; ValueError for other shapes and for fractions."""
    given = np.asarray(values)
    if given.ndim != 1 or (given.size and not np.issubdtype(given.dtype, np.integer)):
        raise ValueError(f"{name} must be one-dimensional and of integers; it is {given.dtype} of shape {given.shape}")
    return np.ascontiguousarray(given, dtype=np.int64)


def _check_symmetry(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int64],
    n: int,
    graph: NDArray[np.int64],
    storage: NDArray[np.int64],
    mark: NDArray[np.int64],
) -> None:
    """Raise ValueError at the first column that has an entry twice, or not while the row of its number has it."""
    place = np.zeros(2, dtype=np.int64)
    found = run_kernel(graph_kernels.compare_transposed, indptr, indices, n, graph[0], graph[1], storage, mark, place)
    row, column = place
    if found == graph_kernels.REPEATED:
        raise ValueError(f"column {column} of the pattern has row {row} twice; give each entry once")
    if found == graph_kernels.MISSING:
        raise ValueError(
            f"the pattern is not symmetric: column {column} lacks row {row}, while column {row} has row {column}; "
            "give both triangles"
        )
