"""Second derivatives of all that a traced function returns, as nodes.

A function's rows and what its sums add up are parts alike: each has second derivatives by pairs of its leaves, which
are parameters and sums, and derivatives by the sums that have second derivatives themselves. How they make up the whole
is said in `nlsq.compiler.hessian_source`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial, reduce
from math import prod
from typing import NamedTuple

from nlsq.compiler.differentiate import depends_on_parameters, derivatives, second_derivatives
from nlsq.compiler.graph import Graph, Shape
from nlsq.compiler.kernel_source import sums_of
from nlsq.compiler.tracing.trace import Segment, Trace

Pair = tuple[int, int]


@dataclass(frozen=True)
class Part:
    """Rows of the output, or what a sum adds up.

    Parameters
    ----------
    shape : tuple of int
        Index space.
    segment : int or None
        Which segment of the output it is; None for a sum, and for the weighted sum of all rows that are single numbers.
    total : int
        Node of the sum; -1 for rows.
    slopes : dict
        Node of the derivative by each sum that has second derivatives itself.
    pairs : dict
        Nodes of second derivatives by pairs of leaves.
    """

    shape: Shape
    segment: int | None
    total: int
    slopes: dict[int, int]
    pairs: dict[Pair, int]


@dataclass(frozen=True)
class SecondDerivatives:
    """Second derivatives of all that a function returns.

    Parameters
    ----------
    trace : Trace
        The function, with a graph that holds them.
    parts : list of Part
        What has any: rows, then sums, outer ones first. Empty for a function that is linear.
    weights : dict
        Nodes of the weights of joined rows by their segments; see `second_order`.
    """

    trace: Trace
    parts: list[Part]
    weights: dict[int, int]

    def is_sum(self, leaf: int) -> bool:
        """Whether a leaf is a sum."""
        return bool(self.trace.graph.nodes[leaf][0] == "sum")


def is_single(graph: Graph, segment: Segment) -> bool:
    """Whether a segment is one row."""
    return not graph.shapes[segment.node] and prod(segment.shape) == 1


def second_order(trace: Trace, joined: bool = True) -> SecondDerivatives:
    """Differentiate a function twice; its own graph stays as it is.

    Parameters
    ----------
    trace : Trace
        The function.
    joined : bool
        Whether rows that are single numbers are multiplied by their weights and added up before they are
        differentiated: rows that have much in common, as the steps of a recurrence, are then gone through once.

    Raises
    ------
    NotTraceable
        Where a second derivative has no graph.
    """
    graph = trace.graph.apart()
    trace = replace(trace, graph=graph)
    of_sums: dict[int, Part] = {}

    def part(node: int, shape: Shape, segment: int | None, total: int) -> Part:
        slopes = {leaf: slope for leaf, slope in derivatives(graph, node).items() if leaf in of_sums}
        return Part(shape, segment, total, slopes, second_derivatives(graph, node))

    for index in sums_of(trace):
        child = graph.nodes[index][1]
        if depends_on_parameters(graph, child):
            found = part(child, graph.shapes[child], None, index)
            if found.pairs or found.slopes:
                of_sums[index] = found
    single = [k for k, segment in enumerate(trace.segments) if joined and is_single(graph, segment)]
    weights = {k: graph.leaf(("weight", k), ()) for k in single}
    parts = [part(one.node, one.shape, k, -1) for k, one in enumerate(trace.segments) if k not in weights]
    if weights:
        products = [graph.apply("*", weight, trace.segments[k].node) for k, weight in weights.items()]
        parts.append(part(reduce(partial(graph.apply, "+"), products), (), None, -1))
    reached = {leaf for one in parts for leaf in one.slopes}
    for index in reversed(of_sums):
        if index in reached:
            parts.append(of_sums[index])
            reached.update(of_sums[index].slopes)
    return SecondDerivatives(trace, [one for one in parts if one.pairs or one.slopes], weights)


class Position(NamedTuple):
    """Which parameter a leaf stands for: ``first + strides . index``."""

    first: int
    strides: tuple[int, ...]

    def is_before(self, other: Position) -> bool:
        """Whether the other parameter has the higher number, at all indices and for all lengths of the axes."""
        return other.first > self.first and all(b >= a for a, b in zip(self.strides, other.strides, strict=True))


def position(graph: Graph, leaf: int, shape: Shape) -> Position:
    """Return which parameter a leaf stands for in an index space."""
    node = graph.nodes[leaf]
    return Position(node[1], node[2] if node[0] == "parameters" else (0,) * len(shape or (1,)))
