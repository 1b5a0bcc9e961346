"""What each operation adds to the adjoints of its operands; the conventions stand in `nlsq.compiler.differentiate`."""

from __future__ import annotations

import math
from collections.abc import Callable

from nlsq.compiler.graph import Graph, NotTraceable

TWO_OVER_ROOT_PI = 2.0 / math.sqrt(math.pi)
Rule = Callable[["Rules", int, int, tuple[int, ...]], list[tuple[int, int]]]


class Rules:
    """What an operation adds to the adjoints of its operands."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def terms(self, index: int, adjoint: int) -> list[tuple[int, int]]:
        """Return ``(operand, adjoint * d node / d operand)`` for each operand."""
        node = self.graph.nodes[index]
        rule = RULES.get(node[0])
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


def _product(r: Rules, v: int, a: int, x: tuple[int, ...]) -> list[tuple[int, int]]:
    if x[0] == x[1]:
        term = r.times(a, x[0])
        return [(x[0], r.op("+", term, term))]
    return [(x[0], r.times(a, x[1])), (x[1], r.times(a, x[0]))]


def _quotient(r: Rules, v: int, a: int, x: tuple[int, ...]) -> list[tuple[int, int]]:
    share = r.op("/", a, x[1])
    return [(x[0], share), (x[1], r.op("neg", r.times(share, v)))]


def _power(r: Rules, v: int, a: int, x: tuple[int, ...]) -> list[tuple[int, int]]:
    """At base 0 the quotient b v / x is 0/0: 1 for b = 1, else 0, which is right for b > 1."""
    base, exponent = x
    zero = r.op("==", base, 0.0)
    at_zero = r.op("where", r.op("==", exponent, 1.0), 1.0, 0.0)
    by_base = r.op("where", zero, at_zero, r.op("/", r.times(exponent, v), base))
    by_exponent = r.op("where", zero, 0.0, r.times(v, r.op("log", base)))
    return [(base, r.times(a, by_base)), (exponent, r.times(a, by_exponent))]


def _hypot(r: Rules, v: int, a: int, x: tuple[int, ...]) -> list[tuple[int, int]]:
    share = r.share(a, v)
    return [(x[0], r.times(share, x[0])), (x[1], r.times(share, x[1]))]


def _atan2(r: Rules, v: int, a: int, x: tuple[int, ...]) -> list[tuple[int, int]]:
    share = r.share(a, r.op("+", r.times(x[0], x[0]), r.times(x[1], x[1])))
    return [(x[0], r.times(share, x[1])), (x[1], r.op("neg", r.times(share, x[0])))]


def _copysign(r: Rules, v: int, a: int, x: tuple[int, ...]) -> list[tuple[int, int]]:
    return [(x[0], r.times(a, r.op("*", r.op("sign", x[0]), r.op("copysign", 1.0, x[1]))))]


def _ended(divisor: Callable[[Rules, int, int], int]) -> Rule:
    """Return the rule of a function whose derivative is ``1 / divisor``, and taken as 0 where that is infinite."""
    return lambda r, v, a, x: [(x[0], r.share(a, divisor(r, v, x[0])))]


def _inverse_cosh_square(r: Rules, x: int) -> int:
    """Return 1 / cosh^2 x; 1 - tanh^2 x would cancel."""
    inverse = r.op("/", 1.0, r.op("cosh", x))
    return r.times(inverse, inverse)


def _by(partial: Callable[[Rules, int, int], int]) -> Rule:
    """Return the rule of a function of one operand: ``partial(rules, value, operand)`` is its derivative."""
    return lambda r, v, a, x: [(x[0], r.times(a, partial(r, v, x[0])))]


def _over(divisor: Callable[[Rules, int, int], int]) -> Rule:
    """Return the rule of a function whose derivative is ``1 / divisor``."""
    return lambda r, v, a, x: [(x[0], r.op("/", a, divisor(r, v, x[0])))]


def _square(r: Rules, x: int) -> int:
    return r.times(x, x)


def _one_minus_square(r: Rules, x: int) -> int:
    return r.times(r.op("-", 1.0, x), r.op("+", 1.0, x))


def _bell(r: Rules, x: int) -> int:
    return r.times(r.graph.number(TWO_OVER_ROOT_PI), r.op("exp", r.op("neg", _square(r, x))))


def _faddeeva(part: str) -> Rule:
    """W' = -2 z w + 2i / sqrt(pi) for z = x + iy: with w = u + iv, u_x = v_y = Re w' and v_x = -u_y = Im w'."""

    def rule(r: Rules, v: int, a: int, x: tuple[int, ...]) -> list[tuple[int, int]]:
        re, im = x
        u, w = r.op("wofz_real", re, im), r.op("wofz_imag", re, im)
        real = r.times(r.graph.number(-2.0), r.op("-", r.times(re, u), r.times(im, w)))
        imag = r.op("-", TWO_OVER_ROOT_PI, r.times(r.graph.number(2.0), r.op("+", r.times(re, w), r.times(im, u))))
        if part == "real":
            return [(re, r.times(a, real)), (im, r.op("neg", r.times(a, imag)))]
        return [(re, r.times(a, imag)), (im, r.times(a, real))]

    return rule


RULES: dict[str, Rule] = {
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
