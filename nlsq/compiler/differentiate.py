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

import math
from collections.abc import Callable
from typing import Any

from nlsq.compiler.graph import LEAVES, TRUTHS, Graph, NotTraceable

PARAMETER_LEAVES = frozenset({"parameter", "parameters", "sum"})
TWO_OVER_ROOT_PI = 2.0 / math.sqrt(math.pi)
MOST_CONDITIONS = 300  # choices inside each other
FORWARD_UP_TO = 400  # nodes: beyond, forward mode is not even counted
Rule = Callable[["_Rules", int, int, tuple[int, ...]], list[tuple[int, int]]]


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
    leaves = [index for index in reachable if index in active and graph.nodes[index][0] in PARAMETER_LEAVES]
    if len(leaves) == 1 and len(reachable) <= FORWARD_UP_TO:
        forward = _forward(graph, root, reachable, active, leaves[0])
        if _price(graph, [forward], start) < _price(graph, list(reverse.values()), start):
            return {leaves[0]: forward}
    zero = graph.number(0.0)
    return {leaf: node for leaf, node in reverse.items() if node != zero}


def second_derivatives(graph: Graph, root: int) -> dict[tuple[int, int], int]:
    """Return the second derivatives of an expression by pairs of single parameters.

    Parameters
    ----------
    graph : Graph
        Gets the derivatives' nodes.
    root : int
        Expression whose leaves are single parameters, not parameters over an index space or sums of such.

    Returns
    -------
    dict
        Node of the derivative by (leaf of parameter i, leaf of parameter j), i <= j; the other half is equal, and pairs
        whose derivative is zero are left out.

    Raises
    ------
    NotTraceable
        For other leaves, and where a second derivative has no graph (the third of ``gammaln``).
    """
    first = derivatives(graph, root)
    if any(graph.nodes[leaf][0] != "parameter" for leaf in first):
        raise NotTraceable("second derivatives by parameters over an index space, or of sums over them")
    result: dict[tuple[int, int], int] = {}
    for leaf, slope in first.items():
        for other, node in derivatives(graph, slope).items():
            if graph.nodes[leaf][1] <= graph.nodes[other][1]:
                result[leaf, other] = node
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


def _price(graph: Graph, roots: list[int], start: int) -> int:
    """Count the operations that came after node `start`."""
    return sum(index >= start and graph.nodes[index][0] not in LEAVES for index in graph.reachable(roots))


Conditions = tuple[tuple[int, bool], ...]  # nodes of truth values and what they are, outermost first
Contribution = tuple[Conditions, int]


def _reverse(graph: Graph, root: int, reachable: list[int], active: set[int]) -> dict[int, int]:
    rules = _Rules(graph)
    contributions: dict[int, list[Contribution]] = {root: [((), graph.number(1.0))]}
    found: dict[int, int] = {}
    for index in reversed(reachable):
        parts = contributions.pop(index, None)
        if parts is None or index not in active:
            continue
        node = graph.nodes[index]
        if node[0] in PARAMETER_LEAVES:
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
    rules = _Rules(graph)
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


class _Rules:
    """What an operation adds to the adjoints of its operands."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def terms(self, index: int, adjoint: int) -> list[tuple[int, int]]:
        """Return ``(operand, adjoint * d node / d operand)`` for each operand."""
        node = self.graph.nodes[index]
        rule = _RULES.get(node[0])
        if rule is None:
            raise NotTraceable(f"{node[0]} has no derivative here")
        return rule(self, index, adjoint, node[1:])

    def op(self, operation: str, *operands: int | float) -> int:
        """Return a node; numbers become nodes."""
        nodes = [self.graph.number(one) if isinstance(one, float) else one for one in operands]
        return self.graph.apply(operation, *nodes)

    def times(self, adjoint: int, factor: int) -> int:
        """Return a product."""
        return self.graph.apply("*", adjoint, factor)

    def share(self, adjoint: int, divisor: int) -> int:
        """Return a quotient, 0 where the divisor is 0."""
        return self.op("where", self.op("==", divisor, 0.0), 0.0, self.op("/", adjoint, divisor))


def _product(r: _Rules, v: int, a: int, x: tuple[int, ...]) -> list[tuple[int, int]]:
    if x[0] == x[1]:
        term = r.times(a, x[0])
        return [(x[0], r.op("+", term, term))]
    return [(x[0], r.times(a, x[1])), (x[1], r.times(a, x[0]))]


def _quotient(r: _Rules, v: int, a: int, x: tuple[int, ...]) -> list[tuple[int, int]]:
    share = r.op("/", a, x[1])
    return [(x[0], share), (x[1], r.op("neg", r.times(share, v)))]


def _power(r: _Rules, v: int, a: int, x: tuple[int, ...]) -> list[tuple[int, int]]:
    """At base 0 the quotient b v / x is 0/0: 1 for b = 1, else 0, which is right for b > 1."""
    base, exponent = x
    zero = r.op("==", base, 0.0)
    at_zero = r.op("where", r.op("==", exponent, 1.0), 1.0, 0.0)
    by_base = r.op("where", zero, at_zero, r.op("/", r.times(exponent, v), base))
    by_exponent = r.op("where", zero, 0.0, r.times(v, r.op("log", base)))
    return [(base, r.times(a, by_base)), (exponent, r.times(a, by_exponent))]


def _hypot(r: _Rules, v: int, a: int, x: tuple[int, ...]) -> list[tuple[int, int]]:
    share = r.share(a, v)
    return [(x[0], r.times(share, x[0])), (x[1], r.times(share, x[1]))]


def _atan2(r: _Rules, v: int, a: int, x: tuple[int, ...]) -> list[tuple[int, int]]:
    share = r.share(a, r.op("+", r.times(x[0], x[0]), r.times(x[1], x[1])))
    return [(x[0], r.times(share, x[1])), (x[1], r.op("neg", r.times(share, x[0])))]


def _copysign(r: _Rules, v: int, a: int, x: tuple[int, ...]) -> list[tuple[int, int]]:
    return [(x[0], r.times(a, r.op("*", r.op("sign", x[0]), r.op("copysign", 1.0, x[1]))))]


def _ended(divisor: Callable[[_Rules, int, int], int]) -> Rule:
    """Return the rule of a function whose derivative is ``1 / divisor``, and taken as 0 where that is infinite."""
    return lambda r, v, a, x: [(x[0], r.share(a, divisor(r, v, x[0])))]


def _inverse_cosh_square(r: _Rules, x: int) -> int:
    """Return 1 / cosh^2 x; 1 - tanh^2 x would cancel."""
    inverse = r.op("/", 1.0, r.op("cosh", x))
    return r.times(inverse, inverse)


def _by(partial: Callable[[_Rules, int, int], int]) -> Rule:
    """Return the rule of a function of one operand: ``partial(rules, value, operand)`` is its derivative."""
    return lambda r, v, a, x: [(x[0], r.times(a, partial(r, v, x[0])))]


def _over(divisor: Callable[[_Rules, int, int], int]) -> Rule:
    """Return the rule of a function whose derivative is ``1 / divisor``."""
    return lambda r, v, a, x: [(x[0], r.op("/", a, divisor(r, v, x[0])))]


def _square(r: _Rules, x: int) -> int:
    return r.times(x, x)


def _one_minus_square(r: _Rules, x: int) -> int:
    return r.times(r.op("-", 1.0, x), r.op("+", 1.0, x))


def _bell(r: _Rules, x: int) -> int:
    return r.times(r.graph.number(TWO_OVER_ROOT_PI), r.op("exp", r.op("neg", _square(r, x))))


def _faddeeva(part: str) -> Rule:
    """W' = -2 z w + 2i / sqrt(pi) for z = x + iy: with w = u + iv, u_x = v_y = Re w' and v_x = -u_y = Im w'."""

    def rule(r: _Rules, v: int, a: int, x: tuple[int, ...]) -> list[tuple[int, int]]:
        re, im = x
        u, w = r.op("wofz_real", re, im), r.op("wofz_imag", re, im)
        real = r.times(r.graph.number(-2.0), r.op("-", r.times(re, u), r.times(im, w)))
        imag = r.op("-", TWO_OVER_ROOT_PI, r.times(r.graph.number(2.0), r.op("+", r.times(re, w), r.times(im, u))))
        if part == "real":
            return [(re, r.times(a, real)), (im, r.op("neg", r.times(a, imag)))]
        return [(re, r.times(a, imag)), (im, r.times(a, real))]

    return rule


_RULES: dict[str, Rule] = {
    "+": lambda r, v, a, x: [(x[0], r.op("+", a, a))] if x[0] == x[1] else [(x[0], a), (x[1], a)],
    "-": lambda r, v, a, x: [(x[0], a), (x[1], r.op("neg", a))],
    "*": _product, "/": _quotient, "pow": _power, "hypot": _hypot, "atan2": _atan2,
    "copysign": _copysign,
    "neg": lambda r, v, a, x: [(x[0], r.op("neg", a))],
    "abs": _by(lambda r, v, x: r.op("sign", x)),
    "sign": lambda r, v, a, x: [], "floor": lambda r, v, a, x: [],
    "sqrt": _ended(lambda r, v, x: r.times(r.graph.number(2.0), v)),
    "exp": _by(lambda r, v, x: v),
    "expm1": _by(lambda r, v, x: r.op("exp", x)),
    "log": _over(lambda r, v, x: x),
    "log1p": _over(lambda r, v, x: r.op("+", 1.0, x)),
    "log2": _over(lambda r, v, x: r.times(x, r.graph.number(math.log(2.0)))),
    "log10": _over(lambda r, v, x: r.times(x, r.graph.number(math.log(10.0)))),
    "sin": _by(lambda r, v, x: r.op("cos", x)),
    "cos": _by(lambda r, v, x: r.op("neg", r.op("sin", x))),
    "tan": _by(lambda r, v, x: r.op("+", 1.0, _square(r, v))),
    "asin": _ended(lambda r, v, x: r.op("sqrt", _one_minus_square(r, x))),
    "acos": _ended(lambda r, v, x: r.op("neg", r.op("sqrt", _one_minus_square(r, x)))),
    "atan": _over(lambda r, v, x: r.op("+", 1.0, _square(r, x))),
    "sinh": _by(lambda r, v, x: r.op("cosh", x)),
    "cosh": _by(lambda r, v, x: r.op("sinh", x)),
    "tanh": _by(lambda r, v, x: _inverse_cosh_square(r, x)),
    "asinh": _over(lambda r, v, x: r.op("sqrt", r.op("+", 1.0, _square(r, x)))),
    "acosh": _ended(lambda r, v, x: r.op("*", r.op("sqrt", r.op("-", x, 1.0)), r.op("sqrt", r.op("+", x, 1.0)))),
    "atanh": _over(lambda r, v, x: _one_minus_square(r, x)),
    "cbrt": _ended(lambda r, v, x: r.times(r.graph.number(3.0), _square(r, v))),
    "erf": _by(lambda r, v, x: _bell(r, x)),
    "erfc": _by(lambda r, v, x: r.op("neg", _bell(r, x))),
    "expit": _by(lambda r, v, x: r.times(v, r.op("expit", r.op("neg", x)))),
    "gammaln": _by(lambda r, v, x: r.op("digamma", x)),
    "digamma": _by(lambda r, v, x: r.op("trigamma", x)),
    "wofz_real": _faddeeva("real"), "wofz_imag": _faddeeva("imag"),
}  # fmt: skip
