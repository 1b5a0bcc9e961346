"""What a kernel may do beyond arithmetic: move a pointer, reinterpret an address, call by address, operate on numbers.

Each primitive is defined here with its meaning in plain Python; `lowering` gives the same primitive to numba. In plain
Python a pointer is a numpy array (possibly a slice of a longer one) and the address of a function or an array is a
ticket in a table.

Elementary functions are straight-line code made of operators, comparisons, the primitives on numbers, instructions and
other elementary functions: no branch, no loop. The same source has several readers; none may reassociate it.

- Plain Python calls the function with floats.
- An emitter calls it once with symbolic values: objects that overload the operators and have the methods
  ``emit(name, *arguments)`` for primitives and ``emit_elementary(function, *arguments)`` for elementary functions;
  where they have ``emit_instruction(instruction, *arguments)`` too, it may write something better than the source.
- numba can compile it once primitives stand in their compiled form; in njit functions, though, `lowering` lets an
  emitter write the code, which takes a tenth of the time.

Integers are signed with 64 bits. In plain Python they are wrapped only when they are read as a double or shifted to the
right, so what has been shifted to the left may not be compared. No divisor may be zero: Python would raise.
"""

from __future__ import annotations

import math
import struct
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
_ALL_BITS = (1 << 64) - 1


class Primitive:
    """A named operation that the lowering replaces when a kernel is compiled."""

    __slots__ = ("in_python", "name")

    def __init__(self, in_python: Callable[..., Any]) -> None:
        self.in_python = in_python
        self.name = in_python.__name__

    def __call__(self, *arguments: Any) -> Any:
        """Run the plain Python meaning."""
        return self.in_python(*arguments)


class Operation(Primitive):
    """A primitive on numbers: handed to a symbolic value when one is among its arguments."""

    __slots__ = ()

    def __call__(self, *arguments: Any) -> Any:
        """Emit the operation, or run its plain Python meaning."""
        for argument in arguments:
            if hasattr(argument, "emit"):
                return argument.emit(self.name, *arguments)
        return self.in_python(*arguments)


class Elementary:
    """An elementary function: its straight-line source and what the C library calls it.

    Parameters
    ----------
    source : function
        The straight-line source.
    library : str or None
        The C library's function of the same meaning, for readers whose processor lacks fused multiply-add; None where
        there is none.
    slow : callable or None
        Straight-line condition on the same arguments: true where the source is wrong and a reader must take the value
        from `library`; None when the source is right everywhere.

    Attributes
    ----------
    name : str
        Name of the source.
    arity : int
        Number of arguments.
    """

    __slots__ = ("arity", "library", "name", "slow", "source")

    def __init__(
        self, source: Callable[..., Any], library: str | None = None, slow: Callable[..., Any] | None = None
    ) -> None:
        self.source = source
        self.name = source.__name__
        self.arity = source.__code__.co_argcount
        self.library = library
        self.slow = slow

    def __call__(self, *arguments: Any) -> Any:
        """Hand the function to a symbolic value, or run it as plain Python."""
        for argument in arguments:
            if hasattr(argument, "emit_elementary"):
                return argument.emit_elementary(self, *arguments)
        if self.slow is not None and self.library is not None and self.slow(*arguments):
            return getattr(math, self.library)(*arguments)
        return self.source(*arguments)

    def __repr__(self) -> str:
        return f"<elementary {self.name}>"


class Instruction:
    """Straight-line code for which some processors have an instruction, or a few.

    Parameters
    ----------
    source : function
        Straight-line code that says what the instruction does, and does it on all other processors. Where its
        docstring leaves a value open, an instruction may give another one.

    Attributes
    ----------
    name : str
        Name of the source.
    """

    __slots__ = ("name", "source")

    def __init__(self, source: Callable[..., Any]) -> None:
        self.source = source
        self.name = source.__name__

    def __call__(self, *arguments: Any) -> Any:
        """Hand the instruction to a symbolic value, or run its source."""
        for argument in arguments:
            if hasattr(argument, "emit_instruction"):
                return argument.emit_instruction(self, *arguments)
        return self.source(*arguments)

    def __repr__(self) -> str:
        return f"<instruction {self.name}>"


def elementary(
    library: str | None = None, slow: Callable[..., Any] | None = None
) -> Callable[[Callable[..., Any]], Elementary]:
    """Declare an elementary function; the arguments are those of `Elementary`."""

    def declare(source: Callable[..., Any]) -> Elementary:
        return Elementary(source, library, slow)

    return declare


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
def call_weighted(address: int, x: Any, data: int, weights: Any, out: Any) -> int:
    """Call ``int function(const double* x, void* data, const double* weights, double* out)``; nonzero: it failed."""
    return int(_by_ticket[int(address)](x, data, weights, out))


@Primitive
def call_normal(address: int, x: Any, data: int, gradient_out: Any, normal_out: Any) -> float:
    """Call ``double function(const double* x, void* data, double* gradient, double* normal)``: the cost."""
    return float(_by_ticket[int(address)](x, data, gradient_out, normal_out))


@Primitive
def call_step(address: int, w: Any, iw: Any) -> int:
    """Call a solver step ``int step(double* w, int* iw)`` by address."""
    return int(_by_ticket[int(address)](w, iw))


@Primitive
def subtract_product(
    rows: int,
    columns: int,
    depth: int,
    a: Any,
    lda: int,
    b: Any,
    column_step: int,
    depth_step: int,
    c: Any,
    ldc: int,
    adds: int,
) -> None:
    """Form C - A B', or -A B' where `adds` is 0: A (rows, depth) and C (rows, columns) by columns.

    ``B[j, p] = b[j column_step + p depth_step]``; columns of A and C are `lda` and `ldc` apart. C may overlap neither.
    """
    for j in range(columns):
        for i in range(rows):
            total = c[i + j * ldc] if adds else 0.0
            for p in range(depth):
                total -= a[i + p * lda] * b[j * column_step + p * depth_step]
            c[i + j * ldc] = total


@Primitive
def add_multiple(factor: float, x: Any, out: Any) -> None:
    """Add ``factor * x`` to `out`, four neighbouring numbers at once."""
    for i in range(4):
        out[i] += factor * x[i]


@Primitive
def call_potrf(address: int, n: int, a: Any, lda: int) -> int:
    """Overwrite the lower triangle of A (n, n) by its Cholesky factor; k > 0 if the k-th pivot is not positive."""
    return int(_by_ticket[int(address)](n, a, lda))


@Primitive
def call_trsm(address: int, m: int, n: int, a: Any, lda: int, b: Any, ldb: int) -> None:
    """Overwrite B (m, n) by the X of X A' = B, where A (n, n) is lower triangular."""
    _by_ticket[int(address)](m, n, a, lda, b, ldb)


@Primitive
def call_syrk(address: int, n: int, k: int, a: Any, lda: int, c: Any, ldc: int) -> None:
    """Overwrite the lower triangle of C (n, n) by that of -A A', where A is (n, k)."""
    _by_ticket[int(address)](n, k, a, lda, c, ldc)


@Operation
def fma(a: float, b: float, c: float) -> float:
    """Give a b + c, rounded once."""
    product = a * b
    if not (math.isfinite(a) and math.isfinite(b)):
        return product + c
    if not math.isfinite(c):
        return c
    from fractions import Fraction

    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:  # the sign of zero: that of both addends when they are zeros of one sign
        return product + c if a == 0.0 or b == 0.0 else 0.0
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


@Operation
def select(condition: bool, a: float, b: float) -> float:
    """Give `a` where the condition holds, else `b`; both have been computed."""
    return a if condition else b


@Operation
def as_bits(x: float) -> int:
    """Read the bits of a double as a signed integer."""
    bits: int = struct.unpack("<q", struct.pack("<d", x))[0]
    return bits


@Operation
def as_double(i: int) -> float:
    """Read an integer's 64 bits as a double."""
    value: float = struct.unpack("<d", struct.pack("<Q", i & _ALL_BITS))[0]
    return value


@Operation
def shift_right(i: int, n: int) -> int:
    """Shift to the right by `n` bits, filling with zeros."""
    return (i & _ALL_BITS) >> n


@Operation
def absolute(x: float) -> float:
    """Clear the sign."""
    return math.fabs(x)


@Operation
def floor(x: float) -> float:
    """Give the largest integer that is not above x, as a double."""
    return math.copysign(math.floor(x), x) if math.isfinite(x) else x


@Operation
def copy_sign(magnitude: float, sign: float) -> float:
    """Give `magnitude` the sign of `sign`."""
    return math.copysign(magnitude, sign)


@Operation
def square_root(x: float) -> float:
    """Give the square root; NaN below zero."""
    return math.sqrt(x) if x >= 0.0 else math.nan


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
