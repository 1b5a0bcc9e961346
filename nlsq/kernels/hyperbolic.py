"""Hyperbolic functions and their inverses as straight-line code.

- sinh and cosh are ``(e^a -+ e^-a) / 2`` for a = |x| with e^a in two doubles and one scaling at the end, so that they
  overflow only where their values do; sinh is an odd polynomial below 1.
- tanh is ``1 - 2 / (e^2a + 1)`` with both sides of the fraction scaled by 2^-k, where ``e^2a = (1 + growth) 2^k``, and
  an odd rational function below 0.625.
- asinh, acosh and atanh are log(1 + u) with u in two doubles: ``u = a + a^2 / (1 + sqrt(1 + a^2))``,
  ``u = t + sqrt(t (x + 1))`` with t = x - 1, and ``u = 2 a / (1 - a)`` (halved). Where squares would overflow,
  asinh and acosh are log(2 a).

Errors are below 1.5 units in the last place; coefficients are fitted in ``benchmarks/coefficients.py``.

References
----------
.. [1] W. Cody, W. Waite, "Software Manual for the Elementary Functions", Prentice-Hall, 1980, chapters 12 and 13.
.. [2] W. Kahan, "Branch cuts for complex elementary functions", in "The State of the Art in Numerical Analysis", 1987.
"""

from __future__ import annotations

import math
from typing import Any

from nlsq.kernels.backend.primitives import absolute, copy_sign, elementary, fma, select, square_root
from nlsq.kernels.exponential import LN2_HIGH, ROUND, exp_parts, growth_of_reach, power_of_two, scaled
from nlsq.kernels.logarithm import log1p_of_parts
from nlsq.kernels.polynomial import polynomial_4, polynomial_7, two_sum

ABOVE = 711.0  # sinh and cosh are infinite from here on
TINY = 1e-290  # odd functions are their argument below, to more than working precision
LARGE = 1e100  # log(1 + x) and log x agree above, and so do x and sqrt(1 + x^2)
# (sinh(x) / x - 1) / z in z = x^2 for |x| <= 1
SINH = (
    0.16666666666666666,
    0.008333333333333299,
    0.00019841269841324198,
    2.7557319191381816e-06,
    2.5052117695907823e-08,
    1.6057679623801638e-10,
    7.746178593018827e-13,
)
# (tanh(x) / x - 1) / z in z = x^2 for |x| <= 0.63
TANH_ABOVE = (-0.3333333333333333, -0.021420540429417056, -0.0002438110947867078, -1.7465643368738447e-08)
TANH_BELOW = (1.0, 0.46426162128825116, 0.024531319894898814, 0.00025487870716018864)


def halves(a: Any) -> Any:
    """Give ``high, low, other, k`` with e^a = (high + low) 2^k and e^-a = other 2^k, for a >= 0."""
    high, low, k = exp_parts(select(a > ABOVE, ABOVE, a), 0.0)
    twice = k + k
    return high, low, power_of_two(ROUND - select(twice > 1000.0, 1000.0, twice)) / high, k


@elementary("sinh")
def sinh(x: Any) -> Any:
    """Give (e^x - e^-x) / 2."""
    a = absolute(x)
    high, low, other, k = halves(a)
    total = high - other
    large = scaled(total + (((high - total) - other) + low), k - 1.0)
    z = x * x
    return select(a < 1.0, fma(x * z, polynomial_7(z, SINH), x), copy_sign(large, x))


@elementary("cosh")
def cosh(x: Any) -> Any:
    """Give (e^x + e^-x) / 2."""
    high, low, other, k = halves(absolute(x))
    total = high + other
    return scaled(total + (((high - total) + other) + low), k - 1.0)


@elementary("tanh")
def tanh(x: Any) -> Any:
    """Give the hyperbolic tangent."""
    a = absolute(x)
    small = a <= 0.625
    a = select(a > 22.0, 22.0, a)
    z = a * a
    growth, k = growth_of_reach(a + a)
    down = power_of_two(ROUND - k)
    above = select(small, a * z * polynomial_4(z, TANH_ABOVE), down + down)
    below = select(small, polynomial_4(z, TANH_BELOW), (-1.0 - down) - growth)
    return copy_sign(select(small, a, 1.0) + above / below, x)


@elementary("asinh")
def asinh(x: Any) -> Any:
    """Give log(x + sqrt(x^2 + 1))."""
    a = absolute(x)
    large = a > LARGE
    b = select(large, 1.0, a)
    square = b * b
    square_low = fma(b, b, -square)
    one_more, one_more_low = two_sum(1.0, square)
    root = square_root(one_more)
    root_low = (fma(-root, root, one_more) + (one_more_low + square_low)) * 0.5 / root
    divisor, divisor_low = two_sum(1.0, root)
    reciprocal = 1.0 / divisor
    rest = square * reciprocal
    rest_low = (fma(-rest, divisor, square) + (square_low - rest * (divisor_low + root_low))) * reciprocal
    u, u_low = two_sum(b, rest)
    value = log1p_of_parts(select(large, a, u), select(large, 0.0, u_low + rest_low))
    value = value + select(large, LN2_HIGH, 0.0)
    return select(a < TINY, x, copy_sign(select(a == math.inf, a, value), x))


@elementary("acosh")
def acosh(x: Any) -> Any:
    """Give log(x + sqrt(x^2 - 1)); NaN below 1."""
    large = x > LARGE
    b = select(large, 2.0, x)
    t, t_low = two_sum(b, -1.0)
    up, up_low = two_sum(b, 1.0)
    square = t * up
    square_low = fma(t, up, -square) + (t * up_low + t_low * up)
    root = square_root(square)
    root_low = (fma(-root, root, square) + square_low) * 0.5 / select(root > 0.0, root, 1.0)
    u = root + t
    u_low = (root - u) + t + (root_low + t_low)
    value = log1p_of_parts(select(large, x, u), select(large, 0.0, u_low))
    value = value + select(large, LN2_HIGH, 0.0)
    return select(x == math.inf, x, select(x >= 1.0, value, math.nan))


@elementary("atanh")
def atanh(x: Any) -> Any:
    """Give log((1 + x) / (1 - x)) / 2; infinite at -1 and 1, NaN beyond."""
    a = absolute(x)
    inside = a < 1.0
    divisor = select(inside, 1.0 - a, 1.0)
    divisor_low = (1.0 - divisor) - a
    reciprocal = 1.0 / divisor
    twice = a + a
    u = twice * reciprocal
    u_low = (fma(-u, divisor, twice) - u * divisor_low) * reciprocal
    value = 0.5 * log1p_of_parts(u, u_low)
    value = select(inside, value, select(a == 1.0, math.inf, math.nan))
    return select(a < TINY, x, copy_sign(value, x))
