r"""Sparse Cholesky for Jacobians given entry by entry.

    H = J'J,     (H + diag(d)) p = -J'r

The structure of H follows from the pattern of J and is found once; the values are formed by Gustavson's algorithm. One
row of J that is full makes H full: what H would hold is counted first, and refused where it is out of proportion.

A Jacobian may come with fewer entries than the pattern, as when its maker drops zeros: they are put in their places.
One that has entries outside it gives a new pattern, the union of both, and the status `REPLANNED`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike

from nlsq.kernels import normal_assembly_sparse as kernels
from nlsq.kernels.calling import run_kernel
from nlsq.linalg.kernel_calls import ints
from nlsq.linalg.linear_solver import FloatArray, LinearStatus
from nlsq.linalg.normal_cholesky import Backend, NormalFactorization
from nlsq.linalg.normal_structure import LARGEST_NORMAL, NormalStructure
from nlsq.linalg.per_pattern import once_per_pattern
from nlsq.linalg.sparse_factor import Analysis, analyse
from nlsq.pattern import SparsityPattern

__all__ = ["SparseCholesky", "analyse_entries"]


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
        self._found: NormalFactorization | None = None
        if pattern is not None:
            self._plan_for(pattern)

    @property
    def _normal(self) -> NormalFactorization:
        if self._found is None:
            raise RuntimeError("there is no Jacobian yet, nor its pattern: factorize comes first.")
        return self._found

    @property
    def analysis(self) -> Analysis:
        """Order, predicted entries and operations of the factor."""
        return self._normal.analysis

    @property
    def failed_column(self) -> int:
        """Column of J at which the last factorisation failed; -1 if it did not."""
        return -1 if self._found is None else self._found.failed_column

    @property
    def diagonal(self) -> FloatArray:
        """Diagonal of J'J."""
        return self._normal.diagonal

    def factorize(self, jac: Any) -> LinearStatus:
        """Form J'J of a sparse Jacobian; see `NormalFactorization.factorize`."""
        from scipy.sparse import csr_array

        csr = jac.to_csr() if hasattr(jac, "to_csr") else csr_array(jac)
        if csr.shape != self._shape:
            raise ValueError(f"the Jacobian has shape {csr.shape}, SparseCholesky was prepared for {self._shape}.")
        if self._pattern is None:
            self._pattern = self._plan_for(SparsityPattern.from_matrix(csr))
        is_new = not self._plan.take(csr)
        if is_new:
            self.replans += 1
            self._pattern = self._plan_for(_union(self._pattern, SparsityPattern.from_matrix(csr)))
            self._plan.take(csr)
        status = self._normal.factorize(csr)
        return LinearStatus.REPLANNED if is_new and status is LinearStatus.SOLVED else status

    def solve(self, r: FloatArray, damping_diag: FloatArray, step_out: FloatArray) -> LinearStatus:
        """Factorise for this damping and solve; see `Factorization.solve`."""
        return self._normal.solve(r, damping_diag, step_out)

    def solve_gradient(self, gradient: FloatArray, damping_diag: FloatArray, step_out: FloatArray) -> LinearStatus:
        """Solve for any gradient; see `NormalFactorization.solve_gradient`."""
        return self._normal.solve_gradient(gradient, damping_diag, step_out)

    def solve_again(self, gradient: FloatArray, step_out: FloatArray) -> None:
        """Solve for another gradient with the factor at hand."""
        self._normal.solve_again(gradient, step_out)

    def inverse_columns(self, columns: ArrayLike, damping_diag: FloatArray | None = None) -> FloatArray:
        """Return columns of (J'J + diag(d))^-1; see `NormalFactorization.inverse_columns`."""
        return self._normal.inverse_columns(columns, damping_diag)

    def _plan_for(self, pattern: SparsityPattern) -> SparsityPattern:
        """Find the structure of J'J and analyse it; return the pattern."""
        ordering, backend = self._solver.ordering, self._solver.backend
        if backend is None and isinstance(ordering, str) and ordering == "amd":
            structure, analysis = analyse_entries(pattern)
        else:
            structure, analysis = _analysed(pattern, ordering, backend, LARGEST_NORMAL)
        self._plan = SparsePlan(structure)
        self._found = NormalFactorization(self._plan, analysis)
        return pattern


@once_per_pattern
def analyse_entries(pattern: SparsityPattern, limit: int = LARGEST_NORMAL) -> tuple[NormalStructure, Analysis]:
    """Find the structure of J'J and analyse it in the default order; kept for as long as the pattern lives.

    Parameters
    ----------
    pattern : SparsityPattern
        Pattern of J.
    limit : int
        Largest number of entries of the upper triangle of J'J.

    Returns
    -------
    structure : NormalStructure
        Of J'J.
    analysis : Analysis
        Order and predicted size of its factor.

    Raises
    ------
    ValueError
        If J'J is larger than the limit.
    """
    return _analysed(pattern, "amd", None, limit)


def _analysed(
    pattern: SparsityPattern, ordering: Any, backend: Backend, limit: int
) -> tuple[NormalStructure, Analysis]:
    structure = NormalStructure(pattern, limit)
    n = structure.diagonal.size
    return structure, analyse(structure.indptr, structure.indices, n, ordering=ordering, backend=backend)


def _union(first: SparsityPattern, second: SparsityPattern) -> SparsityPattern:
    rows = np.concatenate((first.indices, second.indices))
    return SparsityPattern.from_entries(rows, np.concatenate((first.columns, second.columns)), first.shape)


@final
class SparsePlan:
    """Values of J in the places of its pattern, and J'J.

    Parameters
    ----------
    structure : NormalStructure
        Of J'J.

    Attributes
    ----------
    indptr, indices, diagonal : ndarray of int64
        See `NormalStructure`.
    """

    def __init__(self, structure: NormalStructure) -> None:
        self.indptr, self.indices, self.diagonal = structure.indptr, structure.indices, structure.diagonal
        self._parts, self._rows = structure.parts, structure.shape[0]
        self._values = np.zeros(structure.parts[1].size)
        self._column = np.zeros(structure.shape[1])
        self._matched: tuple[Any, Any] = self._parts[3:]  # row starts and columns of the Jacobians that come

    def take(self, csr: Any) -> bool:
        """Put the values of a Jacobian in their places; return whether all are in the pattern."""
        if self._is_matched(csr):
            np.copyto(self._values, csr.data)
            return True
        if not csr.has_canonical_format:
            csr = csr.copy()
            csr.sum_duplicates()
        indptr, indices = (np.ascontiguousarray(part, dtype=np.int64) for part in (csr.indptr, csr.indices))
        places = ints(indices.size)
        _, _, _, row_indptr, columns = self._parts
        if run_kernel(kernels.find_entries, indptr, indices, row_indptr, columns, self._rows, places) >= 0:
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
        run_kernel(kernels.form_normal, self._values, *structure, self.diagonal.size, self._column, normal_out)
