"""What each function and operator does to dual numbers: rules and arithmetic, as LLVM, told to numba.

Importing this module is what makes numba know dual numbers.
"""

from __future__ import annotations

import builtins
import math
import operator
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, errors, types
from numba.extending import intrinsic

from nlsq.kernels.backend import dual_curvature
from nlsq.kernels.backend import dual_kinks as kinks
from nlsq.kernels.backend import dual_math as rules
from nlsq.kernels.backend.dual import (
    DOUBLE,
    FLAGS,
    DualType,
    combine,
    operation,
    pack,
    unpack,
)
from nlsq.kernels.backend.lowering import DOUBLE_POINTER

# From rules to LLVM


def _call(context: Any, builder: Any, rule_: rules.Rule, values: Sequence[Any]) -> tuple[Any, Any]:
    """Call a compiled function of doubles; give the type of its result with it."""
    kind = context.typing_context.resolve_value_type(rule_)
    chosen = kind.get_call_type(context.typing_context, (types.float64,) * len(values), {})
    implementation = context.get_function(kind, chosen)
    value = implementation(builder, values)
    context.add_linking_libs(getattr(implementation, "libs", ()))
    return chosen.return_type, value


def _by_rule(context: Any, builder: Any, rule_: rules.Rule, kinds: Any, numbers: Any) -> Any:
    """Apply the chain rule."""
    split = [unpack(builder, kind, _double(number)) for kind, number in zip(kinds, numbers)]
    kind, outcome = _call(context, builder, rule_, [value for value, _ in split])
    results = cgutils.unpack_tuple(builder, outcome, len(kind))
    terms = [(slope, parts) for slope, (_, parts) in zip(results[1:], split)]
    dual, partials = _dual_of(kinds), combine(builder, terms, guarded=rule_ in rules.STEEP)
    if dual.seconds:
        call = partial(_call, context, builder)
        partials = dual_curvature.by_rule(builder, dual, rule_, split, results, partials, call)
    return pack(builder, dual, results[0], partials)


def _dual_of(kinds: Sequence[Any]) -> DualType:
    return next(kind for kind in kinds if isinstance(kind, DualType))


def _double(number: Any) -> Any:
    """Give a literal as LLVM's constant."""
    return DOUBLE(float(number)) if isinstance(number, int | float) else number


def _chained(rule_: rules.Rule) -> Any:
    return lambda context, builder, kinds, numbers: _by_rule(context, builder, rule_, kinds, numbers)


def _folded(rule_: rules.Rule) -> Any:
    """Apply a rule of two arguments to any number of them, from the left."""

    def emit(context: Any, builder: Any, kinds: Any, numbers: Any) -> Any:
        kind, number = kinds[0], numbers[0]
        for other_kind, other in zip(kinds[1:], numbers[1:]):
            if isinstance(kind, DualType) or isinstance(other_kind, DualType):
                number = _by_rule(context, builder, rule_, (kind, other_kind), (number, other))
                kind = kind if isinstance(kind, DualType) else other_kind
            else:
                _, outcome = _call(context, builder, rule_, [_double(number), _double(other)])
                number = cgutils.unpack_tuple(builder, outcome, 3)[0]
        return number

    return emit


def _of_values(function: rules.Rule) -> Any:
    """Apply a function without derivative to the values."""

    def emit(context: Any, builder: Any, kinds: Any, numbers: Any) -> Any:
        values = [unpack(builder, kind, _double(number))[0] for kind, number in zip(kinds, numbers)]
        return _call(context, builder, function, values)[1]

    return emit


def _sum_or_difference(sign: int) -> Any:
    def emit(context: Any, builder: Any, kinds: Any, numbers: Any) -> Any:
        (a, da), (b, db) = (unpack(builder, k, _double(number)) for k, number in zip(kinds, numbers))
        if sign > 0:
            value, partials = builder.fadd(a, b, flags=FLAGS), combine(builder, [(None, da), (None, db)])
        elif da is None or db is None:
            value = builder.fsub(a, b, flags=FLAGS)
            partials = da if db is None else [builder.fneg(part) for part in db]
        else:
            value = builder.fsub(a, b, flags=FLAGS)
            partials = [builder.fsub(p, q, flags=FLAGS) for p, q in zip(da, db)]
        return pack(builder, _dual_of(kinds), value, partials)

    return emit


def _product(context: Any, builder: Any, kinds: Any, numbers: Any) -> Any:
    (a, da), (b, db) = (unpack(builder, k, _double(number)) for k, number in zip(kinds, numbers))
    dual, partials = _dual_of(kinds), combine(builder, [(b, da), (a, db)])
    if dual.seconds:
        partials = dual_curvature.of_product(builder, dual, partials, da, db)
    return pack(builder, dual, builder.fmul(a, b, flags=FLAGS), partials)


def _negative(context: Any, builder: Any, kinds: Any, numbers: Any) -> Any:
    value, partials = unpack(builder, kinds[0], numbers[0])
    assert partials is not None
    return pack(builder, kinds[0], builder.fneg(value), [builder.fneg(part) for part in partials])


def _identity(context: Any, builder: Any, kinds: Any, numbers: Any) -> Any:
    return numbers[0]


LONGEST_CHAIN = 16  # powers up to it are products


def _raise_to(context: Any, builder: Any, kinds: Any, numbers: Any) -> Any:
    """Raise to a power: by products where it is a small whole literal, else by the rule for what is dual."""
    exponent = numbers[1]
    if isinstance(exponent, int | float) and float(exponent).is_integer() and 1 <= abs(exponent) <= LONGEST_CHAIN:
        base, partials = unpack(builder, kinds[0], numbers[0])
        lower = _chain(builder, base, abs(int(exponent)) - 1)
        value = base if lower is None else builder.fmul(lower, base, flags=FLAGS)
        if exponent < 0:
            value = builder.fdiv(DOUBLE(1.0), value, flags=FLAGS)
            lower = builder.fdiv(value, base, flags=FLAGS)
        slope = DOUBLE(float(exponent)) if lower is None else builder.fmul(DOUBLE(float(exponent)), lower, flags=FLAGS)
        derivatives = combine(builder, [(slope, partials)])
        if kinds[0].seconds and exponent != 1:
            factor = DOUBLE(float(exponent * (exponent - 1)))
            least = builder.fdiv(lower, base) if exponent < 0 else _chain(builder, base, int(exponent) - 2)
            second = factor if least is None else builder.fmul(factor, least, flags=FLAGS)
            derivatives = dual_curvature.of_power(builder, kinds[0], derivatives, second, partials)
        return pack(builder, kinds[0], value, derivatives)
    if not isinstance(kinds[1], DualType):
        return _by_rule(context, builder, rules.power_of_base_rule, kinds, numbers)
    return _by_rule(
        context,
        builder,
        rules.power_rule if isinstance(kinds[0], DualType) else rules.power_of_exponent_rule,
        kinds,
        numbers,
    )


def _chain(builder: Any, base: Any, power: int) -> Any:
    """Raise to a whole power by squaring; None for the power 0."""
    result, square = None, base
    while power:
        if power & 1:
            result = square if result is None else builder.fmul(result, square, flags=FLAGS)
        power >>= 1
        if power:
            square = builder.fmul(square, square, flags=FLAGS)
    return result


def _choose(context: Any, builder: Any, kinds: Any, numbers: Any) -> Any:
    """``np.where(condition, a, b)``."""
    dual = _dual_of(kinds[1:])
    split = [unpack(builder, kind, _double(number)) for kind, number in zip(kinds[1:], numbers[1:])]
    (a, da), (b, db) = ((value, dual.no_partials() if parts is None else parts) for value, parts in split)
    chosen = [builder.select(numbers[0], p, q) for p, q in zip(da, db)]
    return pack(builder, dual, builder.select(numbers[0], a, b), chosen)


def _clip(context: Any, builder: Any, kinds: Any, numbers: Any) -> Any:
    """``np.clip(a, low, high)``: minimum(maximum(a, low), high)."""
    raised = _folded(kinks.maximum_rule)(context, builder, kinds[:2], numbers[:2])
    kind = next((k for k in kinds[:2] if isinstance(k, DualType)), types.float64)
    return _folded(kinks.minimum_rule)(context, builder, (kind, kinds[2]), (raised, numbers[2]))


def _comparison(symbol: str) -> Any:
    def emit(context: Any, builder: Any, kinds: Any, numbers: Any) -> Any:
        a, b = (unpack(builder, kind, _double(number))[0] for kind, number in zip(kinds, numbers))
        compare = builder.fcmp_unordered if symbol == "!=" else builder.fcmp_ordered
        return compare(symbol, a, b)

    return emit


def _truth(wanted: bool) -> Any:
    def emit(context: Any, builder: Any, kinds: Any, numbers: Any) -> Any:
        value = unpack(builder, kinds[0], numbers[0])[0]
        compare = builder.fcmp_unordered if wanted else builder.fcmp_ordered
        return compare("!=" if wanted else "==", value, DOUBLE(0.0))

    return emit


def _whole(context: Any, builder: Any, kinds: Any, numbers: Any) -> Any:
    return builder.fptosi(unpack(builder, kinds[0], numbers[0])[0], ir.IntType(64))


@cache
def seeding(width: int) -> Any:
    """Give the function ``value, k -> dual number`` whose partial k is 1, for k in 0 .. width - 1, and all others 0."""

    @intrinsic
    def seed(typing_context: Any, value: Any, place: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            number, index = arguments
            hits = [builder.icmp_signed("==", index, index.type(k)) for k in range(width)]
            return pack(builder, DualType(width), number, [builder.uitofp(hit, DOUBLE) for hit in hits])

        return DualType(width)(types.float64, types.int64), generate

    return seed


@cache
def stack_memory(count: int) -> Any:
    """Give the function that returns a pointer to so many doubles of its caller's stack frame."""

    @intrinsic
    def allocate(typing_context: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return cgutils.alloca_once(builder, DOUBLE, size=count)

        return DOUBLE_POINTER(), generate

    return allocate


@intrinsic
def store_partials(typing_context: Any, number: Any, out: Any, row: Any, stride: Any) -> Any:
    """Store partial k at ``out[k * stride + row]``; numbers without partials, such as whole ones, are refused."""
    if not isinstance(number, DualType):
        raise errors.TypingError(f"it returns numbers of type {number}, which have lost their derivatives")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        packed, pointer, place, step = arguments
        for part in unpack(builder, number, packed)[1] or ():
            builder.store(part, builder.gep(pointer, [place]))
            place = builder.add(place, step)
        return context.get_dummy_value()

    return types.void(number, out, types.int64, types.int64), generate


# What numba is told

_ONE_ARGUMENT: list[tuple[tuple[Any, ...], rules.Rule]] = [
    ((math.exp, np.exp), rules.exp_rule),
    ((np.exp2,), rules.exp2_rule),
    ((math.expm1, np.expm1), rules.expm1_rule),
    ((math.log2, np.log2), rules.log2_rule),
    ((math.log10, np.log10), rules.log10_rule),
    ((math.log1p, np.log1p), rules.log1p_rule),
    ((math.log, np.log), rules.log_rule),
    ((math.sqrt, np.sqrt), rules.sqrt_rule),
    ((np.cbrt,), rules.cbrt_rule),
    ((np.square,), rules.square_rule),
    ((np.reciprocal,), rules.reciprocal_rule),
    ((math.sin, np.sin), rules.sin_rule),
    ((math.cos, np.cos), rules.cos_rule),
    ((math.tan, np.tan), rules.tan_rule),
    ((math.asin, np.arcsin), rules.asin_rule),
    ((math.acos, np.arccos), rules.acos_rule),
    ((math.atan, np.arctan), rules.atan_rule),
    ((math.sinh, np.sinh), rules.sinh_rule),
    ((math.cosh, np.cosh), rules.cosh_rule),
    ((math.tanh, np.tanh), rules.tanh_rule),
    ((math.asinh, np.arcsinh), rules.asinh_rule),
    ((math.acosh, np.arccosh), rules.acosh_rule),
    ((math.atanh, np.arctanh), rules.atanh_rule),
    ((math.erf,), rules.erf_rule),
    ((math.erfc,), rules.erfc_rule),
    ((math.gamma,), rules.gamma_rule),
    ((math.lgamma,), rules.lgamma_rule),
    ((math.radians, np.radians, np.deg2rad), rules.radians_rule),
    ((math.degrees, np.degrees, np.rad2deg), rules.degrees_rule),
    ((builtins.abs, math.fabs, np.abs, np.fabs), kinks.abs_rule),
]
_TWO_ARGUMENTS: list[tuple[tuple[Any, ...], rules.Rule]] = [
    ((math.hypot, np.hypot), rules.hypot_rule),
    ((math.atan2, np.arctan2), rules.atan2_rule),
    ((math.copysign, np.copysign), kinks.copysign_rule),
    ((operator.mod, np.mod), kinks.modulo_rule),
    ((np.fmod,), kinks.fmod_rule),
    ((np.logaddexp,), rules.logaddexp_rule),
    ((np.maximum,), kinks.maximum_rule),
    ((np.minimum,), kinks.minimum_rule),
    ((np.fmax,), kinks.fmax_rule),
    ((np.fmin,), kinks.fmin_rule),
    ((np.heaviside,), kinks.heaviside_rule),
]
_WITHOUT_DERIVATIVE: list[tuple[tuple[Any, ...], rules.Rule, Any]] = [
    ((np.floor,), kinks.floor, types.float64),
    ((np.ceil,), kinks.ceil, types.float64),
    ((np.trunc,), kinks.trunc, types.float64),
    ((np.rint,), kinks.rint, types.float64),
    ((np.sign,), kinks.sign, types.float64),
    ((math.floor,), kinks.whole_floor, types.int64),
    ((math.ceil,), kinks.whole_ceil, types.int64),
    ((math.trunc,), kinks.whole_trunc, types.int64),
    ((builtins.round,), kinks.whole_round, types.int64),
    ((math.isnan, np.isnan), kinks.isnan, types.boolean),
    ((math.isinf, np.isinf), kinks.isinf, types.boolean),
    ((math.isfinite, np.isfinite), kinks.isfinite, types.boolean),
]
_COMPARISONS = [
    (operator.lt, np.less, "<"),
    (operator.le, np.less_equal, "<="),
    (operator.gt, np.greater, ">"),
    (operator.ge, np.greater_equal, ">="),
    (operator.eq, np.equal, "=="),
    (operator.ne, np.not_equal, "!="),
]
_ARITHMETIC: list[tuple[tuple[Any, ...], Any, Any]] = [  # functions, operator in place, emission
    ((operator.add, np.add), operator.iadd, _sum_or_difference(1)),
    ((operator.sub, np.subtract), operator.isub, _sum_or_difference(-1)),
    ((operator.mul, np.multiply), operator.imul, _product),
    ((operator.truediv, np.divide), operator.itruediv, _chained(rules.divide_rule)),
    ((operator.pow, math.pow, np.power, builtins.pow), operator.ipow, _raise_to),
    ((operator.mod, np.mod), operator.imod, _chained(kinks.modulo_rule)),
]


def _declare() -> None:
    for functions, one in _ONE_ARGUMENT:
        for function in functions:
            operation(function, _chained(one), (1, 1))
    for functions, one in _TWO_ARGUMENTS:
        for function in functions:
            operation(function, _chained(one), (2, 2))
    for functions, one, kind in _WITHOUT_DERIVATIVE:
        for function in functions:
            operation(function, _of_values(one), (1, 1), kind)
    for compare, of_numpy, symbol in _COMPARISONS:
        operation(compare, _comparison(symbol), (2, 2), types.boolean)
        operation(of_numpy, _comparison(symbol), (2, 2), types.boolean)
    for functions, in_place, emit in _ARITHMETIC:
        for function in functions:
            operation(function, emit, (2, 2), literals=True)
        operation(in_place, emit, (2, 2), in_place=True, literals=True)
    for function in (operator.floordiv, np.floor_divide):
        operation(function, _of_values(kinks.floor_divide), (2, 2), types.float64)
    for function in (operator.neg, np.negative):
        operation(function, _negative, (1, 1))
    for function in (operator.pos, np.positive, builtins.float):
        operation(function, _identity, (1, 1))
    operation(builtins.max, _folded(kinks.larger_rule), (2, 99))
    operation(builtins.min, _folded(kinks.smaller_rule), (2, 99))
    operation(np.where, _choose, (3, 3), mask=True)
    operation(np.clip, _clip, (3, 3))
    operation(builtins.int, _whole, (1, 1), types.int64)
    operation(builtins.bool, _truth(True), (1, 1), types.boolean)
    operation(operator.not_, _truth(False), (1, 1), types.boolean)


_declare()
