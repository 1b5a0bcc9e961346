"""What a `Model` does where nothing is compiled: the function is called, and its graph differentiated by NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.interpret import jacobian
from nlsq.problem import LeastSquaresProblem
from nlsq.solvers import LevenbergMarquardt, MoreRadius, Tolerances, drive
from nlsq.solvers.traced import plain_residual
from nlsq.status import Status
from nlsq.uncertainty.covariance import covariance_from_triangle, upper_triangle

if TYPE_CHECKING:
    from nlsq.compiler.entries import Entry
    from nlsq.solvers.least_overhead import Options

FloatArray = NDArray[np.float64]
WITHOUT_VALUES = (Status.NONFINITE_START, Status.NONFINITE_JACOBIAN)


def fit_called(
    entry: Entry, function: Any, x: Any, y: Any, weights: Any, start: FloatArray, options: Options, absolute: int
) -> tuple[FloatArray, FloatArray | None, int] | None:
    """Fit a model as its kernels would; see `nlsq.solvers.traced.fit_traced`."""
    trace, n = entry.trace, start.size
    if not (_is_plain(x, x.shape) and np.isfinite(x).all() and _is_plain(y, (trace.m,))):
        return None
    if weights is not None and not _is_plain(weights, (trace.m,)):
        return None
    ftol, xtol, gtol, limit, factor = options
    problem = LeastSquaresProblem(
        plain_residual(function, x, y, weights), start, jac=lambda p: jacobian_of(entry, p, x, weights)
    )
    solver = LevenbergMarquardt(damping=MoreRadius(factor=factor))
    tolerances = Tolerances(cost=ftol, step=xtol, optimality=gtol, rule="minpack")
    with np.errstate(all="ignore"):
        solved = drive(problem, solver, tolerances, max_evaluations=limit)
    matrix = None
    if solved.status not in WITHOUT_VALUES and trace.m >= n and (absolute or trace.m > n):
        matrix = covariance_from_triangle(upper_triangle(np.asarray(solved.jac)))
    if matrix is not None and not absolute:
        matrix *= 2.0 * solved.cost / (trace.m - n)
    return solved.x, matrix, int(solved.status)


def residual_of(model: Any, entry: Entry, p: FloatArray, x: Any, y: Any, weights: Any) -> FloatArray:
    """Return ``w (f(x, p) - y)``, or ``f(p)`` of a residual, by calling the function."""
    with np.errstate(all="ignore"):
        value = model.function(p.copy()) if model.kind == "residual" else model.function(x, *p)
    residual = np.array(np.broadcast_to(value, entry.trace.shape), dtype=np.float64).ravel()
    residual = residual if y is None else residual - y
    return residual if weights is None else residual * weights


def jacobian_of(entry: Entry, p: FloatArray, x: Any = None, weights: Any = None) -> FloatArray:
    """Return the exact derivatives of ``w f(x, p)``, shape (m, n)."""
    trace = entry.trace
    rows = [] if x is None else [x] if trace.variables == 1 else list(x)
    data = [*rows[: trace.variables], *entry.arrays[0]]
    jac = jacobian(trace, p, data if len(data) == len(trace.graph.data) else None)
    return jac if weights is None else jac * np.asarray(weights)[:, np.newaxis]


def _is_plain(array: Any, shape: tuple[int, ...]) -> bool:
    """Whether kernels would read an array in place."""
    return (
        type(array) is np.ndarray
        and array.shape == shape
        and array.dtype == np.float64
        and bool(array.flags.c_contiguous)
    )
