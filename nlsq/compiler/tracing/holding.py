"""What a symbolic array holds: blocks of nodes, and which array it is a view of.

Each axis of an array is cut into progressions of positions (`nlsq.compiler.tracing.blocks`), and each block, a product
of one progression from each axis, is a node of the graph over its own index space. Most arrays are one block; what
`np.concatenate` joins, or stores fill, has several. A one-dimensional array may also hold arrays of more axes,
flattened in C order, where no node is flat.

A view knows its array and how it was cut from it, and is cut anew when it is read after its array was changed.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, Self

import numpy as np

from nlsq.compiler.graph import Graph, NotTraceable
from nlsq.compiler.strides import Shape
from nlsq.compiler.tracing.blocks import Cuts, find, whole, within
from nlsq.compiler.tracing.operators import Operators

UNSET = -1  # the node of elements of np.empty that nothing was stored into
UNSET_READ = "an element of np.empty is read before anything was stored into it"
DTYPES = {"f": np.dtype(np.float64), "i": np.dtype(np.int64), "b": np.dtype(np.bool_)}


class Held(Operators):
    """A symbolic number or array, as contents alone.

    Parameters
    ----------
    graph : Graph
        Where operations are recorded.
    shape : tuple of int
        ``()`` for a number.
    nodes : list
        Nodes of the blocks, in C order; a node of shape ``()`` in an array stands for equal elements, a `Held` for
        its elements in C order.
    cuts : tuple of tuple of range, optional
        Partition of each axis; None for one block.
    kind : {"f", "i", "b"}
        Whether NumPy's array would be of floats, integers or truth values.
    """

    __slots__ = ("_base", "_cuts", "_nodes", "_recipe", "_seen", "_version", "graph", "is_plain", "kind", "shape")

    def __init__(self, graph: Graph, shape: Shape, nodes: list[Any], cuts: Cuts | None = None, kind: str = "f") -> None:
        self.graph = graph
        self.shape = shape
        self.kind = kind
        self.is_plain = len(shape) < 2  # whether it is known to be C-contiguous, or of one axis
        self._nodes = nodes
        self._cuts = cuts
        self._base: Held | None = None
        self._recipe: Callable[[Any], Held] | None = None
        self._seen = self._version = 0

    # What it holds

    def view_of(self, base: Held, recipe: Callable[[Any], Held] | None) -> Self:
        """Mark as a view; `recipe` cuts it anew from the array, None where it may be a copy."""
        self._base, self._recipe, self._seen = base, recipe, base.version
        return self

    @property
    def version(self) -> int:
        """How often the contents have changed."""
        self._refresh()
        return self._version

    def _refresh(self) -> None:
        base = self._base
        if base is not None and self._seen != base.version:
            if self._recipe is None:
                raise NotTraceable("an array is read after one was changed that it may share its memory with")
            now = self._recipe(base)
            self._nodes, self._cuts = now._nodes, now._cuts
            self._seen = base._version
            self._version += 1

    def assign(self, nodes: list[Any], cuts: Cuts | None) -> None:
        """Give it other contents; views of it will see them."""
        self._nodes, self._cuts = nodes, cuts
        self._version += 1

    def wrote_through(self) -> None:
        """Note that the array that this is a view of has got its contents."""
        assert self._base is not None
        self._seen = self._base.version

    @property
    def base(self) -> Held | None:
        """The array that this is a view of."""
        return self._base

    @property
    def recipe(self) -> Callable[[Any], Held] | None:
        """How the view is cut."""
        return self._recipe

    @property
    def nodes(self) -> list[Any]:
        """Nodes of the blocks."""
        if self._base is not None:
            self._refresh()
        return self._nodes

    @property
    def cuts(self) -> Cuts | None:
        """Partition, None for one block."""
        if self._base is not None:
            self._refresh()
        return self._cuts

    @property
    def partition(self) -> Cuts:
        """Partition, written out."""
        cuts = self.cuts
        return tuple([whole(length) for length in self.shape]) if cuts is None else cuts

    @property
    def node(self) -> int:
        """The node of a number or of an array of one block, over the array's shape."""
        nodes = self.nodes
        if len(nodes) != 1:
            raise NotTraceable("an array joined of several expressions is used where one is needed")
        if not isinstance(nodes[0], int):
            raise NotTraceable("a flattened array whose rows are not contiguous is used where one expression is needed")
        if nodes[0] == UNSET:
            raise NotTraceable(UNSET_READ)
        return nodes[0]

    def cells(self, shape: Shape, cuts: Cuts) -> list[Any]:
        """Return nodes over the cells of a finer partition, broadcast to a larger shape; unset ones as they are."""
        if not self.shape:
            return self.nodes * int(np.prod([len(parts) for parts in cuts], dtype=np.int64))
        lead = len(shape) - self.ndim
        nodes, move = self.nodes, self.graph.move
        axes: list[list[tuple[int, int, int, int]]] = []  # for each cell: old part, its length, offset, step
        counts = []
        for axis, parts in enumerate(self.partition):
            new = cuts[lead + axis]
            counts.append(len(parts))
            if self.shape[axis] == 1 and shape[lead + axis] != 1:
                axes.append([(0, 1, 0, 0)] * len(new))
            elif len(parts) == 1:
                axes.append([(0, len(parts[0]), *within(parts[0], part)) for part in new])
            else:
                old = [find(parts, part.start) if part else 0 for part in new]
                axes.append([(k, len(parts[k]), *within(parts[k], part)) for k, part in zip(old, new, strict=True)])
        result = []
        for cell in product(*(range(len(parts)) for parts in cuts)):
            flat = 0
            maps = []
            for axis, parts_of in enumerate(axes):
                number, _, offset, step = parts_of[cell[lead + axis]]
                flat = flat * counts[axis] + number
                maps.append((offset, step, lead + axis))
            node = nodes[flat]
            if isinstance(node, int):
                space = tuple([len(parts[k]) for parts, k in zip(cuts, cell, strict=True)])
                result.append(node if node == UNSET else move(node, space, tuple(maps)))
            elif len(cuts[-1][cell[-1]]) == node.size and len(shape) == 1:
                result.append(node)
            else:
                raise NotTraceable("part of a flattened array whose rows are not contiguous")
        return result

    # What an array says of itself

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        size = 1
        for length in self.shape:
            size *= length
        return size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return DTYPES[self.kind]

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of shape {self.shape}>"
