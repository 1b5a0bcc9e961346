"""`least_squares` and `leastsq` by the kernels of a traced residual, with nothing around them but SciPy's result.

Only plain calls are taken here; everything else, and every solve that does not end in success, goes the general way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.entries import Arrays, Entry
from nlsq.compiler.routes import Route, errors_are_silent
from nlsq.kernels import layout
from nlsq.problem.compiled_residual import CompiledResidual
from nlsq.scipy_api.messages import LEAST_SQUARES_MESSAGES, LEAST_SQUARES_STATUS, MINPACK_INFO
from nlsq.solvers import Tolerances, TrustRegionReflective
from nlsq.solvers.least_overhead import DEFAULTS, DISAGREES, Plan, arrays_are_readable, minpack_plan, read_start

FloatArray = NDArray[np.float64]

MOST_PARAMETERS = 31  # the compiled loop leaves larger normal matrices to BLAS, in Python
LAST_SUCCESS = 4
EPS = float(np.finfo(np.float64).eps)


def entry_on_route(
    route: Route, fun: Callable[..., Any], n: int, args: tuple[Any, ...]
) -> tuple[Entry, Arrays] | tuple[None, None]:
    """Return the graph of a residual function and the arrays that it reads, None where it has to be called."""
    if not route.ready or not 0 < n <= MOST_PARAMETERS or not arrays_are_readable() or not errors_are_silent():
        return None, None
    entry = route.latest
    key = n, len(args)
    arrays = None if entry is None or entry.key != key else entry.arrays_of(fun, args)
    if arrays is None:
        from nlsq.compiler.tracing.trace import trace_residual

        entry = route.entry(fun, key, lambda given=(): trace_residual(fun, n, args, given), args)
        arrays = None if entry is None else entry.arrays_of(fun, args)
    if entry is None or arrays is None or len(entry.trace.shape) != 1:
        return None, None
    return entry, arrays


def least_squares_on_route(
    route: Route, fun: Callable[..., Any], x0: Any, args: tuple[Any, ...], tolerances: tuple[Any, ...], max_nfev: Any
) -> dict[str, Any] | None:
    """Minimise a residual by trust-region reflective without bounds; fields of SciPy's result.

    None when this is a case for the general way.

    Parameters
    ----------
    route : Route
        What is known of the function.
    fun, x0, args, max_nfev
        See `least_squares`.
    tolerances : tuple
        ``ftol, xtol, gtol``.
    """
    start = read_start(x0)
    if start is None:
        return None
    entry, arrays = entry_on_route(route, fun, start.size, args)
    if entry is None or arrays is None or entry.trace.m < start.size:
        return None
    key = tolerances, max_nfev
    plans = entry.plans
    if plans is None:
        from nlsq.solvers.traced import shelf_of

        plans = shelf_of(entry)
    ftol, xtol, gtol = tolerances
    if type(ftol) is not float or type(xtol) is not float or type(gtol) is not float:
        return None
    if not (ftol > EPS and xtol > EPS and gtol > EPS):
        return None
    if max_nfev is not None and not max_nfev > 0:
        return None
    plan, shelf = plans.take(key, lambda: _reflective_plan(entry, fun, args, start, tolerances, max_nfev))
    plan.residual.binding.set_arrays(*arrays)
    x = plan.solve(start)
    if not 1 <= plan.status <= LAST_SUCCESS or (entry.is_due() and _disagrees(route, plan, fun, args, start, x)):
        shelf.append(plan)
        return None
    result = _outcome(plan, x)
    shelf.append(plan)
    return result


def _reflective_plan(
    entry: Entry,
    fun: Callable[..., Any],
    args: tuple[Any, ...],
    start: FloatArray,
    tolerances: tuple[Any, ...],
    limit: Any,
) -> Plan:
    from nlsq.problem.traced import traced_residual

    residual = traced_residual(entry, lambda p: fun(p, *args))
    ftol, xtol, gtol = tolerances
    rules = Tolerances(cost=ftol, step=xtol, optimality=gtol, rule="scipy")
    most = 100 * start.size if limit is None else int(np.ceil(limit))
    ones = np.ones(start.size)
    return Plan(residual, start, TrustRegionReflective(), rules, most, count_all=False, scale=ones)


def _disagrees(
    route: Route, plan: Plan, fun: Callable[..., Any], args: tuple[Any, ...], start: FloatArray, x: FloatArray
) -> bool:
    from nlsq.solvers.traced import agrees

    if all(agrees(plan.residual, lambda p: fun(p, *args), point) for point in (start, x)):
        return False
    route.refuse(DISAGREES)
    return True


def _outcome(plan: Plan, x: FloatArray) -> dict[str, Any]:
    """Return the fields of SciPy's result, in its order."""
    space = plan.space
    w, iw, n = space.w, space.iw, space.n
    status = LEAST_SQUARES_STATUS[plan.status]  # type: ignore[index]
    first = layout.HEADER + layout.GRADIENT * n
    return {
        "x": x,
        "cost": w[layout.COST],
        "fun": space.residual.copy(),
        "jac": plan.jacobian(),
        "grad": w[first : first + n].copy(),
        "optimality": w[layout.OPTIMALITY],
        "active_mask": np.zeros(n),
        "nfev": iw.item(layout.NFEV),
        "njev": iw.item(layout.NJEV),
        "status": status,
        "message": LEAST_SQUARES_MESSAGES[status],
        "success": True,
    }


def leastsq_on_route(route: Route, func: Callable[..., Any], x0: Any, args: Any) -> tuple[FloatArray, int] | None:
    """Minimise a residual by Levenberg-Marquardt at default options; ``(x, ier)``, or None as above."""
    start = read_start(x0)
    if start is None:
        return None
    args = args if isinstance(args, tuple) else (args,)
    entry, arrays = entry_on_route(route, func, start.size, args)
    if entry is None or arrays is None or entry.trace.m < start.size:
        return None
    shelf = entry.quick
    try:
        plan = shelf.pop()
    except IndexError:
        from nlsq.problem.traced import traced_residual

        residual = traced_residual(entry, lambda p: func(p, *args))
        plan = minpack_plan(residual, start, (*DEFAULTS, 200 * (start.size + 1), 100.0))
    plan.residual.binding.set_arrays(*arrays)
    x = plan.solve(start)
    status = plan.status
    disagrees = entry.is_due() and _disagrees(route, plan, func, args, start, x)
    shelf.append(plan)
    if disagrees or not 1 <= status <= LAST_SUCCESS:
        return None
    return x, MINPACK_INFO[status]


class ByKernels(NamedTuple):
    """A residual by the kernels of a graph, and the route that it came by."""

    route: Route
    residual: CompiledResidual

    def agrees_at(self, x: FloatArray) -> bool:
        """Whether the function itself gives the same residuals; if not, it is called from now on."""
        from nlsq.solvers.traced import agrees

        if agrees(self.residual, self.residual.in_python, x):
            return True
        self.route.refuse(DISAGREES)
        return False


def model_on_route(
    route: Route, f: Callable[..., Any], x: Any, y: FloatArray, whitening: Any, start: NDArray[Any]
) -> ByKernels | None:
    """Return the residual of a model by the kernels of its graph; None where the model has to be called.

    It is compared with the model's own residual at the start.
    """
    n = start.size
    if not route.ready or y.ndim != 1 or not 0 < n <= MOST_PARAMETERS or start.dtype != np.float64:
        return None
    if not np.isfinite(start).all():
        return None
    if type(x) is not np.ndarray or x.dtype != np.float64 or x.shape[-1:] != y.shape or not arrays_are_readable():
        return None
    if whitening is not None and (whitening.factor is not None or not _are_weights(whitening.weights, y.size)):
        return None
    from nlsq.problem.traced import traced_residual
    from nlsq.solvers.traced import plain_residual

    x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
    entry = route.entry(f, (x.shape, n), lambda given=(): trace_of_model(f, x, n, given))
    arrays = None if entry is None else entry.arrays_of(f)
    if entry is None or arrays is None or entry.trace.m != y.size or entry.trace.shape != y.shape:
        return None
    weights = None
    if whitening is not None:
        weights = np.array(np.broadcast_to(whitening.weights, y.shape), dtype=np.float64)
    residual = traced_residual(entry, plain_residual(f, x, y, weights), x, y, weights)
    residual.binding.set_arrays(*arrays)
    by_kernels = ByKernels(route, residual)
    return by_kernels if by_kernels.agrees_at(start) else None


def _are_weights(weights: Any, m: int) -> bool:
    weights = np.asarray(weights)
    return weights.dtype.kind == "f" and weights.shape in ((), (1,), (m,))


def trace_of_model(f: Callable[..., Any], x: FloatArray, n: int, given: Sequence[int | str] = ()) -> Any:
    """Trace a model; see `nlsq.compiler.tracing.trace.trace_model`."""
    from nlsq.compiler.tracing.trace import trace_model

    return trace_model(f, np.ascontiguousarray(x), n, given=given)


def residual_on_route(
    route: Route, fun: Callable[..., Any], args: tuple[Any, ...], start: FloatArray
) -> ByKernels | None:
    """Return a residual function by the kernels of its graph; None where it has to be called."""
    if not np.isfinite(start).all():
        return None
    entry, arrays = entry_on_route(route, fun, start.size, args)
    if entry is None or arrays is None:
        return None
    from nlsq.problem.traced import traced_residual

    residual = traced_residual(entry, lambda p: fun(p, *args))
    residual.binding.set_arrays(*arrays)
    return ByKernels(route, residual)
