"""What NumPy and SciPy functions do to symbolic arrays: tables from a function to what it records."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from nlsq.compiler.arrays import Traced, _as_traced, matrix_product, stacked, truth
from nlsq.compiler.complex_arrays import ComplexTraced, call_complex_ufunc
from nlsq.compiler.graph import Graph, NotTraceable
from nlsq.compiler.stores import UNSET

LN2, LN10 = math.log(2.0), math.log(10.0)
DEGREE = math.pi / 180.0

ELEMENTWISE: dict[str, str] = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "true_divide": "/",
    "arctan2": "atan2", "hypot": "hypot", "minimum": "minimum", "maximum": "maximum", "fmin": "minimum", "fmax": "maximum",
    "copysign": "copysign", "negative": "neg", "absolute": "abs", "fabs": "abs", "sqrt": "sqrt", "sign": "sign",
    "floor": "floor", "exp": "exp", "expm1": "expm1", "log": "log", "log1p": "log1p", "log2": "log2", "log10": "log10",
    "sin": "sin", "cos": "cos", "tan": "tan", "arcsin": "asin", "arccos": "acos", "arctan": "atan",
    "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
    "cbrt": "cbrt", "erf": "erf", "erfc": "erfc", "expit": "expit", "gammaln": "gammaln", "psi": "digamma", "digamma": "digamma",
    "less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!=",
}  # fmt: skip
Handler = Callable[..., Any]


def _wofz(z: Any) -> ComplexTraced:
    real = z if isinstance(z, Traced) else z.re
    imag = real * 0.0 if isinstance(z, Traced) else z.im
    return ComplexTraced(real.apply("wofz_real", real, imag), real.apply("wofz_imag", real, imag))


def _heaviside(x: Traced, at_zero: Any) -> Traced:
    positive = x.apply("where", x > 0.0, 1.0, x.apply("where", x == 0.0, at_zero, 0.0))
    return x.apply("where", x != x, x, positive)


def _logical(operation: str) -> Handler:
    return lambda a, *rest: a.apply(operation, *(truth(a.lift(one)) for one in (a, *rest)))


COMPOSED: dict[str, Handler] = {
    "power": lambda a, b: a**b, "float_power": lambda a, b: a**b, "square": lambda a: a * a,
    "reciprocal": lambda a: 1.0 / a, "exp2": lambda a: (a * LN2).apply("exp", a * LN2), "positive": lambda a: a.copy(),
    "floor_divide": lambda a, b: a // b, "remainder": lambda a, b: a % b, "ceil": lambda a: -(-a).apply("floor", -a),
    "trunc": lambda a: a.apply("where", a < 0.0, -a.apply("floor", -a), a.apply("floor", a)),
    "deg2rad": lambda a: a * DEGREE, "radians": lambda a: a * DEGREE,
    "rad2deg": lambda a: a / DEGREE, "degrees": lambda a: a / DEGREE,
    "logaddexp": lambda a, b: a.apply("maximum", a, b) + (-abs(a - b)).apply("log1p", (-abs(a - b)).apply("exp", -abs(a - b))),
    "heaviside": _heaviside, "isnan": lambda a: a != a, "isfinite": lambda a: a * 0.0 == 0.0,
    "logical_and": _logical("and"), "logical_or": _logical("or"), "logical_not": _logical("not"),
    "bitwise_and": _logical("and"), "bitwise_or": _logical("or"), "invert": _logical("not"),
    "matmul": matrix_product, "wofz": _wofz, "conjugate": lambda a: a.copy(),
    "voigt_profile": lambda x, sigma, gamma: _wofz(ComplexTraced(x, gamma) * (math.sqrt(0.5) / sigma)).re / (sigma * math.sqrt(2.0 * math.pi)),
    "xlogy": lambda a, b: a.apply("where", a == 0.0, 0.0, a * b.apply("log", b)),
    "log_expit": lambda a: -(a.apply("where", a > 0.0, (-abs(a)).apply("log1p", (-abs(a)).apply("exp", -abs(a))), (-abs(a)).apply("log1p", (-abs(a)).apply("exp", -abs(a))) - a)),
    "logit": lambda a: a.apply("log", a / (1.0 - a)),
    "gamma": lambda a: a.apply("exp", a.apply("gammaln", a)),
    "ndtr": lambda a: 0.5 * a.apply("erfc", a * -math.sqrt(0.5)),
}  # fmt: skip


def call_ufunc(graph: Graph, function: Any, method: str, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Record a universal function."""
    name = function.__name__
    out = options.pop("out", None)
    if method == "reduce" and name == "add":
        axis = options.pop("axis", 0)
        return _as_traced(graph, operands[0]).sum(axis, **options)
    if method != "__call__" or any(value is not True for value in options.values()):
        raise NotTraceable(f"{name} with {', '.join(options) or method}")
    if out is not None:
        raise NotTraceable(f"{name} with out=")
    if any(isinstance(one, ComplexTraced | complex | np.complexfloating) or _is_complex(one) for one in operands):
        return call_complex_ufunc(graph, name, operands)
    arrays = [_as_traced(graph, one) for one in operands]
    operation = ELEMENTWISE.get(name)
    if operation is not None:
        return arrays[0].apply(operation, *arrays)
    handler = COMPOSED.get(name)
    if handler is None:
        raise NotTraceable(f"the function {name}")
    if name in ("power", "float_power"):
        return arrays[0] ** operands[1]
    return handler(*arrays)


def _is_complex(one: Any) -> bool:
    return isinstance(one, np.ndarray) and one.dtype.kind == "c"


def call_function(graph: Graph, function: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Record an array function."""
    handler = FUNCTIONS.get(function)
    if handler is None:
        raise NotTraceable(f"the function {function.__name__}")
    try:
        return handler(graph, *arguments, **options)
    except TypeError as error:
        if "argument" in str(error):
            raise NotTraceable(f"{function.__name__} with arguments of another kind") from error
        raise


def _array(graph: Graph, value: Any) -> Traced:
    return stacked(graph, value) if isinstance(value, list | tuple) else _as_traced(graph, value)


def _concatenate(graph: Graph, parts: Any, axis: int | None = 0) -> Any:
    arrays = [_array(graph, part) for part in parts]
    if axis is None:
        arrays = [array.ravel() for array in arrays]
    elif axis not in (0, -arrays[0].ndim if arrays[0].ndim == 1 else 0):
        if axis in (1, -1) and all(array.ndim == 2 for array in arrays):
            return _concatenate(graph, [array.T for array in arrays]).T
        raise NotTraceable(f"concatenate along axis {axis}")
    if any(not array.shape for array in arrays):
        raise ValueError("zero-dimensional arrays cannot be concatenated")
    if any(array.shape[1:] != arrays[0].shape[1:] for array in arrays):
        raise ValueError("all the input array dimensions except for the concatenation axis must match exactly")
    pieces = [piece for array in arrays for piece in array.pieces]
    return Traced(graph, (sum(array.shape[0] for array in arrays), *arrays[0].shape[1:]), pieces)


def _at_least_1d(array: Traced) -> Traced:
    return array if array.shape else Traced(array.graph, (1,), [(array.node, 1)])


def _hstack(graph: Graph, parts: Any) -> Any:
    arrays = [_at_least_1d(_array(graph, part)) for part in parts]
    return _concatenate(graph, arrays, 0 if arrays[0].ndim == 1 else 1)


def _stack(graph: Graph, parts: Any, axis: int = 0) -> Any:
    array = stacked(graph, list(parts))
    if axis == 0:
        return array
    if array.ndim == 2 and axis in (1, -1):
        return _transposed_rows(array)
    raise NotTraceable(f"stack along axis {axis}")


def _transposed_rows(array: Traced) -> Traced:
    """Return columns side by side."""
    raise NotTraceable("columns side by side")


def _column_product(graph: Graph, a: Any, b: Any) -> Any:
    return matrix_product(_array(graph, a), _array(graph, b))


def _where(graph: Graph, condition: Any, *choices: Any) -> Any:
    if len(choices) != 2:
        raise NotTraceable("where with a condition alone")
    condition = _as_traced(graph, condition)
    return condition.apply("where", truth(condition), *choices)


def _clip(graph: Graph, array: Any, a_min: Any = None, a_max: Any = None, **options: Any) -> Any:
    lower, upper = options.pop("min", a_min), options.pop("max", a_max)
    if options:
        raise NotTraceable(f"clip with {', '.join(options)}")
    result = _as_traced(graph, array)
    if lower is not None:
        result = result.apply("maximum", result, lower)
    return result if upper is None else result.apply("minimum", result, upper)


def _diff(graph: Graph, array: Any, n: int = 1, axis: int = -1) -> Any:
    result = _as_traced(graph, array)
    for _ in range(n):
        if result.ndim == 1 or axis == 0:
            result = result[1:] - result[:-1]
        elif result.ndim == 2 and axis in (1, -1):
            result = result[:, 1:] - result[:, :-1]
        else:
            raise NotTraceable("diff of such an array")
    return result


def _roll(graph: Graph, array: Any, shift: int, axis: int | None = None) -> Any:
    array = _as_traced(graph, array)
    if axis in (1, -1) and array.ndim == 2:
        raise NotTraceable("roll along the rows of a matrix")
    if array.ndim != 1 and axis is None:
        raise NotTraceable("roll of a flattened matrix")
    by = int(shift) % array.shape[0]
    return _concatenate(graph, [array[-by:], array[:-by]]) if by else array.copy()


def _polyval(graph: Graph, p: Any, x: Any) -> Any:
    coefficients = list(p)
    x = _as_traced(graph, x)
    total: Any = coefficients[0] + x * 0.0
    for one in coefficients[1:]:
        total = total * x + one
    return total


def _prod(graph: Graph, array: Any, axis: Any = None, **options: Any) -> Any:
    array = _as_traced(graph, array)
    if options or array.ndim != 1 or array.shape[0] > 1000:
        raise NotTraceable("a product over such an array")
    total = array[0]
    for index in range(1, array.shape[0]):
        total = total * array[index]
    return total


def _norm(graph: Graph, x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    array = _as_traced(graph, x)
    if ord not in (None, 2) or keepdims or (ord == 2 and array.ndim != 1):
        raise NotTraceable("such a norm")
    total = (array * array).sum(axis)
    return total.apply("sqrt", total)


def _filled(value: float | None) -> Handler:
    def make(graph: Graph, array: Any, dtype: Any = None, **options: Any) -> Any:
        array = _as_traced(graph, array)
        if dtype is not None and np.dtype(dtype) != np.float64:
            raise NotTraceable(f"an array of {np.dtype(dtype)}")
        if options.pop("shape", None) is not None:
            raise NotTraceable("an array of another shape")
        return fresh(graph, array.shape, value)

    return make


def fresh(graph: Graph, shape: tuple[int, ...], value: Any) -> Traced:
    """Return a new array with one value everywhere; None leaves it unset."""
    node = UNSET if value is None else _as_traced(graph, value).node
    return Traced(graph, shape, [(node, shape[0] if shape else 0)])


def _full_like(graph: Graph, array: Any, fill_value: Any, dtype: Any = None) -> Any:
    return fresh(graph, _as_traced(graph, array).shape, fill_value)


def _select(graph: Graph, condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    result: Any = _as_traced(graph, default)
    for condition, choice in reversed(list(zip(condlist, choicelist, strict=True))):
        result = _where(graph, condition, choice, result)
    return result


def _outer(graph: Graph, a: Any, b: Any) -> Any:
    return _array(graph, a).ravel()[:, None] * _array(graph, b).ravel()[None, :]


def _sinc(graph: Graph, x: Any) -> Any:
    y = math.pi * _as_traced(graph, x)
    y = y.apply("where", y == 0.0, 1.0e-20, y)
    return y.apply("sin", y) / y


def _trapezoid(graph: Graph, y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    y = _array(graph, y)
    if y.ndim != 1:
        raise NotTraceable("the integral of a matrix")
    widths: Any = dx if x is None else _diff(graph, _array(graph, x))
    return (widths * (y[1:] + y[:-1]) * 0.5).sum()


def _broadcast_arrays(graph: Graph, *arrays: Any) -> Any:
    from nlsq.compiler.arrays import broadcast

    traced = [_array(graph, one) for one in arrays]
    shape = np.broadcast_shapes(*(one.shape for one in traced))
    return tuple(broadcast(one, shape) for one in traced)


FUNCTIONS: dict[Any, Handler] = {
    np.concatenate: _concatenate,
    np.hstack: _hstack,
    np.vstack: lambda graph, parts: _concatenate(graph, [a if a.ndim > 1 else a[None, :] for a in (_array(graph, p) for p in parts)]),
    np.stack: _stack,
    np.append: lambda graph, a, b, axis=None: _concatenate(graph, [_at_least_1d(_array(graph, one)) for one in (a, b)], axis),
    np.where: _where,
    np.clip: _clip,
    np.select: _select,
    np.sum: lambda graph, a, axis=None, **options: _array(graph, a).sum(axis, **options),
    np.mean: lambda graph, a, axis=None, **options: _array(graph, a).mean(axis, **options),
    np.prod: _prod,
    np.dot: _column_product,
    np.inner: _column_product,
    np.vdot: _column_product,
    np.outer: _outer,
    np.diff: _diff,
    np.roll: _roll,
    np.flip: lambda graph, a, axis=None: _array(graph, a)[::-1] if axis in (None, 0) and _array(graph, a).ndim == 1 else _refuse("flip"),
    np.polyval: _polyval,
    np.ravel: lambda graph, a, order="C": _array(graph, a).ravel(order),
    np.reshape: lambda graph, a, shape, order="C": _array(graph, a).reshape(shape, order=order),
    np.transpose: lambda graph, a, axes=None: _array(graph, a).transpose(*(() if axes is None else axes)),
    np.squeeze: lambda graph, a: _array(graph, a).squeeze(),
    np.copy: lambda graph, a, order="K": _array(graph, a).copy(),
    np.real: lambda graph, a: a.real,
    np.imag: lambda graph, a: a.imag,
    np.angle: lambda graph, a: a.im.apply("atan2", a.im, a.re) if isinstance(a, ComplexTraced) else _refuse("angle"),
    np.atleast_1d: lambda graph, a: _at_least_1d(_array(graph, a)),
    np.zeros_like: _filled(0.0),
    np.ones_like: _filled(1.0),
    np.empty_like: _filled(None),
    np.full_like: _full_like,
    np.linalg.norm: _norm,
    np.sinc: _sinc,
    np.broadcast_arrays: _broadcast_arrays,
    np.shape: lambda graph, a: _array(graph, a).shape,
    np.size: lambda graph, a: _array(graph, a).size,
    np.ndim: lambda graph, a: _array(graph, a).ndim,
}  # fmt: skip
if hasattr(np, "trapezoid"):
    FUNCTIONS[np.trapezoid] = _trapezoid


def _refuse(name: str) -> Any:
    raise NotTraceable(f"the function {name} of such an array")
