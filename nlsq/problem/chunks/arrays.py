"""Blocks of arrays: in memory, mapped from a file, or in an HDF5 or zarr data set that is read by slices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

from nlsq.problem.chunks.blocks import Block
from nlsq.problem.chunks.sample import BLOCK

FloatArray = NDArray[np.float64]
DOUBLE = np.dtype(np.float64)
PIECE = 2**18  # points that are read from a file at once, or a chunk of it if that is more
LARGEST_PIECE = 2**22
REAL = "fiub"


class Reader(Protocol):
    """Gives ranges of an array along its last axis, as float64."""

    def take(self, start: int, stop: int) -> FloatArray:
        """Return a range; valid until the next one is taken."""
        ...


def is_lazy(value: Any) -> bool:
    """Whether something is an array that is read from elsewhere by slices, such as those of h5py, zarr or dask.

    Tables and labelled arrays (pandas, xarray) are none, nor are arrays of other libraries in memory.
    """
    if isinstance(value, np.ndarray) or hasattr(value, "to_numpy"):
        return False
    if not all(hasattr(value, name) for name in ("shape", "dtype", "__getitem__")):
        return False
    if any(hasattr(value, name) for name in ("chunks", "chunking", "chunkshape")):
        return True
    return not any(hasattr(value, name) for name in ("__array__", "__array_interface__", "__dlpack__"))


def check_real(name: str, array: Any) -> None:
    """Raise TypeError unless an array, or what looks like one, holds real numbers."""
    dtype = np.dtype(array.dtype)
    if dtype.kind not in REAL:
        raise TypeError(f"{name} must be real numbers, got an array of {dtype}.")


@final
class _InPlace:
    """Ranges of contiguous float64 in memory."""

    def __init__(self, array: FloatArray) -> None:
        self._array = array

    def take(self, start: int, stop: int) -> FloatArray:
        return self._array[..., start:stop]


@final
class _Converted:
    """Ranges of any array in memory, or of several as rows, copied into one buffer."""

    def __init__(self, parts: list[Any], joined: bool) -> None:
        self._parts = [_Pieces(part) if is_lazy(part) else part for part in parts]
        shape = parts[0].shape[:-1] if joined else (len(parts),)
        self._buffer, self._joined = np.empty((*shape, BLOCK)), joined

    def take(self, start: int, stop: int) -> FloatArray:
        out = self._buffer[..., : stop - start]
        for part, row in zip(self._parts, [out] if self._joined else out, strict=True):
            if isinstance(part, _Pieces):
                part.fill(start, stop, row)
            else:
                np.copyto(row, part[..., start:stop], casting="unsafe")
        return out


@final
class _Pieces:
    """A data set in a file, read in pieces that begin and end with its chunks."""

    def __init__(self, array: Any) -> None:
        self._array, self._start = array, 0
        self._piece: Any = None
        self._length = _piece_length(array)
        self._stop = 0

    def fill(self, start: int, stop: int, out: FloatArray) -> None:
        """Copy a range into `out`."""
        at = start
        while at < stop:
            if not self._start <= at < self._stop:
                self._read(at)
            end = min(stop, self._stop)
            values = self._piece[..., at - self._start : end - self._start]
            np.copyto(out[..., at - start : end - start], values, casting="unsafe")
            at = end

    def _read(self, at: int) -> None:
        array, size = self._array, int(self._array.shape[-1])
        self._piece = None  # before the next one is there
        start, stop = at, min(at + self._length, size)  # blocks come in order, so that pieces begin with chunks
        piece = np.asarray(array[start:stop] if len(array.shape) == 1 else array[:, start:stop])
        if piece.shape[-1] != stop - start:
            kind = type(array).__name__
            raise ValueError(f"a slice {start}:{stop} of a {kind} has {piece.shape[-1]} values along its last axis.")
        self._piece, self._start, self._stop = piece, start, stop


def _piece_length(array: Any) -> int:
    """Return how many points to read at once: whole chunks of the file, about `PIECE` points."""
    chunks = getattr(array, "chunks", None)
    length = chunks[-1] if isinstance(chunks, tuple | list) and len(chunks) else 1
    if isinstance(length, tuple | list):  # dask: the lengths of all chunks
        length = length[0] if len(length) else 1
    length = max(1, int(length))
    if length >= LARGEST_PIECE:
        return LARGEST_PIECE
    return max(1, PIECE // length) * length


def reader_of(parts: list[Any], joined: bool) -> Reader:
    """Return what reads an array, or several as rows.

    Parameters
    ----------
    parts : list
        Arrays of one length along their last axis.
    joined : bool
        Whether there is just one, whose shape blocks keep.
    """
    (first, *others) = parts
    if joined and not others and not is_lazy(first) and first.dtype == DOUBLE and first.flags.aligned:
        array = first.view(np.ndarray)
        if array.strides[-1] == DOUBLE.itemsize and array.strides[0] > 0 and array.strides[0] % DOUBLE.itemsize == 0:
            return _InPlace(array)
    return _Converted(parts, joined)


@final
class ArraySource:
    """Blocks of arrays whose length is known.

    Parameters
    ----------
    x : array or tuple of arrays
        Shape (m,) or (rows, m), or as many arrays (m,).
    y : array, shape (m,)
        Data.
    scale : array, shape (m,), or None
        Standard deviations or weights.
    """

    def __init__(self, x: Any, y: Any, scale: Any = None) -> None:
        parts = list(x) if isinstance(x, tuple) else [x]
        self.joined = not isinstance(x, tuple)
        self.lead = (len(parts),) if isinstance(x, tuple) else tuple(x.shape[:-1])
        self.name, self.scaled, self.size = "the data", scale is not None, int(y.shape[0])
        self.is_lazy = any(is_lazy(one) for one in (*parts, y, scale) if one is not None)
        self._parts, self._y, self._scale = parts, y, scale

    def blocks(self) -> Iterator[Block]:
        """Go over the data once; passes may go on at the same time, each has buffers of its own."""
        x, y = reader_of(self._parts, self.joined).take, reader_of([self._y], True).take
        scale = None if self._scale is None else reader_of([self._scale], True).take
        for start in range(0, self.size, BLOCK):
            stop = min(start + BLOCK, self.size)
            yield Block(start, x(start, stop), y(start, stop), None if scale is None else scale(start, stop))
