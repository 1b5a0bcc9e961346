"""A traced function of few parameters as scalars: every element of every array an expression of its own.

Derivatives are taken in forward mode for all outputs together: a node's tangents by the parameters that it depends on
are products of the operation's partial derivatives, which all directions share [1]_.

References
----------
.. [1] A. Griewank, A. Walther, "Evaluating Derivatives", 2nd ed., 2008, section 3.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlsq.compiler.derivative_rules import Rules
from nlsq.compiler.graph import LEAVES, TRUTHS, Graph, NotTraceable
from nlsq.compiler.tracing.trace import Trace

MOST_SCALARS = 40_000


def unrolled(trace: Trace) -> tuple[Graph, list[int]]:
    """Return a graph of scalars, and in it the node of each output.

    Raises
    ------
    NotTraceable
        If it has more than `MOST_SCALARS` nodes.
    """
    old = trace.graph
    graph = Graph(old.n)
    graph.constants, graph.data, graph.origins = list(old.constants), list(old.data), list(old.origins)
    elements: dict[int, list[int]] = {}
    for index in old.reachable([segment.node for segment in trace.segments]):
        elements[index] = _elements(old, graph, index, elements)
        if len(graph.nodes) > MOST_SCALARS:
            raise NotTraceable(f"its stages have more than {MOST_SCALARS} operations on numbers")
    outputs = [-1] * trace.m
    for segment in trace.segments:
        shape = segment.shape or (1,)
        places = np.tensordot(np.array(segment.strides or (1,)), np.indices(shape), axes=1).ravel() + segment.offset
        values = elements[segment.node]
        for position, place in enumerate(places.tolist()):
            outputs[place] = values[position if len(values) > 1 else 0]
    return graph, outputs


def _elements(old: Graph, graph: Graph, index: int, elements: dict[int, list[int]]) -> list[int]:
    """Return the scalars that a node stands for, in C order."""
    node, shape = old.nodes[index], old.shapes[index]
    if node[0] in ("number", "constant", "parameter"):
        return [graph.leaf(node, ())]
    if node[0] in ("parameters", "data"):
        steps = np.tensordot(np.array(node[-1]), np.indices(shape), axes=1).ravel() if shape else np.zeros(1, int)
        places = (node[-2] + steps).tolist()
        if node[0] == "parameters":
            return [graph.leaf(("parameter", place), ()) for place in places]
        return [graph.leaf(("data", node[1], place, ()), ()) for place in places]
    if node[0] == "sum":
        terms = elements[node[1]]
        count = int(np.prod(old.shapes[node[1]]))
        return [_sum(graph, terms if len(terms) == count else terms * count)]
    operands = [elements[one] for one in node[1:]]
    count = max(len(one) for one in operands)
    return [graph.apply(node[0], *(one[k if len(one) > 1 else 0] for one in operands)) for k in range(count)]


def _sum(graph: Graph, terms: list[int]) -> int:
    """Add in pairs, so that additions need not wait for each other."""
    while len(terms) > 1:
        pairs = [graph.apply("+", *pair) for pair in zip(terms[::2], terms[1::2], strict=False)]
        terms = pairs + terms[2 * len(pairs) :]
    return terms[0] if terms else graph.number(0.0)


def total(graph: Graph, terms: list[int]) -> int:
    """Return the sum of scalars, terms that are zero left out."""
    return _sum(graph, [one for one in terms if not graph.is_number(one, 0.0)])


def tangents(graph: Graph, roots: list[int]) -> list[dict[int, int]]:
    """Return, for each root, the derivatives that are not zero by parameter."""
    rules = Rules(graph)
    one, zero = graph.number(1.0), graph.number(0.0)
    known: dict[int, dict[int, int]] = {}
    for index in graph.reachable(roots):
        node = graph.nodes[index]
        if node[0] == "parameter":
            known[index] = {int(node[1]): one}
        elif node[0] not in LEAVES and node[0] not in TRUTHS:
            found = _of_node(graph, rules, index, known, one, zero)
            known[index] = {leaf: value for leaf, value in found.items() if value != zero}
            if len(graph.nodes) > MOST_SCALARS:
                raise NotTraceable(f"its stages and their derivatives have more than {MOST_SCALARS} operations")
    return [known.get(root, {}) for root in roots]


def _of_node(
    graph: Graph, rules: Rules, index: int, known: dict[int, dict[int, int]], one: int, zero: int
) -> dict[int, int]:
    node: tuple[Any, ...] = graph.nodes[index]
    if node[0] in ("where", "minimum", "maximum"):
        condition, a, b = node[1:] if node[0] == "where" else (_first_is_taken(graph, node), *node[1:])
        first, second = known.get(a, {}), known.get(b, {})
        leaves = sorted(first.keys() | second.keys())
        return {leaf: graph.apply("where", condition, first.get(leaf, zero), second.get(leaf, zero)) for leaf in leaves}
    if not any(known.get(operand) for operand in node[1:]):
        return {}
    result: dict[int, int] = {}
    for operand, partial in rules.terms(index, one):
        for leaf, tangent in known.get(operand, {}).items():
            term = graph.apply("*", partial, tangent)
            result[leaf] = graph.apply("+", result[leaf], term) if leaf in result else term
    return result


def _first_is_taken(graph: Graph, node: tuple[Any, ...]) -> int:
    return graph.apply("<=" if node[0] == "minimum" else ">=", node[1], node[2])
