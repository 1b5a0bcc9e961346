"""The arguments of a batch as arrays of numbers, and what is masked in them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_numbers(name: str, given: Any) -> NDArray[Any]:
    """Return an argument as an array of real numbers; where it is masked they are any.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, for rows of different lengths and for what are no real numbers.
    """
    values = given.to_numpy() if hasattr(given, "to_numpy") else given
    try:
        array = np.asarray(np.ma.getdata(values))
        array = array.astype(np.float64) if array.dtype.kind == "O" else array
    except (TypeError, ValueError) as error:
        what = f"an array of {array.dtype}" if isinstance(values, np.ndarray) else type(given).__name__
        raise type(error)(f"{name} must be real numbers in rows of one length, got {what}: {error}.") from error
    if array.dtype.kind not in "fiub":
        what = "complex numbers; fit their real and imaginary parts" if array.dtype.kind == "c" else str(array.dtype)
        raise TypeError(f"{name} must be real numbers, got an array of {what}.")
    return array


def mask_of(given: Any) -> NDArray[np.bool_] | None:
    """Return the mask of a masked array, None where nothing is masked."""
    mask = np.ma.getmask(given)
    return None if mask is np.ma.nomask else np.asarray(mask)


def masked_in(x: Any, shape: tuple[int, ...] | None) -> NDArray[np.bool_] | None:
    """Return the points at which a variable is masked, shape (m,) or that of Y; None where there is none.

    Without a shape x is shared by all fits, whatever its own shape.
    """
    found: NDArray[np.bool_] | None = None
    for one in x if isinstance(x, tuple | list) else (x,):
        gone = mask_of(one)
        while gone is not None and gone.ndim > 1 and gone.shape != shape:
            gone = np.asarray(gone.any(axis=0))
        found = gone if found is None else found if gone is None else np.logical_or(found, gone)
    return found


def filled(x: Any) -> Any:
    """Return x with numbers where it is masked, one of those that are not."""
    if isinstance(x, tuple | list):
        return type(x)([filled(one) if isinstance(one, np.ma.MaskedArray) else one for one in x])
    mask = mask_of(x)
    if mask is None or mask.all():
        return x
    data = np.ma.getdata(x)
    return np.where(mask, data[~mask][0], data)
