"""Kernels bound to their arguments, and the arrays they take; `nlsq.kernels.calling` calls one that is not bound."""

from __future__ import annotations

from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels.backend import Kernel, handle

IndexArray: TypeAlias = NDArray[np.int64]
FloatArray: TypeAlias = NDArray[np.float64]

VALUES = object()  # where a call takes what is not known when it is prepared


@final
class Call:
    """A kernel and its arguments: numbers, contiguous arrays, and `VALUES` for arrays that come with each call."""

    def __init__(self, kernel: Kernel, *arguments: Any) -> None:
        self.kernel = kernel
        self._kept = arguments  # arrays live as long as their addresses are used
        self._entry = kernel.entry(release_gil=True)
        self._handles = [handle(a) if isinstance(a, np.ndarray) else a for a in arguments]
        self._places = [k for k, a in enumerate(arguments) if a is VALUES]

    def __call__(self, *late: FloatArray) -> Any:
        """Run the kernel; other threads go on meanwhile."""
        arguments = self._handles.copy()
        for place, array in zip(self._places, late, strict=True):
            arguments[place] = handle(array)
        return self._entry(*arguments)


def ints(size: int) -> IndexArray:
    """Allocate integers."""
    return np.empty(size, dtype=np.int64)


def sums(lengths: IndexArray) -> IndexArray:
    """Return where each part begins, and the whole length."""
    starts = ints(lengths.size + 1)
    starts[0] = 0
    np.cumsum(lengths, out=starts[1:])
    return starts


def ranges(starts: IndexArray, lengths: IndexArray) -> IndexArray:
    """Give all numbers of the ranges start, ..., start + length - 1, one range after another."""
    first = np.repeat(starts - sums(lengths)[:-1], lengths)
    return first + np.arange(first.size, dtype=np.int64)


def inverse(permutation: IndexArray) -> IndexArray:
    """Return where each number stands in a permutation."""
    places = np.empty_like(permutation)
    places[permutation] = np.arange(permutation.size)
    return places


def checked_values(values: FloatArray, count: int) -> FloatArray:
    """Return values as a kernel takes them."""
    if values.shape != (count,):
        raise ValueError(f"values has shape {values.shape}; the pattern has {count} entries")
    return np.ascontiguousarray(values, dtype=np.float64)


def check_ready(is_ready: bool) -> None:
    """Raise RuntimeError where there is no factor to solve with."""
    if not is_ready:
        raise RuntimeError("there is no factor: refactor comes first, and must not have failed")
