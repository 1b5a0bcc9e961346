"""From whatever the user gives to a `VectorFunction`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlsq.compiler.routes import MANY_PARAMETERS, Route, unwrapped
from nlsq.kernels.backend import compile_disabled
from nlsq.problem.compiled import CompiledFunction, CompiledResidual
from nlsq.problem.compiled import compile as compile_function
from nlsq.problem.vector_function.build import parts_by_address, parts_by_calls
from nlsq.problem.vector_function.function import VectorFunction
from nlsq.problem.vector_function.graph import Graph, graph_of
from nlsq.problem.vector_function.options import Options, with_arguments
from nlsq.problem.vector_function.parts import Parts
from nlsq.problem.vector_function.values import first_values

FloatArray = NDArray[np.float64]

MOST_KNOWN = 64  # compiled functions that are kept for njit functions
_known: dict[int, CompiledFunction] = {}  # by the id of the njit function, which its compiled one keeps


def vector_function(
    function: Any,
    n: int,
    x0: ArrayLike,
    *,
    jac: Any = None,
    hess: Any = None,
    sparsity: Any = None,
    lower: ArrayLike | None = None,
    upper: ArrayLike | None = None,
    scale: ArrayLike | None = None,
    args: tuple[Any, ...] = (),
    name: str = "residual",
    compile: bool = False,
) -> VectorFunction:
    """Return a residual or constraint function as kernels see it.

    Parameters
    ----------
    function : callable, CompiledFunction, CompiledResidual or njit function
        ``x (n,) -> c (m,)``; a number counts as one value. Compiled functions are called by address. A plain one is
        evaluated by the kernels of its graph where that has been found to pay, or is asked for; else it is called.
    n : int
        Number of parameters.
    x0 : array_like, shape (n,)
        Start. A plain function is called there once, for m, and the solver gets these values.
    jac : callable, estimator or {"2-point", "3-point", "cs"}, optional
        Jacobian ``x -> (m, n)``, or how to estimate it. Default: exact where the function is compiled or traced, else
        forward differences.
    hess : callable, optional
        ``(x, v) -> (n, n)``: the sum of the second derivatives of all values, weighted by v. Anything else that
        SciPy takes is ignored.
    sparsity : SparsityPattern, sparse matrix or "auto", optional
        Where the Jacobian may be nonzero; Jacobians are then sparse matrices. ``"auto"``: the pattern is that of the
        function's graph, or is found by `nlsq.detect_sparsity`.
    lower, upper, scale : array_like, optional
        Bounds that no difference leaves, and typical sizes of the parameters.
    args : tuple
        Further arguments of a plain function, and of its `jac` and `hess`.
    name : str
        What messages call the function.
    compile : bool
        Trace and compile a plain function now, if that is possible.

    Returns
    -------
    VectorFunction

    Raises
    ------
    TypeError, ValueError
        Naming the function: if it returns no vector of real numbers, or `jac` is no Jacobian.

    Notes
    -----
    What the function itself raises passes through.
    """
    start = np.array(x0, dtype=np.float64)
    options = Options(name, n, start, jac, hess, sparsity, lower, upper, scale, args)
    compiled, note = _compiled(function, start, args, name)
    if compiled is not None:
        return VectorFunction(name, compiled.m, n, parts_by_address(options, compiled))
    plain, route = unwrapped(function, "residual")
    if not callable(plain):
        raise TypeError(f"{name} must be callable, got {type(function).__name__}.")
    if getattr(function, "kind", "residual") == "model" and hasattr(function, "nlsq_route"):
        raise TypeError(f"{name} is a model f(x, a, b, ...); a function of the parameters alone is needed.")
    if compile and route is not None:
        route.require()
    plainly = _Plain(plain, route, options)
    parts = plainly.parts(None)
    if note:
        parts.notes.append(note)
    return VectorFunction(name, plainly.m, n, parts, route=route, refreshed=plainly.parts)


def _compiled(function: Any, x0: FloatArray, args: tuple[Any, ...], name: str) -> tuple[CompiledResidual | None, str]:
    """Return a function that has an address; and why an njit function has none."""
    if isinstance(function, CompiledResidual):
        return function, ""
    if isinstance(function, CompiledFunction):
        if function.kind != "residual":
            raise TypeError(f"{name} is a compiled model; use nlsq.compile(f, kind='residual').")
        if args:
            raise TypeError(f"{name} is compiled and takes the parameters alone, but args were given.")
        return _not_empty(function.bind(x0), name), ""
    is_jitted = hasattr(function, "py_func") and type(function).__module__.startswith("numba.")
    if not is_jitted or args or compile_disabled():
        return None, ""
    value = function(x0.copy())
    if np.ndim(value) != 1 or not isinstance(value, np.ndarray):  # numbers and tuples
        return None, f"{name} is called plainly, since it returns {type(value).__name__}, not an array"
    if value.dtype.kind != "f":
        return None, f"{name} is called plainly, since it returns numbers of type {value.dtype}"
    try:
        bound = _compiled_once(function).bind(x0)
        assert bound.address
    except TypeError as error:
        return None, f"{name} is called plainly: {error}"
    return _not_empty(bound, name), ""


def _compiled_once(function: Any) -> CompiledFunction:
    """Compile an njit function, unless that has been done before; the newest ones are kept."""
    found = _known.get(id(function))
    if found is None or found.function is not function:
        if len(_known) >= MOST_KNOWN:
            _known.clear()
        found = _known[id(function)] = compile_function(function, kind="residual")
    return found


def _not_empty(residual: CompiledResidual, name: str) -> CompiledResidual:
    if residual.m == 0:
        raise ValueError(f"{name} returned no values.")
    return residual


@final
class _Plain:
    """A plain function, which is called or evaluated by the kernels of its graph.

    Parameters
    ----------
    function : callable
        ``x, *args -> c``.
    route : Route or None
        What is known of it; None where it has to be called.
    options : Options
        What was asked for.

    Attributes
    ----------
    m : int
        Number of values.
    """

    __slots__ = ("_first", "_function", "_graph", "_options", "_route", "m")

    def __init__(self, function: Callable[..., Any], route: Route | None, options: Options) -> None:
        self._function, self._route, self._options = function, route, options
        self._graph: Graph | None = None
        self._first = first_values(with_arguments(function, options.args)(options.x0.copy()), options.name)
        self.m = self._first.size
        if self.m == 0:
            raise ValueError(f"{options.name} returned no values.")

    def parts(self, known: Parts | None) -> Parts:
        """Return how to evaluate the function now: `known` if nothing has changed."""
        options, graph = self._options, None
        if self._route is not None:
            sparse_from = 1 if options.wants_sparse and options.jac is None else MANY_PARAMETERS + 1
            n, args = options.n, options.args
            graph = graph_of(self._route, self._function, n, args, self._graph, sparse_from)
            if graph is not None and graph.residual.m != self.m:
                graph = None
        if known is not None and graph is self._graph:
            return known
        self._graph = graph
        if graph is not None:
            return parts_by_address(options, graph.residual, graph)
        return parts_by_calls(options, with_arguments(self._function, options.args), self._first, known is None)
