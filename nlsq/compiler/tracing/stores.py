"""Stores into symbolic arrays: ``r[k] = a``, ``r[1:-1] = b``, ``r[::2] = c``, ``u[1:-1, 1:-1] = d``, ``y[x > 0] = e``.

A store cuts the partition of each axis where the stored part begins and ends, and puts the value's nodes in the blocks
inside. One with a step leaves progressions between. Stores into views go to the array that the view is of.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from nlsq.compiler.graph import NotTraceable
from nlsq.compiler.tracing.arrays import Argument, Traced, ZeroDimensional, as_traced
from nlsq.compiler.tracing.blocks import Cuts, Parts, complement, find, intersection, ordered, tidy
from nlsq.compiler.tracing.elementwise import broadcast
from nlsq.compiler.tracing.holding import UNSET
from nlsq.compiler.tracing.indexing import MOST_PICKED, Slicing, expand, plain_index, position, progression
from nlsq.compiler.tracing.joining import Reshaping, Transposing, transposed, unfolded

MOST_PARTS = 1 << 14  # of an array that is filled number by number: each store goes over all that is there


def store(array: Traced, key: Any, value: Any) -> None:
    """Store a value, as ``array[key] = value`` does."""
    check_writable(array)
    if isinstance(key, Traced):
        from nlsq.compiler.tracing.masks import store_selected

        store_selected(array, key, value)
        return
    if (
        isinstance(value, Traced)
        and value.base is array
        and isinstance(value.recipe, Slicing)
        and value.recipe.key is key
    ):
        return  # the end of ``array[key] += ...``, which has reached the array already
    if type(key) is int and array.ndim == 1 and array.base is None and isinstance(value, Traced) and not value.shape:
        if _stored_element(array, position(key, array.shape[0], 0), value.node):
            return
    keys = key if isinstance(key, tuple) else (key,)
    if any(isinstance(one, np.ndarray | list) for one in keys):
        _store_picked(array, keys, as_traced(array.graph, value))
        return
    _store_sliced(array, expand(keys, array.ndim), as_traced(array.graph, value))


def overwrite(array: Traced, value: Any) -> None:
    """Give an array other contents, and the arrays that it is a view of."""
    check_writable(array)
    if not isinstance(value, Traced):
        raise NotTraceable("a store of complex numbers into an array of real ones")
    if np.broadcast_shapes(value.shape, array.shape) != array.shape:
        raise ValueError(f"could not broadcast from shape {value.shape} into shape {array.shape}")
    _assign(array, broadcast(value, array.shape))


def check_writable(array: Traced) -> None:
    """Refuse stores into what the function was given, and stores that would convert."""
    one: Any = array
    while one is not None:
        if isinstance(one, Argument | ZeroDimensional):
            raise NotTraceable("a store into an argument, into data, or into an array without axes")
        if one.base is not None and one.recipe is None:
            raise NotTraceable("a store into an array that may share its memory with another")
        one = one.base
    if array.kind != "f":
        raise NotTraceable("a store into an array of integers or truth values")


def _assign(array: Traced, contents: Traced) -> None:
    """Replace the contents of an array; what it is a view of is changed first."""
    base: Any = array.base
    nodes, cuts = list(contents.nodes), contents.cuts
    if base is None:
        array.assign(nodes, cuts)
        return
    recipe = array.recipe
    if isinstance(recipe, Slicing):
        _store_sliced(base, recipe.keys, contents)
    elif isinstance(recipe, Transposing):
        back = tuple(recipe.order.index(axis) for axis in range(array.ndim))
        _assign(base, transposed(contents, back))
    elif isinstance(recipe, Reshaping):
        _assign(base, contents.reshape(base.shape))
    array.assign(nodes, cuts)
    array.wrote_through()


def _store_sliced(array: Traced, keys: list[Any], value: Traced) -> None:
    selections: list[range] = []
    shape: list[int] = []
    for key in keys:
        if key is None:
            shape.append(1)
            continue
        axis = len(selections)
        length = array.shape[axis]
        if isinstance(key, slice):
            selections.append(range(*key.indices(length)))
            shape.append(len(selections[-1]))
        else:
            at = position(key, length, axis)
            selections.append(range(at, at + 1))
    if not all(selections):
        return
    while value.ndim > len(shape) and value.shape[0] == 1:  # NumPy drops leading axes of length one
        value = value[0]
    value = broadcast(value, tuple(shape))
    if value.shape:
        if any(not isinstance(one, int) for one in value.nodes):
            value = unfolded(value)
        value = _turned(value, keys)
    if all(len(taken) == length for taken, length in zip(selections, array.shape, strict=True)):
        _assign(array, broadcast(value, array.shape))
        return
    _assign(array, _patched(array, [taken if taken.step > 0 else taken[::-1] for taken in selections], value))


def _turned(value: Traced, keys: list[Any]) -> Traced:
    """Return the value with one axis for each of the array's, in ascending order of positions."""
    index: list[Any] = []
    for key in keys:
        if key is None:
            index.append(0)
        elif isinstance(key, slice):
            index.append(slice(None, None, -1 if (key.step or 1) < 0 else 1))
        else:
            index.append(None)
    turned: Traced = value[tuple(index)]
    return turned


def _patched(array: Traced, selections: list[range], value: Traced) -> Traced:
    """Return the array with a value in some places."""
    if any(not isinstance(one, int) for one in array.nodes):
        array = unfolded(array)
    old = array.partition
    shape = tuple(len(taken) for taken in selections)
    value = broadcast(value, shape) if value.shape else value
    own: Cuts = value.partition if value.shape else tuple((range(length),) for length in shape)
    placed = [_mapped(parts, taken) for parts, taken in zip(own, selections, strict=True)]
    if array.ndim == 1:
        return _patched_line(array, selections[0], value, placed[0])
    cuts: list[Parts] = []
    for parts, taken, here in zip(old, selections, placed, strict=True):
        pieces: list[range] = []
        for part in parts:
            hit = intersection(part, taken)
            pieces += complement(part, hit)
            pieces += [inner for one in here if hit and (inner := intersection(hit, one))]
        cuts.append(ordered(pieces))
    new = tuple(cuts)
    nodes = array.cells(array.shape, new)
    inside = [[part.start in taken for part in parts] for parts, taken in zip(new, selections, strict=True)]
    local_cuts = tuple(
        tuple(_numbered(part, taken) for part, flag in zip(parts, flags, strict=True) if flag)
        for parts, taken, flags in zip(new, selections, inside, strict=True)
    )
    stored = iter(value.cells(shape, local_cuts))
    for k, flags in enumerate(product(*inside)):
        if all(flags):
            nodes[k] = next(stored)
    return Traced(array.graph, array.shape, nodes, new, array.kind)


def _patched_line(array: Traced, taken: range, value: Traced, placed: list[range]) -> Traced:
    """Return a one-dimensional array with a value in some places."""
    parts, nodes = array.partition[0], array.nodes
    if len(taken) == 1:  # the common case of loops: one element
        k = find(parts, taken[0])
        touched = [k]
    else:
        touched = [k for k, part in enumerate(parts) if intersection(part, taken)]
    rest: list[range] = []
    for k in touched:
        rest += complement(parts[k], intersection(parts[k], taken))
    kept = Traced(array.graph, array.shape, nodes, array.cuts, array.kind)
    rest_nodes = kept.cells(array.shape, (tuple(rest),)) if rest else []
    new = [*zip(rest, rest_nodes, strict=True), *zip(placed, value.nodes, strict=True)]
    first, last = touched[0], touched[-1]
    if last - first + 1 == len(touched):  # everything before and after stays as it is
        new.sort(key=lambda one: one[0].start)
        before, after = parts[:first], parts[last + 1 :]
        if not new or not before or before[-1].start <= new[0][0].start:
            all_parts = (*before, *(one[0] for one in new), *after)
            all_nodes = [*nodes[:first], *(one[1] for one in new), *nodes[last + 1 :]]
            if not after or after[0].start > new[-1][0].start:
                return Traced(array.graph, array.shape, all_nodes, (all_parts,), array.kind)
    gone = set(touched)
    new += [(part, node) for k, (part, node) in enumerate(zip(parts, nodes, strict=True)) if k not in gone]
    new.sort(key=lambda one: one[0].start)
    return Traced(array.graph, array.shape, [one[1] for one in new], (tuple(one[0] for one in new),), array.kind)


def _stored_element(array: Traced, at: int, value: int) -> bool:
    """Store a number, what loops do most; return False where the block that it is in is no contiguous node."""
    parts, nodes = array.partition[0], array.nodes
    if len(parts) > MOST_PARTS:
        raise NotTraceable(f"a loop that stores more than {MOST_PARTS} numbers one by one")
    k = find(parts, at)
    part, node = parts[k], nodes[k]
    here = range(at, at + 1)
    if part.step != 1 or not isinstance(node, int):
        return False
    new = [(here, value)]
    for rest in complement(part, here):
        moved = node
        if node != UNSET:
            moved = array.graph.move(node, (len(rest),), ((rest.start - part.start, 1, 0),))
        new.append((rest, moved))
    new.sort(key=lambda one: one[0].start)
    cuts = (*parts[:k], *[one[0] for one in new], *parts[k + 1 :])
    array.assign([*nodes[:k], *[one[1] for one in new], *nodes[k + 1 :]], (cuts,))
    return True


def _mapped(parts: Parts, taken: range) -> list[range]:
    """Return where the parts of a value go."""
    return [tidy(range(taken[part[0]], taken[part[-1]] + 1, part.step * taken.step)) for part in parts]


def _numbered(part: range, taken: range) -> range:
    """Return the numbers within a selection of some of its positions."""
    first, last = (part[0] - taken.start) // taken.step, (part[-1] - taken.start) // taken.step
    return tidy(range(first, last + 1, max(part.step // taken.step, 1)))


def _store_picked(array: Traced, keys: tuple[Any, ...], value: Traced) -> None:
    """Store at places given by index arrays, one after the other: of equal places the last counts, as in NumPy."""
    mask = keys[0]
    if (
        len(keys) == 1
        and isinstance(mask, np.ndarray)
        and mask.dtype == bool
        and mask.shape == array.shape != mask.shape[:1]
    ):
        keys = tuple(np.nonzero(mask))
    arrays = [plain_index(one, array, axis) for axis, one in enumerate(keys)]
    if not all(isinstance(one, np.ndarray) for one in arrays):
        raise NotTraceable("a store by an index array together with slices")
    shape = np.broadcast_shapes(*(one.shape for one in arrays))
    rows = np.array([np.broadcast_to(one, shape).ravel() for one in arrays])
    rest = array.shape[len(arrays) :]
    steps = np.diff(rows[0])
    if (
        len(arrays) == 1
        and steps.size
        and steps[0] != 0
        and (steps == steps[0]).all()
        and rows.min() >= 0
        and len(shape) == 1
    ):
        store(array, progression(rows[0]), value)
        return
    if rows.shape[1] > MOST_PICKED:
        raise NotTraceable(f"a store by an index array of more than {MOST_PICKED} elements in no order")
    values = broadcast(value, (*shape, *rest)).reshape((rows.shape[1], *rest))
    for k, row in enumerate(rows.T):
        store(array, tuple(int(one) for one in row), values[k])
