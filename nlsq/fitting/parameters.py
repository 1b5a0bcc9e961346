"""The parameters of a fit: their names, starts, bounds, and which of them are held.

model(x, a, b, c)      names (a, b, c), in the order of the signature
"""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@final
@dataclass(slots=True)
class Parameters:
    """What is known about the parameters before the fit.

    Attributes
    ----------
    names : tuple of str
        In signature order.
    start : ndarray, shape (n,)
        NaN where there is none yet.
    lower, upper : ndarray, shape (n,)
        Infinite where an end is open.
    fixed : ndarray of bool, shape (n,)
        Held at their start.
    """

    names: tuple[str, ...]
    start: FloatArray
    lower: FloatArray
    upper: FloatArray
    fixed: NDArray[np.bool_]

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Which parameters have no start."""
        return np.isnan(self.start)

    @property
    def bounded(self) -> bool:
        """Whether a parameter that is not held has a bound."""
        free = ~self.fixed
        return bool(np.isfinite(self.lower[free]).any() or np.isfinite(self.upper[free]).any())


def read_parameters(model: Any, p0: Any, fixed: Any, bounds: Any) -> Parameters:
    """Read names, starts, bounds and what is held.

    Parameters
    ----------
    model, p0, fixed, bounds
        As for `nlsq.fitting.fit`.

    Raises
    ------
    ValueError, TypeError
        Naming the argument and the parameter.
    """
    names, defaults = read_signature(model, p0)
    start = np.full(len(names), np.nan)
    for name, value in defaults.items():
        start[names.index(name)] = value
    asked = _read_start(names, start, p0)
    lower, upper = read_bounds(names, bounds)
    held = _read_fixed(names, start, fixed)
    _refuse_outside(names, start, lower, upper, held)
    pinned = lower == upper
    start[pinned] = lower[pinned]
    lacking = [name for name, value in zip(names, start, strict=True) if np.isnan(value) and name not in asked]
    if lacking and isinstance(p0, Mapping):
        raise ValueError(
            f"p0 has no start for {', '.join(lacking)}; add it, or give None as its value to have it found from the "
            "data."
        )
    return Parameters(names, start, lower, upper, held | pinned)


def read_signature(model: Any, p0: Any) -> tuple[tuple[str, ...], dict[str, float]]:
    """Return the names of the parameters and the numbers that the signature gives as defaults.

    A parameter whose default is no number, and all that follow it, are options of the model and keep their defaults.
    """
    refuse_uncallable(model)
    function = getattr(model, "function", model)
    count = None if p0 is None or isinstance(p0, Mapping | str) else int(np.size(p0))
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        if count is None:
            raise ValueError(
                "the signature of model cannot be read; give p0 as a sequence, one start a parameter."
            ) from error
        return tuple(f"p{j}" for j in range(count)), {}
    names: list[str] = []
    defaults: dict[str, float] = {}
    variadic = False
    for parameter in list(signature.parameters.values()):
        if parameter.kind is parameter.VAR_POSITIONAL:
            variadic = True
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            if names and parameter.default is not parameter.empty:
                if not is_number(parameter.default):
                    break
                defaults[parameter.name] = float(parameter.default)
            names.append(parameter.name)
        elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            raise ValueError(
                f"model takes {parameter.name!r} by keyword only, and a fit passes parameters by place; give it a "
                "default, or wrap the model in a function."
            )
    names = names[1:]  # the first is x; a model that takes nothing but *args has x there
    if variadic:
        if count is None:
            raise ValueError("model takes *args, so that p0 must be a sequence: one start a parameter.")
        names.extend(f"p{j}" for j in range(len(names), count))
    if not names:
        raise ValueError("model has no parameters: it must take x first and then the parameters, as model(x, a, b).")
    return tuple(names), defaults


def refuse_uncallable(model: Any) -> None:
    """Raise TypeError if a model cannot be called."""
    if not callable(model):
        raise TypeError(
            f"model must be callable, got {type(model).__name__}; it is the first argument, before the data: "
            "fit(model, x, y)."
        )


def counted(count: int, thing: str) -> str:
    """Return a number of things in words, such as ``1 value`` and ``2 values``."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def is_number(value: Any) -> bool:
    """Whether a value is a finite real number and no truth value."""
    if isinstance(value, bool | np.bool_):
        return False
    return isinstance(value, numbers.Real) and bool(np.isfinite(float(value)))


def index_of(names: tuple[str, ...], name: Any, argument: str) -> int:
    """Return the index of a parameter.

    Raises
    ------
    ValueError
        Listing the known names, and the one that is spelt most alike.
    """
    if name in names:
        return names.index(name)
    import difflib

    alike = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {alike[0]!r}?" if alike else "."
    raise ValueError(f"{argument}: unknown parameter {name!r}. The parameters are {', '.join(names)}{hint}")


def _number(value: Any, what: str) -> float:
    """Return a finite number, or raise saying which it should have been."""
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{what} must be a number, got {value!r}.") from error
    if not np.isfinite(number):
        raise ValueError(f"{what} is {number}; it must be finite.")
    return number


def _read_start(names: tuple[str, ...], start: FloatArray, p0: Any) -> set[str]:
    """Write p0 over the defaults; return the names whose start is to be found from the data."""
    if p0 is None:
        return set(names)
    if isinstance(p0, str):
        raise TypeError(f"p0 must be a dict by name or a sequence of numbers, got {p0!r}.")
    if isinstance(p0, Mapping):
        asked = set()
        for name, value in p0.items():
            j = index_of(names, name, "p0")
            if value is None:
                asked.add(name)
                start[j] = np.nan
            else:
                start[j] = _number(value, f"p0[{name!r}]")
        return asked
    values = np.ravel(np.asarray(p0))
    if values.dtype.kind == "c":
        raise TypeError("p0 must be real numbers, got complex ones.")
    if values.size != len(names):
        there = f"{counted(values.size, 'value')} for {counted(len(names), 'parameter')}"
        raise ValueError(f"p0 has {there}: {', '.join(names)}.")
    start[:] = [_number(value, f"p0[{j}] ({names[j]})") for j, value in enumerate(values.tolist())]
    return set()


def _read_fixed(names: tuple[str, ...], start: FloatArray, fixed: Any) -> NDArray[np.bool_]:
    """Return which parameters are held, and write the values that they are held at into `start`."""
    held = np.zeros(len(names), dtype=bool)
    if fixed is None:
        return held
    if isinstance(fixed, Mapping):
        for name, value in fixed.items():
            j = index_of(names, name, "fixed")
            start[j] = _number(value, f"fixed[{name!r}]")
            held[j] = True
        return held
    if not isinstance(fixed, str | Sequence | set | frozenset):
        raise TypeError(f"fixed must be a dict of name and value or a sequence of names, got {type(fixed).__name__}.")
    for name in [fixed] if isinstance(fixed, str) else fixed:
        j = index_of(names, name, "fixed")
        if np.isnan(start[j]):
            raise ValueError(
                f"fixed: {name!r} has no value to be held at; give it in p0, or fixed={{{name!r}: value}}."
            )
        held[j] = True
    return held


def read_bounds(names: tuple[str, ...], bounds: Any) -> tuple[FloatArray, FloatArray]:
    """Return lower and upper bounds, from a pair, SciPy's ``Bounds``, or a dict by name.

    Raises
    ------
    ValueError
        If an end is NaN, a lower one above its upper one, or the form is ambiguous.
    """
    n = len(names)
    lower, upper = np.full(n, -np.inf), np.full(n, np.inf)
    if bounds is None:
        return lower, upper
    if isinstance(bounds, Mapping):
        for name, pair in bounds.items():
            j = index_of(names, name, "bounds")
            if not isinstance(pair, tuple | list | np.ndarray) or len(pair) != 2:
                raise ValueError(
                    f"bounds[{name!r}] must be a pair (lower, upper) with None for an open end, got {pair!r}."
                )
            lower[j] = -np.inf if pair[0] is None else pair[0]
            upper[j] = np.inf if pair[1] is None else pair[1]
    elif hasattr(bounds, "lb") and hasattr(bounds, "ub"):
        lower[:], upper[:] = _end(bounds.lb, n, "lower"), _end(bounds.ub, n, "upper")
    elif isinstance(bounds, tuple) and len(bounds) == 2:
        for end, given, name in ((lower, bounds[0], "lower"), (upper, bounds[1], "upper")):
            if given is not None:
                end[:] = _end(given, n, name)
    else:
        raise ValueError(
            "bounds must be a tuple (lower, upper), scipy.optimize.Bounds, or a dict of name and (lower, upper); a "
            "list of pairs is ambiguous: at two parameters it could mean either."
        )
    for name, low, high in zip(names, lower, upper, strict=True):
        if not low <= high:
            raise ValueError(f"bounds of {name}: lower = {low} is not <= upper = {high}.")
        if low == np.inf or high == -np.inf:
            raise ValueError(f"bounds of {name}: no finite number lies between {low} and {high}.")
    return lower, upper


def _end(given: Any, n: int, name: str) -> FloatArray:
    """Return one end of the bounds: a number for all parameters, or one for each."""
    if isinstance(given, tuple | list):
        open_end = -np.inf if name == "lower" else np.inf
        given = [open_end if value is None else value for value in given]
    array = np.asarray(given, dtype=np.float64)
    if array.ndim > 1 or array.size not in (1, n):
        raise ValueError(f"bounds: {name} has shape {array.shape}, expected a number or {(n,)}.")
    return np.array(np.broadcast_to(array, (n,)))


def _refuse_outside(
    names: tuple[str, ...], start: FloatArray, lower: FloatArray, upper: FloatArray, held: NDArray[np.bool_]
) -> None:
    """Raise for the first start outside its bounds."""
    outside = (start < lower) | (start > upper)
    if outside.any():
        j = int(np.argmax(outside))
        what = "fixed value" if held[j] else "start"
        raise ValueError(
            f"the {what} of {names[j]}, {start[j]}, is outside its bounds [{lower[j]}, {upper[j]}]; move it inside."
        )
