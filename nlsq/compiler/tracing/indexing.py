"""Indices into symbolic arrays: integers, slices, new axes, index arrays and masks of known contents."""

from __future__ import annotations

import operator
from itertools import product
from typing import Any

import numpy as np

from nlsq.compiler.graph import NotTraceable
from nlsq.compiler.tracing.arrays import Traced, ZeroDimensional
from nlsq.compiler.tracing.blocks import Parts, find, selected
from nlsq.compiler.tracing.holding import UNSET
from nlsq.compiler.tracing.joining import Reshaping, stacked, unfolded
from nlsq.compiler.tracing.operators import BRANCH

MOST_PICKED = 100_000  # elements taken one by one


class Slicing:
    """How a view is cut by integers, slices and new axes."""

    def __init__(self, keys: list[Any], key: Any) -> None:
        self.keys, self.key = keys, key

    def __call__(self, base: Traced) -> Traced:
        """Cut."""
        return cut(base, self.keys)


def index(array: Traced, key: Any) -> Any:
    """Return ``array[key]``: a view, a number, or a copy for index arrays and masks."""
    if isinstance(key, Traced):
        from nlsq.compiler.tracing.masks import Selected

        if key.kind != "b" or not key.shape:
            raise NotTraceable("an index that depends on the parameters or the data")
        return Selected(array, key)
    keys = key if isinstance(key, tuple) else (key,)
    if any(isinstance(one, np.ndarray | list) for one in keys):
        return picked(array, keys)
    expanded = expand(keys, array.ndim)
    view = cut(array, expanded)
    if view.shape:
        view.view_of(array, Slicing(expanded, key))
    elif Ellipsis in keys or not array.shape:
        return ZeroDimensional(array.graph, (), view.nodes, None, view.kind)
    return view


def is_contiguous(array: Traced) -> bool:
    """Whether NumPy's array is known to lie in memory without gaps, in C order."""
    base, recipe = array.base, array.recipe
    if base is None:
        return array.is_plain
    if isinstance(recipe, Slicing):
        keys = [key for key in recipe.keys if key is not None]
        while keys and not isinstance(keys[0], slice):
            keys.pop(0)
        if any(key != slice(None) for key in keys[1:]) or (keys and (keys[0].step or 1) != 1):
            return False
    elif not isinstance(recipe, Reshaping):
        return False
    return is_contiguous(base)  # type: ignore[arg-type]


def expand(keys: tuple[Any, ...], ndim: int) -> list[Any]:
    """Return an index for every axis, with None for new ones."""
    for key in keys:
        if isinstance(key, bool | np.bool_):
            raise NotTraceable("an index that is a truth value")
        if isinstance(key, Traced):
            raise NotTraceable("an index that depends on the parameters or the data")
        if not (key is None or key is Ellipsis or isinstance(key, slice | int | np.integer)):
            raise NotTraceable(f"an index of type {type(key).__name__}")
    given = sum(key is not None and key is not Ellipsis for key in keys)
    if given > ndim:
        raise IndexError(f"too many indices: the array is {ndim}-dimensional, but {given} were indexed")
    result: list[Any] = []
    filled = False
    for key in keys:
        if key is Ellipsis:
            if filled:
                raise IndexError("an index can only have a single ellipsis ('...')")
            result += [slice(None)] * (ndim - given)
            filled = True
        else:
            result.append(key)
    return result if filled else result + [slice(None)] * (ndim - given)


def position(key: Any, length: int, axis: int) -> int:
    """Return an integer index counted from the beginning."""
    number = operator.index(key)
    if not -length <= number < length:
        raise IndexError(f"index {number} is out of bounds for axis {axis} with size {length}")
    return number % length


def cut(array: Traced, keys: list[Any]) -> Traced:
    """Return what integers, slices and new axes, one for each axis, take; not yet marked as a view."""
    if any(not isinstance(node, int) for node in array.nodes):
        array = unfolded(array)
    nodes, cuts, graph = array.nodes, array.cuts, array.graph
    shape: list[int] = []
    if cuts is None:
        maps: list[tuple[int, int, int | None]] = []
        axis = 0
        for key in keys:
            if key is None:
                shape.append(1)
                continue
            length = array.shape[axis]
            if isinstance(key, slice):
                start, stop, step = key.indices(length)
                maps.append((start, step, len(shape)))
                shape.append(len(range(start, stop, step)))
            else:
                maps.append((position(key, length, axis), 1, None))
            axis += 1
        new = tuple(shape)
        node = nodes[0] if nodes[0] == UNSET else graph.move(nodes[0], new, tuple(maps))
        return Traced(graph, new, [node], None, array.kind)
    return _cut_blocks(array, keys)


def _cut_blocks(array: Traced, keys: list[Any]) -> Traced:
    cuts = array.partition
    chosen: list[list[tuple[int, int, int]]] = []  # for each old axis: (old part, offset, step) of what is taken
    new_axes: list[int | None] = []
    new_cuts: list[Parts] = []
    shape: list[int] = []
    axis = 0
    for key in keys:
        if key is None:
            new_cuts.append((range(1),))
            shape.append(1)
            continue
        parts, length = cuts[axis], array.shape[axis]
        if isinstance(key, slice):
            taken = range(*key.indices(length))
            found = selected(parts, taken)
            new_axes.append(len(shape))
            new_cuts.append(tuple(one[1] for one in found))
            shape.append(len(taken))
            chosen.append([(one[0], one[2], one[3]) for one in found])
        else:
            at = position(key, length, axis)
            part = find(parts, at)
            new_axes.append(None)
            chosen.append([(part, (at - parts[part].start) // parts[part].step, 1)])
        axis += 1
    new = tuple(shape)
    graph = array.graph
    if 0 in new:
        return Traced(graph, new, [graph.number(0.0)], None, array.kind)
    nodes = []
    old_nodes = array.nodes
    for cell in product(*(range(len(one)) for one in chosen)):
        flat = 0
        maps: list[tuple[int, int, int | None]] = []
        space = [1] * len(new)
        for k, number in enumerate(cell):
            part, offset, step = chosen[k][number]
            flat = flat * len(cuts[k]) + part
            maps.append((offset, step, new_axes[k]))
            at_axis = new_axes[k]
            if at_axis is not None:
                space[at_axis] = len(new_cuts[at_axis][number])
        node = old_nodes[flat]
        nodes.append(node if node == UNSET else graph.move(node, tuple(space), tuple(maps)))
    trivial = all(len(parts) == 1 for parts in new_cuts)
    return Traced(graph, new, nodes, None if trivial else tuple(new_cuts), array.kind)


def picked(array: Traced, keys: tuple[Any, ...]) -> Any:
    """Return ``array[[0, 2, 5]]`` or ``array[rows, columns]``: a copy, as in NumPy."""
    arrays = [plain_index(one, array, axis) for axis, one in enumerate(keys)]
    if not all(isinstance(one, np.ndarray) for one in arrays):
        return _picked_along(array, arrays)
    shape = np.broadcast_shapes(*(one.shape for one in arrays))
    rows = np.array([np.broadcast_to(one, shape).ravel() for one in arrays])
    rest = array.shape[len(arrays) :]
    if not rows.shape[1]:
        return Traced(array.graph, (*shape, *rest), [array.graph.number(0.0)], None, array.kind)
    steps = np.diff(rows[0])
    if len(arrays) == 1 and steps.size and steps[0] != 0 and (steps == steps[0]).all() and rows.min() >= 0:
        flat = array[progression(rows[0])].copy()
    else:
        if rows.shape[1] > MOST_PICKED:
            raise NotTraceable(f"an index array of more than {MOST_PICKED} elements in no order")
        flat = stacked(array.graph, [array[tuple(int(k) for k in row)] for row in rows.T])
    return flat if len(shape) == 1 else flat.reshape((*shape, *rest))


def _picked_along(array: Traced, keys: list[Any]) -> Any:
    """Return ``array[:, [0, 2]]``: slices and one index array of one axis."""
    places = [axis for axis, one in enumerate(keys) if isinstance(one, np.ndarray)]
    if len(places) != 1 or keys[places[0]].ndim != 1 or not all(isinstance(one, slice | np.ndarray) for one in keys):
        raise NotTraceable("an index array together with such other indices")
    axis = places[0]
    order = (axis, *(k for k in range(array.ndim) if k != axis))
    rows = picked(array.transpose(order), (keys[axis],))
    back = rows.transpose(tuple(order.index(k) for k in range(array.ndim)))
    return back[tuple(slice(None) if k == axis else one for k, one in enumerate(keys))].copy()


def plain_index(key: Any, array: Traced, axis: int) -> Any:
    """Return an index of known contents; masks become positions."""
    if isinstance(key, list):
        if any(isinstance(one, Traced) for one in key):
            raise NotTraceable("an index that depends on the parameters or the data")
        key = np.asarray(key, dtype=np.intp) if not key else np.asarray(key)
    if isinstance(key, Traced):
        raise NotTraceable(BRANCH)
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        return np.asarray(key)
    if not isinstance(key, np.ndarray):
        return key
    if key.dtype == bool:
        if key.ndim != 1 or key.shape[0] != array.shape[axis]:
            raise NotTraceable("a mask of another shape than the axis")
        return np.flatnonzero(key)
    if key.dtype.kind not in "iu":
        raise NotTraceable(f"an index array of {key.dtype}")
    return key


def progression(positions: Any) -> slice:
    """Return the slice that takes positions that advance by equal steps and are none before the first."""
    start, step = int(positions[0]), int(positions[1] - positions[0])
    stop = start + step * positions.size
    return slice(start, stop if stop >= 0 else None, step)
