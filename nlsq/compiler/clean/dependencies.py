"""What a verdict of the clean check relied on, and whether it still stands.

A verdict is a statement about a function *and* the objects that its names led to. Each lookup that the check made is
kept as a triple (get, key, found): `get(key, MISSING)` must still give the same object. Dictionaries (globals, module
and class namespaces, instance attributes) supply their own `get`; attributes of functions and contents of cells go
through `functools.partial(getattr, holder)`; lists and dictionaries whose contents were read compare all of them.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from nlsq.compiler.clean.allowed import HARMLESS_TYPES

__all__ = ["MISSING", "Dependencies", "Holder", "Lookup", "OwnParts", "Record", "kind_of", "own_parts", "same_kind"]


class _Missing:
    """Stands for "no such entry"."""


MISSING: Any = _Missing()

Lookup = tuple[Callable[[Any, Any], Any], Any, Any]


class Holder(NamedTuple):
    """Where an outside object was found.

    Attributes
    ----------
    kind : str
        "cell", "global", "default", "attribute" or "element".
    key : object
        The name of the variable, parameter or attribute; for elements the index or key.
    owner : object
        What it belongs to. For the examined function itself the empty tuple; for a function that its cells lead to, the
        names of the cells on the way; otherwise the function, object or container.
    """

    kind: str
    key: Any
    owner: Any


class Record:
    """The lookups of one examination, shared by all functions of the same code.

    Attributes
    ----------
    lookups : dict
        The triples, by holder and key, leaving out those of the examined function itself.
    arrays, other_arrays : list of Holder
        Where plain float64 arrays, and arrays of other types, were read.
    others : list
        Lists, dictionaries and objects whose contents were read and can change unseen by identity.
    changes_arguments : bool
        Whether an in-place operator is applied to what may be an argument.
    """

    def __init__(self) -> None:
        self.lookups: dict[Any, Lookup] = {}
        self.arrays: list[Holder] = []
        self.other_arrays: list[Holder] = []
        self.others: list[Any] = []
        self.changes_arguments = False

    def entry(self, table: dict[str, Any], key: str, found: Any) -> None:
        """Note that `table` holds `found` under `key`, or nothing when it is MISSING."""
        self.lookups[id(table), key] = (table.get, key, found)

    def attribute(self, holder: Any, key: str, found: Any) -> None:
        """Note that `getattr(holder, key)` is `found`."""
        self.lookups[id(holder), key] = (functools.partial(getattr, holder), key, found)

    def contents(self, container: Any) -> None:
        """Note everything that a list or dictionary holds."""
        if not any(container is other for other in self.others):
            self.others.append(container)
            self.lookups[id(container), "contents"] = (_Contents(container), None, container)

    def array(self, holder: Holder, value: np.ndarray[Any, Any]) -> None:
        """Note an array that is read from outside."""
        holders = self.arrays if value.dtype == np.float64 else self.other_arrays
        if not any(other.key == holder.key and other.owner is holder.owner for other in holders):
            holders.append(holder)


class _Contents:
    """Tells whether a list or dictionary still holds the same objects."""

    def __init__(self, container: Any) -> None:
        self.container = container
        self.expected = self._now()

    def _now(self) -> tuple[Any, ...]:
        container = self.container
        return (*container, *container.values()) if type(container) is dict else tuple(container)

    def __call__(self, key: Any, missing: Any) -> Any:
        now = self._now()
        same = len(now) == len(self.expected) and all(map(operator.is_, now, self.expected))
        return self.container if same else missing


class _Exactly:
    """A kind that only one object has."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def kind_of(value: Any) -> Any:
    """Give what a verdict depends on: the type of a harmless value, data type and axes of an array, else the object."""
    kind = type(value)
    if kind is np.ndarray:
        return (value.dtype, value.ndim)
    return kind if kind in HARMLESS_TYPES else _Exactly(value)


def same_kind(value: Any, expected: Any) -> bool:
    """Whether the value is of the kind `expected`."""
    kind = type(value)
    if kind in HARMLESS_TYPES:
        return kind is expected
    if kind is np.ndarray:
        return type(expected) is tuple and expected == (value.dtype, value.ndim)
    return type(expected) is _Exactly and expected.value is value


# A function, its code, defaults, keyword defaults and their entries, its cells and what they hold.
OwnParts = tuple[FunctionType, Any, Any, Any, tuple[tuple[str, Any], ...], tuple[Any, ...], list[Any]]


def own_parts(function: FunctionType) -> OwnParts:
    """Take down what belongs to one function alone."""
    keywords = function.__kwdefaults__
    entries = tuple(keywords.items()) if keywords else ()
    cells = function.__closure__ or ()
    contents = []
    for cell in cells:
        try:
            contents.append(cell.cell_contents)
        except ValueError:  # not set, and so not read: when it is, everything is to be looked at again
            contents.append(MISSING)
    return function, function.__code__, function.__defaults__, keywords, entries, cells, contents


class Dependencies:
    """Everything that the verdict "clean" relied on.

    Parameters
    ----------
    record : Record
        The lookups.
    own : list of tuple
        The parts of the plain function that was examined and of those that its cells lead to (`own_parts`). They are
        held apart from the record, so that the record serves all functions made from the same code. Empty for a method,
        partial or compiled function.
    lookups : tuple
        The record's triples, brought up to date.

    Notes
    -----
    It holds the objects that were found, arrays included: keep it as long as what was traced is in use, and no longer.
    """

    __slots__ = ("_lookups", "_own", "record")

    def __init__(self, record: Record, own: list[OwnParts], lookups: tuple[Lookup, ...]) -> None:
        self.record = record
        self._own = own
        self._lookups = lookups

    def unchanged(self) -> bool:
        """Whether every lookup still leads to the same object."""
        missing = MISSING
        for get, key, found in self._lookups:
            if get(key, missing) is not found:
                return False
        for function, code, defaults, keywords, entries, cells, contents in self._own:
            if function.__code__ is not code or function.__defaults__ is not defaults:
                return False
            if function.__kwdefaults__ is not keywords:
                return False
            if keywords and (
                len(keywords) != len(entries)
                or any(keywords.get(name, missing) is not found for name, found in entries)
            ):
                return False
            try:
                for cell, found in zip(cells, contents, strict=True):
                    if cell.cell_contents is not found:
                        return False
            except ValueError:  # emptied
                return False
        return True

    @property
    def outside_lookups(self) -> tuple[Lookup, ...]:
        """Triples (get, key, found), but for what the examined function brings along itself."""
        return self._lookups

    @property
    def functions(self) -> list[FunctionType]:
        """The examined function and those that its cells lead to."""
        return [own[0] for own in self._own]

    @property
    def immutable(self) -> bool:
        """Whether all outside values are numbers, texts and tuples of those, so that `unchanged` sees every change."""
        record = self.record
        return not (record.arrays or record.other_arrays or record.others)

    @property
    def arrays(self) -> list[Holder]:
        """Where plain float64 arrays are read from outside."""
        return self.record.arrays

    @property
    def other_arrays(self) -> list[Holder]:
        """Where plain arrays of other types are read from outside."""
        return self.record.other_arrays

    @property
    def others(self) -> list[Any]:
        """Mutable outside objects whose contents are read."""
        return self.record.others

    @property
    def changes_arguments(self) -> bool:
        """Whether an in-place operator meets what may be an argument: right for scalars, to be refused for arrays."""
        return self.record.changes_arguments

    @property
    def lookups(self) -> list[Lookup]:
        """All triples (get, key, found), those of the examined function's own parts included."""
        own: list[Lookup] = []
        for function, code, defaults, keywords, entries, cells, contents in self._own:
            get = functools.partial(getattr, function)
            own += [(get, "__code__", code), (get, "__defaults__", defaults), (get, "__kwdefaults__", keywords)]
            own += [(keywords.get, name, found) for name, found in entries]
            own += [
                (functools.partial(getattr, cell), "cell_contents", found)
                for cell, found in zip(cells, contents, strict=True)
            ]
        return [*own, *self._lookups]
