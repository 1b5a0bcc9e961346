"""Numba's side of the primitives: each becomes one or two LLVM instructions. Imports numba."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from nlsq.kernels.backend import primitives
from nlsq.kernels.backend.signature import Signature

DOUBLE_POINTER = types.CPointer(types.float64)
INT_POINTER = types.CPointer(types.int64)
NUMBA_TYPES = {
    "double*": DOUBLE_POINTER,
    "int*": INT_POINTER,
    "double": types.float64,
    "int": types.int64,
    "address": types.int64,
    "void": types.void,
}


def numba_signature(signature: Signature) -> Any:
    """Translate a kernel's signature."""
    return NUMBA_TYPES[signature.returns](*(NUMBA_TYPES[a] for a in signature.arguments))


@intrinsic
def _shift(typing_context: Any, pointer: Any, offset: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.gep(arguments[0], [arguments[1]])

    return pointer(pointer, types.int64), generate


def _pointer_cast(pointer_type: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(pointer_type))

    return pointer_type(types.int64), generate


@intrinsic
def _double_pointer(typing_context: Any, address: Any) -> Any:
    return _pointer_cast(DOUBLE_POINTER)


@intrinsic
def _int_pointer(typing_context: Any, address: Any) -> Any:
    return _pointer_cast(INT_POINTER)


def _call_by_address(signature: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = [context.get_value_type(t) for t in signature.args[1:]]
        function_type = ir.FunctionType(context.get_value_type(signature.return_type), kinds)
        function = builder.inttoptr(arguments[0], function_type.as_pointer())
        return builder.call(function, arguments[1:])

    return signature, generate


@intrinsic
def _call_function(typing_context: Any, address: Any, x: Any, data: Any, out: Any) -> Any:
    return _call_by_address(types.int64(types.int64, DOUBLE_POINTER, types.int64, DOUBLE_POINTER))


@intrinsic
def _call_step(typing_context: Any, address: Any, w: Any, iw: Any) -> Any:
    return _call_by_address(types.int64(types.int64, DOUBLE_POINTER, INT_POINTER))


def _workspace_pointer(part: primitives.WorkspacePart) -> Any:
    """Generate ``w + polynomial in iw[0], iw[1]``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        w, iw = arguments[:2]
        integer = ir.IntType(64)
        m, n = (builder.load(builder.gep(iw, [ir.Constant(integer, k)])) for k in (0, 1))
        terms = (None, n, m, builder.mul(n, n), builder.mul(n, m))
        place: Any = ir.Constant(integer, part.coefficients[0])
        for coefficient, term in zip(part.coefficients[1:], terms[1:], strict=True):
            if coefficient:
                place = builder.add(place, builder.mul(ir.Constant(integer, coefficient), term))
        if part.stride:
            stride = {"n": n, "m": m, "nn": terms[3]}[part.stride]
            place = builder.add(place, builder.mul(arguments[2], stride))
        return builder.gep(w, [place])

    if part.stride:

        @intrinsic
        def indexed(typing_context: Any, w: Any, iw: Any, index: Any) -> Any:
            return DOUBLE_POINTER(DOUBLE_POINTER, INT_POINTER, types.int64), generate

        return indexed

    @intrinsic
    def plain(typing_context: Any, w: Any, iw: Any) -> Any:
        return DOUBLE_POINTER(DOUBLE_POINTER, INT_POINTER), generate

    return plain


def lowered(primitive: primitives.Primitive) -> Any:
    """Give numba's form of a primitive."""
    found = LOWERED.get(primitive)
    if found is None:
        assert isinstance(primitive, primitives.WorkspacePart)
        found = LOWERED[primitive] = _workspace_pointer(primitive)
    return found


LOWERED: dict[primitives.Primitive, Any] = {
    primitives.shift: _shift,
    primitives.double_pointer: _double_pointer,
    primitives.int_pointer: _int_pointer,
    primitives.call_function: _call_function,
    primitives.call_step: _call_step,
}
