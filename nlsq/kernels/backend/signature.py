"""C-like signatures of kernels, understood without importing numba.

A kernel's signature is text such as ``"int(double*, int*, int)"``. Only six types exist: ``double``, ``int`` (64 bits),
``double*``, ``int*``, ``void`` as a return type, and ``address``, an ``int`` that holds the address of a function.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_TYPES = ("double*", "int*", "double", "int", "address", "void")
_CTYPES: dict[str, Any] = {
    "double*": ctypes.c_ssize_t,
    "int*": ctypes.c_ssize_t,
    "double": ctypes.c_double,
    "int": ctypes.c_ssize_t,
    "address": ctypes.c_ssize_t,
    "void": None,
}


@dataclass(frozen=True, slots=True)
class Signature:
    """Return type and argument types of a kernel, as text."""

    returns: str
    arguments: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Signature:
        """Read ``"int(double*, int)"``; raise ValueError for a type that does not exist."""
        returns, _, rest = text.partition("(")
        arguments = tuple(part.strip() for part in rest.rstrip(")").split(",") if part.strip())
        for name in (returns.strip(), *arguments):
            if name not in _TYPES:
                raise ValueError(f"kernel signature {text!r} names the type {name!r}; known are {', '.join(_TYPES)}")
        return cls(returns.strip(), arguments)

    def callback(self, function: Callable[..., Any]) -> Any:
        """Make a C function of this signature that calls a Python function."""
        kinds = [_CTYPES[a] for a in self.arguments]
        return ctypes.CFUNCTYPE(_CTYPES[self.returns], *kinds)(function)

    def prototype(self, *, release_gil: bool = False) -> Callable[[int], Callable[..., Any]]:
        """Make the ctypes function type; pointers are passed as plain integers."""
        make = ctypes.CFUNCTYPE if release_gil else ctypes.PYFUNCTYPE
        kinds = [_CTYPES[a] for a in self.arguments]
        prototype: Callable[[int], Callable[..., Any]] = make(_CTYPES[self.returns], *kinds)
        return prototype
