"""Derivatives of expressions, as expressions in the same graph.

Reverse mode: with the adjoint ``a_i = d out / d v_i`` of the output one,

    a_j = sum over uses i of v_j:   a_i * d v_i / d v_j,

taken from the output to the leaves, gives the derivatives by all parameters for a small multiple of the operations of
the output itself [1]_. Forward mode carries ``d v_i / d p`` from one parameter to the output; it is taken where it needs
fewer operations. Since derivatives are graphs, second ones are derivatives of derivatives.

A leaf that reads parameters over an index space has a derivative there: entry ``index`` of the output depends on
parameter ``offset + strides . index``. A sum is a leaf too; its own derivatives are those of what it sums.

Where a function has a kink: ``abs`` and ``sign`` have derivative 0 at 0, ``minimum`` and ``maximum`` take their first
operand's at a tie, ``floor`` has 0 everywhere, and ``where`` that of the branch that it took.

References
----------
.. [1] A. Griewank, A. Walther, "Evaluating Derivatives", 2nd ed., 2008, sections 3.1, 3.2 and 4.6.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from nlsq.compiler.graph import LEAVES, TRUTHS, Graph, NotTraceable

PARAMETER_LEAVES = frozenset({"parameter", "parameters", "sum"})
TWO_OVER_ROOT_PI = 2.0 / math.sqrt(math.pi)
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
    reachable, seen = elementwise_nodes(graph, root), set()
    active: set[int] = set()
    for index in reachable:
        node = graph.nodes[index]
        seen.add(index)
        if node[0] in PARAMETER_LEAVES:
            if node[0] != "sum" or depends_on_parameters(graph, node[1]):
                active.add(index)
        elif node[0] not in LEAVES and node[0] not in TRUTHS and any(one in active for one in node[1:]):
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


def elementwise_nodes(graph: Graph, root: int) -> list[int]:
    """Return the nodes that an expression needs at one index, operands first; sums are leaves."""
    seen = {root}
    stack = [root]
    while stack:
        node = graph.nodes[stack.pop()]
        if node[0] in LEAVES:
            continue
        for operand in node[1:]:
            if operand not in seen:
                seen.add(operand)
                stack.append(operand)
    return sorted(seen)


def depends_on_parameters(graph: Graph, root: int) -> bool:
    """Whether an expression changes with the parameters."""
    return any(graph.nodes[index][0] in ("parameter", "parameters") for index in graph.reachable([root]))


def operations(graph: Graph, roots: list[int]) -> int:
    """Count the operations that expressions need together."""
    return sum(graph.nodes[index][0] not in LEAVES for index in graph.reachable(roots))


def _price(graph: Graph, roots: list[int], start: int) -> int:
    """Count the operations that came after node `start`."""
    return sum(index >= start and graph.nodes[index][0] not in LEAVES for index in graph.reachable(roots))


def _reverse(graph: Graph, root: int, reachable: list[int], active: set[int]) -> dict[int, int]:
    rules = _Rules(graph)
    adjoints = {root: graph.number(1.0)}
    found: dict[int, int] = {}
    for index in reversed(reachable):
        adjoint = adjoints.pop(index, None)
        if adjoint is None or index not in active:
            continue
        if graph.nodes[index][0] in PARAMETER_LEAVES:
            found[index] = adjoint
            continue
        for operand, term in rules.terms(index, adjoint):
            if operand in active:
                before = adjoints.get(operand)
                adjoints[operand] = term if before is None else graph.apply("+", before, term)
    return found


def _forward(graph: Graph, root: int, reachable: list[int], active: set[int], leaf: int) -> int:
    rules = _Rules(graph)
    one = graph.number(1.0)
    tangents: dict[int, int] = {leaf: one}
    for index in reachable:
        if index not in active or index == leaf:
            continue
        total: int | None = None
        for operand, partial in rules.terms(index, one):
            if operand in tangents:
                term = graph.apply("*", partial, tangents[operand])
                total = term if total is None else graph.apply("+", total, term)
        if total is not None:
            tangents[index] = total
    return tangents.get(root, graph.number(0.0))


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


def _product(r: _Rules, v: int, a: int, x: tuple[int, ...]) -> list[tuple[int, int]]:
    if x[0] == x[1]:
        term = r.times(a, x[0])
        return [(x[0], r.op("+", term, term))]
    return [(x[0], r.times(a, x[1])), (x[1], r.times(a, x[0]))]


def _quotient(r: _Rules, v: int, a: int, x: tuple[int, ...]) -> list[tuple[int, int]]:
    share = r.op("/", a, x[1])
    return [(x[0], share), (x[1], r.op("neg", r.times(share, v)))]


def _power(r: _Rules, v: int, a: int, x: tuple[int, ...]) -> list[tuple[int, int]]:
    """At base 0 the quotient b v / x is 0/0: 0 for b > 1, 1 for b = 1, infinite below."""
    base, exponent = x
    at_zero = r.op("where", r.op(">", exponent, 1.0), 0.0, r.op("where", r.op("==", exponent, 1.0), 1.0, r.op("/", 1.0, 0.0)))
    zero = r.op("==", base, 0.0)
    by_base = r.op("where", zero, at_zero, r.op("/", r.times(exponent, v), base))
    by_exponent = r.op("where", zero, 0.0, r.times(v, r.op("log", base)))
    return [(base, r.times(a, by_base)), (exponent, r.times(a, by_exponent))]


def _hypot(r: _Rules, v: int, a: int, x: tuple[int, ...]) -> list[tuple[int, int]]:
    safe = r.op("where", r.op("==", v, 0.0), 1.0, v)
    share = r.op("/", a, safe)
    return [(x[0], r.times(share, x[0])), (x[1], r.times(share, x[1]))]


def _atan2(r: _Rules, v: int, a: int, x: tuple[int, ...]) -> list[tuple[int, int]]:
    share = r.op("/", a, r.op("+", r.times(x[0], x[0]), r.times(x[1], x[1])))
    return [(x[0], r.times(share, x[1])), (x[1], r.op("neg", r.times(share, x[0])))]


def _extreme(sign: str) -> Rule:
    def rule(r: _Rules, v: int, a: int, x: tuple[int, ...]) -> list[tuple[int, int]]:
        first = r.op(sign, x[0], x[1])
        return [(x[0], r.op("where", first, a, 0.0)), (x[1], r.op("where", first, 0.0, a))]

    return rule


def _where(r: _Rules, v: int, a: int, x: tuple[int, ...]) -> list[tuple[int, int]]:
    return [(x[1], r.op("where", x[0], a, 0.0)), (x[2], r.op("where", x[0], 0.0, a))]


def _copysign(r: _Rules, v: int, a: int, x: tuple[int, ...]) -> list[tuple[int, int]]:
    return [(x[0], r.times(a, r.op("*", r.op("sign", x[0]), r.op("copysign", 1.0, x[1]))))]


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
    """w' = -2 z w + 2i / sqrt(pi) for z = x + iy: with w = u + iv, u_x = v_y = Re w' and v_x = -u_y = Im w'."""

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
    "minimum": _extreme("<="), "maximum": _extreme(">="), "where": _where, "copysign": _copysign,
    "neg": lambda r, v, a, x: [(x[0], r.op("neg", a))],
    "abs": _by(lambda r, v, x: r.op("sign", x)),
    "sign": lambda r, v, a, x: [], "floor": lambda r, v, a, x: [],
    "sqrt": lambda r, v, a, x: [(x[0], r.op("/", r.times(a, r.graph.number(0.5)), v))],
    "exp": _by(lambda r, v, x: v),
    "expm1": _by(lambda r, v, x: r.op("exp", x)),
    "log": _over(lambda r, v, x: x),
    "log1p": _over(lambda r, v, x: r.op("+", 1.0, x)),
    "log2": _over(lambda r, v, x: r.times(x, r.graph.number(math.log(2.0)))),
    "log10": _over(lambda r, v, x: r.times(x, r.graph.number(math.log(10.0)))),
    "sin": _by(lambda r, v, x: r.op("cos", x)),
    "cos": _by(lambda r, v, x: r.op("neg", r.op("sin", x))),
    "tan": _by(lambda r, v, x: r.op("+", 1.0, _square(r, v))),
    "asin": _over(lambda r, v, x: r.op("sqrt", _one_minus_square(r, x))),
    "acos": _by(lambda r, v, x: r.op("/", -1.0, r.op("sqrt", _one_minus_square(r, x)))),
    "atan": _over(lambda r, v, x: r.op("+", 1.0, _square(r, x))),
    "sinh": _by(lambda r, v, x: r.op("cosh", x)),
    "cosh": _by(lambda r, v, x: r.op("sinh", x)),
    "tanh": _by(lambda r, v, x: _one_minus_square(r, v)),
    "asinh": _over(lambda r, v, x: r.op("sqrt", r.op("+", 1.0, _square(r, x)))),
    "acosh": _over(lambda r, v, x: r.op("*", r.op("sqrt", r.op("-", x, 1.0)), r.op("sqrt", r.op("+", x, 1.0)))),
    "atanh": _over(lambda r, v, x: _one_minus_square(r, x)),
    "cbrt": lambda r, v, a, x: [(x[0], r.op("/", a, r.times(r.graph.number(3.0), _square(r, v))))],
    "erf": _by(lambda r, v, x: _bell(r, x)),
    "erfc": _by(lambda r, v, x: r.op("neg", _bell(r, x))),
    "expit": _by(lambda r, v, x: r.times(v, r.op("expit", r.op("neg", x)))),
    "gammaln": _by(lambda r, v, x: r.op("digamma", x)),
    "digamma": _by(lambda r, v, x: r.op("trigamma", x)),
    "wofz_real": _faddeeva("real"), "wofz_imag": _faddeeva("imag"),
}  # fmt: skip
