"""Copies of a function in which NumPy's makers of arrays, and arrays of data, are symbolic.

NumPy's protocols hand operations on symbolic arrays over to them, but not ``np.empty(n)``, ``np.array([...])`` or
``math.exp``. A copy of the function is called in whose globals and cells these are replaced; so are float64 arrays that
the function reads from there, so that the graph depends on their shapes alone and other data are other addresses.
"""

from __future__ import annotations

import builtins
import functools
import math
from collections.abc import Callable
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from nlsq.compiler.arrays import Traced, as_data, stacked
from nlsq.compiler.complex_arrays import ComplexTraced
from nlsq.compiler.graph import Graph, NotTraceable
from nlsq.compiler.numpy_functions import ELEMENTWISE, fresh

SYMBOLIC = (Traced, ComplexTraced)
_MATH_NAMES = {
    "exp": "exp", "expm1": "expm1", "log1p": "log1p", "log2": "log2", "log10": "log10", "sqrt": "sqrt",
    "sin": "sin", "cos": "cos", "tan": "tan", "asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2",
    "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
    "erf": "erf", "erfc": "erfc", "hypot": "hypot", "fabs": "absolute", "copysign": "copysign", "cbrt": "cbrt",
    "lgamma": "gammaln",
}  # fmt: skip


class SymbolicModule(ModuleType):
    """A module with some of its functions replaced."""

    def __init__(self, original: ModuleType, replaced: dict[str, Any]) -> None:
        super().__init__(original.__name__)
        self.__dict__["_original"] = original
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_original"], name)


class Rebinding:
    """What stands for what while one function is traced.

    Parameters
    ----------
    graph : Graph
        Where operations are recorded.
    with_arrays : bool
        Whether arrays that the function reads become symbolic too.

    Attributes
    ----------
    arrays : dict
        Symbolic array by the identity of the one that it stands for, with that one.
    """

    def __init__(self, graph: Graph, *, with_arrays: bool) -> None:
        self.graph = graph
        self.with_arrays = with_arrays
        self.arrays: dict[int, tuple[Any, Traced]] = {}
        self._functions: dict[int, Any] = {}
        makers = self._makers()
        mathematics = self._mathematics()
        self._replaced: dict[int, Any] = {
            id(np): SymbolicModule(np, {name: makers[name] for name in makers}),
            id(math): SymbolicModule(math, mathematics),
            **{id(getattr(np, name)): function for name, function in makers.items()},
            **{id(getattr(math, name)): function for name, function in mathematics.items()},
            id(pow): lambda base, exponent: base**exponent,
            id(sum): self._sum,
            id(max): self._extreme("maximum", max),
            id(min): self._extreme("minimum", min),
        }
        self._builtins = {**vars(builtins), "pow": self._replaced[id(pow)], "sum": self._sum,
                          "max": self._replaced[id(max)], "min": self._replaced[id(min)]}  # fmt: skip

    def rebind(self, function: Any) -> Callable[..., Any]:
        """Return the copy of a function, method or partial."""
        if isinstance(function, functools.partial):
            arguments = [self.substitute(one) for one in function.args]
            options = {name: self.substitute(one) for name, one in function.keywords.items()}
            return functools.partial(self.rebind(function.func), *arguments, **options)
        if isinstance(function, MethodType):
            return MethodType(self.rebind(function.__func__), function.__self__)
        function = getattr(function, "py_func", function)
        if not isinstance(function, FunctionType):
            raise NotTraceable(f"it is no Python function but {type(function).__name__}")
        found = self._functions.get(id(function))
        if found is None:
            found = self._copy(function)
        return found  # type: ignore[no-any-return]

    def _copy(self, function: FunctionType) -> FunctionType:
        scope: dict[str, Any] = {"__builtins__": self._builtins, "__name__": function.__module__}
        copy = FunctionType(function.__code__, scope, function.__name__, None, None if function.__closure__ is None else tuple(CellType() for _ in function.__closure__))
        self._functions[id(function)] = copy
        for name in _names(function.__code__):
            if name in function.__globals__:
                scope[name] = self.substitute(function.__globals__[name])
        for old, new in zip(function.__closure__ or (), copy.__closure__ or (), strict=True):
            new.cell_contents = self.substitute(old.cell_contents)
        if function.__defaults__:
            copy.__defaults__ = tuple(self.substitute(one) for one in function.__defaults__)
        if function.__kwdefaults__:
            copy.__kwdefaults__ = {name: self.substitute(one) for name, one in function.__kwdefaults__.items()}
        return copy

    def substitute(self, value: Any) -> Any:
        """Return what stands for an object that the function reads."""
        replaced = self._replaced.get(id(value))
        if replaced is not None:
            return replaced
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, FunctionType | functools.partial) or hasattr(value, "py_func"):
            return self.rebind(value)
        if isinstance(value, MethodType) and isinstance(value.__func__, FunctionType):
            return self.rebind(value)
        return value

    def _array(self, value: Any) -> Any:
        if not self.with_arrays or type(value) is not np.ndarray or not 0 < value.ndim <= 2 or not value.size:
            return value
        if value.dtype != np.float64 and not (value.dtype.kind in "iub" and value.dtype.itemsize <= 8):
            return value
        found = self.arrays.get(id(value))
        if found is None:
            found = self.arrays[id(value)] = value, as_data(self.graph, value, value)
        return found[1]

    # Stand-ins

    def _makers(self) -> dict[str, Any]:
        graph = self.graph

        def symbolic(value: Any) -> bool:
            if isinstance(value, SYMBOLIC):
                return True
            return isinstance(value, list | tuple) and any(symbolic(one) for one in value)

        def plain_dtype(dtype: Any) -> None:
            if dtype is not None and np.dtype(dtype) != np.float64:
                raise NotTraceable(f"an array of {np.dtype(dtype)}")

        def array(value: Any, dtype: Any = None, *, copy: Any = True, ndmin: int = 0, **options: Any) -> Any:
            if not symbolic(value):
                return np.array(value, dtype, copy=copy, ndmin=ndmin, **options)
            plain_dtype(dtype)
            if ndmin > 1 or isinstance(value, ComplexTraced):
                raise NotTraceable("np.array of such a value")
            result = value.copy() if isinstance(value, Traced) else nested(value)
            return result.reshape(1) if ndmin and not result.shape else result

        def nested(value: Any) -> Any:
            return stacked(graph, [nested(one) if isinstance(one, list | tuple) else one for one in value])

        def asarray(value: Any, dtype: Any = None, **options: Any) -> Any:
            if not symbolic(value):
                return np.asarray(value, dtype, **options)
            plain_dtype(dtype)
            return value if isinstance(value, SYMBOLIC) else nested(value)

        def made(value: float | None, original: Any) -> Any:
            def make(shape: Any, dtype: Any = None, **options: Any) -> Any:
                if options or (dtype is not None and np.dtype(dtype) != np.float64):
                    return original(shape, dtype, **options)
                lengths = (int(shape),) if isinstance(shape, int | np.integer) else tuple(int(one) for one in shape)
                return fresh(graph, lengths, value)

            return make

        def full(shape: Any, fill_value: Any, dtype: Any = None, **options: Any) -> Any:
            if not symbolic(fill_value):
                return made(float(fill_value), None)(shape, dtype) if dtype is None and np.ndim(fill_value) == 0 else np.full(shape, fill_value, dtype, **options)
            lengths = (int(shape),) if isinstance(shape, int | np.integer) else tuple(int(one) for one in shape)
            return fresh(graph, lengths, fill_value)

        def of_traced(value: Any) -> Any:
            return value if isinstance(value, SYMBOLIC) else np.float64(value)

        return {
            "array": array, "asarray": asarray, "ascontiguousarray": asarray, "asanyarray": asarray,
            "empty": made(None, np.empty), "zeros": made(0.0, np.zeros), "ones": made(1.0, np.ones), "full": full,
            "float64": of_traced,
        }  # fmt: skip

    def _mathematics(self) -> dict[str, Any]:
        from nlsq.compiler.numpy_functions import call_ufunc

        def of(name: str, plain: Any) -> Any:
            operation = _MATH_NAMES[name]
            assert operation in ELEMENTWISE

            def call(*arguments: Any) -> Any:
                if not any(isinstance(one, SYMBOLIC) for one in arguments):
                    return plain(*arguments)
                if any(isinstance(one, Traced) and one.shape for one in arguments):
                    raise NotTraceable(f"math.{name} of an array")
                numbers = arguments
                first = next(one for one in numbers if isinstance(one, Traced))
                return first.apply(ELEMENTWISE[operation], *numbers)

            return call

        def log(value: Any, base: Any = None) -> Any:
            if not isinstance(value, SYMBOLIC):
                return math.log(value) if base is None else math.log(value, base)
            result = value.apply("log", value)
            return result if base is None else result / math.log(base)

        def power(a: Any, b: Any) -> Any:
            return a**b if isinstance(a, SYMBOLIC) or isinstance(b, SYMBOLIC) else math.pow(a, b)

        del call_ufunc
        found = {name: of(name, getattr(math, name)) for name in _MATH_NAMES if hasattr(math, name)}
        return {**found, "log": log, "pow": power}

    def _sum(self, values: Any, start: Any = 0) -> Any:
        total = start
        for value in values:
            total = total + value
        return total

    def _extreme(self, operation: str, plain: Any) -> Any:
        def choose(*values: Any, **options: Any) -> Any:
            if len(values) == 2 and not options and any(isinstance(one, Traced) for one in values):
                first = next(one for one in values if isinstance(one, Traced))
                if all(not isinstance(one, Traced) or not one.shape for one in values):
                    return first.apply(operation, *values)
            return plain(*values, **options)

        return choose


def _names(code: CodeType) -> set[str]:
    """Return the names that a function and the functions inside it read."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names
