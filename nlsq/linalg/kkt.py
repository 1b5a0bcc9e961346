r"""Sparse KKT systems of the interior-point method, factorised with pivots of order 1 and 2, their inertia counted.

    condensed, of order n + mc                        augmented, of order n + m + mc

    [ J'J + S + diag(D)      A'    ] [ p ]   [ a ]     [ S + diag(D)   J'      A'    ] [ p ]   [ a ]
    [        A            -diag(E) ] [ y ] = [ b ]     [      J       -I             ] [ q ] = [ 0 ]
                                                       [      A             -diag(E) ] [ y ]   [ b ]

p is a direction in which the quadratic model falls where the matrix has n positive eigenvalues, and mc or m + mc
negative ones [1]_. Eliminating q = J p from the second gives the first: it keeps dense rows of J, which fill J'J, and
their bad condition to themselves [2]_. The analysis, of an order and of the places of all entries, is made once.

Solutions are refined with residuals of the matrix itself until each equation holds to `ENOUGH` of its terms [3]_.

References
----------
.. [1] A. Waechter and L. T. Biegler, "On the Implementation of an Interior-Point Filter Line-Search Algorithm for
   Large-Scale Nonlinear Programming", Mathematical Programming 106, 2006, section 3.1.
.. [2] P. E. Gill, M. A. Saunders and J. R. Shinnerl, "On the Stability of Cholesky Factorization for Symmetric
   Quasidefinite Systems", SIAM Journal on Matrix Analysis and Applications 17, 1996.
.. [3] M. Arioli, J. W. Demmel and I. S. Duff, "Solving Sparse Linear Systems with Sparse Backward Error", SIAM Journal
   on Matrix Analysis and Applications 10, 1989, section 2.
"""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import ArrayLike

from nlsq.kernels import indefinite_fronts
from nlsq.kernels import kkt_assembly as kernels
from nlsq.kernels.normal_assembly_sparse import form_normal
from nlsq.linalg.indefinite import IndefiniteFactor
from nlsq.linalg.kernel_calls import Call, FloatArray, IndexArray
from nlsq.linalg.kkt_plan import Entries, KKTStructure, pair_columns
from nlsq.linalg.normal_structure import NormalStructure, NormalTooLarge
from nlsq.pattern import SparsityPattern

__all__ = [
    "NOT_FINITE",
    "RIGHT_INERTIA",
    "SINGULAR",
    "TOO_FEW_NEGATIVE",
    "TOO_MANY_NEGATIVE",
    "SparseKKT",
]

RIGHT_INERTIA, TOO_MANY_NEGATIVE, TOO_FEW_NEGATIVE, SINGULAR, NOT_FINITE = -1, 1, 2, 3, 4  # what `factorize` returns
ENOUGH = 1e-12  # part of the terms of an equation, to which it is to hold
MOST_REFINEMENTS = 5
GAINS = 0.5  # a refinement that leaves more of the residual is the last
DENSE = 10.0  # sqrt(n) entries, from which a row is dense, as in `nlsq.linalg.ordering`
FEWEST_DENSE = 50  # entries that are never too many
DENSE_PART = 0.1  # of n: with more dense rows J'J is full anyhow and the augmented form larger

FORMS = "condensed", "augmented", "auto"


@final
class SparseKKT:
    """A sparse KKT system: structure once, values at each iterate.

    Parameters
    ----------
    jac_pattern : SparsityPattern
        Of J (m, n).
    constraint_pattern : SparsityPattern or None
        Of A (mc, n); None: no constraints.
    hessian_rows, hessian_columns : array_like of int, shape (k,)
        Places of the values of S, in either triangle; those at one place are added up.
    form : {"auto", "condensed", "augmented"}, optional
        Which matrix; ``"auto"`` takes the augmented one where a few rows of J are dense.
    ordering : {"amd", "natural"}, optional
        Approximate minimum degree, or the order as it is.
    constraint_values : array_like, shape (nnz of A,), optional
        Values of A by rows, typical ones: rows of A are paired with columns in which they are not small.

    Attributes
    ----------
    form : str
        ``"condensed"`` or ``"augmented"``.
    reason : str
        Why that form.
    n, m, mc : int
        Variables, residuals, constraints.
    order : int
        Of the matrix.
    nnz_factor : int
        Entries of L that the order of elimination makes, diagonal included.
    flops : float
        Multiplications and additions of a factorisation.
    analyses, factorizations, solves, refinements : int
        How many there were.
    negative : int
        Negative pivots of the last factor.
    moved : int
        Pivots of the last factor that are not those of the matrix: too small for what is in their columns, they were
        moved, and solutions are to be refined.
    failed : int
        The column that the last factorisation has found to depend on others, -1 if there was none: a variable below n,
        constraint i at ``order - mc + i``.

    Raises
    ------
    ValueError
        If an argument is not as described.
    """

    def __init__(
        self,
        jac_pattern: SparsityPattern,
        constraint_pattern: SparsityPattern | None,
        hessian_rows: ArrayLike = (),
        hessian_columns: ArrayLike = (),
        *,
        form: str = "auto",
        ordering: str = "amd",
        constraint_values: ArrayLike | None = None,
    ) -> None:
        if form not in FORMS:
            raise ValueError(f"form is {form!r}; it may be 'auto', 'condensed' or 'augmented'")
        if ordering not in ("amd", "natural"):
            raise ValueError(f"ordering is {ordering!r}; it may be 'amd' or 'natural'")
        self.m, self.n = jac_pattern.shape
        if constraint_pattern is None:
            constraint_pattern = SparsityPattern.from_entries([], [], (0, self.n))
        if constraint_pattern.shape[1] != self.n:
            raise ValueError(f"A has {constraint_pattern.shape[1]} columns, and J has {self.n}; they must agree")
        self.mc = constraint_pattern.shape[0]
        self.analyses, self.factorizations, self.solves, self.refinements = 0, 0, 0, 0
        self.negative, self.failed, self.moved = 0, -1, 0
        places = _checked_places(hessian_rows, hessian_columns, self.n)
        normal = self._choose(form, jac_pattern)
        sizes = _checked_sizes(constraint_values, constraint_pattern.nnz)
        structure = self._analyse(jac_pattern, constraint_pattern, places, normal, sizes, ordering)
        self._allocate(structure, jac_pattern, constraint_pattern, normal)

    def _choose(self, form: str, jac_pattern: SparsityPattern) -> NormalStructure | None:
        """Choose the form, and find the structure of J'J for the condensed one."""
        self.form, self.reason = form, "asked for"
        if form == "auto":
            lengths = np.bincount(jac_pattern.indices, minlength=self.m)
            dense = np.flatnonzero(lengths > max(FEWEST_DENSE, DENSE * np.sqrt(self.n)))
            if 0 < dense.size <= DENSE_PART * self.n:
                self.form = "augmented"
                self.reason = (
                    f"{dense.size} dense rows of J would fill J'J; row {dense[0]} has {lengths[dense[0]]} entries"
                )
                return None
            self.form, self.reason = "condensed", "no few dense rows of J fill J'J"
        if self.form == "augmented":
            return None
        try:
            return NormalStructure(jac_pattern)
        except NormalTooLarge as error:
            if form == "condensed":
                raise
            self.form, self.reason = "augmented", str(error.cause)
            return None

    def _analyse(
        self,
        jac_pattern: SparsityPattern,
        constraint_pattern: SparsityPattern,
        places: tuple[IndexArray, IndexArray],
        normal: NormalStructure | None,
        sizes: FloatArray,
        ordering: str,
    ) -> KKTStructure:
        """Find pairs, order and plan."""
        n, mc, middle = self.n, self.mc, 0 if normal is not None else self.m
        self.order = order = n + middle + mc
        entries = Entries(order)
        every = np.arange(order, dtype=np.int64)
        entries.add(every, every)
        if normal is not None:
            columns = np.repeat(np.arange(n, dtype=np.int64), np.diff(normal.indptr))
            entries.add(normal.indices, columns)
        else:
            entries.add(*_below(jac_pattern, n))
        entries.add(*_below(constraint_pattern, n + middle))
        entries.add(*places)
        degrees = np.diff(constraint_pattern.indptr).astype(np.int64)
        degrees += np.diff(normal.indptr if normal is not None else jac_pattern.indptr).astype(np.int64)
        row_of = np.full(n, -1, dtype=np.int64)
        pair_columns(constraint_pattern, sizes, degrees, row_of, first=0, complete=True)
        row_of[row_of >= 0] += middle
        if normal is None:
            pair_columns(jac_pattern, np.ones(jac_pattern.nnz), degrees, row_of, first=0, complete=False)
        partners = np.full(order, -1, dtype=np.int64)
        paired = np.flatnonzero(row_of >= 0)
        partners[paired] = n + row_of[paired]
        partners[n + row_of[paired]] = paired
        signs = np.ones(order)
        signs[n:] = -1.0
        structure = KKTStructure(entries, partners, signs, ordering)
        self.nnz_factor, self.flops = structure.nnz_factor, structure.flops
        self.analyses += 1
        return structure

    def _allocate(
        self,
        structure: KKTStructure,
        jac_pattern: SparsityPattern,
        constraint_pattern: SparsityPattern,
        normal: NormalStructure | None,
    ) -> None:
        """Prepare all calls."""
        n, order, pattern = self.n, self.order, structure.pattern
        self._values = np.zeros(pattern.indices.size)
        diagonal, of_jac, of_constraints, of_curvature = structure.places[:4]
        self._jac, self._constraints = np.zeros(jac_pattern.nnz), np.zeros(constraint_pattern.nnz)
        self._curvature = np.zeros(of_curvature.size)
        self._diagonal = np.zeros(order)
        self._diagonal[n : order - self.mc] = -1.0
        self._form_normal: Call | None = None
        squares = self._jac
        if normal is not None:
            squares = np.zeros(normal.indices.size)
            parts = *normal.parts, normal.indptr, normal.indices
            self._form_normal = Call(form_normal, self._jac, *parts, n, np.zeros(n), squares)
        self._add_constraints, self._add_diagonal, self._add_jac, self._add_curvature = (
            Call(kernels.add_entries, values, places, places.size, self._values)
            for values, places in (
                (self._constraints, of_constraints),
                (self._diagonal, diagonal),
                (squares, of_jac),
                (self._curvature, of_curvature),
            )
        )
        self._factor = IndefiniteFactor(pattern, structure.plan, self._values, structure.known)
        self._b, self._x, self._r = np.zeros(order), np.zeros(order), np.zeros(order)
        self._best = np.zeros(order)
        matrix = pattern.indptr, pattern.indices, self._values
        self._residual = Call(kernels.residual, *matrix, order, self._b, self._x, np.empty(2 * order), self._r)

    def set_matrices(
        self,
        jac_values: FloatArray,
        constraint_values: FloatArray | None = None,
        curvature_values: FloatArray | None = None,
    ) -> None:
        """Take the values of the next matrices.

        Parameters
        ----------
        jac_values, constraint_values : ndarray
            Of J and A, by rows, in the order of their patterns.
        curvature_values : ndarray, shape (k,), optional
            Of S, in the order of `hessian_rows`; None: S = 0.
        """
        self._jac[...] = jac_values
        if constraint_values is not None:
            self._constraints[...] = constraint_values
        if curvature_values is None:
            self._curvature[...] = 0.0
        else:
            self._curvature[...] = curvature_values
        if self._form_normal is not None:
            self._form_normal()

    def factorize(
        self, damping: FloatArray | float, softness: FloatArray | float = 0.0, *, use_hessian: bool = True
    ) -> int:
        """Factorise the matrix.

        Parameters
        ----------
        damping : ndarray, shape (n,), or float
            D.
        softness : ndarray, shape (mc,), or float
            E, not negative.
        use_hessian : bool, optional
            False leaves out J'J, or J, and S.

        Returns
        -------
        int
            RIGHT_INERTIA (-1): there is a factor of n positive pivots. TOO_MANY_NEGATIVE, TOO_FEW_NEGATIVE: there is a
            factor, and the inertia is another one. SINGULAR, NOT_FINITE: there is no factor.
        """
        self.factorizations += 1
        self._values[...] = 0.0
        self._diagonal[: self.n] = damping
        np.negative(softness, out=self._diagonal[self.order - self.mc :])
        self._add_diagonal()
        self._add_constraints()
        if use_hessian:
            self._add_jac()
            self._add_curvature()
        code = self._factor.refactor()
        self.negative, self.failed, self.moved = self._factor.negative, self._factor.failed, self._factor.moved
        if code == indefinite_fronts.NOT_FINITE:
            return NOT_FINITE
        if code == indefinite_fronts.SINGULAR:
            return SINGULAR
        if self.negative > self.order - self.n:
            return TOO_MANY_NEGATIVE
        return RIGHT_INERTIA if self.negative == self.order - self.n else TOO_FEW_NEGATIVE

    def solve(self, rhs: FloatArray, out: FloatArray) -> float:
        """Solve with the last factor.

        Parameters
        ----------
        rhs : ndarray, shape (n + mc,)
            a and b.
        out : ndarray, shape (n + mc,)
            Becomes p and y; may be `rhs`.

        Returns
        -------
        float
            The largest residual of an equation, as a part of the sum of the sizes of its terms. About 1e-16 is as good
            as it gets; infinite where the solution is not finite.

        Raises
        ------
        RuntimeError
            If there is no factor.
        """
        n, mc, order = self.n, self.mc, self.order
        self._b[:n], self._b[order - mc :] = rhs[:n], rhs[n:]
        self._factor.solve(self._b, self._x)
        self.solves += 1
        error = float(self._residual())
        for _ in range(MOST_REFINEMENTS):
            if error <= ENOUGH or error == np.inf:
                break
            np.copyto(self._best, self._x)
            self._factor.solve(self._r, self._r)
            self._x += self._r
            self.refinements += 1
            refined = float(self._residual())
            if not refined < error:
                np.copyto(self._x, self._best)
                break
            gains, error = refined <= GAINS * error, refined
            if not gains:
                break
        out[:n], out[n:] = self._x[:n], self._x[order - mc :]
        return error


def _below(pattern: SparsityPattern, first: int) -> tuple[IndexArray, IndexArray]:
    """Return columns and rows of the entries by rows, rows counted from `first`."""
    indptr, columns = pattern.by_rows()
    rows = np.repeat(np.arange(pattern.shape[0], dtype=np.int64), np.diff(indptr))
    return columns.astype(np.int64, copy=False), rows + first


def _checked_places(rows: ArrayLike, columns: ArrayLike, n: int) -> tuple[IndexArray, IndexArray]:
    """Return the places of curvature values as kernels take them."""
    given = []
    for name, part in (("hessian_rows", rows), ("hessian_columns", columns)):
        index = np.ascontiguousarray(part, dtype=np.int64).reshape(-1)
        wrong = np.flatnonzero((index < 0) | (index >= n))
        if wrong.size:
            raise ValueError(f"{name}[{wrong[0]}] is {index[wrong[0]]}; there are {n} variables")
        given.append(index)
    if given[0].size != given[1].size:
        raise ValueError(f"hessian_rows and hessian_columns differ in length: {given[0].size} and {given[1].size}")
    return given[0], given[1]


def _checked_sizes(values: ArrayLike | None, count: int) -> FloatArray:
    """Return the sizes by which rows of A are paired."""
    if values is None:
        return np.ones(count)
    sizes = np.abs(np.ascontiguousarray(values, dtype=np.float64))
    if sizes.shape != (count,):
        raise ValueError(f"constraint_values has shape {sizes.shape}; the pattern of A has {count} entries")
    return np.where(np.isfinite(sizes), sizes, 0.0)
