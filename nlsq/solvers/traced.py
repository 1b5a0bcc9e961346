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
from nlsq.problem.compiled_residual import CompiledResidual
from nlsq.problem.traced import traced_residual
from nlsq.solvers.least_overhead import DEFAULTS, Options, Plan, Shelf, fit_with, minpack_plan

FloatArray = NDArray[np.float64]

AGREEMENT = 1e-9  # of the largest value: kernels and NumPy round differently
BESIDE = 1e-3  # of each parameter
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
    close at `p` as rounding is there.
    """
    with np.errstate(all="ignore"):
        ours, theirs = both(kernels, residual, p, x)
        if same_values(ours, theirs):
            return True
        beside = p + BESIDE * np.where(p == 0.0, 1.0, np.abs(p))
        near, nearly = both(kernels, residual, beside, x)
        return same_values(near, nearly) and same_values(ours, theirs, size_of(nearly))


def both(
    kernels: CompiledResidual, residual: Callable[..., Any], p: FloatArray, x: Any
) -> tuple[FloatArray, FloatArray]:
    """Return the residuals of kernels and function at `p`, of a sample of the points where there are very many."""
    m = kernels.m
    ours = np.empty(m)
    kernels.into(p, ours)
    if x is not None and m > SAMPLED_ABOVE and x.shape[-1] == m:
        rows = np.linspace(0, m - 1, SAMPLE).astype(np.int64)
        return ours[rows], residual(p, rows)
    return ours, residual(p)


def size_of(values: Any) -> float:
    """Return the largest size among the finite values; 0 if there are none."""
    values = np.abs(np.asarray(values, dtype=np.float64))
    return float(values[np.isfinite(values)].max(initial=0.0))


def same_values(ours: FloatArray, theirs: Any, least_size: float = 0.0) -> bool:
    """Whether residuals are equal but for rounding, and undefined at the same places.

    `least_size` is the size from which rounding errors are counted where residuals are smaller.
    """
    theirs = np.asarray(theirs, dtype=np.float64).ravel()
    if theirs.shape != ours.shape:
        return False
    defined = np.isfinite(theirs)
    if not np.array_equal(defined, np.isfinite(ours)):
        return False
    difference = size_of(ours[defined] - theirs[defined])
    return difference <= AGREEMENT * max(size_of(theirs), least_size)
