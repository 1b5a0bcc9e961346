"""`explain`: which way a function goes, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import numpy as np

from nlsq.compiler.entries import Entry
from nlsq.compiler.routes import THRASHES, WORTH_COMPILING, Route, unwrapped
from nlsq.fitting.probing import as_doubles, probe
from nlsq.fitting.signatures import parameter_names
from nlsq.fitting.traced_model import Model
from nlsq.kernels.backend import address_of_array, compile_disabled
from nlsq.kernels.backend.generated import kernel_at
from nlsq.problem import CompiledFunction

NOTHING_COMPILED = "nothing is compiled, as NLSQ_DISABLE_COMPILE asks"
CALLS = 200  # timed for the cost of one evaluation


@dataclass(frozen=True)
class Explanation:
    """What `explain` found.

    Attributes
    ----------
    route : {"compiled", "traced", "jitted", "plain"}
        ``"compiled"``: traced, and kernels are at hand; ``"traced"``: traced, and compiled once that pays;
        ``"jitted"``: a numba function, called by address; ``"plain"``: called as it is.
    reason : str
        Why.
    operations : int
        Arithmetic operations and elementary functions of one value; 0 where there is no graph.
    operations_with_gradient : int
        Of one value with its derivatives by all parameters.
    seconds : float
        Measured time of one evaluation of the residual by the way it goes, nan where it cannot be called without data.
    points : int
        Number of points of that evaluation.
    """

    route: Literal["compiled", "traced", "jitted", "plain"]
    reason: str
    operations: int = 0
    operations_with_gradient: int = 0
    seconds: float = float("nan")
    points: int = 0

    def __str__(self) -> str:
        lines = [f"{self.route}: {self.reason}"]
        if self.operations:
            gradient = self.operations_with_gradient
            lines.append(f"{self.operations} operations for a value, {gradient} with all derivatives")
        if self.seconds == self.seconds:
            lines.append(f"{1e6 * self.seconds:.3g} us for {self.points} residuals")
        return "\n".join(lines)


def explain(function: Callable[..., Any], x: Any = None, p0: Any = None, *, kind: str | None = None) -> Explanation:
    """Say which way a function goes through the solvers: compiled from its graph, by address, or called plainly.

    Parameters
    ----------
    function : callable
        A model ``f(x, a, b, ...)``, a residual ``f(p)``, or a constraint ``f(a, b, ...)`` on parameters by name.
    x : array_like, optional
        Independent variables; by default 64 points of one.
    p0 : array_like, optional
        Parameters at which an evaluation is timed; by default ones. For a residual they tell the number of parameters,
        and there must be some.
    kind : {"model", "residual", "constraint"}, optional
        Which of them it is; by default a function of one argument is a residual, and any other a model. A constraint of
        the vector of all parameters is explained as a residual.

    Returns
    -------
    Explanation
        Printing it gives the report.

    Raises
    ------
    TypeError
        If `function` is not callable.
    ValueError
        If `kind` is unknown, or the number of a residual's parameters is.
    """
    if not callable(function):
        raise TypeError(f"function must be callable, got {type(function).__name__}.")
    if isinstance(function, CompiledFunction) or hasattr(function, "py_func"):
        return _explain_jitted(function)
    inner = function.function if isinstance(function, Model) else function
    if kind is None:
        kind = function.kind if isinstance(function, Model) else _kind_of(inner)
    if kind not in ("model", "residual", "constraint"):
        raise ValueError(f"kind must be 'model', 'residual' or 'constraint', got {kind!r}.")
    if kind == "constraint":
        return _explain_constraint(inner, p0)
    if compile_disabled():
        return Explanation("plain", NOTHING_COMPILED)
    inner, route = unwrapped(function, kind)
    if route is not None and route.reason:
        return Explanation("plain", route.reason)
    if route is not None and route.pauses:
        return Explanation("plain", THRASHES)
    if route is None:
        return Explanation("plain", f"it is no Python function but an object of type {type(inner).__name__}")
    entry, p, reason = _entry(route, inner, kind, x, p0)
    if entry is None:
        return Explanation("plain", reason)
    return _explain_entry(route, entry, kind, p, x)


def _explain_constraint(function: Any, p0: Any) -> Explanation:
    """Explain a function of parameters by name, as a fit passes it on."""
    from inspect import signature

    from nlsq.fitting.constraint_functions import with_held

    given = signature(function).parameters.values()
    n = (
        sum(one.default is one.empty and one.kind is not one.KEYWORD_ONLY for one in given)
        if p0 is None
        else np.size(p0)
    )
    wrapper = with_held(function, tuple(range(n)), (), n, by_name=True)
    return explain(wrapper, p0=np.ones(n) if p0 is None else p0, kind="residual")


def _kind_of(function: Any) -> str:
    code = getattr(function, "__code__", None)
    return "residual" if code is not None and code.co_argcount == 1 and not code.co_flags & 4 else "model"


def _explain_jitted(function: Any) -> Explanation:
    if not isinstance(function, CompiledFunction):
        return Explanation("jitted", "numba compiled it; pass it through nlsq.compile to have it called by address")
    if compile_disabled():
        return Explanation("plain", NOTHING_COMPILED)
    reason = function.derivative_reason
    if reason:
        return Explanation("jitted", f"called by address, with differences for derivatives: {reason}")
    return Explanation("jitted", "called by address, with exact derivatives by dual numbers")


def _entry(route: Route, function: Any, kind: str, x: Any, p0: Any) -> tuple[Entry | None, Any, str]:
    """Trace without changing what becomes of the function; return the graph, parameters and the reason against it."""
    from nlsq.compiler.tracing.trace import trace_model, trace_residual

    if kind == "residual":
        if p0 is None:
            raise ValueError("p0 must be given for a residual: it tells the number of parameters.")
        p = np.array(p0, dtype=np.float64)
        entry = route.examine(function, (p.size, 0), lambda: trace_residual(function, p.size))
    else:
        n = len(parameter_names(function)) if p0 is None else np.size(p0)
        p = np.ones(n) if p0 is None else np.array(p0, dtype=np.float64)
        points = probe() if x is None else as_doubles(x if isinstance(x, np.ndarray | tuple | list) else np.array(x))
        shape = points.shape if isinstance(points, np.ndarray) else tuple(row.shape for row in points)
        entry = route.examine(function, (shape, n), lambda: trace_model(function, points, n))
    return (entry, p, "") if isinstance(entry, Entry) else (None, p, entry)


def _explain_entry(route: Route, entry: Entry, kind: str, p: Any, x: Any) -> Explanation:
    from nlsq.compiler.differentiate import derivatives, operations
    from nlsq.compiler.kernel_source import Variant

    graph = entry.trace.graph
    roots = [segment.node for segment in entry.trace.segments]
    gradient = [node for root in roots for node in derivatives(graph, root).values()]
    counts = operations(graph, roots), operations(graph, roots + gradient)
    variant = Variant(response=kind == "model")
    if not (route.ready or entry.kernels.is_at_hand(variant)):
        left = max(0.0, WORTH_COMPILING - route.seconds)
        reason = f"it will be compiled when {left:.2g} s more have gone into calling it, or by nlsq.model"
        return Explanation("traced", reason, *counts)
    seconds = _seconds(entry, kind, p, x, variant)
    return Explanation("compiled", "its graph has kernels", *counts, seconds, entry.trace.m)


def _seconds(entry: Entry, kind: str, p: Any, x: Any, variant: Any) -> float:
    from nlsq.problem.traced import traced_residual

    points = None
    if kind == "model":
        points = as_doubles(probe() if x is None else x if isinstance(x, np.ndarray | tuple | list) else np.array(x))
        points = np.stack(points) if isinstance(points, tuple | list) else points
    y = np.zeros(entry.trace.m) if variant.response else None
    residual = traced_residual(entry, lambda q: q, points, y)
    out = np.empty(entry.trace.m)
    kernel = kernel_at(residual.address)
    places = address_of_array(p), residual.data_address, address_of_array(out)
    best = float("inf")
    for _ in range(5):
        started = perf_counter()
        for _ in range(CALLS // 5):
            kernel(*places)
        best = min(best, (perf_counter() - started) / (CALLS // 5))
    return best
