"""Machine code for generated kernels, by LLVM alone: numba is not imported, and one model takes some 50 ms.

Loops are written in vectors from the start: as many numbers side by side as the processor has room for in a register,
the last ones under a mask, so that a remainder costs one more round and no loop of its own. Sums are kept side by side
and added up at the end.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from nlsq.kernels.backend.lanes import LaneWriter
from nlsq.kernels.backend.operations import operation
from nlsq.kernels.backend.places import POINTER, Places, emitter_of
from nlsq.kernels.backend.program import Loop, Place, Program, Statement
from nlsq.kernels.backend.simd import BOOLEAN, DOUBLE, FAST, INT32, INTEGER, Value


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
        writer = LaneWriter if program.side_by_side else _FunctionWriter
        writer(module, symbol, program, processor).write()
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
        self.emitter = emitter_of(self.function, program, processor)
        self.places = Places(self.function, self.emitter)
        self.names: dict[str, Value] = {}

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
            self.builder.store(self.operand(operand).code, self.places.address(place, []))
        if self.program.result:
            self.builder.ret(self.names[self.program.result].code)
        else:
            self.builder.ret(INTEGER(0))
        self.places.close()

    def operand(self, operand: Any) -> Value:
        """Return a named value or a number."""
        return self.names[operand] if isinstance(operand, str) else self.emitter.constant(float(operand))

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
        address = self.places.address(place, indices)
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
        lanes = self.emitter.broadcast(self.places.stride(stride), self.lanes)
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
        address = self.places.address(place, indices)
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
        totals = {name: self.places.at_entry(lambda builder: builder.alloca(vector)) for name, _ in loop.totals}
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
        length = self.places.entry(lengths[0])
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
