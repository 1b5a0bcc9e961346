"""What a function's machine code depends on, as text to be hashed.

Bytecode with its constants and names; the functions it calls, with theirs; numbers, text, tuples and small arrays in
its globals and its closure. A function that refers to anything else has no key: what it holds may change without a
trace.
"""

from __future__ import annotations

import builtins
import dis
import hashlib
import sys
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from nlsq.kernels.backend.rebinding import codes

_PLAIN = (int, float, complex, bool, str, bytes, type(None), type(Ellipsis))
LARGEST_ARRAY = 1 << 16  # bytes
_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME"}
_ATTRIBUTE = {"LOAD_ATTR", "LOAD_METHOD"}
_FIXED_ROOTS = {"numpy", "numba"}


class NotKeyed(Exception):
    """Says what a function refers to that has no key."""


def key_of(*functions: Any) -> str:
    """Hash functions; None stands for a function that is not there.

    Raises
    ------
    NotKeyed
        If one of them refers to something that has no key.
    """
    keyed = _Keyed()
    for function in functions:
        keyed.add(function, "it")
    return keyed.digest.hexdigest()[:32]


class _Keyed:
    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.seen: dict[int, int] = {}

    def text(self, *parts: object) -> None:
        for part in parts:
            encoded = part if isinstance(part, bytes) else str(part).encode()
            self.digest.update(str(len(encoded)).encode() + b":" + encoded)

    def add(self, value: Any, name: str) -> None:
        """Hash a value that a function refers to by `name`."""
        value = getattr(value, "py_func", value)
        if isinstance(value, _PLAIN):
            self.text(type(value).__name__, value.hex() if isinstance(value, float) else repr(value))
        elif isinstance(value, np.generic) and value.dtype.kind in "biufc":
            self.text("scalar", value.dtype.str, value.tobytes())
        elif isinstance(value, tuple | frozenset):
            self.text(type(value).__qualname__, getattr(value, "_fields", ()), len(value))
            for item in value if isinstance(value, tuple) else sorted(value, key=repr):
                self.add(item, name)
        elif _is_small_array(value):
            order = "C" if value.flags.c_contiguous else "F"
            self.text("array", value.dtype.str, value.shape, order, value.tobytes(order))
        elif isinstance(value, FunctionType):
            self.function(value)
        elif isinstance(value, ModuleType):
            self.text("module", value.__name__)
        elif isinstance(value, BuiltinFunctionType | type | np.ufunc) or _is_fixed(value):
            self.text("fixed", getattr(value, "__module__", ""), getattr(value, "__qualname__", value))
        else:
            raise NotKeyed(f"it refers to {name}, of type {type(value).__name__}, whose value may change unnoticed")

    def function(self, function: FunctionType) -> None:
        if id(function) in self.seen:
            self.text("again", self.seen[id(function)])
            return
        self.seen[id(function)] = len(self.seen)
        self.text("function")
        self.code(function.__code__)
        self.add(function.__defaults__, "a default")
        for name, value in sorted((function.__kwdefaults__ or {}).items()):
            self.text(name)
            self.add(value, name)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
            self.text("cell", name)
            try:
                self.add(cell.cell_contents, name)
            except ValueError:
                self.text("empty")
        for name, attributes in sorted(_globals_of(function.__code__).items()):
            self.reference(function, name, attributes)

    def reference(self, function: FunctionType, name: str, attributes: set[str]) -> None:
        """Hash what a name in the globals stands for, and of a module of the user's what may be asked of it."""
        self.text("global", name)
        value = function.__globals__.get(name, getattr(builtins, name, None))
        self.add(value, name)
        if isinstance(value, ModuleType) and not _is_fixed(value):
            for attribute in sorted(attributes):
                if hasattr(value, attribute):
                    self.text("attribute", attribute)
                    self.add(getattr(value, attribute), f"{name}.{attribute}")

    def code(self, code: CodeType) -> None:
        self.text("code", code.co_code, code.co_argcount, code.co_kwonlyargcount, code.co_flags, code.co_names)
        self.text(code.co_varnames, code.co_freevars, code.co_cellvars, getattr(code, "co_exceptiontable", b""))
        self.text(len(code.co_consts))
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self.code(constant)
            else:
                self.add(constant, "a constant")


def _is_small_array(value: Any) -> bool:
    """Say whether a thing is an array whose numbers become part of the code; of a large one its address would."""
    if type(value) is not np.ndarray or value.dtype.kind not in "biufc" or value.nbytes > LARGEST_ARRAY:
        return False
    return bool(value.flags.c_contiguous or value.flags.f_contiguous)


def _is_fixed(value: Any) -> bool:
    """Say whether a thing belongs to a library whose version is part of the cache's folder."""
    home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    root = str(home or "").partition(".")[0]
    is_named = isinstance(value, ModuleType) or hasattr(value, "__qualname__")
    return is_named and (root in _FIXED_ROOTS or root in sys.stdlib_module_names)


def _globals_of(code: CodeType) -> dict[str, set[str]]:
    """Names that code takes from the globals, each with all attributes that the code asks of anything."""
    names, attributes = set(), set()
    for one in codes(code):
        for instruction in dis.get_instructions(one):
            if instruction.opname in _GLOBAL:
                names.add(str(instruction.argval))
            elif instruction.opname in _ATTRIBUTE:
                attributes.add(str(instruction.argval))
    return {name: attributes for name in names}
