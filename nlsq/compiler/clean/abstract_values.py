"""What the clean check knows of a value without running the function: whose it is, and what it is made of.

Four owners, ordered; a value that may be one or the other has the greater:

    NUMBER < FRESH < ARGUMENT < OUTSIDE

A NUMBER is an immutable scalar or text that no argument went into. FRESH storage was made during the call, and nobody
else holds it. ARGUMENT storage belongs to whoever called the function; OUTSIDE storage to the rest of the program.
Only FRESH storage may be changed. The join of two values is the least value that describes both, so that following all
branches and loops to a fixed point is an abstract interpretation in the sense of Cousot and Cousot.

References
----------
.. [1] P. Cousot and R. Cousot, "Abstract interpretation: a unified lattice model for static analysis of programs by
   construction or approximation of fixpoints", POPL 1977.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

__all__ = [
    "ARGUMENT",
    "ARRAY",
    "COUNT",
    "DTYPE",
    "FRESH",
    "MANY",
    "NULL",
    "NUMBER",
    "OUTSIDE",
    "TEXT",
    "TRACED_TEXT",
    "VALUE",
    "Bound",
    "Data",
    "Items",
    "Known",
    "Local",
    "Null",
    "OneOf",
    "Value",
    "constant",
    "items",
    "join",
    "join_all",
]

NUMBER, FRESH, ARGUMENT, OUTSIDE = range(4)

MAX_CHOICES = 4  # callables a name may stand for at once
MAX_DEPTH = 4  # containers within containers that are told apart


@dataclass(frozen=True, slots=True)
class Data:
    """A number, an array or a container.

    Attributes
    ----------
    owner : int
        Whose storage it is.
    inner : int
        The greatest owner of what is inside; for an array, whose views share its storage, the owner itself.
    form : str
        "count" (an integer or a real number), "any", "array" (elements and slices are views), "vector" (an array with
        one axis: its elements are numbers), "container", "text", "slice" or "dtype".
    """

    owner: int
    inner: int
    form: str


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """One certain object: a function, module, class, container or plain object, or a constant of the code itself."""

    object: Any
    constant: bool = False

    def __eq__(self, other: object) -> bool:
        return type(other) is Known and self.object is other.object and self.constant == other.constant

    def __hash__(self) -> int:
        return id(self.object)


@dataclass(frozen=True, slots=True)
class Items:
    """A container made during the call.

    Attributes
    ----------
    items : tuple
        For a "tuple" its items one by one; for the other kinds one item, the join of all, or none.
    kind : str
        "tuple", "list" (which can be changed; dictionaries and sets count as lists of their values) or "iterator".
    depth : int
        How many containers stand within each other.
    """

    items: tuple[Value, ...]
    kind: str
    depth: int


@dataclass(frozen=True, slots=True, eq=False)
class Local:
    """A function defined during the call: its code, and where its free variables are found."""

    code: CodeType
    free: tuple[tuple[str, Any], ...]
    defaults: tuple[Value, ...] = ()
    keyword_defaults: Value | None = None

    def __eq__(self, other: object) -> bool:
        return type(other) is Local and (self.code, self.free, self.defaults, self.keyword_defaults) == (
            other.code,
            other.free,
            other.defaults,
            other.keyword_defaults,
        )

    def __hash__(self) -> int:
        return id(self.code)


@dataclass(frozen=True, slots=True)
class Bound:
    """A method with its receiver: `function` is a name for methods of data, a Known function for those of objects."""

    function: str | Known
    receiver: Value


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of several things that are not data, or (`choices` empty) something that nothing may be done with."""

    choices: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Null:
    """The interpreter's empty stack entry."""


Value = Data | Known | Items | Local | Bound | OneOf | Null

NULL = Null()
COUNT = Data(NUMBER, NUMBER, "count")
VALUE = Data(NUMBER, NUMBER, "any")
TEXT = Data(NUMBER, NUMBER, "text")
TRACED_TEXT = Data(FRESH, FRESH, "text")
DTYPE = Data(NUMBER, NUMBER, "dtype")
ARRAY = Data(FRESH, FRESH, "array")
MANY = Data(FRESH, FRESH, "container")


def constant(value: Known) -> Data:
    """Give what remains of a constant of the code when its value is forgotten."""
    kind = type(value.object)
    if kind is int or kind is float:
        return COUNT
    if kind is str or kind is bytes:
        return TEXT
    if kind is tuple:
        return MANY
    return VALUE


def items(values: Sequence[Value], kind: str) -> Value:
    """Make a container of these values; nests of containers are forgotten below a certain depth."""
    depth = 1 + max((value.depth for value in values if type(value) is Items), default=0)
    result = Items(tuple(values) if kind == "tuple" or not values else (join_all(values),), kind, depth)
    if depth <= MAX_DEPTH:
        return result
    return _flat(result) if _holds_data(result) else OneOf(())


def _flat(value: Items) -> Data:
    """Forget the structure of a container; it holds data alone."""
    inner = FRESH
    for item in value.items:
        part = _flat(item) if type(item) is Items else constant(item) if type(item) is Known else item
        assert type(part) is Data
        inner = max(inner, part.owner, part.inner)
    return Data(FRESH, inner, "container")


def _holds_data(value: Value) -> bool:
    if type(value) is Items:
        return all(map(_holds_data, value.items))
    return type(value) is Data or (type(value) is Known and value.constant)


def _join_data(a: Data, b: Data) -> Data:
    form = a.form
    if form != b.form:
        forms = {form, b.form}
        if forms == {"array", "vector"}:
            form = "array"
        elif "text" in forms:
            form = "text"
        elif a.owner == NUMBER or b.owner == NUMBER:
            # A number beside an array is no more than a fresh array: it cannot be changed, and has no contents.
            form = (forms - {"count", "any", "dtype"} or {"any"}).pop()
        else:
            form = "any"
    return Data(max(a.owner, b.owner), max(a.inner, b.inner), form)


def join(a: Value, b: Value) -> Value:
    """Give the least value that describes both."""
    if a == b:
        return a
    if type(a) is Known and a.constant and type(b) in (Data, Known):
        return join(constant(a), b)
    if type(b) is Known and b.constant and type(a) in (Data, Known):
        return join(a, constant(b))
    if type(a) is Data and type(b) is Data:
        return _join_data(a, b)
    if type(a) is Items and type(b) is Items:
        if a.kind == b.kind and len(a.items) == len(b.items):
            return items([join(x, y) for x, y in zip(a.items, b.items, strict=True)], a.kind)
        return items(a.items + b.items, "list")
    for container, other in ((a, b), (b, a)):
        if type(container) is Items and type(other) is Data and _holds_data(container):
            return _join_data(_flat(container), other)
    choices: list[Value] = []
    for value in (a, b):
        if type(value) is OneOf and not value.choices:
            return value
        for choice in value.choices if type(value) is OneOf else (value,):
            if choice not in choices:
                choices.append(choice)
    if len(choices) > MAX_CHOICES or any(isinstance(choice, Data | Items | Null) for choice in choices):
        return OneOf(())
    return OneOf(tuple(choices))


def join_all(values: Sequence[Value]) -> Value:
    """Give the least value that describes all of them (at least one)."""
    result = values[0]
    for value in values[1:]:
        result = join(result, value)
    return result
