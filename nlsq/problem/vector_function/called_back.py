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

from nlsq.kernels.backend import callback_address, compile_disabled
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

    __slots__ = ("_alive", "_kept", "_start", "m", "n", "name")

    def __init__(self, name: str, m: int, n: int) -> None:
        self.name, self.m, self.n = name, m, n
        self._kept: list[BaseException] = []  # not `self`, which the C functions would keep alive, and they it
        self._alive: list[Any] = []
        self._start: list[tuple[FloatArray, FloatArray]] = []

    def know(self, x: FloatArray, values: FloatArray) -> None:
        """Take values that are known at a point for the next call there."""
        self._start[:] = [(x.copy(), values.copy())]

    def forget(self) -> None:
        """Know no values any more."""
        self._start.clear()

    def values(self, function: Function) -> int:
        """Return the address of a C function for values."""
        name, m, kept = self.name, self.m, self._kept
        points, results, shape, start = views(self.n), views(m), (m,), self._start

        def call(x_place: Any, data: int, out_place: Any) -> int:
            try:
                x, out = points[x_place], results[out_place]
                if start:
                    at, values = start.pop()
                    if np.array_equal(x, at):
                        out[:] = values
                        return 0
                value = function(x.copy())
                if type(value) is np.ndarray and value.shape == shape and value.dtype is FLOAT64:
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
        points, results, shape = views(n), views(n * m), (m, n)

        def call(x_place: Any, data: int, out_place: Any) -> int:
            try:
                jac = matrix_of(function(points[x_place].copy()), shape, name)
                results[out_place].reshape(n, m)[:] = jac.T
            except BaseException as error:
                kept[:] = [error]
                return 1
            return 0

        return self._address(PLAIN, call)

    def hessian(self, function: Function) -> int:
        """Return the address of a C function that adds ``(x, v) -> H (n, n)`` to a matrix."""
        name, n, kept = f"{self.name}: hess", self.n, self._kept
        points, weights, results, shape = views(n), views(self.m), views(n * n), (n, n)

        def call(x_place: Any, data: int, weights_place: Any, out_place: Any) -> int:
            try:
                value = function(points[x_place].copy(), weights[weights_place].copy())
                out = results[out_place].reshape(n, n)
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
        address, kept = callback_address(signature, call)
        self._alive.append(kept)
        return address


class _Views(dict[int, FloatArray]):
    """Memory as arrays of one size, by address; those of the places that a solve uses again and again are made once."""

    __slots__ = ("_size",)

    def __init__(self, size: int) -> None:
        self._size = size

    def __missing__(self, address: int) -> FloatArray:
        """Make the array at an address."""
        if len(self) >= MOST_VIEWS:
            self.clear()
        memory: Any = (ctypes.c_double * self._size).from_address(address)
        found = self[address] = np.frombuffer(memory, dtype=np.float64)
        return found


@final
class _Beginnings:
    """The same where kernels run as plain Python: the beginning of an array."""

    __slots__ = ("_size",)

    def __init__(self, size: int) -> None:
        self._size = size

    def __getitem__(self, array: FloatArray) -> FloatArray:
        """Return the first numbers of an array."""
        return array[: self._size]


def views(size: int) -> Any:
    """Return what gives the `size` doubles that a kernel points at, as an array."""
    return _Beginnings(size) if compile_disabled() else _Views(size)
