"""Stores into symbolic arrays: ``r[k] = a``, ``r[1:-1] = b``, ``r[::2] = c``.

An array is a list of pieces along its first axis. A store cuts the pieces where the stored part begins and ends; one
with a step leaves pieces of single elements between others. Stores into views go to the array that the view is of.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from nlsq.compiler.arrays import Argument, Piece, Traced, _Reshaped, broadcast
from nlsq.compiler.graph import NotTraceable

UNSET = -1  # the node of elements of np.empty that nothing was stored into


def store(array: Traced, key: Any, value: Any) -> None:
    """Store a value, as ``array[key] = value`` does."""
    refuse_arguments(array)
    if isinstance(key, tuple) and len(key) == 1:
        key = key[0]
    if key is Ellipsis:
        key = slice(None)
    if array.ndim != 1 and not isinstance(key, int | np.integer | slice):
        raise NotTraceable("a store into part of a matrix")
    if isinstance(key, slice):
        start, stop, step = key.indices(array.shape[0])
        positions = range(start, stop, step)
    elif isinstance(key, int | np.integer):
        first = operator.index(key)
        if not -array.shape[0] <= first < array.shape[0]:
            raise IndexError(f"index {first} is out of bounds for axis 0 with size {array.shape[0]}")
        positions = range(first % array.shape[0], first % array.shape[0] + 1)
    else:
        raise NotTraceable(f"a store by an index of type {type(key).__name__}")
    if not positions:
        return
    part = Traced(array.graph, array.shape, []).lift(value)
    if isinstance(key, slice) or array.ndim > 1:
        wanted = (len(positions), *array.shape[1:])
        part = broadcast(part if part.ndim <= len(wanted) else part.reshape(wanted), wanted)
    elif part.shape:
        if part.size != 1:
            raise ValueError("setting an array element with a sequence.")
        part = part.reshape(())
    replace(array, _stored(array, positions, part))


def replace(array: Traced, pieces: list[Piece]) -> None:
    """Give an array other contents, and the arrays that it is a view of."""
    refuse_arguments(array)
    base = array._base
    if base is not None:
        if array._key is _Reshaped:
            raise NotTraceable("a store into a reshaped view")
        if array._seen != base._version:
            raise NotTraceable("a store into a view of an array that was changed")
        store(base, array._key, Traced(array.graph, array.shape, pieces))
        array._seen = base._version
    array._pieces = pieces
    array._version += 1


def refuse_arguments(array: Traced) -> None:
    """Refuse stores into what the function was given."""
    one: Traced | None = array
    while one is not None:
        if isinstance(one, Argument):
            raise NotTraceable("a store into an argument or into data")
        one = one._base


def _stored(array: Traced, positions: range, part: Traced) -> list[Piece]:
    """Return the pieces after a store."""
    new = [(node, 1) for node, _ in part.pieces] if not part.shape else list(part.pieces)
    if positions.step == 1 or len(positions) == 1:
        return [
            *_rows(array, 0, positions[0]),
            *([(new[0][0], len(positions))] if not part.shape else new),
            *_rows(array, positions[-1] + 1, array.shape[0]),
        ]
    return _interleaved(array, positions, part)


def _rows(array: Traced, begin: int, end: int) -> list[Piece]:
    """Return the pieces of some rows."""
    pieces: list[Piece] = []
    position = 0
    for node, count in array._pieces:
        low, high = max(begin, position), min(end, position + count)
        if low < high:
            pieces.append((_part(array, node, count, low - position, high - low), high - low))
        position += count
    return pieces


def _part(array: Traced, node: int, count: int, offset: int, length: int) -> int:
    if node == UNSET or length == count:
        return node
    shape = (length, *array.shape[1:])
    return array.graph.move(node, shape, ((offset, 1, 0), *((0, 1, axis) for axis in range(1, array.ndim))))


def _interleaved(array: Traced, positions: range, part: Traced) -> list[Piece]:
    """Return pieces of single elements where a stored part has a step."""
    if array.ndim != 1:
        raise NotTraceable("a store with a step into a matrix")
    owner: list[tuple[int, int] | None] = [None] * array.shape[0]
    position = 0
    for node, count in array._pieces:
        for k in range(count):
            owner[position + k] = (node, k)
        position += count
    old = list(owner)
    position = 0
    for node, count in part.pieces:
        for k in range(count):
            owner[positions[position + k]] = (node, k)
        position += count
    graph = array.graph
    counts = dict.fromkeys({one[0] for one in owner if one is not None}, 0)
    del old, counts
    pieces: list[Piece] = []
    for one in owner:
        assert one is not None
        node, k = one
        if node != UNSET and graph.shapes[node]:
            node = graph.move(node, (), ((k, 1, None),))
        pieces.append((node, 1))
    return pieces
