"""Plain Python functions under the compiled loop, which calls them back: nothing but the user's code runs in Python.

A C callback serves all functions of one size. What it holds - the workspace of a solve, and the arrays that show it to
Python - costs more to make than a small solve costs to run, so it is kept for the next solve of that size. A solve
borrows it; solves within solves and in other threads borrow others.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels.backend import compile_disabled
from nlsq.kernels.curve import POINTS, TABLE
from nlsq.problem.compiled import CompiledResidual
from nlsq.scipy_api.functions import Function, as_vector
from nlsq.solvers.least_overhead import Plan
from nlsq.solvers.termination import Tolerances

FloatArray = NDArray[np.float64]

LARGEST_KEPT = 2**14  # entries of a Jacobian; beyond, the user's function costs much more than making all this anew
MOST_KEPT = 64  # sizes
MOST_PARAMETERS = 31  # the compiled loop leaves larger normal matrices to BLAS, in Python

Options = tuple[float, float, float, int, float]  # ftol, xtol, gtol, maxfev, factor

_shelves: dict[tuple[int, int, Options], list[CalledBack]] = {}
_C_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


class CalledBack:
    """A C function that calls a Python function ``x (n,) -> r (m,)``, and the workspace of a solve that calls it.

    Parameters
    ----------
    m, n : int
        Numbers of residuals and parameters.
    options : tuple
        ``ftol, xtol, gtol, maxfev, factor``.

    Attributes
    ----------
    plan : Plan
        The workspace.
    """

    __slots__ = ("_error", "_first", "_function", "plan")

    def __init__(self, m: int, n: int, options: Options) -> None:
        self._function: Any = None
        self._first: Any = None
        self._error: BaseException | None = None
        c_function = _C_FUNCTION(self._python_side(m, n))
        address = ctypes.cast(c_function, ctypes.c_void_p).value
        assert address is not None
        table = np.zeros(TABLE, dtype=np.int64)
        table[POINTS] = m
        residual = CompiledResidual(address, table, self._raise, m, (c_function,))
        ftol, xtol, gtol, maxfev, factor = options
        tolerances = Tolerances(cost=ftol, step=xtol, optimality=gtol, rule="minpack")
        self.plan = Plan(residual, np.ones(n), tolerances, maxfev, factor)

    def take(self, function: Function | None, first: Any) -> None:
        """Take on a function with its value at the start, None if that is not known; or let go of one."""
        self._function, self._first, self._error = function, first, None

    def _python_side(self, m: int, n: int) -> Callable[[int, int, int], int]:
        """Return what the C function calls with addresses of x, data and r: 0, or 1 if the Python function raised."""
        shape = (m,)
        points: dict[int, FloatArray] = {}  # the workspace as arrays, by address
        values: dict[int, FloatArray] = {}

        def call(x_address: int, data_address: int, out_address: int) -> int:
            try:
                try:
                    x, out = points[x_address], values[out_address]
                except KeyError:
                    x, out = points[x_address], values[out_address] = _view(x_address, n), _view(out_address, m)
                if self._first is None:
                    value = self._function(x.copy())
                else:
                    value, self._first = self._first, None
                if type(value) is np.ndarray and value.shape == shape and value.dtype.kind == "f":
                    out[:] = value
                else:
                    out[:] = as_vector(value, m)
            except BaseException as error:  # exceptions cannot pass through C; `_raise` raises it again
                self._error = error
                return 1
            return 0

        return call

    def _raise(self, x: FloatArray) -> None:
        """Raise what the function raised."""
        error, self._error = self._error, None
        if error is not None:
            raise error


def _view(address: int, size: int) -> FloatArray:
    """Return doubles of the workspace as an array."""
    memory: Any = (ctypes.c_double * size).from_address(address)
    return np.frombuffer(memory, dtype=np.float64)


def can_be_called_back(m: int, n: int, dtype: Any) -> bool:
    """Whether a function of this size and precision is one for the compiled loop."""
    return n <= MOST_PARAMETERS and dtype == np.float64 and not compile_disabled()


class Borrowed:
    """A plan that runs a Python function, for one solve: to be used in a ``with`` statement.

    Parameters
    ----------
    function : callable
        ``x (n,) -> r (m,)``.
    first : object
        Its value at the start, for the first call; None if that is not known.
    m, n : int
        Numbers of residuals and parameters.
    options : tuple
        ``ftol, xtol, gtol, maxfev, factor``.
    """

    __slots__ = ("_called_back", "_shelf")

    def __init__(self, function: Function, first: Any, m: int, n: int, options: Options) -> None:
        key = (m, n, options)
        shelf = _shelves.get(key)
        if shelf is None:
            shelf = []
            if m * n <= LARGEST_KEPT:
                if len(_shelves) >= MOST_KEPT:
                    _shelves.clear()
                _shelves[key] = shelf
        try:
            called_back = shelf.pop()
        except IndexError:
            called_back = CalledBack(m, n, options)
        called_back.take(function, first)
        self._shelf, self._called_back = shelf, called_back

    def __enter__(self) -> Plan:
        return self._called_back.plan

    def __exit__(self, *exception: object) -> None:
        self._called_back.take(None, None)
        self._shelf.append(self._called_back)
