"""`fit` by the kernels of a traced model, with nothing around it but the result object.

Only plain calls are taken here: arrays, a start, no options. Everything else, and every fit that does not converge,
goes the general way, which knows all checks and messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.routes import errors_are_silent, unwrapped
from nlsq.fitting.core import FitCore
from nlsq.fitting.data import CurveData
from nlsq.fitting.result import FitResult
from nlsq.fitting.task import FitTask
from nlsq.kernels import layout
from nlsq.solvers.dense import EVALUATIONS
from nlsq.solvers.least_overhead import DISAGREES, Plan, read_start
from nlsq.status import Status

FloatArray = NDArray[np.float64]
CONVERGED = [Status(code) for code in range(5)]


def fit_again(model: Callable[..., Any], x: Any, y: Any, p0: Any) -> FitResult | None:
    """Fit a model whose graph is at hand; None when it is not, or the call is not so plain.

    Parameters
    ----------
    model, x, y, p0
        See `nlsq.fit`.
    """
    model, route = unwrapped(model, "model")
    if route is None or route.latest is None or type(x) is not np.ndarray or type(y) is not np.ndarray:
        return None
    entry = route.latest
    names = entry.names
    if not names or entry.key != (x.shape, len(names)) or y.ndim != 1 or not errors_are_silent():
        return None
    if isinstance(p0, Mapping):
        if p0.keys() != set(names):
            return None
        p0 = [p0[name] for name in names]
    start = read_start(p0)
    arrays = None if start is None else entry.arrays_of(model)
    if start is None or arrays is None:
        return None
    shelf = entry.native
    try:
        plan = shelf.pop()
    except IndexError:
        plan = native_plan(entry, model, x, y, start)
    if plan is None:
        return None
    x, y = x.copy(), y.copy()
    plan.residual.binding.set_arrays(*arrays)
    params = plan.solve_data(x, y, start)
    if params is None or not 1 <= plan.status <= 4:
        shelf.append(plan)
        return None
    if entry.is_due() and not _agrees(plan, model, x, y, start, params):
        route.refuse(DISAGREES)
        return None
    iw, space = plan.space.iw, plan.space
    core = FitCore(
        FitTask(model, names, CurveData(x, y, y.shape)),
        params,
        space.w.item(layout.COST),
        CONVERGED[plan.status],
        iw.item(layout.NFEV),
        iw.item(layout.NJEV),
        iw.item(layout.NIT),
        normal=space.matrix(layout.NORMAL).copy(),
        start=start,
    )
    shelf.append(plan)
    return FitResult(core)


def native_plan(entry: Any, model: Callable[..., Any], x: FloatArray, y: FloatArray, start: FloatArray) -> Plan | None:
    """Return a plan with the defaults of `nlsq.fit`; None where the arrays are not plain."""
    from nlsq.problem.traced import traced_residual
    from nlsq.solvers import LevenbergMarquardt, Tolerances
    from nlsq.solvers.traced import plain_residual

    plain = all(one.dtype == np.float64 and one.flags.c_contiguous for one in (x, y))
    if not plain or start.shape != (entry.trace.graph.n,) or y.size != entry.trace.m:
        return None
    residual = traced_residual(entry, plain_residual(model, x, y, None), x, y)
    limit = EVALUATIONS * (start.size + 1)
    return Plan(
        residual, start, LevenbergMarquardt(), Tolerances(), limit, variables=entry.trace.variables, count_all=False
    )


def _agrees(plan: Plan, model: Callable[..., Any], x: Any, y: Any, start: FloatArray, params: FloatArray) -> bool:
    from nlsq.solvers.traced import agrees, plain_residual

    residual = plain_residual(model, x, y, None)
    return agrees(plan.residual, residual, start, x) and agrees(plan.residual, residual, params, x)
