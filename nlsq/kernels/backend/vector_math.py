"""Elementary functions that LLVM vectorises, for users' models. Imports numba.

libm's functions are calls that keep a loop scalar. Here exp is straight-line code: ``x = k log 2 + r`` with |r| <=
log(2) / 2 by two fused multiply-adds (Cody and Waite), a polynomial of degree 13 in r, and a scaling by 2^k in two
factors, so that gradual underflow and overflow come out right. Its error is below 1.5 units in the last place; NaN and
infinities are kept.

References
----------
.. [1] W. Cody, W. Waite, "Software Manual for the Elementary Functions", 1980, chapter 6.
"""

from __future__ import annotations

import math
from types import CellType, FunctionType, ModuleType
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.registry import CPUDispatcher
from numba.extending import intrinsic

LOG2_E = 1.4426950408889634
LN2_HIGH = 6.93147180369123816490e-01
LN2_LOW = 1.90821492927058770002e-10
CONTRACT = {"contract", "nsz"}
MAGIC = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to an integer that sits in the low bits
BIAS = 1023 << 52
_COEFFICIENTS = [1.0 / math.factorial(k) for k in range(14)]
C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12, C13 = _COEFFICIENTS[2:]


@intrinsic
def _as_double(typing_context: Any, bits: Any) -> Any:
    return types.float64(types.int64), lambda context, builder, signature, a: builder.bitcast(a[0], ir.DoubleType())


@intrinsic
def _as_bits(typing_context: Any, value: Any) -> Any:
    return types.int64(types.float64), lambda context, builder, signature, a: builder.bitcast(a[0], ir.IntType(64))


@intrinsic
def _fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    kinds = (types.float64, types.float64, types.float64)
    return types.float64(*kinds), lambda context, builder, signature, arguments: builder.fma(*arguments)


@numba.njit(inline="never", forceinline=True, error_model="numpy", fastmath={"contract"})
def vector_exp(value: Any) -> Any:
    """Exp of one number, without branches."""
    x = float(value)
    inside = min(max(x, -746.0), 710.0)
    shifted = _fma(inside, LOG2_E, MAGIC)
    k = shifted - MAGIC
    r = _fma(k, -LN2_HIGH, inside)
    r = _fma(k, -LN2_LOW, r)
    r2 = r * r
    r4 = r2 * r2
    low = _fma(_fma(r, C5, C4), r2, _fma(r, C3, C2))
    middle = _fma(_fma(r, C9, C8), r2, _fma(r, C7, C6))
    high = _fma(_fma(r, C13, C12), r2, _fma(r, C11, C10))
    tail = _fma(_fma(high, r4, middle), r4, low)
    power = 1.0 + _fma(tail, r2, r)
    half = _fma(k, 0.5, MAGIC)
    rest = (k - (half - MAGIC)) + MAGIC
    scaled = power * _as_double((_as_bits(half) << 52) + BIAS) * _as_double((_as_bits(rest) << 52) + BIAS)
    return scaled if x == x else x


@numba.vectorize
def array_exp(x: Any) -> Any:
    """Apply it to arrays, fused into array expressions."""
    return vector_exp(x)


class _Module(ModuleType):
    """A module with some functions replaced."""

    def __init__(self, original: ModuleType, replaced: dict[str, Any]) -> None:
        super().__init__(original.__name__)
        self.__dict__["_original"] = original
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_original"], name)


def _replacements(exp: Any) -> dict[int, Any]:
    """Map from the identity of modules and functions to what stands for them."""
    modules = {id(module): _Module(module, {"exp": exp}) for module in (math, np)}
    return {**modules, id(math.exp): vector_exp, id(np.exp): exp}


_FOR_NUMBERS = _replacements(vector_exp)
_FOR_ARRAYS = {**_replacements(array_exp), id(math): _Module(math, {"exp": vector_exp})}


def with_vector_math(function: FunctionType, *, arrays: bool) -> FunctionType:
    """Copy `function` with the exp of math and numpy replaced wherever its names reach it, in njit callees too.

    Parameters
    ----------
    function : function
        A model or residual.
    arrays : bool
        Whether its arguments are arrays, or numbers.
    """
    return _copy(function, _FOR_ARRAYS if arrays else _FOR_NUMBERS, {})


def _copy(function: FunctionType, replaced: dict[int, Any], done: dict[int, Any]) -> FunctionType:
    """Copy a function; `done` maps njit functions to what has been made of them, so that recursion ends."""

    def replacement(value: Any) -> Any:
        if id(value) in replaced:
            return replaced[id(value)]
        if isinstance(value, CPUDispatcher):
            if id(value) not in done:
                done[id(value)] = value  # what calls itself keeps calling the original
                inner = _copy(value.py_func, replaced, done)
                done[id(value)] = numba.njit(error_model="numpy", fastmath=CONTRACT)(inner)
            return done[id(value)]
        return value

    scope = dict(function.__globals__)
    for name in function.__code__.co_names:
        if name in scope:
            scope[name] = replacement(scope[name])
    cells = tuple(CellType(replacement(cell.cell_contents)) for cell in function.__closure__ or ())
    copy = FunctionType(function.__code__, scope, function.__name__, function.__defaults__, cells or None)
    copy.__module__, copy.__qualname__ = function.__module__, function.__qualname__
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
