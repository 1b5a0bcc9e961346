"""What a function finds outside itself: globals, cells, attributes and elements, admitted one by one.

Admitted are numbers, text, plain arrays of numbers, modules, functions, classes, and lists, tuples, dictionaries and
plain objects, whose elements and attributes are admitted in turn when they are read. A plain object has no
`__getattr__`, and an attribute counts only when it is found in the instance or as a method or constant of its class:
then reading it runs no code. Objects are asked by `type` alone: `isinstance` would ask them for `__class__`.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import numpy as np

from nlsq.compiler.clean.abstract_values import COUNT, NUMBER, OUTSIDE, TEXT, VALUE, Bound, Data, Known, Value
from nlsq.compiler.clean.allowed import HARMLESS_TYPES, SUBMODULES, is_numeric_type
from nlsq.compiler.clean.dependencies import MISSING, Holder, Record

__all__ = [
    "Refusal",
    "admit",
    "attribute_of",
    "described",
    "element_at",
    "elements_of",
    "global_value",
    "level_of",
    "name_of",
    "numeric_type",
    "python_function",
    "values_of",
]

MAX_ELEMENTS = 10_000  # of a list whose contents are compared at each re-check

_FUNCTIONS = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    functools.partial,
    np.ufunc,
    types.ModuleType,
)


class Refusal(Exception):
    """A reason, without the place."""


def described(value: Any) -> str:
    """Say the type of the object in words."""
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def name_of(value: Any) -> str:
    """Give the name of a function, class or module; nothing for other objects, which are not asked."""
    if not issubclass(type(value), (*_FUNCTIONS, type)) and type(value).__module__ != "numpy":
        return ""
    return str(getattr(value, "__qualname__", None) or getattr(value, "__name__", ""))


def admit(value: Any, holder: Holder, record: Record) -> Value:
    """Give the abstract value of an outside object, or refuse it."""
    kind = type(value)
    if kind in HARMLESS_TYPES:
        if kind is str or kind is bytes:
            return TEXT
        return VALUE if kind is type(None) or kind is bool else COUNT
    if kind is np.ndarray:
        if value.dtype.kind not in "biufc":
            raise Refusal(f"{holder.key!r} is an array of {value.dtype}, not of numbers")
        record.array(holder, value)
        return Data(OUTSIDE, OUTSIDE, "vector" if value.ndim == 1 else "array")
    if issubclass(kind, np.ndarray):
        raise Refusal(f"{holder.key!r} is {described(value)}, a subclass of numpy.ndarray")
    if value is Ellipsis or kind is range:
        return VALUE
    if kind in (tuple, list, dict) or issubclass(kind, (*_FUNCTIONS, type, np.dtype)) or _is_compiled(value):
        return Known(value)
    if _is_plain(kind):
        return Known(value)
    raise Refusal(f"{holder.key!r} is {described(value)}, which may do anything")


def _is_compiled(value: Any) -> bool:
    kind = type(value)
    return kind.__module__.partition(".")[0] == "numba" and isinstance(
        getattr(value, "py_func", None), types.FunctionType
    )


def _is_plain(kind: type) -> bool:
    """Whether reading an attribute of such an object runs nothing but the usual lookup."""
    if kind is types.SimpleNamespace:
        return True
    if type(kind) is not type or hasattr(kind, "__getattr__"):
        return False
    return all("__getattribute__" not in vars(base) for base in kind.__mro__ if base is not object)


def elements_of(known: Known, record: Record) -> list[Value]:
    """Give the elements of a list or tuple, or the keys of a dictionary, and note that they were read."""
    container = known.object
    if len(container) > MAX_ELEMENTS:
        raise Refusal(f"a {type(container).__name__} outside has {len(container)} elements: use an array")
    if type(container) is not tuple:
        record.contents(container)
    return [_element(known, index, value, record) for index, value in enumerate(container)]


def element_at(known: Known, key: Any, record: Record) -> Value | None:
    """Give the element under a constant key; None when there is none."""
    container = known.object
    if type(container) is not tuple:
        if len(container) > MAX_ELEMENTS:
            raise Refusal(f"a {type(container).__name__} outside has {len(container)} elements: use an array")
        record.contents(container)
    try:
        value = container[key]
    except (LookupError, TypeError):
        return None
    return None if type(key) is slice else _element(known, key, value, record)


def _element(known: Known, key: Any, value: Any, record: Record) -> Value:
    if known.constant:
        return Known(value, True)
    return admit(value, Holder("element", key, known.object), record)


def values_of(known: Known, record: Record) -> list[Value]:
    """Give the values of a dictionary, or the elements of another container."""
    if type(known.object) is not dict:
        return elements_of(known, record)
    elements_of(known, record)
    return [_element(known, key, value, record) for key, value in known.object.items()]


def level_of(known: Known, record: Record, depth: int = 0) -> int:
    """Give the greatest owner of what a container holds, which must be numbers, text and arrays all the way down."""
    if known.constant:
        return NUMBER
    if type(known.object) not in (tuple, list, dict) or depth > 3:
        raise Refusal(f"{described(known.object)} is used where numbers and arrays are expected")
    level = NUMBER
    for value in values_of(known, record):
        if type(value) is Known:
            level = max(level, OUTSIDE if not value.constant else NUMBER)
            level_of(value, record, depth + 1)
        elif type(value) is Data:
            level = max(level, value.owner)
    return level


def global_value(name: str, function: types.FunctionType, record: Record, owner: Any) -> Value:
    """Look a name up as the function would: in its globals, then in the builtins."""
    namespace = function.__globals__
    value = namespace.get(name, MISSING)
    record.entry(namespace, name, value)
    if value is MISSING:
        namespace = getattr(function, "__builtins__")  # noqa: B009  (typeshed lacks it)
        value = namespace.get(name, MISSING)
        record.entry(namespace, name, value)
        if value is MISSING:
            raise Refusal(f"the name {name!r} is not defined")
    return admit(value, Holder("global", name, owner), record)


def attribute_of(known: Known, name: str, record: Record) -> Value:
    """Look an attribute up without running code, and note every place that was looked at."""
    holder = known.object
    where = Holder("attribute", name, holder)
    kind = type(holder)
    if issubclass(kind, types.ModuleType):
        value = vars(holder).get(name, MISSING)
        if value is MISSING:
            missing = f"{holder.__name__}.{name}"
            hint = f": write 'import {missing}'" if missing in SUBMODULES else ""
            raise Refusal(f"{missing} does not exist or is not loaded yet{hint}")
        record.entry(vars(holder), name, value)
        return admit(value, where, record)
    if issubclass(kind, type):
        return _class_attribute(holder, name, record)
    if issubclass(kind, (*_FUNCTIONS, np.dtype)) or not _is_plain(kind):
        raise Refusal(f"reads .{name} of {described(holder)}")
    record.attribute(holder, "__class__", kind)
    own = getattr(holder, "__dict__", None)
    found, place = _in_classes(kind, name, record)
    if isinstance(found, types.MemberDescriptorType) and isinstance(place, type):
        value = getattr(holder, name, MISSING)
        record.attribute(holder, name, value)
        if value is MISSING:
            raise Refusal(f"{described(holder)} has no attribute {name!r}")
        return admit(value, where, record)
    if hasattr(type(found), "__set__"):
        raise Refusal(f"the attribute .{name} of {described(holder)} is computed when it is read")
    if own is not None:
        record.attribute(holder, "__dict__", own)
        value = own.get(name, MISSING)
        record.entry(own, name, value)
        if value is not MISSING:
            return admit(value, where, record)
    if found is MISSING:
        raise Refusal(f"{described(holder)} has no attribute {name!r}")
    if type(found) is types.FunctionType:
        return Bound(Known(found), known)
    return _plain_class_value(found, kind, name, record)


def _in_classes(kind: type, name: str, record: Record) -> tuple[Any, Any]:
    """Find the name in the class and its bases, in order."""
    for base in kind.__mro__:
        if base is object or base is types.SimpleNamespace:
            continue
        found = vars(base).get(name, MISSING)
        record.lookups[id(base), "class", name] = (vars(base).get, name, found)
        if found is not MISSING:
            return found, base
    return vars(object).get(name, MISSING), object


def _plain_class_value(found: Any, kind: type, name: str, record: Record) -> Value:
    if type(found) is staticmethod:
        return admit(found.__func__, Holder("attribute", name, kind), record)
    if type(found) is not types.FunctionType and hasattr(type(found), "__get__"):
        raise Refusal(f"the attribute .{name} of class {kind.__qualname__} is computed when it is read")
    return admit(found, Holder("attribute", name, kind), record)


def _class_attribute(kind: type, name: str, record: Record) -> Value:
    if type(kind) is not type:
        raise Refusal(f"reads .{name} of class {kind.__qualname__}, whose metaclass may do anything")
    found, _ = _in_classes(kind, name, record)
    if found is MISSING or hasattr(type, name):
        raise Refusal(f"reads .{name} of class {kind.__qualname__}")
    return _plain_class_value(found, kind, name, record)


def python_function(value: Any, record: Record) -> tuple[types.FunctionType, tuple[Known, ...]] | None:
    """Find the plain function behind a method or a compiled function, and the receiver that goes first."""
    receiver: tuple[Known, ...] = ()
    if type(value) is types.MethodType:
        receiver = (Known(value.__self__),)
        admit(value.__self__, Holder("attribute", "__self__", value), record)
        value = value.__func__
    if _is_compiled(value):
        record.attribute(value, "py_func", value.py_func)
        value = value.py_func
    return (value, receiver) if type(value) is types.FunctionType else None


def numeric_type(known: Known) -> bool:
    """Whether the object names a type of numbers, so that it may be passed as a data type."""
    value = known.object
    return (issubclass(type(value), (type, np.dtype)) or (known.constant and type(value) is str)) and is_numeric_type(
        value
    )
