"""What a kernel may do beyond arithmetic: move a pointer, reinterpret an address, call by address.

Each primitive is defined here with its meaning in plain Python; `lowering` gives the same primitive to numba. In plain
Python a pointer is a numpy array (possibly a slice of a longer one) and the address of a function or an array is a
ticket in a table.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels.backend.kernel import Kernel, compile_disabled

_by_ticket: WeakValueDictionary[int, Any] = WeakValueDictionary()
_tickets: dict[int, int] = {}
_next_ticket = count(1)


class Primitive:
    """A named operation that the lowering replaces when a kernel is compiled."""

    __slots__ = ("in_python", "name")

    def __init__(self, in_python: Callable[..., Any]) -> None:
        self.in_python = in_python
        self.name = in_python.__name__

    def __call__(self, *arguments: Any) -> Any:
        """Run the plain Python meaning."""
        return self.in_python(*arguments)


class WorkspacePart(Primitive):
    """A pointer into a workspace ``(w, iw)`` at a place that is a polynomial in m = iw[0] and n = iw[1].

    Parameters
    ----------
    name : str
        What it points at.
    constant, by_n, by_m, by_nn, by_nm : int
        Coefficients of 1, n, m, n^2 and n m.
    stride : {"", "n", "m", "nn"}
        What a third argument, the index of one of several parts of equal length, is multiplied by; empty: there is
        none.
    """

    __slots__ = ("coefficients", "stride")

    def __init__(
        self,
        name: str,
        *,
        constant: int,
        by_n: int = 0,
        by_m: int = 0,
        by_nn: int = 0,
        by_nm: int = 0,
        stride: str = "",
    ) -> None:
        self.coefficients = (constant, by_n, by_m, by_nn, by_nm)
        self.stride = stride
        super().__init__(self._point)
        self.name = name

    def _point(self, w: NDArray[np.float64], iw: NDArray[np.int64], index: int = 0) -> NDArray[np.float64]:
        m, n = int(iw[0]), int(iw[1])
        terms = (1, n, m, n * n, n * m)
        start = sum(c * t for c, t in zip(self.coefficients, terms, strict=True))
        return w[start + index * {"": 0, "n": n, "m": m, "nn": n * n}[self.stride] :]


@Primitive
def shift(pointer: NDArray[Any], offset: int) -> NDArray[Any]:
    """Give the pointer `offset` elements further on."""
    return pointer[offset:]


@Primitive
def double_pointer(address: int) -> NDArray[np.float64]:
    """Read an integer as the address of doubles."""
    array: NDArray[np.float64] = _by_ticket[int(address)]
    return array


@Primitive
def int_pointer(address: int) -> NDArray[np.int64]:
    """Read an integer as the address of 64-bit integers."""
    array: NDArray[np.int64] = _by_ticket[int(address)]
    return array


@Primitive
def call_function(address: int, x: Any, data: int, out: Any) -> int:
    """Call ``int function(const double* x, void* data, double* out)``; nonzero says that it failed."""
    return int(_by_ticket[int(address)](x, data, out))


@Primitive
def call_step(address: int, w: Any, iw: Any) -> int:
    """Call a solver step ``int step(double* w, int* iw)`` by address."""
    return int(_by_ticket[int(address)](w, iw))


def ticket(thing: Any) -> int:
    """Give `thing` an address-like number for kernels that run as plain Python."""
    key = _tickets.get(id(thing))
    if key is None or _by_ticket.get(key) is not thing:
        key = next(_next_ticket)
        _by_ticket[key] = thing
        _tickets[id(thing)] = key
    return key


def handle(array: NDArray[Any]) -> Any:
    """Give what a kernel's entry takes for a pointer: an address, or the array when nothing is compiled."""
    if compile_disabled():
        return array
    return array.__array_interface__["data"][0]


def address_of_array(array: NDArray[Any]) -> int:
    """Give the integer through which a kernel finds `array`; the caller keeps the array alive."""
    if compile_disabled():
        return ticket(array)
    address: int = array.__array_interface__["data"][0]
    return address


def address_of_kernel(one: Kernel) -> int:
    """Give the integer through which a kernel calls another one by address."""
    return ticket(one.function) if compile_disabled() else one.load()
