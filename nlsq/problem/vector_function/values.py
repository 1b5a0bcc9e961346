"""What a user's functions return, as the arrays that kernels take; errors name the function."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.derivatives.analytic import JacobianShapeError

FloatArray = NDArray[np.float64]
FLOAT64 = np.dtype(np.float64)


def numbers_of(value: Any, what: str, verb: str = "returned") -> NDArray[Any]:
    """Return real numbers as a floating-point array of any shape; `what` and `verb` begin the message of an error.

    Raises
    ------
    TypeError
        If there are none, or complex ones, or something else.
    """
    if value is None:
        raise TypeError(f"{what} {verb} None; there must be numbers.")
    try:
        array: NDArray[Any] = np.asarray(value)
    except ValueError as error:
        raise TypeError(f"{what} {verb} parts of different lengths; there must be one array of numbers.") from error
    if array.dtype.kind == "f":
        return array
    if array.dtype.kind == "c":
        raise TypeError(f"{what} {verb} complex numbers; real ones are needed.")
    if array.dtype.kind in "biu":
        return array.astype(np.float64)
    if array.dtype.kind != "O":
        said = f"text, {array.flat[0].item()!r}" if array.dtype.kind in "US" and array.size else f"{array.dtype} values"
        raise TypeError(f"{what} {verb} {said}; there must be numbers.")
    numbers = np.empty(array.size)
    for k, one in enumerate(array.flat):
        number = _number(one)
        if number is None:
            kind = "None" if one is None else f"a {type(one).__name__}"
            place = f" at [{', '.join(str(i) for i in np.unravel_index(k, array.shape))}]" if array.ndim else ""
            raise TypeError(f"{what} {verb} {kind}{place}; there must be numbers.")
        numbers[k] = number
    return numbers.reshape(array.shape)


def _number(one: Any) -> float | None:
    """Return an object as a number; None where it is none."""
    if one is None or isinstance(one, str | bytes):
        return None
    try:
        return float(one)
    except (TypeError, ValueError):
        return None


def first_values(value: Any, name: str) -> NDArray[Any]:
    """Read what a function returned for the first time: its length is m; a number counts as one value.

    Raises
    ------
    TypeError
        See `numbers_of`.
    ValueError
        If it has more than one dimension.
    """
    array = np.atleast_1d(numbers_of(value, name))
    if array.ndim != 1:
        raise ValueError(f"{name} returned shape {array.shape}; it must be a number or one-dimensional.")
    return array


def values_of(value: Any, m: int, name: str) -> NDArray[Any]:
    """Return the values of a function as an array of shape (m,).

    Raises
    ------
    TypeError
        See `numbers_of`.
    ValueError
        If there are more or fewer values than before.
    """
    array = numbers_of(value, name)
    if array.shape != (m,):
        array = np.atleast_1d(array)
        if array.shape == (m,):
            return array
        found = f"{array.size} values" if array.ndim == 1 else f"shape {array.shape}"
        raise ValueError(f"{name} returned {found} where {m} were expected: the length must not depend on x.")
    return array


def is_sparse(value: Any) -> bool:
    """Whether `value` is a SciPy sparse array or matrix; SciPy is not imported for that."""
    sparse = sys.modules.get("scipy.sparse")
    return sparse is not None and bool(sparse.issparse(value))


def matrix_of(value: Any, shape: tuple[int, int], what: str) -> NDArray[Any]:
    """Return a matrix, sparse matrix or LinearOperator as a dense array of a shape.

    A single row may come as a vector.

    Raises
    ------
    TypeError
        See `numbers_of`.
    JacobianShapeError
        If the shape is another one.
    """
    if is_sparse(value):
        value = value.toarray()
    linalg = sys.modules.get("scipy.sparse.linalg")
    if linalg is not None and isinstance(value, linalg.LinearOperator):
        value = value @ np.eye(value.shape[1])
    array = np.atleast_2d(numbers_of(value, what))
    if array.shape != shape:
        error = JacobianShapeError(tuple(array.shape), shape)
        error.args = (f"{what} returned shape {array.shape}, expected {shape}.",)
        raise error
    return array
