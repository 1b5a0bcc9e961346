"""How a function is evaluated, once it is known whether it has an address or is called."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.routes import MANY_PARAMETERS
from nlsq.derivatives import CentralDifference
from nlsq.derivatives.exact import Exact, why_not_exact
from nlsq.problem.compiled_residual import CompiledResidual
from nlsq.problem.vector_function.called_back import CalledBack
from nlsq.problem.vector_function.differences import DifferenceTable
from nlsq.problem.vector_function.estimated import Counting, Estimated
from nlsq.problem.vector_function.graph import Graph, is_affine
from nlsq.problem.vector_function.options import Options
from nlsq.problem.vector_function.parts import EXACT_DUAL, EXACT_GRAPH, GIVEN, Parts
from nlsq.problem.vector_function.second import second_derivatives, sparse_second_derivatives
from nlsq.problem.vector_function.sparse import EstimatedSparse, GivenSparse, GraphSparse
from nlsq.problem.vector_function.values import is_sparse

FloatArray = NDArray[np.float64]
CENTRAL = "3-point"
INSTEAD = "{}: forward differences instead of exact derivatives: {}"


def parts_by_address(options: Options, residual: CompiledResidual, graph: Graph | None = None) -> Parts:
    """Return how a function with an address is evaluated; its Jacobian may be the user's or an estimate.

    Parameters
    ----------
    options : Options
        What was asked for.
    residual : CompiledResidual
        The function.
    graph : Graph, optional
        Where it comes from.
    """
    m, sparse = residual.m, None if graph is None or options.jac is not None else graph.sparse
    if sparse is None:
        options.settle_pattern(residual, m)
    parts = Parts(
        values=residual.address,
        data=residual.data_address,
        residual=residual,
        exact_kind=EXACT_DUAL if graph is None else EXACT_GRAPH,
        calls_python=residual.calls_python,
        second=partial(second_derivatives, options, m),
        sparse_second=partial(sparse_second_derivatives, options, m),
        is_affine=bool if graph is None else cache(partial(is_affine, graph)),
        alive=[residual, graph],
    )
    if options.given_jacobian is not None:
        return _with_given(options, parts, m)
    if sparse is not None:
        parts.sparse, parts.jacobian_kind = GraphSparse(sparse), EXACT_GRAPH
        parts.dense = lambda parts: residual.jacobian_address
        return parts
    if options.estimator is not None:
        return _with_estimate(options, parts, residual.in_python, m)
    if options.sparsity is not None:
        return _with_estimate(options, parts, residual, m)
    exact, kind = 0, options.kind
    if options.jac is None:
        reason = why_not_exact(residual, options.x0, lower=options.lower, upper=options.upper)
        if reason:
            parts.notes.append(INSTEAD.format(options.name, reason))
        else:
            exact, kind = residual.jacobian_address, parts.exact_kind
    table = DifferenceTable(residual.address, residual.data_address, m, options.n, options.sizes(), exact)
    if options.jac is None and not exact:
        parts.use_central = partial(_take_steps, parts, table, options, None)
    return _with_table(parts, table, kind)


def parts_by_calls(options: Options, function: Callable[..., Any], first: NDArray[Any], is_known: bool) -> Parts:
    """Return how a plain Python function is evaluated: through C functions that call it.

    Parameters
    ----------
    options : Options
        What was asked for.
    function : callable
        Of x alone.
    first : ndarray, shape (m,)
        Its values at the start, in its own precision.
    is_known : bool
        Whether the next call there may be answered by these.
    """
    m = first.size
    options.settle_pattern(function, m)
    back = CalledBack(options.name, m, options.n)
    second, sparse_second = partial(second_derivatives, options, m), partial(sparse_second_derivatives, options, m)
    parts = Parts(values=0, data=0, calls_python=True, called_back=back, second=second, sparse_second=sparse_second)
    know: list[Callable[[FloatArray, FloatArray], None]] = [back.know]
    if options.given_jacobian is not None:
        parts.values = back.values(function)
        _with_given(options, parts, m)
    elif options.estimator is not None or options.wants_sparse:
        _with_estimate(options, parts, function, m, first.dtype)
        estimated = parts.alive[-1]
        parts.values = back.values(estimated.values)
        know.append(estimated.know)
    else:
        table = DifferenceTable(back.values(function), 0, m, options.n, options.sizes(first.dtype))
        _with_table(parts, table, options.kind)
        if options.jac is None:
            parts.use_central = partial(_take_steps, parts, table, options, first.dtype)
        know.append(table.know)
    for one in know if is_known else ():
        one(options.x0, first.astype(np.float64))
    return parts


def _with_table(parts: Parts, table: DifferenceTable, kind: str) -> Parts:
    """Evaluate through a table, which takes differences."""
    parts.values, parts.data, parts.jacobian = table.values_address, table.data_address, table.jacobian_address
    parts.table, parts.jacobian_kind, parts.evaluations = table, kind, lambda: table.evaluations
    parts.forget = table.forget
    return parts


def _take_steps(parts: Parts, table: DifferenceTable, options: Options, dtype: Any, central: bool) -> None:
    """Take central differences in a table, or forward ones."""
    if central == (parts.jacobian_kind == CENTRAL):
        return
    table.take_steps(options.sizes(dtype, central))
    parts.jacobian_kind = CENTRAL if central else options.kind


def _with_given(options: Options, parts: Parts, m: int) -> Parts:
    """Add the user's Jacobian."""
    function, pattern = options.given_jacobian, options.sparsity
    assert function is not None
    parts.jacobian_kind = GIVEN
    if pattern is None and options.n >= MANY_PARAMETERS:
        function = _KnownAtStart(function, options.x0)
        pattern = function.pattern
    if pattern is not None:
        parts.sparse = GivenSparse(options.name, function, pattern)
        parts.dense = partial(_dense_of_sparse, options.name, m, options.n)
        return parts
    return _with_jacobian(options, parts, function, m)


def _with_estimate(options: Options, parts: Parts, function: Any, m: int, dtype: Any = None) -> Parts:
    """Add a Jacobian that Python estimates, dense or sparse; what estimates it is the last of `parts.alive`."""
    prepared, counting = None, Counting(function)
    may_change = options.jac is None
    parts.jacobian_kind = options.kind
    if options.jac is None and getattr(function, "takes_seeds", False):
        try:
            prepared = options.prepared(Exact(), function, m)
            parts.jacobian_kind, may_change = EXACT_DUAL, False
        except TypeError as error:
            parts.notes.append(INSTEAD.format(options.name, error))
    if prepared is None:
        prepared = options.prepared(options.estimator or options.differences, counting, m, dtype)
    estimated = Estimated(options.name, function, m, prepared, counting.calls + options.detection_evaluations)
    parts.evaluations, parts.forget = lambda: estimated.evaluations, estimated.forget
    parts.alive.append(estimated)
    if may_change:
        central = cache(partial(options.prepared, CentralDifference(), counting, m, dtype))

        def use_central(is_wanted: bool) -> None:
            if is_wanted or parts.jacobian_kind == CENTRAL:
                estimated.use(central() if is_wanted else prepared)
            parts.jacobian_kind = CENTRAL if is_wanted else options.kind

        parts.use_central = use_central
    if options.sparsity is not None:
        parts.sparse = EstimatedSparse(estimated, options.sparsity)
        parts.dense = partial(_dense_of_sparse, options.name, m, options.n)
        return parts
    return _with_jacobian(options, parts, estimated.jacobian, m)


def _with_jacobian(options: Options, parts: Parts, function: Callable[..., Any], m: int) -> Parts:
    """Add a dense Jacobian ``x -> J`` through a C function that calls it."""
    if parts.called_back is None:
        parts.called_back = CalledBack(options.name, m, options.n)
    parts.jacobian = parts.called_back.jacobian(function)
    parts.calls_python = True
    return parts


def _dense_of_sparse(name: str, m: int, n: int, parts: Parts) -> int:
    """Return the address of a C function for the dense Jacobian where a sparse one is known."""
    assert parts.sparse is not None
    if parts.called_back is None:
        parts.called_back = CalledBack(name, m, n)
    parts.calls_python = True
    return parts.called_back.jacobian(parts.sparse.jacobian)


class _KnownAtStart:
    """A Jacobian that was evaluated at the start, to see whether it is sparse."""

    def __init__(self, function: Callable[..., Any], x0: FloatArray) -> None:
        self._function, self._x0 = function, x0
        self._first: Any = function(x0.copy())

    @property
    def pattern(self) -> Any:
        """Its pattern; None where it is dense."""
        if not is_sparse(self._first):
            return None
        from nlsq.pattern import SparsityPattern

        return SparsityPattern.from_matrix(self._first)

    def __call__(self, x: FloatArray) -> Any:
        """Evaluate; not again at the start."""
        first, self._first = self._first, None
        return first if first is not None and np.array_equal(x, self._x0) else self._function(x)
