"""Python functions in the place of kernels: an address to call them by."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from nlsq.kernels.backend.kernel import compile_disabled
from nlsq.kernels.backend.primitives import ticket
from nlsq.kernels.backend.signature import Signature


def callback_address(signature: Signature, function: Callable[..., Any]) -> tuple[int, Any]:
    """Give the address of a C function that calls `function`, and what must be kept as long as it is in use."""
    if compile_disabled():
        return ticket(function), function
    c_function = signature.callback(function)
    address = ctypes.cast(c_function, ctypes.c_void_p).value
    assert address is not None
    return address, c_function
