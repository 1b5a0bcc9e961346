"""Copies of functions that refer to something else: how a user's code is compiled anew in another arithmetic."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

_NOT_HELPERS = {"numpy", "numba", "scipy"}  # whose functions numba knows, or never will


def codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a function's code and that of the functions and comprehensions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def rebound(function: FunctionType, replacement: Callable[[Any], Any]) -> FunctionType:
    """Copy a function with all that its globals and its closure name replaced by what `replacement` gives for it."""
    scope = dict(function.__globals__)
    for name in {name for code in codes(function.__code__) for name in code.co_names}:
        if name in scope:
            scope[name] = replacement(scope[name])
    cells = tuple(_cell(cell, replacement) for cell in function.__closure__ or ())
    copy = FunctionType(function.__code__, scope, function.__name__, function.__defaults__, cells or None)
    copy.__module__, copy.__qualname__ = function.__module__, function.__qualname__
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _cell(cell: CellType, replacement: Callable[[Any], Any]) -> CellType:
    try:
        return CellType(replacement(cell.cell_contents))
    except ValueError:  # not assigned yet
        return cell


def is_helper(value: Any) -> bool:
    """Say whether a value is a function of the user's, plain or jitted."""
    function = getattr(value, "py_func", value)
    return isinstance(function, FunctionType) and not _is_known(function.__module__)


def is_users_module(module: ModuleType) -> bool:
    """Say whether a module may hold functions of the user's."""
    return not _is_known(module.__name__)


def _is_known(module: str | None) -> bool:
    root = (module or "").partition(".")[0]
    return root in _NOT_HELPERS or root in sys.stdlib_module_names
