"""Plain Python functions under the compiled loop: it calls them back, so that nothing but the user's code runs in Python.

One C callback serves all functions of one size. What it holds - the workspace of a solve, the views of it that the function's arguments
and values go through - costs more to make than a small solve costs to run, so it is kept for the next one of that size.
A solve borrows it; solves within solves and solves in other threads borrow others.
"""

from __future__ import annotations

import ctypes
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

LARGEST = 2**16  # entries of a Jacobian; beyond, the user's function costs more than anything around it
MOST_PARAMETERS = 31  # the compiled loop forms larger normal matrices by BLAS, from Python
MOST_SIZES = 64  # that are kept

_shelves: dict[tuple[int, int], list[CalledBack]] = {}
_C_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


class CalledBack:
    """A C function that calls a Python function ``x (n,) -> r (m,)``.

    Parameters
    ----------
    m, n : int
        Numbers of residuals and parameters.

    Attributes
    ----------
    residual : CompiledResidual
        What a problem takes for its residual.
    """

    __slots__ = ("_error", "_first", "_function", "_plan", "_shape", "_values", "_vectors", "m", "n", "residual")

    def __init__(self, m: int, n: int) -> None:
        self.m, self.n, self._shape = m, n, (m,)
        self._function: Function | None = None
        self._first: Any = None
        self._error: BaseException | None = None
        self._vectors: dict[int, FloatArray] = {}
        self._values: dict[int, FloatArray] = {}
        self._plan: Plan | None = None
        c_function = _C_FUNCTION(self._call)
        address = ctypes.cast(c_function, ctypes.c_void_p).value
        assert address is not None
        table = np.zeros(TABLE, dtype=np.int64)
        table[POINTS] = m
        self.residual = CompiledResidual(address, table, self._raise, m, (c_function,))

    def plan(self, tolerances: Tolerances, maxfev: int, factor: float) -> Plan:
        """Return the workspace that is kept, for options that never change."""
        if self._plan is None:
            self._plan = Plan(self.residual, np.ones(self.n), tolerances, maxfev, factor)
        return self._plan

    def _call(self, x_address: int, data_address: int, out_address: int) -> int:
        """Be the C function: 0, or 1 if the Python function raised."""
        try:
            try:
                x, out = self._vectors[x_address], self._values[out_address]
            except KeyError:
                x = self._vectors[x_address] = _view(x_address, self.n)
                out = self._values[out_address] = _view(out_address, self.m)
            value, self._first = self._first, None
            if value is None:
                value = self._function(x.copy())  # type: ignore[misc]
            if type(value) is np.ndarray and value.shape == self._shape and value.dtype.kind == "f":
                out[:] = value
            else:
                out[:] = as_vector(value, self.m)
        except BaseException as error:  # Python's exceptions cannot pass through C; `_raise` raises it again
            self._error = error
            return 1
        return 0

    def _raise(self, x: FloatArray) -> None:
        """Raise what the function raised."""
        error, self._error = self._error, None
        if error is not None:
            raise error


def _view(address: int, size: int) -> FloatArray:
    return np.frombuffer((ctypes.c_double * size).from_address(address))


def can_be_called_back(m: int, n: int, dtype: Any) -> bool:
    """Whether a function of this size and precision is one for the compiled loop."""
    return m * n <= LARGEST and n <= MOST_PARAMETERS and dtype == np.float64 and not compile_disabled()


class Borrowed:
    """A `CalledBack` for one solve, to be used in a ``with`` statement.

    Parameters
    ----------
    function : callable
        The Python function.
    first : object
        Its value at the start, for the first call; None if it is not known.
    m, n : int
        Numbers of residuals and parameters.
    """

    __slots__ = ("_called_back", "_shelf")

    def __init__(self, function: Function, first: Any, m: int, n: int) -> None:
        shelf = _shelves.get((m, n))
        if shelf is None:
            if len(_shelves) >= MOST_SIZES:
                _shelves.clear()
            shelf = _shelves[m, n] = []
        try:
            called_back = shelf.pop()
        except IndexError:
            called_back = CalledBack(m, n)
        called_back._function, called_back._first = function, first
        self._shelf, self._called_back = shelf, called_back

    def __enter__(self) -> CalledBack:
        return self._called_back

    def __exit__(self, *exception: object) -> None:
        called_back = self._called_back
        called_back._function = called_back._first = called_back._error = None
        self._shelf.append(called_back)
