"""Plain functions by the kernels of their graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.routes import MANY_PARAMETERS, Route
from nlsq.problem.compiled_residual import CompiledResidual
from nlsq.problem.vector_function.options import with_arguments

FloatArray = NDArray[np.float64]


class Graph(NamedTuple):
    """A function by the kernels of a graph, and its sparse Jacobian where rows depend on few of many parameters."""

    entry: Any
    residual: CompiledResidual
    sparse: Any


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
    elif known.sparse is not None:
        known.sparse.set_arrays(arrays)
    known.residual.binding.set_arrays(*arrays)
    return known
