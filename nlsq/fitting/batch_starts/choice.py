"""The points of a dictionary that suit rows of data best, for many rows at once.

    cost(q) = 1/2 |g(q) + A(q) a - y|^2      with the best a for q, within their bounds

Without bounds and without weights of their own, rows are multiplied by orthonormal bases of the spaces of A(q): one
product of matrices for many rows and points. Otherwise the normal equations of each row and point are put together by
products of matrices, as they are linear in the squares of the weights, and solved for all at once. First the parents
among the points are compared, then the children of the best parents.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.batch_starts.dictionary import Dictionary

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

BEST = 4  # parents whose children are looked at
DIGITS = 10  # of costs relative to the sum of squares that are compared
SWEEPS = 4  # over linear parameters with bounds
RIDGE = 1e-13  # relative, beside the normal equations


@final
@dataclass(slots=True)
class Rows:
    """Rows of data, without the missing points: their residuals have the weight zero.

    Attributes
    ----------
    y : ndarray, shape (r, m)
        Finite.
    weights : ndarray, shape (r, m) or (m,), or None
        1 / sigma.
    lower, upper : ndarray, shape (1 or r, k), or None
        Bounds of the linear parameters; None: none has any.
    lowest, highest : ndarray, shape (r, others), or None
        Bounds of the others, where rows have their own.
    """

    y: FloatArray
    weights: FloatArray | None = None
    lower: FloatArray | None = None
    upper: FloatArray | None = None
    lowest: FloatArray | None = None
    highest: FloatArray | None = None

    def __getitem__(self, which: Any) -> Rows:
        weights = self.weights if self.weights is None or self.weights.ndim == 1 else self.weights[which]
        ends = (self.lower, self.upper, self.lowest, self.highest)
        return Rows(self.y[which], weights, *(end if end is None or end.shape[0] == 1 else end[which] for end in ends))


def gain_of(gram: FloatArray, slopes: FloatArray, lower: FloatArray | None, upper: FloatArray | None) -> FloatArray:
    """Return by how much the best linear parameters lower a sum of squares, shape (r, c).

    Parameters
    ----------
    gram : ndarray, shape (k, k, 1 or r, c)
        A' A.
    slopes : ndarray, shape (k, r, c)
        A' (y - g).
    lower, upper : ndarray, shape (1 or r, k), or None
        Bounds.
    """
    coefficients = solved(gram, slopes)
    if lower is not None and upper is not None:
        coefficients = swept(gram, slopes, coefficients, lower, upper)
        image = np.einsum("ijrc,jrc->irc", gram, coefficients)
        gain: FloatArray = np.einsum("krc,krc->rc", coefficients, 2.0 * slopes - image)
        return gain
    gain = np.einsum("krc,krc->rc", coefficients, slopes)
    return gain


def solved(gram: FloatArray, slopes: FloatArray) -> FloatArray:
    """Return the solutions (k, r, c) of normal equations, by Cholesky; zero for columns that depend on others."""
    k = slopes.shape[0]
    factor: dict[tuple[int, int], FloatArray] = {}
    inverse: list[FloatArray] = []
    z: list[FloatArray] = []
    for i in range(k):
        for j in range(i):
            factor[i, j] = (gram[i, j] - sum(factor[i, h] * factor[j, h] for h in range(j))) * inverse[j]
        pivot = gram[i, i] - sum(factor[i, h] ** 2 for h in range(i))
        good = pivot > RIDGE * gram[i, i]
        inverse.append(np.where(good, 1.0 / np.sqrt(np.where(good, pivot, 1.0)), 0.0))
        z.append((slopes[i] - sum(factor[i, h] * z[h] for h in range(i))) * inverse[i])
    solution = np.empty(slopes.shape)
    for i in reversed(range(k)):
        solution[i] = (z[i] - sum(factor[h, i] * solution[h] for h in range(i + 1, k))) * inverse[i]
    return solution


def swept(
    gram: FloatArray, slopes: FloatArray, coefficients: FloatArray, lower: FloatArray, upper: FloatArray
) -> FloatArray:
    """Return coefficients within bounds, after some sweeps of coordinate descent from those without."""
    low, high = lower.T[:, :, np.newaxis], upper.T[:, :, np.newaxis]
    c = np.clip(coefficients, low, high)
    if c.shape[0] == 1:
        return c
    for _ in range(SWEEPS):
        for i in range(c.shape[0]):
            rest = slopes[i] - sum(gram[i, j] * c[j] for j in range(c.shape[0]) if j != i)
            diagonal = np.where(gram[i, i] > 0.0, gram[i, i], 1.0)
            c[i] = np.clip(np.where(gram[i, i] > 0.0, rest / diagonal, c[i]), low[i], high[i])
    return c


@final
class Judge:
    """Costs of the points of a dictionary for rows of data.

    Parameters
    ----------
    dictionary : Dictionary
        With the weights that all rows share in its arrays.
    simple : bool
        Whether rows have neither weights of their own nor bounds of linear parameters.
    """

    def __init__(self, dictionary: Dictionary, simple: bool) -> None:
        self.d, self.simple = dictionary, simple
        k = dictionary.columns.shape[1]
        self.pairs = [(i, j) for i in range(k) for j in range(i + 1)]

    def ready(self, rows: Rows) -> Rows:
        """Return rows as `costs` takes them: without their part in the common space, where that is free."""
        if not self.simple:
            return rows
        y = rows.y
        return replace(rows, y=y - (y @ self.d.common) @ self.d.common.T)

    def costs(self, rows: Rows, which: IntArray) -> FloatArray:
        """Return the sums of squares, less that of y, for some points of the dictionary, shape (r, c)."""
        costs = self._simple_costs(rows.y, which) if self.simple else self._general_costs(rows, which)
        if rows.lowest is not None and rows.highest is not None:
            q = self.d.q[which]
            for j in range(q.shape[1]):
                outside = (q[:, j] < rows.lowest[:, j : j + 1]) | (q[:, j] > rows.highest[:, j : j + 1])
                costs[outside] = np.inf
        return costs

    def _simple_costs(self, y: FloatArray, which: IntArray) -> FloatArray:
        d = self.d
        basis = d.basis[which]
        c, k = basis.shape[:2]
        costs = np.zeros((y.shape[0], c))
        base = d.base[which] if d.has_base else None
        if base is not None:
            base = base - (base @ d.common) @ d.common.T
            costs += np.einsum("cm,cm->c", base, base) - 2.0 * (y @ base.T)
        for i in range(k):
            part = y @ basis[:, i].T
            if base is not None:
                part -= np.einsum("cm,cm->c", base, basis[:, i])
            costs -= part * part
        return costs

    def _general_costs(self, rows: Rows, which: IntArray) -> FloatArray:
        d, y, w = self.d, rows.y, rows.weights
        columns, base = d.columns[which], d.base[which]
        r, (c, k, _) = y.shape[0], columns.shape
        square = None if w is None else w * w
        wy = y if square is None else square * y
        gram = np.empty((k, k, r if square is not None else 1, c))
        slopes = np.empty((k, r, c))
        for i, j in self.pairs:
            product = columns[:, i] * columns[:, j]
            gram[i, j] = gram[j, i] = product.sum(axis=1) if square is None else square @ product.T
        for i in range(k):
            slopes[i] = wy @ columns[:, i].T
        costs = np.zeros((r, c))
        if d.has_base:
            costs -= 2.0 * (wy @ base.T)
            costs += (base * base).sum(axis=1) if square is None else square @ (base * base).T
            for i in range(k):
                product = columns[:, i] * base
                slopes[i] -= product.sum(axis=1) if square is None else square @ product.T
        return costs - gain_of(gram, slopes, rows.lower, rows.upper)


def choose(judge: Judge, rows: Rows) -> IntArray:
    """Return for each row the place of the best point: the best of the children of the best parents."""
    d = judge.d
    rows = judge.ready(rows)
    y = rows.y if rows.weights is None else rows.y * rows.weights
    total = np.einsum("rm,rm->r", y, y)
    total[total == 0.0] = 1.0

    def rounded(of: Rows, which: IntArray, places: Any) -> FloatArray:
        costs: FloatArray = np.round(judge.costs(of, which) / total[places, np.newaxis], DIGITS)
        costs[~np.isfinite(costs)] = np.inf
        return costs

    costs = rounded(rows, d.parents, slice(None))
    everyone = np.arange(costs.shape[0])
    best, best_cost = np.full(everyone.size, d.parents[0]), np.full(everyone.size, np.inf)
    top = np.empty((everyone.size, min(BEST, d.parents.size)), dtype=np.intp)
    for t in range(top.shape[1]):
        top[:, t] = np.argmin(costs, axis=1)
        costs[everyone, top[:, t]] = np.inf
    order = np.argsort(top, axis=None, kind="stable")
    ends = np.searchsorted(top.ravel()[order], np.arange(d.parents.size + 1))
    for parent in range(d.parents.size):
        members = order[ends[parent] : ends[parent + 1]] // top.shape[1]
        if not members.size:
            continue
        children = d.children[parent]
        costs = rounded(rows[members], children, members)
        place = np.argmin(costs, axis=1)
        cost = costs[np.arange(members.size), place]
        better = cost < best_cost[members]
        best[members[better]] = children[place[better]]
        best_cost[members[better]] = cost[better]
    return best


def linear_of(rows: Rows, base: FloatArray, columns: FloatArray) -> FloatArray:
    """Return the best linear parameters, shape (r, k), for g (r, m) and A (r, k, m) of each row."""
    y = rows.y - base
    if rows.weights is not None:
        y = y * rows.weights
        columns = columns * (rows.weights if rows.weights.ndim == 1 else rows.weights[:, np.newaxis])
    lengths = np.sqrt(np.einsum("rkm,rkm->rk", columns, columns))
    lengths[lengths == 0.0] = 1.0
    columns = columns / lengths[:, :, np.newaxis]
    gram = np.matmul(columns, columns.transpose(0, 2, 1)).transpose(1, 2, 0)[:, :, :, np.newaxis]
    slopes = np.matmul(columns, y[:, :, np.newaxis])[:, :, 0].T[:, :, np.newaxis]
    coefficients = solved(gram, slopes)
    left = slopes - np.einsum("ijrc,jrc->irc", gram, coefficients)
    coefficients = coefficients + solved(gram, left)
    if rows.lower is not None and rows.upper is not None:
        coefficients = swept(gram, slopes, coefficients, rows.lower * lengths, rows.upper * lengths)
    linear: FloatArray = coefficients[:, :, 0].T / lengths
    return linear
