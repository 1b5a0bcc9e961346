"""Start values of fits that have an x, or known values, of their own.

The points of a dictionary are spread for the first of them, and carried over to each x: by the kinds of the parameters
where a model has such (`carrying`), and otherwise by the ranges of x from which they were drawn, which is less sure: a
number that explains one x may explain no other. The model is called for many rows at once, with a column of parameters
and the rows of x, where that gives the same as single calls; otherwise each row is searched for itself, as a single fit
is.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.batch_starts.carrying import carried
from nlsq.fitting.batch_starts.choice import DIGITS, gain_of, linear_of
from nlsq.fitting.batch_starts.data import Batch
from nlsq.fitting.batch_starts.dictionary import Dictionary
from nlsq.fitting.batch_starts.draws import Ranges, scales_of, scales_of_rows
from nlsq.fitting.batch_starts.shapes import SAME, Shapes, called, called_together, separate
from nlsq.fitting.data import CurveData
from nlsq.fitting.parameters import Parameters
from nlsq.fitting.starts import find_starts
from nlsq.fitting.task import FitTask

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

NUMBERS = 200_000  # values of the model in one call
BEST = 3  # parents whose children are looked at
PROOFS = 6  # rows at which calls for many rows are compared with single ones


@final
@dataclass(slots=True)
class Own:
    """What some rows have for all points: weights, columns of A that depend on no parameter, sums of squares of y."""

    weights: FloatArray | None
    flat: FloatArray
    total: FloatArray

    def __getitem__(self, some: IntArray) -> Own:
        return Own(None if self.weights is None else self.weights[some], self.flat[some], self.total[some])


@final
@dataclass(slots=True)
class OwnSearch:
    """Compares points of a dictionary for rows with an x of their own.

    Attributes
    ----------
    batch : Batch
        The data.
    d : Dictionary
        Points, for another x.
    shapes, ranges : Shapes, Ranges
        Which parameters are linear, and what the shares of the points mean.
    kinds : ndarray of int, or None
        How the parameters that are not linear are carried over, where that is known; see `kinds_of`.
    """

    batch: Batch
    d: Dictionary
    shapes: Shapes
    ranges: Ranges
    kinds: IntArray | None = None

    def scales(self, rows: IntArray) -> FloatArray:
        """Return the scales of x in some rows, shape (r, axes, 4)."""
        x = self.batch.x_of(rows)
        if self.batch.shared_x:
            one = scales_of(x)
            return np.broadcast_to(one, (rows.size, *one.shape[1:]))
        parts = x if isinstance(x, tuple) else (x,)
        return np.stack([scales_of_rows(part, len(parts)) for part in parts], axis=1)

    def points(self, rows: IntArray, which: IntArray, scales: FloatArray) -> FloatArray:
        """Return all parameters, shape (r, n), with those that are not linear from points of the dictionary."""
        points, others = self.batch.template[rows], self.shapes.others
        if self.kinds is None:
            points[:, others] = self.ranges.values(self.d.draws[which], scales)
            return points
        low, span = scales_of(self.shapes.x)[0, 0, :2]
        stretch = scales[:, 0, 1:2] / span
        q = carried(self.d.q[which], self.kinds, stretch, scales[:, 0, :1] - stretch * low)
        points[:, others] = np.clip(q, self.ranges.lower, self.ranges.upper)
        return points

    def separated(self, rows: IntArray, points: FloatArray, flat: FloatArray | None) -> tuple[FloatArray, FloatArray]:
        """Return g and A for each row; `flat` has the columns of A that depend on no parameter."""
        x, m, shapes = self.batch.x_of(rows), self.shapes.m, self.shapes

        def values(points: FloatArray) -> FloatArray:
            value = called_together(self.batch.model, x, points, m)
            return np.full((rows.size, m), np.nan) if value is None else value

        if flat is None or self.d.has_base or shapes.origin[shapes.linear].any():
            return separate(values, points, shapes.linear, shapes.origin, shapes.step)
        columns = flat.copy()
        for k in self.moving():
            points[:, shapes.linear] = 0.0
            points[:, shapes.linear[k]] = shapes.step[shapes.linear[k]]
            columns[:, k] = values(points) / shapes.step[shapes.linear[k]]
        return np.zeros((rows.size, m)), columns

    def moving(self) -> IntArray:
        """Return which columns of A are not the same at all points."""
        columns = self.d.columns
        change = np.abs(columns - columns[0]).max(axis=(0, 2), initial=0.0)
        return np.flatnonzero(change > SAME * np.abs(columns).max(axis=(0, 2), initial=0.0))

    def costs(self, rows: IntArray, which: IntArray, scales: FloatArray, more: Own) -> FloatArray:
        """Return the sum of squares of each row, shape (r,), less that of y, at a point for each."""
        base, columns = self.separated(rows, self.points(rows, which, scales), more.flat)
        y, weights = self.batch.y[rows], more.weights
        if weights is not None:
            y, base, columns = y * weights, base * weights, columns * weights[:, np.newaxis]
        gram = np.matmul(columns, columns.transpose(0, 2, 1)).transpose(1, 2, 0)[:, :, :, np.newaxis]
        slopes = np.matmul(columns, (y - base)[:, :, np.newaxis])[:, :, 0].T[:, :, np.newaxis]
        data = self.batch.rows_of(rows, None, self.shapes.linear, self.shapes.others)
        cost = np.einsum("rm,rm->r", base, base - 2.0 * y) - gain_of(gram, slopes, data.lower, data.upper)[:, 0]
        cost = np.round(cost / more.total, DIGITS)
        return np.where(np.isfinite(cost), cost, np.inf)

    def choose(self, rows: IntArray, scales: FloatArray, weights: FloatArray | None) -> IntArray:
        """Return for each row the place of the best point."""
        d, size = self.d, rows.size
        first = np.full(size, d.parents[0])
        y = self.batch.y[rows] if weights is None else self.batch.y[rows] * weights
        total = np.einsum("rm,rm->r", y, y)
        flat = self.separated(rows, self.points(rows, first, scales), None)[1]
        more = Own(weights, np.nan_to_num(flat), np.where(total > 0.0, total, 1.0))
        costs = np.stack([self.costs(rows, np.full(size, p), scales, more) for p in d.parents], axis=1)
        everyone = np.arange(size)
        table = np.full((d.parents.size, max(child.size for child in d.children)), -1)
        for line, child in zip(table, d.children, strict=True):
            line[: child.size] = child
        best: IntArray = d.parents[np.argmin(costs, axis=1)]
        best_cost = costs.min(axis=1)
        for _ in range(min(BEST, d.parents.size)):
            top = np.argmin(costs, axis=1)
            costs[everyone, top] = np.inf
            for column in table.T[1:]:
                which = column[top]
                some = np.flatnonzero(which >= 0)
                if not some.size:
                    break
                cost = self.costs(rows[some], which[some], scales[some], more[some])
                better = cost < best_cost[some]
                best[some[better]], best_cost[some[better]] = which[some[better]], cost[better]
        return best

    def can_call_together(self, rows: IntArray) -> bool:
        """Whether a call for many rows gives what single calls give."""
        batch, m = self.batch, self.shapes.m
        some = np.unique(rows[np.linspace(0, rows.size - 1, PROOFS).astype(np.intp)])
        which = np.linspace(0, self.d.q.shape[0] - 1, some.size).astype(np.intp)
        points = self.points(some, which, self.scales(some))
        points[:, self.shapes.linear] = self.shapes.origin[self.shapes.linear] + self.shapes.step[self.shapes.linear]
        many = called_together(batch.model, batch.x_of(some), points, m)
        if many is None:
            return False
        single = [
            np.broadcast_to(called(batch.model, batch.x_of(int(row)), p, m), (m,))
            for row, p in zip(some, points, strict=True)
        ]
        return bool(np.allclose(np.stack(single), many, rtol=SAME, atol=0.0, equal_nan=True))

    def run(self, rows: IntArray, deadline: float | None) -> None:
        """Find the starts of rows, and keep them in the batch."""
        linear, others = self.shapes.linear, self.shapes.others
        block = max(1, NUMBERS // max(1, self.shapes.m))
        for begin in range(0, rows.size, block):
            lot = rows[begin : begin + block]
            weights, scales = self.batch.weights_of(lot), self.scales(lot)
            best = np.full(lot.size, self.d.parents[0])
            if deadline is None or time.perf_counter() < deadline:
                best = self.choose(lot, scales, weights)
            points = self.points(lot, best, scales)
            q = points[:, others]
            low, high = ((end if end.shape[0] == 1 else end[lot]) for end in (self.batch.lower, self.batch.upper))
            points[:, others] = np.clip(q, low[:, others], high[:, others])
            base, columns = self.separated(lot, points, None)
            data = self.batch.rows_of(lot, weights, linear, others)
            self.batch.keep(lot, linear, others, points[:, others], linear_of(data, base, columns))


def search_one_by_one(batch: Batch, rows: IntArray, deadline: float | None) -> None:
    """Search each row as that of a single fit."""
    n = batch.template.shape[1]
    for row in rows:
        one = np.array([row])
        low, high = ((end[0] if end.shape[0] == 1 else end[row]) for end in (batch.lower, batch.upper))
        point = np.clip(np.ones(n), low, high)
        weights = batch.weights_of(one)
        there = np.ones(batch.y.shape[1], dtype=bool) if weights is None else weights[0] != 0.0
        if there.any() and (deadline is None or time.perf_counter() < deadline):
            size = there.size
            data = CurveData(
                batch.x_of(int(row)),
                batch.y[row][there],
                (size,),
                None if weights is None else weights[0][there],
                keep=None if there.all() else there,
                omitted=size - int(there.sum()),
            )
            fixed = np.ones(n, dtype=bool)
            fixed[batch.unknown] = False
            parameters = Parameters(batch.names, batch.template[row].copy(), low, high, fixed)
            task = FitTask(batch.model, batch.names, data)
            point = find_starts(task, parameters, deadline).points[0]
        batch.keep(one, batch.unknown[:0], batch.unknown, point[np.newaxis, batch.unknown], np.empty((1, 0)))
