r"""Where a Jacobian can be different from zero.

A pattern is the set  S = {(i, j) : dr_i/dx_j may be nonzero}, kept in compressed sparse column form:

    rows of column j  =  indices[indptr[j] : indptr[j + 1]],   ascending, without duplicates.

Structure once, values at each iterate: estimators, colourings and factorisations are prepared from a pattern and
filled again with numbers.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlsq.kernels.backend import compile_disabled

__all__ = ["SparsityPattern"]

IndexArray = NDArray[np.intp]

HASHED = 1000  # entries at most that a hash looks at
LARGE = 10_000  # entries from which a kernel turns them round


@final
@dataclass(frozen=True, eq=False, repr=False)
class SparsityPattern:
    """Sparsity pattern of an (m, n) Jacobian, by columns.

    Parameters
    ----------
    indptr : array_like of int, shape (n + 1,)
        Start of each column in `indices`; ``indptr[0]`` is 0 and ``indptr[n]`` the number of entries.
    indices : array_like of int, shape (nnz,)
        Row of each entry, ascending within a column, no entry twice.
    shape : tuple of int
        ``(m, n)``.

    Raises
    ------
    ValueError
        If the three do not describe a pattern; the text names the column.

    Notes
    -----
    The arrays are read-only copies. Two patterns are equal when they hold the same entries and shape.
    """

    indptr: IndexArray
    indices: IndexArray
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        """Copy, freeze and validate."""
        indptr = np.array(self.indptr, dtype=np.intp).reshape(-1)
        indices = np.array(self.indices, dtype=np.intp).reshape(-1)
        m, n = (int(length) for length in self.shape)
        _validate(indptr, indices, m, n)
        indptr.flags.writeable = indices.flags.writeable = False
        object.__setattr__(self, "indptr", indptr)
        object.__setattr__(self, "indices", indices)
        object.__setattr__(self, "shape", (m, n))

    @classmethod
    def from_entries(cls, rows: ArrayLike, columns: ArrayLike, shape: tuple[int, int]) -> SparsityPattern:
        """Build a pattern from (row, column) pairs in any order; duplicates count once.

        Parameters
        ----------
        rows, columns : array_like of int, shape (k,)
            Position of each entry.
        shape : tuple of int
            ``(m, n)``.

        Returns
        -------
        SparsityPattern
        """
        i, j = np.asarray(rows, dtype=np.intp).reshape(-1), np.asarray(columns, dtype=np.intp).reshape(-1)
        m, n = shape
        if i.size != j.size:
            raise ValueError(f"rows and columns differ in length: {i.size} and {j.size}.")
        if i.size and (i.min() < 0 or i.max() >= m or j.min() < 0 or j.max() >= n):
            raise ValueError(f"an entry lies outside a pattern of shape {(m, n)}.")
        flat = np.sort(j * m + i)
        flat = flat[np.concatenate(([True], flat[1:] != flat[:-1]))[: flat.size]]
        indptr = np.zeros(n + 1, dtype=np.intp)
        if m:
            np.cumsum(np.bincount(flat // m, minlength=n), out=indptr[1:])
        return cls(indptr, flat % max(m, 1), (m, n))

    @classmethod
    def from_dense(cls, mask: ArrayLike) -> SparsityPattern:
        """Build a pattern from a 2-D array: every element different from zero (NaN included) is an entry.

        Parameters
        ----------
        mask : array_like, shape (m, n)
            Matrix or boolean mask.

        Returns
        -------
        SparsityPattern
        """
        dense = np.asarray(mask)
        if dense.ndim != 2:
            raise ValueError(f"a sparsity pattern needs a 2-D array, got {dense.ndim}-D of shape {dense.shape}.")
        rows, columns = np.nonzero(dense)
        return cls.from_entries(rows, columns, (dense.shape[0], dense.shape[1]))

    @classmethod
    def from_matrix(cls, matrix: Any) -> SparsityPattern:
        """Build a pattern from whatever describes one.

        Parameters
        ----------
        matrix : SparsityPattern, scipy.sparse array or matrix, or array_like, shape (m, n)
            A stored entry of a sparse matrix belongs to the pattern even if its value is zero (a derivative may vanish
            at one point only); of a dense one, the elements different from zero.

        Returns
        -------
        SparsityPattern
        """
        if isinstance(matrix, SparsityPattern):
            return matrix
        sparse = sys.modules.get("scipy.sparse")
        if sparse is not None and sparse.issparse(matrix):
            coo = matrix.tocoo()
            return cls.from_entries(coo.row, coo.col, (coo.shape[0], coo.shape[1]))
        return cls.from_dense(matrix)

    @property
    def nnz(self) -> int:
        """Number of entries."""
        return int(self.indices.size)

    @property
    def columns(self) -> IndexArray:
        """Column of each entry, in the order of `indices`, shape (nnz,)."""
        return np.repeat(np.arange(self.shape[1]), np.diff(self.indptr))

    @property
    def densest_row(self) -> int:
        """Largest number of entries in a row: no colouring of the columns needs fewer colours."""
        if self.nnz == 0:
            return 0
        return int(np.bincount(self.indices, minlength=self.shape[0]).max())

    def by_rows(self) -> tuple[IndexArray, IndexArray]:
        """Return the same entries by rows.

        Returns
        -------
        indptr : ndarray of int, shape (m + 1,)
            Start of each row.
        columns : ndarray of int, shape (nnz,)
            Column of each entry, ascending within a row.
        """
        m, n = self.shape
        if self.nnz >= LARGE and not compile_disabled():
            from nlsq.kernels.calling import run_kernel
            from nlsq.kernels.coloring import by_rows

            by_columns = (np.ascontiguousarray(part, dtype=np.int64) for part in (self.indptr, self.indices))
            found = np.empty(m + 1, dtype=np.int64), np.empty(self.nnz, dtype=np.int64)
            run_kernel(by_rows, *by_columns, m, n, *found)
            return found[0].astype(np.intp, copy=False), found[1].astype(np.intp, copy=False)
        # with few entries NumPy is faster than reading the kernel from disk, and always faster than its Python code
        indptr = np.zeros(m + 1, dtype=np.intp)
        if self.nnz:
            np.cumsum(np.bincount(self.indices, minlength=m), out=indptr[1:])
        return indptr, self.columns[np.argsort(self.indices, kind="stable")]

    def transpose(self) -> SparsityPattern:
        """Return the pattern of J', shape (n, m)."""
        return SparsityPattern(*self.by_rows(), (self.shape[1], self.shape[0]))

    def to_dense(self) -> NDArray[np.bool_]:
        """Return the pattern as a boolean mask, shape (m, n)."""
        mask = np.zeros(self.shape, dtype=np.bool_)
        mask[self.indices, self.columns] = True
        return mask

    def to_csr(self) -> Any:
        """Return the pattern as a `scipy.sparse.csr_array` of ones, shape (m, n)."""
        from scipy.sparse import csr_array

        indptr, columns = self.by_rows()
        return csr_array((np.ones(self.nnz), columns, indptr), shape=self.shape)

    def __eq__(self, other: object) -> bool:
        """Compare entries and shape."""
        if not isinstance(other, SparsityPattern):
            return NotImplemented
        return (
            self.shape == other.shape
            and np.array_equal(self.indptr, other.indptr)
            and np.array_equal(self.indices, other.indices)
        )

    def __hash__(self) -> int:
        """Hash the shape and some of the entries."""
        some = slice(None, None, self.nnz // HASHED + 1)
        return hash((self.shape, self.nnz, self.indices[some].tobytes()))

    def __repr__(self) -> str:
        """Say shape and fill."""
        m, n = self.shape
        fill = self.nnz / (m * n) if m * n else 0.0
        return f"SparsityPattern(shape={self.shape}, nnz={self.nnz}, fill={fill:.3g})"


def _validate(indptr: IndexArray, indices: IndexArray, m: int, n: int) -> None:
    """Raise ValueError unless the arrays are a canonical column form of shape (m, n)."""
    if m < 0 or n < 0:
        raise ValueError(f"shape must not be negative, got {(m, n)}.")
    if indptr.size != n + 1:
        raise ValueError(f"indptr must have n + 1 = {n + 1} elements, got {indptr.size}.")
    if indptr[0] != 0 or indptr[-1] != indices.size or np.any(np.diff(indptr) < 0):
        raise ValueError(f"indptr must rise from 0 to the number of entries, {indices.size}.")
    if indices.size == 0:
        return
    if indices.min() < 0 or indices.max() >= m:
        bad = int(np.flatnonzero((indices < 0) | (indices >= m))[0])
        column = int(np.searchsorted(indptr, bad, side="right")) - 1
        raise ValueError(f"column {column} has an entry in row {int(indices[bad])}, outside 0..{m - 1}.")
    falls = np.flatnonzero(np.diff(indices) <= 0) + 1
    is_start = np.zeros(indices.size + 1, dtype=np.bool_)
    is_start[indptr] = True
    inside = falls[~is_start[falls]]
    if inside.size:
        column = int(np.searchsorted(indptr, inside[0], side="right")) - 1
        raise ValueError(f"rows of column {column} must ascend without duplicates.")
