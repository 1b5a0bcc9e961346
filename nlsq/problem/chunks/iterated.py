"""Blocks of data that come in chunks of any length from an iterator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.problem.chunks.arrays import check_real
from nlsq.problem.chunks.blocks import Block, ChunkSource
from nlsq.problem.chunks.sample import BLOCK

FloatArray = NDArray[np.float64]
FRESH = "it must return a new iterator over the same data each time, such as a call of a generator function"


@final
class IteratedSource:
    """Blocks of a `ChunkSource`.

    The first chunk is read at once: it tells how many variables there are, and whether there are standard deviations.
    The first pass goes on from there.

    Raises
    ------
    ValueError, TypeError
        If there is no chunk, or one is none.
    """

    name = "the ChunkSource"
    is_lazy = True
    size = 0

    def __init__(self, chunks: ChunkSource) -> None:
        self._factory = chunks.factory
        self._last: Any = None
        iterator = self._iterator()
        first = next(iterator, None)
        if first is None:
            raise ValueError(f"{self.name} has no points: its factory returned an iterator without chunks.")
        x, _, scale = _arrays(first, 0)
        self.joined = not isinstance(x, list)
        self.lead: tuple[int, ...] = (len(x),) if isinstance(x, list) else x.shape[:-1]
        self.scaled = scale is not None
        self._begun: Any = (first, iterator)

    def _iterator(self) -> Iterator[Any]:
        made = self._factory()
        if made is self._last and iter(made) is made:
            raise ValueError(f"the factory of {self.name} returned the iterator that it had returned before; {FRESH}.")
        self._last = made
        try:
            return iter(made)
        except TypeError as error:
            raise TypeError(
                f"the factory of {self.name} returned {type(made).__name__}, which is no iterator; {FRESH}."
            ) from error

    def _chunks(self) -> Iterator[Any]:
        begun, self._begun = self._begun, None
        if begun is not None:
            yield begun[0]
        yield from self._iterator() if begun is None else begun[1]

    def blocks(self) -> Iterator[Block]:
        """Go over the data once."""
        x, y = np.empty((*self.lead, BLOCK)), np.empty(BLOCK)
        scale = np.empty(BLOCK) if self.scaled else None
        start = filled = 0
        for number, chunk in enumerate(self._chunks()):
            parts, response, deviations = _arrays(chunk, number)
            self._check(number, parts, deviations)
            at, size = 0, response.size
            while at < size:
                step = min(BLOCK - filled, size - at)
                rows = slice(filled, filled + step)
                if isinstance(parts, list):
                    for row, part in zip(x, parts, strict=True):
                        row[rows] = part[at : at + step]
                else:
                    x[..., rows] = parts[..., at : at + step]
                y[rows] = response[at : at + step]
                if scale is not None:
                    scale[rows] = deviations[at : at + step]
                at, filled = at + step, filled + step
                if filled == BLOCK:
                    yield Block(start, x, y, scale)
                    start, filled = start + BLOCK, 0
        if filled:
            yield Block(start, x[..., :filled], y[:filled], None if scale is None else scale[:filled])

    def _check(self, number: int, x: Any, scale: Any) -> None:
        """Raise ValueError if a chunk has another form than the first one."""
        shape = (len(x),) if isinstance(x, list) else x.shape[:-1]
        if shape != self.lead or isinstance(x, list) == self.joined:
            raise ValueError(
                f"chunk {number} of {self.name} has another form of x than chunk 0: {_form(x)}, where chunk 0 has "
                f"{'one array' if self.joined else 'a tuple'} of {self.lead[0] if self.lead else 1}."
            )
        if (scale is not None) != self.scaled:
            raise ValueError(f"some chunks of {self.name} have sigma and some do not; chunk {number} is the first.")


def _form(x: Any) -> str:
    return f"a tuple of {len(x)} arrays" if isinstance(x, list) else f"an array of shape {x.shape}"


def _arrays(chunk: Any, number: int) -> tuple[Any, NDArray[Any], Any]:
    """Return x (an array, or a list of them), y and sigma of a chunk."""
    if not isinstance(chunk, tuple | list) or len(chunk) not in (2, 3):
        raise TypeError(
            f"chunk {number} of a ChunkSource must be a tuple (x, y) or (x, y, sigma), got {type(chunk).__name__}"
            f"{f' of {len(chunk)}' if isinstance(chunk, tuple | list) else ''}."
        )
    y = _array(chunk[1], f"y of chunk {number}")
    scale = None if len(chunk) == 2 or chunk[2] is None else _array(chunk[2], f"sigma of chunk {number}")
    if isinstance(chunk[0], tuple | list) and any(np.ndim(part) for part in chunk[0]):
        x: Any = [_array(part, f"x[{k}] of chunk {number}") for k, part in enumerate(chunk[0])]
    else:
        x = _array(chunk[0], f"x of chunk {number}")
    for name, part in (("y", y), *(() if scale is None else (("sigma", scale),))):
        if part.ndim != 1:
            raise ValueError(f"{name} of chunk {number} has shape {part.shape}, expected one value a point.")
    for part in x if isinstance(x, list) else [x]:
        if part.ndim != 1 and (part.ndim != 2 or isinstance(x, list)):
            raise ValueError(f"x of chunk {number} has shape {part.shape}, expected (k,) or (rows, k).")
        if part.shape[-1] != y.size:
            raise ValueError(f"in chunk {number} x has length {part.shape[-1]}, y has length {y.size}.")
    if scale is not None and scale.size != y.size:
        raise ValueError(f"in chunk {number} sigma has length {scale.size}, y has length {y.size}.")
    return x, y, scale


def _array(values: Any, name: str) -> NDArray[Any]:
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmask(values) is not np.ma.nomask:
        raise TypeError(f"{name} is masked; leave such points out in the factory, or make them NaN.")
    array = np.asarray(values)
    check_real(name, array)
    return array
