"""From a kernel's source to position-independent machine code. Imports numba.

A kernel is compiled with ``error_model="numpy"``, without CPython wrapper, without the reference-counting runtime, and
with every callee left as an external symbol. A C-callable function with the kernel's symbol wraps numba's own calling
convention. The result is one small object file that needs nothing but libm and the symbols of other kernels: a later
process links it through llvmlite without importing numba.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba.core import types
from numba.core.codegen import CPUCodeLibrary
from numba.core.compiler import CompilerBase, Flags, compile_extra
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import PassManager
from numba.core.registry import cpu_target
from numba.core.typed_passes import (
    IRLegalization,
    NativeLowering,
    NoPythonBackend,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.untyped_passes import FixupArgs, IRProcessing, ReconstructSSA, TranslateByteCode

from nlsq.kernels.backend.kernel import Kernel
from nlsq.kernels.backend.lowering import lowered, numba_signature
from nlsq.kernels.backend.primitives import Primitive

FAST = {"reassoc", "nsz", "contract"}  # never nnan or ninf: NaN is a signal here
STRICT = {"contract"}
_NOWHERE = 1  # an address that is never called
_YOUNG = 20_000  # objects made before garbage is looked for; compiling takes a seventh longer at Python's 700


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Let garbage be collected more seldom, where it is collected at all."""
    before = gc.get_threshold()
    if 0 < before[0] < _YOUNG:
        gc.set_threshold(_YOUNG, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _retarget(function: FunctionType) -> FunctionType:
    """Copy `function` with kernels in its scope replaced by external symbols and primitives by their lowering."""
    scope = dict(function.__globals__)
    for name in function.__code__.co_names:
        value = scope.get(name)
        if isinstance(value, Kernel):
            scope[name] = types.ExternalFunction(value.symbol, numba_signature(value.signature))
        elif isinstance(value, Primitive):
            scope[name] = lowered(value)
    copy = FunctionType(function.__code__, scope, function.__name__, function.__defaults__, function.__closure__)
    copy.__module__, copy.__qualname__ = function.__module__, function.__qualname__
    return copy


def compile_native(function: Any, signature: Any, **options: Any) -> Any:
    """Compile `function` for one signature; return numba's compile result."""
    dispatcher = numba.njit(signature, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)
    with global_compiler_lock, _rare_collections():
        return dispatcher(function).overloads[signature.args]


def wrap_as_c_function(compiled: Any, symbol: str, *, returns_status: bool) -> Any:
    """Build a library in which `symbol` is a C function that calls the compiled function.

    With `returns_status` the C function returns numba's status code (nonzero: an exception was raised) instead of the
    value.
    """
    library = compiled.library.codegen.create_library(f"nlsq.{symbol}")
    library.enable_object_caching()
    module = library.create_ir_module(symbol)
    context, signature = compiled.target_context, compiled.signature
    native_type = context.call_conv.get_function_type(signature.return_type, signature.args)
    native = ir.Function(module, native_type, compiled.fndesc.llvm_func_name)
    is_void = isinstance(signature.return_type, types.NoneType)
    if returns_status:
        value_type: Any = ir.IntType(64)
    else:
        value_type = ir.VoidType() if is_void else context.get_value_type(signature.return_type)
    arguments = [context.get_value_type(a) for a in signature.args]
    wrapper = ir.Function(module, ir.FunctionType(value_type, arguments), symbol)
    builder = ir.IRBuilder(wrapper.append_basic_block())
    value = builder.alloca(native_type.args[0].pointee)
    exception = builder.alloca(native_type.args[1].pointee)
    status = builder.call(native, [value, exception, *wrapper.args])
    if returns_status:
        builder.ret(builder.sext(status, value_type))
    elif is_void:
        builder.ret_void()
    else:
        builder.ret(builder.load(value))
    library.add_linking_library(compiled.library)
    library.add_ir_module(module)
    library.finalize()
    return library


class KernelPipeline(CompilerBase):
    """Numba's pipeline with what a kernel needs: no closures, context managers, literals.

    Parallel loops or array expressions.
    """

    def define_pipelines(self) -> list[Any]:
        """List the passes from bytecode to LLVM."""
        manager = PassManager("kernel")
        for one, purpose in (
            (TranslateByteCode, "analyzing bytecode"),
            (FixupArgs, "fix up args"),
            (IRProcessing, "processing IR"),
            (ReconstructSSA, "ssa"),
            (NopythonTypeInference, "nopython frontend"),
            (PreLowerStripPhis, "remove phis nodes"),
            (IRLegalization, "ensure IR is legal prior to lowering"),
            (NativeLowering, "native lowering"),
            (NoPythonBackend, "nopython mode backend"),
        ):
            manager.add_pass(one, purpose)
        manager.finalize()
        return [manager]


@contextmanager
def _without_machine_code(name: str) -> Iterator[None]:
    """Leave optimiser and code generator out for the library `name`: they run when the C function is linked to it.

    Libraries that numba compiles along the way, for what the body calls, are its own affair.
    """
    optimize, finalize = CPUCodeLibrary._optimize_final_module, CPUCodeLibrary._finalize_final_module

    def optimize_others(library: Any) -> None:
        if library.name != name:
            optimize(library)

    def finalize_others(library: Any) -> None:
        if library.name != name:
            finalize(library)
        else:
            library._finalized = True

    CPUCodeLibrary._optimize_final_module = optimize_others
    CPUCodeLibrary._finalize_final_module = finalize_others
    try:
        yield
    finally:
        CPUCodeLibrary._optimize_final_module, CPUCodeLibrary._finalize_final_module = optimize, finalize


def _compile_body(function: FunctionType, signature: Any, apart: bool, options: dict[str, Any]) -> Any:
    flags = Flags()
    cpu_target.options.parse_as_flags(flags, {"nopython": True, "error_model": "numpy", **options})
    flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    flags.noalias = apart
    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()
    contexts = cpu_target.typing_context, cpu_target.target_context
    return compile_extra(
        *contexts, function, signature.args, signature.return_type, flags, {}, pipeline_class=KernelPipeline
    )


def object_code(one: Kernel) -> bytes:
    """Compile a kernel to an object file that defines the kernel's symbol."""
    with global_compiler_lock, _rare_collections():
        function = _retarget(one.function)
        signature = numba_signature(one.signature)
        with _without_machine_code(function.__qualname__):
            options = {"fastmath": STRICT if one.strict else FAST, "_nrt": False}
            compiled = _compile_body(function, signature, one.apart, options)
        for callee in one.callees():
            if llvm.address_of_symbol(callee.symbol) is None:  # the compiler wants to see every symbol
                llvm.add_symbol(callee.symbol, _NOWHERE)  # until it is linked
        library = wrap_as_c_function(compiled, one.symbol, returns_status=False)
        code: bytes = library._get_compiled_object()
    return code
