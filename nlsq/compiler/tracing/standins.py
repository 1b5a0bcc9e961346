"""What stands for NumPy's makers of arrays, for `math` and for some builtins while a function is traced.

They are made once. Each looks at its arguments: without symbolic ones it does what the original does, and so outside of
a trace nothing is different; ``np.zeros(n)``, which has none, takes the graph that is being recorded in this thread.
"""

from __future__ import annotations

import builtins
import math
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from nlsq.compiler.graph import Graph, NotTraceable
from nlsq.compiler.tracing.array_functions import FUNCTIONS, at_least_1d, call_function, concatenate
from nlsq.compiler.tracing.arrays import Traced, ZeroDimensional, as_numbers, as_traced
from nlsq.compiler.tracing.complex_arrays import ComplexTraced
from nlsq.compiler.tracing.joining import fresh, stacked
from nlsq.compiler.tracing.masks import Selected
from nlsq.compiler.tracing.numpy_functions import COMPOSED, ELEMENTWISE

SYMBOLIC = (Traced, ComplexTraced, Selected)
_MATH_NAMES = {
    "exp": "exp", "expm1": "expm1", "log1p": "log1p", "log2": "log2", "log10": "log10", "sqrt": "sqrt",
    "sin": "sin", "cos": "cos", "tan": "tan", "asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2",
    "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
    "erf": "erf", "erfc": "erfc", "hypot": "hypot", "fabs": "absolute", "copysign": "copysign", "cbrt": "cbrt",
    "lgamma": "gammaln", "gamma": "gamma", "exp2": "exp2", "radians": "radians", "degrees": "degrees",
}  # fmt: skip


class _Recording(threading.local):
    graph: Graph | None = None


_recording = _Recording()


class Recorder:
    """Records in a graph, in this thread, within a ``with`` block."""

    __slots__ = ("_before", "_graph")

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def __enter__(self) -> None:
        self._before = _recording.graph
        _recording.graph = self._graph

    def __exit__(self, *exception: object) -> None:
        _recording.graph = self._before


def graph_now() -> Graph:
    """Return the graph that is being recorded in this thread."""
    graph = _recording.graph
    if graph is None:
        raise NotTraceable("a symbolic array outside of its trace")
    return graph


def is_symbolic(value: Any) -> bool:
    """Whether a value is symbolic, or a list with something symbolic in it."""
    if isinstance(value, list | tuple):
        return any(is_symbolic(one) for one in value)
    return isinstance(value, SYMBOLIC)


class SymbolicModule(ModuleType):
    """A module with some of its names replaced."""

    def __init__(self, original: ModuleType, replaced: dict[str, Any]) -> None:
        super().__init__(original.__name__)
        self.__dict__["_original"] = original
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_original"], name)


class Universal:
    """Stands for a universal function, which does not look for symbols in lists."""

    __slots__ = ("_original",)

    def __init__(self, original: Any) -> None:
        self._original = original

    def __call__(self, *operands: Any, **options: Any) -> Any:
        """Call it, lists with symbols in them made arrays."""
        if any(isinstance(one, list | tuple) and is_symbolic(one) for one in operands):
            graph = graph_now()
            operands = tuple([stacked(graph, one) if isinstance(one, list | tuple) else one for one in operands])
        return self._original(*operands, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def _of_arrays(original: Any) -> Callable[..., Any]:
    """Return what stands for a function of arrays: NumPy does not look for symbols in every list."""

    def call(*arguments: Any, **options: Any) -> Any:
        if is_symbolic(arguments) or is_symbolic(tuple(options.values())):
            return call_function(graph_now(), original, arguments, options)
        return original(*arguments, **options)

    return call


class _Rows:
    """Stands for ``np.r_``: joins what is in the brackets."""

    def __getitem__(self, key: Any) -> Any:
        if not is_symbolic(key):
            return np.r_[key]
        parts = key if isinstance(key, tuple) else (key,)
        return concatenate(graph_now(), [_row_part(part) for part in parts])


class _Columns:
    """Stands for ``np.c_``: puts what is in the brackets side by side."""

    def __getitem__(self, key: Any) -> Any:
        if not is_symbolic(key):
            return np.c_[key]
        parts = key if isinstance(key, tuple) else (key,)
        return call_function(graph_now(), np.column_stack, ([_row_part(part) for part in parts],), {})


def _row_part(part: Any) -> Any:
    if isinstance(part, str):
        raise NotTraceable("np.r_ with directions in a string")
    if isinstance(part, slice):
        return as_traced(graph_now(), np.r_[part])
    array = stacked(graph_now(), part) if isinstance(part, list | tuple) else as_traced(graph_now(), part)
    return at_least_1d(array)


def _check_type(dtype: Any) -> None:
    if dtype is not None and np.dtype(dtype) != np.float64:
        raise NotTraceable(f"an array of {np.dtype(dtype)}")


def _as_array(value: Any, dtype: Any, *, copy: bool) -> Any:
    _check_type(dtype)
    if isinstance(value, ComplexTraced | Selected):
        raise NotTraceable("np.array of complex numbers, or of what a mask selects")
    array = value if isinstance(value, Traced) else stacked(graph_now(), value)
    if dtype is not None and array.kind != "f":
        return as_numbers(array)
    if not array.shape:
        return ZeroDimensional(array.graph, (), array.nodes, None, array.kind)
    return array.copy() if copy and array is value else array


def _array(value: Any, dtype: Any = None, *, copy: Any = True, ndmin: int = 0, **options: Any) -> Any:
    if not is_symbolic(value):
        return np.array(value, dtype, copy=copy, ndmin=ndmin, **options)
    if options or ndmin > 1 or not isinstance(copy, bool):
        raise NotTraceable("np.array with such options")
    array = _as_array(value, dtype, copy=copy)
    return at_least_1d(array) if ndmin else array


def _asarray(value: Any, dtype: Any = None, **options: Any) -> Any:
    if not is_symbolic(value):
        return np.asarray(value, dtype, **options)
    if options:
        raise NotTraceable("np.asarray with such options")
    return _as_array(value, dtype, copy=False)


def _maker(value: float | None, original: Any) -> Callable[..., Any]:
    def make(shape: Any, dtype: Any = None, **options: Any) -> Any:
        lengths = _lengths(shape)
        if options or not lengths or _recording.graph is None or (dtype is not None and np.dtype(dtype) != np.float64):
            return original(shape, dtype, **options)
        return fresh(_recording.graph, lengths, value)

    return make


def _lengths(shape: Any) -> tuple[int, ...]:
    return (int(shape),) if isinstance(shape, int | np.integer) else tuple([int(one) for one in shape])


def _full(shape: Any, fill_value: Any, dtype: Any = None, **options: Any) -> Any:
    lengths = _lengths(shape)
    floats = np.dtype(dtype) == np.float64 if dtype is not None else isinstance(fill_value, float | Traced)
    if options or not lengths or _recording.graph is None or not floats:
        return np.full(shape, fill_value, dtype, **options)
    return fresh(_recording.graph, lengths, fill_value)


def _float64(value: Any = 0.0) -> Any:
    if not isinstance(value, SYMBOLIC):
        return np.float64(value)
    if not isinstance(value, Traced) or value.shape:
        raise NotTraceable("np.float64 of an array")
    return as_numbers(value)


def _mathematical(name: str, plain: Any) -> Callable[..., Any]:
    ufunc_name = _MATH_NAMES[name]
    operation = ELEMENTWISE.get(ufunc_name)

    def call(*arguments: Any) -> Any:
        first = next((one for one in arguments if isinstance(one, SYMBOLIC)), None)
        if first is None:
            return plain(*arguments)
        if any(isinstance(one, SYMBOLIC) and (one.shape or not isinstance(one, Traced)) for one in arguments):
            raise NotTraceable(f"math.{name} of an array or a complex number")
        numbers = [first.lift(one) for one in arguments]
        return first.apply(operation, *numbers) if operation is not None else COMPOSED[ufunc_name](*numbers)

    return call


def _log(value: Any, *base: Any) -> Any:
    if not is_symbolic((value, *base)):
        return math.log(value, *base)
    logarithms = [_natural(one) if isinstance(one, Traced) else math.log(one) for one in (value, *base)]
    return logarithms[0] if not base else logarithms[0] / logarithms[1]


def _natural(value: Traced) -> Any:
    if value.shape:
        raise NotTraceable("math.log of an array")
    return value.apply("log", value)


def _sum(values: Any, start: Any = 0) -> Any:
    total = start
    for value in values:
        total = total + value
    return total


def _extreme(operation: str, plain: Any) -> Callable[..., Any]:
    """Return what stands for min or max: the later value is taken where it is less, or greater."""

    def choose(*values: Any, **options: Any) -> Any:
        several = values[0] if len(values) == 1 and isinstance(values[0], list | tuple) else values
        if options or not is_symbolic(several):
            return plain(*values, **options)
        graph = graph_now()
        chosen: Any = as_traced(graph, several[0])
        for one in several[1:]:
            other = as_traced(graph, one)
            if chosen.shape or other.shape:
                raise NotTraceable(f"Python's {plain.__name__} of arrays")
            chosen = chosen.apply("where", other.apply(operation, other, chosen), other, chosen)
        return chosen

    return choose


def _power(base: Any, exponent: Any) -> Any:
    return base**exponent if is_symbolic((base, exponent)) else math.pow(base, exponent)


def _mathematics() -> dict[str, Any]:
    found = {name: _mathematical(name, getattr(math, name)) for name in _MATH_NAMES if hasattr(math, name)}
    return {**found, "log": _log, "pow": _power}


def _numpys() -> dict[str, Any]:
    names = {name: value for name, value in vars(np).items() if not name.startswith("_")}
    universal = {name: Universal(value) for name, value in names.items() if isinstance(value, np.ufunc)}
    known = {name: _of_arrays(value) for name, value in names.items() if callable(value) and _is_known(value)}
    return {
        **universal, **known,
        "array": _array, "asarray": _asarray, "ascontiguousarray": _asarray, "asanyarray": _asarray,
        "empty": _maker(None, np.empty), "zeros": _maker(0.0, np.zeros), "ones": _maker(1.0, np.ones), "full": _full,
        "float64": _float64, "double": _float64, "r_": _Rows(), "c_": _Columns(),
    }  # fmt: skip


def _is_known(value: Any) -> bool:
    try:
        return value in FUNCTIONS
    except TypeError:
        return False


_BUILTINS = {"sum": _sum, "max": _extreme(">", max), "min": _extreme("<", min)}
BUILTINS = {**vars(builtins), **_BUILTINS}
_KEPT: list[Any] = []  # originals, so that their identities stay theirs


def _replacements() -> dict[int, Any]:
    of_numpy, of_math = _numpys(), _mathematics()
    pairs: list[tuple[Any, Any]] = [(np, SymbolicModule(np, of_numpy)), (math, SymbolicModule(math, of_math))]
    pairs += [(getattr(np, name), value) for name, value in of_numpy.items()]
    pairs += [(getattr(math, name), value) for name, value in of_math.items()]
    pairs += [(getattr(builtins, name), value) for name, value in _BUILTINS.items()]
    _KEPT.extend(original for original, _ in pairs)
    return {id(original): value for original, value in pairs}


REPLACED = _replacements()
