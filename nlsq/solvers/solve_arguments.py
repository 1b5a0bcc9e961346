"""What ``nlsq.solve`` is given besides the problem, checked before anything is evaluated."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

MOST = 2**62  # evaluations; what kernels count in 64 bits
EXPECTED = "warm_start takes a result of nlsq.solve"


def read_limits(max_evaluations: Any, time_limit: Any) -> tuple[int | None, float | None]:
    """Return both limits as numbers, None where there is none.

    Raises
    ------
    TypeError
        If one is no number.
    ValueError
        If one is negative, NaN, or no whole number where that is needed.
    """
    if max_evaluations is not None:
        max_evaluations = _count(max_evaluations)
    if time_limit is not None:
        if isinstance(time_limit, bool) or not isinstance(time_limit, numbers.Real):
            raise TypeError(f"time_limit must be seconds, a number >= 0, got {time_limit!r}.")
        time_limit = float(time_limit)
        if not time_limit >= 0.0:
            raise ValueError(f"time_limit must be seconds, a number >= 0, got {time_limit!r}.")
    return max_evaluations, time_limit


def _count(value: Any) -> int:
    said = f"max_evaluations must be a whole number >= 0, or None for the default, got {value!r}."
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(said)
    number = float(value)
    if not (math.isfinite(number) and number >= 0.0 and number == math.floor(number)):
        raise ValueError(said)
    if number > MOST:
        raise ValueError(f"max_evaluations must be at most 2**62, got {value!r}.")
    return int(number)


def read_callback(callback: Any) -> None:
    """Raise TypeError unless the callback is None or may be called."""
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable, got {type(callback).__name__}.")


def refuse_class(method: Any) -> None:
    """Raise TypeError where a method is the class of a solver instead of a solver."""
    if isinstance(method, type):
        name = method.__name__
        what = f"; write {name}()" if hasattr(method, "start") and hasattr(method, "advance") else ""
        raise TypeError(f"method must be a name or a solver object, got the class {name}{what}.")
    if method is not None and not isinstance(method, str) and not hasattr(method, "start"):
        raise TypeError(f"method must be a name or a solver object such as InteriorPoint(), got {method!r}.")


def check_warm_start(result: Any, n: int, m: int) -> None:
    """Hold a warm start against the problem.

    Parameters
    ----------
    result : object
        With ``x``, and ``multipliers`` or None. Multipliers without those of constraints, as a solve without them
        leaves them, are no error.
    n, m : int
        Numbers of parameters, and of rows of constraints.

    Raises
    ------
    TypeError
        If it is no result.
    ValueError
        If its numbers are not finite, or do not belong to such a problem.
    """
    kind = type(result).__name__
    if hasattr(result, "params") and hasattr(result, "covariance"):
        raise TypeError(f"{EXPECTED}, got {kind}, the result of a fit; give its params as x0, or as p0 of another fit.")
    if not hasattr(result, "x"):
        instead = "; give a point as x0 of the problem" if isinstance(result, np.ndarray | list | tuple) else ""
        raise TypeError(f"{EXPECTED}, got {kind}{instead}.")
    x = _numbers(result.x, "x")
    if x.shape != (n,):
        raise ValueError(f"warm_start has {x.size} variables, but the problem has {n}.")
    _require_finite(x, "x")
    multipliers = getattr(result, "multipliers", None)
    if multipliers is None:
        return
    sizes = ("constraints", m, "rows of constraints"), ("lower", n, "variables"), ("upper", n, "variables")
    for name, size, what in sizes:
        if not hasattr(multipliers, name):
            raise TypeError(f"warm_start.multipliers has no {name}; {EXPECTED}.")
        one = _numbers(getattr(multipliers, name), f"multipliers.{name}")
        if name == "constraints" and not one.size:
            continue
        if one.shape != (size,):
            raise ValueError(f"warm_start.multipliers.{name} has shape {one.shape}, but the problem has {size} {what}.")
        _require_finite(one, f"multipliers.{name}")


def _numbers(value: Any, name: str) -> Any:
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"warm_start.{name} must be an array of numbers, got {type(value).__name__}.") from error


def _require_finite(array: Any, name: str) -> None:
    wrong = ~np.isfinite(array)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise ValueError(f"warm_start.{name}[{i}] is not finite: {array[i]}.")
