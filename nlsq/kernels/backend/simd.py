"""Symbolic values that write LLVM code: numbers, or several numbers side by side in a vector register.

A straight-line Python function called with such values is thereby translated, operator by operator. A `Value` carries
its LLVM value and the `Emitter` that made it; `nlsq.kernels.backend.primitives` and the elementary functions hand
themselves over to the emitter when they meet one. Imports llvmlite.

Floating-point flags are the emitter's: ``reassoc nsz contract`` in the code of a model (never nnan or ninf: NaN is a
signal), ``contract`` alone inside elementary functions, whose compensated sums reassociation would undo. They are never
left without flags: numba would give them its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from nlsq.kernels.backend.wide import LANES, WIDE

DOUBLE, INTEGER, BOOLEAN, INT32 = ir.DoubleType(), ir.IntType(64), ir.IntType(1), ir.IntType(32)
FLOAT = ir.FloatType()
FAST = ("reassoc", "nsz", "contract")
STRICT = ("contract",)
_UNARY_INTRINSICS = {"absolute": "fabs", "floor": "floor", "square_root": "sqrt"}


class Value:
    """A number or a vector of numbers: doubles, 64-bit integers or truth values.

    Parameters
    ----------
    emitter : Emitter
        Where operations are written.
    code : llvmlite value
        What they are applied to.
    """

    __slots__ = ("code", "emitter")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, emitter: Emitter, code: Any) -> None:
        self.emitter = emitter
        self.code = code

    def emit(self, name: str, *arguments: Any) -> Any:
        """Write a primitive."""
        return self.emitter.primitive(name, *arguments)

    def emit_elementary(self, function: Any, *arguments: Any) -> Any:
        """Write an elementary function."""
        return self.emitter.elementary(function, *arguments)

    def emit_instruction(self, instruction: Any, *arguments: Any) -> Any:
        """Write an instruction, or its source."""
        return self.emitter.instruction(instruction, *arguments)

    def __add__(self, other: Any) -> Value:
        return self.emitter.arithmetic("add", self, other)

    def __radd__(self, other: Any) -> Value:
        return self.emitter.arithmetic("add", other, self)

    def __sub__(self, other: Any) -> Value:
        return self.emitter.arithmetic("sub", self, other)

    def __rsub__(self, other: Any) -> Value:
        return self.emitter.arithmetic("sub", other, self)

    def __mul__(self, other: Any) -> Value:
        return self.emitter.arithmetic("mul", self, other)

    def __rmul__(self, other: Any) -> Value:
        return self.emitter.arithmetic("mul", other, self)

    def __truediv__(self, other: Any) -> Value:
        return self.emitter.arithmetic("div", self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return self.emitter.arithmetic("div", other, self)

    def __neg__(self) -> Value:
        if self.is_real:
            return Value(self.emitter, self.emitter.builder.fneg(self.code, flags=self.emitter.flags))
        return self.emitter.arithmetic("sub", 0, self)

    def __lshift__(self, bits: int) -> Value:
        emitter = self.emitter
        return Value(emitter, emitter.builder.shl(self.code, emitter.splat(INTEGER(bits), like=self)))

    def __and__(self, other: Any) -> Value:
        return self.emitter.bitwise("and_", self, other)

    def __rand__(self, other: Any) -> Value:
        return self.emitter.bitwise("and_", self, other)

    def __or__(self, other: Any) -> Value:
        return self.emitter.bitwise("or_", self, other)

    def __ror__(self, other: Any) -> Value:
        return self.emitter.bitwise("or_", self, other)

    def __xor__(self, other: Any) -> Value:
        return self.emitter.bitwise("xor", self, other)

    def __rxor__(self, other: Any) -> Value:
        return self.emitter.bitwise("xor", self, other)

    def __invert__(self) -> Value:
        return Value(self.emitter, self.emitter.builder.not_(self.code))

    def __lt__(self, other: Any) -> Value:
        return self.emitter.compare("<", self, other)

    def __le__(self, other: Any) -> Value:
        return self.emitter.compare("<=", self, other)

    def __gt__(self, other: Any) -> Value:
        return self.emitter.compare(">", self, other)

    def __ge__(self, other: Any) -> Value:
        return self.emitter.compare(">=", self, other)

    def __eq__(self, other: object) -> Value:  # type: ignore[override]
        return self.emitter.compare("==", self, other)

    def __ne__(self, other: object) -> Value:  # type: ignore[override]
        return self.emitter.compare("!=", self, other)

    def __bool__(self) -> bool:
        raise TypeError("a symbolic value has no truth value: straight-line code must not branch on it")

    @property
    def is_real(self) -> bool:
        """Whether it holds numbers of double or single precision."""
        return element_type(self.code.type) in (DOUBLE, FLOAT)

    @property
    def is_single(self) -> bool:
        """Whether it holds numbers of single precision."""
        return bool(element_type(self.code.type) == FLOAT)

    @property
    def lanes(self) -> int:
        """How many numbers it holds; 1 for a scalar."""
        return self.code.type.count if isinstance(self.code.type, ir.VectorType) else 1


def element_type(kind: Any) -> Any:
    """Return the type of one number."""
    return kind.element if isinstance(kind, ir.VectorType) else kind


def widen(kind: Any, lanes: int) -> Any:
    """Return the type of `lanes` numbers side by side."""
    return ir.VectorType(kind, lanes) if lanes > 1 else kind


class Emitter:
    """Writes code into one function of a module.

    Parameters
    ----------
    module : llvmlite.ir.Module
        Where functions are declared.
    builder : llvmlite.ir.IRBuilder
        At the place where code goes.
    has_fma : bool
        Whether the processor multiplies and adds with one rounding; without, elementary functions are libm's.
    inline : bool
        Whether elementary functions are written into the loop that calls them.
    wide : bool
        Whether the processor has AVX-512.
    """

    def __init__(
        self, module: ir.Module, builder: ir.IRBuilder, *, has_fma: bool, inline: bool = True, wide: bool = False
    ) -> None:
        self.module = module
        self.builder = builder
        self.has_fma = has_fma
        self.inline = inline
        self.wide = wide
        self.flags: tuple[str, ...] = FAST

    @contextmanager
    def at(self, builder: ir.IRBuilder, flags: tuple[str, ...]) -> Any:
        """Write somewhere else, with other flags, in the body of a ``with`` statement."""
        kept = self.builder, self.flags
        self.builder, self.flags = builder, flags
        try:
            yield
        finally:
            self.builder, self.flags = kept

    # Constants and shapes

    def constant(self, number: Any) -> Value:
        """Return a scalar double, integer or truth value."""
        if isinstance(number, bool):
            return Value(self, BOOLEAN(int(number)))
        return Value(self, INTEGER(number) if isinstance(number, int) else DOUBLE(float(number)))

    def splat(self, code: Any, like: Value) -> Any:
        """Repeat a scalar in as many lanes as another value has."""
        return self.broadcast(code, like.lanes)

    def broadcast(self, code: Any, lanes: int) -> Any:
        """Repeat a scalar in all lanes."""
        if lanes == 1 or isinstance(code.type, ir.VectorType):
            return code
        kind = ir.VectorType(code.type, lanes)
        if isinstance(code, ir.Constant):
            return ir.Constant(kind, [code.constant] * lanes)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), code, INT32(0))
        mask = ir.Constant(ir.VectorType(INT32, lanes), [0] * lanes)
        return self.builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), mask)

    def together(self, *operands: Any) -> list[Value]:
        """Bring operands to one shape, and Python numbers to the type of the values among them."""
        values = [operand for operand in operands if isinstance(operand, Value)]
        lanes = max(value.lanes for value in values)
        real = [value for value in values if value.is_real]
        single = bool(real) and all(value.is_single for value in real)
        brought = []
        for operand in operands:
            if not isinstance(operand, Value):
                operand = self.constant(float(operand) if real else operand)
            if operand.is_real:
                operand = self.converted(operand, FLOAT if single else DOUBLE)
            brought.append(Value(self, self.broadcast(operand.code, lanes)))
        return brought

    def converted(self, value: Value, kind: Any) -> Value:
        """Return real numbers in the precision `kind`; numbers of that precision as they are."""
        if element_type(value.code.type) == kind:
            return value
        if isinstance(value.code, ir.Constant) and value.lanes == 1:
            return Value(self, kind(value.code.constant))
        change = self.builder.fpext if kind == DOUBLE else self.builder.fptrunc
        return Value(self, change(value.code, widen(kind, value.lanes)))

    # Operators

    def arithmetic(self, name: str, left: Any, right: Any) -> Value:
        """Write + - * / for doubles, + - for integers."""
        a, b = self.together(left, right)
        if a.is_real:
            return Value(self, getattr(self.builder, f"f{name}")(a.code, b.code, flags=self.flags))
        if name not in ("add", "sub"):
            raise TypeError(f"integers in vector code have no operation {name!r}: some processors have none")
        return Value(self, getattr(self.builder, name)(a.code, b.code))

    def bitwise(self, name: str, left: Any, right: Any) -> Value:
        """Write & | ^ for integers and truth values."""
        a, b = self.together(left, right)
        return Value(self, getattr(self.builder, name)(a.code, b.code))

    def compare(self, sign: str, left: Any, right: Any) -> Value:
        """Write a comparison; with NaN all are false but ``!=``."""
        a, b = self.together(left, right)
        if not a.is_real:
            return Value(self, self.builder.icmp_signed(sign, a.code, b.code))
        ordered = self.builder.fcmp_unordered if sign == "!=" else self.builder.fcmp_ordered
        return Value(self, ordered(sign, a.code, b.code))

    def primitive(self, name: str, *arguments: Any) -> Value:
        """Write a primitive of `nlsq.kernels.backend.primitives`."""
        builder = self.builder
        if name == "fma":
            return self.intrinsic("fma", *self.together(*arguments))
        if name == "select":
            condition, a, b = arguments
            a, b = self.together(a, b) if isinstance(a, Value) or isinstance(b, Value) else map(self.constant, (a, b))
            lanes = max(condition.lanes, a.lanes)
            codes = [self.broadcast(value.code, lanes) for value in (condition, a, b)]
            return Value(self, builder.select(*codes))
        if name == "copy_sign":
            return self.intrinsic("copysign", *self.together(*arguments))
        if name in _UNARY_INTRINSICS:
            return self.intrinsic(_UNARY_INTRINSICS[name], arguments[0])
        (value, *rest) = arguments
        if name == "as_bits":
            return Value(self, builder.bitcast(value.code, widen(INTEGER, value.lanes)))
        if name == "as_double":
            return Value(self, builder.bitcast(value.code, widen(DOUBLE, value.lanes)))
        if name == "shift_right":
            return Value(self, builder.lshr(value.code, self.splat(INTEGER(rest[0]), like=value)))
        raise TypeError(f"the primitive {name!r} has no vector form")

    def instruction(self, instruction: Any, *arguments: Any) -> Any:
        """Write an instruction where the processor has it for as many lanes, else its source."""
        write = WIDE.get(instruction.name) if self.wide else None
        if write is not None:
            values = self.together(*arguments)
            if values[0].lanes == LANES:
                codes = write(self, *(value.code for value in values))
                return tuple(Value(self, code) for code in codes) if isinstance(codes, tuple) else Value(self, codes)
        return instruction.source(*arguments)

    def intrinsic(self, name: str, *arguments: Value) -> Value:
        """Write a call of an LLVM intrinsic of doubles."""
        kind = arguments[0].code.type
        bits = "f32" if arguments[0].is_single else "f64"
        suffix = f"v{kind.count}{bits}" if isinstance(kind, ir.VectorType) else bits
        function = self.declare(f"llvm.{name}.{suffix}", kind, len(arguments))
        return Value(self, self.builder.call(function, [argument.code for argument in arguments]))

    def declare(self, name: str, kind: Any, count: int, result: Any = None) -> Any:
        """Declare a function of `count` arguments of one type."""
        found = self.module.globals.get(name)
        if found is None:
            found = ir.Function(self.module, ir.FunctionType(result or kind, [kind] * count), name)
        return found

    # Elementary functions

    def elementary(self, function: Any, *arguments: Any) -> Value:
        """Write a call of an elementary function: one function in the module for each number of lanes.

        Those of single precision are rounded from those of double precision.
        """
        values = self.together(*arguments)
        if values[0].is_single:
            wide = self.elementary(function, *[self.converted(value, DOUBLE) for value in values])
            return self.converted(wide, FLOAT)
        name = f"{function.name}_{values[0].lanes}"
        found = self.module.globals.get(name)
        if found is None:
            kind = values[0].code.type
            found = ir.Function(self.module, ir.FunctionType(kind, [kind] * len(values)), name)
            found.linkage = "internal"
            found.attributes.add("alwaysinline" if self.inline else "noinline")
            if self.has_fma or function.library is None:
                self._write_body(found, function)
            else:
                self._write_lane_by_lane(found, function.library)
        return Value(self, self.builder.call(found, [value.code for value in values]))

    def _write_body(self, target: Any, function: Any) -> None:
        builder = ir.IRBuilder(target.append_basic_block())
        with self.at(builder, STRICT):
            result = function.source(*(Value(self, argument) for argument in target.args))
            slow = getattr(function, "slow", None)
            if slow is not None:
                result = self._or_slow(target, function, slow, result)
            self.builder.ret(self.broadcast(self._as_value(result).code, Value(self, target.args[0]).lanes))

    def _as_value(self, result: Any) -> Value:
        return result if isinstance(result, Value) else self.constant(float(result))

    def _or_slow(self, target: Any, function: Any, slow: Callable[..., Any], result: Value) -> Value:
        """Take libm's value in the lanes that are outside the range of the fast form; no other lane changes."""
        builder = self.builder
        outside = slow(*(Value(self, argument) for argument in target.args))
        library = self.module.globals.get(f"{target.name}_slow")
        if library is None:
            library = ir.Function(self.module, target.function_type, f"{target.name}_slow")
            library.linkage = "internal"
            library.attributes.add("noinline")
            self._write_lane_by_lane(library, function.library)
        start = builder.block
        rare, after = target.append_basic_block("slow"), target.append_basic_block("after")
        builder.cbranch(self.any_lane(outside), rare, after)
        builder.position_at_end(rare)
        exact = builder.select(outside.code, builder.call(library, list(target.args)), result.code)
        builder.branch(after)
        builder.position_at_end(after)
        merged = builder.phi(result.code.type)
        merged.add_incoming(result.code, start)
        merged.add_incoming(exact, rare)
        return Value(self, merged)

    def any_lane(self, condition: Value) -> Any:
        """Return whether a condition holds in any lane."""
        if condition.lanes == 1:
            return condition.code
        bits = ir.IntType(condition.lanes)
        return self.builder.icmp_unsigned("!=", self.builder.bitcast(condition.code, bits), bits(0))

    def _write_lane_by_lane(self, target: Any, library: str) -> None:
        """Write a function that calls libm once for each lane."""
        builder = ir.IRBuilder(target.append_basic_block())
        with self.at(builder, STRICT):
            lanes = Value(self, target.args[0]).lanes
            scalar = self.declare(library, DOUBLE, len(target.args))
            if lanes == 1:
                builder.ret(builder.call(scalar, list(target.args)))
                return
            result = ir.Constant(target.args[0].type, ir.Undefined)
            for lane in range(lanes):
                one = [builder.extract_element(argument, INT32(lane)) for argument in target.args]
                result = builder.insert_element(result, builder.call(scalar, one), INT32(lane))
            builder.ret(result)
