"""The residual function as the solvers see it: a float64 vector of fixed length.

Whatever the user's function returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.derivatives.probe import as_residual

FloatArray = NDArray[np.float64]


def first_residual(value: Any) -> NDArray[Any]:
    """Read what a residual function returned for the first time; a scalar counts as one residual.

    Raises
    ------
    TypeError
        If the value is None, complex or no array of numbers.
    ValueError
        If it has more than one dimension or is empty.
    """
    if value is None:
        raise TypeError("residual returned None; it must return the vector of residuals.")
    shape = np.atleast_1d(np.asarray(value)).shape
    if len(shape) != 1 or shape[0] == 0:
        raise ValueError(f"residual returned shape {shape}; it must be one-dimensional and not empty.")
    return as_residual(np.atleast_1d(value), shape)


class PlainResidual:
    """A Python callable, called with a fresh copy of x each time so that it may keep or change its argument.

    Parameters
    ----------
    function : callable
        ``x (n,) -> r (m,)``.

    Attributes
    ----------
    m : int
        Number of residuals, known after the first evaluation.
    dtype : dtype
        Precision of what the function returned first.
    """

    __slots__ = ("dtype", "function", "m")

    def __init__(self, function: Callable[[FloatArray], Any]) -> None:
        self.function = function
        self.m = 0
        self.dtype: np.dtype[Any] = np.dtype(np.float64)

    def first(self, x: FloatArray) -> FloatArray:
        """Evaluate for the first time: the length of the result becomes m."""
        residual = first_residual(self.function(x.copy()))
        self.m, self.dtype = residual.size, residual.dtype
        return residual.astype(np.float64)

    def into(self, x: FloatArray, out: FloatArray) -> None:
        """Evaluate at `x` into `out`, shape (m,)."""
        value = self.function(x.copy())
        if type(value) is np.ndarray and value.shape == out.shape and value.dtype.kind == "f":
            out[:] = value
        else:
            out[:] = as_residual(np.atleast_1d(value) if value is not None else value, out.shape)
