"""Programs as Python source for graphics processors: one problem for each group of threads.

A *solver* is made of a program that takes the sums of one problem and makes a step. The threads of a group share the
points in turn; the sums of all threads are added up in shared memory, always in the same order, and then each thread
makes the same step from the same numbers, so that nothing has to be handed around. Trial point and state stay in the
threads' registers until the problem has ended.

A Jacobian is one launch over all (problem, point, parameter): a thread evaluates the derivative by its parameter alone.

What operations mean is said once, in `nlsq.kernels.backend.operations`. An elementary function is the device's own
where `DEVICE` names one, and else straight-line code from its source. Nothing here needs a device, or numba.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nlsq.kernels.backend.operations import operation
from nlsq.kernels.backend.program import POINTS, Loop, Place, Program, Statement
from nlsq.kernels.backend.recording import Symbol

# functions of Python's math module that are the device's own, by the name of ours
DEVICE = {
    "exp": "exp", "expm1": "expm1", "log": "log", "log1p": "log1p", "log2": "log2", "log10": "log10",
    "sin_fast": "sin", "cos_fast": "cos", "tan_fast": "tan", "asin": "asin", "acos": "acos", "atan": "atan",
    "atan2": "atan2", "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "asinh": "asinh", "acosh": "acosh",
    "atanh": "atanh", "sqrt": "sqrt", "hypot": "hypot", "pow": "pow", "erf": "erf", "erfc": "erfc",
    "gammaln": "lgamma",
}  # fmt: skip
_SIGNS = {"and": "&", "or": "|"}
_INFIX = frozenset({"+", "-", "*", "/", "<", "<=", ">", ">=", "==", "!=", "&", "|", "^", "<<"})
_FIXED_SIZE = frozenset({"p", "first"})  # arrays that are held in variables
WARP = 32  # threads that a device runs in step
SHARED_MEMORY = 49152  # bytes that a group may have without asking the device for more
DOUBLE = 8


@dataclass(frozen=True)
class DeviceSource:
    """Source of a kernel.

    Attributes
    ----------
    name : str
        Of the kernel.
    integers : int
        How many arrays of integers it takes, its first arguments; all others are of doubles.
    arrays : tuple of str
        Arrays that it reads beside those that all such kernels take, in the order of its arguments.
    text : str
        Of the kernel itself.
    threads : int
        Of a group, where the kernel is for that many; 0 where it is for any.
    """

    name: str
    integers: int
    arrays: tuple[str, ...]
    text: str
    threads: int = 0

    @property
    def doubles(self) -> int:
        """How many arrays of doubles it takes: its own, the points and the output."""
        return len(self.arrays) + 2


class TextSymbol(Symbol):
    """A value of the source, which may be an integer too, and be given to elementary functions."""

    __slots__ = ()

    def emit(self, primitive: str, *arguments: Any) -> Any:
        """Write a primitive."""
        return self.recorder.write(primitive, *arguments)

    def emit_elementary(self, function: Any, *arguments: Any) -> Any:
        """Write a call of the device's function, or what its source does."""
        return (
            self.recorder.write(function.name, *arguments) if function.name in DEVICE else function.source(*arguments)
        )

    def emit_instruction(self, instruction: Any, *arguments: Any) -> Any:
        """Write what the instruction stands for."""
        return instruction.source(*arguments)

    def __lshift__(self, bits: int) -> Any:
        return self.recorder.write("<<", self, bits)

    def __rand__(self, other: Any) -> Any:
        return self.recorder.write("and", other, self)

    def __ror__(self, other: Any) -> Any:
        return self.recorder.write("or", other, self)

    def __xor__(self, other: Any) -> Any:
        return self.recorder.write("^", self, other)

    def __rxor__(self, other: Any) -> Any:
        return self.recorder.write("^", other, self)


class Lines:
    """Writes straight-line code, indented as it is told."""

    def __init__(self) -> None:
        self.indent = 1
        self._lines: list[str] = []
        self._count = 0

    def add(self, line: str) -> None:
        """Write a line."""
        self._lines.append("    " * self.indent + line)

    def taken(self) -> list[str]:
        """Return the lines so far, and forget them."""
        lines, self._lines = self._lines, []
        return lines

    def symbol(self, text: str) -> TextSymbol:
        """Return the symbol of an expression."""
        return TextSymbol(self, text)  # type: ignore[arg-type]

    def text(self, operand: Any) -> str:
        """Return a symbol's name, or a number."""
        if isinstance(operand, Symbol):
            return operand.name
        if isinstance(operand, float) and not math.isfinite(operand):
            return "nan" if operand != operand else "inf" if operand > 0.0 else "(-inf)"
        return repr(operand) if operand >= 0 else f"({operand!r})"

    def write(self, name: str, *operands: Any) -> TextSymbol:
        """Write a new value."""
        texts = [self.text(one) for one in operands]
        name = _SIGNS.get(name, name)
        if name in _INFIX:
            value = f"{texts[0]} {name} {texts[1]}"
        elif name in ("neg", "not"):
            value = f"{'-' if name == 'neg' else 'not '}{texts[0]}"
        else:
            value = f"{name}({', '.join(texts)})"
        return self.assign(value)

    def assign(self, value: str) -> TextSymbol:
        """Give a new name to the value of an expression."""
        name = f"t{self._count}"
        self._count += 1
        self.add(f"{name} = {value}")
        return self.symbol(name)


class _Kernel:
    """What the kernels have in common: statements, and where arrays are.

    Parameters
    ----------
    read_fixed : callable
        Returns the text for an element of an array that is no argument, by its place.
    """

    def __init__(self, read_fixed: Callable[[Place], str]) -> None:
        self.lines = Lines()
        self.names: dict[str, Any] = {}
        self.arrays: list[str] = []
        self.entries: set[int] = set()
        self._read_fixed = read_fixed

    def entry(self, place: int) -> str:
        """Return an integer of the table."""
        self.entries.add(place)
        return f"c{place}"

    def index(self, place: Place, axes: Sequence[str]) -> str:
        """Return the index of an element in its problem's part of an array."""
        terms = [str(place.fixed)] if place.fixed else []
        if place.offset is not None:
            terms.append(self.entry(place.offset))
        if place.by_points:
            terms.append(f"{place.by_points} * {self.entry(POINTS)}")
        for (constant, multiple), axis in zip(place.strides, axes, strict=False):
            factors = [str(constant)] if constant else []
            factors += [f"{multiple} * {self.entry(POINTS)}"] if multiple else []
            if factors:
                terms.append(axis if factors == ["1"] else f"({' + '.join(factors)}) * {axis}")
        return " + ".join(terms) or "0"

    def read(self, place: Place, axes: Sequence[str]) -> str:
        """Return the text of an element."""
        if place.array in _FIXED_SIZE:
            return self._read_fixed(place)
        array, row = (place.array[:1], place.array[1:]) if place.array[0] == "x" else (place.array, "")
        if array not in self.arrays:
            self.arrays.append(array)
        start = f"at_{array}" + (f" + {row} * {self.entry(POINTS)}" if row not in ("", "0") else "")
        return f"{array}[{start} + {self.index(place, axes)}]"

    def operand(self, operand: Any) -> Any:
        """Return the symbol of an operand."""
        return self.names[operand] if isinstance(operand, str) else self.lines.symbol(self.lines.text(float(operand)))

    def statement(self, statement: Statement, axes: Sequence[str]) -> None:
        """Write a statement."""
        if statement.operation == "read":
            (place,) = statement.operands
            assert isinstance(place, Place)
            self.names[statement.name] = self.lines.assign(self.read(place, axes))
        else:
            result = operation(statement.operation)(*[self.operand(one) for one in statement.operands])
            self.names[statement.name] = result

    def axes(self, loop: Loop, index: str) -> list[str]:
        """Write the indices along the axes of a loop's number `index`, the last axis innermost."""
        if len(loop.lengths) == 1:
            return [index]
        names: list[str] = []
        rest = index
        for axis in range(len(loop.lengths) - 1):
            inner = self.product(loop.lengths[axis + 1 :])
            names.append(self.lines.assign(f"{rest} // {inner}").name)
            rest = self.lines.assign(f"{rest} - {names[-1]} * {inner}").name
        return [*names, rest]

    def product(self, lengths: Sequence[int]) -> str:
        """Return the product of some integers of the table."""
        product = " * ".join(self.entry(length) for length in lengths)
        return product if len(lengths) == 1 else f"({product})"

    def entries_and_bases(self, problem: str, indent: str) -> tuple[list[str], list[str]]:
        """Return the lines that read the table, and those that find a problem's part of each array."""
        entries = [f"    c{place} = table[{place}]" for place in sorted(self.entries)]
        bases = [f"{indent}at_{one} = {problem} * strides[{k}]" for k, one in enumerate(self.arrays)]
        return entries, bases


def threads_within_memory(threads: int, width: int) -> int:
    """Return how many threads, whole warps of those wanted, have room in shared memory for so many sums each."""
    room = SHARED_MEMORY // (DOUBLE * width) - 1  # the last row is that of the totals
    return threads if threads <= room else max(WARP, room // WARP * WARP)


def solver_source(program: Program, first: Sequence[float | str], threads: int) -> DeviceSource:
    """Return the kernel that steps until each problem has ended.

    It takes ``(rows, table, strides, *arrays, start, state_out)``: numbers of the rows, one for each group; the table;
    how far apart the parts of two rows are in each array and in `start`, 0 for what all have in common.

    Parameters
    ----------
    program : Program
        Reads ``"p"``, the trial point, and ``"first"``, the state, and writes both; its result ends a problem.
    first : sequence of float or str
        The state at first; ``"p<j>"`` stands for element j of the start.
    threads : int
        In a group, at most: there are fewer where shared memory has no room for the sums of so many.
    """

    def read_fixed(place: Place) -> str:
        return f"{'p' if place.array == 'p' else 'state'}{place.fixed}"

    kernel = _Kernel(read_fixed)
    lines, sums = kernel.lines, max([len(step.totals) for step in program.steps if isinstance(step, Loop)], default=1)
    width = sums | 1  # odd: else threads would wait for each other's bank of shared memory
    threads = threads_within_memory(threads, width)
    lines.indent = 2
    for step in program.steps:
        if isinstance(step, Statement):
            kernel.statement(step, [])
        else:
            _sum_up(kernel, step, threads, width)
    for place, value in program.writes:
        lines.add(f"next_{read_fixed(place)} = {lines.text(kernel.operand(value))}")
    for place, _ in program.writes:
        lines.add(f"{read_fixed(place)} = next_{read_fixed(place)}")
    assert program.result is not None
    lines.add(f"ended = {lines.text(kernel.operand(program.result))}")
    body = lines.taken()
    entries, bases = kernel.entries_and_bases("row", "    ")
    n = len({place.fixed for place, _ in program.writes if place.array == "p"})
    head = [
        f"def solve(rows, table, strides, {', '.join([*kernel.arrays, 'start', 'state_out'])}):",
        f"    partial = cuda.shared.array({width * threads}, float64)",
        f"    total = cuda.shared.array({width}, float64)",
        "    lane, position = cuda.threadIdx.x, cuda.blockIdx.x",
        "    row = rows[position]",
        *entries,
        *bases,
        f"    at_start = row * strides[{len(kernel.arrays)}]",
        *[f"    p{j} = start[at_start + {j}]" for j in range(n)],
        *[f"    state{k} = {one if isinstance(one, str) else lines.text(one)}" for k, one in enumerate(first)],
        "    ended = False",
        "    while not ended:",
    ]
    tail = ["    if lane == 0:"]
    tail += [f"        state_out[position * {len(first)} + {k}] = state{k}" for k in range(len(first))]
    text = "\n".join([*head, *body, *tail]) + "\n"
    return DeviceSource("solve", 3, tuple(kernel.arrays), text, threads)


def _sum_up(kernel: _Kernel, loop: Loop, threads: int, width: int) -> None:
    """Write a loop whose steps the threads share, and the addition of what each has summed up."""
    if loop.writes:
        raise ValueError("kernels of many problems write nothing in their loops.")
    lines, names, count = kernel.lines, dict(kernel.names), len(loop.totals)
    for s in range(count):
        lines.add(f"sum{s} = 0.0")
    lines.add(f"for index in range(lane, {kernel.product(loop.lengths)}, {threads}):")
    lines.indent += 1
    axes = kernel.axes(loop, "index")
    for statement in loop.statements:
        kernel.statement(statement, axes)
    for s, (_, value) in enumerate(loop.totals):
        lines.add(f"sum{s} += {lines.text(kernel.operand(value))}")
    lines.indent -= 1
    for s in range(count):
        lines.add(f"partial[lane * {width} + {s}] = sum{s}")
    lines.add("cuda.syncthreads()")
    lines.add(f"for s in range(lane, {count}, {threads}):")
    lines.add("    added = partial[s]")
    lines.add(f"    for other in range(1, {threads}):")
    lines.add(f"        added += partial[other * {width} + s]")
    lines.add("    total[s] = added")
    lines.add("cuda.syncthreads()")
    kernel.names = names
    for s, (name, _) in enumerate(loop.totals):
        kernel.names[name] = lines.assign(f"total[{s}]")


def columns_source(program: Program, n: int) -> DeviceSource:
    """Return the kernel of the Jacobians of many problems at once.

    It takes ``(table, strides, *arrays, params, jacobian_out)``; `params` has shape (problems, n) and `jacobian_out`
    (problems, points, n), both flat. The second index of a block is the parameter that its threads are for.

    Parameters
    ----------
    program : Program
        Writes the transposed Jacobian of one problem, parameter after parameter.
    n : int
        Number of parameters.
    """
    kernel = _Kernel(lambda place: f"params[fit * {n} + {place.fixed}]")
    lines = kernel.lines
    before = [step for step in program.steps if isinstance(step, Statement)]
    for loop in [step for step in program.steps if isinstance(step, Loop)]:
        if loop.totals:
            raise ValueError("there is no kernel for the Jacobian of a model with sums over its data.")
        length = kernel.product(loop.lengths)
        lines.add(f"for number in range(cuda.grid(1), params.size // {n} * {length}, cuda.gridsize(1)):")
        lines.indent += 1
        lines.add(f"fit = number // {length}")
        lines.add(f"index = number - fit * {length}")
        lines.add("BASES")
        axes = kernel.axes(loop, "index")
        for place, value, _ in loop.writes:
            lines.add(f"if seed == {place.by_points}:")
            lines.indent += 1
            names = dict(kernel.names)
            for statement in needed([*before, *loop.statements], value):
                kernel.statement(statement, axes)
            row = kernel.index(Place("first", place.fixed, place.offset, strides=place.strides), axes)
            target = f"(fit * {kernel.entry(POINTS)} + {row}) * {n} + {place.by_points}"
            lines.add(f"jacobian_out[{target}] = {lines.text(kernel.operand(value))}")
            kernel.names = names
            lines.indent -= 1
        lines.indent -= 1
    entries, bases = kernel.entries_and_bases("fit", "        ")
    head = [
        f"def columns(table, strides, {', '.join([*kernel.arrays, 'params', 'jacobian_out'])}):",
        "    seed = cuda.blockIdx.y",
        *entries,
    ]
    body = [part for line in lines.taken() for part in (bases if line.strip() == "BASES" else [line])]
    text = "\n".join([*head, *body]) + "\n"
    return DeviceSource("columns", 2, tuple(kernel.arrays), text)


def needed(statements: Sequence[Statement], value: str | float) -> Iterator[Statement]:
    """Return the statements that a value needs, in their order."""
    wanted, kept = {value}, []
    for statement in reversed(statements):
        if statement.name in wanted:
            wanted.update(one for one in statement.operands if isinstance(one, str))
            kept.append(statement)
    return reversed(kept)
