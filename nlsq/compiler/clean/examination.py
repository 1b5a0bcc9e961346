"""Whether a plain Python function may be traced: called once on symbols, and replaced by compiled code.

It may if nobody could tell. A clean function gives the same result whenever it is called with the same numbers, and
leaves nothing behind: it stores nothing outside its own variables, changes no array or list that it did not make, calls
only listed functions of numpy, math and scipy.special (`nlsq.compiler.clean.allowed`) and functions that are clean
themselves, draws no random numbers, and asks nothing that symbols would answer differently from arrays (types,
identities, exceptions). `examine` decides that by abstract interpretation of the bytecode
(`nlsq.compiler.clean.bytecode`), without calling the function. In doubt a function is not clean: that makes its fit
slower, where a wrong "clean" would make it wrong.

What stays with the caller: arguments are numbers, plain arrays, or tuples and lists of those; symbols refuse to be
changed in place where they stand for an argument's array, to be branched on, and to become plain numbers.

References
----------
.. [1] P. Cousot and R. Cousot, "Abstract interpretation: a unified lattice model for static analysis of programs by
   construction or approximation of fixpoints", POPL 1977.
"""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from nlsq.compiler.clean.arguments import Arguments
from nlsq.compiler.clean.bytecode import Interpreter, Unclean
from nlsq.compiler.clean.dependencies import (
    MISSING,
    Dependencies,
    Holder,
    Lookup,
    OwnParts,
    Record,
    kind_of,
    own_parts,
    same_kind,
)
from nlsq.compiler.clean.instructions import KNOWN_VERSIONS, VERSION
from nlsq.compiler.clean.outside import Refusal, admit, name_of

__all__ = ["Dependencies", "Holder", "Unclean", "errors_are_silent", "examine", "examine_cached"]

# numpy 2 keeps its settings in one object, which is replaced whenever they change: to see it again takes 0.05 us, to
# ask for the settings 2 us. It is private, and older versions lack it.
ERROR_STATE: Any = getattr(sys.modules.get("numpy._core.umath"), "_extobj_contextvar", None)
_silent_state: object = None  # the last one seen that was silent

MAX_PASSES = 20
CACHE_SIZE = 256  # verdicts kept


def errors_are_silent() -> bool:
    """Whether numpy's floating-point errors pass with a warning at most, so that a trace leaves nothing out."""
    global _silent_state
    if ERROR_STATE is not None:
        state = ERROR_STATE.get()
        if state is _silent_state:
            return True
    settings = np.geterr()
    silent = all(settings[kind] in ("ignore", "warn") for kind in ("divide", "over", "under", "invalid"))
    if silent and ERROR_STATE is not None:
        _silent_state = state
    return silent


def examine(function: Callable[..., Any], outside: Sequence[int] = ()) -> Dependencies:
    """Decide whether a function is clean.

    Parameters
    ----------
    function : callable
        A Python function, bound method, `functools.partial` or numba function. It is not called.
    outside : sequence of int, optional
        Positions of positional arguments that are bound to outside objects (numbers or plain arrays) at every call
        instead of being traced; they may not be changed.

    Returns
    -------
    dependencies : Dependencies
        What the verdict relied on.

    Raises
    ------
    Unclean
        With the reason.
    """
    paths = _paths(function)
    record, reason = _examined(function, tuple(outside), paths)
    if reason is not None:
        raise reason
    return Dependencies(record, [own_parts(one) for one in paths], tuple(record.lookups.values()))


def _examined(
    function: Any, outside: tuple[int, ...], paths: dict[types.FunctionType, tuple[str, ...]]
) -> tuple[Record, Unclean | None]:
    """Interpret until nothing that was read early has grown later; give the lookups, and the reason against it."""
    record = Record()
    name = name_of(function) or type(function).__qualname__
    if VERSION not in KNOWN_VERSIONS or sys.implementation.name != "cpython":
        version = f"{sys.implementation.name} {VERSION[0]}.{VERSION[1]}"
        return record, Unclean(f"the bytecode of {version} is not known", name, 0)
    machine = Interpreter(record, paths)
    try:
        for _ in range(MAX_PASSES):
            machine.changed = False
            machine.results.clear()
            callee = admit(function, Holder("global", name, None), record)
            machine.call(callee, Arguments(outside=outside), cast(types.FunctionType, _no_home))
            if not machine.changed:
                return record, None
    except Unclean as reason:
        # A copy: the exception itself holds on to the frames that it passed through, and they to the user's data.
        return record, Unclean(reason.reason, reason.function, reason.line)
    except Refusal as refusal:
        line = function.__code__.co_firstlineno if type(function) is types.FunctionType else 0
        return record, Unclean(str(refusal), name, line)
    return record, Unclean("is too long to be followed", name, 0)


def _no_home() -> None:
    """Stands for the function that calls the examined one; it has no names of its own."""


def _paths(function: Any) -> dict[types.FunctionType, tuple[str, ...]]:
    """Find the function and those that its cells lead to, each with the names of the cells on the way."""
    if type(function) is not types.FunctionType:
        return {}
    paths: dict[types.FunctionType, tuple[str, ...]] = {function: ()}
    waiting = [function]
    while waiting:
        one = waiting.pop()
        for name, cell in zip(one.__code__.co_freevars, one.__closure__ or (), strict=True):
            try:
                inner = cell.cell_contents
            except ValueError:  # not set yet: refused if it is read
                continue
            if type(inner) is types.FunctionType and inner not in paths:
                paths[inner] = (*paths[one], name)
                waiting.append(inner)
    return paths


class _Shape:
    """All of a function that its verdict depends on, without its data: made anew with other data, it still matches.

    Parameters
    ----------
    function : function
        The examined function, or one that its cells lead to.
    paths : dict
        See `_paths`.
    """

    __slots__ = ("cells", "code", "defaults", "keywords", "namespace")

    def __init__(self, function: types.FunctionType, paths: dict[types.FunctionType, tuple[str, ...]]) -> None:
        self.code = function.__code__
        self.namespace = function.__globals__
        self.defaults = tuple(map(kind_of, function.__defaults__ or ()))
        self.keywords = {name: kind_of(value) for name, value in (function.__kwdefaults__ or {}).items()}
        cells: list[Any] = []
        for name, cell in zip(self.code.co_freevars, function.__closure__ or (), strict=True):
            try:
                inner = cell.cell_contents
            except ValueError:  # matches nothing: examined again at each call
                inner = cell
            is_way = type(inner) is types.FunctionType and paths[inner] == (*paths[function], name)
            cells.append(_Shape(inner, paths) if is_way else kind_of(inner))
        self.cells = tuple(cells)

    def matches(self, function: types.FunctionType, own: list[OwnParts]) -> bool:
        """Whether the verdict holds for this function as far as its own parts go, which are added to `own`."""
        code, defaults, keywords = function.__code__, function.__defaults__, function.__kwdefaults__
        if code is not self.code or function.__globals__ is not self.namespace:
            return False
        if (defaults or self.defaults) and not self._same_defaults(defaults or ()):
            return False
        entries: tuple[tuple[str, Any], ...] = ()
        if keywords or self.keywords:
            entries = tuple((keywords or {}).items())
            if not self._same_keywords(entries):
                return False
        cells = function.__closure__
        if cells is None:
            own.append((function, code, defaults, keywords, entries, (), []))
            return True
        contents: list[Any] = []
        own.append((function, code, defaults, keywords, entries, cells, contents))
        try:
            for cell, kind in zip(cells, self.cells, strict=True):
                inner = cell.cell_contents
                contents.append(inner)
                if type(inner) is kind:  # a number
                    continue
                if type(kind) is tuple and type(inner) is np.ndarray and inner.dtype is kind[0]:
                    if inner.ndim != kind[1]:
                        return False
                elif type(kind) is _Shape:
                    if type(inner) is not types.FunctionType or not kind.matches(inner, own):
                        return False
                elif not same_kind(inner, kind):
                    return False
        except ValueError:  # emptied
            return False
        return True

    def _same_defaults(self, defaults: tuple[Any, ...]) -> bool:
        return len(defaults) == len(self.defaults) and all(map(same_kind, defaults, self.defaults))

    def _same_keywords(self, entries: tuple[tuple[str, Any], ...]) -> bool:
        known = self.keywords
        return len(entries) == len(known) and all(
            name in known and same_kind(value, known[name]) for name, value in entries
        )


class _Verdict:
    """An entry of the cache.

    Parameters
    ----------
    subject : _Shape or callable
        What the verdict is about.
    record : Record
        The lookups.
    reason : Unclean or None
        Why the function is not clean.
    """

    __slots__ = ("lookups", "reason", "record", "subject")

    def __init__(self, subject: Any, record: Record, reason: Unclean | None) -> None:
        self.subject = subject
        self.record = record
        self.reason = reason
        self.lookups = tuple(record.lookups.values())

    def is_about(self, function: Any) -> bool:
        """Whether it was reached for this very object, or for the same method of the same receiver."""
        known = self.subject
        if type(function) is types.MethodType and type(known) is types.MethodType:
            return known.__func__ is function.__func__ and known.__self__ is function.__self__
        return known is function

    def holds(self) -> bool:
        """Whether all lookups lead to the same objects, or to other data of the same kind, which is then taken over."""
        missing = MISSING
        for get, key, found in self.lookups:
            if get(key, missing) is not found:
                break
        else:
            return True
        lookups: list[Lookup] = []
        for get, key, found in self.lookups:
            now = get(key, missing)
            if now is not found and not same_kind(now, kind_of(found)):
                return False
            lookups.append((get, key, now))
        self.lookups = tuple(lookups)
        return True


_cache: dict[Any, _Verdict] = {}
_cache_lock = threading.Lock()


def examine_cached(function: Callable[..., Any], outside: tuple[int, ...] = ()) -> Dependencies:
    """Decide whether a function is clean, from memory where a function of the same code was examined before.

    A function that is made anew at each call, with other numbers and arrays in its cells and defaults, is known again:
    those are compared by type (arrays by data type and number of axes), everything else by identity. Verdicts keep no
    arrays from cells and defaults alive, and there are at most 256 of them.

    Parameters
    ----------
    function : callable
        As for `examine`.
    outside : tuple of int, optional
        As for `examine`.

    Returns
    -------
    dependencies : Dependencies
        What the verdict relied on, with the cells and defaults of this very function.

    Raises
    ------
    Unclean
        With the reason.
    """
    own: list[OwnParts] = []
    if type(function) is types.FunctionType:
        key: Any = id(function.__code__)
        if outside:
            key = (key, outside)
        verdict = _cache.get(key)
        if verdict is not None and type(verdict.subject) is _Shape and verdict.subject.matches(function, own):
            known = True
        else:
            own.clear()
            known = False
    else:
        if type(function) is types.MethodType:
            key = (id(function.__func__), id(function.__self__), outside)
        else:
            key = (id(function), outside)
        verdict = _cache.get(key)
        known = verdict is not None and verdict.is_about(function)
    if verdict is None or not known or not verdict.holds():
        verdict = _remember(key, function, outside)
        own = [own_parts(one) for one in _paths(function)]
    reason = verdict.reason
    if reason is not None:
        raise Unclean(reason.reason, reason.function, reason.line)
    return Dependencies(verdict.record, own, verdict.lookups)


def _remember(key: Any, function: Any, outside: tuple[int, ...]) -> _Verdict:
    """Examine and keep the verdict; the oldest makes room."""
    paths = _paths(function)
    record, reason = _examined(function, tuple(outside), paths)
    subject = _Shape(function, paths) if type(function) is types.FunctionType else function
    verdict = _Verdict(subject, record, reason)
    with _cache_lock:
        _cache.pop(key, None)
        while len(_cache) >= CACHE_SIZE:
            del _cache[next(iter(_cache))]
        _cache[key] = verdict
    return verdict
