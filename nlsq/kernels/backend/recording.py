"""Straight-line code that writes itself into a program.

A `Symbol` stands for a number that is known only when the kernel runs. Operators, comparisons and the primitives on
numbers add a statement for their result; there are no others.
"""

from __future__ import annotations

from typing import Any

from nlsq.kernels.backend.program import Place, Program, Statement

_PRIMITIVES = {"select": "where", "absolute": "abs", "square_root": "sqrt"}


class Symbol:
    """A number of a kernel, or a truth value.

    Parameters
    ----------
    recorder : Recorder
        What writes down what is done to it.
    name : str
        Its name in statements.
    """

    __slots__ = ("name", "recorder")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, recorder: Recorder, name: str) -> None:
        self.recorder, self.name = recorder, name

    def emit(self, primitive: str, *arguments: Any) -> Symbol:
        """Write a primitive."""
        return self.recorder.write(_PRIMITIVES[primitive], *arguments)

    def __add__(self, other: Any) -> Symbol:
        return self.recorder.write("+", self, other)

    def __radd__(self, other: Any) -> Symbol:
        return self.recorder.write("+", other, self)

    def __sub__(self, other: Any) -> Symbol:
        return self.recorder.write("-", self, other)

    def __rsub__(self, other: Any) -> Symbol:
        return self.recorder.write("-", other, self)

    def __mul__(self, other: Any) -> Symbol:
        return self.recorder.write("*", self, other)

    def __rmul__(self, other: Any) -> Symbol:
        return self.recorder.write("*", other, self)

    def __truediv__(self, other: Any) -> Symbol:
        return self.recorder.write("/", self, other)

    def __rtruediv__(self, other: Any) -> Symbol:
        return self.recorder.write("/", other, self)

    def __neg__(self) -> Symbol:
        return self.recorder.write("neg", self)

    def __and__(self, other: Any) -> Symbol:
        return self.recorder.write("and", self, other)

    def __or__(self, other: Any) -> Symbol:
        return self.recorder.write("or", self, other)

    def __invert__(self) -> Symbol:
        return self.recorder.write("not", self)

    def __lt__(self, other: Any) -> Symbol:
        return self.recorder.write("<", self, other)

    def __le__(self, other: Any) -> Symbol:
        return self.recorder.write("<=", self, other)

    def __gt__(self, other: Any) -> Symbol:
        return self.recorder.write(">", self, other)

    def __ge__(self, other: Any) -> Symbol:
        return self.recorder.write(">=", self, other)

    def __eq__(self, other: object) -> Symbol:  # type: ignore[override]
        return self.recorder.write("==", self, other)

    def __ne__(self, other: object) -> Symbol:  # type: ignore[override]
        return self.recorder.write("!=", self, other)

    def __bool__(self) -> bool:
        raise TypeError("a symbol has no truth value: straight-line code must not branch on it")


class Recorder:
    """Writes statements at the end of a program.

    Parameters
    ----------
    program : Program
        Grows.
    prefix : str
        With which the names begin that it gives; no other statement may use it.
    """

    def __init__(self, program: Program, prefix: str = "s") -> None:
        self.program, self._prefix, self._count = program, prefix, 0

    def write(self, operation: str, *operands: Any) -> Symbol:
        """Write a statement; operands are symbols, numbers or a place."""
        name = f"{self._prefix}{self._count}"
        self._count += 1
        plain = tuple([one.name if isinstance(one, Symbol) else one for one in operands])
        self.program.steps.append(Statement(name, operation, plain))
        return Symbol(self, name)

    def read(self, place: Place) -> Symbol:
        """Read an element of an array."""
        return self.write("read", place)

    def known(self, name: str) -> Symbol:
        """Return the symbol of a number that a statement or a loop before has named."""
        return Symbol(self, name)
