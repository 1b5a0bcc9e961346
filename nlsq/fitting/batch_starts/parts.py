"""Starts of models that are sums of parts with parameters of their own, such as several peaks.

    model = sum_k a_k phi_k(x, q_k) + common columns          each part q_k with one linear parameter

A dictionary over all q at once would have to be coarse. Here each part has its own; the point of a part is chosen
given those of the others, one part after the other and again, as in orthogonal matching pursuit with replacement [1]_:

    gain(q) = (r . phi)^2 / |phi - its projection|^2       r = y less its projection on common columns and other parts

References
----------
.. [1] P. Jain, A. Tewari and I. S. Dhillon, "Orthogonal matching pursuit with replacement", NIPS 2011.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.batch_starts.choice import DIGITS, Rows
from nlsq.fitting.batch_starts.dictionary import Dictionary, build
from nlsq.fitting.batch_starts.draws import Ranges
from nlsq.fitting.batch_starts.shapes import SAME, Shapes

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

WITNESSES = 12  # points at which the parts are told apart
KEPT = 1000  # points of a part, at most
RESTARTS = 2  # from another first point
LIKE = 0.5  # squared cosine between columns above which they are no other
SWEEPS = 3  # over the parts, after the first
DEPENDENT = 1e-4  # relative square of what is left of a column beside the others that is too little
NUMBERS = 1_000_000  # in an array over rows and points


@final
@dataclass(slots=True)
class Part:
    """A column of the model with the parameters that it depends on.

    Attributes
    ----------
    places : ndarray of int
        Which of the parameters that are not linear they are.
    q : ndarray, shape (c, p)
        Points.
    columns : ndarray, shape (c, m)
        Of unit length, weighted.
    lengths : ndarray, shape (c,)
        What they were divided by.
    place : int
        Which of the linear parameters it has.
    sign : int
        That its linear parameter must have; 0: any.
    """

    places: IntArray
    q: FloatArray
    columns: FloatArray
    lengths: FloatArray
    place: int
    sign: int


@final
@dataclass(slots=True)
class Parts:
    """The parts of a model.

    Attributes
    ----------
    parts : list of Part
        At least two.
    flat : ndarray, shape (k, m)
        The columns that depend on no parameter, weighted; zero in place of the others.
    common : ndarray, shape (d, m)
        Orthonormal rows that span them.
    """

    parts: list[Part]
    flat: FloatArray
    common: FloatArray

    def choose(self, rows: Rows) -> tuple[FloatArray, FloatArray]:
        """Return for each row values (r, others) of the parameters that are not linear, and A there, (r, k, m)."""
        block = max(1, NUMBERS // max(part.q.shape[0] for part in self.parts))
        lots = [self._choose(rows[slice(b, b + block)]) for b in range(0, rows.y.shape[0], block)]
        return np.concatenate([q for q, _ in lots]), np.concatenate([columns for _, columns in lots])

    def _choose(self, rows: Rows) -> tuple[FloatArray, FloatArray]:
        best, cost, first = self._pursue(rows, None)
        for _ in range(RESTARTS):
            other, other_cost, more = self._pursue(rows, first)
            lower = other_cost < cost * (1.0 - SAME)
            best = [np.where(lower, new, old) for new, old in zip(other, best, strict=True)]
            cost, first = np.where(lower, other_cost, cost), first + more
        best = self._sorted(best)
        q = np.empty((rows.y.shape[0], sum(part.places.size for part in self.parts)))
        columns = np.repeat(self.flat[np.newaxis], q.shape[0], axis=0)
        for which, part in zip(best, self.parts, strict=True):
            q[:, part.places] = part.q[which]
            columns[:, part.place] = part.columns[which] * part.lengths[which, np.newaxis]
        return q, columns

    def _sorted(self, best: list[IntArray]) -> list[IntArray]:
        """Put the points of parts that may be exchanged in the order of their first parameter."""
        best = list(best)
        for upto in range(len(best) - 1, 0, -1):
            for i in range(upto):
                one, next_ = self.parts[i], self.parts[i + 1]
                if one.q.shape == next_.q.shape and one.sign == next_.sign and np.array_equal(one.q, next_.q):
                    swap = one.q[best[i], 0] > one.q[best[i + 1], 0]
                    if np.allclose(one.columns, next_.columns, rtol=0.0, atol=SAME):
                        best[i], best[i + 1] = (
                            np.where(swap, best[i + 1], best[i]),
                            np.where(swap, best[i], best[i + 1]),
                        )
        return best

    def _pursue(self, rows: Rows, unlike: list[IntArray] | None) -> tuple[list[IntArray], FloatArray, list[IntArray]]:
        """Return the points of the parts, the sum of squares, and which point was the first, unlike those given."""
        w, r = rows.weights, rows.y.shape[0]
        y = rows.y if w is None else rows.y * w
        fixed = self.common if w is None else None
        chosen: dict[int, IntArray] = {}
        first: list[IntArray] = []
        for _ in range(1 + SWEEPS):
            for number, part in enumerate(self.parts):
                others = [self.parts[k].columns[place] for k, place in chosen.items() if k != number]
                basis = self._basis(others, w, r)
                avoided = [part.columns[place] for place in unlike or []] if not first else []
                chosen[number] = pick(part, basis, fixed, without(y, basis, fixed), w, avoided)
                first = first or [chosen[number]]
        rest = without(y, self._basis([self.parts[k].columns[place] for k, place in chosen.items()], w, r), fixed)
        return [chosen[k] for k in range(len(self.parts))], np.einsum("rm,rm->r", rest, rest), first

    def _basis(self, columns: list[FloatArray], w: FloatArray | None, r: int) -> list[FloatArray]:
        """Return orthonormal rows for each row of data: of the columns, and of the common ones where weights differ."""
        basis: list[FloatArray] = []
        fixed = self.common if w is None else None
        if w is not None:
            columns = [np.broadcast_to(column, (r, column.size)) for column in self.common] + columns
        for column in columns:
            v = column if w is None else column * w
            for _ in range(2):
                v = without(v, basis, fixed)
            length = np.sqrt(np.einsum("rm,rm->r", v, v))
            basis.append(
                v * np.where(length > DEPENDENT, 1.0 / np.where(length > 0.0, length, 1.0), 0.0)[:, np.newaxis]
            )
        return basis


def without(y: FloatArray, basis: list[FloatArray], common: FloatArray | None) -> FloatArray:
    """Return rows less their projections on orthonormal rows of their own and common ones."""
    if common is not None:
        y = y - (y @ common.T) @ common
    for v in basis:
        y = y - np.einsum("rm,rm->r", y, v)[:, np.newaxis] * v
    return y


def pick(
    part: Part,
    basis: list[FloatArray],
    common: FloatArray | None,
    rest: FloatArray,
    w: FloatArray | None,
    avoided: list[FloatArray],
) -> IntArray:
    """Return for each row the point of a part that lowers the sum of squares of what is left of the row most.

    Points whose columns are like those in `avoided`, shape (r, m), are not taken.
    """
    columns = part.columns
    slopes = (rest if w is None else rest * w) @ columns.T
    whole = np.ones(columns.shape[0]) if w is None else (w * w) @ (columns * columns).T
    left = whole if common is None else whole - np.square(columns @ common.T).sum(axis=1)
    for v in basis:
        left = left - np.square((v if w is None else v * w) @ columns.T)
    good = left > DEPENDENT * whole
    for column in avoided:
        good = good & (np.square(column @ columns.T) < LIKE)
    if part.sign:
        good = good & (part.sign * slopes > 0.0)
    gain = np.where(good, slopes * slopes / np.where(good, left, 1.0), -1.0)
    total = np.einsum("rm,rm->r", rest, rest)[:, np.newaxis]
    best: IntArray = np.argmax(np.round(gain / np.where(total > 0.0, total, 1.0), DIGITS), axis=1)
    return best


def parts_of(
    shapes: Shapes,
    ranges: Ranges,
    scales: FloatArray,
    weights: FloatArray | None,
    whole: Dictionary,
    depends: NDArray[np.bool_],
    lower: FloatArray,
    upper: FloatArray,
    deadline: float | None,
) -> Parts | None:
    """Return the parts of a model, each with its dictionary; None where one is empty.

    Parameters
    ----------
    shapes, ranges, scales, weights, deadline
        As for `nlsq.fitting.batch_starts.dictionary.build`.
    whole : Dictionary
        Of all parameters at once.
    depends : ndarray of bool, shape (k, others)
        As from `dependence`.
    lower, upper : ndarray, shape (n,)
        Bounds.
    """
    own = np.flatnonzero(depends.any(axis=1))
    if whole.has_base or not whole.parents.size:
        return None
    middle = whole.q[whole.parents[0]]
    parts, common = [], np.empty((0, shapes.m))
    flat, constant = np.zeros((shapes.linear.size, shapes.m)), np.flatnonzero(~depends.any(axis=1))
    for k in own:
        places = np.flatnonzero(depends[k])
        template = shapes.template.copy()
        template[shapes.others] = middle
        template[shapes.linear] = 0.0
        one = Shapes(
            shapes.model,
            shapes.x,
            shapes.m,
            template,
            shapes.linear[[*constant, int(k)]],
            shapes.others[places],
            shapes.origin,
            shapes.step,
        )
        some = Ranges(0, ranges.levels, ranges.lower[places], ranges.upper[places])
        some.kinds = ranges.kinds
        d = build(one, some, scales, weights, deadline, KEPT)
        if not d.parents.size:
            return None
        columns = d.columns[:, -1]
        lengths = np.sqrt(np.einsum("cm,cm->c", columns, columns))
        j = shapes.linear[k]
        sign = 1 if lower[j] >= 0.0 else -1 if upper[j] <= 0.0 else 0
        parts.append(Part(places, d.q, columns / lengths[:, np.newaxis], lengths, int(k), sign))
        flat[constant], common = d.columns[0, :-1], np.ascontiguousarray(d.common.T)
    return Parts(parts, flat, common)


def dependence(shapes: Shapes, ranges: Ranges, scales: FloatArray) -> NDArray[np.bool_] | None:
    """Return which columns depend on which parameters, shape (k, others), found by moving each from point to point.

    None where the model is not a sum of parts, each of one column with parameters of its own.
    """
    if shapes.linear.size < 2 or shapes.others.size < 2 or shapes.origin[shapes.linear].any():
        return None
    q = ranges.values(ranges.draw(0, WITNESSES), scales)
    _, columns = shapes.at(q)
    depends = np.zeros((columns.shape[1], q.shape[1]), dtype=bool)
    for j in range(q.shape[1]):
        moved = q.copy()
        moved[:, j] = np.roll(q[:, j], 1)
        _, other = shapes.at(moved)
        same = np.abs(other - columns) <= SAME * np.abs(columns).max(axis=2, keepdims=True)
        depends[:, j] = ~(same | ~np.isfinite(other) | ~np.isfinite(columns)).all(axis=(0, 2))
    own = depends.any(axis=1)
    return depends if own.sum() >= 2 and (depends.sum(axis=0) == 1).all() else None
