"""Python functions made of kernels that take Python objects: a call costs a tenth of one through ctypes.

The kernel is the C function of a built-in function with the calling convention ``METH_FASTCALL`` [1]_: it gets the
object that the function was made for, and the addresses of its arguments. It has to return one of these, whose count
of references it raises by one.

References
----------
.. [1] Python/C API reference, "Common Object Structures", sections on ``PyMethodDef`` and ``METH_FASTCALL``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

METH_FASTCALL = 0x80
NAME = b"kernel"


class _Method(ctypes.Structure):
    """``PyMethodDef``."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("text", ctypes.c_char_p),
    )


_methods: dict[int, _Method] = {}  # they have to outlive the functions


def builtin_function(address: int, holder: Any) -> Callable[..., Any]:
    """Return a built-in function.

    Parameters
    ----------
    address : int
        C function ``(holder, arguments, count)`` of three addresses or integers, to the address of an object.
    holder : object
        What it gets first; kept alive by the function.
    """
    method = _methods.get(address)
    if method is None:
        method = _methods[address] = _Method(NAME, address, METH_FASTCALL, None)
    create = ctypes.pythonapi.PyCFunction_NewEx
    create.restype = ctypes.py_object
    create.argtypes = (ctypes.POINTER(_Method), ctypes.py_object, ctypes.c_void_p)
    made: Callable[..., Any] = create(ctypes.byref(method), holder, None)
    return made
