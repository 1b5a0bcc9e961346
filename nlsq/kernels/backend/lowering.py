"""Numba's side of the primitives: each becomes one or two LLVM instructions. Imports numba.

Elementary functions are written by the emitter of `nlsq.kernels.backend.simd`. Floating-point flags belong to the
single instruction, so that their range reductions and compensated sums stay as they are written when they are inlined
into callers that reassociate.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from nlsq.kernels.backend import primitives
from nlsq.kernels.backend.signature import Signature
from nlsq.kernels.backend.simd import Emitter, Value

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
def _call_weighted(typing_context: Any, address: Any, x: Any, data: Any, weights: Any, out: Any) -> Any:
    pointers = DOUBLE_POINTER, types.int64, DOUBLE_POINTER, DOUBLE_POINTER
    return _call_by_address(types.int64(types.int64, *pointers))


@intrinsic
def _call_normal(typing_context: Any, address: Any, x: Any, data: Any, gradient: Any, normal: Any) -> Any:
    pointers = DOUBLE_POINTER, types.int64, DOUBLE_POINTER, DOUBLE_POINTER
    return _call_by_address(types.float64(types.int64, *pointers))


@intrinsic
def _call_step(typing_context: Any, address: Any, w: Any, iw: Any) -> Any:
    return _call_by_address(types.int64(types.int64, DOUBLE_POINTER, INT_POINTER))


@intrinsic
def _add_multiple(typing_context: Any, factor: Any, x: Any, out: Any) -> Any:
    four, flags = ir.VectorType(ir.DoubleType(), 4), ("reassoc", "nsz", "contract")
    undefined = ir.Constant(four, ir.Undefined)
    first = ir.Constant(ir.VectorType(ir.IntType(32), 4), [0] * 4)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        factor, *pointers = arguments
        here, there = (builder.bitcast(pointer, four.as_pointer()) for pointer in pointers)
        one = builder.insert_element(undefined, factor, ir.IntType(32)(0))
        same = builder.shuffle_vector(one, undefined, first)
        product = builder.fmul(same, builder.load(here, align=8), flags=flags)
        builder.store(builder.fadd(builder.load(there, align=8), product, flags=flags), there, align=8)
        return context.get_dummy_value()

    return types.void(types.float64, DOUBLE_POINTER, DOUBLE_POINTER), generate


@intrinsic
def _subtract_product(
    typing_context: Any,
    rows: Any,
    columns: Any,
    depth: Any,
    a: Any,
    lda: Any,
    b: Any,
    column_step: Any,
    depth_step: Any,
    c: Any,
    ldc: Any,
    adds: Any,
) -> Any:
    from nlsq.kernels.backend.product import Writer

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        Writer(builder, arguments).write()
        return context.get_dummy_value()

    whole, pointer = types.int64, DOUBLE_POINTER
    kinds = whole, whole, whole, pointer, whole, pointer, whole, whole, pointer, whole, whole
    return types.void(*kinds), generate


def _call_fortran(builder: Any, address: Any, arguments: list[Any]) -> None:
    """Call a subroutine of Fortran: numbers and letters go through memory.

    An integer has 64 bits there, of which a routine with integers of 32 bits reads the lower half, where numba runs:
    on processors that store the lower half first.
    """
    byte = ir.IntType(8).as_pointer()
    passed = []
    for one in arguments:
        code = ir.Constant(ir.IntType(64), ord(one)) if isinstance(one, str) else one
        if isinstance(code.type, ir.PointerType):
            passed.append(builder.bitcast(code, byte))
            continue
        slot = cgutils.alloca_once(builder, code.type)
        builder.store(code, slot)
        passed.append(builder.bitcast(slot, byte))
    kind = ir.FunctionType(ir.VoidType(), [byte] * len(passed))
    builder.call(builder.inttoptr(address, kind.as_pointer()), passed)


@intrinsic
def _call_potrf(typing_context: Any, address: Any, n: Any, a: Any, lda: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function, *rest = arguments
        info = cgutils.alloca_once_value(builder, ir.Constant(ir.IntType(64), 0))
        builder.store(ir.Constant(ir.IntType(64), 0), info)
        _call_fortran(builder, function, ["L", *rest, info])
        return builder.load(info)

    return types.int64(types.int64, types.int64, DOUBLE_POINTER, types.int64), generate


@intrinsic
def _call_trsm(typing_context: Any, address: Any, m: Any, n: Any, a: Any, lda: Any, b: Any, ldb: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function, rows, columns, *rest = arguments
        one = ir.Constant(ir.DoubleType(), 1.0)
        _call_fortran(builder, function, ["R", "L", "T", "N", rows, columns, one, *rest])
        return context.get_dummy_value()

    kinds = (types.int64,) * 3 + (DOUBLE_POINTER, types.int64) * 2
    return types.void(*kinds), generate


@intrinsic
def _call_syrk(typing_context: Any, address: Any, n: Any, k: Any, a: Any, lda: Any, c: Any, ldc: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function, order, depth, first, lda, c, ldc = arguments
        minus, zero = (ir.Constant(ir.DoubleType(), value) for value in (-1.0, 0.0))
        _call_fortran(builder, function, ["L", "N", order, depth, minus, first, lda, zero, c, ldc])
        return context.get_dummy_value()

    kinds = (types.int64,) * 3 + (DOUBLE_POINTER, types.int64) * 2
    return types.void(*kinds), generate


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


@intrinsic
def _as_double(typing_context: Any, bits: Any) -> Any:
    return types.float64(types.int64), lambda context, builder, signature, a: builder.bitcast(a[0], ir.DoubleType())


@intrinsic
def _as_bits(typing_context: Any, value: Any) -> Any:
    return types.int64(types.float64), lambda context, builder, signature, a: builder.bitcast(a[0], ir.IntType(64))


@intrinsic
def _shift_right(typing_context: Any, value: Any, bits: Any) -> Any:
    return types.int64(types.int64, types.int64), lambda context, builder, signature, a: builder.lshr(*a)


@intrinsic
def _select(typing_context: Any, condition: Any, a: Any, b: Any) -> Any:
    kinds = (types.boolean, types.float64, types.float64)
    return types.float64(*kinds), lambda context, builder, signature, arguments: builder.select(*arguments)


def _intrinsic_of_doubles(count: int, generate: Any) -> Any:
    """Declare an intrinsic that takes `count` doubles to a double."""
    signature = types.float64(*(types.float64,) * count)
    if count == 1:

        @intrinsic
        def unary(typing_context: Any, x: Any) -> Any:
            return signature, generate

        return unary
    if count == 2:

        @intrinsic
        def binary(typing_context: Any, x: Any, y: Any) -> Any:
            return signature, generate

        return binary

    @intrinsic
    def ternary(typing_context: Any, x: Any, y: Any, z: Any) -> Any:
        return signature, generate

    return ternary


def _llvm_intrinsic(name: str, count: int) -> Any:
    """Generate a call of an LLVM intrinsic of `count` doubles."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        double = ir.DoubleType()
        function = builder.module.declare_intrinsic(name, (double,), ir.FunctionType(double, [double] * count))
        return builder.call(function, arguments)

    return _intrinsic_of_doubles(count, generate)


@cache
def jitted(function: primitives.Elementary) -> Any:
    """Give what njit functions call for an elementary function: its code is written by an emitter, once a module.

    Nothing of its source is typed by numba, which would take most of a second for some.
    """
    from nlsq.kernels.backend.fused import host

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        emitter = Emitter(builder.module, builder, has_fma=host().has_fma)
        return emitter.elementary(function, *(Value(emitter, argument) for argument in arguments)).code

    return _intrinsic_of_doubles(function.arity, generate)


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
    primitives.call_normal: _call_normal,
    primitives.call_weighted: _call_weighted,
    primitives.call_step: _call_step,
    primitives.add_multiple: _add_multiple,
    primitives.subtract_product: _subtract_product,
    primitives.call_potrf: _call_potrf,
    primitives.call_trsm: _call_trsm,
    primitives.call_syrk: _call_syrk,
    primitives.as_double: _as_double,
    primitives.as_bits: _as_bits,
    primitives.shift_right: _shift_right,
    primitives.select: _select,
    primitives.fma: _llvm_intrinsic("llvm.fma", 3),
    primitives.absolute: _llvm_intrinsic("llvm.fabs", 1),
    primitives.floor: _llvm_intrinsic("llvm.floor", 1),
    primitives.square_root: _llvm_intrinsic("llvm.sqrt", 1),
    primitives.copy_sign: _llvm_intrinsic("llvm.copysign", 2),
}
