"""Python functions as C functions: what a kernel calls is the user's function, with nothing but a copy of x between.

Exceptions cannot pass through C. They are kept, the C function returns a number that is not zero, and whoever started
the kernel raises what was kept.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels.backend import compile_disabled, ticket
from nlsq.kernels.backend.signature import Signature
from nlsq.problem.vector_function.values import FLOAT64, matrix_of, values_of

FloatArray = NDArray[np.float64]
Function = Callable[..., Any]

PLAIN = Signature.parse("int(double*, int, double*)")
WEIGHTED = Signature.parse("int(double*, int, double*, double*)")
MOST_VIEWS = 64  # of the memory of solves, most of which are gone


@final
class CalledBack:
    """C functions that call a Python function ``x (n,) -> c (m,)`` and its derivatives.

    Parameters
    ----------
    name : str
        What messages call the function.
    m, n : int
        Numbers of values and parameters.

    Attributes
    ----------
    error : BaseException or None
        What the function that failed last raised.
    """

    __slots__ = ("_alive", "_kept", "m", "n", "name")

    def __init__(self, name: str, m: int, n: int) -> None:
        self.name, self.m, self.n = name, m, n
        self._kept: list[BaseException] = []  # not `self`, which the C functions would keep alive, and they it
        self._alive: list[Any] = []

    def values(self, function: Function, x0: FloatArray, first: FloatArray) -> int:
        """Return the address of a C function for values; `first` are those at `x0`, for the first call there."""
        name, m, n, kept = self.name, self.m, self.n, self._kept
        view, shape = _Views(), (m,)
        start = [(x0.copy(), first.copy())]

        def call(x_place: Any, data: int, out_place: Any) -> int:
            try:
                x, out = view(x_place, n), view(out_place, m)
                if start:
                    at, values = start.pop()
                    if np.array_equal(x, at):
                        out[:] = values
                        return 0
                value = function(x.copy())
                if type(value) is np.ndarray and value.dtype is FLOAT64 and value.shape == shape:
                    out[:] = value
                elif m == 1 and type(value) is float:
                    out[0] = value
                else:
                    out[:] = values_of(value, m, name)
            except BaseException as error:
                kept[:] = [error]
                return 1
            return 0

        return self._address(PLAIN, call)

    def jacobian(self, function: Function) -> int:
        """Return the address of a C function for the transposed Jacobian (n, m), from ``x -> J (m, n)``."""
        name, m, n, kept = f"{self.name}: jac", self.m, self.n, self._kept
        view, shape = _Views(), (m, n)

        def call(x_place: Any, data: int, out_place: Any) -> int:
            try:
                jac = matrix_of(function(view(x_place, n).copy()), shape, name)
                view(out_place, n * m).reshape(n, m)[:] = jac.T
            except BaseException as error:
                kept[:] = [error]
                return 1
            return 0

        return self._address(PLAIN, call)

    def hessian(self, function: Function) -> int:
        """Return the address of a C function that adds ``(x, v) -> H (n, n)`` to a matrix."""
        name, m, n, kept = f"{self.name}: hess", self.m, self.n, self._kept
        view, shape = _Views(), (n, n)

        def call(x_place: Any, data: int, weights_place: Any, out_place: Any) -> int:
            try:
                value = function(view(x_place, n).copy(), view(weights_place, m).copy())
                out = view(out_place, n * n).reshape(n, n)
                out += matrix_of(value, shape, name)
            except BaseException as error:
                kept[:] = [error]
                return 1
            return 0

        return self._address(WEIGHTED, call)

    def raise_kept(self) -> None:
        """Raise what a function raised, if one did."""
        if self._kept:
            raise self._kept.pop()

    def _address(self, signature: Signature, call: Callable[..., int]) -> int:
        if compile_disabled():
            self._alive.append(call)
            return ticket(call)
        c_function = signature.callback(call)
        self._alive.append(c_function)
        address = ctypes.cast(c_function, ctypes.c_void_p).value
        assert address is not None
        return address


@final
class _Views:
    """Memory as arrays, by address; those of the places that a solve uses again and again are made once."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], FloatArray] = {}

    def __call__(self, place: Any, size: int) -> FloatArray:
        """Return `size` doubles at an address; in plain Python, the first ones of an array."""
        if type(place) is not int:
            part: FloatArray = place[:size]
            return part
        key = place, size
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= MOST_VIEWS:
                self._known.clear()
            memory: Any = (ctypes.c_double * size).from_address(place)
            found = self._known[key] = np.frombuffer(memory, dtype=np.float64)
        return found
