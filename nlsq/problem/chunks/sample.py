"""Some points of data that are read in blocks, spread evenly over all of them, without knowing how many there are.

    point i is taken where  (i A) mod 2^32 < limit,      A / 2^32 near the golden ratio

These points have but three different distances [1]_, none of which is a period that data are likely to have. While
there are more than 2 SAMPLE of them the limit is halved; which points are taken depends on their number alone.

References
----------
.. [1] V. T. Sós, "On the distribution mod 1 of the sequence n alpha", Annales Universitatis Scientiarum Budapestinensis
   1, 1958.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from nlsq.problem.chunks.blocks import Block

BLOCK = 65536  # points: half a megabyte an array, so that x and y stay in the second-level cache while they are summed
FloatArray = NDArray[np.float64]
SAMPLE = 4096
MULTIPLIER = 2654435769  # 2^32 times the golden ratio less one
WORD = 2**32


@functools.cache
def in_order() -> tuple[NDArray[np.uint32], NDArray[np.intp]]:
    """Return i A mod 2^32 for i < BLOCK in ascending order, and these i."""
    multiples = (np.arange(BLOCK, dtype=np.uint64) * np.uint64(MULTIPLIER)).astype(np.uint32)
    order = np.argsort(multiples)
    return multiples[order], order


def places_of(start: int, rows: NDArray[np.intp]) -> NDArray[np.uint32]:
    """Return i A mod 2^32 for points of a block."""
    return ((rows + start).astype(np.uint64) * np.uint64(MULTIPLIER)).astype(np.uint32)


def rows_below(limit: int, start: int, size: int) -> NDArray[np.intp]:
    """Return which of so many points from `start` on are taken, counted from there."""
    if limit == WORD:
        return np.arange(size)
    multiples, order = in_order()
    first = -start * MULTIPLIER % WORD  # where a multiple in the block would make the place 0
    last = (first + limit) % WORD
    begin, end = np.searchsorted(multiples, np.array([first, last], dtype=np.uint32))
    rows = order[begin:end] if first <= last else np.concatenate((order[begin:], order[:end]))
    rows = np.sort(rows)
    return rows if size == BLOCK else rows[rows < size]


@final
class Sample:
    """Points of a pass over blocks.

    Parameters
    ----------
    points : int
        How many there are; 0 where that is not known, or where some are going to be left out.
    """

    def __init__(self, points: int = 0) -> None:
        self._limit = WORD
        self._places: list[NDArray[np.uint32]] = []
        self._parts: list[tuple[FloatArray, FloatArray, Any]] = []
        self._size = 0
        self._expect(points)

    def _expect(self, points: int) -> None:
        """Halve the limit as often as so many points are sure to make it happen."""
        limit = self._limit
        while points * limit > 4 * SAMPLE * WORD:
            limit //= 2
        if limit < self._limit:
            self._thin(limit)

    def take(self, block: Block, missing: NDArray[np.bool_] | None) -> None:
        """Copy points of a block, from which those that are missing have been left out."""
        self._expect(block.y.size)
        rows = rows_below(self._limit, block.start, block.y.size if missing is None else missing.size)
        if missing is not None:
            rows = rows[~missing[rows]]
        self._places.append(places_of(block.start, rows))
        if missing is not None:
            rows = (np.cumsum(~missing) - 1)[rows]
        self._parts.append((block.x[..., rows], block.y[rows], None if block.scale is None else block.scale[rows]))
        self._size += rows.size
        while self._size > 2 * SAMPLE:
            self._thin(self._limit // 2)

    def extend(self, later: Sample) -> None:
        """Take the sample of the points that follow, as if their blocks had been taken one by one."""
        limit = min(self._limit, later._limit)
        self._places += later._places
        self._parts += later._parts
        self._size += later._size
        if limit < self._limit or limit < later._limit:
            self._thin(limit)
        while self._size > 2 * SAMPLE:
            self._thin(self._limit // 2)

    def _thin(self, limit: int) -> None:
        """Lower the limit."""
        self._limit = limit
        if not self._size:
            return
        places = np.concatenate(self._places)
        kept = places < self._limit
        x, y, weights = self.arrays()
        self._parts = [(x[..., kept], y[kept], None if weights is None else weights[kept])]
        self._places, self._size = [places[kept]], int(np.count_nonzero(kept))

    def arrays(self) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """Return x (k,) or (rows, k), y and weights of the points."""
        x = np.ascontiguousarray(np.concatenate([part[0] for part in self._parts], axis=-1))
        y = np.concatenate([part[1] for part in self._parts])
        weights = None if self._parts[0][2] is None else np.concatenate([part[2] for part in self._parts])
        return x, y, weights
