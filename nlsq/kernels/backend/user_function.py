"""A user's njit function as a C function that kernels call by address. Imports numba.

The C function is ``int f(const double* p, const int64* data, double* out)``. It returns 0, or numba's status when the
user's code raised: kernels never see the exception, the caller runs the function again in Python to raise the original.

Its exact derivative is another: ``int jac(const double* p, const int64* data, double* jac_t)`` fills the transposed
Jacobian (n, m) of the residual, weights applied. It runs the function on dual numbers, at most `WIDEST` partials at a
time: with more parameters it goes over the data again, with as many partials each time as the rest divides into, and
the last time together with some that it had before.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import numba
import numpy as np
from numba.core import errors, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys

from nlsq.kernels.backend.compiler import compile_native, wrap_as_c_function
from nlsq.kernels.backend.lowering import DOUBLE_POINTER, LOWERED
from nlsq.kernels.backend.primitives import double_pointer, int_pointer, shift
from nlsq.kernels.backend.vector_math import CONTRACT, with_vector_math

_serial = count()
_SIGNATURE = types.void(DOUBLE_POINTER, types.int64, DOUBLE_POINTER)

_SCALAR_MODEL = """
def wrapper(p, data, out):
    table = int_pointer(data)
    x = double_pointer(table[1])
    ({names}) = ({values})
    for i in range(table[0]):
        out[i] = function(x[i], {names})
"""
_ARRAY_MODEL = """
def wrapper(p, data, out):
    table = int_pointer(data)
    values = function(carray(double_pointer(table[1]), (table[0],)), {parameters})
    if len(values) != table[0]:
        raise ValueError("the model returned another length than x has")
    for i in range(table[0]):
        out[i] = values[i]
"""
_ROWS_MODEL = """
def wrapper(p, data, out):
    table = int_pointer(data)
    values = function(carray(double_pointer(table[1]), (table[2], table[0])), {parameters})
    if len(values) != table[0]:
        raise ValueError("the model returned another length than x has")
    for i in range(table[0]):
        out[i] = values[i]
"""
_RESIDUAL = """
def wrapper(p, data, out):
    table = int_pointer(data)
    values = function(carray(p, ({n},)))
    if len(values) != table[0]:
        raise ValueError("the residual changed its length")
    for i in range(table[0]):
        out[i] = values[i]
"""

_COMPLEX = """
def wrapper(p, data, out):
    table = int_pointer(data)
    {prepare}
    for i in range(table[0]):
        value = {value}
        out[2 * i] = value.real
        out[2 * i + 1] = value.imag
"""
_COMPLEX_FORMS = {
    "scalar": ("x = double_pointer(table[1])", "function(x[i], {parameters})"),
    "array": ("values = function(carray(double_pointer(table[1]), (table[0],)), {parameters})", "values[i]"),
    "rows": ("values = function(carray(double_pointer(table[1]), (table[2], table[0])), {parameters})", "values[i]"),
    "residual": ("values = function(np.array([{parameters}]))", "values[i]"),
}

# Partials go through a block of stack memory: LLVM sees that it overlaps neither the data nor the result, so that the
# loop over the points is vectorised.
_JACOBIAN = """
def wrapper(p, data, out):
    table = int_pointer(data)
    m = table[0]
    block = stack_memory()
    {prepare}
    for chunk in range({chunks}):
        start = min(chunk * {width}, {n} - {width})
        {seed}
        {values}
        for first in range(0, m, {size}):
            count = min({size}, m - first)
            for i in range(count):
                store({value}, block, i, {size})
            for k in range({width}):
                row, part = shift(out, (start + k) * m + first), shift(block, k * {size})
                {copy}
"""
_COPY = """
                for i in range(count):
                    row[i] = part[i]
"""
_COPY_WEIGHTED = """
                if table[4] != 0:
                    weights = double_pointer(table[4] + 8 * first)
                    for i in range(count):
                        row[i] = part[i] * weights[i] if weights[i] != 0.0 else 0.0
                else:
                    for i in range(count):
                        row[i] = part[i]
"""
_CHECKED = """
        if len(values) != m:
            raise ValueError("the function returned another length than before")
"""
_SEEDED = "({names}) = ({seeds})"
_JACOBIAN_FORMS = {  # prepare, seed, values, value
    "scalar": ("x = double_pointer(table[1])", _SEEDED, "", "function(x[first + i], {names})"),
    "array": (
        "x = carray(double_pointer(table[1]), (table[0],))",
        _SEEDED,
        "values = function(x, {names})" + _CHECKED,
        "values[first + i]",
    ),
    "rows": (
        "x = carray(double_pointer(table[1]), (table[2], table[0]))",
        _SEEDED,
        "values = function(x, {names})" + _CHECKED,
        "values[first + i]",
    ),
    "residual": (
        "q = new_array({n})",
        "for j in range({n}):\n            q[j] = seed(p[j], j - start)",
        "values = function(q)" + _CHECKED,
        "values[first + i]",
    ),
}
MOST_LINES = 6  # of an error of numba's, that are worth reading
BLOCK = 64  # points
WIDEST = 8  # partials in one go: with more, the registers spill


def is_jitted(function: Any) -> bool:
    """Say whether `function` is an njit function."""
    return isinstance(function, numba.core.registry.CPUDispatcher)


def _returns(function: Any, arguments: tuple[Any, ...]) -> Any:
    """Give the type that numba infers for a call, or None when it cannot be compiled so."""
    try:
        function.compile(arguments)
        return function.overloads[arguments].signature.return_type
    except (errors.NumbaError, AttributeError, KeyError):
        return None


def in_vector_math(function: Any, *, arrays: bool) -> Any:
    """Compile the same Python code anew, with exponentials that vectorise and NumPy's error model (1 / 0 is inf)."""
    return numba.njit(error_model="numpy", fastmath=CONTRACT)(with_vector_math(function.py_func, arrays=arrays))


def form_of_model(function: Any, n: int, rows: int) -> str:
    """Choose how a model of `n` parameters is called: ``"scalar"``, ``"array"`` or ``"rows"`` (several predictors).

    Raises
    ------
    TypeError
        If numba compiles none of the forms to real numbers.
    """
    p = (types.float64,) * n
    one = types.Array(types.float64, 1, "C")
    if rows == 0:
        takes_one = isinstance(_returns(function, (types.float64, *p)), types.Float | types.Integer)
        if takes_one and not _needs_all_points(function, n):
            return "scalar"
        result = _returns(function, (one, *p))
        if isinstance(result, types.Array) and result.ndim == 1 and isinstance(result.dtype, types.Float):
            return "array"
    else:
        result = _returns(function, (types.Array(types.float64, 2, "C"), *p))
        if isinstance(result, types.Array) and result.ndim == 1 and isinstance(result.dtype, types.Float):
            return "rows"
    raise TypeError(f"numba finds no form f(x, {n} floats) of {function.__name__} that returns real numbers.")


def _needs_all_points(function: Any, n: int) -> bool:
    """Whether a model gives other values for an array of x than for each x alone, as a sum over x does.

    Its Python source is run on a few points; where that tells nothing the answer is no.
    """
    x, p = np.array([0.3, 0.7, 1.1]), [0.5 + 0.1 * j for j in range(n)]
    called = getattr(function, "py_func", function)
    try:
        with np.errstate(all="ignore"):
            together = np.asarray(called(x.copy(), *p), dtype=np.float64)
            apart = np.array([called(one, *p) for one in x.tolist()], dtype=np.float64)
    except Exception:  # written for one of the two alone
        return False
    return together.shape == x.shape and not np.allclose(together, apart, rtol=1e-9, atol=0.0, equal_nan=True)


def compile_user_function(function: Any, form: str, n: int) -> tuple[int, Any]:
    """Compile a call of `function` and return its address with what must be kept alive."""
    parameters = ", ".join(f"p[{j}]" for j in range(n))
    names = "".join(f"p{j}, " for j in range(n))
    function = in_vector_math(function, arrays=form != "scalar")
    source = {"scalar": _SCALAR_MODEL, "array": _ARRAY_MODEL, "rows": _ROWS_MODEL, "residual": _RESIDUAL}[form]
    return _compile_wrapper(source.format(parameters=parameters, values=parameters + ",", names=names, n=n), function)


def compile_complex_function(function: Any, form: str, n: int) -> tuple[int, Any]:
    """Compile a call of `function` with complex parameters, as pairs of doubles.

    Raises
    ------
    TypeError
        If it does not compile for complex parameters, or loses the imaginary part.
    """
    z = types.complex128
    arguments: dict[str, tuple[Any, ...]] = {
        "scalar": (types.float64,) + (z,) * n,
        "array": (types.Array(types.float64, 1, "C"),) + (z,) * n,
        "rows": (types.Array(types.float64, 2, "C"),) + (z,) * n,
        "residual": (types.Array(z, 1, "C"),),
    }
    result = _returns(function, arguments[form])
    if not isinstance(getattr(result, "dtype", result), types.Complex):
        raise TypeError(f"{function.__name__} does not return complex numbers for complex parameters.")
    parameters = ", ".join(f"complex(p[{2 * j}], p[{2 * j + 1}])" for j in range(n))
    prepare, value = (part.format(parameters=parameters) for part in _COMPLEX_FORMS[form])
    return _compile_wrapper(_COMPLEX.format(prepare=prepare, value=value), function)


def compile_exact_derivative(function: Any, form: str, n: int) -> tuple[int, Any]:
    """Compile the transposed Jacobian of `function` by dual numbers; address and what must be kept alive.

    Raises
    ------
    TypeError
        If the function does not compile for dual numbers; the message says what it was that does not.
    """
    from nlsq.kernels.backend import dual_operations  # declares what dual numbers do
    from nlsq.kernels.backend.dual import DualType
    from nlsq.kernels.backend.dual_arrays import new_array
    from nlsq.kernels.backend.dual_form import dual_form

    chunks = -(-n // WIDEST)
    width = -(-n // chunks)
    names = "".join(f"p{j}, " for j in range(n))
    seeds = "".join(f"seed(p[{j}], {j} - start), " for j in range(n))
    parts = [part.format(names=names, seeds=seeds, n=n) for part in _JACOBIAN_FORMS[form]]
    prepare, seed, values, value = parts
    source = _JACOBIAN.format(
        prepare=prepare,
        seed=seed,
        values=values,
        value=value,
        copy=_COPY if form == "residual" else _COPY_WEIGHTED,
        chunks=chunks,
        width=width,
        n=n,
        size=BLOCK,
    )
    tools = {
        "seed": dual_operations.seeding(width),
        "store": dual_operations.store_partials,
        "stack_memory": dual_operations.stack_memory(width * BLOCK),
        "new_array": new_array(DualType(width)),
        "shift": LOWERED[shift],
    }
    try:
        return _compile_wrapper(source, dual_form(function, DualType(width)), tools)
    except (errors.NumbaError, NotImplementedError) as error:
        raise TypeError(_why(error)) from error


_NOISE = (
    "Failed in",
    "There are",
    "- Of which",
    "Overload",
    "With argument",
    "No match",
    "During",
    "^",
    "<source",
    "raised",
)


def _why(error: Exception) -> str:
    """Give what a numba error says about the user's code, without the route by which numba came there."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith((*_NOISE, 'File "<string>"'))]
    return " ".join(telling[:MOST_LINES])


def _compile_wrapper(
    source: str, function: Any, tools: dict[str, Any] | None = None, signature: Any = _SIGNATURE
) -> tuple[int, Any]:
    """Compile the source of a wrapper around `function`."""
    scope: dict[str, Any] = {
        **(tools or {}),
        "function": function,
        "carray": numba.carray,
        "int_pointer": LOWERED[int_pointer],
        "double_pointer": LOWERED[double_pointer],
        "np": np,
    }
    exec(source, scope)
    wrapper: Callable[..., Any] = scope["wrapper"]
    with global_compiler_lock:
        rtsys.initialize(cpu_target.target_context)
        compiled = compile_native(wrapper, signature)
        symbol = f"nlsq_user_{next(_serial)}"
        library = wrap_as_c_function(compiled, symbol, returns_status=True)
    return library.get_pointer_to_function(symbol), (library, compiled)
