"""Second derivatives of the functions that dual numbers go through.

Numbers of second order carry the second derivatives h_jk = d2/dp_j dp_k beside the first, g_j = d/dp_j, and

    f(a, b)_jk = f_a a_jk + f_b b_jk + f_aa a_j a_k + f_ab (a_j b_k + a_k b_j) + f_bb b_j b_k

is the chain rule [1]_. Most second derivatives of elementary functions are products of what a rule of
`nlsq.kernels.backend.dual_math` has already: arguments, value and slopes. They are written here as formulas of those,
for symbolic values (`nlsq.kernels.backend.simd`); the few that need more are compiled. What has no formula is linear,
or flat, on each side of its kinks.

    trigamma   psi'(a) ~ 1/a + 1/2a^2 + sum_k B_2k / a^(2k+1)   after  psi'(a) = psi'(a + 1) + 1/a^2  until a >= 10,
               psi'(a) = pi^2 / sin(pi a)^2 - psi'(1 - a)  for a < 0  [2]_

References
----------
.. [1] A. Griewank, A. Walther, "Evaluating Derivatives", SIAM, 2nd edition, 2008, chapter 13.
.. [2] M. Abramowitz, I. Stegun, "Handbook of Mathematical Functions", 1964, 6.4.6, 6.4.7, 6.4.12.
"""

# numba types what it compiles
# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from nlsq.kernels.backend import dual_math as rules
from nlsq.kernels.backend.dual import DOUBLE, FLAGS, DualType, Partials, Term, combine, spread
from nlsq.kernels.backend.dual_math import DIGAMMA_FROM, LN_2, LN_10, log, power, rule
from nlsq.kernels.backend.primitives import select
from nlsq.kernels.backend.simd import STRICT, Emitter, Value

Call = Callable[[rules.Rule, Sequence[Any]], tuple[Any, Any]]  # compiled function, values -> type and result

# of one argument: a, value, slope -> second derivative
_OF_ONE: dict[rules.Rule, Callable[[Any, Any, Any], Any]] = {
    rules.exp_rule: lambda a, v, s: v,
    rules.exp2_rule: lambda a, v, s: LN_2 * s,
    rules.expm1_rule: lambda a, v, s: s,
    rules.log_rule: lambda a, v, s: -(s * s),
    rules.log2_rule: lambda a, v, s: -LN_2 * (s * s),
    rules.log10_rule: lambda a, v, s: -LN_10 * (s * s),
    rules.log1p_rule: lambda a, v, s: -(s * s),
    rules.sqrt_rule: lambda a, v, s: -2.0 * s * s * s,
    rules.cbrt_rule: lambda a, v, s: -2.0 / 3.0 * s / a,
    rules.square_rule: lambda a, v, s: 2.0,
    rules.reciprocal_rule: lambda a, v, s: -2.0 * s * v,
    rules.sin_rule: lambda a, v, s: -v,
    rules.cos_rule: lambda a, v, s: -v,
    rules.tan_rule: lambda a, v, s: 2.0 * v * s,
    rules.asin_rule: lambda a, v, s: a * s * s * s,
    rules.acos_rule: lambda a, v, s: a * s * s * s,
    rules.atan_rule: lambda a, v, s: -2.0 * (a * s) * s,
    rules.sinh_rule: lambda a, v, s: v,
    rules.cosh_rule: lambda a, v, s: v,
    rules.tanh_rule: lambda a, v, s: -2.0 * v * s,
    rules.asinh_rule: lambda a, v, s: -(a * s) * s * s,
    rules.acosh_rule: lambda a, v, s: -(a * s) * s * s,
    rules.atanh_rule: lambda a, v, s: 2.0 * a * s * s,
    rules.erf_rule: lambda a, v, s: -2.0 * a * s,
    rules.erfc_rule: lambda a, v, s: -2.0 * a * s,
}


def _divide(a, b, v, slope_a, slope_b):
    return None, -(slope_a * slope_a), -2.0 * slope_a * slope_b


def _hypot(a, b, v, slope_a, slope_b):
    """At the kink all are 0, as the slopes are."""
    per = select(v == 0.0, 0.0, 1.0 / v)
    return slope_b * slope_b * per, -(slope_a * slope_b) * per, slope_a * slope_a * per


def _atan2(a, b, v, slope_a, slope_b):
    twice = 2.0 * slope_a * slope_b
    return twice, (slope_b - slope_a) * (slope_b + slope_a), -twice


def _logaddexp(a, b, v, slope_a, slope_b):
    both = slope_a * slope_b
    return both, -both, both


# of two arguments: a, b, value, slopes -> second derivatives aa, ab, bb; None where one is 0
_OF_TWO: dict[rules.Rule, Callable[..., Any]] = {
    rules.divide_rule: _divide,
    rules.hypot_rule: _hypot,
    rules.atan2_rule: _atan2,
    rules.logaddexp_rule: _logaddexp,
}


@rule
def trigamma(a):
    """Differentiate digamma; inf at 0, -1, -2, ..."""
    if a <= 0.0 and a == math.floor(a):
        return math.inf
    shift, sign = 0.0, 1.0
    if a < 0.0:
        sine = math.sin(math.pi * (a - math.floor(a)))  # its square has period 1
        shift, sign = math.pi / sine * (math.pi / sine), -1.0
        a = 1.0 - a
    total = 0.0
    while a < DIGAMMA_FROM:
        total += 1.0 / (a * a)
        a += 1.0
    u = 1.0 / (a * a)
    series = 1 / 6 - u * (1 / 30 - u * (1 / 42 - u * (1 / 30 - u * (5 / 66 - u * (691 / 2730 - u * 7 / 6)))))
    total += (1.0 + 0.5 / a + u * series) / a
    return shift + sign * total


@rule
def gamma_second(a, value, slope):
    """Second derivative of gamma."""
    psi = slope / value
    return (value * (psi * psi + trigamma(a)),)


@rule
def lgamma_second(a, value, slope):
    """Second derivative of log gamma."""
    return (trigamma(a),)


@rule
def power_second(a, b, value, slope_a, slope_b):
    """For a base and an exponent with partials."""
    zero = 0.0 if b > 1.0 else math.nan
    in_base = b * (b - 1.0) * power(a, b - 2.0) if b != 0.0 and b != 1.0 else 0.0
    mixed = power(a, b - 1.0) * (1.0 + b * log(a)) if a != 0.0 else zero
    in_exponent = slope_b * log(a) if a != 0.0 else slope_b
    return in_base, mixed, in_exponent


@rule
def power_second_in_base(a, b, value, slope_a, slope_b):
    """For a plain exponent."""
    return b * (b - 1.0) * power(a, b - 2.0) if b != 0.0 and b != 1.0 else 0.0, 0.0, 0.0


@rule
def power_second_in_exponent(a, b, value, slope_a, slope_b):
    """For a plain base."""
    return 0.0, 0.0, slope_b * log(a) if a != 0.0 else slope_b


_COMPILED: dict[rules.Rule, rules.Rule] = {
    rules.gamma_rule: gamma_second,
    rules.lgamma_rule: lgamma_second,
    rules.power_rule: power_second,
    rules.power_of_base_rule: power_second_in_base,
    rules.power_of_exponent_rule: power_second_in_exponent,
}


def _curvatures(builder: Any, rule_: rules.Rule, values: Sequence[Any], outcome: Sequence[Any], call: Call) -> Any:
    """Second derivatives of a rule in LLVM, given what it takes and gives; none where they are 0."""
    compiled = _COMPILED.get(rule_)
    if compiled is not None:
        _, result = call(compiled, [*values, *outcome])
        return cgutils.unpack_tuple(builder, result, 1 if len(values) == 1 else 3)
    formula = (_OF_ONE if len(values) == 1 else _OF_TWO).get(rule_)
    if formula is None:
        return []
    emitter = Emitter(builder.module, builder, has_fma=False)
    with emitter.at(builder, STRICT):
        result = formula(*(Value(emitter, code) for code in (*values, *outcome)))
    results = result if isinstance(result, tuple) else (result,)
    return [one.code if isinstance(one, Value) else one for one in results]


def _element(builder: Any, dual: DualType, parts: list[Any], j: int) -> Any:
    """Partial j as a scalar."""
    return builder.extract_element(parts[j // dual.lanes], ir.IntType(32)(j % dual.lanes)) if dual.lanes else parts[j]


def _outer(builder: Any, dual: DualType, da: Partials, db: Partials) -> Partials:
    """``a_j b_k`` in the registers of second derivatives."""
    if da is None or db is None:
        return None
    factors = [_element(builder, dual, da, j) for j in range(dual.width)]
    return [builder.fmul(spread(builder, factors[j], db[c]), db[c], flags=FLAGS) for j, c in dual.seconds]


def _crossed(builder: Any, dual: DualType, da: Partials, db: Partials) -> Partials:
    """``a_j b_k + a_k b_j`` in the registers of second derivatives."""
    return combine(builder, [(None, _outer(builder, dual, da, db)), (None, _outer(builder, dual, db, da))])


def _bent(builder: Any, dual: DualType, partials: Partials, terms: Sequence[Term], guarded: bool) -> Partials:
    """Add terms to the second derivatives, which come after the first ones."""
    assert partials is not None
    first, second = partials[: dual.firsts], partials[dual.firsts :]
    return first + (combine(builder, [(None, second), *terms], guarded=guarded) or [])


def by_rule(
    builder: Any,
    dual: DualType,
    rule_: rules.Rule,
    split: Sequence[tuple[Any, Partials]],
    outcome: Sequence[Any],
    partials: Partials,
    call: Call,
) -> Partials:
    """Complete the chain rule of a function.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Where code goes.
    dual : DualType
        Numbers of second order.
    rule_ : callable
        Of the function.
    split : sequence of (value, partials)
        Arguments.
    outcome : sequence of LLVM values
        What the rule gave: value and slopes.
    partials : list of LLVM values
        Slopes times the arguments' derivatives.
    call : callable
        Calls a compiled function.
    """
    found = _curvatures(builder, rule_, [value for value, _ in split], outcome, call)
    parts = [one for _, one in split]
    factors = [_outer(builder, dual, parts[0], parts[0])]
    if len(parts) == 2:
        factors += [_crossed(builder, dual, *parts), _outer(builder, dual, parts[1], parts[1])]
    terms = [(DOUBLE(one) if isinstance(one, float) else one, product) for one, product in zip(found, factors)]
    kept = [term for term in terms if term[0] is not None]
    return _bent(builder, dual, partials, kept, rule_ in rules.STEEP)


def of_product(builder: Any, dual: DualType, partials: Partials, da: Partials, db: Partials) -> Partials:
    """Complete the derivatives of a product."""
    return _bent(builder, dual, partials, [(None, _crossed(builder, dual, da, db))], False)


def of_power(builder: Any, dual: DualType, partials: Partials, second: Any, parts: Partials) -> Partials:
    """Complete the derivatives of a function of one number, whose own second derivative is given."""
    return _bent(builder, dual, partials, [(second, _outer(builder, dual, parts, parts))], False)
