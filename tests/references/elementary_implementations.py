"""Ways to run elementary functions over arrays: name -> callable(*arrays) -> array.

`IMPLEMENTATIONS` maps the name of a way to such a function; tests run over all of them.
"""

from functools import cache

import numba
import numpy as np

from nlsq.kernels.backend.lowering import jitted
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


@cache
def in_numba_loop(name):
    """Run it in a loop that numba compiles and LLVM vectorises."""
    function = jitted(ELEMENTARY[name])
    if ELEMENTARY[name].arity == 1:

        @numba.njit(error_model="numpy")
        def loop(x, out):
            for i in range(x.size):
                out[i] = function(x[i])
    else:

        @numba.njit(error_model="numpy")
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


IMPLEMENTATIONS = {"numba": in_numba_loop} | {name: in_vectors(name) for name in processors()}
