"""Which way a plain function goes: traced and compiled, or called.

A function is recognised by its code object, so that a lambda made anew at each call finds what is known of it. Known
are the verdict of the clean check, the graphs that it gave for arguments of some shapes, and how much time has gone into
calling it plainly. Compiling pays once that time is about what compiling costs, and at once where the machine code is
on disk, the user asks for it, or the data are many.

A graph is valid for a call when everything that the function reads is as it was when the graph was recorded: the same
objects for its globals and the functions that it calls, the same numbers in its cells and defaults. Arrays of data may
be others, of the same shape; kernels get their addresses. Where a graph depends on what is in an array or a list, the
function is traced again at each call.
"""

from __future__ import annotations

import hashlib
import operator
import threading
from collections.abc import Callable
from time import perf_counter
from types import CodeType
from typing import Any

import numpy as np

from nlsq.kernels.backend import compile_disabled

WORTH_COMPILING = 0.1  # seconds spent in plain solves: what compiling costs
MANY_POINTS = 100_000  # residuals from which one solve is worth it
WORTH_TRACING_ANEW = 2000  # residuals from which a graph that holds for one call alone is worth it
UNSTABLE = "its graph depends on what is in arrays, lists or objects that it reads, which may change from call to call"
MOST_ROUTES = 1000
MOST_ENTRIES = 16  # shapes of one function
NUMBERS = (int, float, bool, str, complex, type(None), np.float64, np.int64)

_routes: dict[str, dict[int, Route]] = {"model": {}, "residual": {}}  # by the address of the code, which a route keeps
_lock = threading.RLock()


class Route:
    """What is known of the functions that were made from one code object.

    Parameters
    ----------
    code : code object
        Theirs.
    form : {"model", "residual"}
        How they are called.

    Attributes
    ----------
    reason : str
        Why they are called plainly; empty when they are not, or when that is not known yet.
    ready : bool
        Whether to trace them.
    required : bool
        Whether the user asked for it.
    seconds : float
        Time spent in plain solves.
    latest : Entry or None
        The graph that was valid last.
    """

    __slots__ = ("code", "entries", "form", "latest", "ready", "reason", "required", "seconds")

    def __init__(self, code: CodeType, form: str) -> None:
        self.code, self.form = code, form
        self.reason = ""
        self.required = False
        self.seconds = 0.0
        self.entries: dict[Any, list[Entry]] = {}
        self.latest: Entry | None = None
        self.ready = not compile_disabled() and _marker(code, form).exists_on_disk()

    def spend(self, started: float) -> None:
        """Note a plain solve that began at `started`, by `time.perf_counter`."""
        self.seconds += perf_counter() - started
        if self.seconds >= WORTH_COMPILING and not self.reason:
            self.ready = not compile_disabled()

    def may_compile(self) -> bool:
        """Trace these functions from now on, because there is much to do; whether that is possible."""
        self.ready = not compile_disabled() and not self.reason
        return self.ready

    def require(self) -> None:
        """Trace these functions from now on, as the user asks."""
        self.reason, self.ready, self.required = "", not compile_disabled(), True

    def refuse(self, reason: str) -> None:
        """Call these functions plainly from now on."""
        self.reason, self.ready = reason, False
        self.entries.clear()
        self.latest = None

    def entry(
        self, function: Callable[..., Any], key: Any, trace: Callable[[], Any], arguments: tuple[Any, ...] = ()
    ) -> Entry | None:
        """Return a valid graph with its kernels; None where the function has to be called.

        Parameters
        ----------
        function : callable
            Of this route's code.
        key : hashable
            What the graph depends on besides the function: shapes of arguments, number of parameters.
        trace : callable
            Records the graph.
        arguments : tuple
            Further arguments of a residual.
        """
        candidates = self.entries.get(key)
        for entry in candidates or ():
            if entry.holds_for(function, arguments):
                self.latest = entry
                return entry
        from nlsq.compiler.clean import errors_are_silent

        if not errors_are_silent():
            return None
        entry = self.examine(function, key, trace, arguments)
        if isinstance(entry, str):
            self.refuse(entry)
            return None
        if not entry.is_stable:
            if not self.required and entry.trace.m < WORTH_TRACING_ANEW:
                self.refuse(UNSTABLE)
                return None
            return entry
        _marker(self.code, self.form).write()
        with _lock:
            if candidates is None or len(candidates) >= MOST_ENTRIES:
                if len(self.entries) >= MOST_ENTRIES:
                    self.entries.clear()
                candidates = self.entries[key] = []
            candidates.insert(0, entry)
        self.latest = entry
        return entry

    def examine(
        self, function: Callable[..., Any], key: Any, trace: Callable[[], Any], arguments: tuple[Any, ...] = ()
    ) -> Entry | str:
        """Return a valid graph, or the reason why there is none; see `entry`. Nothing is remembered of a new one."""
        from nlsq.compiler.clean import Unclean, examine_cached
        from nlsq.compiler.graph import NotTraceable

        for entry in self.entries.get(key) or ():
            if entry.holds_for(function, arguments):
                return entry
        try:
            dependencies = examine_cached(function, tuple(range(1, 1 + len(arguments))))
            return Entry(function, arguments, dependencies, trace())
        except (Unclean, NotTraceable) as error:
            return str(error)


class Entry:
    """A recorded graph, and the function that it was last found valid for.

    Attributes
    ----------
    trace : Trace
        The graph.
    kernels : GraphKernels
        Of its structure.
    origins : list of ndarray
        Arrays that the function reads, in the order of the graph's slots.
    version : int
        Goes up when `origins` changes.
    plans : object or None
        What solvers keep here.
    quick : list
        Likewise, for fits without weights at default options.
    native : list
        Likewise, for `nlsq.fit` at default options.
    names : tuple of str
        Of a model's parameters, where someone has found them out.
    shape : tuple
        Of a model's x.
    uses : int
        How often results were asked for.
    """

    __slots__ = (
        "_inner",
        "_lookups",
        "_namespace",
        "_own",
        "_places",
        "is_stable",
        "kernels",
        "names",
        "native",
        "origins",
        "plans",
        "quick",
        "shape",
        "trace",
        "uses",
        "version",
    )

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...], dependencies: Any, trace: Any) -> None:
        from nlsq.compiler.compile import kernels_of

        self.trace = trace
        self.kernels = kernels_of(trace)
        self.is_stable = bool(trace.sees_all) and not dependencies.others
        self._lookups = dependencies.outside_lookups
        reached = [inner for inner in dependencies.functions if inner is not function]
        self._inner = [(inner, _parts(inner)) for inner in reached]
        self._namespace = getattr(function, "__globals__", function)
        values = _own_values(function, arguments)
        self._own = [_signature(value) for value in values]
        self.origins = trace.sources
        self._places = [next((k for k, value in enumerate(values) if value is array), -1) for array in self.origins]
        self.version = self.uses = 0
        self.plans: Any = None
        self.quick: list[Any] = []
        self.native: list[Any] = []
        self.names: tuple[str, ...] = ()
        self.shape: Any = None

    def holds_for(self, function: Callable[..., Any], arguments: tuple[Any, ...] = ()) -> bool:
        """Whether the graph is that of this function, now; takes over the arrays that it brings along."""
        if not self.is_stable or getattr(function, "__globals__", function) is not self._namespace:
            return False
        for get, key, found in self._lookups:
            if get(key, _MISSING) is not found:
                return False
        for inner, parts in self._inner:
            now = _parts(inner)
            if len(now) != len(parts) or not all(map(operator.is_, now, parts)):
                return False
        values = _own_values(function, arguments)
        if len(values) != len(self._own):
            return False
        for value, signature in zip(values, self._own, strict=True):
            if value is not signature and not _matches(value, signature):
                return False
        for k, place in enumerate(self._places):
            if place >= 0 and values[place] is not self.origins[k]:
                self.origins = [
                    old if at < 0 else values[at] for old, at in zip(self.origins, self._places, strict=True)
                ]
                self.version += 1
                break
        return True

    def is_due(self) -> bool:
        """Whether results are to be compared with the function's: at the 1st, 2nd, 4th, 8th ... use."""
        self.uses += 1
        return self.uses & (self.uses - 1) == 0


class _Missing:
    """Stands for "no such entry"."""


_MISSING = _Missing()


def _parts(function: Any) -> tuple[Any, ...]:
    """Return what a function that is reached by way of a cell is made of."""
    return (
        function.__code__,
        function.__defaults__,
        *(function.__kwdefaults__ or {}).values(),
        *(cell.cell_contents for cell in function.__closure__ or ()),
    )


def _own_values(function: Any, arguments: tuple[Any, ...]) -> list[Any]:
    """Return what a function brings along itself: contents of its cells, defaults, further arguments."""
    closure = getattr(function, "__closure__", None)
    values = [cell.cell_contents for cell in closure] if closure else []
    defaults = getattr(function, "__defaults__", None)
    if defaults:
        values += defaults
    keywords = getattr(function, "__kwdefaults__", None)
    if keywords:
        values += keywords.values()
    if arguments:
        values += arguments
    return values


def _signature(value: Any) -> Any:
    """Return what has to be equal for a graph to stay valid."""
    if type(value) is np.ndarray:
        return _ArrayKind(value.shape, value.dtype)
    return value


class _ArrayKind:
    """Shape and type of an array."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape, self.dtype = shape, dtype


def _matches(value: Any, signature: Any) -> bool:
    kind = type(value)
    if kind is np.ndarray:
        return type(signature) is _ArrayKind and signature.shape == value.shape and signature.dtype == value.dtype
    return kind in NUMBERS and type(signature) is kind and bool(value == signature)


def route_of(function: Any, form: str) -> Route | None:
    """Return the route of a function; None for objects that are always called."""
    code = getattr(function, "__code__", None)
    if code is None:
        code = _inner_code(function)
        if code is None:
            return None
    routes = _routes[form]
    found = routes.get(id(code))
    if found is None:
        with _lock:
            if len(routes) >= MOST_ROUTES:
                routes.clear()
            found = routes.setdefault(id(code), Route(code, form))
    return found


def unwrapped(function: Any, form: str) -> tuple[Any, Route | None]:
    """Return the plain function and its route, also of an `nlsq.Model`."""
    route = getattr(function, "nlsq_route", None)
    return (function, route_of(function, form)) if route is None else (function.function, route)


def _inner_code(function: Any) -> CodeType | None:
    """Return the code that a method, partial or njit function leads to."""
    while not hasattr(function, "__code__"):
        inner = getattr(function, "__func__", None) or getattr(function, "func", None)
        if inner is None:
            return None
        function = inner
    code: CodeType = function.__code__
    return code


class _marker:
    """A file beside the kernels that says that functions of some code were compiled on this machine."""

    def __init__(self, code: CodeType, form: str) -> None:
        self._code, self._form = code, form

    @property
    def symbol(self) -> str:
        """Name of the file."""
        digest = hashlib.sha256(self._form.encode())
        waiting = [self._code]
        while waiting:
            code = waiting.pop()
            digest.update(code.co_code)
            digest.update(repr((code.co_names, code.co_freevars, code.co_varnames)).encode())
            for constant in code.co_consts:
                if isinstance(constant, CodeType):
                    waiting.append(constant)
                else:
                    digest.update(repr(constant).encode())
        return f"nlsq_code_{digest.hexdigest()[:40]}"

    def exists_on_disk(self) -> bool:
        """Whether it is there."""
        from nlsq.kernels.backend import cache

        folder = cache.folder()
        return folder is not None and (folder / f"{self.symbol}.o").exists()

    def write(self) -> None:
        """Leave it there."""
        from nlsq.kernels.backend import cache

        if not self.exists_on_disk():
            cache.write(cache.folder(), self.symbol, b"")
