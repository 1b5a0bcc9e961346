"""Powers and roots as straight-line code.

``x^y = exp(y log x)`` with log x and the product in two doubles (about 2^-65), so that the result is good to 2 units in
the last place even where y log x reaches 745; the special cases are C99's (annex F.9.4.4). The cube root takes a
polynomial start on [1, 2), one step of Newton's method, and a correction by the exact residual. hypot is
``sqrt(x^2 + y^2)`` with the rounding errors of squares and sum put back, scaled by a power of two where squares would
overflow or vanish.

References
----------
.. [1] J.-M. Muller, "Elementary Functions: Algorithms and Implementation", 3rd ed., Birkhauser, 2016, section 11.5.
.. [2] T. Dekker, "A floating-point technique for extending the available precision", Numer. Math. 18, 1971.
.. [3] ISO/IEC 9899:1999 (C99), annex F.9.4.
"""

from __future__ import annotations

import math
from typing import Any

from nlsq.kernels.backend.primitives import (
    absolute,
    as_bits,
    as_double,
    copy_sign,
    elementary,
    floor,
    fma,
    select,
    shift_right,
    square_root,
)
from nlsq.kernels.exponential import ONE, ROUND, growth_of_sum, power_of_two, scaled
from nlsq.kernels.logarithm import BIASED, MANTISSA, SMALLEST_NORMAL, SUBNORMAL_SCALE, TWO_52, log_parts
from nlsq.kernels.polynomial import polynomial_6, two_sum

FARTHEST = 800.0  # exp is zero or infinite from here on
HUGE = 1e30
GROW, SHRINK = 4.351082437154956e186, 2.2982786799458352e-187  # 2^620, 2^-620
# the cube root on [1, 2)
CBRT = (
    0.47514693623890253,
    0.8317431442479309,
    -0.4602977267696209,
    0.19665479701360078,
    -0.04831832068166114,
    0.005072953325277491,
)
CBRT_2 = (1.2599210498948732, -2.589933375300507e-17)
CBRT_4 = (1.5874010519681996, -1.0869008194197823e-16)


def exp_of_product(y: Any, high: Any, low: Any) -> Any:
    """Give exp(y (high + low)) for a logarithm in two doubles, whose first may be infinite."""
    # no logarithm but 0 is below 2^-54, so that a power of 1 is 1 and every other one is as far away as before
    y = select(y < -HUGE, -HUGE, y)
    y = select(y > HUGE, HUGE, y)
    product = y * high
    product_low = fma(y, low, fma(y, high, -product))
    product_low = select(absolute(product) < FARTHEST, product_low, 0.0)
    product = select(product < -FARTHEST, -FARTHEST, product)
    product = select(product > FARTHEST, FARTHEST, product)
    growth, k = growth_of_sum(product, product_low)
    return scaled(1.0 + growth, k)


@elementary("pow")
def pow(x: Any, y: Any) -> Any:
    """Give x^y with C99's special cases: NaN for negative x and broken y, signed zeros and infinities for odd y."""
    a = absolute(x)
    high, low = log_parts(a)
    value = exp_of_product(y, high, low)
    half = 0.5 * y
    odd = (floor(y) == y) & (floor(half) != half)
    value = select((floor(y) != y) & (x < 0.0) & (a < math.inf), math.nan, value)
    value = select(odd, copy_sign(value, x), value)
    return select((y == 0.0) | (x == 1.0), 1.0, value)


@elementary("pow")
def pow_positive_base(x: Any, y: Any) -> Any:
    """Give x^y for x >= 0, cheaper than `pow`; below zero it is NaN, or the library's value where that stands in."""
    high, low = log_parts(x)
    return select((y == 0.0) | (x == 1.0), 1.0, exp_of_product(y, high, low))


@elementary("sqrt")
def sqrt(x: Any) -> Any:
    """Give the square root; NaN below zero."""
    return square_root(x)


@elementary("cbrt")
def cbrt(x: Any) -> Any:
    """Give the cube root, which keeps the sign."""
    a = absolute(x)
    subnormal = a < SMALLEST_NORMAL
    bits = as_bits(select(subnormal, a * SUBNORMAL_SCALE, a))
    k = as_double(shift_right(bits, 52) | TWO_52) - BIASED
    m = as_double((bits & MANTISSA) | ONE)
    third = floor((k + 0.5) * 0.3333333333333333)
    rest = k - 3.0 * third
    y = polynomial_6(m, CBRT)
    slope = 1.0 / (3.0 * y * y)
    y = y - (y * y * y - m) * slope
    square = y * y
    square_low = fma(y, y, -square)
    cube = square * y
    cube_low = fma(square, y, -cube) + square_low * y
    correction = -((cube - m) + cube_low) * slope
    factor = select(rest == 0.0, 1.0, select(rest == 1.0, CBRT_2[0], CBRT_4[0]))
    factor_low = select(rest == 0.0, 0.0, select(rest == 1.0, CBRT_2[1], CBRT_4[1]))
    high = y * factor
    low = fma(y, factor, -high) + (correction * factor + y * factor_low)
    value = (high + low) * power_of_two(select(subnormal, third - 18.0, third) + ROUND)
    return copy_sign(select((a > 0.0) & (a < math.inf), value, a), x)


@elementary("hypot")
def hypot(x: Any, y: Any) -> Any:
    """Give sqrt(x^2 + y^2) without overflow or underflow on the way; infinite beside NaN, as in C99."""
    a, b = absolute(x), absolute(y)
    large, small = select(a < b, b, a), select(a < b, a, b)
    up, down = large < 1e-140, large > 1e140
    scale = select(up, GROW, select(down, SHRINK, 1.0))
    back = select(up, SHRINK, select(down, GROW, 1.0))
    p, q = large * scale, small * scale
    square, other = p * p, q * q
    total, total_low = two_sum(square, other)
    low = total_low + (fma(p, p, -square) + fma(q, q, -other))
    root = square_root(total)
    divisor = select(root > 0.0, root + root, 1.0)
    value = (root + (fma(-root, root, total) + low) / divisor) * back
    value = select((x != x) | (y != y), x + y, value)
    return select((a == math.inf) | (b == math.inf), math.inf, value)
