"""Derivatives of expressions, as expressions in the same graph.

Reverse mode: with the adjoint ``a_i = d out / d v_i`` of the output one,

    a_j = sum over uses i of v_j:   a_i * d v_i / d v_j,

taken from the output to the leaves, gives the derivatives by all parameters for a small multiple of the operations of
the output itself [1]_. Forward mode carries ``d v_i / d p`` from one parameter to the output; it is taken where it
needs fewer operations. Since derivatives are graphs, second ones are derivatives of derivatives.

A leaf that reads parameters over an index space has a derivative there: entry ``index`` of the output depends on
parameter ``offset + strides . index``. A sum is a leaf too; its own derivatives are those of what it sums.

Where a function has a kink: ``abs`` and ``sign`` have derivative 0 at 0, ``minimum`` and ``maximum`` take their first
operand's at a tie, ``floor`` has 0 everywhere, and ``where`` that of the branch that it took. Where a derivative is
infinite at the end of a function's domain or at a root (``sqrt``, ``cbrt``, ``x**b`` with b < 1 and ``hypot`` at 0,
``asin``, ``acos`` and ``acosh`` at +-1), 0 is taken: what is meant is mostly ``sqrt(a x)`` at x = 0, whose derivative
by a is 0, while the product of the chain rule would be infinity times 0.

What a branch of ``where`` is made of may be infinite or NaN where the other branch is taken, and 0 times that would be
NaN. So the adjoint of a node in a branch is not multiplied by 0 elsewhere; it is a number that holds under a condition,
with the chain of conditions noted beside it, and is chosen when it leaves the branch: at a leaf, or at a node that is
used outside too.

``trigamma`` has no derivative here: second derivatives of ``gammaln`` are the last.

References
----------
.. [1] A. Griewank, A. Walther, "Evaluating Derivatives", 2nd ed., 2008, sections 3.1, 3.2 and 4.6.
"""

from __future__ import annotations

from typing import Any

from nlsq.compiler.derivative_rules import Rules
from nlsq.compiler.graph import LEAVES, TRUTHS, Graph, NotTraceable

PARAMETER_LEAVES = frozenset({"parameter", "parameters", "sum"})
MOST_CONDITIONS = 300  # choices inside each other
COMPARED_UP_TO = 16  # leaves: beyond, nobody looks which order of differentiation needs fewer operations
_KINDS = {"parameter": 0, "parameters": 1, "sum": 2}
FORWARD_UP_TO = 400  # nodes: beyond, forward mode is not even counted


def derivatives(graph: Graph, root: int) -> dict[int, int]:
    """Return the derivative of an expression by each of its leaves that depends on the parameters.

    Parameters
    ----------
    graph : Graph
        Gets the derivatives' nodes.
    root : int
        Expression.

    Returns
    -------
    dict
        Node of the derivative, elementwise over the shape of the expression, by leaf; leaves whose derivative is zero
        are left out.
    """
    found = graph.derived.get(root)
    if found is None:
        found = graph.derived[root] = _derivatives(graph, root)
    return found


def _derivatives(graph: Graph, root: int) -> dict[int, int]:
    """Do the work of `derivatives`, which remembers the result: a second time operations would look as if for free."""
    reachable = graph.elementwise(root)
    active: set[int] = set()
    for index in reachable:
        node = graph.nodes[index]
        if node[0] in PARAMETER_LEAVES:
            if node[0] != "sum" or depends_on_parameters(graph, node[1]):
                active.add(index)
        elif (
            node[0] not in LEAVES
            and node[0] not in TRUTHS
            and any(one in active for one in node[1 + (node[0] == "where") :])
        ):
            active.add(index)
    if root not in active:
        return {}
    start = len(graph.nodes)
    reverse = _reverse(graph, root, reachable, active)
    numbers = _numbers(graph, root, reachable, active)
    if numbers:
        apart = _through_numbers(graph, root, reachable, active, numbers)
        if _price(graph, list(apart.values()), start, root) < _price(graph, list(reverse.values()), start, root):
            reverse = apart
    leaves = [index for index in reachable if index in active and graph.nodes[index][0] in PARAMETER_LEAVES]
    if len(leaves) == 1 and len(reachable) <= FORWARD_UP_TO:
        forward = _forward(graph, root, reachable, active, leaves[0])
        if _price(graph, [forward], start, root) < _price(graph, list(reverse.values()), start, root):
            return {leaves[0]: forward}
    zero = graph.number(0.0)
    return {leaf: node for leaf, node in reverse.items() if node != zero}


def second_derivatives(graph: Graph, root: int) -> dict[tuple[int, int], int]:
    """Return the second derivatives of an expression by pairs of its leaves.

    Parameters
    ----------
    graph : Graph
        Gets the derivatives' nodes.
    root : int
        Expression.

    Returns
    -------
    dict
        Node of the derivative, elementwise over the shape of the expression, by pairs of leaves: of single parameters
        the one with the lower number first, then parameters over the index space, then sums. The other half is equal.
        Pairs whose derivative is zero are left out. A sum is a leaf like a parameter: its own second derivatives are
        those of what it sums.

    Raises
    ------
    NotTraceable
        Where a second derivative has no graph (the third of ``gammaln``).
    """
    first = derivatives(graph, root)
    leaves = sorted(first, key=lambda leaf: (_KINDS[graph.nodes[leaf][0]], graph.nodes[leaf][1], leaf))
    order = {leaf: position for position, leaf in enumerate(leaves)}
    rows = {leaf: derivatives(graph, first[leaf]) for leaf in leaves}
    result: dict[tuple[int, int], int] = {}
    for leaf in leaves:
        for other in sorted(rows[leaf], key=order.__getitem__):
            # a derivative that vanishes in one order of differentiation does so in the other
            if order[other] >= order[leaf] and leaf in rows[other]:
                either = rows[leaf][other], rows[other][leaf]
                few = len(leaves) <= COMPARED_UP_TO and either[0] != either[1]
                result[leaf, other] = min(either, key=lambda one: operations(graph, [one])) if few else either[0]
    return result


def elementwise_nodes(graph: Graph, root: int) -> list[int]:
    """Return the nodes that an expression needs at one index, operands first; sums are leaves."""
    return graph.elementwise(root)


def depends_on_parameters(graph: Graph, root: int) -> bool:
    """Whether an expression changes with the parameters."""
    return any(graph.nodes[index][0] in ("parameter", "parameters") for index in graph.reachable([root]))


def operations(graph: Graph, roots: list[int]) -> int:
    """Count the operations that expressions need together."""
    return sum(graph.nodes[index][0] not in LEAVES for index in graph.reachable(roots))


def _price(graph: Graph, roots: list[int], start: int, root: int) -> int:
    """Count the operations that came after node `start`, of an array those that run over its index space."""
    array = bool(graph.shapes[root])
    return sum(
        index >= start and graph.nodes[index][0] not in LEAVES and bool(graph.shapes[index]) == array
        for index in graph.reachable(roots)
    )


def _numbers(graph: Graph, root: int, reachable: list[int], active: set[int]) -> set[int]:
    """Return the operations on parameters alone, such as ``1 / width**2``, that an array's expression uses."""
    if not graph.shapes[root]:
        return set()
    return {
        operand
        for index in reachable
        if graph.shapes[index]
        for operand in graph.operands(index)
        if operand in active and not graph.shapes[operand] and graph.nodes[operand][0] not in PARAMETER_LEAVES
    }


def _through_numbers(
    graph: Graph, root: int, reachable: list[int], active: set[int], numbers: set[int]
) -> dict[int, int]:
    """Go back to numbers and parameters over the index space, and on from each number by its own derivatives.

    What the numbers' derivatives need is computed once, not at each index.
    """
    adjoints = _reverse(graph, root, reachable, active, numbers)
    result = {leaf: node for leaf, node in adjoints.items() if leaf not in numbers}
    for number in sorted(numbers & adjoints.keys()):
        for leaf, slope in derivatives(graph, number).items():
            term = graph.apply("*", adjoints[number], slope)
            result[leaf] = graph.apply("+", result[leaf], term) if leaf in result else term
    return result


Conditions = tuple[tuple[int, bool], ...]  # nodes of truth values and what they are, outermost first
Contribution = tuple[Conditions, int]


def _reverse(
    graph: Graph, root: int, reachable: list[int], active: set[int], ends: frozenset[int] | set[int] = frozenset()
) -> dict[int, int]:
    """Return the adjoints of the leaves, and of the nodes in `ends`, behind which nothing is looked at."""
    rules = Rules(graph)
    contributions: dict[int, list[Contribution]] = {root: [((), graph.number(1.0))]}
    found: dict[int, int] = {}
    for index in reversed(reachable):
        parts = contributions.pop(index, None)
        if parts is None or index not in active:
            continue
        node = graph.nodes[index]
        if node[0] in PARAMETER_LEAVES or index in ends:
            found[index] = _combined(graph, parts, 0)
            continue
        shared = _shared(parts)
        adjoint = _combined(graph, parts, len(shared))
        branches = _branches(graph, node)
        if branches is not None:
            condition, taken, other = branches
            known = dict(shared).get(condition)
            for operand, value in ((taken, True), (other, False)):
                if operand in active and known in (None, value):
                    conditions = shared if known is not None else (*shared, (condition, value))
                    contributions.setdefault(operand, []).append((conditions, adjoint))
            continue
        for operand, term in rules.terms(index, adjoint):
            if operand in active:
                contributions.setdefault(operand, []).append((shared, term))
    return found


def _branches(graph: Graph, node: tuple[Any, ...]) -> tuple[int, int, int] | None:
    """Return the condition and the two branches of an operation that chooses."""
    if node[0] == "where":
        return int(node[1]), int(node[2]), int(node[3])
    if node[0] in ("minimum", "maximum"):
        return graph.apply("<=" if node[0] == "minimum" else ">=", node[1], node[2]), int(node[1]), int(node[2])
    return None


def _shared(parts: list[Contribution]) -> Conditions:
    """Return the conditions that all contributions begin with."""
    first = parts[0][0]
    length = len(first)
    for conditions, _ in parts[1:]:
        length = min(length, len(conditions))
        while conditions[:length] != first[:length]:
            length -= 1
    return first[:length]


def _combined(graph: Graph, parts: list[Contribution], depth: int) -> int:
    """Return the sum of contributions under the first `depth` conditions; what holds under more is chosen by them."""
    total: int | None = None
    chosen: dict[int, tuple[list[Contribution], list[Contribution]]] = {}
    for conditions, adjoint in parts:
        if len(conditions) == depth:
            total = adjoint if total is None else graph.apply("+", total, adjoint)
        else:
            condition, value = conditions[depth]
            chosen.setdefault(condition, ([], []))[0 if value else 1].append((conditions, adjoint))
    if chosen and depth >= MOST_CONDITIONS:
        raise NotTraceable(f"more than {MOST_CONDITIONS} choices inside each other")
    for condition, sides in chosen.items():
        values = [_combined(graph, side, depth + 1) if side else graph.number(0.0) for side in sides]
        term = graph.apply("where", condition, *values)
        total = term if total is None else graph.apply("+", total, term)
    assert total is not None
    return total


def _forward(graph: Graph, root: int, reachable: list[int], active: set[int], leaf: int) -> int:
    rules = Rules(graph)
    one, zero = graph.number(1.0), graph.number(0.0)
    tangents: dict[int, int] = {leaf: one}
    for index in reachable:
        if index not in active or index == leaf:
            continue
        branches = _branches(graph, graph.nodes[index])
        if branches is not None:
            condition, taken, other = branches
            tangents[index] = graph.apply("where", condition, tangents.get(taken, zero), tangents.get(other, zero))
            continue
        total: int | None = None
        for operand, partial in rules.terms(index, one):
            if operand in tangents:
                term = graph.apply("*", partial, tangents[operand])
                total = term if total is None else graph.apply("+", total, term)
        if total is not None:
            tangents[index] = total
    return tangents.get(root, zero)
