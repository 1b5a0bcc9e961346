"""Logarithms as straight-line code.

``x = 2^k m`` with m in [3/4, 3/2) by integer arithmetic on the bits of x (subnormals are scaled first), and
with f = m - 1 and ``s = f / (2 + f)``:

    log m = log((1 + s) / (1 - s)) = 2 s + s^3 R(s^2) = f - (f^2/2 - s (f^2/2 + s^2 R(s^2)))

whose last form loses nothing near m = 1 [1]_. k log 2 is added with log 2 in two parts, the first short enough that k
times it is exact. `log_parts` carries the same to about 2^-65 in two doubles; it is what log2, log10 and pow need.

Errors are below 1 unit in the last place; coefficients are fitted in ``benchmarks/coefficients.py``.

References
----------
.. [1] P. Tang, "Table-driven implementation of the logarithm function in IEEE floating-point arithmetic", ACM Trans.
   Math. Software 16(4), 1990, pp. 378-400.
.. [2] J.-M. Muller, "Elementary Functions: Algorithms and Implementation", 3rd ed., Birkhauser, 2016, sections 11.2
   and 11.4.
"""

from __future__ import annotations

import math
from typing import Any

from nlsq.kernels.backend.primitives import (
    Instruction,
    absolute,
    as_bits,
    as_double,
    elementary,
    fma,
    select,
    shift_right,
)
from nlsq.kernels.exponential import ONE, ROUND, power_of_two
from nlsq.kernels.polynomial import polynomial_8

SMALLEST_NORMAL = 2.2250738585072014e-308
SUBNORMAL_SCALE = 18014398509481984.0  # 2^54
MANTISSA = (1 << 52) - 1
TWO_52 = 0x4330000000000000  # bits of 2^52: an integer below 2^52 put into its mantissa is added to it
BIASED = 4503599627371519.0  # 2^52 + 1023
THREE_QUARTERS = 0x3FE8000000000000  # bits of 3/4
LN2_SHORT = 0.6931471805582987  # 38 bits of log 2, so that k LN2_SHORT is exact
LN2_REST = 1.6465949582897082e-12
LOG2_E_HIGH = 1.4426950408889634
LOG2_E_LOW = 2.0355273740931033e-17
LOG10_E_HIGH = 0.4342944819032518
LOG10_E_LOW = 1.098319650216765e-17
LOG10_2_SHORT = 0.30102999566224753  # 38 bits of log10(2)
LOG10_2_REST = 1.7336659603752853e-12
THIRDS_HIGH = 0.6666666666666666
THIRDS_LOW = 3.700743415417188e-17
# (2 atanh(s) / s - 2) / s^2 in z = s^2 for m in [3/4, 3/2)
LOG = (
    0.6666666666666666,
    0.4000000000000791,
    0.28571428567288626,
    0.22222223046238151,
    0.1818173779218046,
    0.15388861178921123,
    0.1320983858287046,
    0.13608029180041875,
)
# ((2 atanh(s) / s - 2) / z - 2/3) / z
LOG_TAIL = (
    0.39999999999999997,
    0.2857142857143574,
    0.22222222218471566,
    0.18181818928330978,
    0.15384542559118392,
    0.13337179359058055,
    0.11652852623906165,
    0.12195450379638528,
)


@Instruction
def split(x: Any) -> Any:
    """Give ``k, m`` with x = 2^k m and m in [3/4, 3/2) for positive finite x; otherwise anything."""
    subnormal = x < SMALLEST_NORMAL
    bits = as_bits(select(subnormal, x * SUBNORMAL_SCALE, x)) + (ONE - THREE_QUARTERS)
    k = as_double(shift_right(bits, 52) | TWO_52) - select(subnormal, BIASED + 54.0, BIASED)
    return k, as_double((bits & MANTISSA) + THREE_QUARTERS)


@Instruction
def split_all(x: Any) -> Any:
    """Give what `split` gives; k is infinite where the logarithm is, and k or m is NaN where the logarithm is."""
    k, m = split(x)
    k = select(x == 0.0, -math.inf, select((x == math.inf) | (x != x), x, k))
    return k, select(x < 0.0, math.nan, m)


def with_special_values(x: Any, value: Any) -> Any:
    """Replace a logarithm's value at zero, infinity, NaN and below zero."""
    value = select(x == 0.0, -math.inf, value)
    value = select(x < 0.0, math.nan, value)
    return select((x == math.inf) | (x != x), x, value)


def log_of_sum(f: Any, low: Any, k: Any) -> Any:
    """Give log(1 + f) + low + k log 2."""
    s = f / (2.0 + f)
    z = s * s
    half_square = 0.5 * f * f
    tail = s * fma(z, polynomial_8(z, LOG), half_square)
    return fma(k, LN2_SHORT, f - (half_square - (tail + fma(k, LN2_REST, low))))


@elementary("log")
def log(x: Any) -> Any:
    """Give the natural logarithm."""
    k, m = split_all(x)
    return log_of_sum(m - 1.0, 0.0, k)


def log1p_of_parts(x: Any, x_low: Any) -> Any:
    """Give log(1 + x + x_low) for x > -1 and |x_low| far below |x|."""
    u = 1.0 + x
    k, m = split(u)
    lost = select(x >= 1.0, 1.0 - (u - x), x - (u - 1.0)) + x_low
    lost = lost * power_of_two(ROUND - select(k > 1000.0, 1000.0, k))
    f = m - 1.0
    high = f + lost
    low = (f - high) + lost
    near_one = k == 0.0
    f = select(near_one, x, high)
    # d log(1 + f) = df / (1 + f); beside k log 2 the factor no longer counts
    return log_of_sum(f, select(near_one, x_low / select(near_one, 1.0 + x, 1.0), low), k)


@elementary("log1p")
def log1p(x: Any) -> Any:
    """Give log(1 + x), accurate near zero."""
    value = select(absolute(x) < 1e-290, x, log1p_of_parts(x, 0.0))
    return select(x == -1.0, -math.inf, select(x < -1.0, math.nan, select((x == math.inf) | (x != x), x, value)))


def log_of_mantissa(m: Any) -> Any:
    """Give log m in two doubles, to about 2^-66 of its value, for m in [3/4, 3/2)."""
    f = m - 1.0
    divisor = 2.0 + f
    divisor_low = f - (divisor - 2.0)
    reciprocal = 1.0 / divisor
    s = f * reciprocal
    s_low = (fma(-s, divisor, f) - s * divisor_low) * reciprocal
    z = s * s
    z_low = fma(s, s, -z) + 2.0 * s * s_low
    tail = polynomial_8(z, LOG_TAIL)
    tail = fma(tail, z_low, tail * z)
    factor = THIRDS_HIGH + tail
    factor_low = ((THIRDS_HIGH - factor) + tail) + THIRDS_LOW
    cube = s * z
    cube_low = fma(s, z, -cube) + fma(s, z_low, s_low * z)
    term = cube * factor
    term_low = fma(cube, factor, -term) + fma(cube, factor_low, cube_low * factor)
    twice = s + s
    high = twice + term
    low = ((twice - high) + term) + (term_low + 2.0 * s_low)
    return high, low


def log_parts(x: Any) -> Any:
    """Give log x in two doubles, to about 2^-65; where the first is infinite or NaN, the second is anything."""
    k, m = split_all(x)
    high, low = log_of_mantissa(m)
    base = k * LN2_SHORT
    total = base + high
    return select(absolute(k) == math.inf, k, total), ((base - total) + high) + fma(k, LN2_REST, low)


@elementary("log2")
def log2(x: Any) -> Any:
    """Give the logarithm to base 2; whole for powers of two."""
    k, m = split(x)
    high, low = log_of_mantissa(m)
    product = high * LOG2_E_HIGH
    product_low = fma(high, LOG2_E_HIGH, -product) + fma(high, LOG2_E_LOW, low * LOG2_E_HIGH)
    total = k + product
    return with_special_values(x, total + (((k - total) + product) + product_low))


@elementary("log10")
def log10(x: Any) -> Any:
    """Give the logarithm to base 10."""
    k, m = split(x)
    high, low = log_of_mantissa(m)
    product = high * LOG10_E_HIGH
    product_low = fma(high, LOG10_E_HIGH, -product) + fma(high, LOG10_E_LOW, low * LOG10_E_HIGH)
    base = k * LOG10_2_SHORT
    total = base + product
    low = ((base - total) + product) + fma(k, LOG10_2_REST, product_low)
    return with_special_values(x, total + low)
