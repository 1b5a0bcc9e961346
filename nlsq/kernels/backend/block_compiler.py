"""A block function as two C functions, over all residual blocks of a group. Imports numba.

    int f(int64* table)      table = [count, data, weights, r, jac, then for each argument: values, indices, seeds]

Residual block b takes block ``indices[b]`` of each argument. The Jacobian comes from one run of the user's code on
dual numbers whose partials lie in vector registers, a lane for each column; with more than `WIDEST` columns the code
runs again for the next ones. Everything that the code calls is compiled into it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
from llvmlite import ir
from numba.core import errors, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys

from nlsq.kernels.backend import block_emission as emission
from nlsq.kernels.backend import dual_operations, dual_tuples  # noqa: F401 -- declare what dual numbers do
from nlsq.kernels.backend.block_form import LONGEST_TUPLE, BlockForm
from nlsq.kernels.backend.compiler import compile_native
from nlsq.kernels.backend.dual import DualType, is_plain
from nlsq.kernels.backend.dual_form import dual_form, plain_form
from nlsq.kernels.backend.fused import host
from nlsq.kernels.backend.lowering import LOWERED
from nlsq.kernels.backend.primitives import double_pointer, int_pointer, shift
from nlsq.kernels.backend.user_function import _why

WIDEST = 32  # partials in one go
_SIGNATURE = types.void(types.int64)
_FLAGS = {"contract", "nsz"}
# what object files may leave open: functions of the C library, which every process has
_C_LIBRARY = set(
    "acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh erf erfc exp exp2 expm1 fabs floor fma fmod "
    "hypot ldexp lgamma log log10 log1p log2 memcpy memmove memset nearbyint pow rint round sin sincos sinh sqrt tan "
    "tanh tgamma trunc".split()
)

_WRAPPER = """
def wrapper(address):
    table = int_pointer(address)
    count, data, weights, r_out = table[0], table[1], table[2], table[3]
    jac_out = table[4]
    {pointers}
    for b in range(count):
        d = double_pointer(data + b * {data_bytes})
        w = double_pointer(weights + b * {weight_bytes})
        r = double_pointer(r_out + b * {residual_bytes})
        j = double_pointer(jac_out + b * {jacobian_bytes})
        {places}
        {body}
"""
_RESIDUAL = "write(function({plain}), w, r)"
_GIVEN = "write(function({plain}), jacobian({plain}), ({seeds},), w, r, j)"
_DUAL = "write(function({seeded}), w, r, j, 0)"
_DUAL_IN_PARTS = """for chunk in range({chunks}):
            start = min(chunk * {width}, {total} - {width})
            write(function({seeded}), w, r, j, start)"""


class Compiled:
    """Both C functions of a block function.

    Attributes
    ----------
    residuals : int
        Numbers that the user's function returns, q.
    code : bytes or None
        An object file, where any process can use it.
    library : object
        The code in this process; to be kept alive.
    """

    def __init__(self, residuals: int, library: Any, code: bytes | None) -> None:
        self.residuals, self.library, self.code = residuals, library, code


def compile_block_functions(
    function: Any, form: BlockForm, jacobian: Any, symbols: tuple[str, str], *, keep: bool
) -> Compiled:
    """Compile residuals and residuals with Jacobian under two symbols.

    Raises
    ------
    TypeError
        If the user's code does not compile, or does not return numbers.
    """
    name = getattr(function, "__name__", repr(function))
    with global_compiler_lock:
        rtsys.initialize(cpu_target.target_context)
        with _explained(name):
            plain = plain_form(function)
        arguments = _argument_kinds(form, None)
        residuals = _count(_returned(plain, arguments, name), name)
        wrappers = [_residual_wrapper(plain, form, residuals)]
        if jacobian is not None:
            other = plain_form(jacobian)
            their_name = getattr(jacobian, "__name__", repr(jacobian))
            _check_jacobian(_returned(other, arguments, their_name), form, residuals, their_name)
            wrappers.append(_given_wrapper(plain, other, form, residuals))
        elif form.width:
            wrappers.append(_dual_wrapper(function, form, residuals, name))
        else:
            wrappers.append(wrappers[0])
        with _explained(name):
            compiled = [compile_native(one, _SIGNATURE, fastmath=_FLAGS) for one in wrappers]
            library, is_portable = _link(compiled, symbols)
    code = library._get_compiled_object() if keep and is_portable else None
    return Compiled(residuals, library, code)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn numba's errors into what they say about the user's code."""
    try:
        yield
    except (errors.NumbaError, errors.UnsupportedBytecodeError, NotImplementedError) as error:
        raise TypeError(f"{name} cannot be compiled: {_why(error)}") from error


def _argument_kinds(form: BlockForm, dual: DualType | None) -> tuple[Any, ...]:
    kinds: list[Any] = []
    for one in form.arguments:
        element = types.float64 if dual is None or one.kind == "held" else dual
        kinds.append(types.UniTuple(element, one.size))
    if form.data > LONGEST_TUPLE:
        kinds.append(types.Array(types.float64, 1, "C"))
    elif form.data:
        kinds.append(types.UniTuple(types.float64, form.data))
    return tuple(kinds)


def _returned(dispatcher: Any, arguments: tuple[Any, ...], name: str) -> Any:
    """Compile for arguments, and give the type of the result."""
    expected = len(arguments)
    code = dispatcher.py_func.__code__
    least = code.co_argcount - len(dispatcher.py_func.__defaults__ or ())
    if not code.co_flags & 0x04 and not least <= expected <= code.co_argcount:
        raise TypeError(f"{name} takes {code.co_argcount} arguments, and is called with {expected}.")
    with _explained(name):
        _, _, folded, _ = dispatcher.get_call_template(arguments, {})  # defaults and *args as numba has them
        return dispatcher.overloads[tuple(folded)].signature.return_type


def _is_number(kind: Any) -> bool:
    return is_plain(kind) or isinstance(kind, DualType)


def _count(kind: Any, name: str) -> int:
    """Count the numbers that are returned."""
    if _is_number(kind):
        return 1
    if isinstance(kind, types.BaseTuple) and len(kind) and all(_is_number(one) for one in kind):
        return len(kind)
    raise TypeError(f"{name} must return a number or a tuple of numbers, and returns {kind}.")


def _check_jacobian(kind: Any, form: BlockForm, residuals: int, name: str) -> None:
    """Refuse what is not a tuple with one entry for each argument, each a tuple of rows."""
    if not isinstance(kind, types.BaseTuple) or len(kind) != len(form.arguments):
        raise TypeError(
            f"{name} must return a tuple with one entry for each of {len(form.arguments)} parameter blocks."
        )
    for k, (entry, argument) in enumerate(zip(kind, form.arguments)):
        if argument.kind == "held":
            continue
        rows = list(entry) if isinstance(entry, types.BaseTuple) else [entry]
        if rows and not isinstance(rows[0], types.BaseTuple) and residuals == 1:
            rows = [rows]
        lengths = [len(row) if isinstance(row, types.BaseTuple | list) else 0 for row in rows]
        if lengths != [argument.size] * residuals or not all(_is_number(one) for row in rows for one in row):
            raise TypeError(
                f"{name} must return, as entry {k}, a tuple of {residuals} rows, each of {argument.size} numbers."
            )


def _wrapper(body: str, form: BlockForm, residuals: int, scope: dict[str, Any]) -> Any:
    """Make the loop over residual blocks around a body."""
    pointers, places = [], []
    for k, one in enumerate(form.arguments):
        pointers.append(f"v{k}, i{k}, s{k} = table[{5 + 3 * k}], int_pointer(table[{6 + 3 * k}]), table[{7 + 3 * k}]")
        places.append(f"p{k} = double_pointer(v{k} + i{k}[b] * {8 * one.size})")
        places.append(f"t{k} = double_pointer(s{k} + i{k}[b] * {8 * one.size * one.width})")
    weights = {"none": 0, "scalar": 1, "vector": residuals, "matrix": residuals * residuals}[form.weight]
    source = _WRAPPER.format(
        pointers="\n    ".join(pointers),
        places="\n        ".join(places),
        body=body,
        data_bytes=8 * form.data,
        weight_bytes=8 * weights,
        residual_bytes=8 * residuals,
        jacobian_bytes=8 * residuals * form.width,
    )
    scope |= {
        "int_pointer": LOWERED[int_pointer],
        "double_pointer": LOWERED[double_pointer],
        "shift": LOWERED[shift],
        "carray": numba.carray,
    }
    exec(source, scope)
    wrapper: Callable[..., Any] = scope["wrapper"]
    return wrapper


def _arguments(form: BlockForm, dual: DualType | None, start: str, scope: dict[str, Any]) -> str:
    """Write the arguments of a call, and put what reads them into the scope."""
    written = []
    for k, (one, offset) in enumerate(zip(form.arguments, form.offsets)):
        if dual is None or one.kind == "held":
            scope[f"read{k}"] = emission.read_numbers(one.size)
            written.append(f"read{k}(p{k})")
        elif one.kind == "vector":
            scope[f"seed{k}"] = emission.read_dual(dual, one.size, offset)
            written.append(f"seed{k}(p{k}, {start})")
        elif start == "0":
            scope[f"seed{k}"] = emission.read_seeded(dual, one.size, one.width, offset)
            written.append(f"seed{k}(p{k}, t{k})")
        else:
            scope[f"seed{k}"] = emission.read_seeded_in_part(dual, one.size, one.width, offset)
            written.append(f"seed{k}(p{k}, t{k}, start)")
    if form.data > LONGEST_TUPLE:
        written.append(f"carray(d, ({form.data},))")
    elif form.data:
        scope["read_data"] = emission.read_numbers(form.data)
        written.append("read_data(d)")
    return ", ".join(written)


def _residual_wrapper(function: Any, form: BlockForm, residuals: int) -> Any:
    scope: dict[str, Any] = {"function": function, "write": emission.write_residual(form.weight)}
    return _wrapper(_RESIDUAL.format(plain=_arguments(form, None, "", scope)), form, residuals, scope)


def _given_wrapper(function: Any, jacobian: Any, form: BlockForm, residuals: int) -> Any:
    blocks = [(one.size, one.width, one.kind == "seeded") for one in form.arguments]
    scope: dict[str, Any] = {
        "function": function,
        "jacobian": jacobian,
        "write": emission.write_given(form.weight, blocks),
    }
    seeds = ", ".join(f"t{k}" for k in range(len(blocks)))
    body = _GIVEN.format(plain=_arguments(form, None, "", scope), seeds=seeds)
    return _wrapper(body, form, residuals, scope)


def _dual_wrapper(function: Any, form: BlockForm, residuals: int, name: str) -> Any:
    chunks = -(-form.width // WIDEST)
    dual = DualType(-(-form.width // chunks), host().lanes)
    called = dual_form(function, dual, helpers=True)
    returned = _returned(called, _argument_kinds(form, dual), name)
    if _count(returned, name) != residuals:
        raise TypeError(f"{name} returns {residuals} numbers or another count, as its branches go.")
    scope: dict[str, Any] = {"function": called, "write": emission.write_dual(form.weight, dual, form.width)}
    seeded = _arguments(form, dual, "start" if chunks > 1 else "0", scope)
    body = _DUAL_IN_PARTS if chunks > 1 else _DUAL
    body = body.format(chunks=chunks, width=dual.width, total=form.width, seeded=seeded)
    return _wrapper(body, form, residuals, scope)


def _link(compiled: list[Any], symbols: tuple[str, ...]) -> tuple[Any, bool]:
    """Make one library of C functions that return numba's status; say whether any process can use its object file.

    All else in what others can use is internal: two object files from different processes may have different functions
    of one name. Code that needs numba's runtime stays as numba links it.
    """
    is_portable = all(_needed(one.library) <= _C_LIBRARY for one in compiled)
    library = compiled[0].library.codegen.create_library(f"nlsq.{symbols[0]}")
    library.enable_object_caching()
    module = library.create_ir_module(symbols[0])
    for one, symbol in zip(compiled, symbols):
        context, signature = one.target_context, one.signature
        native_type = context.call_conv.get_function_type(signature.return_type, signature.args)
        native = ir.Function(module, native_type, f"{one.fndesc.llvm_func_name}")
        entry = ir.Function(module, ir.FunctionType(ir.IntType(64), [ir.IntType(64)]), symbol)
        builder = ir.IRBuilder(entry.append_basic_block())
        value = builder.alloca(native_type.args[0].pointee)
        exception = builder.alloca(native_type.args[1].pointee)
        builder.ret(builder.sext(builder.call(native, [value, exception, *entry.args]), ir.IntType(64)))
        library.add_linking_library(one.library)
    library.add_ir_module(module)
    optimize = library._optimize_final_module

    def optimize_alone() -> None:
        for part in (*library._final_module.functions, *library._final_module.global_variables):
            if not part.is_declaration and part.name not in symbols:
                part.linkage = "internal"
        optimize()

    if is_portable:
        library._optimize_final_module = optimize_alone
    library.finalize()
    return library, is_portable and _needed(library) <= _C_LIBRARY


def _needed(library: Any) -> set[str]:
    """Return the names that compiled code leaves open."""
    parts = (*library._final_module.functions, *library._final_module.global_variables)
    return {part.name for part in parts if part.is_declaration and not part.name.startswith("llvm.")}
