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
import threading
from collections.abc import Callable
from time import perf_counter
from types import CodeType
from typing import Any

import numpy as np

from nlsq.kernels.backend import compile_disabled

WORTH_COMPILING = 0.1  # seconds spent in plain solves: what compiling costs
MANY_POINTS = 100_000  # residuals from which one solve is worth it
MOST_ROUTES = 1000
MOST_ENTRIES = 16  # shapes of one function
NUMBERS = (int, float, bool, str, complex, type(None), np.float64, np.int64)

_routes: dict[tuple[CodeType, str], Route] = {}
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
    seconds : float
        Time spent in plain solves.
    """

    __slots__ = ("_started", "code", "entries", "form", "ready", "reason", "seconds")

    def __init__(self, code: CodeType, form: str) -> None:
        self.code, self.form = code, form
        self.reason = ""
        self.seconds = 0.0
        self.entries: dict[Any, list[Entry]] = {}
        self.ready = not compile_disabled() and _marker(code, form).exists_on_disk()

    def spend(self, started: float) -> None:
        """Note a plain solve that began at `started`, by `time.perf_counter`."""
        self.seconds += perf_counter() - started
        if self.seconds >= WORTH_COMPILING and not self.reason:
            self.ready = not compile_disabled()

    def refuse(self, reason: str) -> None:
        """Call these functions plainly from now on."""
        self.reason, self.ready = reason, False
        self.entries.clear()

    def entry(self, function: Callable[..., Any], key: Any, trace: Callable[[], Any], arguments: tuple[Any, ...] = ()) -> Entry | None:
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
        from nlsq.compiler.clean import Unclean, errors_are_silent, examine_cached
        from nlsq.compiler.graph import NotTraceable

        candidates = self.entries.get(key)
        if candidates is not None:
            for entry in candidates:
                if entry.function is function and entry.arguments is arguments and entry.is_current():
                    return entry
        if not errors_are_silent():
            return None
        try:
            dependencies = examine_cached(function, tuple(range(1, 1 + len(arguments))))
            for entry in candidates or ():
                if entry.adopt(function, arguments, dependencies):
                    return entry
            entry = Entry(function, arguments, dependencies, trace())
        except (Unclean, NotTraceable) as error:
            self.refuse(str(error))
            return None
        _marker(self.code, self.form).write()
        with _lock:
            if candidates is None or len(candidates) >= MOST_ENTRIES:
                if len(self.entries) >= MOST_ENTRIES:
                    self.entries.clear()
                candidates = self.entries[key] = []
            candidates.insert(0, entry)
        return entry


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
    checks : int
        How often results were compared with the function's.
    uses : int
        How often it was found valid.
    """

    __slots__ = ("_dependencies", "_lookups", "_own", "arguments", "checks", "function", "kernels", "origins", "plans", "trace", "uses", "version")

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...], dependencies: Any, trace: Any) -> None:
        from nlsq.compiler.compile import kernels_of

        self.function, self.arguments = function, arguments
        self.trace = trace
        self.kernels = kernels_of(trace)
        self._dependencies = dependencies
        self._lookups = dependencies._lookups
        self._own = [_signature(value) for value in _own_values(function, arguments)]
        self.origins = trace.sources
        self.version = self.uses = self.checks = 0
        self.plans: Any = None

    @property
    def is_stable(self) -> bool:
        """Whether the graph depends on nothing that can change unseen."""
        return bool(self.trace.sees_all) and not self._dependencies.others

    def is_current(self) -> bool:
        """Whether it still is valid for the same function."""
        return self.is_stable and bool(self._dependencies.unchanged())

    def adopt(self, function: Callable[..., Any], arguments: tuple[Any, ...], dependencies: Any) -> bool:
        """Whether it is valid for another function of the same code; takes over that one's arrays."""
        if not self.is_stable or dependencies._lookups is not self._lookups or dependencies.others:
            return False
        values = _own_values(function, arguments)
        if len(values) != len(self._own):
            return False
        for value, signature in zip(values, self._own, strict=True):
            if not _matches(value, signature):
                return False
        self._take_arrays(values)
        self.function, self.arguments, self._dependencies = function, arguments, dependencies
        return True

    def _take_arrays(self, values: list[Any]) -> None:
        before = _own_values(self.function, self.arguments)
        replaced = {id(old): new for old, new in zip(before, values, strict=True) if isinstance(old, np.ndarray)}
        origins = [replaced.get(id(array), array) for array in self.origins]
        if any(new is not old for new, old in zip(origins, self.origins, strict=True)):
            self.origins = origins
            self.version += 1

    def is_due(self) -> bool:
        """Whether results are to be compared with the function's: at the 1st, 2nd, 4th, 8th ... use."""
        self.uses += 1
        return self.uses & (self.uses - 1) == 0


def _own_values(function: Any, arguments: tuple[Any, ...]) -> list[Any]:
    """Return what a function brings along itself: contents of its cells, defaults, further arguments."""
    values = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    values += getattr(function, "__defaults__", None) or ()
    keywords = getattr(function, "__kwdefaults__", None)
    if keywords:
        values += keywords.values()
    return [*values, *arguments]


def _signature(value: Any) -> Any:
    """Return what has to be equal for a graph to stay valid."""
    if type(value) is np.ndarray:
        return (value.shape, value.dtype)
    return value


def _matches(value: Any, signature: Any) -> bool:
    if value is signature:
        return True
    kind = type(value)
    if kind is np.ndarray:
        return type(signature) is tuple and signature == (value.shape, value.dtype)
    if kind is float:
        return type(signature) is float and value == signature
    return kind in NUMBERS and type(signature) is kind and bool(value == signature)


def route_of(function: Any, form: str) -> Route | None:
    """Return the route of a function; None for objects that are always called."""
    code = getattr(function, "__code__", None)
    if code is None:
        code = _inner_code(function)
        if code is None:
            return None
    found = _routes.get((code, form))
    if found is None:
        with _lock:
            found = _routes.get((code, form))
            if found is None:
                if len(_routes) >= MOST_ROUTES:
                    _routes.clear()
                found = _routes[code, form] = Route(code, form)
    return found


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
