"""Values and slopes of the functions that dual numbers go through.

A rule takes values and returns the function's value with one slope an argument, df/da; `nlsq.kernels.backend.dual`
makes the chain rule of it. Slopes are written so that they keep their digits where the textbook form
cancels: 1 - tanh^2 as 4 e / (1 + e)^2 with e = exp(-2 |a|), 1 - a^2 as (1 - a)(1 + a).

    digamma   psi(a) ~ log a - 1/2a - sum_k B_2k / (2k a^2k)   after  psi(a) = psi(a + 1) - 1/a  until a >= 10 [1]_,
              psi(a) = psi(1 - a) - pi / tan(pi a)  for a < 0

References
----------
.. [1] M. Abramowitz, I. Stegun, "Handbook of Mathematical Functions", 1964, 6.3.5, 6.3.7, 6.3.18.
.. [2] T. Dekker, "A floating-point technique for extending the available precision", Numerische Mathematik 18, 1971.
"""

# ruff: noqa: D103 -- a rule is named after its function
# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic

from nlsq.kernels.backend.dual import INTERNAL
from nlsq.kernels.backend.lowering import jitted
from nlsq.kernels.elementary import ELEMENTARY

Rule = Callable[..., Any]

# The elementary functions that rules call. Straight-line ones keep a loop over the data vectorised; the ones there are
# for sin, cos and tan hold below 2^40 only.
exp, log, expm1, log1p, log2, log10, sinh, cosh, tanh, asin, acos, atan, atan2, asinh, acosh, atanh = (
    jitted(ELEMENTARY[name])
    for name in (
        "exp",
        "log",
        "expm1",
        "log1p",
        "log2",
        "log10",
        "sinh",
        "cosh",
        "tanh",
        "asin",
        "acos",
        "atan",
        "atan2",
        "asinh",
        "acosh",
        "atanh",
    )
)
erf, erfc, cbrt, hypot, power = (jitted(ELEMENTARY[name]) for name in ("erf", "erfc", "cbrt", "hypot", "pow"))
sin, cos, tan, sqrt, gamma, lgamma = math.sin, math.cos, math.tan, math.sqrt, math.gamma, math.lgamma

LN_2, LN_10 = math.log(2.0), math.log(10.0)
TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)
DIGAMMA_FROM = 10.0  # where eight terms of the asymptotic series leave less than an ulp


@intrinsic
def _fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    kinds = (types.float64, types.float64, types.float64)
    return types.float64(*kinds), lambda context, builder, signature, arguments: builder.fma(*arguments)


def rule(function: Rule) -> Rule:
    """Compile a rule, to be inlined where it is used."""
    compiled: Rule = numba.njit(forceinline=True, **(INTERNAL | {"fastmath": {"contract"}}))(function)
    return compiled


# One argument: value and slope


@rule
def exp_rule(a):
    value = exp(a)
    return value, value


@rule
def exp2_rule(a):
    value = power(2.0, a)
    return value, value * LN_2


@rule
def expm1_rule(a):
    return expm1(a), exp(a)


@rule
def log_rule(a):
    return log(a), 1.0 / a


@rule
def log2_rule(a):
    return log2(a), 1.0 / (a * LN_2)


@rule
def log10_rule(a):
    return log10(a), 1.0 / (a * LN_10)


@rule
def log1p_rule(a):
    return log1p(a), 1.0 / (1.0 + a)


@rule
def sqrt_rule(a):
    root = sqrt(a)
    return root, 0.5 / root


@rule
def cbrt_rule(a):
    root = cbrt(a)
    return root, 1.0 / (3.0 * root * root)


@rule
def square_rule(a):
    return a * a, 2.0 * a


@rule
def reciprocal_rule(a):
    inverse = 1.0 / a
    return inverse, -inverse * inverse


@rule
def sin_rule(a):
    return sin(a), cos(a)


@rule
def cos_rule(a):
    return cos(a), -sin(a)


@rule
def tan_rule(a):
    value = tan(a)
    return value, 1.0 + value * value


@rule
def asin_rule(a):
    return asin(a), 1.0 / sqrt((1.0 - a) * (1.0 + a))


@rule
def acos_rule(a):
    return acos(a), -1.0 / sqrt((1.0 - a) * (1.0 + a))


@rule
def atan_rule(a):
    return atan(a), 1.0 / (1.0 + a * a)


@rule
def sinh_rule(a):
    return sinh(a), cosh(a)


@rule
def cosh_rule(a):
    return cosh(a), sinh(a)


@rule
def tanh_rule(a):
    e = exp(-2.0 * abs(a))
    return tanh(a), 4.0 * e / ((1.0 + e) * (1.0 + e))


@rule
def asinh_rule(a):
    return asinh(a), 1.0 / hypot(1.0, a)


@rule
def acosh_rule(a):
    return acosh(a), 1.0 / (sqrt(a - 1.0) * sqrt(a + 1.0))


@rule
def atanh_rule(a):
    return atanh(a), 1.0 / ((1.0 - a) * (1.0 + a))


@rule
def gauss_rule(a):
    """2 / sqrt(pi) exp(-a^2), with the rounding of the square put back: it is magnified a^2 times."""
    square = a * a
    lost = _fma(a, a, -square)
    density = TWO_OVER_SQRT_PI * exp(-square)
    return density - density * lost if density > 0.0 else density


@rule
def erf_rule(a):
    return erf(a), gauss_rule(a)


@rule
def erfc_rule(a):
    return erfc(a), -gauss_rule(a)


@rule
def digamma(a):
    """Differentiate log gamma; nan at 0, -1, -2, ..."""
    if a <= 0.0 and a == math.floor(a):
        return math.nan
    shift = 0.0
    if a < 0.0:
        fraction = a - math.floor(a)  # tan(pi a) has period 1, and a itself may be large
        shift = -math.pi / math.tan(math.pi * fraction)
        a = 1.0 - a
    while a < DIGAMMA_FROM:
        shift -= 1.0 / a
        a += 1.0
    u = 1.0 / (a * a)
    series = u * (1 / 12 - u * (1 / 120 - u * (1 / 252 - u * (1 / 240 - u * (1 / 132 - u * (691 / 32760 - u / 12))))))
    return shift + (math.log(a) - 0.5 / a - series)


@rule
def gamma_rule(a):
    value = gamma(a)
    return value, value * digamma(a)


@rule
def lgamma_rule(a):
    return lgamma(a), digamma(a)


@rule
def radians_rule(a):
    return a * (math.pi / 180.0), math.pi / 180.0


@rule
def degrees_rule(a):
    return a * (180.0 / math.pi), 180.0 / math.pi


# Two arguments: value and both slopes


@rule
def divide_rule(a, b):
    inverse = 1.0 / b
    value = a / b
    return value, inverse, -value * inverse


@rule
def power_rule(a, b):
    value = power(a, b)
    slope_a = b * power(a, b - 1.0) if b != 0.0 else 0.0
    slope_b = value * log(a) if a != 0.0 else 0.0 if b > 0.0 else math.nan
    return value, slope_a, slope_b


@rule
def power_of_exponent_rule(a, b):
    """For a plain base."""
    value = power(a, b)
    return value, 0.0, value * log(a) if a != 0.0 else 0.0 if b > 0.0 else math.nan


@rule
def power_of_base_rule(a, b):
    """For a plain exponent."""
    return power(a, b), b * power(a, b - 1.0) if b != 0.0 else 0.0, 0.0


@rule
def hypot_rule(a, b):
    value = hypot(a, b)
    if value == 0.0:
        return 0.0, 0.0, 0.0
    return value, a / value, b / value


@rule
def atan2_rule(a, b):
    size = hypot(a, b)
    return atan2(a, b), b / size / size, -a / size / size


@rule
def logaddexp_rule(a, b):
    value = np.logaddexp(a, b)
    return value, exp(a - value), exp(b - value)


STEEP = {  # rules with slopes that may be infinite where the function has a value
    sqrt_rule,
    cbrt_rule,
    log1p_rule,
    asin_rule,
    acos_rule,
    acosh_rule,
    power_rule,
    power_of_base_rule,
    power_of_exponent_rule,
}
