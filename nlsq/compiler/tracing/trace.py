"""Calling a function once on symbolic arrays.

    model      f(x, a, b, ...)    x: numbers over the points; a, b, ...: one symbolic number each
    residual   f(p, ...)          p: a symbolic array of n parameters

The result is a list of segments: parts of the output, each an expression over an index space and where its values go.
Rows that a loop wrote one by one, equal but for the indices of what they read, become one segment with a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from nlsq.compiler.graph import FloatArray, Graph, NotTraceable
from nlsq.compiler.strides import Shape, contiguous_strides
from nlsq.compiler.tracing.arrays import Argument, Traced, as_numbers
from nlsq.compiler.tracing.complex_arrays import ComplexTraced
from nlsq.compiler.tracing.holding import UNSET
from nlsq.compiler.tracing.joining import stacked
from nlsq.compiler.tracing.rebind import Rebinding
from nlsq.compiler.tracing.reroll import reroll
from nlsq.compiler.tracing.standins import Recorder

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


def is_by_points(trace: Trace) -> bool:
    """Whether the output has one value for each point, which depends on what x is there and on nothing else of x."""
    graph = trace.graph
    if len(trace.segments) != 1 or trace.shape != (trace.m,):
        return False
    segment = trace.segments[0]
    if segment.offset or segment.strides not in ((1,), ()):
        return False
    for index in graph.reachable([segment.node]):
        node = graph.nodes[index]
        if node[0] in ("sum", "parameters"):
            return False
        if node[0] == "data":
            own = node[1] < trace.variables and node[2:] == (0, (1,)) and graph.shapes[index] == (trace.m,)
            if not own:
                return False
    return True


def trace_model(
    function: Callable[..., Any],
    x: Any,
    n: int,
    fixed: Mapping[int, float] | None = None,
    given: Sequence[int | str] = (),
) -> Trace:
    """Trace ``f(x, a, b, ...)``.

    Parameters
    ----------
    function : callable
        A clean function.
    x : ndarray (m,), (k, m) or (m, k), or a tuple or list of arrays (m,)
        Independent variables, float64; up to 16 rows are data of their own, more are one matrix of up to 16 columns.
    n : int
        Number of parameters that are free.
    fixed : mapping, optional
        Values of further parameters by their position among all.
    given : sequence, optional
        Numbers that the function brings along whose values come with each call; see `Rebinding`.

    Raises
    ------
    NotTraceable
        If the function does something that has no graph.
    """
    fixed = fixed or {}

    def attempt(graph: Graph, rebinding: Rebinding) -> Trace:
        argument, variables = _variables(graph, x)
        free = iter([Traced(graph, (), [graph.leaf(("parameter", j), ())]) for j in range(n)])
        parameters = [float(fixed[k]) if k in fixed else next(free) for k in range(n + len(fixed))]
        trace = _finished(graph, rebinding.outermost(function)[0](argument, *parameters), variables)
        if variables > 1 and trace.m != np.shape(x[0])[0]:  # kernels find a row of x by the number of outputs
            raise NotTraceable(
                f"of {variables} variables with {np.shape(x[0])[0]} values each it makes {trace.m} values"
            )
        return trace

    return _attempted(attempt, n, given)


def trace_residual(
    function: Callable[..., Any], n: int, arguments: Sequence[Any] = (), given: Sequence[int | str] = ()
) -> Trace:
    """Trace ``f(p, *arguments)``; see `trace_model`."""

    def attempt(graph: Graph, rebinding: Rebinding) -> Trace:
        p = Argument(graph, (n,), [graph.leaf(("parameters", 0, (1,)), (n,))])
        copy, further = rebinding.outermost(function, arguments)
        return _finished(graph, copy(p, *further), 0)

    return _attempted(attempt, n, given)


def _attempted(attempt: Callable[[Graph, Rebinding], Trace], n: int, given: Sequence[int | str]) -> Trace:
    """Trace with symbolic data; where that fails, with the arrays themselves, which then have to stay the same."""
    rebinding = Rebinding(Graph(n), with_arrays=True, given=given)
    try:
        return _guarded(attempt, rebinding)
    except NotTraceable:
        if not rebinding.made_symbolic:
            raise
    trace = _guarded(attempt, Rebinding(Graph(n), with_arrays=False, given=given))
    trace.sees_all = False
    return trace


def _guarded(attempt: Callable[[Graph, Rebinding], Trace], rebinding: Rebinding) -> Trace:
    """Trace; whatever the function raises over symbolic arguments says that it cannot be traced."""
    try:
        with Recorder(rebinding.graph):
            return attempt(rebinding.graph, rebinding)
    except NotTraceable:
        raise
    except RecursionError:
        raise NotTraceable("it calls itself too deeply") from None
    except Exception as error:
        raise NotTraceable(f"{type(error).__name__}: {error}") from error


def _variables(graph: Graph, x: Any) -> tuple[Any, int]:
    """Return the symbolic x and how many slots its rows take."""
    if isinstance(x, tuple | list):
        if len({np.shape(row) for row in x}) != 1 or np.ndim(x[0]) != 1:
            raise NotTraceable("the parts of x are not vectors of one length")
        rows = [_variable(graph, row) for row in x]
        return (tuple(rows) if isinstance(x, tuple) else rows), len(graph.data)
    if x.ndim == 2 and x.shape[0] <= SEPARATE_ROWS:
        joined = stacked(graph, [_variable(graph, row) for row in x])
        return Argument(graph, joined.shape, joined.nodes, joined.cuts), len(graph.data)
    if x.ndim == 1 or (x.ndim == 2 and x.shape[1] <= SEPARATE_ROWS):
        return _variable(graph, x), 1
    raise NotTraceable(f"x of shape {x.shape}")


def _variable(graph: Graph, row: FloatArray) -> Argument:
    if type(row) is not np.ndarray or row.dtype != np.float64:
        raise NotTraceable(f"x with a part of type {type(row).__name__}, not an array of floats")
    row = np.ascontiguousarray(row)
    slot = graph.add_slot(row, row)  # not shared: the next x may have other rows at other places
    node = graph.leaf(("data", slot, 0, contiguous_strides(row.shape)), row.shape)
    return Argument(graph, row.shape, [node])


def _finished(graph: Graph, result: Any, variables: int) -> Trace:
    if isinstance(result, list | tuple):
        result = stacked(graph, result)
    if isinstance(result, ComplexTraced):
        raise NotTraceable("it returned complex numbers")
    if not isinstance(result, Traced):
        raise NotTraceable(f"it returned {type(result).__name__}, which does not depend on the parameters")
    if result.kind == "b":
        result = as_numbers(result)
    shape = result.shape
    if result.cuts is None and isinstance(result.nodes[0], int) and result.nodes[0] != UNSET:
        segments = [Segment(result.nodes[0], shape, 0, contiguous_strides(shape))]
    else:
        segments = list(_segments(result, 0, contiguous_strides(shape)))
    m = result.size
    if len(segments) > 1:
        segments = reroll(graph, segments)
    return Trace(graph, segments, m, shape, variables, graph.origins[variables:], not graph.saw_contents)


def _segments(result: Traced, offset: int, strides: Shape) -> Iterator[Segment]:
    """Yield the blocks of the output with their places."""
    for cell, node in zip(product(*result.partition), result.nodes, strict=True):
        first = offset + sum(part.start * stride for part, stride in zip(cell, strides, strict=True))
        steps = tuple([part.step * stride for part, stride in zip(cell, strides, strict=True)])
        if not isinstance(node, int):  # flattened in C order
            yield from _segments(node, first, tuple([one * steps[0] for one in contiguous_strides(node.shape)]))
        elif node == UNSET:
            raise NotTraceable("an element of np.empty that nothing was stored into is returned")
        else:
            yield Segment(node, tuple([len(part) for part in cell]), first, steps)
