r"""Direct factorisation of sparse symmetric matrices: analysed once, factorised anew for each set of values.

    P A P' = L L'                  A positive definite
    P A P' = L D L'                A quasi-definite, signs of D given                                        [4]_

The analysis finds an ordering P, the elimination tree, how many entries L has [1]_ and one of two ways:

    simplicial     a row of L at a time [2]_, where little is to be done for each entry of L
    multifrontal   dense panels of columns with one structure [3]_, whose products run at the speed of dense matrices

Nothing depends on the values, and a factorisation allocates nothing.

References
----------
.. [1] J. R. Gilbert, E. G. Ng and B. W. Peyton, SIAM Journal on Matrix Analysis and Applications 15, 1994.
.. [2] T. A. Davis, "Algorithm 849", ACM Transactions on Mathematical Software 31, 2005.
.. [3] J. W. H. Liu, "The Multifrontal Method for Sparse Matrix Solution", SIAM Review 34, 1992.
.. [4] R. J. Vanderbei, "Symmetric Quasidefinite Matrices", SIAM Journal on Optimization 5, 1995.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels.schur import NO_DIGITS
from nlsq.linalg.kernel_calls import FloatArray, IndexArray
from nlsq.linalg.multifrontal import MultifrontalPlan
from nlsq.linalg.other_packages import PACKAGES
from nlsq.linalg.simplicial import SimplicialPlan
from nlsq.linalg.symmetric_pattern import Pattern, Tree, ordered

__all__ = ["Analysis", "SparseFactor", "analyse", "weakest_pivot"]

METHODS = "auto", "simplicial", "multifrontal"
SIMPLICIAL_BELOW = 9.0  # operations for each entry of L; measured


class SparseFactor(Protocol):
    """Memory of one factorisation, and the factor. Refactoring and solving for one right-hand side allocate nothing."""

    def refactor(self, values: FloatArray) -> int:
        """Factorise the matrix with these values.

        Parameters
        ----------
        values : ndarray, shape (nnz,)
            Entries of the upper triangle, in the order of the `indices` that were analysed.

        Returns
        -------
        int
            -1; or, when there is no factor, the column of A at which a pivot had the wrong sign, was zero or was not
            finite.
        """
        ...

    def solve(self, b: FloatArray, out: FloatArray) -> None:
        """Solve A x = b with the last factor.

        Parameters
        ----------
        b : ndarray, shape (n,)
            Right-hand side.
        out : ndarray, shape (n,)
            Becomes x; may be `b`.

        Raises
        ------
        RuntimeError
            If there is no factor, or the last refactoring failed.
        """
        ...

    def pivots(self, out: FloatArray) -> bool:
        """Give the size of each pivot of the last factor.

        Parameters
        ----------
        out : ndarray, shape (n,)
            Receives ``L_jj^2``, or ``|D_jj|``, for each column of A.

        Returns
        -------
        bool
            Whether they are known: PARDISO keeps them to itself.
        """
        ...

    def solve_many(self, b: FloatArray) -> FloatArray:
        """Solve A X = B with the last factor.

        Parameters
        ----------
        b : ndarray, shape (n, k)
            Right-hand sides.

        Returns
        -------
        ndarray, shape (n, k)
            X, row by row in memory.
        """
        ...


class Plan(Protocol):
    """What an analysis has found for one way of factorising."""

    def prepare(self) -> SparseFactor:
        """Allocate."""
        ...


@final
@dataclass(frozen=True, eq=False)
class Analysis:
    """What elimination does to a pattern.

    Attributes
    ----------
    n : int
        Order of the matrix.
    permutation : ndarray of int64, shape (n,)
        ``permutation[k]`` is the column that is eliminated k-th.
    nnz_factor : int
        Entries of L, diagonal included, that are not zero by structure.
    flops : float
        Multiplications and additions of a factorisation, the sum of the squares of the columns' counts.
    method : str
        ``"simplicial"`` or ``"multifrontal"``, or the name of another package.
    """

    n: int
    permutation: IndexArray
    nnz_factor: int
    flops: float
    method: str
    _plan: Plan

    def prepare(self) -> SparseFactor:
        """Allocate for factorisations of matrices with this pattern."""
        return self._plan.prepare()


def analyse(
    indptr: IndexArray,
    indices: IndexArray,
    n: int,
    *,
    ordering: str | IndexArray = "amd",
    signs: NDArray[Any] | None = None,
    method: str = "auto",
    backend: str | None = None,
) -> Analysis:
    """Analyse the pattern of a symmetric matrix.

    Parameters
    ----------
    indptr, indices : ndarray of int64
        The upper triangle with its diagonal, by columns: rows ``indices[indptr[j] : indptr[j + 1]]`` of column j,
        ascending, at most j.
    n : int
        Order of the matrix.
    ordering : {"amd", "natural"} or ndarray of int, optional
        Approximate minimum degree, the order as it is, or a permutation: the columns in the order of elimination. A
        permutation of equal fill is used in its place, so that subtrees of the elimination tree are contiguous.
    signs : ndarray, shape (n,), optional
        1 or -1: the signs of the pivots of a quasi-definite matrix; by default it is positive definite.
    method : {"auto", "simplicial", "multifrontal"}, optional
        How to factorise; ``"auto"`` decides by the operations there are for each entry of L.
    backend : {"cholmod", "pardiso"}, optional
        Another package that does the numerical work, where it is installed: CHOLMOD from cvxopt, or PARDISO from
        pypardiso. For positive definite matrices.

    Returns
    -------
    Analysis

    Raises
    ------
    ValueError
        If an argument is not as described.
    ImportError
        If `backend` is not installed.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; it may be 'auto', 'simplicial' or 'multifrontal'")
    if backend is not None and backend not in PACKAGES:
        raise ValueError(f"backend is {backend!r}; it may be None, 'cholmod' or 'pardiso'")
    pattern = Pattern(indptr, indices, n)
    sign = _checked_signs(signs, n)
    tree = Tree(pattern, ordered(pattern, ordering))
    counts = tree.counts.astype(np.float64)
    nnz, flops = int(tree.counts.sum()), float(counts @ counts)
    if backend is not None:
        if np.any(sign < 0.0):
            raise ValueError(f"backend {backend!r} factorises positive definite matrices; leave out backend or signs")
        return Analysis(n, tree.permutation, nnz, flops, backend, PACKAGES[backend](pattern, tree.permutation))
    if method == "auto":
        method = "simplicial" if flops < SIMPLICIAL_BELOW * nnz else "multifrontal"
    if method == "simplicial":
        return Analysis(n, tree.permutation, nnz, flops, method, SimplicialPlan(pattern, tree, sign))
    fronts = MultifrontalPlan(pattern, tree, sign)
    return Analysis(n, fronts.permutation, nnz, flops, method, fronts)


def weakest_pivot(
    factor: SparseFactor, analysis: Analysis, diagonal: FloatArray, work: FloatArray
) -> tuple[float, int]:
    """Say how much of its diagonal the factorisation has left of a definite matrix.

    Parameters
    ----------
    factor : SparseFactor
        Of A.
    analysis : Analysis
        Where it comes from.
    diagonal : ndarray, shape (n,)
        Of A, or of a matrix from which A was formed by elimination.
    work : ndarray, shape (n,)
        Memory.

    Returns
    -------
    kept : float
        Smallest ratio of a pivot to the diagonal, at most 1.
    lost : int
        The first column, in the order of elimination, of whose pivot rounding has left nothing: a ratio of at most
        `NO_DIGITS`; -1 if there is none.
    """
    if diagonal.size == 0 or not factor.pivots(work):
        return 1.0, -1
    np.divide(work, diagonal, out=work)
    kept = min(float(work.min()), 1.0)
    if kept > NO_DIGITS:
        return kept, -1
    order = analysis.permutation
    return kept, int(order[np.argmin(work[order] > NO_DIGITS)])


def _checked_signs(signs: NDArray[Any] | None, n: int) -> FloatArray:
    """Return signs of pivots as doubles."""
    if signs is None:
        return np.ones(n)
    checked = np.ascontiguousarray(signs, dtype=np.float64)
    if checked.shape != (n,):
        raise ValueError(f"signs has shape {checked.shape}; give one sign for each of the {n} columns")
    wrong = np.flatnonzero(np.abs(checked) != 1.0)
    if wrong.size:
        raise ValueError(f"signs[{wrong[0]}] is {checked[wrong[0]]}; it may be 1 or -1")
    return checked
