"""Symbolic complex numbers and arrays: pairs of real ones.

Models are real, but some come by way of complex numbers: Voigt profiles, impedances, relaxation. Supported is what has
a plain real form: arithmetic, powers, exp, log, sqrt, circular and hyperbolic functions, absolute value, real and
imaginary part, and the Faddeeva function. For z = a + ib, with t = tan b and h = tanh a,

    tanh z = (h (1 + t^2) + i t / cosh^2 a) / (1 + h^2 t^2)

neither overflows nor cancels; the root takes its larger part from sqrt((|a| + |z|) / 2) [1]_.

References
----------
.. [1] W. Kahan, "Branch cuts for complex elementary functions", in: The State of the Art in Numerical Analysis, 1987.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from nlsq.compiler.graph import Graph, NotTraceable
from nlsq.compiler.tracing.arrays import COMPLEX_NUMBERS, NUMBERS, Traced, as_traced
from nlsq.compiler.tracing.elementwise import broadcast
from nlsq.compiler.tracing.operators import Operators

LARGEST_POWER = 16  # integer exponents up to this are products


class ComplexTraced(Operators):
    """A symbolic complex number or array.

    Parameters
    ----------
    real : Traced
        Real part.
    imag : Traced or number
        Imaginary part.
    """

    __slots__ = ("imag", "real")
    is_unusual = True

    def __init__(self, real: Traced, imag: Any) -> None:
        imag = real.lift(imag)
        shape = np.broadcast_shapes(real.shape, imag.shape)
        self.real: Traced = broadcast(real, shape)
        self.imag: Traced = broadcast(imag, shape)

    @property
    def graph(self) -> Graph:
        """Where operations are recorded."""
        return self.real.graph

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape."""
        return self.real.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.real.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.real.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return np.dtype(np.complex128)

    def __len__(self) -> int:
        return len(self.real)

    def __iter__(self) -> Iterator[ComplexTraced]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, key: Any) -> ComplexTraced:
        return ComplexTraced(self.real[key].copy(), self.imag[key].copy())

    def __pos__(self) -> ComplexTraced:
        return self

    def conjugate(self) -> ComplexTraced:
        """Return the conjugate."""
        return ComplexTraced(self.real, -self.imag)

    conj = conjugate

    def apply(self, operation: str, *operands: Any) -> Any:
        """Record an elementwise operation."""
        return complex_operation(self.graph, operation, operands)

    def in_place(self, operation: str, other: Any) -> Any:
        """Give the array the result; both parts are its own."""
        result = self.apply(operation, self, other)
        if not self.shape:
            return result
        if result.shape != self.shape:
            raise ValueError(f"could not broadcast from shape {result.shape} into shape {self.shape}")
        self.real, self.imag = result.real, result.imag
        return self

    def __array_ufunc__(self, function: Any, method: str, *operands: Any, **options: Any) -> Any:
        from nlsq.compiler.tracing.numpy_functions import call_ufunc

        return call_ufunc(self.graph, function, method, operands, options)

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        if function not in (np.real, np.imag, np.angle):
            raise NotTraceable(f"the function {function.__name__} of a complex array")
        from nlsq.compiler.tracing.array_functions import call_function

        return call_function(self.graph, function, arguments, options)


def as_complex(graph: Graph, operand: Any) -> ComplexTraced:
    """Return an operand as a symbolic complex number or array."""
    if isinstance(operand, ComplexTraced):
        return operand
    if isinstance(operand, COMPLEX_NUMBERS) or (isinstance(operand, np.ndarray) and operand.dtype.kind == "c"):
        real, imag = np.ascontiguousarray(np.real(operand)), np.ascontiguousarray(np.imag(operand))
        shape = np.shape(operand)
        return ComplexTraced(as_traced(graph, real.reshape(shape)), as_traced(graph, imag.reshape(shape)))
    return ComplexTraced(as_traced(graph, operand), 0.0)


def _is_real(operand: Any) -> bool:
    return isinstance(operand, (Traced, *NUMBERS)) or (isinstance(operand, np.ndarray) and operand.dtype.kind in "fiub")


def complex_operation(graph: Graph, operation: str, operands: tuple[Any, ...]) -> Any:
    """Record an elementwise operation of complex numbers; real operands take part as they are where that is simpler."""
    if operation in ("*", "/") and _is_real(operands[1]):
        z, factor = as_complex(graph, operands[0]), as_traced(graph, operands[1])
        return ComplexTraced(z.real.apply(operation, z.real, factor), z.imag.apply(operation, z.imag, factor))
    if operation == "*" and _is_real(operands[0]):
        return complex_operation(graph, operation, operands[::-1])
    if operation == "**":
        return _power(as_complex(graph, operands[0]), operands[1])
    record = _OPERATIONS.get(operation)
    if record is None:
        raise NotTraceable(f"the operation {operation} on complex numbers")
    return record(*[as_complex(graph, one) for one in operands])


def _reciprocal(z: ComplexTraced) -> ComplexTraced:
    square = z.real * z.real + z.imag * z.imag
    return ComplexTraced(z.real / square, -z.imag / square)


def _power(base: ComplexTraced, exponent: Any) -> ComplexTraced:
    if isinstance(exponent, NUMBERS):
        number = float(exponent)
        if number == 0.5:
            return _sqrt(base)
        if number == int(number) and 1 <= abs(number) <= LARGEST_POWER:
            result = base
            for _ in range(abs(int(number)) - 1):
                result = result * base
            return result if number > 0 else _reciprocal(result)
    return _exp(_log(base) * as_complex(base.graph, exponent))


def _exp(z: ComplexTraced) -> ComplexTraced:
    size = z.real.apply("exp", z.real)
    return ComplexTraced(size * _of("cos", z.imag), size * _of("sin", z.imag))


def _log(z: ComplexTraced) -> ComplexTraced:
    return ComplexTraced(_of("log", abs(z)), z.imag.apply("atan2", z.imag, z.real))


def _sqrt(z: ComplexTraced) -> ComplexTraced:
    larger = _of("sqrt", (abs(z.real) + abs(z)) * 0.5)
    twice = larger.apply("where", larger == 0.0, 1.0, 2.0 * larger)
    smaller = abs(z.imag) / twice
    right = z.real >= 0.0
    real = larger.apply("where", right, larger, smaller)
    imag = larger.apply("where", right, smaller, larger)
    return ComplexTraced(real, imag.apply("copysign", imag, z.imag))


def _sinh(z: ComplexTraced) -> ComplexTraced:
    return ComplexTraced(_of("sinh", z.real) * _of("cos", z.imag), _of("cosh", z.real) * _of("sin", z.imag))


def _cosh(z: ComplexTraced) -> ComplexTraced:
    return ComplexTraced(_of("cosh", z.real) * _of("cos", z.imag), _of("sinh", z.real) * _of("sin", z.imag))


def _tanh(z: ComplexTraced) -> ComplexTraced:
    h, t, c = _of("tanh", z.real), _of("tan", z.imag), _of("cosh", z.real)
    below = 1.0 + (h * t) * (h * t)
    return ComplexTraced(h * (1.0 + t * t) / below, t / (c * c) / below)


def _turned(function: Callable[[ComplexTraced], ComplexTraced], back: bool) -> Callable[[ComplexTraced], ComplexTraced]:
    """Return f(iz), times -i where `back`: sin z = -i sinh iz, cos z = cosh iz, tan z = -i tanh iz."""

    def record(z: ComplexTraced) -> ComplexTraced:
        w = function(ComplexTraced(-z.imag, z.real))
        return ComplexTraced(w.imag, -w.real) if back else w

    return record


def _of(operation: str, x: Traced) -> Any:
    return x.apply(operation, x)


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "+": lambda a, b: ComplexTraced(a.real + b.real, a.imag + b.imag),
    "-": lambda a, b: ComplexTraced(a.real - b.real, a.imag - b.imag),
    "*": lambda a, b: ComplexTraced(a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real),
    "/": lambda a, b: a * _reciprocal(b),
    "neg": lambda a: ComplexTraced(-a.real, -a.imag),
    "abs": lambda a: a.real.apply("hypot", a.real, a.imag),
    "exp": _exp, "log": _log, "sqrt": _sqrt, "sinh": _sinh, "cosh": _cosh, "tanh": _tanh,
    "sin": _turned(_sinh, True), "cos": _turned(_cosh, False), "tan": _turned(_tanh, True),
}  # fmt: skip
_UFUNCS = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "true_divide": "/", "power": "**", "negative": "neg",
    "absolute": "abs", "exp": "exp", "log": "log", "sqrt": "sqrt", "sin": "sin", "cos": "cos", "tan": "tan",
    "sinh": "sinh", "cosh": "cosh", "tanh": "tanh",
}  # fmt: skip


def call_complex_ufunc(graph: Graph, name: str, operands: tuple[Any, ...]) -> Any:
    """Record a universal function of complex operands."""
    if name == "wofz":
        from nlsq.compiler.tracing.numpy_functions import wofz

        return wofz(as_complex(graph, operands[0]))
    if name == "conjugate":
        return as_complex(graph, operands[0]).conjugate()
    if name == "square":
        return complex_operation(graph, "*", (operands[0], operands[0]))
    if name == "reciprocal":
        return _reciprocal(as_complex(graph, operands[0]))
    operation = _UFUNCS.get(name)
    if operation is None:
        raise NotTraceable(f"the function {name} of complex numbers")
    return complex_operation(graph, operation, operands)
