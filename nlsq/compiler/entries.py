"""A recorded graph, and for which functions it is valid.

A graph is valid for a call when everything that the function reads is as it was when the graph was recorded: the same
objects for the functions that it calls, the same numbers in its cells, defaults and globals. Arrays of data may be
others, of the same shape and type; so may those numbers that are symbolic in the graph (`nlsq.compiler.numbers`).
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from nlsq.compiler.numbers import GIVEN, Computed, Position

NUMBERS = (int, float, bool, str, complex, type(None), np.float64, np.int64)
Array = np.ndarray
COMPARED = 1024  # uses after which results are compared again
NOT_SET = object()  # stands for the content of a cell that has none


class Arrays(NamedTuple):
    """Arrays that a function reads, in the order of its graph's slots, and the numbers that its graph is given.

    ``version`` is another number for other arrays, so that bindings see at a glance whether they have these.
    """

    values: list[Any]
    version: int
    numbers: Sequence[float] = ()


_versions = itertools.count(1)


class Entry:
    """A recorded graph, and the function that it was last found valid for.

    Attributes
    ----------
    key : hashable
        What it was recorded for; see `Route.entry`.
    trace : Trace
        The graph.
    kernels : GraphKernels
        Of its structure.
    arrays : Arrays
        Of the function that it was last found valid for, which may be another thread's: see `arrays_of`.
    plans : object or None
        What solvers keep here.
    quick : list
        Likewise, for fits without weights at default options.
    native : list
        Likewise, for `nlsq.fit` at default options.
    names : tuple of str
        Of a model's parameters, where someone has found them out.
    is_simple : bool
        Whether the function reads nothing from outside but modules, their compiled functions, and numbers in its cells
        and defaults, which are constants of the graph.
    by_name : list of tuple
        What such a function reads under names that may be given to other things: how to get it, the name, and it.
    uses : int
        How often results were asked for.
    calls : int
        How often it was found valid.
    """

    __slots__ = (
        "_computed",
        "_given",
        "_holder",
        "_inner",
        "_lookups",
        "_missing",
        "_names",
        "_namespace",
        "_own",
        "_partial_of",
        "_places",
        "_twins",
        "arrays",
        "by_name",
        "calls",
        "is_simple",
        "is_stable",
        "kernels",
        "key",
        "names",
        "native",
        "plans",
        "quick",
        "trace",
        "uses",
    )

    def __init__(
        self, key: Any, function: Callable[..., Any], arguments: tuple[Any, ...], dependencies: Any, trace: Any
    ) -> None:
        from nlsq.compiler.clean.dependencies import MISSING
        from nlsq.compiler.compile import kernels_of

        self._missing = MISSING
        self.key = key
        self.trace = trace
        self._computed = Computed(trace.graph)  # before derivatives are added
        self.kernels = kernels_of(trace)
        self._partial_of = _partial_of(function)
        self._holder = function.__self__ if type(function) is MethodType else None
        namespace: Any = getattr(self._partial_of or function, "__globals__", function)
        self._namespace = namespace
        lookups = dependencies.outside_lookups
        if self._partial_of is not None:
            lookups = [one for one in lookups if not _is_held_by(function, one[0])]
        is_data = [_is_data(found) and getattr(get, "__self__", None) is namespace for get, _, found in lookups]
        self._names = tuple([name for (_, name, _), it_is in zip(lookups, is_data, strict=True) if it_is])
        self._lookups = [one for one, it_is in zip(lookups, is_data, strict=True) if not it_is]
        reached = [inner for inner in dependencies.functions if inner is not function]
        self._inner = [(inner, _parts(inner)) for inner in reached]
        values = self._values(function, arguments)
        read = [*values, *(found for _, _, found in self._lookups)]
        for _, parts in self._inner:
            read += parts
        self.is_stable = bool(trace.sees_all) and not dependencies.others and _are_among(trace.sources, read)
        own = len(values) - len(self._names)
        self._given = [own + self._names.index(one) if isinstance(one, str) else one for one in trace.graph.given]
        self._own = [_signature(value) for value in values]
        for place in self._given:
            self._own[place] = _AnyNumber(type(values[place]))
        fixed = all(map(_is_fixed, self._lookups))
        self.by_name = [one for one in self._lookups if not _is_of_a_module(one)]
        numbers = all(type(value) in NUMBERS for value in values) and not getattr(function, "__kwdefaults__", None)
        further = self._inner or arguments or self._names or self._given or self._partial_of
        self.is_simple = self.is_stable and fixed and numbers and not further
        self.arrays = Arrays(trace.sources, 0)
        self._places = [next((k for k, value in enumerate(values) if value is array), -1) for array in trace.sources]
        same = [(self._places[i], k) for i, one in enumerate(trace.sources) for k, v in enumerate(values) if v is one]
        self._twins = [(first, other) for first, other in same if first != other]
        self.calls = 0
        self.uses = 0
        self.plans: Any = None
        self.quick: list[Any] = []
        self.native: list[Any] = []
        self.names: tuple[str, ...] = ()

    def arrays_of(self, function: Callable[..., Any], arguments: tuple[Any, ...] = ()) -> Arrays | None:
        """Return the arrays that this function brings along; None where the graph is not that of this function, now.

        A graph that holds for one call alone belongs to whoever recorded it, and is never asked for again.
        """
        if not self.is_stable:
            return self.arrays
        values = self._values_now(function, arguments)
        if values is None:
            return None
        arrays = self.arrays
        if values:
            for value, signature in zip(values, self._own, strict=True):
                if value is not signature and not _matches(value, signature):
                    return None
            for old, place in zip(arrays.values, self._places, strict=True):
                if place >= 0 and values[place] is not old:
                    taken = [one if at < 0 else values[at] for one, at in zip(arrays.values, self._places, strict=True)]
                    arrays = self.arrays = Arrays(taken, next(_versions))
                    break
        if self._given:
            numbers = [values[place] for place in self._given]
            if not self._computed.is_finite(numbers):
                return None
            arrays = self.arrays = Arrays(arrays.values, arrays.version, numbers)
        self.calls += 1
        return arrays

    def differing(self, function: Callable[..., Any], arguments: tuple[Any, ...] = ()) -> list[Position] | None:
        """Return where a function has numbers that are given or others than in the graph; None where more differs.

        Nothing is returned where such a number makes the graph useless whatever it is: then the function is called.
        """
        values = self._values_now(function, arguments)
        if values is None or not self.is_stable:
            return None
        places = []
        own = len(values) - len(self._names)
        for place, (value, signature) in enumerate(zip(values, self._own, strict=True)):
            if type(signature) is _AnyNumber or not (value is signature or _matches(value, signature)):
                kind = signature.kind if type(signature) is _AnyNumber else type(signature)
                if kind not in GIVEN or type(value) is not kind:
                    return None
                places.append(place)
        if len(places) == len(self._given) or not all(math.isfinite(values[place]) for place in places):
            return []
        return [place if place < own else self._names[place - own] for place in places]

    def _values(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> list[Any]:
        """Return what a function brings along: its own values, then numbers and arrays among its globals."""
        values = _own_values(function, arguments)
        if self._names:
            values += [self._namespace.get(name, self._missing) for name in self._names]
        return values

    def _values_now(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> list[Any] | None:
        """Return what a function brings along; None where anything but the values themselves is not as it was."""
        if self._partial_of is None:
            if getattr(function, "__globals__", function) is not self._namespace:
                return None
            if type(function) is MethodType and function.__self__ is not self._holder:
                return None
        elif type(function) is not functools.partial or function.func is not self._partial_of:
            return None
        missing = self._missing
        for get, key, found in self._lookups:
            if get(key, missing) is not found:
                return None
        for inner, parts in self._inner:
            now = _parts(inner)
            if len(now) != len(parts) or not all(map(operator.is_, now, parts)):
                return None
        values = self._values(function, arguments)
        if len(values) != len(self._own):
            return None
        for first, other in self._twins:  # one array in two places is one slot of the graph
            if values[first] is not values[other]:
                return None
        return values

    def is_due(self) -> bool:
        """Whether to compare results with the function's: at the 1st, 2nd, 4th ... 1024th use, then at each 1024th."""
        self.uses += 1
        return self.uses & (self.uses - 1) == 0 or self.uses % COMPARED == 0


def _partial_of(function: Any) -> FunctionType | None:
    """Return the plain function that a partial calls; None for anything else."""
    inner = function.func if type(function) is functools.partial else None
    return inner if isinstance(inner, FunctionType) else None


def _is_held_by(function: Any, get: Any) -> bool:
    """Whether a lookup is one of a partial's own arguments."""
    if getattr(get, "__self__", None) is function.keywords:
        return True
    return type(get) is functools.partial and any(one is function or one is function.args for one in get.args)


def _is_fixed(lookup: tuple[Any, Any, Any]) -> bool:
    """Whether a lookup leads to a module or one of its compiled functions, or to a constant of NumPy or math."""
    found = lookup[2]
    if isinstance(found, ModuleType | np.ufunc | BuiltinFunctionType | type):
        return True
    return type(found) is float and _is_of_a_module(lookup)


def _is_of_a_module(lookup: tuple[Any, Any, Any]) -> bool:
    """Whether something is looked up in NumPy, math or scipy.special, where nothing changes."""
    space = getattr(lookup[0], "__self__", None)
    return isinstance(space, dict) and space.get("__name__") in ("numpy", "math", "scipy.special", "builtins")


def _are_among(sources: list[Any], read: Iterable[Any]) -> bool:
    """Whether all arrays that a function may read are data of its graph, whose contents may change."""
    for one in read:
        if isinstance(one, np.ndarray) and all(one is not source for source in sources):
            return False
        if isinstance(one, tuple) and not _are_among(sources, one):
            return False
    return True


def _parts(function: Any) -> tuple[Any, ...]:
    """Return what a function that is reached by way of a cell is made of."""
    keywords = function.__kwdefaults__ or {}
    held = _contents(function.__closure__ or ())
    return function.__code__, function.__defaults__, *keywords, *keywords.values(), *held


def _contents(cells: tuple[Any, ...]) -> list[Any]:
    """Return what cells hold; some may not have been set yet."""
    try:
        return [cell.cell_contents for cell in cells]
    except ValueError:
        return [_content(cell) for cell in cells]


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return NOT_SET


def _own_values(function: Any, arguments: tuple[Any, ...]) -> list[Any]:
    """Return what a function brings along itself: contents of its cells, defaults, further arguments.

    A partial brings its arguments along.
    """
    if type(function) is functools.partial:
        return [*function.args, *function.keywords, *function.keywords.values(), *arguments]
    closure = getattr(function, "__closure__", None)
    values = _contents(closure) if closure else []
    defaults = getattr(function, "__defaults__", None)
    if defaults:
        values += defaults
    keywords = getattr(function, "__kwdefaults__", None)
    if keywords:
        values += keywords
        values += keywords.values()
    if arguments:
        values += arguments
    return values


def _signature(value: Any) -> Any:
    """Return what has to be equal for a graph to stay valid."""
    if type(value) is np.ndarray:
        return _ArrayKind(value.shape, value.dtype)
    return value


def _is_data(value: Any) -> bool:
    """Whether a global may be another one at each call, as what is in cells may: a number or an array."""
    return type(value) in GIVEN or type(value) is np.ndarray


class _AnyNumber:
    """A number of some type, whose value comes with each call."""

    __slots__ = ("kind",)

    def __init__(self, kind: type) -> None:
        self.kind = kind


class _ArrayKind:
    """Shape and type of an array."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape, self.dtype = shape, dtype


def _matches(value: Any, signature: Any) -> bool:
    kind = type(value)
    if kind is Array:
        return type(signature) is _ArrayKind and signature.shape == value.shape and signature.dtype == value.dtype
    if type(signature) is _AnyNumber:
        return kind is signature.kind
    if kind not in NUMBERS or type(signature) is not kind or value != signature:
        return False
    return bool(value) or str(value) == str(signature)  # 0.0 and -0.0 are equal, and not the same
