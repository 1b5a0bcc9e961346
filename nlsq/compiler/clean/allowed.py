"""What a function that is to be traced may call, by name and by kind of result.

The tables say what a call gives back, because that decides what may be changed afterwards:

    fresh      a number or a new array
    view       possibly one of the arguments, or an array that shares its storage
    count      an immutable number that no traced value went into (a length)
    shape      a tuple of those
    numbers    a fresh number, or a plain one if all arguments are plain
    change     nothing; it changes the object whose method it is
    read       what is in a list or dictionary
    exception  an exception
    operator   what the operator gives

and "list", "tuple", "dict", "zip" and so on stand for themselves.

Nothing here draws random numbers, reads clocks or files, prints, or changes an argument. Functions with an `out` (or
`copy`, `overwrite_input`) behind their other arguments are listed with the number of positional arguments they may get.
"""

from __future__ import annotations

import builtins
import functools
import math
import operator
import sys
from types import BuiltinFunctionType
from typing import Any

import numpy as np

__all__ = [
    "ARRAY_ATTRIBUTES",
    "DATA_METHODS",
    "HARMLESS_TYPES",
    "IMPORTABLE",
    "KEYWORDS",
    "SUBMODULES",
    "TEXT_METHODS",
    "Rule",
    "is_library",
    "is_numeric_type",
    "is_other_type",
    "rule_of",
]

# Immutable values; that another value of the same type stands in its place changes nothing about what a function does
# to the rest of the program.
_SCALARS = (
    "float16 float32 float64 longdouble complex64 complex128 clongdouble bool_ int8 int16 int32 int64 "
    "uint8 uint16 uint32 uint64 intp longlong ulonglong intc uintc"
)
HARMLESS_TYPES = frozenset(
    (float, int, complex, bool, str, bytes, type(None), *(getattr(np, name) for name in _SCALARS.split()))
)

# Modules of Python itself whose names a user may well give to a file.
_COMMON_NAMES = ("__main__", "code", "test", "this")

IMPORTABLE = frozenset(("numpy", "math", "scipy", "scipy.special", "numpy.linalg"))
# Modules that become attributes of their package only when somebody imports them.
SUBMODULES = frozenset(("scipy.special",))

KEYWORDS = frozenset(
    "axis axes dtype ddof keepdims k n initial shift decimals ndmin indexing left right period endpoint num start stop "
    "step fill_value shape mode constant_values prepend append dx x x1 x2 a b c p y side N M a_min a_max min max "
    "nan posinf neginf weights offset repeats reps edge_order order ord object condlist choicelist default "
    "arrays tup source destination key_shape newshape strict base".split()
)


class Rule:
    """How one function may be called.

    Attributes
    ----------
    result : str
        What it gives back; see the module.
    positional : int
        The greatest number of positional arguments.
    creates : bool
        Whether one of its arguments may be a data type, which must then be a numeric one.
    """

    __slots__ = ("creates", "positional", "result")

    def __init__(self, result: str, positional: int = 99, creates: bool = False) -> None:
        self.result = result
        self.positional = positional
        self.creates = creates


# name, or name:greatest number of positional arguments
_FRESH = (
    "append:3 argmax:2 argmin:2 argsort:4 average:3 column_stack concatenate:2 convolve:3 correlate:3 count_nonzero "
    "cross cumprod:3 cumsum:3 digitize dot:2 dstack flatnonzero gradient hstack inner interp "
    "isclose kron max:2 amax:2 min:2 amin:2 mean:3 median:2 nanmax:2 nanmean:3 nanmin:2 nansum:3 nan_to_num:1 nonzero "
    "outer:2 pad polyval prod:3 ptp:2 repeat roll searchsorted sinc "
    "sort:4 stack:2 std:3 sum:3 take:3 tensordot tile trace:5 trapezoid trapz unwrap vander var:3 vdot vstack where "
    "clip:3 cov corrcoef select all:2 any:2 block i0 hamming hanning blackman bartlett"
)
_CREATORS = (
    "arange array empty:2 empty_like:2 eye full:3 full_like:3 geomspace identity linspace logspace meshgrid ones:2 "
    "ones_like:2 zeros:2 zeros_like:2 copy:1 tri indices"
)
_VIEWS = (
    "angle array_split around:2 atleast_1d atleast_2d broadcast_to broadcast_arrays diag diagonal diff einsum "
    "expand_dims flip fliplr flipud imag moveaxis ravel real real_if_close:1 reshape rollaxis rot90 round:2 "
    "split hsplit vsplit squeeze swapaxes transpose tril triu"
)
_VIEW_CREATORS = "asarray ascontiguousarray asanyarray"
_COUNTS = "size ndim"
_LINALG = "norm:4 solve inv det slogdet pinv lstsq cholesky multi_dot:1 eigvalsh"
_NUMBERS = "abs complex divmod float int bool pow round"
_MATH_REFUSED = frozenset(("fsum", "prod", "dist", "sumprod"))  # they run through iterables of their own accord

DATA_METHODS: dict[str, tuple[str, int]] = {
    **dict.fromkeys("copy flatten repeat item dot tolist trace".split(), ("fresh", 1)),
    **dict.fromkeys("sum mean prod cumsum cumprod std var".split(), ("fresh", 2)),
    **dict.fromkeys("max min all any argmax argmin ptp".split(), ("fresh", 1)),
    **dict.fromkeys("astype".split(), ("fresh", 1)),
    **dict.fromkeys("clip".split(), ("fresh", 2)),
    **dict.fromkeys("conj conjugate reshape ravel transpose squeeze diagonal swapaxes".split(), ("view", 9)),
    "round": ("view", 1),
    **dict.fromkeys("append extend insert pop reverse update".split(), ("change", 2)),
    **dict.fromkeys("fill sort".split(), ("change", 1)),
    **dict.fromkeys("items keys values get index count".split(), ("read", 2)),
}
TEXT_METHODS = frozenset("lower upper strip startswith endswith replace split".split())
ARRAY_ATTRIBUTES = {
    **dict.fromkeys("size ndim".split(), "count"),
    "shape": "shape",
    **dict.fromkeys("T real imag flat".split(), "view"),
    "dtype": "dtype",
}


def _rows(names: str, module: Any, result: str, creates: bool = False) -> dict[Any, Rule]:
    table = {}
    for row in names.split():
        name, _, positional = row.partition(":")
        function = getattr(module, name, None)  # some exist in older or newer versions only
        if function is not None:
            table[function] = Rule(result, int(positional or 99), creates)
    return table


@functools.cache
def _table() -> dict[Any, Rule]:
    table: dict[Any, Rule] = {}
    table |= _rows(_FRESH, np, "fresh")
    table |= _rows(_CREATORS, np, "fresh", creates=True)
    table |= _rows(_VIEWS, np, "view")
    table |= _rows(_VIEW_CREATORS, np, "view", creates=True)
    table |= _rows(_COUNTS, np, "count")
    table |= _rows("shape", np, "shape")
    table |= _rows(_LINALG, np.linalg, "fresh")
    for function in vars(math).values():
        if isinstance(function, BuiltinFunctionType) and function.__name__ not in _MATH_REFUSED:
            table[function] = Rule("numbers")
    table |= _rows(_NUMBERS, builtins, "numbers")
    table |= _rows("add sub mul truediv pow", operator, "operator")
    for kind in HARMLESS_TYPES - {str, bytes, type(None), float, int, complex, bool}:
        table[kind] = Rule("view")  # numpy.float64(array) is the array itself
    for function in (max, min, sum):  # one of the arguments; sum([], start) is the start
        table[function] = Rule("view")
    table[len] = Rule("count")
    for name in "range slice list tuple dict enumerate zip reversed".split():
        table[getattr(builtins, name)] = Rule(name)
    table[iter] = Rule("reversed", 1)  # with two arguments it calls the first
    for name in ("any", "all"):
        table[getattr(builtins, name)] = Rule("fresh", 1)
    for kind in vars(builtins).values():
        if isinstance(kind, type) and issubclass(kind, Exception):
            table[kind] = Rule("exception")
    return table


@functools.cache
def _listed_types() -> frozenset[type]:
    return frozenset((*map(type, _table()), np.ufunc))


def rule_of(function: object) -> Rule | None:
    """How this function may be called; None when it is not on the list."""
    if type(function) not in _listed_types():
        return None  # looking it up would run its own `__hash__`
    rule = _table().get(function)
    if rule is None and type(function) is np.ufunc:
        # A ufunc that somebody made of a Python function is in neither place under its own name.
        special = sys.modules.get("scipy.special")
        homes = (getattr(module, function.__name__, None) for module in (np, special))
        if any(home is function for home in homes):
            rule = Rule("numbers", function.nin)
            _table()[function] = rule
    return rule


def is_library(function: Any) -> bool:
    """Whether a Python function belongs to numpy, scipy or Python itself: those are listed or refused, not followed."""
    top = (function.__module__ or "").partition(".")[0]
    return top in ("numpy", "scipy") or (top in sys.stdlib_module_names and top not in _COMMON_NAMES)


def is_other_type(name: str) -> bool:
    """Whether a text names a data type that is not one of numbers."""
    try:
        return np.dtype(name).kind not in "biufc"
    except (TypeError, ValueError):
        return False  # a mode, a side, a subscript


def is_numeric_type(kind: Any) -> bool:
    """Whether arrays of this type (a class, a name, a dtype) hold plain numbers."""
    try:
        return np.dtype(kind).kind in "biufc"
    except TypeError:
        return False
