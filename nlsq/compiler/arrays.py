"""Symbolic numbers and arrays that a function is called with in place of its arguments.

A `Traced` object behaves as a float64 number or array of NumPy and records what is done to it. It is a sequence of
pieces along its first axis, each a node of the graph; what `np.concatenate` joins, or item stores fill, has several.
Arrays are mutable and slices are views, as in NumPy: a store into a view reaches the array that it was cut from. What
cannot be followed (a view read after its array was changed, a branch on a value, a conversion to a plain number)
raises `NotTraceable`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from nlsq.compiler.graph import Graph, NotTraceable, Shape, contiguous_strides

Piece = tuple[int, int]  # a node and how many entries along the first axis it stands for
LARGEST_POWER = 32  # integer exponents up to this are products
MOST_PIECES = 100_000
NUMBERS = (int, float, np.floating, np.integer, np.bool_)


class Traced:
    """A symbolic number or array.

    Parameters
    ----------
    graph : Graph
        Where operations are recorded.
    shape : tuple of int
        ``()`` for a number.
    pieces : list of (node, count)
        For a number one pair; a node of shape ``()`` in an array stands for equal elements.
    """

    __slots__ = ("_base", "_key", "_pieces", "_seen", "_version", "graph", "shape")
    __array_priority__ = 1e9
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, graph: Graph, shape: Shape, pieces: list[Piece]) -> None:
        self.graph = graph
        self.shape = shape
        self._pieces = pieces
        self._base: Traced | None = None
        self._key: Any = None
        self._seen = self._version = 0

    # What an array says of itself

    @property
    def pieces(self) -> list[Piece]:
        """Pieces, if they are still those of the array that this is a view of."""
        if self._base is not None and self._seen != self._base._version:
            raise NotTraceable("a view is read after its array was changed")
        return self._pieces

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return np.dtype(np.float64)

    @property
    def real(self) -> Traced:
        """Itself."""
        return self

    @property
    def imag(self) -> Traced:
        """Zeros."""
        return self * 0.0

    @property
    def T(self) -> Traced:
        """Transposed view."""
        return self.transpose()

    @property
    def node(self) -> int:
        """The node of a number or of an array of one piece, over the array's shape."""
        pieces = self.pieces
        if not self.shape:
            return pieces[0][0]
        if len(pieces) != 1:
            raise NotTraceable("an array joined of several expressions is used where one is needed")
        return pieces[0][0]

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self) -> Iterator[Traced]:
        if not self.shape:
            raise TypeError("iteration over a 0-d array")
        return (self[index] for index in range(self.shape[0]))

    # Elementwise operations

    def lift(self, other: Any) -> Traced:
        """Return an operand as a traced object of the same graph."""
        if isinstance(other, Traced):
            return other
        if isinstance(other, NUMBERS):
            return Traced(self.graph, (), [(self.graph.number(float(other)), 0)])
        if isinstance(other, np.ndarray):
            return as_data(self.graph, other)
        if isinstance(other, list | tuple):
            return stacked(self.graph, other)
        raise NotTraceable(f"an operand of type {type(other).__name__}")

    def apply(self, operation: str, *operands: Any) -> Traced:
        """Record an elementwise operation, with NumPy's broadcasting."""
        graph = self.graph
        arrays = [self.lift(operand) for operand in operands]
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
        if not shape:
            return Traced(graph, (), [(graph.apply(operation, *(array.node for array in arrays)), 0)])
        aligned = _aligned([broadcast(array, shape) for array in arrays], shape)
        return Traced(
            graph, shape, [(graph.apply(operation, *(node for node in nodes)), count) for *nodes, count in aligned]
        )

    def __add__(self, other: Any) -> Traced:
        return self.apply("+", self, other)

    def __radd__(self, other: Any) -> Traced:
        return self.apply("+", other, self)

    def __sub__(self, other: Any) -> Traced:
        return self.apply("-", self, other)

    def __rsub__(self, other: Any) -> Traced:
        return self.apply("-", other, self)

    def __mul__(self, other: Any) -> Traced:
        return self.apply("*", self, other)

    def __rmul__(self, other: Any) -> Traced:
        return self.apply("*", other, self)

    def __truediv__(self, other: Any) -> Traced:
        return self.apply("/", self, other)

    def __rtruediv__(self, other: Any) -> Traced:
        return self.apply("/", other, self)

    def __floordiv__(self, other: Any) -> Traced:
        return self.apply("floor", self.apply("/", self, other))

    def __rfloordiv__(self, other: Any) -> Traced:
        return self.apply("floor", self.apply("/", other, self))

    def __mod__(self, other: Any) -> Traced:
        return self - other * (self // other)

    def __rmod__(self, other: Any) -> Traced:
        return other - self * self.lift(other).__floordiv__(self)

    def __neg__(self) -> Traced:
        return self.apply("neg", self)

    def __pos__(self) -> Traced:
        return self.copy()

    def __abs__(self) -> Traced:
        return self.apply("abs", self)

    def __pow__(self, exponent: Any) -> Traced:
        if isinstance(exponent, NUMBERS):
            special = self._fixed_power(float(exponent))
            if special is not None:
                return special
        return self.apply("pow", self, exponent)

    def _fixed_power(self, exponent: float) -> Traced | None:
        """Return products and roots, as NumPy does for an exponent that is a number."""
        if exponent == 0.5:
            return self.apply("sqrt", self)
        if exponent == 0.0:
            return self.apply("+", self * 0.0, 1.0)
        if exponent != int(exponent) or abs(exponent) > LARGEST_POWER:
            return None
        graph, count = self.graph, abs(int(exponent))
        pieces = [(graph.power(node, count), length) for node, length in self.pieces]
        power = Traced(graph, self.shape, pieces)
        return power if exponent > 0 else power.apply("/", 1.0, power)

    def __rpow__(self, base: Any) -> Traced:
        return self.apply("pow", base, self)

    def __matmul__(self, other: Any) -> Traced:
        return matrix_product(self, self.lift(other))

    def __rmatmul__(self, other: Any) -> Traced:
        return matrix_product(self.lift(other), self)

    # Comparisons: symbolic truth values, for np.where and arithmetic

    def __lt__(self, other: Any) -> Traced:
        return self.apply("<", self, other)

    def __le__(self, other: Any) -> Traced:
        return self.apply("<=", self, other)

    def __gt__(self, other: Any) -> Traced:
        return self.apply(">", self, other)

    def __ge__(self, other: Any) -> Traced:
        return self.apply(">=", self, other)

    def __eq__(self, other: object) -> Any:
        return self.apply("==", self, other)

    def __ne__(self, other: object) -> Any:
        return self.apply("!=", self, other)

    def __and__(self, other: Any) -> Traced:
        return self.apply("and", truth(self), truth(self.lift(other)))

    def __or__(self, other: Any) -> Traced:
        return self.apply("or", truth(self), truth(self.lift(other)))

    def __invert__(self) -> Traced:
        return self.apply("not", truth(self))

    __rand__, __ror__ = __and__, __or__

    # What would need a value

    def __bool__(self) -> bool:
        raise NotTraceable("a branch on a value that depends on the parameters or the data")

    def __float__(self) -> NoReturn:
        raise NotTraceable("a conversion to a plain number")

    __int__ = __index__ = __complex__ = __float__

    def __array__(self, *arguments: Any, **options: Any) -> NoReturn:
        raise NotTraceable("a conversion to a plain array")

    def __getattr__(self, name: str) -> NoReturn:
        raise NotTraceable(f"the array attribute {name!r}")

    # Views

    def __getitem__(self, key: Any) -> Traced:
        if not self.shape:
            if key in ((), Ellipsis):
                return self
            raise NotTraceable("an index into a number")
        if isinstance(key, np.ndarray | list):
            return self._picked(key)
        keys = _expanded(key if isinstance(key, tuple) else (key,), self.ndim)
        if any(isinstance(one, np.ndarray | list) for one in keys):
            raise NotTraceable("an index array together with other indices")
        view = self._cut(keys)
        if view.shape:
            view._base, view._key, view._seen = self, key, self._version
        return view

    def _picked(self, key: Any) -> Traced:
        """Return ``self[[0, 2, 5]]``: a copy, as in NumPy."""
        index = np.asarray(key)
        if index.dtype == bool:
            if index.shape != self.shape[:1]:
                raise NotTraceable("a mask of another shape")
            index = np.flatnonzero(index)
        if index.ndim != 1 or index.dtype.kind not in "iu":
            raise NotTraceable("an index array that is not one-dimensional")
        if index.size > 1 and len(self.pieces) == 1:
            steps = np.diff(index)
            if steps[0] != 0 and (steps == steps[0]).all() and index.min() >= 0:
                start, step = int(index[0]), int(steps[0])
                stop: int | None = start + step * index.size
                return self[slice(start, None if stop is not None and stop < 0 else stop, step)].copy()
        parts = [self[int(k)] for k in index]
        if not parts:
            raise NotTraceable("an empty index array")
        return stacked(self.graph, parts)

    def _cut(self, keys: list[Any]) -> Traced:
        """Return a view for integers, slices and new axes."""
        first = next(axis for axis, one in enumerate(keys) if one is not None)
        single = len(self.pieces) == 1
        if single or isinstance(keys[first], slice):
            whole = keys[first] == slice(None)
            if single or whole:
                return self._cut_pieces(keys, first, whole)
            if not any(one is None for one in keys):
                rows = self._rows(keys[first])
                return rows._cut_pieces([slice(None), *keys[1:]], 0, True)
            raise NotTraceable("a new axis on part of a joined array")
        if first:
            raise NotTraceable("a new axis on part of a joined array")
        row = self._row(operator.index(keys[0]))
        return row[tuple(keys[1:])] if len(keys) > 1 else row

    def _cut_pieces(self, keys: list[Any], first: int, whole: bool) -> Traced:
        pieces: list[Piece] = []
        shape: Shape = ()
        for node, count in self.pieces:
            old = self.shape if not whole else (count, *self.shape[1:])
            shape, maps = _maps(keys, old)
            pieces.append((self.graph.move(node, shape, maps), shape[0] if shape else 0))
        if whole and shape:
            if first:
                raise NotTraceable("a new axis before a joined array") if len(self.pieces) > 1 else None
            else:
                shape = (self.shape[0], *shape[1:])
        return Traced(self.graph, shape, pieces)

    def _row(self, index: int) -> Traced:
        """Return ``self[index]`` of a joined array."""
        start = index + self.shape[0] if index < 0 else index
        if not 0 <= start < self.shape[0]:
            raise IndexError(f"index {index} is out of bounds for axis 0 with size {self.shape[0]}")
        for node, count in self.pieces:
            if start < count:
                keys: list[Any] = [start, *(slice(None) for _ in self.shape[1:])]
                shape, maps = _maps(keys, (count, *self.shape[1:]))
                return Traced(self.graph, shape, [(self.graph.move(node, shape, maps), shape[0] if shape else 0)])
            start -= count
        raise AssertionError

    def _rows(self, key: slice) -> Traced:
        """Return ``self[start:stop:step]`` of a joined array."""
        start, stop, step = key.indices(self.shape[0])
        if step < 0:
            return stacked(self.graph, [self._row(k) for k in range(start, stop, step)])
        pieces: list[Piece] = []
        begin = 0
        for node, count in self.pieces:
            low = start if start >= begin else start + -(-(begin - start) // step) * step
            taken = len(range(low, min(stop, begin + count), step))
            if taken:
                shape = (taken, *self.shape[1:])
                maps = ((low - begin, step, 0), *((0, 1, axis) for axis in range(1, self.ndim)))
                pieces.append((self.graph.move(node, shape, maps), taken))
            begin += count
        length = len(range(start, stop, step))
        return Traced(self.graph, (length, *self.shape[1:]), pieces)

    def transpose(self, *axes: Any) -> Traced:
        """Return a view with its axes in another order."""
        if self.ndim < 2:
            return self
        order = axes[0] if len(axes) == 1 and isinstance(axes[0], tuple | list) else axes
        order = tuple(order) if order else tuple(range(self.ndim))[::-1]
        shape = tuple(self.shape[axis] for axis in order)
        maps = tuple((0, 1, order.index(axis)) for axis in range(self.ndim))
        return Traced(self.graph, shape, [(self.graph.move(self.node, shape, maps), shape[0])])

    def reshape(self, *shape: Any, order: str = "C") -> Traced:
        """Return an array of another shape; a copy as far as stores go."""
        if order != "C":
            raise NotTraceable(f"reshape with order={order!r}")
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
        new = np.empty(self.shape, dtype=np.bool_).reshape(wanted).shape
        if new == self.shape:
            return self
        if len(self.pieces) > 1:
            if len(new) == 1:
                inner = int(np.prod(self.shape[1:], dtype=np.int64))
                pieces = [(self.graph.reshape(node, (count * inner,)), count * inner) for node, count in self.pieces]
                return Traced(self.graph, new, pieces)
            raise NotTraceable("reshape of a joined array")
        view = Traced(self.graph, new, [(self.graph.reshape(self.node, new), new[0] if new else 0)])
        view._base, view._key, view._seen = self, _Reshaped, self._version
        return view

    def ravel(self, order: str = "C") -> Traced:
        """Return it one-dimensional."""
        return self.reshape(-1, order=order)

    def flatten(self, order: str = "C") -> Traced:
        """Return a one-dimensional copy."""
        return self.reshape(-1, order=order).copy()

    def squeeze(self) -> Traced:
        """Return it without axes of length one."""
        return self.reshape(tuple(length for length in self.shape if length != 1))

    def copy(self, order: str = "C") -> Traced:
        """Return a copy."""
        return Traced(self.graph, self.shape, list(self.pieces))

    def astype(self, dtype: Any, *arguments: Any, **options: Any) -> Traced:
        """Return a copy as float64; other types are refused."""
        if np.dtype(dtype) != np.float64:
            raise NotTraceable(f"a conversion to {np.dtype(dtype)}")
        return self.copy()

    # Reductions

    def sum(self, axis: Any = None, **options: Any) -> Traced:
        """Return the sum over all elements or over one axis."""
        return reduced(self, axis, options)

    def mean(self, axis: Any = None, **options: Any) -> Traced:
        """Return the mean over all elements or over one axis."""
        total = reduced(self, axis, options)
        return total / (self.size // max(total.size, 1))

    def dot(self, other: Any) -> Traced:
        """Return the product with a vector or a matrix."""
        return self @ other

    # Stores

    def __setitem__(self, key: Any, value: Any) -> None:
        from nlsq.compiler.stores import store

        store(self, key, value)

    def __iadd__(self, other: Any) -> Traced:
        return self._in_place(self + other)

    def __isub__(self, other: Any) -> Traced:
        return self._in_place(self - other)

    def __imul__(self, other: Any) -> Traced:
        return self._in_place(self * other)

    def __itruediv__(self, other: Any) -> Traced:
        return self._in_place(self / other)

    def __ipow__(self, other: Any) -> Traced:
        return self._in_place(self**other)

    def _in_place(self, result: Traced) -> Traced:
        if not self.shape:
            return result  # numbers are immutable: the name is bound anew
        if result.shape != self.shape:
            raise NotTraceable(f"an in-place operation that would change the shape from {self.shape} to {result.shape}")
        from nlsq.compiler.stores import replace

        replace(self, result.pieces)
        return self

    # NumPy's protocols

    def __array_ufunc__(self, function: Any, method: str, *operands: Any, **options: Any) -> Any:
        from nlsq.compiler.numpy_functions import call_ufunc

        return call_ufunc(self.graph, function, method, operands, options)

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        from nlsq.compiler.numpy_functions import call_function

        return call_function(self.graph, function, arguments, options)


class Argument(Traced):
    """The parameters, or data: nothing may be stored into them."""

    __slots__ = ()


class _Reshaped:
    """The key of a view that was reshaped: stores do not follow it."""


def as_data(graph: Graph, array: Any, origin: Any = None) -> Traced:
    """Return an array of data as a traced object; what is not float64 is converted if that loses nothing.

    `origin` is the array that the function reads; without it the array was met on the way, and the graph is one for its
    present contents.
    """
    graph.saw_contents = graph.saw_contents or origin is None
    if array.dtype.kind in "iub" and array.dtype.itemsize <= 8:
        array = array.astype(np.float64)
    if array.dtype != np.float64 or type(array) is not np.ndarray:
        raise NotTraceable(f"an operand of type {type(array).__name__} of {array.dtype}")
    if array.ndim == 0:
        return Traced(graph, (), [(graph.number(float(array)), 0)])
    array = np.ascontiguousarray(array)
    node = graph.leaf(("data", graph.slot(array, origin), 0, contiguous_strides(array.shape)), array.shape)
    return Argument(graph, array.shape, [(node, array.shape[0])])


def truth(array: Traced) -> Traced:
    """Return truth values; numbers are true where they are not zero."""
    from nlsq.compiler.graph import TRUTHS

    if all(array.graph.nodes[node][0] in TRUTHS for node, _ in array.pieces):
        return array
    return array.apply("!=", array, 0.0)


def broadcast(array: Traced, shape: Shape) -> Traced:
    """Return a view over a larger shape."""
    if array.shape == shape or not array.shape:
        return array
    lead = len(shape) - array.ndim
    if len(array.pieces) > 1:
        if lead or array.shape[0] != shape[0]:
            raise NotTraceable("broadcasting of a joined array")
        return Traced(
            array.graph, shape, [(_broadcast_node(array.graph, node, (count, *array.shape[1:]), (count, *shape[1:])), count) for node, count in array.pieces]
        )  # fmt: skip
    return Traced(array.graph, shape, [(_broadcast_node(array.graph, array.node, array.shape, shape), shape[0])])


def _broadcast_node(graph: Graph, node: int, old: Shape, new: Shape) -> int:
    lead = len(new) - len(old)
    maps = tuple((0, 0 if length == 1 else 1, lead + axis) for axis, length in enumerate(old))
    return graph.move(node, new, maps)


def _aligned(arrays: list[Traced], shape: Shape) -> list[tuple[int, ...]]:
    """Return tuples of nodes and a count, with all arrays cut at the same places along the first axis."""
    if all(len(array.pieces) == 1 for array in arrays):
        return [(*(array.pieces[0][0] for array in arrays), shape[0])]
    cuts: set[int] = set()
    for array in arrays:
        if array.shape:
            position = 0
            for _, count in array.pieces:
                position += count
                cuts.add(position)
    result = []
    begin = 0
    parts = [array if not array.shape else None for array in arrays]
    walkers = [_Walker(array) if array.shape else None for array in arrays]
    for end in sorted(cuts):
        nodes = [
            part.node if part is not None else walker.take(end - begin)
            for part, walker in zip(parts, walkers, strict=True)
            if part is not None or walker is not None
        ]
        result.append((*nodes, end - begin))
        begin = end
        if len(result) > MOST_PIECES:
            raise NotTraceable("an array joined of too many expressions")
    return result


class _Walker:
    """Takes the rows of a joined array one after the other."""

    def __init__(self, array: Traced) -> None:
        self.array = array
        self.position, self.offset = 0, 0

    def take(self, count: int) -> int:
        """Return the node of the next `count` rows, which lie in one piece."""
        array = self.array
        node, length = array.pieces[self.position]
        shape = (count, *array.shape[1:])
        maps = ((self.offset, 1, 0), *((0, 1, axis) for axis in range(1, array.ndim)))
        taken = node if count == length else array.graph.move(node, shape, maps)
        self.offset += count
        if self.offset == length:
            self.position, self.offset = self.position + 1, 0
        return taken


def _expanded(keys: tuple[Any, ...], ndim: int) -> list[Any]:
    """Return an index for every axis, with None for new ones."""
    for key in keys:
        if isinstance(key, Traced):
            raise NotTraceable("an index that depends on the parameters or the data")
        if not (key is None or key is Ellipsis or isinstance(key, slice | int | np.integer | np.ndarray | list)):
            raise NotTraceable(f"an index of type {type(key).__name__}")
    given = sum(key is not None and key is not Ellipsis for key in keys)
    if given > ndim:
        raise IndexError(f"too many indices: the array is {ndim}-dimensional, but {given} were indexed")
    result: list[Any] = []
    filled = False
    for key in keys:
        if key is Ellipsis and not filled:
            result += [slice(None)] * (ndim - given)
            filled = True
        elif key is not Ellipsis:
            result.append(key)
    return result if filled else result + [slice(None)] * (ndim - given)


def _maps(keys: list[Any], old: Shape) -> tuple[Shape, tuple[tuple[int, int, int | None], ...]]:
    """Return the new shape and the map of indices for one index an axis."""
    shape: list[int] = []
    maps: list[tuple[int, int, int | None]] = []
    axis = 0
    for key in keys:
        if key is None:
            shape.append(1)
            continue
        length = old[axis]
        axis += 1
        if isinstance(key, slice):
            start, stop, step = key.indices(length)
            maps.append((start, step, len(shape)))
            shape.append(len(range(start, stop, step)))
            continue
        index = operator.index(key)
        if not -length <= index < length:
            raise IndexError(f"index {index} is out of bounds for axis {axis - 1} with size {length}")
        maps.append((index % length, 1, None))
    return tuple(shape), tuple(maps)


def stacked(graph: Graph, parts: Any) -> Traced:
    """Return ``np.array(parts)`` for numbers, or arrays of one shape, along a new first axis."""
    items = [_as_traced(graph, part) for part in parts]
    if not items:
        raise NotTraceable("an empty array")
    shape = next((item.shape for item in items if item.shape), ())
    if any(item.shape != shape for item in items):
        raise NotTraceable("an array of rows of different lengths")
    pieces: list[Piece] = []
    for item in items:
        if not shape:
            pieces.append((item.node, 1))
            continue
        maps = tuple((0, 1, axis + 1) for axis in range(len(shape)))
        pieces.append((graph.move(item.node, (1, *shape), maps), 1))
    return Traced(graph, (len(items), *shape), pieces)


def _as_traced(graph: Graph, part: Any) -> Traced:
    if isinstance(part, Traced):
        return part
    return Traced(graph, (), [(graph.number(0.0), 0)]).lift(part)


def reduced(array: Traced, axis: Any, options: dict[str, Any]) -> Traced:
    """Return the sum over all elements, or over one axis of few elements."""
    if any(value is not None and value is not False for value in options.values()):
        raise NotTraceable(f"a sum with {', '.join(options)}")
    if not array.shape:
        return array
    if axis is None or (array.ndim == 1 and axis in (0, -1, (0,))):
        return _summed(array)
    if not isinstance(axis, int):
        raise NotTraceable("a sum over several axes")
    position = axis % array.ndim
    if array.shape[position] > 64:
        raise NotTraceable("a sum over a long axis of a matrix")
    before: tuple[Any, ...] = (slice(None),) * position
    total = array[(*before, 0)]
    for index in range(1, array.shape[position]):
        total = total + array[(*before, index)]
    return total


def _summed(array: Traced) -> Traced:
    graph = array.graph
    total: int | None = None
    for node, count in array.pieces:
        length = count * int(np.prod(array.shape[1:], dtype=np.int64))
        if not graph.shapes[node]:
            term = graph.apply("*", node, graph.number(length))
        elif length == 1:
            term = graph.move(node, (), tuple((0, 0, None) for _ in graph.shapes[node]))
        else:
            term = graph.leaf(("sum", node), ())
        total = term if total is None else graph.apply("+", total, term)
    return Traced(graph, (), [(graph.number(0.0) if total is None else total, 0)])


def matrix_product(a: Traced, b: Traced) -> Traced:
    """Return ``a @ b``: dot products, and products of a matrix of few columns with a vector."""
    if a.ndim == 1 and b.ndim == 1:
        return (a * b).sum()
    if a.ndim == 2 and b.ndim == 1:
        return (a * b).sum(axis=1)
    if a.ndim == 1 and b.ndim == 2:
        return (b * a[:, None]).sum(axis=0)
    raise NotTraceable("a product of matrices")


UNARY: dict[str, Callable[[Any], Any]] = {}
