"""The arguments of `fit_batch`: what all fits share and what each has for itself.

The batch has a leading shape, that of y without its last axis; inside it is flat: B rows of m points. An argument that
is given for each fit has the leading shape before its own.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.batch.numbers import filled, mask_of, masked_in, read_numbers
from nlsq.fitting.parameters import index_of
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


def read_rows(x: Any, Y: Any, sigma: Any, weights: Any, mask: Any, origin: Shape = ()) -> Rows:
    """Read the data; see `nlsq.fitting.batch.call.fit_batch`. `origin` is where these rows begin in the whole.

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
    own_x, as_tuple, predictors = read_variables(filled(x), y.shape)
    if own_x:
        predictors = [one.reshape(count, m) for one in predictors]
    for one in (masked_in(x, y.shape), None if mask is None else _read_mask(mask, y.shape)):
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
    raise ValueError(f"{name} has shape {array.shape}; it must have that of a row, ({m},), or of Y, {shape}.")


def is_list_of_rows(x: Any, shape: Shape) -> bool:
    """Whether x is a list with an entry for each row along the first axis of Y."""
    if not isinstance(x, list) or len(shape) < 2 or len(x) != shape[0]:
        return False
    return all(np.shape(one) == shape[1:] for one in x)


def read_variables(x: Any, shape: Shape) -> tuple[bool, bool, Any]:
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
        own = array.shape == shape
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
                f"{name} has shape {one.shape}, but Y has shape {shape}: x must be ({m},), or (k, {m}) or a tuple for "
                f"several variables, or of the shape of Y where each fit has its own."
            )
        if one.shape == (m,) and not np.isfinite(one).all():
            raise ValueError(f"{name}{index_text(~np.isfinite(one))} is not finite; leave that point out of x and Y.")
    if len(shape) > 1 and any(one.shape == shape for one in arrays):
        return True, as_tuple, [np.broadcast_to(one, shape) for one in arrays]
    plain = [np.array(one, dtype=np.float64, order="C") for one in arrays]  # copies: a model may change its x
    if as_tuple:
        return False, True, tuple(plain)
    return False, False, plain[0] if len(plain) == 1 and np.ndim(x) == 1 else np.stack(plain)


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


@final
@dataclass(slots=True)
class BatchParameters:
    """Starts, bounds and what is held, for all fits or each.

    Attributes
    ----------
    names : tuple of str
    start : ndarray, shape (n,) or (B, n)
        NaN where there is none yet.
    lower, upper : ndarray, shape (n,) or (B, n), or None
        None: no parameter is bounded or held.
    fixed : ndarray of bool, shape (n,) or (B, n)
    """

    names: tuple[str, ...]
    start: FloatArray
    lower: FloatArray | None
    upper: FloatArray | None
    fixed: NDArray[np.bool_]

    @property
    def free(self) -> Any:
        """Number of parameters that are not held: one number, or one a row."""
        free = np.count_nonzero(~self.fixed, axis=-1)
        return int(free) if np.ndim(free) == 0 else free


def per_fit(name: str, value: Any, shape: Shape) -> Any:
    """Return a value for all fits as a number, or one a fit as a vector (B,)."""
    array = read_numbers(name, value)
    if array.ndim == 0:
        return float(array)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; it must be a number or have the batch's shape {shape}.")
    return array.reshape(-1).astype(np.float64)


def per_parameter(name: str, value: Any, n: int, shape: Shape) -> FloatArray:
    """Return values for the parameters, shape (n,) or (B, n)."""
    array = read_numbers(name, value)
    if array.shape == (n,) or array.ndim == 0:
        return np.array(np.broadcast_to(array, (n,)), dtype=np.float64)
    if array.shape != (*shape, n):
        raise ValueError(
            f"{name} has shape {array.shape}; it must be ({n},), one value a parameter, or {(*shape, n)} for each fit."
        )
    return np.ascontiguousarray(array, dtype=np.float64).reshape(-1, n)


def put(target: FloatArray, j: int, value: Any) -> FloatArray:
    """Write a parameter's value, or its values by fit, into an array (n,) or (B, n), which grows if it has to."""
    if np.ndim(value) == 1 and target.ndim == 1:
        target = np.array(np.broadcast_to(target, (len(value), target.size)))
    target[..., j] = value
    return target


def read_batch_parameters(
    names: tuple[str, ...], defaults: Mapping[str, float], p0: Any, bounds: Any, fixed: Any, shape: Shape
) -> BatchParameters:
    """Read starts, bounds and what is held; see `nlsq.fitting.batch.call.fit_batch`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, the parameter and the row.
    """
    n = len(names)
    start = np.full(n, np.nan)
    for name, value in defaults.items():
        start[names.index(name)] = value
    if isinstance(p0, Mapping):
        for name, value in p0.items():
            j = index_of(names, name, "p0")
            given = np.nan if value is None else per_fit(f"p0[{name!r}]", value, shape)
            _refuse_where(np.isinf(given), f"p0[{name!r}] is infinite")
            start = put(start, j, given)
    elif p0 is not None and not callable(p0):
        start = per_parameter("p0", p0, n, shape)
        if not np.isfinite(start).all():
            wrong = ~np.isfinite(start) if start.ndim == 1 else ~np.isfinite(start).reshape(*shape, n)
            raise ValueError(f"p0{index_text(wrong)} is not finite; give a number for each start.")
    lower, upper = _read_bounds(names, bounds, shape)
    held = np.zeros(n, dtype=bool)
    if isinstance(fixed, Mapping):
        for name, value in fixed.items():
            j = index_of(names, name, "fixed")
            given = per_fit(f"fixed[{name!r}]", value, shape)
            _refuse_where(~np.isfinite(given), f"fixed[{name!r}] is not finite")
            start, held[j] = put(start, j, given), True
    elif fixed is not None:
        if isinstance(fixed, str) or not isinstance(fixed, Sequence):
            raise TypeError("fixed must be a dict of names and values, or a sequence of names.")
        held[[index_of(names, name, "fixed") for name in fixed]] = True
    unset = held & np.isnan(start).reshape(-1, n).any(axis=0)
    if unset.any():
        raise ValueError(f"fixed: {names[int(np.argmax(unset))]} has no value to be held at; give one in p0 or fixed.")
    pinned = lower == upper
    start = np.where(pinned, lower, start) if pinned.any() else start
    refuse_outside(names, start, lower, upper)
    fixed_at = pinned | held
    shared = lower.ndim == upper.ndim == 1  # bounds by fit stay though they be open, so that a fit is the same alone
    if shared and not (np.isfinite(lower).any() or np.isfinite(upper).any() or fixed_at.any()):
        return BatchParameters(names, start, None, None, np.zeros(n, dtype=bool))
    lower, upper = np.where(held, start, lower), np.where(held, start, upper)
    rank = max(lower.ndim, upper.ndim)
    rows = (int(np.prod(shape, dtype=np.int64)), n) if rank == 2 else (n,)
    lower, upper = (np.array(np.broadcast_to(one, rows)) for one in (lower, upper))
    return BatchParameters(names, start, lower, upper, fixed_at)


def _read_bounds(names: tuple[str, ...], bounds: Any, shape: Shape) -> tuple[FloatArray, FloatArray]:
    n = len(names)
    lower, upper = np.full(n, -np.inf), np.full(n, np.inf)
    if isinstance(bounds, Mapping):
        for name, pair in bounds.items():
            j = index_of(names, name, "bounds")
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise ValueError(f"bounds[{name!r}] must be a pair (lower, upper), None for an open end, got {pair!r}.")
            ends = [per_fit(f"bounds[{name!r}]", one, shape) if one is not None else None for one in pair]
            lower = put(lower, j, -np.inf if ends[0] is None else ends[0])
            upper = put(upper, j, np.inf if ends[1] is None else ends[1])
    elif hasattr(bounds, "lb") and hasattr(bounds, "ub"):
        lower, upper = per_parameter("bounds", bounds.lb, n, shape), per_parameter("bounds", bounds.ub, n, shape)
    elif isinstance(bounds, tuple) and len(bounds) == 2:
        ends = [_open(one, sign) for one, sign in zip(bounds, (-np.inf, np.inf), strict=True)]
        lower, upper = (per_parameter("bounds", one, n, shape) for one in ends)
    elif bounds is not None:
        raise ValueError(
            "bounds must be a tuple (lower, upper), scipy.optimize.Bounds, or a dict of name and (lower, upper)."
        )
    wrong = ~(lower <= upper)
    if wrong.any():
        j = int(np.argwhere(wrong)[0][-1])
        raise ValueError(f"bounds of {names[j]}: lower is not <= upper{_row_text(wrong)}.")
    return lower, upper


def _open(end: Any, infinite: float) -> Any:
    if end is None:
        return infinite
    return [infinite if one is None else one for one in end] if isinstance(end, tuple | list) else end


def _refuse_where(wrong: Any, what: str) -> None:
    """Raise for a number, or one a fit, that is wrong."""
    if np.any(wrong):
        raise ValueError(f"{what}{_row_text(wrong.reshape(-1, 1)) if np.ndim(wrong) else ''}; give a number.")


def _row_text(wrong: NDArray[np.bool_]) -> str:
    """Name the first row of several that is wrong, and how many are."""
    if wrong.ndim == 1:
        return ""
    rows = np.flatnonzero(wrong.any(axis=-1))
    return f" in row {rows[0]}" + (f" and {rows.size - 1} more" if rows.size > 1 else "")


def refuse_outside(names: tuple[str, ...], start: FloatArray, lower: FloatArray, upper: FloatArray) -> None:
    """Raise for the first start outside its bounds."""
    outside = (start < lower) | (start > upper)
    if outside.any():
        j = int(np.argwhere(outside)[0][-1])
        raise ValueError(f"p0: the start of {names[j]} is outside its bounds{_row_text(outside)}; move it inside.")


def read_positive(name: str, value: Any) -> int | None:
    """Return a positive whole number, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"{name} must be a whole number >= 1, got {value!r}.")
    return int(value)
