"""What a problem is given, checked: start, bounds, scale, constraints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from nlsq.problem.constraints import ConstraintSet

FloatArray = NDArray[np.float64]


def read_start(x0: ArrayLike) -> FloatArray:
    """Read the start."""
    array = np.atleast_1d(np.asarray(x0))
    if array.dtype.kind not in "fiub":
        raise TypeError(f"x0 must be real numbers, got an array of {array.dtype}.")
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"x0 must be one-dimensional and not empty, got shape {array.shape}.")
    start = array.astype(np.float64)
    if not np.isfinite(start).all():
        raise ValueError(f"x0[{int(np.argmin(np.isfinite(start)))}] is not finite.")
    return start


def constraints_of(constraints: Any, x0: FloatArray, bounds: Any) -> ConstraintSet | None:
    """Read constraints; None where there are none."""
    if constraints is None or (isinstance(constraints, Sequence) and not len(constraints)):
        return None
    from nlsq.problem.constraints import read_constraints

    lower, upper = read_bounds(bounds, x0, True)
    return read_constraints(constraints, x0.size, x0, lower=lower, upper=upper, compile=True)


def merged_bounds(bounds: Any, constraints: ConstraintSet | None, x0: FloatArray) -> Any:
    """Return bounds together with those that were among the constraints."""
    if constraints is None or constraints.bounds is None:
        return bounds
    given, (lower, upper) = read_bounds(bounds, x0, True), constraints.bounds
    if given[0] is None or given[1] is None:
        return lower, upper
    return np.maximum(given[0], lower), np.minimum(given[1], upper)


def move_inside(x0: FloatArray, lower: FloatArray | None, upper: FloatArray | None) -> str:
    """Move the start inside its bounds, in place; say which entries were moved."""
    if lower is None or upper is None:
        return ""
    outside = np.flatnonzero((x0 < lower) | (x0 > upper))
    if not outside.size:
        return ""
    np.clip(x0, lower, upper, out=x0)
    return f"the start was outside its bounds and moved inside: x0[{outside[0]}]" + (
        f" and {outside.size - 1} more" if outside.size > 1 else ""
    )


def read_bounds(
    bounds: Any, x0: FloatArray, may_be_outside: bool = False
) -> tuple[FloatArray | None, FloatArray | None]:
    """Read bounds; None where no end is finite."""
    if bounds is None:
        return None, None
    if hasattr(bounds, "lb") and hasattr(bounds, "ub"):
        bounds = bounds.lb, bounds.ub
    if not (isinstance(bounds, tuple) and len(bounds) == 2):
        raise ValueError(
            "bounds must be a tuple (lower, upper) or scipy.optimize.Bounds; a list of pairs is ambiguous: at two "
            "parameters it could mean either."
        )
    lower = _end(bounds[0], x0, "lower", -np.inf)
    upper = _end(bounds[1], x0, "upper", np.inf)
    wrong = ~(lower <= upper)
    if wrong.any():
        j = int(np.argmax(wrong))
        raise ValueError(f"bounds: lower[{j}] = {lower[j]} is not <= upper[{j}] = {upper[j]}.")
    nowhere = (lower == np.inf) | (upper == -np.inf)
    if nowhere.any():
        j = int(np.argmax(nowhere))
        raise ValueError(f"bounds: nothing is between lower[{j}] = {lower[j]} and upper[{j}] = {upper[j]}.")
    outside = (x0 < lower) | (x0 > upper)
    if outside.any() and not may_be_outside:
        j = int(np.argmax(outside))
        raise ValueError(f"x0[{j}] = {x0[j]} is outside its bounds [{lower[j]}, {upper[j]}]; move the start inside.")
    if np.isinf(lower).all() and np.isinf(upper).all():
        return None, None
    return lower, upper


def _end(given: Any, x0: FloatArray, name: str, open_end: float) -> FloatArray:
    """Return one end of the bounds for each parameter; None leaves it open, for one parameter too."""
    if isinstance(given, tuple | list):
        given = [open_end if value is None else value for value in given]
    try:
        array = np.asarray(open_end if given is None else given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"bounds: {name} must be numbers, or None for an open end, got {given!r}.") from error
    if array.ndim > 1 or array.size not in (1, x0.size):
        raise ValueError(f"bounds: {name} has shape {array.shape}, expected () or ({x0.size},).")
    return np.array(np.broadcast_to(array, x0.shape))


def read_scale(scale: Any, n: int) -> FloatArray | None:
    """Read typical sizes; None where J tells."""
    if isinstance(scale, str):
        if scale != "jac":
            raise ValueError(f"scale must be 'jac' or positive numbers, got {scale!r}.")
        return None
    array = np.asarray(scale, dtype=np.float64)
    if array.ndim > 1 or array.size not in (1, n):
        raise ValueError(f"scale has shape {array.shape}, expected () or ({n},).")
    array = np.array(np.broadcast_to(array, (n,)))
    wrong = ~((array > 0) & np.isfinite(array))
    if wrong.any():
        raise ValueError(f"scale[{int(np.argmax(wrong))}] must be positive and finite, got {array[np.argmax(wrong)]}.")
    return array
