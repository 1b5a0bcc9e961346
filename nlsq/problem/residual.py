"""The residual function as the solvers see it: a float64 vector of fixed length, whatever the user's function returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def as_residual(value: Any, m: int | None = None) -> FloatArray:
    """Read what a residual function returned as a float64 vector.

    Parameters
    ----------
    value : array_like
        The returned value; a scalar counts as one residual.
    m : int, optional
        Length that earlier calls established.

    Raises
    ------
    TypeError
        If the value is None, complex or no array of numbers.
    ValueError
        If it has more than one dimension, is empty, or changed its length.
    """
    if value is None:
        raise TypeError("residual returned None; it must return the vector of residuals.")
    array = np.atleast_1d(np.asarray(value))
    if array.dtype.kind == "c":
        raise TypeError("residual returned complex numbers; stack real and imaginary parts.")
    try:
        array = array.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"residual returned an array of {array.dtype}, which does not convert to float64.") from error
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"residual returned shape {array.shape}; it must be one-dimensional and not empty.")
    if m is not None and array.size != m:
        raise ValueError(f"residual returned {array.size} values where earlier calls returned {m}.")
    return array


class PlainResidual:
    """A Python callable, called with a fresh copy of x each time so that it may keep or change its argument.

    Parameters
    ----------
    function : callable
        ``x (n,) -> r (m,)``.
    """

    __slots__ = ("function", "m")

    def __init__(self, function: Callable[[FloatArray], Any]) -> None:
        self.function = function
        self.m = 0

    def first(self, x: FloatArray) -> FloatArray:
        """Evaluate for the first time: the length of the result becomes m."""
        residual = as_residual(self.function(x.copy())).copy()
        self.m = residual.size
        return residual

    def into(self, x: FloatArray, out: FloatArray) -> None:
        """Evaluate at `x` into `out`, shape (m,)."""
        value = self.function(x.copy())
        if type(value) is np.ndarray and value.shape == out.shape and value.dtype.kind == "f":
            out[:] = value
        else:
            out[:] = as_residual(value, self.m)

    def __call__(self, x: FloatArray) -> FloatArray:
        """Evaluate at `x`."""
        return as_residual(self.function(x.copy()), self.m or None)
