"""Symbolic arrays made of others: stacked, concatenated, reshaped, transposed; and new ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from nlsq.compiler.graph import Graph, NotTraceable
from nlsq.compiler.strides import Shape
from nlsq.compiler.tracing.arrays import Argument, Traced, as_traced
from nlsq.compiler.tracing.blocks import Cuts, Parts, refined, runs, singles, tidy, whole
from nlsq.compiler.tracing.holding import UNSET

MOST_ELEMENTS = 2048  # of arrays that are taken to single elements to be reshaped
MOST_ROWS = 512  # of a matrix that is flattened row by row


class Transposing:
    """How a view is made by another order of axes."""

    def __init__(self, order: tuple[int, ...]) -> None:
        self.order = order

    def __call__(self, base: Traced) -> Traced:
        """Make it."""
        return _transposed(base, self.order)


class Reshaping:
    """How a view of another shape is made."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape

    def __call__(self, base: Traced) -> Traced:
        """Make it."""
        return _reshaped(base, self.shape)


def fresh(graph: Graph, shape: Shape, value: Any) -> Traced:
    """Return a new array with one value everywhere; None leaves it unset."""
    if not shape:
        raise NotTraceable("a new array without axes")
    if any(length < 0 for length in shape):
        raise ValueError("negative dimensions are not allowed")
    node = UNSET if value is None else as_traced(graph, value).node
    array = Traced(graph, shape, [node])
    array.is_plain = True
    return array


def stacked(graph: Graph, values: Sequence[Any]) -> Traced:
    """Return ``np.array(values)`` for numbers, or arrays of one shape, along a new first axis."""
    items = [stacked(graph, one) if isinstance(one, list | tuple) else as_traced(graph, one) for one in values]
    if not items:
        raise NotTraceable("an empty array")
    shape = items[0].shape
    if any(item.shape != shape for item in items):
        raise NotTraceable("an array of rows of different lengths")
    kind = common_kind(items)
    if not shape:
        parts = (singles(len(items)),) if len(items) > 1 else None
        return Traced(graph, (len(items),), [item.node for item in items], parts, kind)
    array = concatenated(graph, [item[None] for item in items], 0)
    array.is_plain = True
    return array


def common_kind(arrays: Sequence[Traced]) -> str:
    """Return the kind that an array of the elements of several has."""
    kinds = {one.kind for one in arrays}
    if len(kinds) == 1:
        return kinds.pop()
    return "f" if "f" in kinds else "i"


def concatenated(graph: Graph, arrays: Sequence[Traced], axis: int) -> Traced:
    """Return arrays one after the other along an axis."""
    first = arrays[0]
    if not first.shape:
        raise ValueError("zero-dimensional arrays cannot be concatenated")
    if not -first.ndim <= axis < first.ndim:
        raise NotTraceable(f"axis {axis} of an array of {first.ndim} axes")
    axis %= first.ndim
    others = [one.shape[:axis] + one.shape[axis + 1 :] for one in arrays]
    if any(one.ndim != first.ndim for one in arrays) or any(one != others[0] for one in others):
        raise ValueError("all the input array dimensions except for the concatenation axis must match exactly")
    kind = common_kind(arrays)
    length = sum(one.shape[axis] for one in arrays)
    shape = (*first.shape[:axis], length, *first.shape[axis + 1 :])
    filled = [one for one in arrays if one.size]
    if len(filled) <= 1:
        copy = (filled or list(arrays))[0].copy()
        return Traced(graph, shape, copy.nodes, copy.cuts, kind)
    if first.ndim == 1 and all(one.cuts is None for one in filled):
        return Traced(graph, shape, [one.nodes[0] for one in filled], (runs(tuple(one.size for one in filled)),), kind)
    cuts = _common_but(filled, axis)
    along: list[range] = []
    grids = []
    begin = 0
    for one in filled:
        own = one.partition[axis]
        along += [range(part.start + begin, part.stop + begin, part.step) for part in own]
        begin += one.shape[axis]
        here = (*cuts[:axis], own, *cuts[axis + 1 :])
        grids.append(_grid(one.cells(one.shape, here), here))
    nodes = list(np.concatenate(grids, axis=axis).ravel())
    return Traced(graph, shape, nodes, (*cuts[:axis], tuple(along), *cuts[axis + 1 :]), kind)


def _common_but(arrays: Sequence[Traced], axis: int) -> list[Parts]:
    cuts = [whole(length) for length in arrays[0].shape]
    for one in arrays:
        for k, parts in enumerate(one.partition):
            if k != axis:
                cuts[k] = refined(cuts[k], parts)
    return cuts


def _grid(nodes: list[Any], cuts: Cuts) -> Any:
    grid = np.empty(len(nodes), dtype=object)
    for k, node in enumerate(nodes):
        grid[k] = node
    return grid.reshape([len(parts) for parts in cuts])


def transposed(array: Traced, order: tuple[int, ...] | None) -> Traced:
    """Return a view with its axes in another order."""
    if array.ndim < 2:
        return array
    axes = tuple(axis % array.ndim for axis in order) if order else tuple(range(array.ndim))[::-1]
    if sorted(axes) != list(range(array.ndim)):
        raise ValueError("axes don't match array")
    return _transposed(array, axes).view_of(array, Transposing(axes))


def _transposed(array: Traced, order: tuple[int, ...]) -> Traced:
    graph = array.graph
    maps = tuple((0, 1, order.index(axis)) for axis in range(array.ndim))
    shape = tuple(array.shape[axis] for axis in order)
    cuts = array.partition
    grid = _grid(array.nodes, cuts).transpose(order)
    new = tuple(cuts[axis] for axis in order)
    nodes = []
    for cell, node in zip(product(*new), grid.ravel(), strict=True):
        space = tuple(len(part) for part in cell)
        nodes.append(node if node == UNSET else graph.move(node, space, maps))
    return Traced(graph, shape, nodes, None if array.cuts is None else new, array.kind)


def reshaped(array: Traced, shape: Any) -> Traced:
    """Return an array of another shape, a view where NumPy's is."""
    new: Shape = np.empty(array.shape, dtype=np.bool_).reshape(shape).shape
    if new == array.shape and array.shape:
        return _reshaped(array, new).view_of(array, Reshaping(new))
    result = _reshaped(array, new)
    if not new:
        return Argument(result.graph, (), result.nodes, None, result.kind)
    if not array.shape:
        return result
    result.is_plain = array.is_plain or len(new) < 2
    result.view_of(array, Reshaping(new) if array.is_plain else None)
    return result


def _reshaped(array: Traced, new: Shape) -> Traced:
    graph, kind = array.graph, array.kind
    if new == array.shape:
        return Traced(graph, new, list(array.nodes), array.cuts, kind)
    nodes = array.nodes
    if len(nodes) == 1 and isinstance(nodes[0], int):
        if nodes[0] == UNSET or not graph.shapes[nodes[0]]:
            return Traced(graph, new, [nodes[0]], None, kind)
        moved = graph.reshape(nodes[0], new)
        if moved is not None:
            return Traced(graph, new, [moved], None, kind)
    if len(new) == 1:
        return _flattened(array)
    if array.ndim == 1:
        return _unflattened(array, new)
    return _unflattened(_flattened(array), new)


def _flattened(array: Traced) -> Traced:
    """Return it one-dimensional: by blocks of whole rows, or held as it is."""
    graph = array.graph
    cuts = array.partition
    inner = prod(array.shape[1:])
    if all(len(parts) == 1 for parts in cuts[1:]) and all(part.step == 1 for part in cuts[0]):
        nodes = []
        for node, part in zip(array.nodes, cuts[0], strict=True):
            simple = node == UNSET or not graph.shapes[node]
            nodes.append(node if simple else graph.reshape(node, (len(part) * inner,)))
        if None not in nodes:
            lengths = tuple(len(part) * inner for part in cuts[0])
            return Traced(graph, (array.size,), nodes, (runs(lengths),) if len(nodes) > 1 else None, array.kind)
    held = Traced(graph, array.shape, list(array.nodes), array.cuts, array.kind)
    return Traced(graph, (array.size,), [held], None, array.kind)


def _unflattened(array: Traced, new: Shape) -> Traced:
    """Return a one-dimensional array with more axes."""
    graph, nodes = array.graph, array.nodes
    if len(nodes) == 1 and isinstance(nodes[0], Traced):
        held: Traced = nodes[0]
        if held.shape == new:
            return Traced(graph, new, list(held.nodes), held.cuts, array.kind)
        if prod(held.shape[1:]) == prod(new[1:]) and held.shape[0] == new[0]:
            return stacked(graph, [held[k].reshape(new[1:]) for k in range(new[0])])
    parts = array.partition[0]
    inner = prod(new[1:])
    if all(isinstance(one, int) for one in nodes) and all(
        part.step == 1 and not part.start % inner and not part.stop % inner for part in parts
    ):
        pieces = []
        for node, part in zip(nodes, parts, strict=True):
            space = (len(part) // inner, *new[1:])
            pieces.append(node if node == UNSET or not graph.shapes[node] else graph.reshape(node, space))
        if None not in pieces:
            lengths = tuple(len(part) // inner for part in parts)
            cuts = (runs(lengths), *(whole(length) for length in new[1:]))
            return Traced(graph, new, pieces, cuts if len(pieces) > 1 else None, array.kind)
    if array.size > MOST_ELEMENTS:
        raise NotTraceable("a reshape of an array whose parts are not whole rows of the new one")
    flat = unfolded(array)
    every = flat.cells(flat.shape, (singles(flat.size),))
    scalars = [node if node == UNSET else graph.move(node, (1,) * len(new), ((0, 1, 0),)) for node in every]
    return Traced(graph, new, scalars, tuple(singles(length) for length in new), array.kind)


def unfolded(array: Traced) -> Traced:
    """Return a one-dimensional array whose blocks are all nodes of one axis."""
    if all(isinstance(node, int) for node in array.nodes):
        return array
    blocks: list[tuple[range, int]] = []
    for node, part in zip(array.nodes, array.partition[0], strict=True):
        if isinstance(node, int):
            blocks.append((part, node))
            continue
        length = node.shape[-1]
        if node.size // length > MOST_ROWS:
            raise NotTraceable("part of a flattened array whose rows are not contiguous")
        for number, row in enumerate(product(*(range(one) for one in node.shape[:-1]))):
            own = part[number * length : (number + 1) * length]
            values = node[row]
            blocks += [
                (tidy(own[inner.start : inner.stop : inner.step]), one)
                for inner, one in zip(values.partition[0], values.nodes, strict=True)
            ]
    blocks.sort(key=lambda one: one[0].start)
    parts = tuple(part for part, _ in blocks)
    return Traced(array.graph, array.shape, [node for _, node in blocks], (parts,), array.kind)
