"""Plain functions by the kernels of their graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.routes import MANY_PARAMETERS, Route, errors_are_silent
from nlsq.problem.compiled_residual import CompiledResidual
from nlsq.problem.vector_function.options import with_arguments

FloatArray = NDArray[np.float64]


class Graph(NamedTuple):
    """A function by the kernels of a graph, and its sparse Jacobian where rows depend on few of many parameters."""

    entry: Any
    residual: CompiledResidual
    sparse: Any


def is_affine(graph: Graph) -> bool:
    """Whether a graph is made of the parameters by what keeps it affine: sums, and products with what is constant."""
    trace = graph.entry.trace
    nodes = trace.graph.nodes
    degrees: dict[int, int] = {}
    roots = [segment.node for segment in trace.segments]
    for index in trace.graph.reachable(roots):  # operands first
        operation, found = nodes[index][0], [degrees[one] for one in trace.graph.operands(index)]
        if operation in ("parameter", "parameters"):
            degrees[index] = 1
        elif operation == "*":
            degrees[index] = found[0] + found[1]
        elif operation in ("+", "-", "neg", "sum") or (operation == "/" and found[1] == 0):
            degrees[index] = max(found)
        else:
            degrees[index] = 2 if any(found) else 0
    return all(degrees[root] <= 1 for root in roots)


def graph_of(
    route: Route, function: Callable[..., Any], n: int, args: tuple[Any, ...], known: Graph | None, sparse_from: int
) -> Graph | None:
    """Return a function by the kernels of its graph, with what it reads now; None where it has to be called.

    Parameters
    ----------
    route : Route
        What is known of the function.
    function : callable
        ``x (n,) -> c``: a vector, a list or a number.
    n : int
        Number of parameters.
    args : tuple
        Further arguments.
    known : Graph or None
        What was returned last for this function: it is returned again while its graph is valid.
    sparse_from : int
        Number of parameters from which the Jacobian is to be sparse where it can be.
    """
    if not route.ready and not ((n >= MANY_PARAMETERS or sparse_from <= n) and route.may_compile()):
        return None
    if known is not None:
        arrays = known.entry.arrays_of(function, args) if errors_are_silent() else None
        if arrays is not None and known.entry in route.entries.get((n, len(args)), ()):
            return _with_arrays(known, arrays)
    from nlsq.compiler.tracing.trace import trace_residual
    from nlsq.problem.traced import SparseEvaluation, traced_residual

    key = (n, len(args))
    entry = route.entry(function, key, lambda given=(): trace_residual(function, n, args, given), args)
    arrays = None if entry is None else entry.arrays_of(function, args)
    if entry is None or arrays is None or len(entry.trace.shape) > 1 or entry.trace.m == 0:
        return None
    if known is None or known.entry is not entry:
        is_sparse = n >= sparse_from and not entry.kernels.is_curve and entry.kernels.is_sparse
        sparse = SparseEvaluation(entry, arrays) if is_sparse else None
        known = Graph(entry, traced_residual(entry, with_arguments(function, args)), sparse)
    return _with_arrays(known, arrays)


def _with_arrays(known: Graph, arrays: Any) -> Graph:
    """Take what the function reads now."""
    if known.sparse is not None:
        known.sparse.set_arrays(arrays)
    known.residual.binding.set_arrays(*arrays)
    return known
