"""Rows of data whose start values are sought together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.batch_starts.choice import Rows
from nlsq.fitting.batch_starts.shapes import called
from nlsq.fitting.candidates import Candidates
from nlsq.fitting.starts import ALIKE, GOLDEN, LONG, POINTS_TRIED

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

SAMPLES = 1000  # points that are looked at in longer rows


@final
@dataclass(slots=True)
class Batch:
    """Data of a batch, as its search takes them.

    Attributes
    ----------
    model : callable
        ``model(x, *p)``.
    x : object
        What the model gets, or an array or tuple of arrays with one row a fit.
    shared_x : bool
        Whether it is the first.
    y : ndarray, shape (b, m)
        Zero where a value is missing.
    there : ndarray of bool, shape (b, m), or None
        Which values are not missing; None: all are there.
    weights : ndarray, shape (m,) or (b, m), or None
        Factors of the residuals.
    template : ndarray, shape (b, n)
        Known values; those of the others are found here.
    unknown : ndarray of int
        Parameters that are searched.
    lower, upper : ndarray, shape (1 or b, n)
        Bounds.
    names : tuple of str
        Names of all parameters.
    """

    model: Callable[..., Any]
    x: Any
    shared_x: bool
    y: FloatArray
    there: NDArray[np.bool_] | None
    weights: FloatArray | None
    template: FloatArray
    unknown: IntArray
    lower: FloatArray
    upper: FloatArray
    names: tuple[str, ...]

    def x_of(self, rows: Any) -> Any:
        """Return the x of one row, as its model gets it, or of several."""
        if self.shared_x:
            return self.x
        return tuple(part[rows] for part in self.x) if isinstance(self.x, tuple) else self.x[rows]

    def weights_of(self, rows: IntArray) -> FloatArray | None:
        """Return the weights of some rows, zero where values are missing; None: all are one."""
        weights = self.weights
        if weights is not None:
            weights = weights[rows] if weights.ndim == 2 else np.broadcast_to(weights, (rows.size, weights.size))
        if self.there is None:
            return weights
        there = self.there[rows].astype(np.float64)
        return there if weights is None else weights * there

    def rows_of(self, rows: IntArray, weights: FloatArray | None, linear: IntArray, others: IntArray) -> Rows:
        """Return some rows with their weights and the bounds of the linear parameters."""
        ends: list[FloatArray | None] = [None] * 4
        low, high = ((end if end.shape[0] == 1 else end[rows]) for end in (self.lower, self.upper))
        if np.isfinite(low[:, linear]).any() or np.isfinite(high[:, linear]).any():
            ends[:2] = low[:, linear], high[:, linear]
        if low.shape[0] > 1:
            ends[2:] = low[:, others], high[:, others]
        return Rows(self.y[rows], weights, *ends)

    def keep(self, rows: IntArray, linear: IntArray, others: IntArray, q: FloatArray, a: FloatArray) -> None:
        """Write what was found into the template, within bounds."""
        found = np.empty((rows.size, self.template.shape[1]))
        found[:, others], found[:, linear] = q, np.where(np.isfinite(a), a, 0.0)
        low, high = ((end if end.shape[0] == 1 else end[rows]) for end in (self.lower, self.upper))
        found = np.clip(found, low, high)
        self.template[np.ix_(rows, self.unknown)] = found[:, self.unknown]


def thin(batch: Batch) -> None:
    """Leave a part of long rows, if the model's value at a point depends on that point alone.

    The part is drawn from equal intervals, at irregular places in them, so that no period is mistaken for another.
    """
    m = batch.y.shape[1]
    parts = batch.x if isinstance(batch.x, tuple) else (batch.x,)
    by_points = all(isinstance(part, np.ndarray) and part.ndim and part.shape[-1] == m for part in parts)
    if m <= LONG or not by_points:
        return
    k = np.arange(SAMPLES)
    places = ((k + np.modf((k + 1) * GOLDEN)[0]) * (m / SAMPLES)).astype(np.intp)
    cut = tuple(part[..., places] for part in parts)
    cut_x = cut if isinstance(batch.x, tuple) else cut[0]
    whole_x, short_x = batch.x_of(0), cut_x
    if not batch.shared_x:
        short_x = tuple(part[0] for part in cut) if isinstance(cut_x, tuple) else cut[0][0]
    lower, upper = batch.lower.min(axis=0), batch.upper.max(axis=0)
    candidates = Candidates(whole_x, np.array([-1.0, 1.0]), lower[batch.unknown], upper[batch.unknown])
    point = batch.template[0].copy()
    for i in range(POINTS_TRIED):
        point[batch.unknown] = candidates.draw(i)
        whole = np.broadcast_to(called(batch.model, whole_x, point, m), (m,))[places]
        if not np.isfinite(whole).all():
            continue
        short = np.broadcast_to(called(batch.model, short_x, point, SAMPLES), whole.shape)
        if np.allclose(short, whole, rtol=ALIKE, atol=0.0):
            batch.x, batch.y = cut_x, batch.y[:, places]
            batch.there = None if batch.there is None else batch.there[:, places]
            batch.weights = None if batch.weights is None else batch.weights[..., places]
        return
