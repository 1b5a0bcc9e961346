"""Generated kernels that treat several problems side by side, one in each lane of the vector registers.

Where `nlsq.kernels.backend.fused` puts neighbouring points of one problem into a register, this puts the same point of
as many problems as there is room for. No lane sees another: what a problem's numbers are does not depend on the
problems beside it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from nlsq.kernels.backend.operations import operation
from nlsq.kernels.backend.places import POINTER, Places, emitter_of
from nlsq.kernels.backend.program import Loop, Place, Program, Statement
from nlsq.kernels.backend.simd import DOUBLE, FAST, INTEGER, Value


class LaneWriter:
    """Writes one program of problems side by side into a module.

    The function takes ``(p, table, first)`` and returns bits.
    """

    def __init__(self, module: ir.Module, symbol: str, program: Program, processor: Any) -> None:
        self.function = ir.Function(module, ir.FunctionType(INTEGER, [POINTER, INTEGER, POINTER]), symbol)
        self.program, self.lanes = program, processor.lanes
        self.emitter = emitter_of(self.function, program, processor)
        self.places = Places(self.function, self.emitter, program.side_by_side, processor.lanes)
        self.names: dict[str, Value] = {}
        self.vector = ir.VectorType(DOUBLE, self.lanes)

    @property
    def builder(self) -> ir.IRBuilder:
        """Where code goes."""
        return self.emitter.builder

    def write(self) -> None:
        """Write the whole function."""
        for step in self.program.steps:
            if isinstance(step, Statement):
                self.names[step.name] = self.statement(step, [])
            else:
                self.loop(step)
        for place, operand in self.program.writes:
            code = self.emitter.broadcast(self.operand(operand).code, self.lanes)
            address = self.builder.bitcast(self.places.address(place, []), ir.PointerType(code.type))
            self.builder.store(code, address, align=8)
        bits = INTEGER(0)
        if self.program.result:
            condition = self.emitter.broadcast(self.names[self.program.result].code, self.lanes)
            bits = self.builder.zext(self.builder.bitcast(condition, ir.IntType(self.lanes)), INTEGER)
        self.builder.ret(bits)
        self.places.close()

    def operand(self, operand: Any) -> Value:
        """Return a named value or a number."""
        return self.names[operand] if isinstance(operand, str) else self.emitter.constant(float(operand))

    def statement(self, statement: Statement, indices: list[Any]) -> Value:
        """Write a statement."""
        if statement.operation == "read":
            (place,) = statement.operands
            assert isinstance(place, Place)
            kind = self.vector if self.places.width(place.array) > 1 else DOUBLE
            return Value(self.emitter, self.builder.load(self.places.address(place, indices), typ=kind, align=8))
        result = operation(statement.operation)(*[self.operand(one) for one in statement.operands])
        assert isinstance(result, Value)
        return result

    def loop(self, loop: Loop) -> None:
        """Write a loop over an index space, one point a round."""
        if loop.writes:
            raise ValueError("kernels of problems side by side write nothing in their loops.")
        totals = {name: self.places.at_entry(lambda builder: builder.alloca(self.vector)) for name, _ in loop.totals}
        for slot in totals.values():
            self.builder.store(ir.Constant(self.vector, [0.0] * self.lanes), slot)
        outer_names = dict(self.names)
        self._nest(loop, list(loop.lengths), [], totals)
        self.names = outer_names
        for name, slot in totals.items():
            self.names[name] = Value(self.emitter, self.builder.load(slot, typ=self.vector))

    def _nest(self, loop: Loop, lengths: list[int], indices: list[Any], totals: dict[str, Any]) -> None:
        if not lengths:
            self._round(loop, indices, totals)
            return
        builder, length = self.builder, self.places.entry(lengths[0])
        before = builder.block
        head, body, after = (self.function.append_basic_block(name) for name in ("head", "body", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(INTEGER)
        index.add_incoming(INTEGER(0), before)
        builder.cbranch(builder.icmp_signed("<", index, length), body, after)
        builder.position_at_end(body)
        self._nest(loop, lengths[1:], [*indices, index], totals)
        index.add_incoming(builder.add(index, INTEGER(1)), builder.block)
        builder.branch(head)
        builder.position_at_end(after)

    def _round(self, loop: Loop, indices: list[Any], totals: dict[str, Any]) -> None:
        """Write what is done for one point."""
        for statement in loop.statements:
            self.names[statement.name] = self.statement(statement, indices)
        for name, operand in loop.totals:
            value = self.emitter.broadcast(self.emitter.converted(self.operand(operand), DOUBLE).code, self.lanes)
            total = self.builder.load(totals[name], typ=self.vector)
            self.builder.store(self.builder.fadd(total, value, flags=FAST), totals[name])
