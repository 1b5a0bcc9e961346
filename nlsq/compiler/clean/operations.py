"""What operators, subscripts, stores and attributes do to abstract values.

Arithmetic makes new numbers and arrays; it runs no code of the user's as long as both operands are numbers, arrays or
containers of those, which is what `as_data` makes sure of. A slice of an array is a view: its owner is the array's.
Everything ever put into a container that can change is kept in one place (`Operations.level`) for the whole
examination, so that aliases of a container need not be followed.
"""

from __future__ import annotations

from nlsq.compiler.clean.abstract_values import (
    ARGUMENT,
    ARRAY,
    COUNT,
    DTYPE,
    FRESH,
    NUMBER,
    OUTSIDE,
    TEXT,
    TRACED_TEXT,
    VALUE,
    Bound,
    Data,
    Items,
    Known,
    Local,
    OneOf,
    Value,
    constant,
    items,
    join_all,
)
from nlsq.compiler.clean.allowed import ARRAY_ATTRIBUTES, DATA_METHODS, TEXT_METHODS
from nlsq.compiler.clean.dependencies import Record
from nlsq.compiler.clean.outside import (
    Refusal,
    attribute_of,
    described,
    element_at,
    elements_of,
    level_of,
    name_of,
    values_of,
)

__all__ = ["Operations", "in_words"]

SHAPE = Items((COUNT,), "iterator", 1)


def in_words(value: Value) -> str:
    """Say what the value is, for messages."""
    if type(value) is Known:
        return name_of(value.object) or described(value.object)
    if type(value) is Local:
        return f"the function {value.code.co_name}"
    if type(value) is Data and value.owner == ARGUMENT:
        return "an argument"
    if type(value) is Data and value.owner == OUTSIDE:
        return "an object from outside"
    return "a method" if type(value) is Bound else "a computed value"


class Operations:
    """Operators on abstract values; remembers what was put into containers.

    Parameters
    ----------
    record : Record
        Where reads of outside containers are noted.

    Attributes
    ----------
    level : int
        The greatest owner of anything that was put into a container after it was made.
    changed : bool
        Whether something that was read before has grown since, so that the examination must be repeated.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self.level = NUMBER
        self.changed = False

    # -- reading --------------------------------------------------------------------------------------------------

    def as_data(self, value: Value) -> Data:
        """Take the value as numbers, arrays, text or a container of those; anything else is refused."""
        if type(value) is Data:
            return value
        if type(value) is Known:
            if value.constant:
                return constant(value)
            level = level_of(value, self.record)
            return Data(OUTSIDE, max(FRESH, level), "container")
        if type(value) is Items:
            inner = max((self.reach(item) for item in value.items), default=NUMBER)
            return Data(FRESH, max(FRESH, inner, self.level if value.kind == "list" else NUMBER), "container")
        raise Refusal(f"uses {in_words(value)} where numbers and arrays are expected")

    def reach(self, value: Value) -> int:
        """Give the greatest owner of the value and of all inside it."""
        data = self.as_data(value)
        return max(data.owner, data.inner)

    def element(self, value: Value) -> Value:
        """Give any element of the value, as iteration gives them."""
        if type(value) is Items:
            if value.kind == "list" and self.level > NUMBER:
                return join_all((*value.items, Data(self.level, self.level, "any")))
            return join_all(value.items) if value.items else VALUE
        if type(value) is Known and type(value.object) in (tuple, list, dict):
            found = elements_of(value, self.record)
            return join_all(found) if found else VALUE
        data = self.as_data(value)
        if data.form == "slice":
            raise Refusal("iterates over a slice object")
        if data.form in ("text", "array"):
            return data
        if data.form == "vector":
            return ARRAY  # numbers: nothing can be stored into them
        if data.owner == NUMBER:
            return VALUE
        inner = max(data.inner, self.level) if data.owner == FRESH else data.inner
        return Data(inner, inner, "any")

    def unpacked(self, value: Value, count: int) -> list[Value]:
        """Give the items when the value is unpacked into `count` names."""
        if type(value) is Items and value.kind == "tuple" and len(value.items) == count:
            return list(value.items)
        if type(value) is Known and type(value.object) in (tuple, list) and len(value.object) == count:
            return elements_of(value, self.record)
        return [self.element(value)] * count

    def subscript(self, value: Value, key: Value) -> Value:
        """`value[key]`."""
        place = self.as_data(key)
        if place == TRACED_TEXT:
            raise Refusal("looks something up by a text that was made from an argument")
        fixed = type(key) is Known and key.constant
        is_slice = place.form == "slice" or (type(key) is Known and type(key.object) is slice)
        if type(value) is Known and not value.constant:
            return self._outside_element(value, key, is_slice)
        if type(value) is Items:
            if is_slice:
                return items(value.items, "list")
            if value.kind == "tuple" and type(key) is Known and type(key.object) is int:
                index = key.object
                if -len(value.items) <= index < len(value.items):
                    return value.items[index]
            return self.element(value)
        data = self.as_data(value)
        if data.form == "vector":
            one = place == COUNT and (not fixed or type(key.object) is int)  # type: ignore[union-attr]
            return ARRAY if one else Data(data.owner, data.inner, "array")
        if is_slice or data.form == "array":
            return data
        return self.element(data)

    def _outside_element(self, value: Known, key: Value, is_slice: bool) -> Value:
        if type(value.object) not in (tuple, list, dict):
            raise Refusal(f"subscripts {in_words(value)}")
        if type(value.object) is dict:
            self.require_plain_key(key)
        if is_slice:
            return items(elements_of(value, self.record), "list")
        if type(key) is Known and key.constant:
            found = element_at(value, key.object, self.record)
            if found is not None:
                return found
        everything = values_of(value, self.record)
        return join_all(everything) if everything else VALUE

    def truth(self, value: Value) -> None:
        """Refuse to ask an object of the user's whether it is true."""
        if type(value) is Known and not value.constant and type(value.object) in (tuple, list, dict):
            elements_of(value, self.record)
        elif not isinstance(value, Items | Local | Bound) and self.as_data(value) == TRACED_TEXT:
            raise Refusal("branches on a text that was made from an argument")

    def formatted(self, value: Value) -> Data:
        """Give the value as text."""
        return TEXT if self.as_data(value).owner == NUMBER else TRACED_TEXT

    def attribute(self, value: Value, name: str) -> Value:
        """`value.name`."""
        if type(value) is Known and not (value.constant or type(value.object) in (tuple, list, dict)):
            return attribute_of(value, name, self.record)
        if isinstance(value, Local | Bound | OneOf):
            raise Refusal(f"reads .{name} of {in_words(value)}")
        data = value if type(value) is Items else self.as_data(value)
        if type(data) is Data and data.form == "text":
            if name in TEXT_METHODS and data.owner == NUMBER:
                return Bound(name, value)
        elif name in ARRAY_ATTRIBUTES and type(data) is Data and data.form not in ("slice", "container"):
            kind = ARRAY_ATTRIBUTES[name]
            if kind == "view":
                return Data(data.owner, data.inner, "any" if data.owner == NUMBER else "array")
            return SHAPE if kind == "shape" else DTYPE if kind == "dtype" else COUNT
        elif name in DATA_METHODS:
            return Bound(name, value)
        raise Refusal(f"reads .{name} of {in_words(value)}")

    # -- computing ------------------------------------------------------------------------------------------------

    def binary(self, left: Value, right: Value, is_remainder: bool = False) -> Value:
        """Make a new number, array, text or container."""
        a, b = self.as_data(left), self.as_data(right)
        if "text" in (a.form, b.form):
            if is_remainder or a.form == b.form:
                return TEXT if a.owner == b.owner == NUMBER else TRACED_TEXT
            raise Refusal("uses an operator on text")
        if a.owner == b.owner == NUMBER:
            return COUNT if a == b == COUNT else VALUE
        for data in (a, b):
            if data.form == "slice":
                raise Refusal("uses an operator on a slice object")
            if data.form == "container" or (data.form == "any" and data.owner in (FRESH, OUTSIDE)):
                # Perhaps lists: + and * keep their elements.
                return Data(FRESH, max(FRESH, a.inner, b.inner), "any")
        return ARRAY

    def in_place(self, left: Value, right: Value, is_remainder: bool = False) -> Value:
        """`left op= right`, which changes `left` when it is an array or a list."""
        if type(left) is Known and not left.constant and type(left.object) is not tuple:
            raise Refusal(f"changes {in_words(left)} from outside in place")
        data = self.as_data(left)
        if data.owner == OUTSIDE and type(left) is not Known:
            raise Refusal("changes an object from outside in place")
        if type(left) is Known or data.owner == NUMBER or (type(left) is Items and left.kind == "tuple"):
            return self.binary(left, right, is_remainder)
        other = self.as_data(right)
        if data.owner == ARGUMENT:
            self.record.changes_arguments = True
            return data
        if data.form == "array":
            return data
        self.put(self.reach(other))
        return items([self.element(left), self.element(other)], "list") if type(left) is Items else data

    def compare(self, left: Value, right: Value) -> Value:
        """Compare: a truth value or a new array of them."""
        a, b = self.as_data(left), self.as_data(right)
        if TRACED_TEXT in (a, b):
            raise Refusal("compares a text that was made from an argument")
        return VALUE if a.owner == b.owner == NUMBER else ARRAY

    def require_plain_key(self, key: Value) -> None:
        """Refuse to look a value up that may come from an argument: a symbol is not equal to its number."""
        if self.as_data(key).owner != NUMBER and type(key) is not Items:
            raise Refusal("looks something up by a value that may come from an argument")

    def contains(self, value: Value, container: Value) -> Value:
        """`value in container`."""
        self.require_plain_key(value)
        self.as_data(container)
        return VALUE

    def identity(self, left: Value, right: Value) -> Value:
        """`left is right`: only against None, True, False and Ellipsis, which symbols answer as arrays do."""
        for value in (left, right):
            if type(value) is Known and any(value.object is one for one in (None, True, False, Ellipsis)):
                return VALUE
        raise Refusal("compares identities with 'is'")

    # -- changing -------------------------------------------------------------------------------------------------

    def put(self, level: int) -> None:
        """Note that something of this owner was put into a container."""
        if level > self.level:
            self.level = level
            self.changed = True

    def store(self, container: Value, key: Value, value: Value) -> None:
        """`container[key] = value`: only into what the call made itself."""
        if self.as_data(key) == TRACED_TEXT:
            raise Refusal("stores under a text that was made from an argument")
        self.require_fresh(container, "stores an item into")
        level = self.reach(value)
        if type(container) is not Data or container.form != "array":
            self.put(level)

    def require_fresh(self, value: Value, action: str) -> None:
        """Refuse to change anything that others hold."""
        if type(value) is Items or (type(value) is Data and value.owner == FRESH):
            return
        if type(value) is Data and value.owner == NUMBER:
            raise Refusal(f"{action} something that is not known to be an array of the call's own")
        outside = "" if type(value) is Data else ", which is not the call's own"
        raise Refusal(f"{action} {in_words(value)}{outside}")

    def extended(self, container: Value, value: Value) -> Value:
        """Extend a container that is being built with one more item."""
        if type(container) is Items:
            return items((*container.items, value), container.kind)
        data = self.as_data(container)
        return Data(FRESH, max(data.inner, self.reach(value)), "container")
