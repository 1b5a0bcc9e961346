"""Symbolic complex numbers and arrays: pairs of real ones.

Models are real, but some come by way of complex numbers: Voigt profiles, impedances, relaxation. Supported is what has
a plain real form: arithmetic, powers, exp, log, sqrt, absolute value, real and imaginary part, and the Faddeeva function.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from nlsq.compiler.arrays import NUMBERS, Traced, stacked
from nlsq.compiler.graph import Graph, NotTraceable


class ComplexTraced:
    """A symbolic complex number or array.

    Parameters
    ----------
    re, im : Traced
        Real and imaginary part.
    """

    __slots__ = ("im", "re")
    __array_priority__ = 1e9
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, re: Traced, im: Any) -> None:
        self.re = re
        self.im = re.lift(im)

    @property
    def real(self) -> Traced:
        """Real part."""
        return self.re + self.im * 0.0 if self.re.shape != self.im.shape else self.re

    @property
    def imag(self) -> Traced:
        """Imaginary part."""
        return self.im + self.re * 0.0 if self.re.shape != self.im.shape else self.im

    @property
    def graph(self) -> Graph:
        """Where operations are recorded."""
        return self.re.graph

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape."""
        return np.broadcast_shapes(self.re.shape, self.im.shape)

    def conjugate(self) -> ComplexTraced:
        """Return the conjugate."""
        return ComplexTraced(self.re, -self.im)

    conj = conjugate

    def parts(self, other: Any) -> tuple[Any, Any]:
        """Return real and imaginary part of an operand."""
        return parts(self.graph, other)

    def __add__(self, other: Any) -> ComplexTraced:
        a, b = self.parts(other)
        return ComplexTraced(self.re + a, self.im + b)

    __radd__ = __add__

    def __sub__(self, other: Any) -> ComplexTraced:
        a, b = self.parts(other)
        return ComplexTraced(self.re - a, self.im - b)

    def __rsub__(self, other: Any) -> ComplexTraced:
        return -self + other

    def __neg__(self) -> ComplexTraced:
        return ComplexTraced(-self.re, -self.im)

    def __pos__(self) -> ComplexTraced:
        return self

    def __mul__(self, other: Any) -> ComplexTraced:
        if isinstance(other, Traced | np.floating | float | int):
            return ComplexTraced(self.re * other, self.im * other)
        a, b = self.parts(other)
        return ComplexTraced(self.re * a - self.im * b, self.re * b + self.im * a)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> ComplexTraced:
        if isinstance(other, Traced | np.floating | float | int):
            return ComplexTraced(self.re / other, self.im / other)
        a, b = self.parts(other)
        return self * ComplexTraced(self.re.lift(a), b)._reciprocal()

    def __rtruediv__(self, other: Any) -> ComplexTraced:
        return self._reciprocal() * other

    def _reciprocal(self) -> ComplexTraced:
        square = self.re * self.re + self.im * self.im
        return ComplexTraced(self.re / square, -self.im / square)

    def __pow__(self, exponent: Any) -> ComplexTraced:
        if isinstance(exponent, NUMBERS) and float(exponent) == int(exponent) and 1 <= exponent <= 16:
            result = self
            for _ in range(int(exponent) - 1):
                result = result * self
            return result
        return (self.log() * exponent).exp()

    def __rpow__(self, base: Any) -> ComplexTraced:
        if isinstance(base, NUMBERS) and base > 0:
            return (self * float(np.log(base))).exp()
        raise NotTraceable("a complex power of such a base")

    def __abs__(self) -> Traced:
        return self.re.apply("hypot", self.re, self.im)

    def exp(self) -> ComplexTraced:
        """Return the exponential."""
        size = self.re.apply("exp", self.re)
        return ComplexTraced(size * self.im.apply("cos", self.im), size * self.im.apply("sin", self.im))

    def log(self) -> ComplexTraced:
        """Return the principal logarithm."""
        size = abs(self)
        return ComplexTraced(size.apply("log", size), self.im.apply("atan2", self.im, self.re))

    def sqrt(self) -> ComplexTraced:
        """Return the principal root."""
        return (self.log() * 0.5).exp()

    def __getitem__(self, key: Any) -> ComplexTraced:
        return ComplexTraced(self.real[key], self.imag[key])

    def __bool__(self) -> bool:
        raise NotTraceable("a branch on a value that depends on the parameters or the data")

    def __complex__(self) -> NoReturn:
        raise NotTraceable("a conversion to a plain number")

    def __getattr__(self, name: str) -> NoReturn:
        raise NotTraceable(f"the attribute {name!r} of a complex array")

    def __array__(self, *arguments: Any, **options: Any) -> NoReturn:
        raise NotTraceable("a conversion to a plain array")

    def __array_ufunc__(self, function: Any, method: str, *operands: Any, **options: Any) -> Any:
        from nlsq.compiler.numpy_functions import call_ufunc

        return call_ufunc(self.graph, function, method, operands, options)

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        if function not in (np.real, np.imag, np.angle):
            raise NotTraceable(f"the function {function.__name__} of a complex array")
        from nlsq.compiler.numpy_functions import call_function

        return call_function(self.graph, function, arguments, options)


def parts(graph: Graph, operand: Any) -> tuple[Any, Any]:
    """Return real and imaginary part of an operand."""
    if isinstance(operand, ComplexTraced):
        return operand.re, operand.im
    if isinstance(operand, complex | np.complexfloating) or (isinstance(operand, np.ndarray) and operand.dtype.kind == "c"):
        return np.real(operand).copy(), np.imag(operand).copy()
    if isinstance(operand, list | tuple):
        return stacked(graph, operand), 0.0
    return operand, 0.0


def call_complex_ufunc(graph: Graph, name: str, operands: tuple[Any, ...]) -> Any:
    """Record a universal function of complex operands."""
    values = [one if isinstance(one, ComplexTraced) else _lifted(graph, one) for one in operands]
    first = values[0]
    simple = {
        "add": lambda a, b: a + b, "subtract": lambda a, b: a - b, "multiply": lambda a, b: a * b,
        "divide": lambda a, b: a / b, "true_divide": lambda a, b: a / b, "power": lambda a, b: a**b,
        "negative": lambda a: -a, "absolute": abs, "exp": lambda a: a.exp(), "log": lambda a: a.log(),
        "sqrt": lambda a: a.sqrt(), "conjugate": lambda a: a.conjugate(), "square": lambda a: a * a,
        "reciprocal": lambda a: 1.0 / a,
    }  # fmt: skip
    if name == "wofz":
        from nlsq.compiler.numpy_functions import _wofz

        return _wofz(first)
    if name == "power" and not isinstance(operands[1], ComplexTraced | complex | np.complexfloating):
        return first ** operands[1]
    if name not in simple:
        raise NotTraceable(f"the function {name} of complex numbers")
    return simple[name](*values)


def _lifted(graph: Graph, operand: Any) -> ComplexTraced:
    zero = Traced(graph, (), [(graph.number(0.0), 0)])
    re, im = parts(graph, operand)
    return ComplexTraced(zero.lift(re), im)
