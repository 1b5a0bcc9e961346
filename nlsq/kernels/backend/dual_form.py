"""The dual form of a user's function: the same code, with room for partial derivatives.

``np.empty(n)`` in a user's function means doubles; in its dual form the same line must make dual numbers. The function
is therefore copied with NumPy's constructors, and some reductions, replaced by those of
`nlsq.kernels.backend.dual_arrays`. Functions decorated with njit that it calls are copied too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import numba
import numpy as np
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import NopythonRewrites

from nlsq.kernels.backend.dual import INTERNAL, DualType
from nlsq.kernels.backend.dual_arrays import REDUCTIONS, constructors
from nlsq.kernels.backend.rebinding import codes, is_helper, is_users_module, rebound


class DualPipeline(CompilerBase):
    """Numba's pipeline without the fusion of array expressions, which knows numba's own number types only."""

    def define_pipelines(self) -> list[Any]:
        """List the passes from bytecode to machine code."""
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        manager.passes[:] = [one for one in manager.passes if one[0] is not NopythonRewrites]
        manager.finalize()
        return [manager]


class _Numpy(ModuleType):
    """NumPy with some functions replaced."""

    def __init__(self, replaced: dict[Any, Any]) -> None:
        super().__init__("numpy")
        self.__dict__.update({original.__name__: one for original, one in replaced.items()})

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


@cache
def _replacements(dual: DualType) -> dict[int, Any]:
    """Map from the identity of what a function refers to, to what its dual form refers to."""
    functions = {**constructors(dual), **REDUCTIONS}
    return {id(np): _Numpy(functions), **{id(original): one for original, one in functions.items()}}


def dual_form(function: Any, dual: DualType, *, helpers: bool = False) -> Any:
    """Copy a function for dual numbers, and the jitted functions that it calls; with `helpers`, the plain ones too."""
    return _jitted(function, _replacements(dual), {}, helpers)


def plain_form(function: Any) -> Any:
    """Copy a function for doubles, and all jitted and plain functions that it calls."""
    return _jitted(function, {}, {}, True)


def _jitted(function: Any, replaced: dict[int, Any], done: dict[int, Any], helpers: bool) -> Any:
    """Copy a function; `done` maps functions and modules to their copies, so that recursion ends."""

    def replacement(value: Any) -> Any:
        if id(value) in replaced:
            return replaced[id(value)]
        if isinstance(value, CPUDispatcher) or (helpers and is_helper(value)):
            return _jitted(value, replaced, done, helpers)
        if helpers and isinstance(value, ModuleType) and is_users_module(value):
            if id(value) not in done:  # numba takes two copies of a module for two modules
                done[id(value)] = _UsersModule(value, replacement)
            return done[id(value)]
        return value

    if id(function) not in done:
        done[id(function)] = function  # what calls itself keeps calling the original
        source = getattr(function, "py_func", function)
        if helpers and any("print" in code.co_names for code in codes(source.__code__)):
            raise NotImplementedError("print needs the interpreter, which compiled blocks run without.")
        copy = rebound(source, replacement)
        done[id(function)] = numba.njit(pipeline_class=DualPipeline, forceinline=True, **INTERNAL)(copy)
    return done[id(function)]


class _UsersModule(ModuleType):
    """A module with its functions compiled when they are first asked for."""

    def __init__(self, original: ModuleType, replacement: Callable[[Any], Any]) -> None:
        super().__init__(original.__name__)
        self.__dict__["_parts"] = original, replacement

    def __getattr__(self, name: str) -> Any:
        original, replacement = self.__dict__["_parts"]
        made = self.__dict__[name] = replacement(getattr(original, name))
        return made
