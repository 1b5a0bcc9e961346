r"""Structure of J'J of a sparse Jacobian, found once from the pattern of J.

    rows of column j of the upper triangle  =  { k <= j : some row of J has entries in both k and j }

What it holds is counted before it is listed: one row of J that is full makes J'J full.
"""

from __future__ import annotations

from typing import final

import numpy as np

from nlsq.kernels import normal_assembly_sparse as kernels
from nlsq.kernels.calling import run_kernel
from nlsq.kernels.coloring import by_rows, order_by_rows
from nlsq.linalg.kernel_calls import ints
from nlsq.pattern import IndexArray, SparsityPattern

LARGEST_NORMAL = 200_000_000  # entries of the upper triangle of J'J: 3.2 GB with their rows


@final
class NormalTooLarge(ValueError):
    """J'J would have more entries than the limit.

    Parameters
    ----------
    cause : str
        What makes it so large.
    limit : int
        Entries of its upper triangle.
    """

    def __init__(self, cause: str, limit: int) -> None:
        super().__init__(f"{cause}: J'J would have more than {limit} entries in its upper triangle; use LSMR.")
        self.cause = cause


@final
class NormalStructure:
    """Structure of J'J of a sparse Jacobian.

    Parameters
    ----------
    pattern : SparsityPattern
        Pattern of J.
    limit : int
        Largest number of entries of the upper triangle of J'J.

    Attributes
    ----------
    shape : tuple of int
        ``(m, n)`` of J.
    parts : tuple of ndarray of int64
        J by columns: starts and rows; where its entries lie by rows; J by rows: starts and columns.
    indptr, indices : ndarray of int64
        Upper triangle of J'J with its diagonal, by columns; rows ascend.
    diagonal : ndarray of int64, shape (n,)
        Where the diagonal of J'J lies among its values.

    Raises
    ------
    NormalTooLarge
        If J'J is larger than the limit.
    """

    def __init__(self, pattern: SparsityPattern, limit: int = LARGEST_NORMAL) -> None:
        self.shape = m, n = pattern.shape
        indptr, indices = (np.ascontiguousarray(part, dtype=np.int64) for part in (pattern.indptr, pattern.indices))
        row_indptr, columns, positions = ints(m + 1), ints(indices.size), ints(indices.size)
        run_kernel(order_by_rows, indptr, indices, m, n, 1, row_indptr, columns, positions)
        self.parts = indptr, indices, positions, row_indptr, columns
        self._check_rows(np.diff(row_indptr), limit)
        self.indptr, self.indices = self._find_structure(n, limit)
        self.diagonal = self.indptr[1:] - 1

    def _check_rows(self, lengths: IndexArray, limit: int) -> None:
        """Refuse a row that alone gives J'J too many entries."""
        longest = int(lengths.max(initial=0))
        if longest * (longest + 1) // 2 > limit:
            raise NormalTooLarge(f"row {int(np.argmax(lengths))} of J has {longest} entries", limit)

    def _find_structure(self, n: int, limit: int) -> tuple[IndexArray, IndexArray]:
        """Return the upper triangle of J'J by columns, rows ascending: listed, then transposed twice."""
        work, counted = ints(n), ints(n + 1)
        total = int(run_kernel(kernels.count_normal, *self.parts, n, limit, work, counted))
        if total > limit:
            raise NormalTooLarge("many columns of J meet in the same rows", limit)
        listed, by_row, row_starts, starts = ints(total), ints(total), ints(n + 1), ints(n + 1)
        run_kernel(kernels.list_normal, *self.parts, n, work, listed)
        run_kernel(by_rows, counted, listed, n, n, row_starts, by_row)
        run_kernel(by_rows, row_starts, by_row, n, n, starts, listed)
        return starts, listed
