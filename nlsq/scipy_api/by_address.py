"""`curve_fit` and `leastsq` for compiled functions: the whole call in a few numpy operations.

Only the plain call is taken here (float64 arrays, no bounds, no options beyond sigma); everything else, and every fit
that does not end in success, goes the general way, which knows SciPy's checks and messages.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.problem import CompiledFunction
from nlsq.solvers.least_overhead import borrow_plan, plain_doubles

FloatArray = NDArray[np.float64]
FTOL = XTOL = 1.49012e-8  # SciPy's defaults
LAST_SUCCESS = 4  # statuses 1 to 4 are success


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
    if f.kind != "model" or not plain_doubles(y) or not plain_doubles(x, y.size):
        return None
    start = np.asarray(p0, dtype=np.float64)
    if start.shape != (f.n,) or f.n > y.size:
        return None
    weights = None
    if sigma is not None:
        if not plain_doubles(sigma, y.size) or not sigma.min() > 0.0:
            return None
        weights = 1.0 / sigma
    options = (FTOL, XTOL, 0.0, 200 * (f.n + 1), 100.0)
    plan, shelf = borrow_plan(f, y.size, start, lambda: f.bind_data(x, y, weights), options)
    fitted = None
    if plan.set_data(x, y, weights):
        popt = plan.solve(start)
        if 1 <= plan.status <= LAST_SUCCESS:
            pcov = plan.covariance(absolute_sigma)
            if pcov is not None:
                fitted = popt, pcov
    shelf.append(plan)
    return fitted


def minimise_by_address(func: CompiledFunction, x0: Any) -> tuple[FloatArray, int] | None:
    """Minimise a compiled residual; ``(x, ier)``, or None when this is a case for the general way."""
    if func.kind != "residual":
        return None
    start = np.asarray(x0, dtype=np.float64)
    if start.ndim != 1 or start.size == 0:
        return None
    options = (FTOL, XTOL, 0.0, 200 * (start.size + 1), 100.0)
    plan, shelf = borrow_plan(func, 0, start, lambda: func.bind(start), options)
    if plan.residual.m < start.size:
        shelf.append(plan)
        return None
    x = plan.solve(start)
    info = _INFO.get(plan.status)
    shelf.append(plan)
    return None if info is None else (x, info)


_INFO = {1: 4, 2: 1, 3: 2, 4: 3}  # status -> MINPACK's info
