r"""Projection on the tangent space of sparse constraints; the mathematics is in `nlsq.linalg.tangent`.

With rows of unit length, the factor of the quasi-definite matrix

    [I  A'        ]
    [A  -delta^2 I]

applies ``(A A' + delta^2 I)^-1`` without forming A A', which a dense column of A would fill. Conjugate gradients on
``A A' y = A v``, preconditioned by it, see eigenvalues ``s^2 / (s^2 + delta^2)`` for singular values s of A: all but
those of nearly dependent rows are one, and those that are zero never come in.

The pivots of ``A A' + delta^2 I`` are squared distances of rows from the span of those before. Rows where they are
small are projected on the tangent space of the others, and a pivoted QR factorisation of what is left of them tells
which are dependent.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.linalg.sparse_factor import SparseFactor, analyse
from nlsq.linalg.tangent import DenseTangent, checked_values, checked_vector

__all__ = ["SparseTangent"]

FloatArray = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)
SHIFTS = 1e-12, 1e-10, 1e-8, 1e-6  # delta^2: the first with which the pivots keep their signs in spite of rounding
REFINEMENTS = 4  # of a normal step, of whose conjugate gradients rounding in c along dependent rows takes digits
WORSE = 10.0  # times the smallest |A p|: rounding has taken over
ROUNDS = 200  # of conjugate gradients; nearly dependent rows take one each
PIVOT_SHIFT = 1e-12  # delta^2 in A A' + delta^2 I: above rounding
CLEAR = 1e-6  # squared distance from the span of others that no shift and no rounding makes


@final
class SparseTangent:
    """Projection by a quasi-definite factorisation; see `nlsq.linalg.tangent.tangent_projection`.

    Parameters
    ----------
    rows : csr_array, shape (k, n)
        A, indices sorted and without duplicates.
    tolerance : float
        Below which a row is dependent.
    """

    def __init__(self, rows: Any, tolerance: float) -> None:
        self._tolerance = tolerance
        self._rows = rows
        k, n = rows.shape
        counts = np.diff(rows.indptr)
        of = np.repeat(np.arange(k), counts)
        largest = np.zeros(k)
        np.maximum.at(largest, of, np.abs(rows.data))
        unit = np.where(largest > 0.0, largest, 1.0)
        self._lengths = unit * np.sqrt(np.bincount(of, np.square(rows.data / unit[of]), minlength=k))
        self._lengths[largest == 0.0] = 1.0
        self._scaled = rows.copy()
        self._scaled.data = rows.data / self._lengths[of]
        self._transposed = self._scaled.T.tocsr()
        self._factor = _augmented_factor(self._scaled)
        self._both = np.empty(n + k)

    @cached_property
    def _pivots(self) -> FloatArray:
        """Return squared distances of rows from those that were eliminated before, shape (k,); rounding may add."""
        from scipy.sparse import csc_array, eye_array, triu

        k = self._scaled.shape[0]
        product = csc_array(triu(self._scaled @ self._transposed + PIVOT_SHIFT * eye_array(k), format="csc"))
        product.sort_indices()
        analysis = analyse(product.indptr.astype(np.int64), product.indices.astype(np.int64), k)
        factor, pivots = analysis.prepare(), np.zeros(k)
        if factor.refactor(product.data) >= 0:  # the shift is above rounding
            raise np.linalg.LinAlgError("A A' could not be factorised; look for rows with tiny entries.")
        factor.pivots(pivots)
        return pivots

    @property
    def rank(self) -> int:
        """Number of independent rows."""
        return int(self._scaled.shape[0] - self.dependent_rows.size)

    @cached_property
    def dependent_rows(self) -> NDArray[np.int64]:
        """Rows that follow from the others, ascending."""
        from scipy.linalg import qr

        k, n = self._scaled.shape
        if k == 0 or n == 0:
            return np.arange(k, dtype=np.int64)
        doubtful = np.flatnonzero(self._pivots <= CLEAR)
        if not doubtful.size:
            return doubtful.astype(np.int64)
        clear = np.setdiff1d(np.arange(k), doubtful)
        rest = self._scaled[doubtful].toarray().T
        if clear.size:
            rest = SparseTangent(self._scaled[clear], self._tolerance).project(rest)
        triangle, order = qr(rest, mode="r", pivoting=True, check_finite=False)
        size = np.abs(triangle.diagonal())
        beyond = int(np.count_nonzero(np.logical_and.accumulate(size > self._tolerance)))
        return np.sort(doubtful[order[beyond:]]).astype(np.int64)

    @cached_property
    def basis(self) -> FloatArray:
        """Orthonormal basis of the null space, shape (n, n - rank); needs memory for a dense A."""
        kept = np.ones(self._scaled.shape[0], dtype=bool)
        kept[self.dependent_rows] = False
        return DenseTangent(self._scaled[kept].toarray(), self._tolerance).basis

    def project(self, v: FloatArray) -> FloatArray:
        """Return ``(I - A^+ A) v``."""
        v = checked_vector(v, "v", self._rows.shape[1])
        if v.ndim == 2:
            return np.column_stack([self._solve(column)[0] for column in v.T]) if v.shape[1] else v.copy()
        return self._solve(v)[0]

    def multipliers(self, g: FloatArray) -> FloatArray:
        """Return the y of ``min |g + A'y|``, shape (k,)."""
        g = checked_vector(g, "g", self._rows.shape[1])
        if g.ndim == 2:
            columns = [self.multipliers(column) for column in g.T]
            return np.column_stack(columns) if columns else np.empty((self._rows.shape[0], 0))
        y: FloatArray = -self._solve(g)[1] / self._lengths
        return y

    def normal_step(self, c: FloatArray) -> FloatArray:
        """Return the shortest p with ``A p = -c``, shape (n,)."""
        values = checked_values(c, self._scaled.shape[0]) / self._lengths
        n = self._scaled.shape[1]
        step = self._solve(np.zeros(n), values)[0]
        left = self._scaled @ step + values
        for _ in range(REFINEMENTS):
            self._both[:n], self._both[n:] = 0.0, -left
            self._factor.solve(self._both, self._both)
            candidate = step + self._both[:n]
            fresh = self._scaled @ candidate + values
            if not np.linalg.norm(fresh) < np.linalg.norm(left):
                break
            step, left = candidate, fresh
        return step

    def _solve(self, v: FloatArray, c: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
        """Return p and y of p + A'y = v, A p = -c, rows of unit length; c is zero by default.

        Lengths and angles of directions d are measured at A'd, where what rounding does to y along dependent rows
        does not show.
        """
        n = v.size
        c = np.zeros(self._scaled.shape[0]) if c is None else c
        p, y = v, np.zeros_like(c)
        direction, image, square = np.zeros_like(y), np.zeros_like(v), 0.0
        best, least, floor = (p.copy(), y), np.inf, EPS * float(np.linalg.norm(v) + np.linalg.norm(c))
        for _ in range(ROUNDS):
            left = self._scaled @ p + c
            length = float(np.linalg.norm(left))
            if length < least:
                best, least = (p, y), length
            if not floor < length < WORSE * least:
                break
            self._both[:n], self._both[n:] = 0.0, -left
            self._factor.solve(self._both, self._both)
            guess = self._both[n:].copy()
            guess_image = self._transposed @ guess
            along = float(guess_image @ image) / square if square > 0.0 else 0.0
            direction, image = guess - along * direction, guess_image - along * image
            square = float(image @ image)
            if not square > 0.0:
                break
            y = y + ((float(image @ p) + float(direction @ c)) / square) * direction
            p = v - self._transposed @ y
        return best


def _augmented_factor(scaled: Any) -> SparseFactor:
    """Factorise [I A'; A -delta^2 I]."""
    k, n = scaled.shape
    starts = np.concatenate([np.arange(n), n + scaled.indptr + np.arange(k + 1)]).astype(np.int64)
    counts = np.diff(scaled.indptr)
    ends = n + np.cumsum(counts + 1) - 1  # where each row's own diagonal stands
    indices, values = np.empty(n + scaled.nnz + k, dtype=np.int64), np.empty(n + scaled.nnz + k)
    inside = np.ones(indices.size, dtype=bool)
    inside[:n] = inside[ends] = False
    indices[:n], values[:n] = np.arange(n), 1.0
    indices[inside], values[inside] = scaled.indices, scaled.data
    indices[ends] = n + np.arange(k)
    factor = analyse(starts, indices, n + k, signs=np.repeat([1.0, -1.0], [n, k])).prepare()
    for shift in SHIFTS:
        values[ends] = -shift
        if factor.refactor(values) < 0:
            return factor
    raise np.linalg.LinAlgError("the augmented matrix of A could not be factorised; look for rows of tiny entries.")
