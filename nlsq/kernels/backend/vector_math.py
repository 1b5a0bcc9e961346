"""Elementary functions that LLVM vectorises, in users' njit functions. Imports numba.

The functions of math and numpy are calls into the C library, which keep a loop scalar. In a copy of the user's function
they are replaced by the straight-line functions of `nlsq.kernels.elementary`, wherever its names reach them, in njit
callees too. Arguments that are not real numbers (complex ones) keep the original.

sin, cos and tan stay the library's: their straight-line forms are wrong from 2^40 on, a branch in the loop would undo
the vectorisation, and code that numba compiles cannot be run again for the block in question.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from types import FunctionType, ModuleType
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.core.registry import CPUDispatcher, cpu_target
from numba.extending import overload

from nlsq.kernels.backend.lowering import jitted
from nlsq.kernels.backend.rebinding import rebound
from nlsq.kernels.elementary import ELEMENTARY

CONTRACT = {"contract", "nsz"}
# name in `ELEMENTARY`, in math, in numpy
_NAMES = (
    ("exp", "exp", "exp"),
    ("expm1", "expm1", "expm1"),
    ("log", "log", "log"),
    ("log1p", "log1p", "log1p"),
    ("log2", "log2", "log2"),
    ("log10", "log10", "log10"),
    ("asin", "asin", "arcsin"),
    ("acos", "acos", "arccos"),
    ("atan", "atan", "arctan"),
    ("atan2", "atan2", "arctan2"),
    ("sinh", "sinh", "sinh"),
    ("cosh", "cosh", "cosh"),
    ("tanh", "tanh", "tanh"),
    ("asinh", "asinh", "arcsinh"),
    ("acosh", "acosh", "arccosh"),
    ("atanh", "atanh", "arctanh"),
    ("hypot", "hypot", "hypot"),
    ("pow", "pow", "power"),
    ("erf", "erf", ""),
    ("erfc", "erfc", ""),
)


@cache
def for_numbers(name: str) -> Callable[..., Any]:
    """Give what stands for an elementary function in a function of numbers that numba compiles.

    It may be asked for in the middle of a compilation, so numba is told of it at once.
    """
    compiled = jitted(ELEMENTARY[name])
    original = next(getattr(np, numpys, None) or getattr(math, maths) for one, maths, numpys in _NAMES if one == name)
    options = {"forceinline": True, "error_model": "numpy"}
    if ELEMENTARY[name].arity == 1:

        def unary(x: Any) -> Any:
            return original(x)

        def unary_of_real(x: Any) -> Any:
            return compiled(1.0 * x)

        @overload(unary, jit_options=options, inline="never")
        def choose(x: Any) -> Any:
            return unary_of_real if _is_real(x) else unary

        cpu_target.typing_context.refresh()
        return unary

    def binary(x: Any, y: Any) -> Any:
        return original(x, y)

    def binary_of_reals(x: Any, y: Any) -> Any:
        return compiled(1.0 * x, 1.0 * y)

    @overload(binary, jit_options=options, inline="never")
    def choose_for_two(x: Any, y: Any) -> Any:
        return binary_of_reals if _is_real(x) and _is_real(y) else binary

    cpu_target.typing_context.refresh()
    return binary


@cache
def for_arrays(name: str) -> Any:
    """Give what stands for it where arguments may be arrays: a universal function, fused into array expressions."""
    scalar = for_numbers(name)
    if ELEMENTARY[name].arity == 1:
        return numba.vectorize(lambda x: scalar(x))
    return numba.vectorize(lambda x, y: scalar(x, y))


def _is_real(kind: Any) -> bool:
    return isinstance(kind, types.Float | types.Integer | types.Boolean)


class _Module(ModuleType):
    """A module with some functions replaced when they are asked for.

    Parameters
    ----------
    original : module
        Where all other names come from.
    names : dict
        From names in the module to names in `ELEMENTARY`.
    form : callable
        Gives the replacement for a name.
    """

    def __init__(self, original: ModuleType, names: dict[str, str], form: Callable[[str], Any]) -> None:
        super().__init__(original.__name__)
        self.__dict__["_parts"] = original, names, form

    def __getattr__(self, name: str) -> Any:
        original, names, form = self.__dict__["_parts"]
        return form(names[name]) if name in names else getattr(original, name)


_MATH = {maths: one for one, maths, _ in _NAMES if hasattr(math, maths)}
_NUMPY = {numpys: one for one, _, numpys in _NAMES if numpys}


def _itself(thing: Any) -> Any:
    return thing


def _replacements(of_numpy: Callable[[str], Any]) -> dict[int, Callable[[], Any]]:
    """Map from the identity of modules and functions to what makes their replacement."""
    modules = (math, _Module(math, _MATH, for_numbers)), (np, _Module(np, _NUMPY, of_numpy))
    found: dict[int, Callable[[], Any]] = {id(module): partial(_itself, it) for module, it in modules}
    found |= {id(getattr(math, key)): partial(for_numbers, one) for key, one in _MATH.items()}
    return found | {id(getattr(np, key)): partial(of_numpy, one) for key, one in _NUMPY.items()}


_FOR_NUMBERS = _replacements(for_numbers)
_FOR_ARRAYS = _replacements(for_arrays)


def with_vector_math(function: FunctionType, *, arrays: bool) -> FunctionType:
    """Copy `function` with math's and numpy's elementary functions replaced, in njit callees too.

    Parameters
    ----------
    function : function
        A model or residual.
    arrays : bool
        Whether its arguments are arrays, or numbers.
    """
    return _copy(function, _FOR_ARRAYS if arrays else _FOR_NUMBERS, {})


def _copy(function: FunctionType, replaced: dict[int, Callable[[], Any]], done: dict[int, Any]) -> FunctionType:
    """Copy a function; `done` maps njit functions to what has been made of them, so that recursion ends."""

    def replacement(value: Any) -> Any:
        if id(value) in replaced:
            return replaced[id(value)]()
        if isinstance(value, CPUDispatcher):
            if id(value) not in done:
                done[id(value)] = value  # what calls itself keeps calling the original
                inner = _copy(value.py_func, replaced, done)
                done[id(value)] = numba.njit(error_model="numpy", fastmath=CONTRACT)(inner)
            return done[id(value)]
        return value

    return rebound(function, replacement)
