"""The dual form of a user's function: the same code, with room for partial derivatives.

``np.empty(n)`` in a user's function means doubles; in its dual form the same line must make dual numbers. The function
is therefore copied with NumPy's constructors, and some reductions, replaced by those of
`nlsq.kernels.backend.dual_arrays`. Functions decorated with njit that it calls are copied too.
"""

from __future__ import annotations

from functools import cache
from types import CellType, FunctionType, ModuleType
from typing import Any

import numba
import numpy as np
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import NopythonRewrites

from nlsq.kernels.backend.dual import INTERNAL
from nlsq.kernels.backend.dual_arrays import REDUCTIONS, constructors


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
def _replacements(width: int) -> dict[int, Any]:
    """Map from the identity of what a function refers to, to what its dual form refers to."""
    functions = {**constructors(width), **REDUCTIONS}
    return {id(np): _Numpy(functions), **{id(original): one for original, one in functions.items()}}


def dual_form(function: Any, width: int) -> Any:
    """Copy a jitted function for dual numbers of `width`."""
    return _jitted(function, _replacements(width), {})


def _jitted(dispatcher: Any, replaced: dict[int, Any], done: dict[int, Any]) -> Any:
    """Copy a jitted function; `done` maps functions to their copies, so that recursion ends."""
    if id(dispatcher) not in done:
        done[id(dispatcher)] = dispatcher  # what calls itself keeps calling the original
        copy = _copy(dispatcher.py_func, replaced, done)
        done[id(dispatcher)] = numba.njit(pipeline_class=DualPipeline, forceinline=True, **INTERNAL)(copy)
    return done[id(dispatcher)]


def _copy(function: FunctionType, replaced: dict[int, Any], done: dict[int, Any]) -> FunctionType:
    def replacement(value: Any) -> Any:
        if isinstance(value, CPUDispatcher):
            return _jitted(value, replaced, done)
        return replaced.get(id(value), value)

    scope = dict(function.__globals__)
    for name in function.__code__.co_names:
        if name in scope:
            scope[name] = replacement(scope[name])
    cells = tuple(CellType(replacement(cell.cell_contents)) for cell in function.__closure__ or ())
    copy = FunctionType(function.__code__, scope, function.__name__, function.__defaults__, cells or None)
    copy.__module__, copy.__qualname__, copy.__kwdefaults__ = (
        function.__module__,
        function.__qualname__,
        function.__kwdefaults__,
    )
    return copy
