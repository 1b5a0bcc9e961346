"""Start values for each fit of a batch, from its data, or from a function that the user gives.

    1. find the parameters that enter linearly; they follow from the others          (`nlsq.fitting.separable`)
    2. spread points of the others over the shapes that the model can take            (`dictionary`)
    3. for each row take the point at which the model, its linear parameters fitted, is closest   (`choice`)
    4. if the model is a sum of parts, such as peaks, too many for 2, choose part after part      (`parts`)

The start of a row depends on its own data and on nothing else in the batch (apart from rounding in the last digits),
with these exceptions: a model with a part that no linear parameter scales has levels and sizes of y of the whole batch
among its values; where fits have an x, or many different known values, of their own, the shapes are those of the first
row, carried over to the others (`own`), so that a start depends on which row is the first and may be worse than the one
that the row would get alone; bounds of each row are united for the dictionary; and a deadline that passes leaves the
rest of the rows with the first point. Rows are taken in blocks, so that memory does not grow with their number.

A model is called with columns as parameters where that gives the same as single calls; this makes points cheap. Of
long rows a part is looked at, if the model goes by points.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.batch_starts.carrying import kinds_of
from nlsq.fitting.batch_starts.choice import Judge, Rows, choose, linear_of
from nlsq.fitting.batch_starts.data import Batch, thin
from nlsq.fitting.batch_starts.dictionary import KEPT, Dictionary, build
from nlsq.fitting.batch_starts.draws import Ranges, scales_of
from nlsq.fitting.batch_starts.own import OwnSearch, search_one_by_one
from nlsq.fitting.batch_starts.parts import Parts, dependence, parts_of
from nlsq.fitting.batch_starts.shapes import Shapes, called
from nlsq.fitting.candidates import Candidates, axes_of
from nlsq.fitting.parameters import Parameters, index_of
from nlsq.fitting.separable import Screen
from nlsq.fitting.starts import POINTS_TRIED
from nlsq.loss import Loss

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

BLOCK = 1_000_000  # numbers in an array over rows and points, or over rows, columns and values
KEPT_OF_SUM = 512  # points of a dictionary for a sum of parts
COARSE = 0.97  # likeness of points in a dictionary below which the parts of a model are looked at by themselves
GROUPS = 16  # sets of known values for which the shapes are spread anew


def find_batch_starts(
    model: Callable[..., Any],
    x: Any,
    y: FloatArray,
    weights: FloatArray | None,
    parameters: Parameters,
    *,
    shared_x: bool,
    deadline: float | None = None,
) -> FloatArray:
    """Find values for the parameters that have no start, for each row.

    Parameters
    ----------
    model : callable
        ``model(x, *p)``, for one row.
    x : object
        What the model gets, if all rows share it; otherwise an array (b, m) or a tuple of such.
    y : ndarray, shape (b, m)
        NaN where a value is missing.
    weights : ndarray, shape (m,) or (b, m), or None
        Factors of the residuals; zero leaves a point out.
    parameters : Parameters
        Start, shape (n,) or (b, n), with NaN where it is to be found; bounds, of one of these shapes as well.
    shared_x : bool
        Which x is given.
    deadline : float, optional
        Time of ``time.perf_counter()`` at which the search is cut short.

    Returns
    -------
    ndarray, shape (b, n)
        Finite and within the bounds, known starts as they were. Rows without data have some point.
    """
    b, n = y.shape[0], len(parameters.names)
    given = np.array(np.broadcast_to(parameters.start, (b, n)))
    unknown = np.flatnonzero(np.isnan(given).any(axis=0) & ~parameters.fixed)
    if not unknown.size or not b:
        return given
    lacking = np.flatnonzero(np.isnan(given[:, unknown]).any(axis=1))
    if lacking.size < b:
        x_part = x if shared_x else tuple(part[lacking] for part in x) if isinstance(x, tuple) else x[lacking]
        low, high = (end if end.ndim == 1 else end[lacking] for end in (parameters.lower, parameters.upper))
        some = Parameters(parameters.names, given[lacking], low, high, parameters.fixed)
        weights = weights if weights is None or weights.ndim == 1 else weights[lacking]
        given[lacking] = find_batch_starts(
            model, x_part, y[lacking], weights, some, shared_x=shared_x, deadline=deadline
        )
        return given
    x, shared_x = one_x(x, shared_x)
    x, there = without_gaps(x, shared_x, np.isfinite(y))
    complete = bool(there.all())
    lower, upper = (np.atleast_2d(end) for end in (parameters.lower, parameters.upper))
    batch = Batch(
        model,
        x,
        shared_x,
        y if complete else np.where(there, y, 0.0),
        None if complete else there,
        weights,
        given.copy(),
        unknown,
        lower,
        upper,
        parameters.names,
    )
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the points are ours, and so are their overflows
        warnings.simplefilter("ignore", DeprecationWarning)  # of columns in place of numbers
        batch.template[:, unknown] = np.nan
        thin(batch)
        groups = groups_of(batch) if shared_x else None
        if groups is None:
            search_own(batch, deadline)
        else:
            for rows in groups:
                search_shared(batch, rows, deadline)
    return np.where(np.isnan(given), batch.template, given)


def one_x(x: Any, shared_x: bool) -> tuple[Any, bool]:
    """Return x as all rows share it, where all rows of it are the same."""
    if shared_x:
        return x, True
    parts = x if isinstance(x, tuple) else (x,)
    if not all((part == part[0]).all() for part in parts):
        return x, False
    return (tuple(part[0] for part in x) if isinstance(x, tuple) else x[0]), True


def without_gaps(x: Any, shared_x: bool, there: NDArray[np.bool_]) -> tuple[Any, NDArray[np.bool_]]:
    """Return x with the lowest value in place of one that is not finite, and which values of y are left then."""
    parts = []
    for part in x if isinstance(x, tuple) else (x,):
        gaps = ~np.isfinite(part) if isinstance(part, np.ndarray) and part.dtype.kind == "f" else None
        if gaps is not None and gaps.any() and part.shape[-1:] == there.shape[-1:]:
            lowest = np.nanmin(np.where(gaps, np.nan, part), axis=-1, keepdims=True)
            part = np.where(gaps, np.where(np.isfinite(lowest), lowest, 0.0), part)
            there = there & ~(gaps.any(axis=0) if shared_x and gaps.ndim > 1 else gaps)
        parts.append(part)
    return (tuple(parts) if isinstance(x, tuple) else parts[0]), there


def groups_of(batch: Batch) -> list[IntArray] | None:
    """Return the rows that have the same known values; None if there are too many groups."""
    known = np.delete(batch.template, batch.unknown, axis=1)
    if (known == known[0]).all():
        return [np.arange(known.shape[0])]
    values, group = np.unique(known, axis=0, return_inverse=True)
    if values.shape[0] > GROUPS:
        return None
    return [np.flatnonzero(group.ravel() == k) for k in range(values.shape[0])]


def shapes_of(batch: Batch, row: int) -> tuple[Shapes, Ranges]:
    """Return what evaluates the model at many points and what draws them, for the x and known values of a row."""
    x, m, unknown = batch.x_of(row), batch.y.shape[1], batch.unknown
    lower, upper = batch.lower.min(axis=0), batch.upper.max(axis=0)
    template = batch.template[row].copy()
    candidates = Candidates(x, np.array([-1.0, 1.0]), lower[unknown], upper[unknown])

    def values(p: FloatArray) -> FloatArray:
        point = template.copy()
        point[unknown] = p
        return np.array(np.broadcast_to(called(batch.model, x, point, m), (m,)))

    screen = Screen(values, np.zeros(m), lower[unknown], upper[unknown], Loss())
    screen.find_linear(candidates.draw(i) for i in range(POINTS_TRIED))
    linear, others = unknown[screen.linear], unknown[screen.others]
    origin, step = places_between(lower, upper)
    shapes = Shapes(batch.model, x, m, template, linear, others, origin, step)
    n_axes = len(axes_of(x))
    ranges = Ranges(n_axes, None, lower[others], upper[others])
    base, _ = shapes.at(ranges.values(ranges.draw(0, POINTS_TRIED), scales_of(x)))
    if base[np.isfinite(base)].any():
        y = batch.y if batch.there is None else batch.y[batch.there]
        if y.size:
            ranges = Ranges(n_axes, (float(y.min()), float(np.ptp(y))), lower[others], upper[others])
    return shapes, ranges


def places_between(lower: FloatArray, upper: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return for each parameter a place within its bounds, zero if that is one, and a step from there to another."""
    origin = np.clip(np.zeros(lower.size), lower, upper)
    below = -np.minimum(1.0, origin - lower)
    step = np.where(upper - origin >= 1.0, 1.0, np.where(upper > origin, upper - origin, below))
    return origin, np.where(step == 0.0, 1.0, step)


def search_shared(batch: Batch, rows: IntArray, deadline: float | None) -> None:
    """Find the starts of rows with the same x and known values."""
    shapes, ranges = shapes_of(batch, int(rows[0]))
    linear, others = shapes.linear, shapes.others
    common = batch.weights if batch.weights is not None and batch.weights.ndim == 1 else None
    scales = scales_of(shapes.x)
    depends = dependence(shapes, ranges, scales)
    d = build(shapes, ranges, scales, common, deadline, KEPT if depends is None else KEPT_OF_SUM)
    if not d.parents.size:
        batch.keep(rows, linear, others, np.ones((rows.size, others.size)), np.ones((rows.size, linear.size)))
        return
    parts = None
    if depends is not None and d.tolerance < COARSE:
        lower, upper = batch.lower.min(axis=0), batch.upper.max(axis=0)
        parts = parts_of(shapes, ranges, scales, common, d, depends, lower, upper, deadline)
    whole = np.ones(rows.size, dtype=bool) if batch.there is None else batch.there[rows].all(axis=1)
    own = common is None and batch.weights is not None
    for some, weighted in ((rows[whole], own), (rows[~whole], True)):
        search_block_by_block(batch, d, parts, shapes, some, weighted, deadline)


def search_block_by_block(
    batch: Batch,
    d: Dictionary,
    parts: Parts | None,
    shapes: Shapes,
    rows: IntArray,
    weighted: bool,
    deadline: float | None,
) -> None:
    """Choose points of the dictionary for rows, which have weights of their own (missing points too) or have not."""
    linear, others, (k, m) = shapes.linear, shapes.others, d.columns.shape[1:]
    common = None if batch.weights is None or batch.weights.ndim == 2 else batch.weights
    numbers = max(d.parents.size * (k * (k + 1) + 2 if weighted else 2), (k + 2) * m)
    block = max(1, BLOCK // numbers)
    for begin in range(0, rows.size, block):
        lot = rows[begin : begin + block]
        weights = None
        if weighted and common is not None:  # the others are in the dictionary
            weights = np.ones((lot.size, m)) if batch.there is None else batch.there[lot].astype(np.float64)
        elif weighted:
            weights = batch.weights_of(lot)
        data = batch.rows_of(lot, weights, linear, others)
        if common is not None:
            data.y = data.y * common
        best = np.zeros(lot.size, dtype=np.intp)
        if deadline is None or time.perf_counter() < deadline:
            best = choose(Judge(d, simple=not weighted and data.lower is None), data)
        q, base, columns = d.q[best], d.base[best], d.columns[best]
        a = linear_of(data, base, columns)
        if parts is not None and (deadline is None or time.perf_counter() < deadline):
            q, a = better(data, (q, a, columns), parts.choose(data))
        batch.keep(lot, linear, others, q, a)


def better(
    data: Rows, one: tuple[FloatArray, FloatArray, FloatArray], other: tuple[FloatArray, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Return for each row the better of two points, each q and a: the first with A, the second q and A without a."""
    (q, a, columns), (other_q, other_columns) = one, other
    other_a = linear_of(data, np.zeros(data.y.shape), other_columns)
    costs = []
    for some, shape in ((a, columns), (other_a, other_columns)):
        r = data.y - np.einsum("rk,rkm->rm", some, shape)
        r = r if data.weights is None else r * data.weights
        costs.append(np.einsum("rm,rm->r", r, r))
    second = (costs[1] <= costs[0])[:, np.newaxis]
    return np.where(second, other_q, q), np.where(second, other_a, a)


def search_own(batch: Batch, deadline: float | None) -> None:
    """Find the starts of rows that have an x or known values of their own."""
    rows = np.arange(batch.y.shape[0])
    shapes, ranges = shapes_of(batch, 0)
    d = build(shapes, ranges, scales_of(shapes.x), None, deadline)
    kinds = None if batch.shared_x else kinds_of(shapes, d, float(scales_of(shapes.x)[0, 0, 1]))
    search = OwnSearch(batch, d, shapes, ranges, kinds)
    if d.parents.size and search.can_call_together(rows):
        search.run(rows, deadline)
    else:
        search_one_by_one(batch, rows, deadline)


def start_from_callable(p0: Callable[..., Any], x: Any, y: FloatArray, names: tuple[str, ...]) -> FloatArray:
    """Return the starts that a function of the user gives for all rows, from one call.

    Parameters
    ----------
    p0 : callable
        ``p0(x, y)``, with y of shape (b, m), NaN where a value is missing, and x as the model gets it or, where each
        fit has its own, with one row a fit. It returns an array of shape (b, n), or (n,) for all rows, or a dict by
        name of numbers and arrays (b,), in which None leaves a parameter to be found from the data.
    x, y : object, ndarray
        As above.
    names : tuple of str
        Names of the parameters.

    Returns
    -------
    ndarray, shape (b, n)
        NaN where the start is to be found from the data: where a dict says None, and in rows without data.

    Raises
    ------
    ValueError, TypeError
        If what it returned has another shape or an entry that is no finite number.
    """
    b, n = y.shape[0], len(names)
    try:
        value = p0(x, y)
    except Exception as error:
        error.add_note(f"p0 was called once for all fits, as p0(x, Y) with Y of shape {y.shape}, one row a fit.")
        raise
    listed = f"one row a fit, one column a parameter ({', '.join(names)})"
    start = np.full((b, n), np.nan)
    asked = np.zeros(n, dtype=bool)
    if isinstance(value, Mapping):
        lacking = [name for name in names if name not in value]
        for name, numbers in value.items():
            j = index_of(names, name, "p0")
            if numbers is None:
                asked[j] = True
            else:
                column = doubles(numbers, f"p0 returned for {name!r}")
                if column.shape not in ((), (b,)):
                    raise ValueError(
                        f"p0 returned shape {column.shape} for {name!r}, expected a number or {(b,)}: one a fit."
                    )
                start[:, j] = column
        if lacking:
            raise ValueError(
                f"p0 returned no start for {', '.join(lacking)}; add it, or give None as its value to have it found "
                "from the data."
            )
    else:
        array = doubles(value, "p0 returned")
        if array.shape not in ((b, n), (n,)):
            hint = " (that is its transpose)" if array.shape == (n, b) else ""
            raise ValueError(f"p0 returned shape {array.shape}{hint}, expected {(b, n)} or {(n,)}: {listed}.")
        start[:] = array
    wrong = ~np.isfinite(start) & ~asked
    if wrong.any():
        empty = np.logical_not(np.isfinite(y).any(axis=1))
        start[empty] = np.where(wrong[empty], np.nan, start[empty])
        wrong[empty] = False
    if wrong.any():
        row, j = divmod(int(np.argmax(wrong)), n)
        raise ValueError(
            f"p0 returned {start[row, j]} for {names[j]} in row {row}; it must be finite, or None for a parameter in a "
            "dict by name to have it found from the data."
        )
    return start


def doubles(value: Any, what: str) -> FloatArray:
    """Return an array of real numbers.

    Raises
    ------
    TypeError
        If it is none.
    """
    try:
        array = np.asarray(value)
        if value is None or (array.dtype.kind not in "buif" and array.dtype != object):
            raise TypeError
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{what} {type(value).__name__}; it must be real numbers: an array, or a dict by name."
        ) from error
