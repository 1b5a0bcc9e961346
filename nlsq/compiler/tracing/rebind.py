"""Copies of a function in which NumPy's makers of arrays, and arrays of data, are symbolic.

NumPy's protocols hand operations on symbolic arrays over to them, but not ``np.empty(n)``, ``np.array([...])`` or
``math.exp``. A copy of the function is called in whose globals and cells these are replaced by their stand-ins
(`nlsq.compiler.tracing.standins`); so are arrays that the function reads from there, so that the graph depends on
their shapes alone and other data are other addresses. Numbers stay numbers, so that ``x**2.0`` is a product, but for
those that are known to change from call to call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

import numpy as np

from nlsq.compiler.graph import Graph, NotTraceable
from nlsq.compiler.numbers import GIVEN
from nlsq.compiler.tracing.arrays import Traced, as_data
from nlsq.compiler.tracing.standins import BUILTINS, REPLACED

MOST_CODES = 2000
FLOAT64 = np.dtype(np.float64)
TYPES = (FLOAT64, np.dtype(np.int64), np.dtype(np.bool_))
LIBRARIES = ("numpy", "scipy")
_plain = (float, int, str, bool, type(None), np.float64)
_names: dict[int, tuple[CodeType, tuple[str, ...]]] = {}  # by the address of the code, which is kept


class Rebinding:
    """What stands for what while one function is traced.

    Parameters
    ----------
    graph : Graph
        Where operations are recorded.
    with_arrays : bool
        Whether arrays that the function reads become symbolic too.
    given : sequence of int or str, optional
        Which of the numbers that the function brings along become symbolic: positions among the contents of its cells,
        its defaults, the names of its keyword defaults, those defaults, and further arguments; or names of globals. A
        partial has its arguments, the names of its keywords and those arguments instead.

    Attributes
    ----------
    made_symbolic : bool
        Whether there were such arrays.
    """

    def __init__(self, graph: Graph, *, with_arrays: bool, given: Sequence[int | str] = ()) -> None:
        self.graph = graph
        self.with_arrays = with_arrays
        self.given = frozenset(given)
        self._namespace: dict[str, Any] | None = None
        self.made_symbolic = False
        self._arrays: dict[int, tuple[Any, Any]] = {}
        self._functions: dict[int, FunctionType] = {}

    def outermost(self, function: Any, arguments: Sequence[Any] = ()) -> tuple[Callable[..., Any], list[Any]]:
        """Return the copy of the function that is traced, and what stands for its further arguments."""
        is_partial = type(function) is functools.partial
        plain = function.func if is_partial else getattr(function, "__func__", function)
        self._namespace = getattr(plain, "__globals__", None)
        copy = self.rebind(function)
        first = 0
        if self.given and is_partial:
            first = len(function.args) + len(function.keywords)
            values = [self._own(one, k) for k, one in enumerate(function.args)]
            options = {name: self._own(one, first + k) for k, (name, one) in enumerate(function.keywords.items())}
            copy = functools.partial(self.rebind(function.func), *values, **options)
            first += len(function.keywords)
        elif self.given and isinstance(plain, FunctionType):
            first = self._give_own(plain, self._functions[id(plain)])
        further = [self._own(one, first + k) for k, one in enumerate(arguments)]
        return copy, further

    def _give_own(self, function: FunctionType, copy: FunctionType) -> int:
        """Put symbols in place of given numbers in the function's own cells and defaults; return how many it has."""
        cells, defaults = function.__closure__ or (), function.__defaults__ or ()
        keywords = function.__kwdefaults__ or {}
        for position, (old, new) in enumerate(zip(cells, copy.__closure__ or (), strict=True)):
            if position in self.given:
                new.cell_contents = self._own(old.cell_contents, position)
        first = len(cells)
        if defaults:
            copy.__defaults__ = tuple([self._own(one, first + k) for k, one in enumerate(defaults)])
        first += len(defaults) + len(keywords)
        if keywords:
            copy.__kwdefaults__ = {name: self._own(one, first + k) for k, (name, one) in enumerate(keywords.items())}
        return first + len(keywords)

    def _own(self, value: Any, position: int | str) -> Any:
        if position not in self.given or type(value) not in GIVEN:
            return self.substitute(value)
        return Traced(self.graph, (), [self.graph.given_number(position, value)])

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
        return self._functions.get(id(function)) or self._copy(function)

    def _copy(self, function: FunctionType) -> FunctionType:
        code, original = function.__code__, function.__globals__
        scope: dict[str, Any] = {"__builtins__": BUILTINS, "__name__": function.__module__}
        cells = function.__closure__
        copied = None if cells is None else tuple([CellType() for _ in cells])
        copy = FunctionType(code, scope, function.__name__, None, copied)
        self._functions[id(function)] = copy
        for name in names_of(code):
            if name in original:
                value = original[name]
                scope[name] = self._own(value, name) if original is self._namespace else self.substitute(value)
        if cells:
            for old, new in zip(cells, copied or (), strict=True):
                try:
                    contents = old.cell_contents
                except ValueError:  # empty: what it is for is not defined yet
                    continue
                new.cell_contents = self.substitute(contents)
        if function.__defaults__:
            copy.__defaults__ = tuple([self.substitute(one) for one in function.__defaults__])
        if function.__kwdefaults__:
            copy.__kwdefaults__ = {name: self.substitute(one) for name, one in function.__kwdefaults__.items()}
        return copy

    def substitute(self, value: Any) -> Any:
        """Return what stands for an object that the function reads."""
        if type(value) in _plain:
            return value
        replaced = REPLACED.get(id(value))
        if replaced is not None:
            return replaced
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, FunctionType):
            return value if value.__module__ and value.__module__.startswith(LIBRARIES) else self.rebind(value)
        if isinstance(value, functools.partial) or hasattr(value, "py_func"):
            return self.rebind(value)
        if isinstance(value, MethodType) and isinstance(value.__func__, FunctionType):
            return self.rebind(value)
        return value

    def _array(self, value: Any) -> Any:
        found = self._arrays.get(id(value))
        if found is None:
            symbolic = self.with_arrays and type(value) is np.ndarray and 0 < value.ndim <= 2 and value.size
            if symbolic and (value.dtype is FLOAT64 or value.dtype in TYPES):  # others wrap around, or round
                stands: Any = as_data(self.graph, value, value)
                self.made_symbolic = True
            else:
                stands = value.view()
                stands.flags.writeable = False  # what a trace would do to it, the function would do once more
            found = self._arrays[id(value)] = value, stands
        return found[1]


def names_of(code: CodeType) -> tuple[str, ...]:
    """Return the names that a function and the functions inside it read."""
    known = _names.get(id(code))
    if known is None:
        names = dict.fromkeys(code.co_names)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                names.update(dict.fromkeys(names_of(constant)))
        if len(_names) >= MOST_CODES:
            _names.clear()
        known = _names[id(code)] = code, tuple(names)
    return known[1]
