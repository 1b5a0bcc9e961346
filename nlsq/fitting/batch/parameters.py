"""The parameters of a batch: starts, bounds and what is held, for all fits or each."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.batch.numbers import mask_of, read_numbers
from nlsq.fitting.batch.rows import Shape
from nlsq.fitting.parameters import index_of
from nlsq.fitting.sigma import index_text

FloatArray = NDArray[np.float64]


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
            f"{name} has shape {array.shape}; the model has {n} parameters, so it must be ({n},), or {(*shape, n)} for "
            "each fit."
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
            _refuse_where(np.isinf(given), f"p0[{name!r}] is infinite", shape)
            start = put(start, j, given)
    elif p0 is not None and not callable(p0):
        if mask_of(p0) is not None and np.any(mask_of(p0)):
            raise ValueError(
                "p0 is masked in places; give a number for each start, or a dict with None for those to find."
            )
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
            _refuse_where(~np.isfinite(given), f"fixed[{name!r}] is not finite", shape)
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
    refuse_outside(names, start, lower, upper, shape)
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
        raise ValueError(f"bounds of {names[j]}: lower is not <= upper{_row_text(wrong, shape)}.")
    return lower, upper


def _open(end: Any, infinite: float) -> Any:
    if end is None:
        return infinite
    return [infinite if one is None else one for one in end] if isinstance(end, tuple | list) else end


def _refuse_where(wrong: Any, what: str, shape: Shape) -> None:
    """Raise for a number, or one a fit, that is wrong."""
    if np.any(wrong):
        raise ValueError(f"{what}{_row_text(wrong.reshape(-1, 1), shape) if np.ndim(wrong) else ''}; give a number.")


def _row_text(wrong: NDArray[np.bool_], shape: Shape) -> str:
    """Name the first fit of several for which something is wrong, by its index in the batch, and how many there are."""
    if wrong.ndim == 1:
        return ""
    rows = np.flatnonzero(wrong.any(axis=-1))
    index = [int(i) for i in np.unravel_index(rows[0], shape)] if shape else []
    where = f"row {index[0]}" if len(index) == 1 else f"fit {index}"
    return f" in {where}" + (f" and {rows.size - 1} more" if rows.size > 1 else "")


def refuse_outside(
    names: tuple[str, ...], start: FloatArray, lower: FloatArray, upper: FloatArray, shape: Shape
) -> None:
    """Raise for the first start outside its bounds."""
    outside = (start < lower) | (start > upper)
    if outside.any():
        j = int(np.argwhere(outside)[0][-1])
        where = _row_text(outside, shape)
        raise ValueError(f"p0: the start of {names[j]} is outside its bounds{where}; move it inside.")


def read_positive(name: str, value: Any) -> int | None:
    """Return a positive whole number, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"{name} must be a whole number >= 1, got {value!r}.")
    return int(value)
