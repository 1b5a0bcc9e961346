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
from typing import Any, Protocol, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels import elimination_tree, multifrontal, simplicial, supernodes
from nlsq.kernels.backend import Kernel, handle
from nlsq.kernels.backend.blas import blas_addresses

__all__ = ["Analysis", "SparseFactor", "analyse"]

IndexArray: TypeAlias = NDArray[np.int64]
FloatArray: TypeAlias = NDArray[np.float64]

SIMPLICIAL_BELOW = 8.0  # operations for each entry of L; measured


class SparseFactor(Protocol):
    """Memory of one factorisation, and the factor."""

    def refactor(self, values: FloatArray) -> int:
        """Factorise; return -1, or the column whose pivot failed."""
        ...

    def solve(self, b: FloatArray, out: FloatArray) -> None:
        """Solve A x = b."""
        ...

    def solve_many(self, b: FloatArray) -> FloatArray:
        """Solve A X = B."""
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
    _plan: Any

    def prepare(self) -> SparseFactor:
        """Allocate for factorisations of matrices with this pattern."""
        factor: SparseFactor = self._plan.prepare()
        return factor


def analyse(
    indptr: IndexArray,
    indices: IndexArray,
    n: int,
    *,
    ordering: str | IndexArray = "amd",
    signs: NDArray[Any] | None = None,
    method: str = "auto",
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
        How to factorise.

    Returns
    -------
    Analysis

    Raises
    ------
    ValueError
        If an argument is not as described.
    """
    pattern = _Pattern(indptr, indices, n)
    permutation = _ordered(pattern, ordering)
    sign = _checked_signs(signs, n)
    if method not in ("auto", "simplicial", "multifrontal"):
        raise ValueError(f"method is {method!r}; it may be 'auto', 'simplicial' or 'multifrontal'")
    tree = _Tree(pattern, permutation)
    counts = tree.counts.astype(np.float64)
    nnz, flops = int(tree.counts.sum()), float(counts @ counts)
    if method == "auto":
        method = "simplicial" if flops < SIMPLICIAL_BELOW * nnz else "multifrontal"
    plan: _SimplicialPlan | _MultifrontalPlan
    if method == "simplicial":
        plan = _SimplicialPlan(pattern, tree, sign)
    else:
        plan = _MultifrontalPlan(pattern, tree, sign)
    return Analysis(n, plan.permutation, nnz, flops, method, plan)


@final
class _Pattern:
    """Upper triangle by columns, as kernels take it."""

    def __init__(self, indptr: IndexArray, indices: IndexArray, n: int) -> None:
        self.n = n
        self.indptr = np.ascontiguousarray(indptr, dtype=np.int64)
        self.indices = np.ascontiguousarray(indices, dtype=np.int64)
        if self.indptr.shape != (n + 1,):
            raise ValueError(f"indptr has shape {self.indptr.shape}; for n = {n} columns it has {n + 1} entries")
        if self.indptr[0] != 0 or self.indptr[-1] != self.indices.size or np.any(np.diff(self.indptr) < 0):
            raise ValueError(f"indptr must ascend from 0 to the {self.indices.size} entries of indices")
        columns = np.repeat(np.arange(n, dtype=np.int64), np.diff(self.indptr))
        wrong = np.flatnonzero((self.indices < 0) | (self.indices > columns))
        if wrong.size:
            p = int(wrong[0])
            raise ValueError(
                f"indices[{p}] is row {self.indices[p]} of column {columns[p]}; give the upper triangle: 0 <= row <= column"
            )
        again = np.flatnonzero((np.diff(self.indices) <= 0) & (np.diff(columns) == 0))
        if again.size:
            p = int(again[0]) + 1
            raise ValueError(
                f"indices[{p}] does not ascend within column {columns[p]}; sort the rows and add up repeats"
            )

    def full(self) -> tuple[IndexArray, IndexArray]:
        """Return both triangles without the diagonal."""
        starts, rows = _ints(self.n + 2), _ints(2 * self.indices.size)
        _run(elimination_tree.both_triangles, self.indptr, self.indices, self.n, starts, rows)
        starts = starts[: self.n + 1]
        return starts, rows[: starts[-1]]

    def permuted(self, inverse: IndexArray, *, lower: bool) -> tuple[IndexArray, IndexArray, IndexArray]:
        """Return a triangle of P A P' by columns, and where its entries have been."""
        starts, rows, sources = _ints(self.n + 2), _ints(self.indices.size), _ints(self.indices.size)
        parts = self.indptr, self.indices, self.n, inverse, int(lower), starts, rows, sources
        _run(elimination_tree.permute, *parts)
        return starts[: self.n + 1], rows, sources


@final
class _Tree:
    """Elimination tree of P A P' in postorder, and the counts of the columns of L."""

    def __init__(self, pattern: _Pattern, permutation: IndexArray) -> None:
        n = pattern.n
        indptr, rows, _ = pattern.permuted(_inverse(permutation), lower=False)
        parents, work = _ints(n), _ints(4 * n + 1)
        _run(elimination_tree.elimination_tree, indptr, rows, n, work, parents)
        order = _ints(n)
        _run(elimination_tree.postorder, parents, n, work, order)
        self.permutation = permutation[order]
        renamed = np.append(_inverse(order), -1)  # the parent -1 stays -1
        self.parents = np.ascontiguousarray(renamed[parents[order]])
        self.counts = _ints(n)
        indptr, rows, _ = pattern.permuted(_inverse(self.permutation), lower=True)
        _run(elimination_tree.column_counts, indptr, rows, self.parents, n, work, self.counts)


@final
class _SimplicialPlan:
    """What the simplicial way needs of the pattern."""

    def __init__(self, pattern: _Pattern, tree: _Tree, signs: FloatArray) -> None:
        self.n, self.permutation, self.parents = pattern.n, tree.permutation, tree.parents
        self.signs = signs[self.permutation]
        self.triangle = pattern.permuted(_inverse(self.permutation), lower=False)
        self.column_starts = _ints(self.n + 1)
        self.column_starts[0] = 0
        np.cumsum(tree.counts - 1, out=self.column_starts[1:])

    def prepare(self) -> SparseFactor:
        """Allocate."""
        return _SimplicialFactor(self)


@final
class _MultifrontalPlan:
    """Nodes, and where everything lies."""

    def __init__(self, pattern: _Pattern, tree: _Tree, signs: FloatArray) -> None:
        self.n = n = pattern.n
        starts, of_column = _ints(n + 1), _ints(n)
        count = _run(supernodes.fundamental, tree.parents, tree.counts, n, starts, of_column)
        work, groups = _ints(7 * count + 1), _ints(count)
        parts = starts, of_column, tree.parents
        left = _run(supernodes.amalgamate, *parts, tree.counts, count, work, groups)
        heights, order, widths, up = work[count : 2 * count].copy(), _ints(n), _ints(count), _ints(count)
        _run(supernodes.order_groups, *parts, groups, heights, count, work, order, widths, up)
        self.m = m = int(left)
        self.permutation = tree.permutation[order]
        self.signs = signs[self.permutation]
        self.widths, self.sizes = widths[:m], heights[:m] - widths[:m]
        self.tree = up[:m].copy()
        self.node_starts, self.row_starts = _sums(self.widths), _sums(self.sizes)
        self.panel_starts = _sums(self.widths * heights[:m])
        self._place(pattern)

    def _place(self, pattern: _Pattern) -> None:
        """Find rows and places of the nodes."""
        n, m, inverse = self.n, self.m, _inverse(self.permutation)
        nodes = np.repeat(np.arange(m, dtype=np.int64), self.widths)
        indptr, indices, _ = pattern.permuted(inverse, lower=False)
        self.rows, work = _ints(int(self.row_starts[-1])), _ints(3 * m + 2)
        _run(supernodes.row_structures, indptr, indices, nodes, self.tree, self.row_starts, n, m, work, self.rows)
        self.inside, self.relative = _ints(m), _ints(self.rows.size)
        structure = self.node_starts, self.tree, self.row_starts, self.rows, m
        _run(supernodes.relative_rows, *structure, self.inside, self.relative)
        self.entry_starts, self.sources = _ints(m + 2), _ints(pattern.indices.size)
        self.places = _ints(pattern.indices.size)
        given = pattern.indptr, pattern.indices, n, inverse, nodes, self.node_starts, self.row_starts, self.rows
        found = self.entry_starts, self.sources, self.places
        _run(supernodes.place_entries, *given, self.panel_starts, m, *found)
        self.update_starts, stacks = _ints(m), _ints(2)
        _run(supernodes.plan_updates, self.tree, self.row_starts, m, work, self.update_starts, stacks)
        self.updates_size = int(stacks.sum())
        self.heads, self.following = _ints(m), _ints(m)
        _run(supernodes.list_children, self.tree, m, self.heads, self.following)

    def prepare(self) -> SparseFactor:
        """Allocate."""
        return _MultifrontalFactor(self)


@final
class _SimplicialFactor:
    """Memory of the simplicial way."""

    def __init__(self, plan: _SimplicialPlan) -> None:
        n, entries = plan.n, int(plan.column_starts[-1])
        self._n, self._permutation = n, plan.permutation
        self._count = plan.triangle[1].size
        rows, lower, diagonal = _ints(entries), np.empty(entries), np.empty(n)
        lists, row = _ints(3 * n), np.empty(n)
        given = *plan.triangle, plan.parents, plan.column_starts, n
        self._factorize = _Call(simplicial.factorize, *given, _VALUES, plan.signs, lists, row, rows, lower, diagonal)
        factor = plan.column_starts, rows, lower, diagonal, n
        self._x = np.empty(n)
        self._solve = _Call(simplicial.solve, *factor, self._x)
        self._factor = factor

    def refactor(self, values: FloatArray) -> int:
        """Factorise; return -1, or the column whose pivot failed."""
        failed = int(self._factorize(_checked_values(values, self._count)))
        return failed if failed < 0 else int(self._permutation[failed])

    def solve(self, b: FloatArray, out: FloatArray) -> None:
        """Solve A x = b; `out` may be `b`."""
        np.take(b, self._permutation, out=self._x, mode="clip")
        self._solve()
        out[self._permutation] = self._x

    def solve_many(self, b: FloatArray) -> FloatArray:
        """Solve A X = B for B of shape (n, k)."""
        x = np.ascontiguousarray(b[self._permutation], dtype=np.float64)
        _run(simplicial.solve_many, *self._factor, x.shape[1], x)
        out = np.empty_like(x)
        out[self._permutation] = x
        return out


@final
class _MultifrontalFactor:
    """Memory of the multifrontal way."""

    def __init__(self, plan: _MultifrontalPlan) -> None:
        self._permutation, self._count = plan.permutation, plan.sources.size
        panels, updates = np.empty(int(plan.panel_starts[-1])), np.empty(plan.updates_size)
        work = np.empty(int(plan.widths.max(initial=0)) * multifrontal.STRIP)
        signed = int(np.any(plan.signs < 0.0))
        self._size = int(plan.sizes.max(initial=0))
        self._factorize = _Call(
            multifrontal.factorize, plan.node_starts, plan.row_starts, plan.panel_starts, plan.update_starts, plan.heads,
            plan.following, plan.relative, plan.inside, plan.entry_starts, plan.sources, plan.places, plan.m, _VALUES,
            plan.signs, signed, blas_addresses(), work, updates, panels,
        )  # fmt: skip
        self._x = np.empty(plan.n)
        self._factor = plan.node_starts, plan.row_starts, plan.panel_starts, plan.rows, plan.m, panels, plan.signs
        self._solve = _Call(multifrontal.solve, *self._factor, np.empty(self._size), self._x)

    def refactor(self, values: FloatArray) -> int:
        """Factorise; return -1, or the column whose pivot failed."""
        failed = int(self._factorize(_checked_values(values, self._count)))
        return failed if failed < 0 else int(self._permutation[failed])

    def solve(self, b: FloatArray, out: FloatArray) -> None:
        """Solve A x = b; `out` may be `b`."""
        np.take(b, self._permutation, out=self._x, mode="clip")
        self._solve()
        out[self._permutation] = self._x

    def solve_many(self, b: FloatArray) -> FloatArray:
        """Solve A X = B for B of shape (n, k)."""
        x = np.ascontiguousarray(b[self._permutation], dtype=np.float64)
        many = x.shape[1]
        _run(multifrontal.solve_many, *self._factor, many, np.empty(self._size * many), x)
        out = np.empty_like(x)
        out[self._permutation] = x
        return out


_VALUES = object()  # where a call takes what is not known when it is prepared


@final
class _Call:
    """A kernel and its arguments, one of which may come later."""

    def __init__(self, kernel: Kernel, *arguments: Any) -> None:
        self._kept = arguments  # arrays live as long as their addresses are used
        self._entry = kernel.entry(release_gil=True)
        handles = [handle(a) if isinstance(a, np.ndarray) else a for a in arguments]
        places = [k for k, a in enumerate(arguments) if a is _VALUES]
        split = places[0] if places else len(handles)
        self._before, self._after = tuple(handles[:split]), tuple(handles[split + 1 :])

    def __call__(self, *late: FloatArray) -> Any:
        return self._entry(*self._before, *map(handle, late), *self._after)


def _ordered(pattern: _Pattern, ordering: str | IndexArray) -> IndexArray:
    """Return the permutation that is asked for."""
    n = pattern.n
    if isinstance(ordering, str):
        if ordering == "natural":
            return np.arange(n, dtype=np.int64)
        if ordering == "amd":
            from nlsq.linalg.ordering import minimum_degree

            return np.asarray(minimum_degree(*pattern.full()), dtype=np.int64)
        raise ValueError(f"ordering is {ordering!r}; it may be 'amd', 'natural' or a permutation")
    permutation = np.ascontiguousarray(ordering, dtype=np.int64)
    if permutation.shape != (n,) or not np.array_equal(np.sort(permutation), np.arange(n)):
        raise ValueError(f"ordering must be a permutation of 0 to {n - 1}")
    return permutation


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


def _checked_values(values: FloatArray, count: int) -> FloatArray:
    """Return values as a kernel takes them."""
    if values.shape != (count,):
        raise ValueError(f"values has shape {values.shape}; the pattern has {count} entries")
    return np.ascontiguousarray(values, dtype=np.float64)


def _inverse(permutation: IndexArray) -> IndexArray:
    inverse = np.empty_like(permutation)
    inverse[permutation] = np.arange(permutation.size)
    return inverse


def _ints(size: int) -> IndexArray:
    return np.empty(size, dtype=np.int64)


def _sums(lengths: IndexArray) -> IndexArray:
    """Return where each part begins, and the whole length."""
    starts = _ints(lengths.size + 1)
    starts[0] = 0
    np.cumsum(lengths, out=starts[1:])
    return starts


def _run(kernel: Kernel, *arguments: Any) -> Any:
    """Call a kernel with arrays where it takes pointers; other threads go on meanwhile."""
    return kernel.entry(release_gil=True)(*(handle(a) if isinstance(a, np.ndarray) else a for a in arguments))
