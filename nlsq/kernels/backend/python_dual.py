"""Dual numbers as plain Python objects: what derivatives are made of where nothing is compiled.

The rules are those of `nlsq.kernels.backend.dual_math`, for single numbers. The functions of math and numpy that a
user's code calls are replaced, in a copy of it, by ones that know these objects.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels.backend.rebinding import is_helper, is_users_module, rebound

FloatArray = NDArray[np.float64]


@final
class PythonDual:
    """A value with its partial derivatives."""

    __slots__ = ("partials", "value")

    def __init__(self, value: float, partials: FloatArray) -> None:
        self.value, self.partials = value, partials

    def __add__(self, other: Any) -> Any:
        return _sum(self, other)

    def __radd__(self, other: Any) -> Any:
        return _sum(other, self)

    def __sub__(self, other: Any) -> Any:
        return _sum(self, -other)

    def __rsub__(self, other: Any) -> Any:
        return _sum(other, -self)

    def __mul__(self, other: Any) -> Any:
        return _chain(value_of(self) * value_of(other), (self, value_of(other)), (other, self.value))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return _quotient(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _quotient(other, self)

    def __pow__(self, other: Any) -> Any:
        return _power(self, other)

    def __rpow__(self, other: Any) -> Any:
        return _power(other, self)

    def __mod__(self, other: Any) -> Any:
        a, b = self.value, value_of(other)
        return _chain(a % b, (self, 1.0), (other, -math.floor(a / b)))

    def __neg__(self) -> PythonDual:
        return PythonDual(-self.value, -self.partials)

    def __pos__(self) -> PythonDual:
        return self

    def __abs__(self) -> Any:
        return _chain(abs(self.value), (self, (self.value > 0.0) - (self.value < 0.0)))

    def __floordiv__(self, other: Any) -> float:
        return self.value // value_of(other)

    def __int__(self) -> int:
        return int(self.value)

    def __floor__(self) -> int:
        return math.floor(self.value)

    def __ceil__(self) -> int:
        return math.ceil(self.value)

    def __trunc__(self) -> int:
        return math.trunc(self.value)

    def __bool__(self) -> bool:
        return self.value != 0.0

    def __lt__(self, other: Any) -> bool:
        return self.value < value_of(other)

    def __le__(self, other: Any) -> bool:
        return self.value <= value_of(other)

    def __gt__(self, other: Any) -> bool:
        return self.value > value_of(other)

    def __ge__(self, other: Any) -> bool:
        return self.value >= value_of(other)

    def __eq__(self, other: object) -> bool:
        return bool(self.value == value_of(other))

    __hash__ = None  # type: ignore[assignment]


def value_of(number: Any) -> Any:
    """Value of a dual number; another number itself."""
    return number.value if isinstance(number, PythonDual) else number


def _chain(value: float, *terms: tuple[Any, float]) -> PythonDual:
    """Apply the chain rule: numbers with the slopes in them; what does not depend on a column keeps its 0."""
    total: Any = 0.0
    for number, slope in terms:
        if isinstance(number, PythonDual):
            finite = math.isfinite(slope)
            total = total + (slope * number.partials if finite else _product(slope, number.partials))
    return PythonDual(value, total)


def _product(slope: float, partials: FloatArray) -> FloatArray:
    product = np.zeros_like(partials)
    np.multiply(slope, partials, out=product, where=partials != 0.0)
    return product


def _sum(a: Any, b: Any) -> Any:
    return _chain(value_of(a) + value_of(b), (a, 1.0), (b, 1.0))


def _quotient(a: Any, b: Any) -> Any:
    below = np.float64(value_of(b))  # 1 / 0 is inf
    with np.errstate(all="ignore"):
        value = float(value_of(a) / below)
        return _chain(value, (a, float(1.0 / below)), (b, float(-value / below)))


def _power(a: Any, b: Any) -> Any:
    x, y = np.float64(value_of(a)), value_of(b)
    with np.errstate(all="ignore"):
        value = float(x**y)
        slope_a = float(y * x ** (y - 1.0)) if y != 0.0 else 0.0
        if not isinstance(b, PythonDual):
            return _chain(value, (a, slope_a))
        slope_b = float(value * np.log(x)) if x != 0.0 else 0.0 if y > 0.0 else math.nan
        return _chain(value, (a, slope_a), (b, slope_b))


_TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)
# name in math -> slope as a function of the argument and the value
_SLOPES: dict[str, Callable[[float, float], float]] = {
    "exp": lambda a, v: v,
    "expm1": lambda a, v: math.exp(a),
    "log": lambda a, v: 1.0 / a,
    "log2": lambda a, v: 1.0 / (a * math.log(2.0)),
    "log10": lambda a, v: 1.0 / (a * math.log(10.0)),
    "log1p": lambda a, v: 1.0 / (1.0 + a),
    "sqrt": lambda a, v: 0.5 / v if v else math.inf,
    "cbrt": lambda a, v: 1.0 / (3.0 * v * v) if v else math.inf,
    "sin": lambda a, v: math.cos(a),
    "cos": lambda a, v: -math.sin(a),
    "tan": lambda a, v: 1.0 + v * v,
    "asin": lambda a, v: 1.0 / math.sqrt((1.0 - a) * (1.0 + a)),
    "acos": lambda a, v: -1.0 / math.sqrt((1.0 - a) * (1.0 + a)),
    "atan": lambda a, v: 1.0 / (1.0 + a * a),
    "sinh": lambda a, v: math.cosh(a),
    "cosh": lambda a, v: math.sinh(a),
    "tanh": lambda a, v: 1.0 - v * v,
    "asinh": lambda a, v: 1.0 / math.hypot(1.0, a),
    "acosh": lambda a, v: 1.0 / (math.sqrt(a - 1.0) * math.sqrt(a + 1.0)),
    "atanh": lambda a, v: 1.0 / ((1.0 - a) * (1.0 + a)),
    "erf": lambda a, v: _TWO_OVER_SQRT_PI * math.exp(-a * a),
    "erfc": lambda a, v: -_TWO_OVER_SQRT_PI * math.exp(-a * a),
    "fabs": lambda a, v: (a > 0.0) - (a < 0.0),
    "radians": lambda a, v: math.pi / 180.0,
    "degrees": lambda a, v: 180.0 / math.pi,
}
_FLAT = {"isnan", "isinf", "isfinite", "floor", "ceil", "trunc", "rint", "sign"}
_OTHER_NAMES = {  # in numpy
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arcsinh": "asinh",
    "arccosh": "acosh",
    "arctanh": "atanh",
    "absolute": "fabs",
    "abs": "fabs",
    "deg2rad": "radians",
    "rad2deg": "degrees",
}


def _hypot(a: Any, b: Any) -> Any:
    value = math.hypot(value_of(a), value_of(b))
    slopes = (0.0, 0.0) if value == 0.0 else (value_of(a) / value, value_of(b) / value)
    return _chain(value, (a, slopes[0]), (b, slopes[1]))


def _atan2(a: Any, b: Any) -> Any:
    x, y = value_of(a), value_of(b)
    square = x * x + y * y
    slopes = (math.nan, math.nan) if square == 0.0 else (y / square, -x / square)
    return _chain(math.atan2(x, y), (a, slopes[0]), (b, slopes[1]))


def _copysign(a: Any, b: Any) -> Any:
    same = math.copysign(1.0, value_of(a)) == math.copysign(1.0, value_of(b))
    return a * (1.0 if same else -1.0)


def _extreme(compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def choose(a: Any, b: Any) -> Any:
        if a == b:
            return 0.5 * (a + b)
        return a if compare(a, b) or value_of(a) != value_of(a) else b

    return choose


_TWO_ARGUMENTS: dict[str, Callable[[Any, Any], Any]] = {
    "hypot": _hypot,
    "atan2": _atan2,
    "arctan2": _atan2,
    "copysign": _copysign,
    "pow": _power,
    "power": _power,
    "maximum": _extreme(operator.gt),
    "minimum": _extreme(operator.lt),
    "fmax": _extreme(operator.gt),
    "fmin": _extreme(operator.lt),
    "fmod": lambda a, b: _chain(
        math.fmod(value_of(a), value_of(b)), (a, 1.0), (b, -math.trunc(value_of(a) / value_of(b)))
    ),
}


def _with_duals(original: Any, name: str) -> Any:
    """Make a function of math or numpy take dual numbers."""
    slope, of_two = _SLOPES.get(_OTHER_NAMES.get(name, name)), _TWO_ARGUMENTS.get(name)
    if slope is None and of_two is None and name not in _FLAT:
        return original

    def called(*arguments: Any) -> Any:
        if not any(isinstance(one, PythonDual) for one in arguments):
            return original(*arguments)
        if len(arguments) == 2 and of_two is not None:
            return of_two(*arguments)
        (a,) = arguments
        value = original(a.value)
        if slope is None:
            return value
        try:
            return _chain(float(value), (a, slope(a.value, float(value))))
        except ZeroDivisionError:
            return _chain(float(value), (a, math.inf))

    return called


class _Module(ModuleType):
    """A module whose functions are changed when they are asked for."""

    def __init__(self, original: ModuleType, change: Callable[[Any, str], Any]) -> None:
        super().__init__(original.__name__)
        self.__dict__["_parts"] = original, change

    def __getattr__(self, name: str) -> Any:
        original, change = self.__dict__["_parts"]
        return change(getattr(original, name), name)


_MATH, _NUMPY = _Module(math, _with_duals), _Module(np, _with_duals)
_BY_NAME = {
    id(getattr(module, name)): name
    for module in (math, np)
    for name in (*_SLOPES, *_FLAT, *_OTHER_NAMES, *_TWO_ARGUMENTS)
    if hasattr(module, name)
}


def with_python_duals(function: Any) -> FunctionType:
    """Copy a function, and the user's functions that it calls, for dual numbers."""
    return _copied(function, {})


def _copied(function: Any, done: dict[int, Any]) -> FunctionType:
    def replacement(value: Any) -> Any:
        if value is math or value is np:
            return _MATH if value is math else _NUMPY
        if callable(value) and id(value) in _BY_NAME:
            return _with_duals(value, _BY_NAME[id(value)])
        if is_helper(value):
            return _copied(value, done)
        if isinstance(value, ModuleType) and is_users_module(value):
            return _Module(value, lambda one, name: replacement(one))
        return value

    if id(function) not in done:
        done[id(function)] = function
        done[id(function)] = rebound(getattr(function, "py_func", function), replacement)
    copy: FunctionType = done[id(function)]
    return copy
