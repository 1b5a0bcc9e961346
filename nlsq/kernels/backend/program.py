"""What a generated kernel does, as plain data: straight-line statements on numbers, and loops of them.

A kernel is ``f(p, data, first, second)``: parameters, the address of a table of integers, and two outputs. In the table
stand the sizes and the addresses of everything else (see the names below), so that a kernel serves data of any length.
`render` writes a program as Python that numba would compile; `nlsq.kernels.backend.fused` makes machine code of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

# Places in the table of a generated kernel; the first are those of `nlsq.kernels.curve`
POINTS, PREDICTORS, _, RESPONSE, WEIGHTS, CONSTANTS, SCRATCH, PARAMETERS, FIRST_FREE = range(9)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an element of an array is: ``fixed + sum over steps of coefficient * size`` and, along each loop, a stride.

    Parameters
    ----------
    array : str
        ``"p"``, ``"first"``, ``"second"``, ``"y"``, ``"w"``, ``"k"`` (constants), ``"scratch"``, ``"x<row>"`` or
        ``"d<place in the table>"``.
    fixed : int
        Constant part of the index.
    offset : int or None
        Place in the table of a further part.
    by_points : int
        Multiple of the number of points that is added.
    strides : tuple of (int, int)
        For each loop ``(constant, multiple of the number of points)``.
    """

    array: str
    fixed: int = 0
    offset: int | None = None
    by_points: int = 0
    strides: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """``name = operation(operands)``; operands are names or numbers, those of ``"read"`` one `Place`."""

    name: str
    operation: str
    operands: tuple[str | float | Place, ...]


@dataclass(slots=True)
class Loop:
    """Statements over an index space, the last axis innermost.

    Parameters
    ----------
    lengths : tuple of int
        Places in the table of the number of steps of each axis.
    statements : list of Statement
        Done for each index.
    totals : list of (str, str or float)
        ``total += value``.
    writes : list of (Place, str, bool)
        ``place = value``, or ``place += value`` where the last is true.
    """

    lengths: tuple[int, ...]
    statements: list[Statement] = field(default_factory=list)
    totals: list[tuple[str, str | float]] = field(default_factory=list)
    writes: list[tuple[Place, str | float, bool]] = field(default_factory=list)


@dataclass(slots=True)
class Program:
    """A kernel.

    Parameters
    ----------
    name : str
        What it computes.
    steps : list of Statement or Loop
        In order; names of totals are known after their loop.
    writes : list of (Place, str)
        Numbers written at the end.
    result : str or None
        Name of the number returned; None for a kernel that returns 0.
    side_by_side : set of str
        Arrays that hold several problems side by side, as many numbers at each index as a vector register has room
        for: then the kernel treats these problems at once, with all other arrays in common, takes one output, and
        returns a set of bits, one for each problem for which `result` is true.
    """

    name: str
    steps: list[Statement | Loop] = field(default_factory=list)
    writes: list[tuple[Place, str | float]] = field(default_factory=list)
    result: str | None = None
    side_by_side: frozenset[str] = frozenset()


_INFIX = {"+", "-", "*", "/", "<", "<=", ">", ">=", "==", "!="}


def render(program: Program) -> str:
    """Return the program as Python source."""
    return "\n".join(_lines(program)) + "\n"


def _lines(program: Program) -> Iterator[str]:
    yield f"def {program.name}(p, data, first, second):"
    if program.side_by_side:
        yield f"    # several problems side by side in {', '.join(sorted(program.side_by_side))}"
    yield "    table = int_pointer(data)"
    for step in program.steps:
        if isinstance(step, Statement):
            yield f"    {_assignment(step, ())}"
            continue
        for total, _value in step.totals:
            yield f"    {total} = 0.0"
        indices = tuple("ijkl"[axis] if axis < 4 else f"i{axis}" for axis in range(len(step.lengths)))
        indent = "    "
        for index, length in zip(indices, step.lengths, strict=True):
            yield f"{indent}for {index} in range(table[{length}]):"
            indent += "    "
        for statement in step.statements:
            yield f"{indent}{_assignment(statement, indices)}"
        for place, value, adds in step.writes:
            yield f"{indent}{_element(place, indices)} {'+=' if adds else '='} {_operand(value)}"
        for total, value in step.totals:
            yield f"{indent}{total} += {_operand(value)}"
    for place, value in program.writes:
        yield f"    {_element(place, ())} = {_operand(value)}"
    yield f"    return {program.result or 0}"


def _operand(operand: str | float | Place) -> str:
    return operand if isinstance(operand, str) else repr(operand)


def _element(place: Place, indices: tuple[str, ...]) -> str:
    terms = []
    if place.fixed:
        terms.append(str(place.fixed))
    if place.offset is not None:
        terms.append(f"table[{place.offset}]")
    if place.by_points:
        terms.append(f"{place.by_points} * table[0]")
    for (constant, multiple), index in zip(place.strides, indices, strict=False):
        if constant or multiple:
            parts = [str(constant)] if constant else []
            factor = " + ".join([*parts, *([f"{multiple} * table[0]"] if multiple else [])])
            terms.append(index if factor == "1" else f"({factor}) * {index}")
    name = {"y": "response", "w": "weights"}.get(place.array, place.array)
    return f"{name}[{' + '.join(terms) or '0'}]"


def _assignment(statement: Statement, indices: tuple[str, ...]) -> str:
    operation, operands = statement.operation, statement.operands
    if operation == "read":
        (place,) = operands
        assert isinstance(place, Place)
        return f"{statement.name} = {_element(place, indices)}"
    names = [_operand(one) for one in operands]
    if operation in _INFIX:
        return f"{statement.name} = {names[0]} {operation} {names[1]}"
    if operation in ("and", "or"):
        return f"{statement.name} = {names[0]} {'&' if operation == 'and' else '|'} {names[1]}"
    if operation == "neg":
        return f"{statement.name} = -{names[0]}"
    if operation == "not":
        return f"{statement.name} = not {names[0]}"
    if operation == "where":
        return f"{statement.name} = select({', '.join(names)})"
    return f"{statement.name} = {operation}({', '.join(names)})"
