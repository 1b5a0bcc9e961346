"""What the operations of a program do to symbolic values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nlsq.kernels import elementary
from nlsq.kernels.backend.primitives import absolute, copy_sign, floor, select, square_root
from nlsq.kernels.backend.simd import DOUBLE, FLOAT, Value


def _sign(x: Value) -> Value:
    return select(x > 0.0, 1.0, select(x < 0.0, -1.0, x))


def _minimum(a: Value, b: Value) -> Value:
    return select((a <= b) | (a != a), a, b)


def _maximum(a: Value, b: Value) -> Value:
    return select((a >= b) | (a != a), a, b)


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a / b,
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b, "!=": lambda a, b: a != b, "and": lambda a, b: a & b, "or": lambda a, b: a | b,
    "not": lambda a: ~a, "neg": lambda a: -a, "abs": absolute, "sqrt": square_root, "floor": floor, "sign": _sign,
    "narrow": lambda a: a.emitter.converted(a, FLOAT), "wide": lambda a: a.emitter.converted(a, DOUBLE),
    "minimum": _minimum, "maximum": _maximum, "copysign": copy_sign, "where": select,
}  # fmt: skip


def operation(name: str) -> Callable[..., Any]:
    """Return what an operation of the graph does to symbolic values."""
    found = _OPERATIONS.get(name)
    return getattr(elementary, name) if found is None else found
