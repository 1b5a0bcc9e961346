"""What universal functions do to symbolic arrays: tables from a name to what is recorded."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from nlsq.compiler.graph import Graph, NotTraceable
from nlsq.compiler.tracing.arrays import Traced, as_traced, is_unusual, truth
from nlsq.compiler.tracing.complex_arrays import ComplexTraced, call_complex_ufunc
from nlsq.compiler.tracing.masks import Selected, selected_operation
from nlsq.compiler.tracing.reductions import cumulated, matrix_product, multiplied, summed

LN2 = math.log(2.0)
DEGREE = math.pi / 180.0

ELEMENTWISE: dict[str, str] = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "true_divide": "/",
    "floor_divide": "//", "remainder": "%", "power": "**", "float_power": "**",
    "arctan2": "atan2", "hypot": "hypot", "minimum": "minimum", "maximum": "maximum",
    "copysign": "copysign", "negative": "neg", "absolute": "abs", "fabs": "abs", "sqrt": "sqrt", "sign": "sign",
    "floor": "floor", "exp": "exp", "expm1": "expm1", "log": "log", "log1p": "log1p", "log2": "log2", "log10": "log10",
    "sin": "sin", "cos": "cos", "tan": "tan", "arcsin": "asin", "arccos": "acos", "arctan": "atan",
    "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
    "cbrt": "cbrt", "erf": "erf", "erfc": "erfc", "expit": "expit", "gammaln": "gammaln",
    "psi": "digamma", "digamma": "digamma",
    "less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!=",
    "bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^", "invert": "~",
}  # fmt: skip
Handler = Callable[..., Any]


def _of(operation: str, x: Traced, *rest: Any) -> Any:
    return x.apply(operation, x, *rest)


def _soft_plus(x: Traced) -> Any:
    """Return log(1 + exp(-|x|))."""
    return _of("log1p", _of("exp", -abs(x)))


def wofz(z: Any) -> ComplexTraced:
    """Record the Faddeeva function of a complex or real argument."""
    real = z if isinstance(z, Traced) else z.real
    imag = real.imag if isinstance(z, Traced) else z.imag
    return ComplexTraced(_of("wofz_real", real, imag), _of("wofz_imag", real, imag))


def _voigt(x: Traced, sigma: Traced, gamma: Traced) -> Any:
    return wofz(ComplexTraced(x, gamma) * (math.sqrt(0.5) / sigma)).real / (sigma * math.sqrt(2.0 * math.pi))


def _heaviside(x: Traced, at_zero: Any) -> Any:
    positive = x.apply("where", x > 0.0, 1.0, x.apply("where", x == 0.0, at_zero, 0.0))
    return x.apply("where", x != x, x, positive)


def _logical(operation: str) -> Handler:
    return lambda a, *rest: a.record(operation, [truth(one) for one in (a, *rest)], "b")


def _ignoring_nan(operation: str) -> Handler:
    def choose(a: Traced, b: Traced) -> Any:
        return a.apply("where", a != a, b, a.apply("where", b != b, a, a.apply(operation, a, b)))

    return choose


def _trunc(x: Traced) -> Any:
    return x.apply("where", x < 0.0, -_of("floor", -x), _of("floor", x))


def rounded(x: Traced) -> Any:
    """Record the nearest whole number, the even one of two."""
    below = _of("floor", x)
    part = x - below
    even = 2.0 * _of("floor", (below + 1.0) * 0.5)
    return x.apply("where", part > 0.5, below + 1.0, x.apply("where", part < 0.5, below, even))


def _logaddexp(a: Traced, b: Traced) -> Any:
    """Record log(e^a + e^b); equal operands may both be infinite."""
    return a.apply("where", a == b, a + LN2, a.apply("maximum", a, b) + _soft_plus(a - b))


def _xlogy(a: Traced, b: Traced) -> Any:
    return a.apply("where", a == 0.0, a.apply("where", b != b, b, 0.0), a * _of("log", b))


def _gamma_sign(x: Traced) -> Any:
    """Return the sign of the gamma function, which changes at each pole: at 0, -1, -2, ..."""
    below = _of("floor", x)
    return x.apply("where", x < 0.0, 1.0 - 2.0 * (below - 2.0 * _of("floor", below * 0.5)), 1.0)


def _gamma(x: Traced) -> Any:
    value = _gamma_sign(x) * _of("exp", _of("gammaln", x))
    return x.apply("where", x.apply("and", truth(x < 0.0), truth(x == _of("floor", x))), math.nan, value)


def _beta(a: Traced, b: Traced) -> Any:
    return _gamma_sign(a) * _gamma_sign(b) * _gamma_sign(a + b) * _of("exp", _betaln(a, b))


def _betaln(a: Traced, b: Traced) -> Any:
    return _of("gammaln", a) + _of("gammaln", b) - _of("gammaln", a + b)


COMPOSED: dict[str, Handler] = {
    "square": lambda a: a * a, "reciprocal": lambda a: 1.0 / a, "exp2": lambda a: 2.0**a,
    "positive": lambda a: a.copy(), "conjugate": lambda a: a.copy(),
    "ceil": lambda a: -_of("floor", -a), "trunc": _trunc, "rint": rounded,
    "deg2rad": lambda a: a * DEGREE, "radians": lambda a: a * DEGREE,
    "rad2deg": lambda a: a * (1.0 / DEGREE), "degrees": lambda a: a * (1.0 / DEGREE),
    "logaddexp": _logaddexp, "logaddexp2": lambda a, b: _logaddexp(a * LN2, b * LN2) * (1.0 / LN2),
    "fmin": _ignoring_nan("minimum"), "fmax": _ignoring_nan("maximum"),
    "heaviside": _heaviside, "isnan": lambda a: a != a, "isfinite": lambda a: a * 0.0 == 0.0,
    "logical_and": _logical("and"), "logical_or": _logical("or"), "logical_not": _logical("not"),
    "matmul": matrix_product, "wofz": wofz, "voigt_profile": _voigt, "xlogy": _xlogy,
    "xlog1py": lambda a, b: _xlogy(a, 1.0 + b),
    "log_expit": lambda a: a.apply("minimum", a, 0.0) - _soft_plus(a),
    "logit": lambda a: _of("log", a) - _of("log1p", -a),
    "gamma": _gamma, "beta": _beta, "betaln": _betaln, "ndtr": lambda a: 0.5 * _of("erfc", a * -math.sqrt(0.5)),
}  # fmt: skip


OF_TRUTHS = frozenset({"logical_and", "logical_or", "logical_not", "isnan", "isfinite", "conjugate", "matmul"})


def call_ufunc(graph: Graph, function: Any, method: str, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Record a universal function."""
    name = function.__name__
    if options.pop("out", None) not in (None, (None,)):
        raise NotTraceable(f"{name} with out=")
    if method != "__call__":
        return _by_method(graph, name, method, operands, options)
    if any(value is not True for value in options.values()):
        raise NotTraceable(f"{name} with {', '.join(options)}")
    if any(is_unusual(one) for one in operands):
        if any(isinstance(one, Selected) for one in operands):
            return selected_operation(operands, function)
        return call_complex_ufunc(graph, name, operands)
    operation = ELEMENTWISE.get(name)
    if operation is not None:
        first = operands[0]
        if not isinstance(first, Traced):
            first = as_traced(graph, first)
        return first.apply(operation, *operands)
    handler = COMPOSED.get(name)
    if handler is None:
        raise NotTraceable(f"the function {name}")
    arrays = [as_traced(graph, one) for one in operands]
    if name not in OF_TRUTHS and all(one.kind == "b" for one in arrays):
        raise NotTraceable(f"{name} of truth values alone, which gives half precision or an error")
    return handler(*arrays)


def _by_method(graph: Graph, name: str, method: str, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Record ``np.add.reduce`` and its like."""
    if method == "outer" and not options:
        a, b = (as_traced(graph, one) for one in operands)
        left = a[(..., *(None,) * b.ndim)] if a.shape else a
        return left.apply(ELEMENTWISE.get(name, name), left, b)
    axis = options.pop("axis", 0)
    array = as_traced(graph, operands[0])
    known: dict[tuple[str, str], Handler] = {
        ("add", "reduce"): lambda: summed(array, axis, **options),
        ("multiply", "reduce"): lambda: multiplied(array, axis),
        ("add", "accumulate"): lambda: cumulated(array, axis, "+"),
        ("multiply", "accumulate"): lambda: cumulated(array, axis, "*"),
    }
    record = known.get((name, method))
    if record is None or len(operands) > 1 or (options and name == "multiply"):
        raise NotTraceable(f"{name}.{method}")
    return record()
