"""Symbolic numbers and arrays that a function is called with in place of its arguments.

A `Traced` object behaves as a number or array of NumPy and records what is done to it. Arrays are mutable and slices
are views, as in NumPy: a store into a view reaches the array that it was cut from, and other views of that see it.
Where it is not known whether NumPy's result would be a view or a copy (a reshape of an array of unknown layout), a
store into either is refused. What needs a value (a branch, a conversion to a plain number) raises `NotTraceable`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from nlsq.compiler.graph import OPERATIONS, TRUTHS, Graph, NotTraceable
from nlsq.compiler.strides import Shape, contiguous_strides
from nlsq.compiler.tracing.holding import UNSET, UNSET_READ, Held

NUMBERS = (int, float, np.floating, np.integer, np.bool_)
FLOAT64 = np.dtype(np.float64)
COMPLEX_NUMBERS = (complex, np.complexfloating)
EXACT = frozenset({"+", "-", "*", "neg", "abs", "sign", "minimum", "maximum", "where", "pow"})  # integers give integers
GRAPH_NUMBERS = frozenset(OPERATIONS) - TRUTHS  # operations whose values are numbers
COMPOSED = frozenset({"**", "//", "%", "&", "|", "^", "~"})  # operators that are several operations of the graph


class Traced(Held):
    """A symbolic number or array; see `Held` for the parameters."""

    __slots__ = ()

    @property
    def real(self) -> Traced:
        """Itself."""
        return self

    @property
    def imag(self) -> Traced:
        """Zeros."""
        return Argument(self.graph, self.shape, [self.graph.number(0.0)])

    @property
    def T(self) -> Traced:
        """Transposed view."""
        return self.transpose()

    def __iter__(self) -> Iterator[Traced]:
        if not self.shape:
            raise TypeError("iteration over a 0-d array")
        return (self[index] for index in range(self.shape[0]))

    # Elementwise operations

    def lift(self, other: Any) -> Traced:
        """Return an operand as a traced object of the same graph."""
        if type(other) is float:
            return Traced(self.graph, (), [self.graph.number(other)])
        if isinstance(other, Traced):
            return other
        if isinstance(other, NUMBERS):
            if isinstance(other, np.floating) and type(other) is not np.float64:
                raise NotTraceable(f"a number of {other.dtype}")
            kind = "b" if isinstance(other, bool | np.bool_) else "i" if isinstance(other, int | np.integer) else "f"
            return Traced(self.graph, (), [self.graph.number(float(other))], None, kind)
        if isinstance(other, np.ndarray):
            return as_data(self.graph, other)
        if isinstance(other, list | tuple):
            from nlsq.compiler.tracing.joining import stacked

            return stacked(self.graph, other)
        raise NotTraceable(f"an operand of type {type(other).__name__}")

    def apply(self, operation: str, *operands: Any) -> Any:
        """Record an elementwise operation, with NumPy's broadcasting."""
        arrays: list[Traced] = []
        floating = False
        for one in operands:
            if not isinstance(one, Traced):
                if type(one) is float or type(one) is int or not is_unusual(one):
                    one = self.lift(one)
                else:
                    from nlsq.compiler.tracing.elementwise import apply_unusual

                    return apply_unusual(self.graph, operation, operands)
            arrays.append(one)
            if one.kind == "f":
                floating = True
        if floating and operation in GRAPH_NUMBERS:
            return self.record(operation, arrays, "f")
        if operation in COMPOSED:
            from nlsq.compiler.tracing.elementwise import composed

            return composed(operation, arrays, operands)
        if operation in TRUTHS:
            return self.record(operation, arrays, "b")
        if operation != "/" and all(one.kind == "b" for one in arrays):
            from nlsq.compiler.tracing.elementwise import of_truths

            return of_truths(operation, arrays)
        return self.record(operation, arrays, "i" if operation in EXACT else "f")

    def record(self, operation: str, arrays: list[Traced], kind: str) -> Traced:
        """Record an operation of the graph on arrays whose shapes go together."""
        graph = self.graph
        shape: Shape = ()
        nodes = []
        for one in arrays:
            node = one.nodes[0]
            if one.cuts is not None or type(node) is not int:
                break
            if one.shape and one.shape != shape:
                if shape:
                    break
                shape = one.shape
            if node == UNSET:
                raise NotTraceable(UNSET_READ)
            nodes.append(node)
        else:
            return Traced(graph, shape, [graph.apply(operation, *nodes)], None, kind)
        from nlsq.compiler.tracing.elementwise import by_cells

        return by_cells(graph, operation, arrays, kind)

    def __pos__(self) -> Traced:
        return self.copy()

    def __matmul__(self, other: Any) -> Traced:
        from nlsq.compiler.tracing.reductions import matrix_product

        return matrix_product(self, self.lift(other))

    def __rmatmul__(self, other: Any) -> Traced:
        from nlsq.compiler.tracing.reductions import matrix_product

        return matrix_product(self.lift(other), self)

    # Views and copies

    def __getitem__(self, key: Any) -> Any:
        if type(key) is int and len(self.shape) == 1 and self.cuts is None and 0 <= key < self.shape[0]:
            node = self.nodes[0]
            if isinstance(node, int) and node >= 0:
                return Traced(self.graph, (), [self.graph.move(node, (), ((key, 1, None),))], None, self.kind)
        from nlsq.compiler.tracing.indexing import index

        return index(self, key)

    def transpose(self, *axes: Any) -> Traced:
        """Return a view with its axes in another order."""
        from nlsq.compiler.tracing.joining import transposed

        order = axes[0] if len(axes) == 1 and (axes[0] is None or isinstance(axes[0], tuple | list)) else axes
        return transposed(self, tuple(order) if order else None)

    def reshape(self, *shape: Any, order: str = "C") -> Traced:
        """Return an array of another shape."""
        from nlsq.compiler.tracing.joining import reshaped

        if order != "C":
            raise NotTraceable(f"reshape with order={order!r}")
        return reshaped(self, shape[0] if len(shape) == 1 else shape)

    def ravel(self, order: str = "C") -> Traced:
        """Return it one-dimensional: a view where NumPy's is known to be one."""
        flat = self.reshape(-1, order=order)
        from nlsq.compiler.tracing.indexing import is_contiguous

        return flat if is_contiguous(self) else flat.view_of(self, None)

    def flatten(self, order: str = "C") -> Traced:
        """Return a one-dimensional copy."""
        return self.copy().reshape(-1, order=order)

    def squeeze(self) -> Traced:
        """Return it without axes of length one."""
        squeezed: Traced = self[tuple(0 if length == 1 else slice(None) for length in self.shape)]
        return squeezed

    def copy(self, order: str = "C") -> Traced:
        """Return a copy."""
        copy = Traced(self.graph, self.shape, list(self.nodes), self.cuts, self.kind)
        copy.is_plain = order == "C"
        return copy

    def astype(self, dtype: Any, *arguments: Any, copy: bool = True, **options: Any) -> Traced:
        """Return a copy as float64; other types are refused."""
        if np.dtype(dtype) == self.dtype and copy:
            return self.copy()
        if np.dtype(dtype) != np.float64 or arguments or options or not copy:
            raise NotTraceable(f"a conversion to {np.dtype(dtype)}")
        return as_numbers(self)

    def clip(self, min: Any = None, max: Any = None) -> Any:
        """Return it within limits."""
        result: Any = self
        if min is not None:
            result = result.apply("maximum", result, min)
        if max is not None:
            result = result.apply("minimum", result, max)
        return result.copy() if result is self else result

    def round(self, decimals: int = 0) -> Any:
        """Return it rounded to whole numbers."""
        from nlsq.compiler.tracing.numpy_functions import rounded

        if decimals:
            raise NotTraceable("rounding to decimals")
        return rounded(self)

    # Reductions

    def sum(self, axis: Any = None, **options: Any) -> Traced:
        """Return the sum over all elements or over one axis."""
        from nlsq.compiler.tracing.reductions import summed

        return summed(self, axis, **options)

    def mean(self, axis: Any = None, **options: Any) -> Traced:
        """Return the mean over all elements or over one axis."""
        from nlsq.compiler.tracing.reductions import mean

        return mean(self, axis, **options)

    def dot(self, other: Any) -> Traced:
        """Return the product with a vector or a matrix."""
        product: Traced = self @ other
        return product

    def prod(self, axis: Any = None) -> Traced:
        """Return the product over all elements or over one axis."""
        from nlsq.compiler.tracing.reductions import multiplied

        return multiplied(self, axis)

    def cumsum(self, axis: Any = None) -> Traced:
        """Return the sums of all elements so far."""
        from nlsq.compiler.tracing.reductions import cumulated

        return cumulated(self, axis, "+")

    # Stores

    def __setitem__(self, key: Any, value: Any) -> None:
        from nlsq.compiler.tracing.stores import store

        store(self, key, value)

    def in_place(self, operation: str, other: Any) -> Any:
        """Give the array the result of an operation with another."""
        result = self.apply(operation, self, other)
        if not self.shape and self._base is None:
            return result  # numbers are immutable: the name is bound anew
        from nlsq.compiler.tracing.stores import overwrite

        overwrite(self, result)
        return self

    # NumPy's protocols

    def __array_ufunc__(self, function: Any, method: str, *operands: Any, **options: Any) -> Any:
        from nlsq.compiler.tracing.numpy_functions import call_ufunc

        return call_ufunc(self.graph, function, method, operands, options)

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        from nlsq.compiler.tracing.array_functions import call_function

        return call_function(self.graph, function, arguments, options)


class Argument(Traced):
    """The parameters, data, or a view that may not be written to: nothing may be stored into them."""

    __slots__ = ()


class ZeroDimensional(Traced):
    """An array without axes, which unlike a number could be changed in place."""

    __slots__ = ()

    def copy(self, order: str = "C") -> Traced:
        """Return a copy."""
        return ZeroDimensional(self.graph, (), self.nodes, None, self.kind)

    def in_place(self, operation: str, other: Any) -> NoReturn:
        """Refuse."""
        raise NotTraceable("a store into an array without axes")


def as_data(graph: Graph, array: Any, origin: Any = None) -> Traced:
    """Return an array of data as a traced object; what is not float64 is converted if that loses nothing.

    `origin` is the array that the function reads; without it the array was met on the way, and the graph is one for its
    present contents.
    """
    graph.saw_contents = graph.saw_contents or origin is None
    kind = "f"
    if array.dtype is not FLOAT64:
        if array.dtype.kind in "iub" and array.dtype.itemsize <= 8:
            kind = "b" if array.dtype.kind == "b" else "i"
        elif array.dtype != FLOAT64:
            raise NotTraceable(f"an operand of {array.dtype}")
        array = array.astype(np.float64)
    if type(array) is not np.ndarray:
        raise NotTraceable(f"an operand of type {type(array).__name__}")
    if array.ndim == 0:
        return Traced(graph, (), [graph.number(float(array))], None, kind)
    array = np.ascontiguousarray(array)
    node = graph.leaf(("data", graph.slot(array, origin), 0, contiguous_strides(array.shape)), array.shape)
    return Argument(graph, array.shape, [node], None, kind)


def as_traced(graph: Graph, value: Any) -> Traced:
    """Return a number, an array or a list as a traced object."""
    if isinstance(value, Traced):
        return value
    if is_unusual(value):
        raise NotTraceable("a complex or masked operand")
    return Traced(graph, (), [graph.number(0.0)]).lift(value)


def as_numbers(array: Traced) -> Traced:
    """Return a copy of kind float; true becomes 1 and false 0."""
    graph = array.graph
    if array.kind == "b":
        return array.record("where", [array, array.lift(1.0), array.lift(0.0)], "f")
    return Traced(graph, array.shape, list(array.nodes), array.cuts)


def is_unusual(one: Any) -> bool:
    """Whether an operand is complex, or a selection by a mask."""
    if isinstance(one, np.ndarray):
        return bool(one.dtype.kind == "c")
    return isinstance(one, COMPLEX_NUMBERS) or bool(getattr(type(one), "is_unusual", False))


def truth(array: Traced) -> Traced:
    """Return truth values; numbers are true where they are not zero."""
    nodes = array.graph.nodes
    if array.kind == "b" and all(isinstance(one, int) and nodes[one][0] in TRUTHS for one in array.nodes):
        return array
    return array.record("!=", [array, array.lift(0.0)], "b")
