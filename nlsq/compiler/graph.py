"""The expression graph of a function: what `trace` records, `differentiate` extends and `kernel_source` writes out.

A graph is in static single assignment form. A node is an operation on earlier nodes, written once however often it is
used. It stands for one number, or for numbers over an index space of some shape; an operation joins nodes of one shape,
or numbers with arrays. Slices, transposes, new axes and broadcasting are no nodes: an affine map of indices is carried
down to the leaves, so that equal elements met by way of different slices are one node.

Leaves
    ``("parameter", j)``                      one parameter
    ``("parameters", offset, strides)``       parameters over an index space, element ``offset + strides . index``
    ``("data", slot, offset, strides)``       an array of data, flat, likewise
    ``("number", value)``                     a small integer or 1/2, written into the code
    ``("constant", k)``                       any other number: read when the kernel runs, so that a model whose
                                              constants change keeps its kernels
    ``("weight", k)``                         what multiplies the second derivatives of segment k, one residual
Reductions
    ``("sum", a)``                            over all elements of a

Everything else is elementwise, with the names of `OPERATIONS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.strides import NotContiguous, reshaped_strides
from nlsq.compiler.strides import Shape as Shape
from nlsq.compiler.strides import contiguous_strides as contiguous_strides

Node = tuple[Any, ...]
FloatArray = NDArray[np.float64]

MOST_NODES = 200_000
LARGEST_NUMBER = 1024  # integers up to this are written into the code
LEAVES = frozenset({"parameter", "parameters", "data", "number", "constant", "weight", "sum"})
TRUTHS = frozenset({"<", "<=", ">", ">=", "==", "!=", "and", "or", "not"})  # operations whose values are true or false
LOGICAL = frozenset({"and", "or", "not"})
OPERATIONS: dict[str, int] = {
    "+": 2, "-": 2, "*": 2, "/": 2, "pow": 2, "atan2": 2, "hypot": 2, "minimum": 2, "maximum": 2, "copysign": 2,
    "neg": 1, "abs": 1, "sqrt": 1, "sign": 1, "floor": 1,
    "exp": 1, "expm1": 1, "log": 1, "log1p": 1, "log2": 1, "log10": 1,
    "sin": 1, "cos": 1, "tan": 1, "asin": 1, "acos": 1, "atan": 1,
    "sinh": 1, "cosh": 1, "tanh": 1, "asinh": 1, "acosh": 1, "atanh": 1,
    "cbrt": 1, "erf": 1, "erfc": 1, "expit": 1, "gammaln": 1, "digamma": 1, "trigamma": 1,
    "wofz_real": 2, "wofz_imag": 2,
    "where": 3, "<": 2, "<=": 2, ">": 2, ">=": 2, "==": 2, "!=": 2, "and": 2, "or": 2, "not": 1,
}  # fmt: skip
SIMPLIFIED = frozenset({"+", "-", "*", "/", "neg", "where"})  # operations that may have an equal node already
COMMUTATIVE = frozenset({"+", "*", "hypot", "==", "!=", "and", "or"})


class NotTraceable(Exception):
    """A function, or something it does, cannot be expressed as a graph; the message says what."""


class Graph:
    """Nodes in the order of their creation; operands come before what uses them.

    Parameters
    ----------
    n : int
        Number of parameters.

    Attributes
    ----------
    nodes : list of tuple
        ``(operation, *operands)``.
    shapes : list of tuple
        Index space of each node; ``()`` for one number.
    constants : list of float
        Numbers that are read when the kernel runs.
    given : dict
        Index of those constants whose values come with each call, by where the function has them; they are never
        taken for another constant that happens to be equal.
    data : list of ndarray
        Arrays by slot, C-contiguous float64.
    origins : list of ndarray
        What each slot's array was made of: itself, or an array of integers or with gaps.
    derived : dict
        Derivatives of nodes; see `nlsq.compiler.differentiate`.
    saw_contents : bool
        Whether the graph depends on what is in some array, not on its shape alone.
    """

    __slots__ = (
        "_by_data",
        "_moved",
        "_numbering",
        "_writes_numbers",
        "constants",
        "data",
        "derived",
        "given",
        "n",
        "nodes",
        "origins",
        "saw_contents",
        "shapes",
    )

    def __init__(self, n: int) -> None:
        self.n = n
        self.nodes: list[Node] = []
        self.shapes: list[Shape] = []
        self.constants: list[float] = []
        self.given: dict[int | str, int] = {}
        self.data: list[FloatArray] = []
        self.origins: list[Any] = []
        self.saw_contents = self._writes_numbers = False
        self.derived: dict[int, dict[int, int]] = {}
        self._numbering: dict[Any, int] = {}
        self._moved: dict[Any, int] = {}
        self._by_data: dict[tuple[int, int], int] = {}

    def leaf(self, node: Node, shape: Shape) -> int:
        """Return the number of a leaf or of any node whose shape is known."""
        key = (node, shape)
        found = self._numbering.get(key)
        if found is None:
            if len(self.nodes) >= MOST_NODES:
                raise NotTraceable(f"the expression has more than {MOST_NODES} operations")
            found = self._numbering[key] = len(self.nodes)
            self.nodes.append(node)
            self.shapes.append(shape)
        return found

    def remember(self, index: int) -> None:
        """Let a node that was appended from outside be found again."""
        self._numbering.setdefault((self.nodes[index], self.shapes[index]), index)

    def number(self, value: float) -> int:
        """Return the node of a constant."""
        value = float(value)
        if value == 0.5 or (abs(value) <= LARGEST_NUMBER and value == int(value)):
            if value != 0.0 or math.copysign(1.0, value) > 0.0:
                return self.leaf(("number", value), ())
        return self.constant(value)

    def constant(self, value: float) -> int:
        """Return the node of a number that is read when the kernel runs."""
        if self._writes_numbers:
            return self.leaf(("number", value), ())
        key = ("value", value if value == value else "nan")
        found = self._numbering.get(key)
        if found is None:
            self.constants.append(value)
            found = self._numbering[key] = self.leaf(("constant", len(self.constants) - 1), ())
        return found

    def given_number(self, position: int | str, value: float) -> int:
        """Return the node of a number whose value comes with each call; it is `value` now."""
        k = self.given.get(position)
        if k is None:
            k = self.given[position] = len(self.constants)
            self.constants.append(float(value))
        return self.leaf(("constant", k), ())

    def is_given(self, node: Node) -> bool:
        """Whether a node is a number whose value comes with each call."""
        return bool(self.given) and node[0] == "constant" and node[1] in self.given.values()

    def slot(self, array: FloatArray, origin: Any = None) -> int:
        """Return the slot of an array of data; the same memory has one slot."""
        key = (array.__array_interface__["data"][0], array.size)
        found = self._by_data.get(key)
        if found is None:
            found = self._by_data[key] = self.add_slot(array, origin)
        return found

    def add_slot(self, array: FloatArray, origin: Any = None) -> int:
        """Return a new slot."""
        self.data.append(array)
        self.origins.append(array if origin is None else origin)
        return len(self.data) - 1

    def without_data(self) -> Graph:
        """Return the same graph, whose nodes are shared, with empty arrays for the data."""
        bare = copy(self)
        bare.data = bare.origins = [np.empty(0)] * len(self.data)
        bare._by_data = {}
        return bare

    def apart(self) -> Graph:
        """Return a copy whose further nodes are its own; their numbers are written into the code, however odd."""
        other = copy(self)
        for name in ("nodes", "shapes", "derived", "_numbering", "_moved"):
            setattr(other, name, copy(getattr(self, name)))
        other._writes_numbers = True
        return other

    def is_number(self, index: int, value: float) -> bool:
        """Whether a node is a given number written into the code."""
        return self.nodes[index] == ("number", value)

    def apply(self, operation: str, *operands: int) -> int:
        """Return the node of an elementwise operation, simplified where that changes no value."""
        simpler = self._simplified(operation, operands) if operation in SIMPLIFIED else None
        if simpler is not None:
            return simpler
        if len(operands) == 2 and operation in COMMUTATIVE and operands[0] > operands[1]:
            operands = operands[::-1]
        nodes, shapes = self.nodes, self.shapes
        shape: Shape = ()
        for operand in operands:
            if nodes[operand][0] in TRUTHS and operation not in LOGICAL:
                operands = tuple(
                    [self.as_number(one) if k or operation != "where" else one for k, one in enumerate(operands)]
                )
            other = shapes[operand]
            if other and other != shape:
                if shape:
                    raise NotTraceable(f"operands of shapes {shape} and {other}")
                shape = other
        return self.leaf((operation, *operands), shape)

    def as_number(self, index: int) -> int:
        """Return 1 for true and 0 for false, and numbers as they are."""
        if self.nodes[index][0] not in TRUTHS:
            return index
        return self.leaf(("where", index, self.number(1.0), self.number(0.0)), self.shapes[index])

    def _simplified(self, operation: str, operands: tuple[int, ...]) -> int | None:
        """Return an equal node for neutral operands and numbers, or None."""
        first = operands[0]
        nodes = self.nodes
        if operation in ("+", "*", "-", "/") and nodes[first][0] == "number" == nodes[operands[1]][0]:
            return self._folded(operation, nodes[first][1], nodes[operands[1]][1])
        second = operands[-1]
        if operation == "+":
            if self.is_number(first, 0.0):
                return second
            return first if self.is_number(second, 0.0) else None
        if operation == "*":
            if self.is_number(first, 1.0):
                return second
            return first if self.is_number(second, 1.0) else self._signed(operands)
        if operation == "-":
            if self.is_number(operands[1], 0.0):
                return first
            if self.is_number(first, 0.0):
                return self.apply("neg", operands[1])
            if nodes[operands[1]][0] == "neg":
                return self.apply("+", first, nodes[operands[1]][1])
        if operation == "/":
            return self._quotient(first, operands[1])
        if operation == "neg":
            if nodes[first][0] == "neg":
                return int(nodes[first][1])
            if nodes[first][0] == "number":
                return self.number(-nodes[first][1])
        if operation == "where" and operands[1] == operands[2]:
            return operands[1]
        return None

    def _quotient(self, a: int, b: int) -> int | None:
        """Divide once, before the loop, where an array is divided by a number."""
        if self.is_number(b, 1.0):
            return a
        if not self.shapes[a] or self.shapes[b]:
            return None
        if self.nodes[b][0] == "number":
            return self.apply("*", a, self.number(1.0 / self.nodes[b][1])) if self.nodes[b][1] else None
        return self.apply("*", a, self.apply("/", self.number(1.0), b))

    def _folded(self, operation: str, a: float, b: float) -> int | None:
        if operation == "/" and b == 0.0:
            return None
        return self.number({"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else 0.0}[operation])

    def _signed(self, operands: tuple[int, ...]) -> int | None:
        """Take the sign out of a product."""
        for a, b in (operands, operands[::-1]):
            if self.is_number(a, -1.0):
                return self.apply("neg", b)
            if self.nodes[a][0] == "neg":
                return self.apply("neg", self.apply("*", self.nodes[a][1], b))
        return None

    def power(self, base: int, exponent: int) -> int:
        """Return the product of `exponent` >= 1 factors, by repeated squaring."""
        result: int | None = None
        while True:
            if exponent & 1:
                result = base if result is None else self.apply("*", result, base)
            exponent >>= 1
            if not exponent:
                assert result is not None
                return result
            base = self.apply("*", base, base)

    def move(self, index: int, shape: Shape, maps: tuple[tuple[int, int, int | None], ...]) -> int:
        """Return a node over another index space.

        Parameters
        ----------
        index : int
            A node.
        shape : tuple of int
            New index space.
        maps : tuple of (offset, step, axis)
            For each axis of the node: its index is ``offset + step * new_index[axis]``; ``axis`` None: just `offset`.
        """
        old = self.shapes[index]
        if not old:
            return index
        if shape == old and all(one == (0, 1, axis) for axis, one in enumerate(maps)):
            return index
        if self.nodes[index][0] in LEAVES:
            return self._moved_leaf(index, shape, maps)
        key = (index, shape, maps)
        found = self._moved.get(key)
        if found is None:
            found = self._moved[key] = self._rebuilt(index, lambda leaf: self._moved_leaf(leaf, shape, maps))
        return found

    def _rebuilt(self, root: int, of_leaf: Callable[[int], int]) -> int:
        """Return an expression with other leaves in place of those over its index space; numbers stay."""
        node = self.nodes[root]
        if node[0] in LEAVES:
            return of_leaf(root)
        seen = {root}
        stack = [root]
        while stack:
            node = self.nodes[stack.pop()]
            for operand in () if node[0] in LEAVES else node[1:]:
                if operand not in seen and self.shapes[operand]:
                    seen.add(operand)
                    stack.append(operand)
        built: dict[int, int] = {}
        for index in sorted(seen):
            node = self.nodes[index]
            if node[0] in LEAVES:
                built[index] = of_leaf(index)
            else:
                operands = [built[one] if one in built else one for one in node[1:]]
                built[index] = self.apply(node[0], *operands)
        return built[root]

    def _moved_leaf(self, index: int, shape: Shape, maps: tuple[tuple[int, int, int | None], ...]) -> int:
        node = self.nodes[index]
        offset, strides = node[-2], [0] * len(shape)
        for stride, (start, step, axis) in zip(node[-1], maps, strict=True):
            offset += stride * start
            if axis is not None:
                strides[axis] += stride * step
        if node[0] == "parameters":
            return self.leaf(("parameters", offset, tuple(strides)) if shape else ("parameter", offset), shape)
        return self.leaf(("data", node[1], offset, tuple(strides)), shape)

    def reshape(self, index: int, shape: Shape) -> int | None:
        """Return a node with its elements, in C order, over another shape; None where a leaf has no such strides."""
        old = self.shapes[index]
        if not old or old == shape:
            return index
        if not shape:
            return self.move(index, (), tuple((0, 0, None) for _ in old))
        try:
            return self._rebuilt(index, lambda leaf: self._reshaped_leaf(leaf, shape))
        except NotContiguous:
            return None

    def _reshaped_leaf(self, index: int, shape: Shape) -> int:
        node = self.nodes[index]
        return self.leaf((*node[:-1], reshaped_strides(self.shapes[index], node[-1], shape)), shape)

    def elementwise(self, root: int) -> list[int]:
        """Return the nodes that an expression needs at one index, operands first; sums are leaves."""
        seen = {root}
        stack = [root]
        while stack:
            node = self.nodes[stack.pop()]
            for operand in () if node[0] in LEAVES else node[1:]:
                if operand not in seen:
                    seen.add(operand)
                    stack.append(operand)
        return sorted(seen)

    def reachable(self, roots: Iterable[int]) -> list[int]:
        """Return all nodes that the roots need, operands first."""
        seen = set(roots)
        stack = list(seen)
        while stack:
            node = self.nodes[stack.pop()]
            for operand in node[1:] if node[0] not in LEAVES or node[0] == "sum" else ():
                if operand not in seen:
                    seen.add(operand)
                    stack.append(operand)
        return sorted(seen)

    def operands(self, index: int) -> tuple[int, ...]:
        """Return the nodes that a node is made of."""
        node = self.nodes[index]
        return () if node[0] in LEAVES and node[0] != "sum" else node[1:]
