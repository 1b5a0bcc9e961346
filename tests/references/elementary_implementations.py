"""Ways to run elementary functions over arrays: name -> callable(*arrays) -> array.

`IMPLEMENTATIONS` maps the name of a way to such a function; tests run over all of them.
"""

from functools import cache
from types import FunctionType

import numba
import numpy as np

from nlsq.kernels.backend import primitives
from nlsq.kernels.backend.lowering import jitted, lowered
from nlsq.kernels.elementary import ELEMENTARY
from references.elementary_vectors import in_vectors, processors


def _slow_lanes_from_library(name, values, arguments):
    """Take the library's values where an elementary function says that it needs them."""
    slow = ELEMENTARY[name].slow
    if slow is not None:
        condition = np.array([bool(slow(*map(float, row))) for row in zip(*arguments, strict=True)])
        if condition.any():
            values[condition] = getattr(np, name)(*(argument[condition] for argument in arguments))
    return values


WITH_SOURCE = primitives.Elementary | primitives.Instruction


@cache
def read_by_numba(function):
    """Compile an elementary function, or a helper in its source, as numba reads it: operation by operation."""
    source = function.source if isinstance(function, WITH_SOURCE) else function
    scope = dict(source.__globals__)
    for name in source.__code__.co_names:
        value = scope.get(name)
        if isinstance(value, primitives.Primitive):
            scope[name] = lowered(value)
        elif isinstance(value, FunctionType | WITH_SOURCE):
            scope[name] = read_by_numba(value)
    copy = FunctionType(source.__code__, scope, source.__name__)
    return numba.njit(forceinline=True, error_model="numpy")(copy)


@cache
def in_numba_loop(name):
    """Run its source, read by numba, in a loop."""
    return _loop(name, read_by_numba(ELEMENTARY[name]))


@cache
def in_users_loop(name):
    """Run what users' njit functions are given, in a loop that reassociates."""
    return _loop(name, jitted(ELEMENTARY[name]), {"reassoc", "nsz", "contract"})


def _loop(name, function, fastmath=False):
    if ELEMENTARY[name].arity == 1:

        @numba.njit(error_model="numpy", fastmath=fastmath)
        def loop(x, out):
            for i in range(x.size):
                out[i] = function(x[i])
    else:

        @numba.njit(error_model="numpy", fastmath=fastmath)
        def loop(x, y, out):
            for i in range(x.size):
                out[i] = function(x[i], y[i])

    def run(*arguments):
        arguments = [np.ascontiguousarray(argument, dtype=float) for argument in arguments]
        out = np.empty(arguments[0].size)
        loop(*arguments, out)
        return _slow_lanes_from_library(name, out, arguments)

    return run


def in_plain_python(name):
    """Run it number by number."""
    return lambda *arguments: np.array([ELEMENTARY[name](*map(float, row)) for row in zip(*arguments, strict=True)])


IMPLEMENTATIONS = {"numba": in_numba_loop, "users": in_users_loop} | {name: in_vectors(name) for name in processors()}
