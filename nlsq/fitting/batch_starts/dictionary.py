"""Shapes that a model can take, spread evenly: what the starts of a batch of fits are chosen from.

    model(x, a, q) = g(q) + A(q) a        linear parameters a, others q

With the linear parameters free, the data at q are explained by the space of A(q), and two points q are alike where
these spaces are. Points are drawn from what x suggests (`nlsq.fitting.batch_starts.draws`), and one is kept if no kept
one is alike. Then parts of kept points are put together to new ones, which draws more from the kinds of values that
matter for this model. A second, coarser choice among those kept gives each one a parent.  The dictionary depends on the
model, x, and the bounds and weights that all rows share; not on y, unless the model has a part g(q) that no linear
parameter scales, for which levels and sizes of y are drawn as well.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.batch_starts.draws import Draws, Ranges
from nlsq.fitting.batch_starts.shapes import SAME, Shapes

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

ROUND = 2048  # points drawn before parts of those kept are put together
ROUNDS = 4  # with positive numbers alone, and as many with both signs
AT_ONCE = 256  # points at which the model is evaluated together
ALIKE = 0.9999  # squared cosine between the spaces of two points that need not both be kept
LOOSER = 1.5  # by how much the difference from one grows when too many are kept
ROOM = 0.7  # of the points that may be kept, after that
FAMILY = 0.75  # the same for parents
KEPT, PARENTS = 2048, 256  # at most
NUMBERS = 8_000_000  # in the arrays of a dictionary, at most
FEW = 0.01  # share of a round that must be new for another round
DEGENERATE = 1e-6  # relative length of a column beside the others that is none
NEGLIGIBLE = 1e-30  # relative square of the length of a column, beside those at other points, that is none


@final
@dataclass(slots=True)
class Dictionary:
    """Points and the shapes of the model there.

    Attributes
    ----------
    draws : Draws
        c points.
    q : ndarray, shape (c, others)
        Their values.
    base, columns : ndarray, shape (c, m) and (c, k, m)
        g and A, weighted.
    common : ndarray, shape (m, d)
        Orthonormal columns that span those of A that are the same at all points.
    basis : ndarray, shape (c, k - d, m)
        Orthonormal rows that span the rest of A, beside the common ones.
    parents : ndarray of int
        Points that stand for others.
    children : list of ndarray of int
        For each parent the points that it stands for, itself first.
    has_base : bool
        Whether g is not zero.
    tolerance : float
        Likeness from which points count as alike.
    """

    draws: Draws
    q: FloatArray
    base: FloatArray
    columns: FloatArray
    common: FloatArray
    basis: FloatArray
    parents: IntArray
    children: list[IntArray]
    has_base: bool
    tolerance: float = ALIKE


def build(
    shapes: Shapes,
    ranges: Ranges,
    scales: FloatArray,
    weights: FloatArray | None,
    deadline: float | None,
    at_most: int = KEPT,
) -> Dictionary:
    """Return points at which the model has different shapes.

    Parameters
    ----------
    shapes, ranges : Shapes, Ranges
        What evaluates, and what draws.
    scales : ndarray
        As from `scales_of`.
    weights : ndarray, shape (m,), or None
        Of all rows.
    deadline : float or None
        Time of ``time.perf_counter()`` at which no more points are looked at.
    at_most : int
        Points.

    Returns
    -------
    Dictionary
        Without points where the model has values nowhere.
    """
    k, m = shapes.linear.size, shapes.m
    limit = max(PARENTS, min(at_most, NUMBERS // max(1, (2 * k + 1) * m)))
    tolerance = ALIKE
    kept, drawn = nothing(ranges, k, m), 0
    for signed in (False, True):  # points without negative numbers and rates come first, and so are preferred
        for round_ in range(ROUNDS if shapes.others.size else 1):
            count, before = ROUND if shapes.others.size else 1, kept.q.shape[0]
            draws = ranges.cross(kept.draws, drawn, count) if round_ and before else ranges.draw(drawn, count)
            draws.negative &= signed
            if drawn == 0:
                shapes.prove(ranges.values(draws[:AT_ONCE], scales))
            drawn += count
            for begin in range(0, count, AT_ONCE):
                if deadline is not None and time.perf_counter() >= deadline:
                    return with_parents(kept)
                lot = draws[begin : begin + AT_ONCE]
                kept = thinned(kept, looked_at(shapes, lot, ranges.values(lot, scales), weights, kept), tolerance)
                if kept.q.shape[0] > limit:
                    kept, tolerance = loosened(kept, limit, tolerance)
            if kept.q.shape[0] - before < FEW * count:
                break
    kept.tolerance = tolerance
    return with_parents(upright(shapes, ranges, scales, kept))


def upright(shapes: Shapes, ranges: Ranges, scales: FloatArray, kept: Dictionary) -> Dictionary:
    """Take parameters positive where their sign makes no difference."""
    for j in range(kept.q.shape[1] if kept.q.shape[0] else 0):
        turned = kept.q.copy()
        turned[:, j] = np.abs(turned[:, j])
        some = np.flatnonzero((turned[:, j] != kept.q[:, j]) & kept.draws.negative[:, j])
        some = some[turned[some, j] <= ranges.upper[j]]
        if not some.size:
            continue
        (base, columns), (base_turned, columns_turned) = shapes.at(kept.q[some]), shapes.at(turned[some])
        difference = np.abs(base_turned - base).max(axis=1)
        difference += np.abs(columns_turned - columns).max(axis=(1, 2), initial=0.0)
        size = np.abs(base).max(axis=1) + np.abs(columns).max(axis=(1, 2), initial=0.0)
        same = some[difference <= SAME * size]
        kept.q[same], kept.draws.negative[same, j] = turned[same], False
    return kept


def nothing(ranges: Ranges, k: int, m: int) -> Dictionary:
    """Return an empty dictionary."""
    q = np.empty((0, ranges.lower.size))
    draws = Draws(q.astype(np.intp), q, q.astype(bool))
    columns = np.empty((0, k, m))
    return Dictionary(draws, q, np.empty((0, m)), columns, np.empty((m, 0)), columns, np.empty(0, np.intp), [], False)


def looked_at(shapes: Shapes, draws: Draws, q: FloatArray, weights: FloatArray | None, kept: Dictionary) -> Dictionary:
    """Return a dictionary of the points among `q` where the model has values and its columns are independent."""
    base, columns = shapes.at(q)
    if weights is not None:
        base, columns = base * weights, columns * weights
    sizes = np.einsum("ckm,ckm->ck", columns, columns)
    finite = np.isfinite(base).all(axis=1) & np.isfinite(sizes).all(axis=1)
    if finite.any():
        finite &= (sizes > NEGLIGIBLE * np.median(sizes[finite], axis=0)).all(axis=1)
    draws, q, base, columns = draws[finite], q[finite], base[finite], columns[finite]
    common = kept.common
    if not kept.q.shape[0] and q.shape[0]:
        common = common_space(columns)
    basis, lengths = orthonormal(columns, common)
    full = (lengths > DEGENERATE).sum(axis=1) >= columns.shape[1] - common.shape[1]
    if full.any():
        draws, q = draws[full], q[full]
        base, columns, basis, lengths = base[full], columns[full], basis[full], lengths[full]
    order = np.argsort(lengths <= DEGENERATE, axis=1, kind="stable")[:, : columns.shape[1] - common.shape[1]]
    basis = np.take_along_axis(basis, order[:, :, np.newaxis], axis=1)
    has_base = kept.has_base or bool(base.any())
    return Dictionary(draws, q, base, columns, common, basis, kept.parents, [], has_base)


def common_space(columns: FloatArray) -> FloatArray:
    """Return orthonormal columns (m, d) that span those columns that are the same at all points, (c, k, m)."""
    c, _, m = columns.shape
    size = np.abs(columns).max(axis=(0, 2), initial=0.0)
    same = np.abs(columns - columns[0]).max(axis=(0, 2), initial=0.0) <= SAME * size
    if c < 2:
        return np.empty((m, 0))
    basis, lengths = orthonormal(columns[:1, same], np.empty((m, 0)))
    return np.ascontiguousarray(basis[0, lengths[0] > DEGENERATE].T)


def orthonormal(columns: FloatArray, common: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return rows (c, k, m) that are orthogonal to each other and to common ones, and their relative lengths before."""
    basis, lengths = np.zeros(columns.shape), np.zeros(columns.shape[:2])
    whole = np.sqrt(np.einsum("ckm,ckm->ck", columns, columns))
    for k in range(columns.shape[1]):
        v = columns[:, k] / np.where(whole[:, k] > 0.0, whole[:, k], 1.0)[:, np.newaxis]
        for _ in range(2):  # twice is enough for orthogonality
            v = v - (v @ common) @ common.T
            for i in range(k):
                v = v - np.einsum("cm,cm->c", v, basis[:, i])[:, np.newaxis] * basis[:, i]
        length = np.sqrt(np.einsum("cm,cm->c", v, v))
        good = length > DEGENERATE
        lengths[:, k] = np.where(good, length, 0.0)
        basis[:, k] = np.where(good, 1.0 / np.where(good, length, 1.0), 0.0)[:, np.newaxis] * v
    return basis, lengths


def likeness(one: Dictionary, other: Dictionary) -> NDArray[np.float32]:
    """Return how alike the shapes at the points of two dictionaries are, from 0 to 1, shape (c, d)."""
    (c, k, m), d = one.basis.shape, other.basis.shape[0]
    alike = np.ones((c, d), dtype=np.float32)
    for begin in range(0, c, AT_ONCE):
        lot = slice(begin, begin + AT_ONCE)
        if k:
            cosines = one.basis[lot].reshape(-1, m) @ other.basis.reshape(d * k, m).T
            alike[lot] = (cosines.reshape(-1, k, d, k) ** 2).sum(axis=(1, 3)) / k
        if one.has_base or other.has_base:
            base = one.base[lot]
            norms = np.einsum("cm,cm->c", base, base)[:, np.newaxis], np.einsum("cm,cm->c", other.base, other.base)
            larger = np.maximum(*norms)
            distance = norms[0] + norms[1] - 2.0 * base @ other.base.T
            alike[lot] = np.minimum(alike[lot], 1.0 - distance / np.where(larger > 0.0, larger, 1.0))
    return alike


def thinned(kept: Dictionary, more: Dictionary, tolerance: float) -> Dictionary:
    """Return the kept points and those of the others that are not like one kept before."""
    if kept.q.shape[0] and more.q.shape[0]:
        more = selected(more, np.flatnonzero(likeness(more, kept).max(axis=1) < tolerance))
    added = selected(more, spread(likeness(more, more) >= tolerance))
    if not kept.q.shape[0]:
        return added
    return Dictionary(
        kept.draws.joined(added.draws),
        np.concatenate((kept.q, added.q)),
        np.concatenate((kept.base, added.base)),
        np.concatenate((kept.columns, added.columns)),
        kept.common,
        np.concatenate((kept.basis, added.basis)),
        kept.parents,
        [],
        kept.has_base or added.has_base,
    )


def spread(alike: NDArray[np.bool_]) -> IntArray:
    """Return the first points that are not alike."""
    chosen: list[int] = []
    covered = np.zeros(alike.shape[0], dtype=bool)
    for place, row in enumerate(alike):
        if not covered[place]:
            chosen.append(place)
            covered |= row
    return np.array(chosen, dtype=np.intp)


def selected(whole: Dictionary, which: IntArray) -> Dictionary:
    """Return the points at some places."""
    base, columns, basis = whole.base[which], whole.columns[which], whole.basis[which]
    parents, has_base = whole.parents, whole.has_base
    return Dictionary(whole.draws[which], whole.q[which], base, columns, whole.common, basis, parents, [], has_base)


def loosened(kept: Dictionary, limit: int, tolerance: float) -> tuple[Dictionary, float]:
    """Return fewer points, and the tolerance by which they are not alike."""
    alike = likeness(kept, kept)
    chosen = np.arange(kept.q.shape[0])
    while chosen.size > ROOM * limit:
        tolerance = 1.0 - LOOSER * (1.0 - tolerance)
        chosen = spread(alike >= tolerance)
    return selected(kept, chosen), tolerance


def with_parents(whole: Dictionary) -> Dictionary:
    """Choose those that stand for others, and bring each point to the parent that it is most alike."""
    if not whole.q.shape[0]:
        return whole
    alike, tolerance = likeness(whole, whole), FAMILY
    parents = spread(alike >= tolerance)
    while parents.size > PARENTS:
        tolerance *= 0.9
        parents = spread(alike >= tolerance)
    alike[parents, parents] = np.inf
    nearest = np.argmax(alike[:, parents], axis=1)
    whole.parents, whole.children = parents, []
    for k, parent in enumerate(parents):
        others = np.flatnonzero(nearest == k)
        whole.children.append(np.concatenate(([parent], others[others != parent])))
    return whole
