"""Which data are read block by block, and how they are read from the arguments of `fit`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from nlsq.compiler.tracing.trace import SEPARATE_ROWS
from nlsq.fitting.data import check_choices
from nlsq.fitting.distributed.arrays import is_dask, refuse_unknown_size
from nlsq.fitting.parameters import Parameters
from nlsq.fitting.sigma import read_sigma, read_weights
from nlsq.fitting.solving import SolveOptions
from nlsq.loss import Loss
from nlsq.problem.chunks.arrays import REAL, ArraySource, check_real, is_lazy
from nlsq.problem.chunks.blocks import BlockedData, ChunkSource, PointData
from nlsq.problem.chunks.iterated import IteratedSource

STREAMED_FROM = 2**17  # points: from here on one pass over the data takes longer than the step in Python beside it
IN_MEMORY = (np.ndarray, np.memmap)


@final
@dataclass(slots=True)
class Request:
    """A call of `fit`, its arguments read as far as they are the same for any data."""

    model: Any
    x: Any
    y: Any
    sigma: Any
    weights: Any
    nan_policy: str
    parameters: Parameters
    jac: Any
    loss: Loss
    absolute_sigma: bool
    starts: Any
    options: SolveOptions

    @property
    def in_chunks(self) -> bool:
        """Whether the data are outside the memory."""
        return is_read_in_chunks(self.x, self.y)


def parts_of(x: Any) -> list[Any]:
    """Return the arrays in x."""
    return list(x) if isinstance(x, tuple | list) else [x]


def is_read_in_chunks(x: Any, y: Any) -> bool:
    """Whether data are outside the memory, so that nothing but reading them in chunks is possible."""
    if isinstance(x, ChunkSource) or is_lazy(y):
        return True
    return any(is_lazy(part) for part in parts_of(x)) if type(x) is not list or len(x) <= SEPARATE_ROWS else False


def is_large(y: Any) -> bool:
    """Whether there are so many points in memory that they had better be read block by block."""
    size = getattr(y, "size", 0)
    return isinstance(size, int) and size >= STREAMED_FROM


def read_blocks(x: Any, y: Any, sigma: Any, weights: Any, nan_policy: str) -> PointData | None:
    """Return the blocks of the data of a fit.

    Parameters
    ----------
    x, y, sigma, weights, nan_policy
        As for `nlsq.fit`.

    Returns
    -------
    PointData or None
        None for arrays in memory that are to be read as a whole.

    Raises
    ------
    ValueError, TypeError
        For data that are read in chunks: naming the argument.
    """
    check_choices(sigma, weights, nan_policy)
    in_chunks = is_read_in_chunks(x, y)
    kind, scale = ("weights", weights) if weights is not None else ("sigma", sigma)
    constant = None
    if scale is not None and np.size(getattr(scale, "shape", np.shape(scale))) == 0:
        read = read_weights if kind == "weights" else read_sigma
        constant = float(read(scale, (1,), np.zeros(1, dtype=bool), False, False).weights)
        scale = None
    omit = nan_policy == "omit"
    if isinstance(x, ChunkSource):
        return BlockedData(_iterated(x, y, kind, scale, constant), kind, constant, omit)
    x, y, scale = _plain(x), _plain(y), _plain(scale)
    if in_chunks:
        y = _array(y)
        x = tuple(_array(part) for part in x) if isinstance(x, tuple | list) else _array(x)
        scale = None if scale is None else _array(scale)
        for name, one in zip(("y", kind, *["x"] * len(parts_of(x))), (y, scale, *parts_of(x)), strict=True):
            if is_dask(one):
                refuse_unknown_size(name, one)
        _check(x, y, kind, scale)
        if any(is_dask(one) for one in (*parts_of(x), y, scale)):
            from nlsq.fitting.distributed.streaming import DaskData

            return DaskData(x, y, scale, kind, constant, omit)
    elif not _is_plain(x, y, scale):
        return None
    x = tuple(x) if isinstance(x, list) else x
    return BlockedData(ArraySource(x, y, scale), kind, constant, omit)


def _iterated(x: ChunkSource, y: Any, kind: str, scale: Any, constant: float | None) -> IteratedSource:
    """Return the blocks of an iterator, which brings all arrays along."""
    if y is not None:
        raise ValueError("x is a ChunkSource, whose chunks hold y as well; leave y out.")
    if scale is not None:
        raise ValueError(f"x is a ChunkSource; {kind} with a value for each point comes in its chunks, (x, y, sigma).")
    source = IteratedSource(x)
    if source.scaled and constant is not None:
        raise ValueError(f"the chunks of the ChunkSource have sigma; leave {kind} out.")
    return source


def _plain(values: Any) -> Any:
    """Return a pandas Series as the array that it holds; anything else as it is."""
    if not isinstance(values, np.ndarray) and hasattr(values, "to_numpy") and getattr(values, "ndim", 0) == 1:
        return values.to_numpy()
    return values


def _array(part: Any) -> Any:
    part = _plain(part)
    return part if is_lazy(part) or isinstance(part, np.ndarray) else np.asarray(part)


def _check(x: Any, y: Any, kind: str, scale: Any) -> None:
    """Raise unless shapes and types are those of data that can be read in chunks."""
    if len(y.shape) != 1:
        raise ValueError(f"y has shape {tuple(y.shape)}; data that are read in chunks have one value a point.")
    parts = parts_of(x)
    named = [("x" if not isinstance(x, tuple) else f"x[{k}]", part) for k, part in enumerate(parts)]
    for name, part in (*named, *(() if scale is None else ((kind, scale),))):
        most = 2 if name == "x" else 1
        if not 1 <= len(part.shape) <= most or part.shape[-1] != y.shape[0]:
            raise ValueError(
                f"{name} has shape {tuple(part.shape)} and y {tuple(y.shape)}; expected (m,)"
                f"{' or (rows, m)' if most == 2 else ''} with the same m."
            )
    for name, part in (*named, ("y", y), *(() if scale is None else ((kind, scale),))):
        check_real(name, part)
        if isinstance(part, np.ma.MaskedArray):
            raise TypeError(f"{name} is masked; make such points NaN and give nan_policy='omit'.")
    if y.shape[0] == 0:
        raise ValueError("y must not be empty.")


def _is_plain(x: Any, y: Any, scale: Any) -> bool:
    """Whether arrays in memory are real numbers by points, without masks, that a block of can be looked at."""
    parts = parts_of(x)
    if not parts or (isinstance(x, tuple | list) and len(parts) > SEPARATE_ROWS):
        return False
    arrays = [*parts, y] if scale is None else [*parts, y, scale]
    if any(type(one) not in IN_MEMORY or one.dtype.kind not in REAL for one in arrays):
        return False
    if y.ndim != 1 or not all(1 <= one.ndim <= 2 and one.shape[-1] == y.size for one in arrays):
        return False
    vectors = arrays if isinstance(x, tuple | list) else arrays[1:]
    return all(one.ndim == 1 for one in vectors)
