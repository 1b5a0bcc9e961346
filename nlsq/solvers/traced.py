"""Solving with the kernels of a traced function, with least overhead.

A graph was recorded by calling the function once on symbols. That it computes what the function does is not taken for
granted: at its first uses, and then ever more seldom, its residuals are compared with the function's own at the start
and at the solution, on the real data. Where they differ the function is called plainly from then on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.entries import Arrays, Entry
from nlsq.compiler.routes import Route
from nlsq.compiler.tracing.trace import is_by_points
from nlsq.problem.compiled_residual import CompiledResidual
from nlsq.problem.traced import traced_residual
from nlsq.solvers.least_overhead import DEFAULTS, Options, Plan, Shelf, fit_with, minpack_plan

FloatArray = NDArray[np.float64]

AGREEMENT = 1e-9  # of the largest value of a block of rows: kernels and NumPy round differently
LEAST = 1e-16  # of the largest value of all and of the parameters: less is nothing but rounding
BESIDE = 1e-3  # of each parameter, or of 1
SAMPLED_ABOVE = 100_000  # points from which a model is compared on a sample of them
SAMPLE = 4096


def shelf_of(entry: Entry) -> Shelf:
    """Return the plans of a traced function."""
    if entry.plans is None:
        entry.plans = Shelf()
    shelf: Shelf = entry.plans
    return shelf


def fit_traced(
    route: Route, entry: Entry, arrays: Arrays, function: Callable[..., Any], x: Any, y: FloatArray, weights: Any,
    start: FloatArray, options: Options, absolute: int,
) -> tuple[FloatArray, FloatArray | None, int] | None:  # fmt: skip
    """Fit a traced model by Levenberg-Marquardt.

    Parameters
    ----------
    route, entry, arrays : Route, Entry, Arrays
        What is known of the function, its graph, and the arrays that it reads.
    function : callable
        The model.
    x, y, weights, start : ndarray
        See `Plan.fit`.
    options : tuple
        ``ftol, xtol, gtol, maxfev, factor``.
    absolute : {0, 1}
        See `Plan.fit`.

    Returns
    -------
    params, covariance, status
        None where the arrays are not plain, or the graph turns out not to be the function.
    """
    shelf = entry.quick
    if weights is None and options[:3] == DEFAULTS:
        try:
            plan = shelf.pop()
        except IndexError:
            plan = _new_plan(entry, function, x, y, weights, start, options)
    else:
        plan, shelf = shelf_of(entry).take(
            (weights is None, options), lambda: _new_plan(entry, function, x, y, weights, start, options)
        )
    return fit_with(plan, shelf, route, entry, arrays, function, x, y, weights, start, absolute)


def _new_plan(
    entry: Entry, function: Callable[..., Any], x: Any, y: Any, weights: Any, start: FloatArray, options: Options
) -> Plan:
    residual = traced_residual(entry, plain_residual(function, x, y, weights), x, y, weights)
    return minpack_plan(residual, start, options, entry.trace.variables)


def plain_residual(function: Callable[..., Any], x: Any, y: Any, weights: Any) -> Callable[..., Any]:
    """Return the residual as a Python function, on some rows of the data where they are given."""

    def residual(p: FloatArray, rows: Any = None) -> Any:
        if rows is None:
            r = np.asarray(function(x, *p)).ravel() - y
            return r if weights is None else r * weights
        r = np.asarray(function(x[..., rows], *p)).ravel() - y[rows]
        return r if weights is None else r * weights[rows]

    return residual


def agrees(kernels: CompiledResidual, residual: Callable[..., Any], p: FloatArray, x: Any = None) -> bool:
    """Whether kernels and function give the same residuals at `p`, as far as rounding goes.

    Where residuals nearly vanish rounding is all that there is: then they are compared beside `p`, and have to be as
    close at `p` as rounding is there. A model that is elementwise is called on a sample of very many points; one that
    is not what its graph is shows there, or is compared in full.
    """
    with np.errstate(all="ignore"):
        rows = _sample(kernels, x)
        if rows is not None:
            try:
                if _agree(kernels, residual, p, rows):
                    return True
            except Exception:  # the function was not written for other points
                pass
        return _agree(kernels, residual, p, None)


def _agree(kernels: CompiledResidual, residual: Callable[..., Any], p: FloatArray, rows: Any) -> bool:
    blocks = _blocks(kernels) if rows is None else []
    ours, theirs = both(kernels, residual, p, rows)
    least = LEAST * max(size_of(theirs), size_of(p))
    if same_values(ours, theirs, blocks, least):
        return True
    rough = np.where(np.random.default_rng(0).random(p.size) < 0.5, -1.0, 1.0)
    # the second for parameters that are zero but for rounding, the third for differences of neighbours, which a smooth
    # change lets cancel
    for least_size, signs in ((0.0, 1.0), (1.0, 1.0), (1.0, rough)):
        beside = p + BESIDE * signs * np.maximum(np.abs(p), least_size)
        near, nearly = both(kernels, residual, beside, rows)
        if same_values(near, nearly, blocks, least) and same_values(ours, theirs, blocks, least, nearly):
            return True
    return False


def both(kernels: CompiledResidual, residual: Callable[..., Any], p: FloatArray, rows: Any) -> tuple[FloatArray, Any]:
    """Return the residuals of kernels and function at `p`, of some rows where they are given."""
    ours = np.empty(kernels.m)
    kernels.into(p, ours)
    if rows is None:
        return ours, np.asarray(residual(p), dtype=np.float64).ravel()
    return ours[rows], np.asarray(residual(p, rows), dtype=np.float64).ravel()


def _sample(kernels: CompiledResidual, x: Any) -> Any:
    """Return rows to compare instead of all; None where each row may depend on more than its own x."""
    m = kernels.m
    if x is None or m <= SAMPLED_ABOVE or x.shape[-1] != m:
        return None
    if not is_by_points(kernels.binding.trace):
        return None
    return np.linspace(0, m - 1, SAMPLE).astype(np.int64)


def _blocks(kernels: CompiledResidual) -> list[Any]:
    """Return the rows of each block of the output; none where there is but one."""
    segments = kernels.binding.trace.segments
    blocks = []
    for one in segments if len(segments) > 1 else ():
        shape = one.shape or (1,)
        blocks.append(one.offset + np.tensordot(np.array(one.strides or (1,)), np.indices(shape), axes=1).ravel())
    return blocks


def size_of(values: Any) -> float:
    """Return the largest size among the finite values; 0 if there are none."""
    values = np.abs(np.asarray(values, dtype=np.float64))
    return float(values[np.isfinite(values)].max(initial=0.0))


def same_values(ours: FloatArray, theirs: FloatArray, blocks: list[Any], least: float, sizes: Any = None) -> bool:
    """Whether residuals are equal but for rounding, and NaN or infinite at the same places.

    Each of the blocks of rows has a size of its own, the larger of its values in `theirs` and in `sizes`.
    """
    if theirs.shape != ours.shape:
        return False
    defined = np.isfinite(theirs)
    if not np.array_equal(ours[~defined], theirs[~defined], equal_nan=True) or not np.isfinite(ours[defined]).all():
        return False
    for rows in blocks or [slice(None)]:
        a, b, finite = ours[rows], theirs[rows], defined[rows]
        size = size_of(b) if sizes is None else max(size_of(b), size_of(sizes[rows]))
        if size_of(a[finite] - b[finite]) > max(AGREEMENT * size, least):
            return False
    return True
