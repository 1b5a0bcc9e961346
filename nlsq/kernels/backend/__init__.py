"""The only room that imports numba and llvmlite: how kernels are declared, compiled, kept, loaded and called."""

from nlsq.kernels.backend.cache import clear_cache
from nlsq.kernels.backend.callbacks import callback_address
from nlsq.kernels.backend.kernel import Kernel, compile_disabled, kernel, specialised
from nlsq.kernels.backend.loader import precompile
from nlsq.kernels.backend.primitives import (
    WorkspacePart,
    add_multiple,
    address_of_array,
    address_of_kernel,
    call_function,
    call_normal,
    call_potrf,
    call_step,
    call_syrk,
    call_trsm,
    call_weighted,
    double_pointer,
    handle,
    int_pointer,
    shift,
    subtract_product,
    ticket,
)

__all__ = [
    "Kernel",
    "WorkspacePart",
    "add_multiple",
    "address_of_array",
    "address_of_kernel",
    "call_function",
    "call_normal",
    "call_potrf",
    "call_step",
    "call_syrk",
    "call_trsm",
    "call_weighted",
    "callback_address",
    "clear_cache",
    "compile_disabled",
    "double_pointer",
    "handle",
    "int_pointer",
    "kernel",
    "precompile",
    "shift",
    "specialised",
    "subtract_product",
    "ticket",
]
