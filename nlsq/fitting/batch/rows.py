"""The data of a batch: what all fits share and what each has for itself.

The batch has a leading shape, that of y without its last axis; inside it is flat: B rows of m points. An argument that
is given for each fit has the leading shape before its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.tracing.trace import SEPARATE_ROWS
from nlsq.fitting.batch.numbers import filled, mask_of, masked_in, read_numbers
from nlsq.fitting.sigma import index_text

FloatArray = NDArray[np.float64]
Shape = tuple[int, ...]
SMALLEST_SIGMA = 5.6e-309  # of which there is a weight, 1 / sigma


@final
@dataclass(slots=True)
class Rows:
    """The data of a batch.

    Attributes
    ----------
    y : ndarray, shape (B, m)
        As given.
    shape : tuple of int
        Leading shape.
    x : ndarray (m,) or (k, m), tuple of ndarray (m,), or list of ndarray (B, m)
        Shared, in the form that the model gets; or each fit's own, a list of its variables.
    own_x : bool
        Which of the two.
    as_tuple : bool
        Whether the model gets several variables as a tuple.
    weights : ndarray, shape (m,) or (B, m), or None
    mask : ndarray of bool, shape (B, m), or None
    """

    y: NDArray[Any]
    shape: Shape
    x: Any
    own_x: bool
    as_tuple: bool
    weights: NDArray[Any] | None
    mask: NDArray[np.bool_] | None

    def x_of(self, row: int) -> Any:
        """Return the x that the model gets for a row."""
        if not self.own_x:
            return self.x
        parts = [np.array(one[row], dtype=np.float64) for one in self.x]
        if self.as_tuple:
            return tuple(parts)
        return parts[0] if len(parts) == 1 else np.stack(parts)

    def x_part(self, some: slice) -> Any:
        """Return x as the model gets it, or one row a fit for some rows that have their own."""
        if not self.own_x:
            return self.x
        parts = tuple(np.array(one[some], dtype=np.float64) for one in self.x)
        if self.as_tuple:
            return parts
        return parts[0] if len(parts) == 1 else np.stack(parts, axis=1)

    def y_part(self, some: slice) -> FloatArray:
        """Return the data of some rows, NaN where a point is left out."""
        y: FloatArray = np.array(self.y[some], dtype=np.float64)
        y[~np.isfinite(y)] = np.nan
        if self.mask is not None:
            y[self.mask[some]] = np.nan
        return y

    def weights_of(self, row: int) -> FloatArray | None:
        """Return the weights of a row, zero where a point is left out; None where there are none."""
        weights = self.weights if self.weights is None or self.weights.ndim == 1 else self.weights[row]
        if self.mask is None:
            return weights
        return np.where(self.mask[row], 0.0, 1.0 if weights is None else weights)


def read_rows(x: Any, Y: Any, sigma: Any, weights: Any, mask: Any, origin: Shape = (), shared_x: bool = False) -> Rows:
    """Read the data; see `nlsq.fitting.batch.call.fit_batch`. `origin` is where these rows begin in the whole.

    With `shared_x` an array x of the shape of Y has variables as its rows, which all fits share.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, and the row where one is wrong.
    """
    if sigma is not None and weights is not None:
        raise ValueError("sigma and weights are two ways to say the same (weights = 1 / sigma); give one of them.")
    y, left_out = read_numbers("Y", Y), mask_of(Y)
    if y.ndim == 0:
        raise ValueError("Y is a single number; it must have one row of points a fit, shape (..., m).")
    if y.shape[-1] == 0:
        raise ValueError(f"Y has shape {y.shape}: no fit has a point.")
    shape, m = y.shape[:-1], y.shape[-1]
    count = int(np.prod(shape, dtype=np.int64))
    own_x, as_tuple, predictors = read_variables(filled(x), y.shape, shared_x)
    if own_x:
        predictors = [one.reshape(count, m) for one in predictors]
    for one in (masked_in(x, None if shared_x else y.shape), None if mask is None else _read_mask(mask, y.shape)):
        left_out = one if left_out is None else left_out if one is None else left_out | one
    given = _read_scale(sigma, weights, y, left_out, origin)
    if left_out is not None and left_out.ndim == 1 and shape != ():
        given = np.where(left_out, 0.0, 1.0 if given is None else given)
        left_out = None
    return Rows(
        y.reshape(count, m),
        shape,
        predictors,
        own_x,
        as_tuple,
        given if given is None or given.ndim == 1 else given.reshape(count, m),
        None if left_out is None else np.broadcast_to(left_out, y.shape).reshape(count, m),
    )


def _read_mask(mask: Any, shape: Shape) -> NDArray[np.bool_]:
    array = read_numbers("mask", mask)
    if array.dtype.kind != "b":
        raise TypeError(f"mask must be of truth values (True: leave the point out), got {array.dtype}.")
    return like_rows("mask", array, shape)


def like_rows(name: str, array: NDArray[Any], shape: Shape) -> NDArray[Any]:
    """Return an array over the points, shape (m,), or over all, of the shape of Y."""
    m = shape[-1]
    if array.ndim == 0:
        return np.full(m, array[()])
    if array.shape == (m,):
        return array
    if array.shape[-1] == m or array.shape[-1] == 1:
        try:
            return np.broadcast_to(array, shape)
        except ValueError:
            pass
    one_a_fit = f"; write {name}[..., np.newaxis] for one value a fit" if array.shape == shape[:-1] else ""
    raise ValueError(
        f"{name} has shape {array.shape}; it must have that of a row, ({m},), or of Y, {shape}{one_a_fit}."
    )


def is_list_of_rows(x: Any, shape: Shape) -> bool:
    """Whether x is a list with an entry for each row along the first axis of Y."""
    if not isinstance(x, list) or len(shape) < 2 or len(x) != shape[0]:
        return False
    return all(np.shape(one) == shape[1:] for one in x)


def may_be_either(x: Any, shape: Shape) -> bool:
    """Whether an x of the shape of Y may be each fit's own, or have variables as its rows that all fits share."""
    if isinstance(x, tuple | list) or len(shape) != 2 or not 1 < shape[0] <= SEPARATE_ROWS:
        return False
    return tuple(np.shape(x)) == shape


def rows_are_variables(model: Any, x: Any, point: FloatArray) -> bool:
    """Whether a model gives one value a point for all rows of x together, and does not for a single row."""
    together = np.array(read_numbers("x", x), dtype=np.float64)
    together[~np.isfinite(together)] = 1.0
    point = np.where(np.isfinite(point), point, 1.0)

    def fits(some: FloatArray) -> bool:
        try:
            with np.errstate(all="ignore"):
                return bool(np.shape(model(some, *point)) == together.shape[1:])
        except Exception:  # it was not written for such an x
            return False

    return fits(together.copy()) and not fits(together[0].copy())


def read_variables(x: Any, shape: Shape, shared_x: bool = False) -> tuple[bool, bool, Any]:
    """Return whether each fit has its own x, whether the model gets a tuple, and x."""
    if is_list_of_rows(x, shape):
        x = np.stack([read_numbers(f"x[{k}]", one) for k, one in enumerate(x)])  # each fit's own
    m, as_tuple = shape[-1], isinstance(x, tuple | list)
    if as_tuple and not any(np.ndim(one) for one in x):
        x, as_tuple = np.asarray(x), False
    if as_tuple:
        arrays = [read_numbers(f"x[{k}]", one) for k, one in enumerate(x)]
        names = [f"x[{k}]" for k in range(len(arrays))]
    else:
        array = read_numbers("x", x)
        own = array.shape == shape and not shared_x
        if array.ndim == len(shape) + 1 and array.shape[1:] == shape:
            arrays = list(array)
        elif array.ndim == 2 and not own:
            arrays = list(array)
        else:
            arrays = [array]
        names = ["x"] * len(arrays)
    for name, one in zip(names, arrays, strict=True):
        if one.shape not in ((m,), shape):
            raise ValueError(
                f"{name} has shape {np.shape(x) if name == 'x' else one.shape}, but Y has shape {shape}: x must be "
                f"({m},), or (k, {m}) or a tuple for several variables, or of the shape of Y where each fit has its "
                f"own{_hint(one, np.shape(x) if not as_tuple else (), shape)}."
            )
        if one.shape == (m,) and not np.isfinite(one).all():
            raise ValueError(f"{name}{index_text(~np.isfinite(one))} is not finite; leave that point out of x and Y.")
    if len(shape) > 1 and not shared_x and any(one.shape == shape for one in arrays):
        return True, as_tuple, [np.broadcast_to(one, shape) for one in arrays]
    plain = [np.array(one, dtype=np.float64, order="C") for one in arrays]  # copies: a model may change its x
    if as_tuple:
        return False, True, tuple(plain)
    return False, False, plain[0] if len(plain) == 1 and np.ndim(x) == 1 else np.stack(plain)


def _hint(one: NDArray[Any], whole: Shape, shape: Shape) -> str:
    """Say what may have been meant by an x that does not fit Y."""
    m = shape[-1]
    if one.ndim == 1 and one.size in shape[:-1]:
        axis = shape.index(one.size)
        return f"; the points of Y seem to lie along axis {axis}: give np.moveaxis(Y, {axis}, -1)"
    if len(whole) == 2 and whole[0] == m:
        return "; give its transpose, x.T"
    if one.ndim > 1 and one.shape == shape[-one.ndim :]:
        return "; the last axis of Y is that of the points: ravel the axes of x, and those of Y, to one"
    return ""


def _read_scale(
    sigma: Any, weights: Any, y: NDArray[Any], left_out: NDArray[np.bool_] | None, origin: Shape
) -> NDArray[Any] | None:
    """Return the factors of the residuals, shape (m,) or that of Y; `left_out` tells which points are masked."""
    if sigma is None and weights is None:
        return None
    name, given = ("weights", weights) if sigma is None else ("sigma", sigma)
    array = like_rows(name, read_numbers(name, given), y.shape)
    wrong = ~(array > SMALLEST_SIGMA) if name == "sigma" else ~((array >= 0.0) & np.isfinite(array))
    if (gone := mask_of(given)) is not None:
        wrong = wrong | like_rows(name, gone, y.shape)
        left_out = gone if left_out is None else left_out | gone
    if wrong.any():  # what belongs to missing points does not matter
        matters = wrong & np.isfinite(y) if left_out is None else wrong & np.isfinite(y) & ~left_out
        if matters.any():
            of_points = matters.reshape(-1, y.shape[-1]).any(axis=0)
            where = index_text(matters, origin) if array.ndim > 1 else index_text(of_points)
            what = "a positive number (infinite: no influence)" if name == "sigma" else "a finite number >= 0"
            raise ValueError(f"{name}{where} is not {what}.")
        array = np.where(wrong, np.inf if name == "sigma" else 0.0, array)
    if name == "weights":
        return array if array.ndim > 1 else np.ascontiguousarray(array, dtype=np.float64)
    return 1.0 / array.astype(np.float64, copy=False)
