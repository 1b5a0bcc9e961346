"""Where the arrays of a generated kernel are: from the places of a program to addresses.

A kernel is a function of up to four arguments, ``(p, table, first, second)``. What it reads from the table of integers
is read once, at its entry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from nlsq.kernels.backend.program import (
    CONSTANTS,
    POINTS,
    PREDICTORS,
    RESPONSE,
    SCRATCH,
    WEIGHTS,
    Loop,
    Place,
    Program,
)
from nlsq.kernels.backend.simd import DOUBLE, INTEGER, Emitter

POINTER = ir.PointerType(DOUBLE)
MANY = 400  # statements in a loop from which elementary functions are called, not written into it
_ARGUMENTS = {"p": 0, "first": 2, "second": 3}
_FIXED_ARRAYS = {"y": RESPONSE, "w": WEIGHTS, "k": CONSTANTS, "scratch": SCRATCH}


def emitter_of(function: Any, program: Program, processor: Any) -> Emitter:
    """Return what writes into a new function."""
    function.attributes.add("nounwind")
    function.attributes.alignstack = 8 * processor.lanes  # what registers are saved to must not cross lines
    size = sum(len(step.statements) for step in program.steps if isinstance(step, Loop))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    return Emitter(function.module, builder, has_fma=processor.has_fma, inline=size <= MANY, wide=processor.lanes == 8)


class Places:
    """The addresses of a kernel's arrays; made at its beginning, before anything else is written.

    Parameters
    ----------
    function : llvmlite.ir.Function
        The kernel.
    emitter : Emitter
        At its entry; then at the block for everything else.
    side_by_side : set of str
        Arrays in which each element is as many numbers as there are lanes.
    lanes : int
        How many.
    """

    def __init__(
        self, function: Any, emitter: Emitter, side_by_side: frozenset[str] = frozenset(), lanes: int = 1
    ) -> None:
        self.function, self.emitter, self.side_by_side, self.lanes = function, emitter, side_by_side, lanes
        self._table = emitter.builder.inttoptr(function.args[1], ir.PointerType(INTEGER))
        self._pointers: dict[str, Any] = {}
        self._entries: dict[int, Any] = {}
        self._head = function.append_basic_block("body")
        self._entry = emitter.builder.block
        emitter.builder.position_at_end(self._head)

    def close(self) -> None:
        """Join the entry to the rest, when all is written."""
        ir.IRBuilder(self._entry).branch(self._head)

    def at_entry(self, write: Callable[[ir.IRBuilder], Any]) -> Any:
        """Write something that all of the function may use."""
        builder = ir.IRBuilder(self._entry)
        return write(builder)

    def entry(self, place: int) -> Any:
        """Return an integer of the table."""
        found = self._entries.get(place)
        if found is None:
            found = self._entries[place] = self.at_entry(
                lambda builder: builder.load(
                    builder.gep(self._table, [INTEGER(place)], source_etype=INTEGER), typ=INTEGER
                )
            )
        return found

    def pointer(self, array: str) -> Any:
        """Return the address of an array."""
        found = self._pointers.get(array)
        if found is None:
            found = self._pointers[array] = self._find_pointer(array)
        return found

    def _find_pointer(self, array: str) -> Any:
        if array in _ARGUMENTS:
            return self.function.args[_ARGUMENTS[array]]
        if array.startswith("x"):
            base, m, row = self.entry(PREDICTORS), self.entry(POINTS), int(array[1:])

            def write(builder: ir.IRBuilder) -> Any:
                shift = builder.mul(m, INTEGER(8 * row * self.width(array)))
                return builder.inttoptr(builder.add(base, shift), POINTER)

            return self.at_entry(write)
        place = _FIXED_ARRAYS[array] if array in _FIXED_ARRAYS else int(array[1:])
        address = self.entry(place)
        return self.at_entry(lambda builder: builder.inttoptr(address, POINTER))

    def width(self, array: str) -> int:
        """Return how many numbers stand at each index of an array."""
        return self.lanes if array in self.side_by_side else 1

    def position(self, place: Place, indices: list[Any]) -> Any:
        """Return the index of an element, that of the first lane."""
        builder = self.emitter.builder
        total: Any = INTEGER(place.fixed)
        if place.offset is not None:
            total = builder.add(total, self.entry(place.offset))
        if place.by_points:
            total = builder.add(total, builder.mul(INTEGER(place.by_points), self.entry(POINTS)))
        for stride, index in zip(place.strides, indices, strict=False):
            if stride != (0, 0):
                total = builder.add(total, builder.mul(self.stride(stride), index))
        width = self.width(place.array)
        return total if width == 1 else builder.mul(total, INTEGER(width))

    def stride(self, stride: tuple[int, int]) -> Any:
        """Return a stride as an integer."""
        constant, multiple = stride
        if not multiple:
            return INTEGER(constant)
        product = self.emitter.builder.mul(INTEGER(multiple), self.entry(POINTS))
        return self.emitter.builder.add(INTEGER(constant), product)

    def address(self, place: Place, indices: list[Any]) -> Any:
        """Return the address of an element."""
        return self.emitter.builder.gep(self.pointer(place.array), [self.position(place, indices)], source_etype=DOUBLE)
