"""Numbers that a function brings along and that change from call to call: symbolic in its graph, given with each call.

``for T in temperatures: curve_fit(lambda x, a, b: a * np.exp(-b * x / T), x, y)`` is one graph for all T, with T read
from the table of constants. What Python does with such numbers alone, before any parameter is met, may raise where
compiled code gives infinity or NaN: ``1.0 / 0.0``, ``math.log(-1.0)``, ``1e200 ** 2``. So everything that is computed
from numbers alone is computed here too, at each call, and where a value is not finite the graph is not used.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nlsq.compiler.graph import Graph, NotTraceable

Position = int | str  # among what a function brings along itself, or the name of a global
GIVEN = (float, np.float64)  # types of numbers that may be symbolic; integers count, index and choose powers

_PYTHON: dict[str, Callable[..., Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "pow": math.pow,
    "neg": operator.neg, "abs": abs,
    "sqrt": math.sqrt, "atan2": math.atan2, "hypot": math.hypot, "copysign": math.copysign,
    "minimum": min, "maximum": max, "sign": lambda a: (a > 0.0) - (a < 0.0),
    "exp": math.exp, "expm1": math.expm1, "log": math.log, "log1p": math.log1p, "log2": math.log2, "log10": math.log10,
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "asin": math.asin, "acos": math.acos, "atan": math.atan,
    "sinh": math.sinh, "cosh": math.cosh, "tanh": math.tanh, "asinh": math.asinh, "acosh": math.acosh,
    "atanh": math.atanh, "cbrt": math.cbrt, "erf": math.erf, "erfc": math.erfc,
    "where": lambda condition, a, b: a if condition else b, "not": operator.not_,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
    "and": lambda a, b: a and b, "or": lambda a, b: a or b,
}  # fmt: skip


class Computed:
    """What a graph computes from given numbers alone.

    Parameters
    ----------
    graph : Graph
        As it was recorded, without derivatives.

    Raises
    ------
    NotTraceable
        If that takes an operation that Python and compiled code round differently, by as much as one.
    """

    __slots__ = ("_literals", "_steps")

    def __init__(self, graph: Graph) -> None:
        given = {k: place for place, k in enumerate(graph.given.values())}
        first = len(given)
        places: dict[int, int] = {}
        self._literals: list[float] = []
        operations: list[tuple[str, tuple[int, ...]]] = []
        for index, node in enumerate(graph.nodes if given else ()):
            if node[0] == "constant" and node[1] in given:
                places[index] = given[node[1]]
            elif node[0] in ("constant", "number"):
                places[index] = -1 - len(self._literals)
                self._literals.append(float(node[1] if node[0] == "number" else graph.constants[node[1]]))
            elif graph.operands(index) and node[0] != "sum" and all(one in places for one in node[1:]):
                operands = tuple([places[one] for one in node[1:]])
                places[index] = first + len(operations)
                operations.append((node[0], operands))
        shift = first + len(self._literals)  # literals stand between the given numbers and what is computed
        self._steps: list[tuple[Callable[..., Any], list[int]]] = []
        for operation, operands in operations:
            function = _PYTHON.get(operation)
            if function is None:
                raise NotTraceable(f"the operation {operation} on a number that changes from call to call")
            self._steps.append((function, [_moved(one, first, shift) for one in operands]))

    def is_finite(self, numbers: Sequence[float]) -> bool:
        """Whether the numbers are finite, and all that is computed from them."""
        isfinite = math.isfinite
        for number in numbers:
            if not isfinite(number):
                return False
        if not self._steps:
            return True
        values: list[Any] = [*map(float, numbers), *self._literals]
        try:
            for function, operands in self._steps:
                value = function(*[values[one] for one in operands])
                if not isfinite(value):
                    return False
                values.append(value)
        except (ArithmeticError, ValueError):
            return False
        return True


def _moved(place: int, first: int, shift: int) -> int:
    """Return where a number stands once literals, which have negative places, are between the others."""
    if place < 0:
        return first - 1 - place
    return place if place < first else place - first + shift
