"""Calling a function once on symbolic arrays.

    model      f(x, a, b, ...)    x: numbers over the points; a, b, ...: one symbolic number each
    residual   f(p, ...)          p: a symbolic array of n parameters

The result is a list of segments: parts of the output, each an expression over an index space and where its values go.
Rows that a loop wrote one by one, equal but for the indices of what they read, become one segment with a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nlsq.compiler.arrays import Argument, Traced, stacked
from nlsq.compiler.graph import TRUTHS, FloatArray, Graph, NotTraceable, Shape, contiguous_strides
from nlsq.compiler.rebind import Rebinding
from nlsq.compiler.reroll import reroll
from nlsq.compiler.stores import UNSET

SEPARATE_ROWS = 16  # independent variables up to this many are data of their own


@dataclass(frozen=True)
class Segment:
    """Part of the output.

    Parameters
    ----------
    node : int
        Expression; of shape `shape`, or a number that stands everywhere.
    shape : tuple of int
        Index space.
    offset : int
        Where its first value goes in the flat output.
    strides : tuple of int
        How far the next value along each axis is.
    """

    node: int
    shape: Shape
    offset: int
    strides: tuple[int, ...]


@dataclass
class Trace:
    """A traced function.

    Attributes
    ----------
    graph : Graph
        Expressions.
    segments : list of Segment
        Output.
    m : int
        Number of outputs.
    shape : tuple of int
        Shape of what the function returned.
    variables : int
        How many of the data slots, the first ones, are rows of x.
    sources : list of ndarray
        For each further slot the array that was read.
    sees_all : bool
        Whether all arrays that the function reads are symbolic: then other arrays of the same shapes give this graph.
    """

    graph: Graph
    segments: list[Segment]
    m: int
    shape: Shape
    variables: int = 0
    sources: list[FloatArray] = field(default_factory=list)
    sees_all: bool = True


def trace_model(function: Callable[..., Any], x: Any, n: int, fixed: Mapping[int, float] | None = None) -> Trace:
    """Trace ``f(x, a, b, ...)``.

    Parameters
    ----------
    function : callable
        A clean function.
    x : ndarray (m,) or (k, m), or a tuple or list of arrays (m,)
        Independent variables, float64.
    n : int
        Number of parameters that are free.
    fixed : mapping, optional
        Values of further parameters by their position among all.

    Raises
    ------
    NotTraceable
        If the function does something that has no graph.
    """
    return _attempted(lambda with_arrays: _trace_model(function, x, n, fixed or {}, with_arrays))


def trace_residual(function: Callable[..., Any], n: int, arguments: Sequence[Any] = ()) -> Trace:
    """Trace ``f(p, *arguments)``; see `trace_model`."""
    return _attempted(lambda with_arrays: _trace_residual(function, n, arguments, with_arrays))


def _attempted(attempt: Callable[[bool], Trace]) -> Trace:
    """Trace with symbolic data; where that fails, with the arrays themselves, which then have to stay the same."""
    try:
        return attempt(True)
    except NotTraceable:
        trace = attempt(False)
        trace.sees_all = False
        return trace


def _trace_model(function: Callable[..., Any], x: Any, n: int, fixed: Mapping[int, float], with_arrays: bool) -> Trace:
    graph = Graph(n)
    argument, variables = _variables(graph, x)
    free = iter([Traced(graph, (), [(graph.leaf(("parameter", j), ()), 0)]) for j in range(n)])
    parameters = [float(fixed[k]) if k in fixed else next(free) for k in range(n + len(fixed))]
    rebinding = Rebinding(graph, with_arrays=with_arrays)
    result = _call(rebinding.rebind(function), argument, *parameters)
    return _finished(graph, result, variables)


def _trace_residual(function: Callable[..., Any], n: int, arguments: Sequence[Any], with_arrays: bool) -> Trace:
    graph = Graph(n)
    p = Argument(graph, (n,), [(graph.leaf(("parameters", 0, (1,)), (n,)), n)])
    rebinding = Rebinding(graph, with_arrays=with_arrays)
    further = [rebinding.substitute(one) for one in arguments]
    result = _call(rebinding.rebind(function), p, *further)
    return _finished(graph, result, 0)


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call; whatever the function raises over symbolic arguments says that it cannot be traced."""
    try:
        return function(*arguments)
    except NotTraceable:
        raise
    except RecursionError:
        raise NotTraceable("it calls itself too deeply") from None
    except Exception as error:
        raise NotTraceable(f"{type(error).__name__}: {error}") from error


def _variables(graph: Graph, x: Any) -> tuple[Any, int]:
    """Return the symbolic x and how many slots its rows take."""
    if isinstance(x, tuple | list):
        rows = [_variable(graph, row) for row in x]
        return (tuple(rows) if isinstance(x, tuple) else rows), len(graph.data)
    if x.ndim == 1:
        return _variable(graph, x), 1
    if x.ndim == 2 and x.shape[0] <= SEPARATE_ROWS:
        rows = [_variable(graph, row) for row in x]
        joined = stacked(graph, rows)
        return Argument(graph, joined.shape, joined.pieces), len(graph.data)
    raise NotTraceable(f"x of shape {x.shape}")


def _variable(graph: Graph, row: FloatArray) -> Argument:
    slot = graph.add_slot(row, row)  # not shared: the next x may have other rows at other places
    node = graph.leaf(("data", slot, 0, (1,)), (row.size,))
    return Argument(graph, (row.size,), [(node, row.size)])


def _finished(graph: Graph, result: Any, variables: int) -> Trace:
    if isinstance(result, list | tuple):
        result = stacked(graph, result)
    if not isinstance(result, Traced):
        raise NotTraceable(f"it returned {type(result).__name__}, which does not depend on the parameters")
    if any(node != UNSET and graph.nodes[node][0] in TRUTHS for node, _ in result.pieces):
        result = result.apply("where", result, 1.0, 0.0)
    shape = result.shape
    segments = _segments(graph, result)
    m = int(np.prod(shape, dtype=np.int64))
    if m > 1:
        segments = reroll(graph, segments)
    return Trace(graph, segments, m, shape, variables, graph.origins[variables:], not graph.saw_contents)


def _segments(graph: Graph, result: Traced) -> list[Segment]:
    """Return the pieces of the output with their places."""
    if not result.shape:
        return [Segment(result.node, (), 0, ())]
    inner = result.shape[1:]
    row = int(np.prod(inner, dtype=np.int64))
    segments = []
    begin = 0
    for node, count in result.pieces:
        if node == UNSET:
            raise NotTraceable("an element of np.empty that nothing was stored into")
        shape = (count, *inner)
        segments.append(Segment(node, shape, begin * row, contiguous_strides(shape)))
        begin += count
    return segments
