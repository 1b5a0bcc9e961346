"""Dask arrays as arguments, looked at without importing Dask."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def is_dask(value: Any) -> bool:
    """Whether something is a Dask array."""
    return hasattr(value, "dask") and hasattr(value, "chunks") and hasattr(value, "dtype")


def refuse_unknown_size(name: str, array: Any) -> None:
    """Raise ValueError for a Dask array whose chunks have sizes that nobody knows yet."""
    if any(math.isnan(length) for length in array.shape):
        raise ValueError(f"{name} has chunks of unknown size; call {name}.compute_chunk_sizes() first.")


def stand_in(array: Any) -> NDArray[Any]:
    """Return an array of zeros of the same shape and type that takes no memory."""
    return np.broadcast_to(np.zeros((), dtype=array.dtype), array.shape)
