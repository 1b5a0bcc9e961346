"""The user's functions as the solvers call them, and what is said of values that are no residuals or Jacobians."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.scipy_api.messages import CHANGED_SIZE, NOT_AN_ARRAY_OF_FLOATS

FloatArray = NDArray[np.float64]
Function = Callable[[FloatArray], Any]

DOUBLE = np.dtype(np.float64)


def with_arguments(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> Function:
    """Return ``x -> function(x, *args, **kwargs)``; the function itself where there are no further arguments."""
    if kwargs:
        return lambda x: function(x, *args, **kwargs)
    if len(args) == 0:
        return function
    if len(args) == 1:
        argument = args[0]
        return lambda x: function(x, argument)
    if len(args) == 2:
        first, second = args
        return lambda x: function(x, first, second)
    return lambda x: function(x, *args)


class PicklableFunction:
    """``x -> function(x, *args, **kwargs)`` that can be sent to another process, if the function can."""

    __slots__ = ("args", "function", "kwargs")

    def __init__(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs

    def __call__(self, x: FloatArray) -> Any:
        """Call the function."""
        return self.function(x, *self.args, **self.kwargs)


def starting_with(first: Any, function: Function) -> Function:
    """Return `function` with its first value, already known, given to the first call."""
    known = [first]

    def replayed(x: FloatArray) -> Any:
        return known.pop() if known else function(x)

    return replayed


def is_operator(jac: Any) -> bool:
    """Whether `jac` is a LinearOperator; where SciPy's are not imported there can be none."""
    module = sys.modules.get("scipy.sparse.linalg")
    return module is not None and isinstance(jac, module.LinearOperator)


def is_sparse(jac: Any) -> bool:
    """Whether `jac` is a sparse array or matrix."""
    module = sys.modules.get("scipy.sparse")
    return module is not None and bool(module.issparse(jac))


def as_csr(jac: Any) -> Any:
    """Return `jac` as ``csr_array``."""
    from scipy.sparse import csr_array

    return csr_array(jac)


def minpack_error(cause: Exception) -> Exception:
    """Return SciPy's exception for a function value that is not an array of numbers, with its cause."""
    try:
        from scipy.optimize._minpack import error
    except ImportError:  # a later SciPy
        error = TypeError
    exception: Exception = error(NOT_AN_ARRAY_OF_FLOATS)
    exception.__cause__ = cause
    return exception


def as_doubles(value: Any, most_dimensions: int = 1, least_dimensions: int = 0) -> FloatArray:
    """Read a function value as float64 by the rules of MINPACK's wrapper: safe casts of arrays, any cast of sequences.

    Raises
    ------
    scipy.optimize._minpack.error
        If `value` is not an array of numbers or has a wrong number of dimensions.
    """
    try:
        if isinstance(value, np.ndarray | np.generic):
            array = np.asarray(value).astype(DOUBLE, casting="safe", copy=False)
        else:
            array = np.asarray(value, dtype=DOUBLE)
        if array.ndim > most_dimensions:
            raise ValueError("object too deep for desired array")
        if array.ndim < least_dimensions:
            raise ValueError("object of too small depth for desired array")
    except (TypeError, ValueError) as cause:
        raise minpack_error(cause) from cause
    return array


def checked_residual(function: Function, m: int) -> Function:
    """Return `function` with its values read as float64 vectors of length m."""

    def residual(x: FloatArray) -> FloatArray:
        value = function(x)
        if type(value) is np.ndarray and value.dtype is DOUBLE and value.shape == (m,):
            return value
        array = as_doubles(value).ravel()
        if array.size != m:
            raise ValueError(CHANGED_SIZE)
        return array

    return residual
