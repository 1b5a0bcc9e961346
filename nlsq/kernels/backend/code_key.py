"""What a function's machine code depends on, as text to be hashed.

Bytecode with its constants and names; the functions it calls, with theirs; numbers, text, tuples and small arrays in
its globals and its closure; members of enumerations, fields of named tuples, what is asked of modules. Arrays that are
large or strided become addresses in the code: they have a key in this process alone. A function that refers to
anything else, other than what NumPy, numba and the standard library have under its name, has no key: what it holds may
change without a trace.
"""

from __future__ import annotations

import builtins
import dis
import hashlib
import os
import sys
from enum import Enum
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from nlsq.kernels.backend.rebinding import codes

_PLAIN = {int, float, complex, bool, str, bytes, type(None), type(Ellipsis)}
LARGEST_ARRAY = 1 << 16  # bytes
_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME"}
_ATTRIBUTE = {"LOAD_ATTR", "LOAD_METHOD"}
_FIXED_ROOTS = {"numpy", "numba"}
_STANDARD_LIBRARY = os.path.dirname(os.__file__)


class NotKeyed(Exception):
    """Says what a function refers to that has no key."""


class CodeKey(NamedTuple):
    """A hash, and where it holds.

    Attributes
    ----------
    digest : str
        Hash of all that the code depends on.
    why_not_kept : str
        What the functions refer to that other processes cannot know; empty if nothing.
    arrays : list of ndarray
        Whose addresses are in the hash: to be kept alive as long as the code.
    """

    digest: str
    why_not_kept: str
    arrays: list[Any]


def key_of(*functions: Any) -> CodeKey:
    """Hash functions; None stands for a function that is not there.

    Raises
    ------
    NotKeyed
        If one of them refers to something that has no key.
    """
    keyed = _Keyed()
    keyed.text("numpy", np.__version__)
    for function in functions:
        keyed.add(function, "it")
    return CodeKey(keyed.digest.hexdigest()[:32], keyed.why_not_kept, keyed.arrays)


class _Keyed:
    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.seen: dict[int, int] = {}
        self.modules: set[tuple[str, frozenset[str]]] = set()
        self.why_not_kept = ""
        self.arrays: list[Any] = []

    def text(self, *parts: object) -> None:
        for part in parts:
            encoded = part if isinstance(part, bytes) else str(part).encode()
            self.digest.update(str(len(encoded)).encode() + b":" + encoded)

    def add(self, value: Any, name: str, attributes: frozenset[str] | None = None) -> None:
        """Hash a value that a function refers to by `name`, and of which it asks at most `attributes`."""
        if type(value) in _PLAIN:
            self.text(type(value).__name__, value.hex() if isinstance(value, float) else repr(value))
        elif isinstance(value, np.generic) and value.dtype.kind in "biufc":
            self.text("scalar", value.dtype.str, value.tobytes())
        elif type(value) in (tuple, frozenset) or _is_named_tuple(type(value)):
            self.items(value, name)
        elif type(value) is slice:
            self.text("slice")
            self.add((value.start, value.stop, value.step), name)
        elif type(value) is np.ndarray and value.dtype.kind in "biufc":
            self.array(value, name)
        elif isinstance(value, ModuleType):
            self.module(value, name, attributes)
        elif _is_fixed(value):
            self.text("fixed", value.__module__, value.__qualname__)
        elif isinstance(value, FunctionType):
            self.function(value)
        elif isinstance(value, Enum) or isinstance(value, type):
            self.user_type(value, name)
        elif _is_dispatcher(value):
            self.jitted(value, name)
        else:
            raise _not_keyed(value, name)

    def jitted(self, value: Any, name: str) -> None:
        self.text("jitted")
        for key, option in sorted(value.targetoptions.items()):
            self.text(key)
            self.add(frozenset(option) if isinstance(option, set) else option, f"the option {key} of {name}")
        self.add(value.py_func, name)

    def items(self, value: Any, name: str) -> None:
        self.text("items", len(value))
        self.add(type(value), name)
        for item in sorted(value, key=repr) if isinstance(value, frozenset) else value:
            self.add(item, name)

    def array(self, value: Any, name: str) -> None:
        """Hash the numbers of an array, which become part of the code; of a large or strided one its address too."""
        is_whole = value.flags.c_contiguous or value.flags.f_contiguous
        order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
        self.text("array", value.dtype.str, value.shape, order, value.tobytes(order))
        if not is_whole or value.nbytes > LARGEST_ARRAY:
            self.text(value.strides, value.__array_interface__["data"])
            self.arrays.append(value)
            kind = f"with {value.nbytes} bytes" if is_whole else "that is strided"
            self.why_not_kept = self.why_not_kept or f"it refers to {name}, of type ndarray, {kind}"

    def user_type(self, value: Any, name: str) -> None:
        """Hash a member of an enumeration, or a type: what numba knows of it."""
        if isinstance(value, Enum):
            self.text("member", value.name)
            self.add(type(value), name)
        elif issubclass(value, Enum):
            self.text("enumeration", value.__module__, value.__qualname__, *(base.__name__ for base in value.__mro__))
            for member, one in value.__members__.items():
                self.text(member)
                self.add(one.value, f"{name}.{member}")
        elif _is_named_tuple(value):
            fields: tuple[str, ...] = value._fields
            self.text("named tuple", value.__module__, value.__qualname__, *fields)
            self.add(tuple(value._field_defaults.get(field, Ellipsis) for field in fields), f"a default of {name}")
        else:
            raise _not_keyed(value, name)

    def module(self, value: ModuleType, name: str, attributes: frozenset[str] | None) -> None:
        """Hash what may be asked of a module: all of a user's, of a library's what is a number, or a module."""
        self.text("module", value.__name__)
        if attributes is None:  # it may be asked anything
            raise _not_keyed(value, name)
        if (value.__name__, attributes) in self.modules:
            return
        self.modules.add((value.__name__, attributes))
        is_fixed = _is_library(value.__name__)
        for attribute in sorted(attributes):
            held = vars(value).get(attribute, value) if is_fixed else getattr(value, attribute, value)
            if held is not value and not (is_fixed and type(held) not in _PLAIN and not isinstance(held, ModuleType)):
                self.text("attribute", attribute)
                self.add(held, f"{name}.{attribute}", attributes)

    def function(self, function: FunctionType) -> None:
        if id(function) in self.seen:
            self.text("again", self.seen[id(function)])
            return
        if str(function.__module__).partition(".")[0] == "scipy":
            raise NotKeyed(f"it calls {function.__qualname__} of SciPy, which another package would compile")
        self.seen[id(function)] = len(self.seen)
        self.text("function")
        self.code(function.__code__)
        self.add(function.__defaults__, "a default")
        for name, value in sorted((function.__kwdefaults__ or {}).items()):
            self.text(name)
            self.add(value, name)
        names, attributes = _asked_by(function.__code__)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
            self.text("cell", name)
            try:
                held = cell.cell_contents
            except ValueError:
                self.text("empty")
            else:
                self.add(held, name, attributes)
        for name in sorted(names):
            self.text("global", name)
            self.add(function.__globals__.get(name, getattr(builtins, name, None)), name, attributes)

    def code(self, code: CodeType) -> None:
        self.text("code", code.co_code, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
        self.text(code.co_flags, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        self.text(getattr(code, "co_exceptiontable", b""), len(code.co_consts))
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self.code(constant)
            else:
                self.add(constant, "a constant")


def _not_keyed(value: Any, name: str) -> NotKeyed:
    return NotKeyed(f"it refers to {name}, of type {type(value).__name__}, whose value may change unnoticed")


def _is_named_tuple(kind: type) -> bool:
    """Say whether a type was made by `namedtuple`, or `typing.NamedTuple`, and not derived from one."""
    return kind.__bases__ == (tuple,) and isinstance(getattr(kind, "_field_defaults", None), dict)


def _is_dispatcher(value: Any) -> bool:
    """Say whether a thing is a jitted function, without importing numba."""
    kind = type(value)
    return kind.__name__ == "CPUDispatcher" and kind.__module__.startswith("numba.")


def _is_fixed(value: Any) -> bool:
    """Say whether a function or type is what a library has under its name, whose version is part of the key."""
    home, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not callable(value) or not isinstance(home, str) or not isinstance(name, str):
        return False
    return _is_library(home) and getattr(sys.modules[home], name, None) is value


def _is_library(module: str) -> bool:
    """Say whether a module is NumPy's, numba's or the standard library's, and not a file of the user's so called."""
    root = module.partition(".")[0]
    if module not in sys.modules:
        return False
    file = getattr(sys.modules.get(root), "__file__", None)
    is_standard = root in sys.stdlib_module_names and (file is None or file.startswith(_STANDARD_LIBRARY))
    return is_standard or root in _FIXED_ROOTS


def _asked_by(code: CodeType) -> tuple[set[str], frozenset[str]]:
    """Return the names that code takes from the globals, and all attributes that it asks of anything."""
    names, attributes = set(), set()
    for one in codes(code):
        for instruction in dis.get_instructions(one):
            if instruction.opname in _GLOBAL:
                names.add(str(instruction.argval))
            elif instruction.opname in _ATTRIBUTE:
                attributes.add(str(instruction.argval))
    return names, frozenset(attributes)
