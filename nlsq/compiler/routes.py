"""Which way a plain function goes: traced and compiled, or called.

A function is recognised by its code object, so that a lambda made anew at each call finds what is known of it. Known
are the verdict of the clean check, the graphs that it gave for arguments of some shapes (`nlsq.compiler.entries`), and
how much time has gone into calling it plainly. Compiling pays once that time is about what compiling costs, and at once
where the machine code is on disk, the user asks for it, or the data are many.

Where a graph depends on what is in an array or a list, the function is traced again at each call. Where only numbers
that the function brings along are others than they were, it is traced once more, with these numbers symbolic.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections import deque
from collections.abc import Callable
from time import perf_counter
from types import CodeType, FunctionType
from typing import Any

from nlsq.compiler.entries import Entry
from nlsq.compiler.numbers import Position
from nlsq.kernels.backend import compile_disabled

# Seconds spent in plain solves: what compiling costs. 0: every function is traced at once; inf: only where asked for.
WORTH_COMPILING = 0.1
MANY_POINTS = 100_000  # residuals from which one solve is worth it
WORTH_TRACING_ANEW = 2000  # residuals from which a graph that holds for one call alone is worth it
MOST_ANEW = 8  # graphs in a row of which none was ever valid again
PAUSE = 0.1  # seconds of plain solves after so many, in which nothing is traced anew
KEPT_OF_THEM = 2  # graphs of one key
THRASHES = (
    f"it was traced anew at each of {MOST_ANEW} calls, because something is different each time: the length of the "
    "data, a number that it branches on, an integer, or a function made anew; tried again from time to time"
)
UNSTABLE = "its graph depends on what is in arrays, lists or objects that it reads, which may change from call to call"
NODES_COMPILED = 1000  # of a graph, derivatives included, while WORTH_COMPILING goes by ten times
MANY_PARAMETERS = 200  # of a residual, from which differences are worse than most compilations
MOST_PIECES = 256  # of a graph, each with a loop of its own: 2 to 8 s of compilation, and growing faster than they do
MOST_NODES = 10_000  # of a graph, derivatives included: half a minute
TOO_LONG = (
    "its graph falls into {} pieces with {} operations in all, which take too long to compile, as those of an index "
    "array without order do; nlsq.compile does it nevertheless"
)
MOST_ROUTES = 1000
MOST_ENTRIES = 16  # graphs of one key
MOST_KEYS = 256  # shapes of one function
MOST_RESIDUALS = 4_000_000  # of all graphs of one function; they bound the memory of their plans

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
    worth : float
        From how much of it on to compile.
    latest : Entry or None
        The graph that was valid last.
    """

    __slots__ = (
        "_anew",
        "_fixed",
        "_is_marked",
        "_pause_ends",
        "code",
        "entries",
        "form",
        "latest",
        "ready",
        "reason",
        "required",
        "seconds",
        "worth",
    )

    def __init__(self, code: CodeType, form: str) -> None:
        self.code, self.form = code, form
        self.reason = ""
        self.required = False
        self.seconds, self.worth = 0.0, WORTH_COMPILING
        self.entries: dict[Any, list[Entry]] = {}
        self._anew: deque[Entry] = deque(maxlen=MOST_ANEW)  # the graphs recorded last
        self._pause_ends = 0.0
        self.latest: Entry | None = None
        self._is_marked = False
        self._fixed: dict[Any, set[Position]] = {}  # numbers that no graph can be given, by the key of entries
        self.ready = _is_automatic() and (self._has_paid() or _marker(code, form).exists_on_disk())

    def _has_paid(self) -> bool:
        return self.seconds >= self.worth

    def _is_worth_compiling(self, entry: Entry) -> bool:
        """Whether a graph pays as it is, since compiling a long one takes long; if not, wait until it does.

        Where much is to be done it pays at once, or, beyond what anyone would wait for, never.
        """
        pieces, nodes = len(entry.trace.segments), len(entry.trace.graph.nodes)
        worth = 10.0 * WORTH_COMPILING * nodes / NODES_COMPILED
        many = entry.trace.m >= MANY_POINTS or entry.trace.graph.n >= MANY_PARAMETERS
        if many and not self.required and (pieces > MOST_PIECES or nodes > MOST_NODES):
            self.refuse(TOO_LONG.format(pieces, nodes))
            return False
        if self.required or many or worth <= WORTH_COMPILING or self.seconds >= worth:
            return True
        self.worth, self.ready = worth, False
        return False

    def spend(self, started: float) -> None:
        """Note a plain solve that began at `started`, by `time.perf_counter`."""
        self.seconds += perf_counter() - started
        if self._has_paid() and not self.reason:
            self.ready = not compile_disabled()

    def may_compile(self) -> bool:
        """Trace these functions from now on, because there is much to do; whether that is possible."""
        self.ready = _is_automatic() and not self.reason
        return self.ready

    def require(self) -> None:
        """Trace these functions from now on, as the user asks."""
        self.reason, self.ready, self.required = "", not compile_disabled(), True

    @property
    def pauses(self) -> bool:
        """Whether nothing is traced anew for a while, since no graph was used twice."""
        return self.seconds < self._pause_ends and not self.required

    def refuse(self, reason: str) -> None:
        """Call these functions plainly from now on."""
        self.reason, self.ready = reason, False
        self.entries.clear()
        self._fixed.clear()
        self.latest = None

    def entry(
        self, function: Callable[..., Any], key: Any, trace: Callable[..., Any], arguments: tuple[Any, ...] = ()
    ) -> Entry | None:
        """Return a valid graph with its kernels; None where the function has to be called.

        Parameters
        ----------
        function : callable
            Of this route's code.
        key : hashable
            What the graph depends on besides the function: shapes of arguments, number of parameters.
        trace : callable
            Records the graph; with an argument, that says which of the function's numbers are symbolic.
        arguments : tuple
            Further arguments of a residual.
        """
        if not errors_are_silent():
            return None
        candidates = self.entries.get(key)
        for entry in candidates or ():
            if entry.arrays_of(function, arguments) is not None:
                self.latest = entry
                return entry
        if self.pauses:
            return None
        given: list[Position] = []
        if candidates:
            found = self._numbers(candidates, function, arguments)
            if found == [] and not self.required:
                return None
            given = [one for one in found or () if one not in self._fixed.get(key, ())]
        if not given and self._thrashes():
            self._pause()
            return None
        symbolic = self._traced(function, key, trace, arguments, given) if given else None
        examined = self.examine(function, key, trace, arguments) if symbolic is None else symbolic
        if isinstance(examined, str):
            self.refuse(examined)
            return None
        entry = examined
        if not self._is_worth_compiling(entry):
            return None
        if not entry.is_stable:
            if not self.required and entry.trace.m < WORTH_TRACING_ANEW:
                self.refuse(UNSTABLE)
                return None
            return entry
        if not self._is_marked:
            _marker(self.code, self.form).write()
            self._is_marked = True
        self._keep(key, entry)
        self.latest = entry
        return entry

    def _numbers(
        self, candidates: list[Entry], function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> list[Position] | None:
        """Return in which numbers a function differs from that of the latest graph that is else valid for it."""
        for entry in candidates:
            found = entry.differing(function, arguments)
            if found is not None:
                return found
        return None

    def _thrashes(self) -> bool:
        """Whether tracing costs more than it gives."""
        latest = self._anew
        if self.required or len(latest) < MOST_ANEW or latest[-1].trace.m >= WORTH_TRACING_ANEW:
            return False
        return all(entry.calls <= 1 for entry in latest)

    def _pause(self) -> None:
        self._pause_ends = self.seconds + PAUSE
        self._anew.clear()
        for candidates in self.entries.values():
            del candidates[KEPT_OF_THEM:]

    def _keep(self, key: Any, entry: Entry) -> None:
        """Remember a graph; forget the oldest where they become too many."""
        with _lock:
            candidates = self.entries.setdefault(key, [])
            if len(candidates) >= MOST_ENTRIES:
                candidates.clear()
            candidates.insert(0, entry)
            residuals = sum(one.trace.m for some in self.entries.values() for one in some)
            for old in [one for one in self.entries if one != key]:
                if len(self.entries) <= MOST_KEYS and residuals <= MOST_RESIDUALS:
                    break
                residuals -= sum(one.trace.m for one in self.entries.pop(old))
            self._anew.append(entry)

    def _traced(
        self,
        function: Callable[..., Any],
        key: Any,
        trace: Callable[..., Any],
        arguments: tuple[Any, ...],
        given: list[Position],
    ) -> Entry | None:
        """Return a graph in which as many of some numbers as possible are symbolic; None where none can be."""
        from nlsq.compiler.clean import examine_cached
        from nlsq.compiler.graph import NotTraceable

        dependencies = examine_cached(function, tuple(range(1, 1 + len(arguments))))
        try:
            return Entry(key, function, arguments, dependencies, trace(given))
        except NotTraceable:
            found = None
        kept: list[Position] = []
        for one in given:
            try:
                found = Entry(key, function, arguments, dependencies, trace([*kept, one]))
                kept.append(one)
            except NotTraceable:
                self._fixed.setdefault(key, set()).add(one)
        return found

    def examine(
        self, function: Callable[..., Any], key: Any, trace: Callable[[], Any], arguments: tuple[Any, ...] = ()
    ) -> Entry | str:
        """Return a valid graph, or the reason why there is none; see `entry`. Nothing is remembered of a new one."""
        from nlsq.compiler.clean import Unclean, examine_cached
        from nlsq.compiler.graph import NotTraceable

        for entry in self.entries.get(key) or ():
            if entry.arrays_of(function, arguments) is not None:
                return entry
        try:
            dependencies = examine_cached(function, tuple(range(1, 1 + len(arguments))))
            return Entry(key, function, arguments, dependencies, trace())
        except (Unclean, NotTraceable) as error:
            return str(error)


def _is_automatic() -> bool:
    return WORTH_COMPILING < math.inf and not compile_disabled()


_ask: Callable[[], bool] | None = None


def errors_are_silent() -> bool:
    """Whether NumPy is not to raise floating-point errors, since compiled code raises none."""
    global _ask
    if _ask is None:
        from nlsq.compiler import clean

        _ask = clean.errors_are_silent
    return _ask()


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


def forget() -> None:
    """Forget all routes, with their graphs and the memory of their plans."""
    with _lock:
        for routes in _routes.values():
            routes.clear()


def unwrapped(function: Any, form: str) -> tuple[Any, Route | None]:
    """Return the plain function and its route, also of an `nlsq.Model`."""
    if type(function) is FunctionType:
        return function, route_of(function, form)
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
