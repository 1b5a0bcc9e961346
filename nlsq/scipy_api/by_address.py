"""`curve_fit` and `leastsq` with compiled functions and traced ones: the whole call in a few numpy operations.

Only the plain call is taken here (float64 arrays, no bounds, no options beyond sigma); everything else, and every fit
that does not end in success, goes the general way, which knows SciPy's checks and messages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.routes import MANY_POINTS, Route, errors_are_silent, unwrapped
from nlsq.problem import CompiledFunction
from nlsq.scipy_api.on_route import trace_of_model
from nlsq.solvers.least_overhead import (
    DEFAULTS,
    Shelf,
    arrays_are_readable,
    fit_with,
    minpack_plan,
    plain_doubles,
    read_start,
)

FloatArray = NDArray[np.float64]
LAST_SUCCESS = 4  # statuses 1 to 4 are success
_DOUBLE = np.dtype(np.float64)
_OPTIONS = [(*DEFAULTS, 200 * (n + 1), 100.0) for n in range(64)]  # by number of parameters


def _shelf(function: CompiledFunction) -> Shelf:
    plans: dict[str, Any] = function.plans
    shelf: Shelf | None = plans.get("shelf")
    if shelf is None:
        shelf = plans["shelf"] = Shelf()
    return shelf


def _weights(sigma: Any, m: int) -> FloatArray | None:
    """Return 1 / sigma; None where sigma is not a vector of positive numbers."""
    if not plain_doubles(sigma, m) or not sigma.min() > 0.0:
        return None
    weights: FloatArray = 1.0 / sigma
    return weights


def fit_by_address(
    f: CompiledFunction, x: Any, y: Any, p0: Any, sigma: Any, absolute_sigma: bool
) -> tuple[FloatArray, FloatArray] | None:
    """Fit a compiled model; None when this is a case for the general way.

    Parameters
    ----------
    f : CompiledFunction
        Model.
    x, y : ndarray, shape (m,)
        Data, contiguous float64.
    p0 : array_like, shape (n,)
        Start.
    sigma : None or ndarray, shape (m,)
        Standard deviations, positive.
    absolute_sigma : bool
        Whether they are in the data's unit.
    """
    if f.kind != "model" or type(y) is not np.ndarray or type(x) is not np.ndarray or not arrays_are_readable():
        return None
    if x.ndim != 1 or y.ndim != 1 or y.dtype is not _DOUBLE or x.dtype is not _DOUBLE or x.shape != y.shape:
        return None
    start = read_start(p0)
    if start is None or start.shape != (f.n,) or not f.n <= min(y.size, len(_OPTIONS) - 1):
        return None
    weights = None
    if sigma is not None:
        weights = _weights(sigma, y.size)
        if weights is None:
            return None

    def make() -> Any:
        residual = f.bind_data(np.ascontiguousarray(x), np.ascontiguousarray(y), weights)
        return minpack_plan(residual, start, _OPTIONS[f.n], 1)

    plan, shelf = _shelf(f).take((y.size, f.n), make)
    fitted = plan.fit(x, y, weights, start, 1 if absolute_sigma else 0)
    status = plan.status
    shelf.append(plan)
    if fitted is None or fitted[1] is None or not 1 <= status <= LAST_SUCCESS:
        return None
    return fitted[0], fitted[1]


def fit_again(
    f: Callable[..., Any], x: Any, y: Any, p0: Any, absolute_sigma: bool
) -> tuple[FloatArray, FloatArray] | None:
    """Fit a plain model without weights whose graph is at hand; None when it is not, or the call is not so plain.

    The types and shapes of the arrays are looked at by the compiled code itself.
    """
    f, route = unwrapped(f, "model")
    if route is None or route.latest is None or type(x) is not np.ndarray or type(y) is not np.ndarray:
        return None
    entry = route.latest
    start = read_start(p0)
    if not entry.quick or start is None or entry.key != (x.shape, start.size) or not errors_are_silent():
        return None
    arrays = entry.arrays_of(f)
    if arrays is None:
        return None
    try:
        plan = entry.quick.pop()
    except IndexError:  # another thread was quicker
        return None
    fitted = fit_with(plan, entry.quick, route, entry, arrays, f, x, y, None, start, 1 if absolute_sigma else 0)
    if fitted is None or fitted[1] is None or not 1 <= fitted[2] <= LAST_SUCCESS:
        return None
    return fitted[0], fitted[1]


def fit_on_route(
    route: Route, f: Callable[..., Any], x: Any, y: Any, p0: Any, sigma: Any, absolute_sigma: bool
) -> tuple[FloatArray, FloatArray] | None:
    """Fit a plain model by the kernels of its graph; None when this is a case for the general way.

    Parameters
    ----------
    route : Route
        What is known of the function.
    f : callable
        Model.
    x, y, p0, sigma, absolute_sigma
        See `fit_by_address`; x may have rows, (k, m).
    """
    if type(y) is not np.ndarray or type(x) is not np.ndarray or y.ndim != 1:
        return None
    if not route.ready:
        if y.size < MANY_POINTS or not route.may_compile():
            return None
    if y.dtype is not _DOUBLE or x.dtype is not _DOUBLE or x.shape[-1:] != y.shape or not arrays_are_readable():
        return None
    start = read_start(p0)
    if start is None or not 0 < start.size <= min(y.size, len(_OPTIONS) - 1):
        return None
    n = start.size
    weights = None
    if sigma is not None:
        weights = _weights(sigma, y.size)
        if weights is None:
            return None
    from nlsq.solvers.traced import fit_traced

    entry = route.entry(f, (x.shape, n), lambda given=(): trace_of_model(f, x, n, given))
    arrays = None if entry is None else entry.arrays_of(f)
    if entry is None or arrays is None:
        return None
    fitted = fit_traced(route, entry, arrays, f, x, y, weights, start, _OPTIONS[n], 1 if absolute_sigma else 0)
    if fitted is None or fitted[1] is None or not 1 <= fitted[2] <= LAST_SUCCESS:
        return None
    return fitted[0], fitted[1]


def minimise_by_address(func: CompiledFunction, x0: Any) -> tuple[FloatArray, int] | None:
    """Minimise a compiled residual; ``(x, ier)``, or None when this is a case for the general way."""
    if func.kind != "residual" or not arrays_are_readable():
        return None
    start = read_start(x0)
    if start is None or not 0 < start.size < len(_OPTIONS):
        return None
    plan, shelf = _shelf(func).take(start.size, lambda: minpack_plan(func.bind(start), start, _OPTIONS[start.size]))
    if plan.residual.m < start.size:
        shelf.append(plan)
        return None
    x = plan.solve(start)
    info = _INFO.get(plan.status)
    shelf.append(plan)
    return None if info is None else (x, info)


_INFO = {1: 4, 2: 1, 3: 2, 4: 3}  # status -> MINPACK's info
