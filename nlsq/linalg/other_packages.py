"""Factorisations by packages that need not be there: CHOLMOD by way of cvxopt, PARDISO by way of pypardiso.

Both have the interface of `nlsq.linalg.sparse_factor.SparseFactor` and are for positive definite matrices. CHOLMOD gets
the permutation of the analysis; PARDISO finds one of its own. CHOLMOD is under the GPL, PARDISO comes with Intel's
libraries.

References
----------
.. [1] Y. Chen, T. A. Davis, W. W. Hager and S. Rajamanickam, "Algorithm 887: CHOLMOD, Supernodal Sparse Cholesky
   Factorization and Update/Downdate", ACM Transactions on Mathematical Software 35, 2008.
.. [2] O. Schenk and K. Gärtner, "Solving Unsymmetric Sparse Systems of Linear Equations with PARDISO", Future
   Generation Computer Systems 20, 2004.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from threading import Lock
from typing import Any, final

import numpy as np

from nlsq.linalg.kernel_calls import FloatArray, IndexArray, check_ready, checked_values
from nlsq.linalg.symmetric_pattern import Pattern

__all__ = ["PACKAGES"]

DEFINITE = 2  # PARDISO's number for real symmetric positive definite matrices
ANALYSE, FACTORIZE, SOLVE, RELEASE = 11, 22, 33, -1  # PARDISO's phases
PIVOT_ERROR = -4  # PARDISO's number for a pivot that is zero or negative
FAILED_PIVOT = 30  # where PARDISO says which equation had it, of its parameters counted from 1

_OPTIONS = Lock()


def _imported(module: str, package: str, backend: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"backend {backend!r} needs {package}: pip install {package}; or leave out backend"
        ) from error


@contextmanager
def _options(cholmod: Any) -> Iterator[None]:
    """Let CHOLMOD make L L' of supernodes, and keep the permutation: its options are of the whole process.

    One thread at a time changes them: another that came between would put back what is not the user's.
    """
    with _OPTIONS:
        before = dict(cholmod.options)
        cholmod.options.update(supernodal=2, postorder=False)
        try:
            yield
        finally:
            cholmod.options.clear()
            cholmod.options.update(before)


@final
class CholmodPlan:
    """Pattern and permutation for CHOLMOD [1]_."""

    def __init__(self, pattern: Pattern, permutation: IndexArray) -> None:
        self.cvxopt = _imported("cvxopt", "cvxopt", "cholmod")
        self.cholmod = _imported("cvxopt.cholmod", "cvxopt", "cholmod")
        self.pattern, self.permutation = pattern, permutation

    def prepare(self) -> CholmodFactor:
        """Analyse by CHOLMOD."""
        return CholmodFactor(self)


@final
class CholmodFactor:
    """A factor of CHOLMOD."""

    def __init__(self, plan: CholmodPlan) -> None:
        self._cholmod, self._cvxopt, pattern = plan.cholmod, plan.cvxopt, plan.pattern
        n, self._count = pattern.n, pattern.indices.size
        self._columns = pattern.columns
        self._matrix = self._cvxopt.spmatrix(1.0, pattern.indices.tolist(), pattern.columns.tolist(), (n, n))
        self._values = self._cvxopt.matrix(0.0, (self._count, 1))
        permutation = self._cvxopt.matrix(plan.permutation.tolist(), (n, 1), tc="i")
        self._permutation, self._is_ready = plan.permutation, False
        with _options(self._cholmod):
            self._factor = self._cholmod.symbolic(self._matrix, p=permutation, uplo="U")

    def refactor(self, values: FloatArray) -> int:
        """Factorise; return -1, or the column whose pivot failed."""
        self._is_ready = False
        values = checked_values(values, self._count)
        unfit = np.flatnonzero(~np.isfinite(values))  # CHOLMOD carries them through
        if unfit.size:
            return int(self._columns[unfit[0]])
        np.asarray(self._values)[:, 0] = values
        self._matrix.V = self._values
        try:
            with _options(self._cholmod):
                self._cholmod.numeric(self._matrix, self._factor)
        except ArithmeticError as error:
            return int(self._permutation[error.args[0]])
        self._is_ready = True
        return -1

    def solve(self, b: FloatArray, out: FloatArray) -> None:
        """Solve A x = b; `out` may be `b`."""
        out[...] = self.solve_many(b[:, None])[:, 0]

    def solve_many(self, b: FloatArray) -> FloatArray:
        """Solve A X = B for B of shape (n, k)."""
        check_ready(self._is_ready)
        right = self._cvxopt.matrix(np.array(b, dtype=np.float64, order="F"))
        self._cholmod.solve(self._factor, right)
        return np.ascontiguousarray(right)

    def pivots(self, out: FloatArray) -> bool:
        """Give the size of each pivot; return True."""
        check_ready(self._is_ready)
        out[self._permutation] = np.square(np.asarray(self._cholmod.diag(self._factor))[:, 0])
        return True


@final
class PardisoPlan:
    """Pattern and permutation for PARDISO [2]_."""

    def __init__(self, pattern: Pattern, permutation: IndexArray) -> None:
        self.wrapper = _imported("pypardiso.pardiso_wrapper", "pypardiso", "pardiso")
        self.pattern, self.permutation = pattern, permutation

    def prepare(self) -> PardisoFactor:
        """Analyse by PARDISO."""
        return PardisoFactor(self)


@final
class PardisoFactor:
    """A factor of PARDISO: it reads the upper triangle by rows, that is the lower one by columns."""

    def __init__(self, plan: PardisoPlan) -> None:
        from scipy.sparse import csr_array

        pattern, self._wrapper = plan.pattern, plan.wrapper
        n, entries = pattern.n, pattern.indices.size
        diagonal = pattern.indices[pattern.indptr[1:] - 1] == np.arange(n) if entries else np.zeros(n, dtype=bool)
        if not np.all(diagonal & (np.diff(pattern.indptr) > 0)):
            j = int(np.flatnonzero(~(diagonal & (np.diff(pattern.indptr) > 0)))[0])
            raise ValueError(f"backend 'pardiso' needs all diagonal entries; column {j} of the pattern has none")
        self._columns = pattern.columns
        self._order = np.argsort(pattern.indices, kind="stable")
        counts = np.bincount(pattern.indices, minlength=n)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        self._matrix = csr_array((np.ones(entries), self._columns[self._order].astype(np.int32), indptr), shape=(n, n))
        self._solver = self._wrapper.PyPardisoSolver(mtype=DEFINITE)
        self._nothing, self._is_ready = np.zeros((n, 1)), False
        self._call(ANALYSE, self._nothing)

    def _call(self, phase: int, right: FloatArray) -> FloatArray:
        self._solver.set_phase(phase)
        result: FloatArray = self._solver._call_pardiso(self._matrix, right)
        return result

    def __del__(self) -> None:
        if hasattr(self, "_nothing"):
            self._call(RELEASE, self._nothing)

    def refactor(self, values: FloatArray) -> int:
        """Factorise; return -1, or the column whose pivot failed."""
        self._is_ready = False
        values = checked_values(values, self._order.size)
        unfit = np.flatnonzero(~np.isfinite(values))
        if unfit.size:
            return int(self._columns[unfit[0]])
        np.take(values, self._order, out=self._matrix.data, mode="clip")
        try:
            self._call(FACTORIZE, self._nothing)
        except self._wrapper.PyPardisoError as error:
            if error.value != PIVOT_ERROR:  # memory, or a fault within: nothing that damping mends
                raise
            return max(int(self._solver.get_iparm(FAILED_PIVOT)) - 1, 0)
        self._is_ready = True
        return -1

    def solve(self, b: FloatArray, out: FloatArray) -> None:
        """Solve A x = b; `out` may be `b`."""
        out[...] = self.solve_many(b[:, None])[:, 0]

    def solve_many(self, b: FloatArray) -> FloatArray:
        """Solve A X = B for B of shape (n, k)."""
        check_ready(self._is_ready)
        return self._call(SOLVE, np.array(b, dtype=np.float64, order="F"))

    def pivots(self, out: FloatArray) -> bool:
        """Return False: they are not to be had."""
        return False


PACKAGES: dict[str, Any] = {"cholmod": CholmodPlan, "pardiso": PardisoPlan}
