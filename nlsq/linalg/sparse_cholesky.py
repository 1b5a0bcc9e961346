r"""Sparse Cholesky for Jacobians given entry by entry.

    H = J'J,     (H + diag(d)) p = -J'r

The structure of H follows from the pattern of J and is found once; the values are formed by Gustavson's algorithm. One
row of J that is full makes H full: what H would hold is counted first, and refused where it is out of proportion.

A Jacobian may come with fewer entries than the pattern, as when its maker drops zeros: they are put in their places.
One that has entries outside it gives a new pattern, the union of both; that is counted in `replans`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike

from nlsq.kernels import normal_assembly_sparse as kernels
from nlsq.kernels.backend import Kernel, handle
from nlsq.kernels.coloring import by_rows
from nlsq.linalg.linear_solver import FloatArray, LinearStatus
from nlsq.linalg.normal_cholesky import Backend, NormalFactorization
from nlsq.linalg.sparse_factor import Analysis, analyse
from nlsq.pattern import IndexArray, SparsityPattern

__all__ = ["SparseCholesky"]

LARGEST_NORMAL = 200_000_000  # entries of the upper triangle of J'J: 3.2 GB with their rows


@final
@dataclass(frozen=True, kw_only=True)
class SparseCholesky:
    """Normal equations of a sparse Jacobian by sparse Cholesky.

    Parameters
    ----------
    ordering : {"amd", "natural"} or ndarray of int, shape (n,)
        Order in which columns are eliminated: approximate minimum degree (default), as they come, or this one.
    backend : {"cholmod", "pardiso"}, optional
        Who factorises; by default the library itself.
    """

    ordering: Literal["amd", "natural"] | Any = "amd"
    backend: Backend = None

    def prepare(self, shape: tuple[int, int], pattern: Any = None) -> SparseCholeskyFactorization:
        """Analyse and allocate for Jacobians of shape (m, n).

        Parameters
        ----------
        shape : tuple of int
            ``(m, n)``.
        pattern : SparsityPattern, optional
            Without one, that of the first Jacobian is taken.

        Raises
        ------
        ValueError
            If J'J would have more than `LARGEST_NORMAL` entries in its upper triangle.
        TypeError
            If `pattern` is no SparsityPattern.
        """
        if pattern is not None and not isinstance(pattern, SparsityPattern):
            raise TypeError(f"SparseCholesky needs a SparsityPattern, got {type(pattern).__name__}.")
        return SparseCholeskyFactorization(shape, pattern, self)


@final
class SparseCholeskyFactorization:
    """Sparse normal equations of one solve.

    Parameters
    ----------
    shape : tuple of int
        ``(m, n)``.
    pattern : SparsityPattern or None
        Where J may have entries; None: wait for the first Jacobian.
    solver : SparseCholesky
        Options.

    Attributes
    ----------
    replans : int
        How often a Jacobian had entries outside the pattern.
    """

    def __init__(self, shape: tuple[int, int], pattern: SparsityPattern | None, solver: SparseCholesky) -> None:
        self.replans = 0
        self._shape, self._solver = shape, solver
        self._pattern = pattern
        if pattern is not None:
            self._plan_for(pattern)

    @property
    def analysis(self) -> Analysis:
        """Order, predicted entries and operations of the factor."""
        return self._normal.analysis

    @property
    def failed_column(self) -> int:
        """Column of J at which the last factorisation failed; -1 if it did not."""
        return self._normal.failed_column

    def factorize(self, jac: Any) -> LinearStatus:
        """Form J'J of a sparse Jacobian; see `NormalFactorization.factorize`."""
        from scipy.sparse import csr_array

        csr = jac.to_csr() if hasattr(jac, "to_csr") else csr_array(jac)
        if csr.shape != self._shape:
            raise ValueError(f"the Jacobian has shape {csr.shape}, SparseCholesky was prepared for {self._shape}.")
        if self._pattern is None:
            self._plan_for(SparsityPattern.from_matrix(csr))
        if not self._plan.take(csr):
            self.replans += 1
            self._plan_for(_union(self._plan.pattern, SparsityPattern.from_matrix(csr)))
            self._plan.take(csr)
        return self._normal.factorize(csr)

    def solve(self, r: FloatArray, damping_diag: FloatArray, step_out: FloatArray) -> LinearStatus:
        """Factorise for this damping and solve; see `Factorization.solve`."""
        return self._normal.solve(r, damping_diag, step_out)

    def inverse_columns(self, columns: ArrayLike, damping_diag: FloatArray | None = None) -> FloatArray:
        """Return columns of (J'J + diag(d))^-1; see `NormalFactorization.inverse_columns`."""
        return self._normal.inverse_columns(columns, damping_diag)

    def _plan_for(self, pattern: SparsityPattern) -> None:
        """Find the structure of J'J and analyse it."""
        self._pattern, self._plan = pattern, SparsePlan(pattern)
        options: dict[str, Any] = {} if self._solver.backend is None else {"backend": self._solver.backend}
        plan = self._plan
        analysis = analyse(plan.indptr, plan.indices, plan.diagonal.size, ordering=self._solver.ordering, **options)
        self._normal = NormalFactorization(plan, analysis)


def _union(first: SparsityPattern, second: SparsityPattern) -> SparsityPattern:
    rows = np.concatenate((first.indices, second.indices))
    return SparsityPattern.from_entries(rows, np.concatenate((first.columns, second.columns)), first.shape)


@final
class SparsePlan:
    """Structure of J'J, and how it is filled.

    Parameters
    ----------
    pattern : SparsityPattern
        Pattern of J.
    limit : int
        Largest number of entries of the upper triangle of J'J.

    Attributes
    ----------
    pattern : SparsityPattern
        Pattern of J.
    indptr, indices : ndarray of int64
        Upper triangle of J'J with its diagonal, by columns; rows ascend.
    diagonal : ndarray of int64, shape (n,)
        Where the diagonal of J'J lies among its values.

    Raises
    ------
    ValueError
        If J'J is larger than the limit.
    """

    def __init__(self, pattern: SparsityPattern, limit: int = LARGEST_NORMAL) -> None:
        self.pattern = pattern
        m, n = pattern.shape
        indptr, indices = (np.ascontiguousarray(part, dtype=np.int64) for part in (pattern.indptr, pattern.indices))
        row_indptr, columns, positions = _empty(m + 1), _empty(indices.size), _empty(indices.size)
        _run(kernels.order_by_rows, indptr, indices, m, n, row_indptr, columns, positions)
        self._parts = indptr, indices, positions, row_indptr, columns
        self._check_rows(np.diff(row_indptr), limit)
        self.indptr, self.indices = self._find_structure(n, limit)
        self.diagonal = self.indptr[1:] - 1
        self._values = np.zeros(indices.size)
        self._column = np.zeros(n)
        self._matched: tuple[Any, Any] = (row_indptr, columns)

    def _check_rows(self, lengths: IndexArray, limit: int) -> None:
        """Refuse a row that alone gives J'J too many entries."""
        longest = int(lengths.max(initial=0))
        if longest * (longest + 1) // 2 > limit:
            raise ValueError(
                f"row {int(np.argmax(lengths))} of J has {longest} entries, so that J'J has at least "
                f"{longest * (longest + 1) // 2} in its upper triangle (the limit is {limit}); use LSMR."
            )

    def _find_structure(self, n: int, limit: int) -> tuple[IndexArray, IndexArray]:
        """Return the upper triangle of J'J by columns, rows ascending: listed, then transposed twice."""
        work, counted = _empty(n), _empty(n + 1)
        total = int(_run(kernels.count_normal, *self._parts, n, limit, work, counted))
        if total > limit:
            raise ValueError(f"J'J has more than {limit} entries in its upper triangle; use LSMR.")
        listed, by_row, row_starts, starts = _empty(total), _empty(total), _empty(n + 1), _empty(n + 1)
        _run(kernels.list_normal, *self._parts, n, work, listed)
        _run(by_rows, counted, listed, n, n, row_starts, by_row)
        _run(by_rows, row_starts, by_row, n, n, starts, listed)
        return starts, listed

    def take(self, csr: Any) -> bool:
        """Put the values of a Jacobian in their places; return whether all are in the pattern."""
        if self._is_matched(csr):
            np.copyto(self._values, csr.data)
            return True
        if not csr.has_canonical_format:
            csr = csr.copy()
            csr.sum_duplicates()
        indptr, indices = (np.ascontiguousarray(part, dtype=np.int64) for part in (csr.indptr, csr.indices))
        places = _empty(indices.size)
        _, _, _, row_indptr, columns = self._parts
        if _run(kernels.find_entries, indptr, indices, row_indptr, columns, self.pattern.shape[0], places) >= 0:
            return False
        if places.size == self._values.size:  # the pattern itself, as this maker gives it
            self._matched = csr.indptr.copy(), csr.indices.copy()
        self._values[...] = 0.0
        self._values[places] = csr.data
        return True

    def _is_matched(self, csr: Any) -> bool:
        indptr, indices = self._matched
        return np.array_equal(csr.indptr, indptr) and np.array_equal(csr.indices, indices)

    def assemble(self, jac: Any, normal_out: FloatArray) -> None:
        """Form the upper triangle of J'J from the values taken in; normal_out (nnz,)."""
        structure = *self._parts, self.indptr, self.indices
        _run(kernels.form_normal, self._values, *structure, self.diagonal.size, self._column, normal_out)


def _empty(size: int) -> IndexArray:
    return np.empty(size, dtype=np.int64)


def _run(kernel: Kernel, *arguments: Any) -> Any:
    """Call a kernel with arrays where it takes pointers."""
    return kernel.entry()(*(handle(a) if isinstance(a, np.ndarray) else a for a in arguments))
