"""Machine code for generated kernels, by LLVM alone: numba is not imported, and one model takes some 50 ms.

Loops are written in vectors from the start: as many numbers side by side as the processor has room for in a register,
the last ones under a mask, so that a remainder costs one more round and no loop of its own. Sums are kept side by side
and added up at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from nlsq.kernels import elementary
from nlsq.kernels.backend.primitives import absolute, copy_sign, floor, select, square_root
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
    Statement,
)
from nlsq.kernels.backend.simd import BOOLEAN, DOUBLE, FAST, INT32, INTEGER, Emitter, Value

POINTER = ir.PointerType(DOUBLE)
MANY = 400  # statements in a loop from which elementary functions are called, not written into it
_FIXED_ARRAYS = {"y": RESPONSE, "w": WEIGHTS, "k": CONSTANTS, "scratch": SCRATCH}


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
    "minimum": _minimum, "maximum": _maximum, "copysign": copy_sign, "where": select,
}  # fmt: skip


def operation(name: str) -> Callable[..., Any]:
    """Return what an operation of the graph does to symbolic values."""
    found = _OPERATIONS.get(name)
    return getattr(elementary, name) if found is None else found


class Processor:
    """What code is made for.

    Parameters
    ----------
    name, features : str
        In LLVM's words; by default the processor at hand.
    """

    def __init__(self, name: str | None = None, features: str | None = None) -> None:
        _initialise()
        self.name = llvm.get_host_cpu_name() if name is None else name
        self.features = llvm.get_host_cpu_features().flatten() if features is None else features
        self.lanes = 8 if "+avx512f" in self.features else 4
        self.has_fma = "+fma" in self.features or "+neon" in self.features or "+fp-armv8" in self.features

    def machine(self) -> Any:
        """Return LLVM's object for it."""
        target = llvm.Target.from_default_triple()
        return target.create_target_machine(
            cpu=self.name, features=self.features, opt=2, reloc="default", codemodel="jitdefault", jit=True
        )


@cache
def host() -> Processor:
    """Return the processor at hand."""
    return Processor()


@cache
def _initialise() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


def object_code(programs: list[tuple[str, Program]], processor: Processor | None = None) -> bytes:
    """Return an object file that defines a function for each ``(symbol, program)``."""
    processor = processor or host()
    machine = processor.machine()
    module = ir.Module("nlsq_generated")
    module.triple = llvm.get_process_triple()
    for symbol, program in programs:
        _FunctionWriter(module, symbol, program, processor).write()
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(parsed, builder)
    code: bytes = machine.emit_object(parsed)
    return code


class _FunctionWriter:
    """Writes one program into a module."""

    def __init__(self, module: ir.Module, symbol: str, program: Program, processor: Processor) -> None:
        result = DOUBLE if program.result else INTEGER
        self.function = ir.Function(module, ir.FunctionType(result, [POINTER, INTEGER, POINTER, POINTER]), symbol)
        self.program, self.lanes = program, processor.lanes
        self.function.attributes.add("nounwind")
        self.function.attributes.alignstack = 8 * processor.lanes  # what registers are saved to must not cross lines
        builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        size = sum(len(step.statements) for step in program.steps if isinstance(step, Loop))
        self.emitter = Emitter(
            module, builder, has_fma=processor.has_fma, inline=size <= MANY, wide=processor.lanes == 8
        )
        self.table = builder.inttoptr(self.function.args[1], ir.PointerType(INTEGER))
        self.names: dict[str, Value] = {}
        self._pointers: dict[str, Any] = {}
        self._entries: dict[int, Any] = {}
        self._head = self.function.append_basic_block("body")
        self._entry = builder.block
        builder.position_at_end(self._head)

    @property
    def builder(self) -> ir.IRBuilder:
        """Where code goes."""
        return self.emitter.builder

    def write(self) -> None:
        """Write the whole function."""
        for step in self.program.steps:
            if isinstance(step, Statement):
                self.names[step.name] = self.statement(step, [], None)
            else:
                self.loop(step)
        for place, operand in self.program.writes:
            self.builder.store(self.operand(operand).code, self.address(place, []))
        if self.program.result:
            self.builder.ret(self.names[self.program.result].code)
        else:
            self.builder.ret(INTEGER(0))
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
                    builder.gep(self.table, [INTEGER(place)], source_etype=INTEGER), typ=INTEGER
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
        if array in ("p", "first", "second"):
            return self.function.args[{"p": 0, "first": 2, "second": 3}[array]]
        if array.startswith("x"):
            base, m, row = self.entry(PREDICTORS), self.entry(POINTS), int(array[1:])

            def write(builder: ir.IRBuilder) -> Any:
                shift = builder.mul(m, INTEGER(8 * row))
                return builder.inttoptr(builder.add(base, shift), POINTER)

            return self.at_entry(write)
        place = _FIXED_ARRAYS[array] if array in _FIXED_ARRAYS else int(array[1:])
        address = self.entry(place)
        return self.at_entry(lambda builder: builder.inttoptr(address, POINTER))

    def operand(self, operand: Any) -> Value:
        """Return a named value or a number."""
        return self.names[operand] if isinstance(operand, str) else self.emitter.constant(float(operand))

    def position(self, place: Place, indices: list[Any]) -> Any:
        """Return the index of an element, that of the first lane."""
        builder = self.builder
        total: Any = INTEGER(place.fixed)
        if place.offset is not None:
            total = builder.add(total, self.entry(place.offset))
        if place.by_points:
            total = builder.add(total, builder.mul(INTEGER(place.by_points), self.entry(POINTS)))
        for stride, index in zip(place.strides, indices, strict=False):
            if stride != (0, 0):
                total = builder.add(total, builder.mul(self.stride(stride), index))
        return total

    def stride(self, stride: tuple[int, int]) -> Any:
        """Return a stride as an integer."""
        constant, multiple = stride
        if not multiple:
            return INTEGER(constant)
        product = self.builder.mul(INTEGER(multiple), self.entry(POINTS))
        return self.builder.add(INTEGER(constant), product)

    def address(self, place: Place, indices: list[Any]) -> Any:
        """Return the address of an element."""
        return self.builder.gep(self.pointer(place.array), [self.position(place, indices)], source_etype=DOUBLE)

    def statement(self, statement: Statement, indices: list[Any], mask: Any) -> Value:
        """Write a statement."""
        if statement.operation == "read":
            (place,) = statement.operands
            assert isinstance(place, Place)
            return self.read(place, indices, mask)
        values = [self.operand(one) for one in statement.operands]
        result = operation(statement.operation)(*values)
        assert isinstance(result, Value)
        return result

    def read(self, place: Place, indices: list[Any], mask: Any) -> Value:
        """Read an element, or as many as there are lanes."""
        address = self.address(place, indices)
        inner = place.strides[-1] if indices and place.strides else (0, 0)
        if mask is None or inner == (0, 0):
            return Value(self.emitter, self.builder.load(address, typ=DOUBLE))
        vector = ir.VectorType(DOUBLE, self.lanes)
        zero = ir.Constant(vector, [0.0] * self.lanes)
        name = f"v{self.lanes}f64"
        if inner == (1, 0):
            load = self.intrinsic(f"llvm.masked.load.{name}.p0", vector, [POINTER, INT32, mask.type, vector])
            return Value(self.emitter, self.builder.call(load, [address, INT32(8), mask, zero]))
        many = self.addresses(address, inner)
        gather = self.intrinsic(
            f"llvm.masked.gather.{name}.v{self.lanes}p0", vector, [many.type, INT32, mask.type, vector]
        )
        return Value(self.emitter, self.builder.call(gather, [many, INT32(8), mask, zero]))

    def addresses(self, address: Any, stride: tuple[int, int]) -> Any:
        """Return the addresses of all lanes."""
        lanes = self.emitter.broadcast(self.stride(stride), self.lanes)
        steps = self.builder.mul(lanes, self.counting())
        return self.builder.gep(self.emitter.broadcast(address, self.lanes), [steps], source_etype=DOUBLE)

    def counting(self) -> Any:
        """Return 0, 1, 2, ... in the lanes."""
        return ir.Constant(ir.VectorType(INTEGER, self.lanes), list(range(self.lanes)))

    def intrinsic(self, name: str, result: Any, arguments: list[Any]) -> Any:
        """Declare an intrinsic."""
        module = self.emitter.module
        found = module.globals.get(name)
        return ir.Function(module, ir.FunctionType(result, arguments), name) if found is None else found

    def store(self, place: Place, operand: Any, adds: bool, indices: list[Any], mask: Any) -> None:
        """Write as many elements as there are lanes."""
        value = self.operand(operand)
        if adds:
            value = self.read(place, indices, mask) + value
        code = self.emitter.broadcast(value.code, self.lanes)
        address = self.address(place, indices)
        name, inner = f"v{self.lanes}f64", place.strides[-1] if place.strides else (0, 0)
        void = ir.VoidType()
        if inner == (1, 0):
            store = self.intrinsic(f"llvm.masked.store.{name}.p0", void, [code.type, POINTER, INT32, mask.type])
            self.builder.call(store, [code, address, INT32(8), mask])
            return
        many = self.addresses(address, inner)
        scatter = self.intrinsic(
            f"llvm.masked.scatter.{name}.v{self.lanes}p0", void, [code.type, many.type, INT32, mask.type]
        )
        self.builder.call(scatter, [code, many, INT32(8), mask])

    def loop(self, loop: Loop) -> None:
        """Write a loop, with loops around it for all but the last axis."""
        vector = ir.VectorType(DOUBLE, self.lanes)
        zero = ir.Constant(vector, [0.0] * self.lanes)
        totals = {name: self.at_entry(lambda builder: builder.alloca(vector)) for name, _ in loop.totals}
        for slot in totals.values():
            self.builder.store(zero, slot)
        outer_names = dict(self.names)
        self._nest(loop, list(loop.lengths), [], totals)
        self.names = outer_names
        for name, slot in totals.items():
            side_by_side = self.builder.load(slot, typ=vector)
            add = self.intrinsic(f"llvm.vector.reduce.fadd.v{self.lanes}f64", DOUBLE, [DOUBLE, vector])
            total = self.builder.call(add, [ir.Constant(DOUBLE, 0.0), side_by_side], fastmath=FAST)
            self.names[name] = Value(self.emitter, total)

    def _nest(self, loop: Loop, lengths: list[int], indices: list[Any], totals: dict[str, Any]) -> None:
        innermost = len(lengths) == 1
        step = self.lanes if innermost else 1
        length = self.entry(lengths[0])
        builder = self.builder
        before = builder.block
        head, body, after = (self.function.append_basic_block(name) for name in ("head", "body", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(INTEGER)
        index.add_incoming(INTEGER(0), before)
        builder.cbranch(builder.icmp_signed("<", index, length), body, after)
        builder.position_at_end(body)
        if innermost:
            self._round(loop, [*indices, index], length, totals)
        else:
            self._nest(loop, lengths[1:], [*indices, index], totals)
        following = builder.add(index, INTEGER(step))
        index.add_incoming(following, builder.block)
        builder.branch(head)
        builder.position_at_end(after)

    def _round(self, loop: Loop, indices: list[Any], length: Any, totals: dict[str, Any]) -> None:
        """Write one round of the innermost loop: as many numbers as there are lanes."""
        builder, emitter = self.builder, self.emitter
        rest = emitter.broadcast(builder.sub(length, indices[-1]), self.lanes)
        mask = builder.icmp_signed("<", self.counting(), rest)
        for statement in loop.statements:
            self.names[statement.name] = self.statement(statement, indices, mask)
        for place, operand, adds in loop.writes:
            self.store(place, operand, adds, indices, mask)
        vector = ir.VectorType(DOUBLE, self.lanes)
        zero = ir.Constant(vector, [0.0] * self.lanes)
        inside = Value(emitter, mask)
        for name, operand in loop.totals:
            value = emitter.broadcast(self.operand(operand).code, self.lanes)
            kept = builder.select(inside.code, value, zero)
            builder.store(builder.fadd(builder.load(totals[name], typ=vector), kept, flags=FAST), totals[name])


__all__ = ["BOOLEAN", "Processor", "host", "object_code", "operation"]
