"""The exponential and what it is made of, as straight-line code.

Reduction (Cody and Waite [1]_): ``x = k log 2 + r`` with |r| <= log(2) / 2 and an integer k, by two fused multiply-adds
with log 2 in two parts, the first of which is exact. Then ``exp(r) = 1 + r + r^2 P(r)`` with a polynomial P of degree
9 or 11, and the scaling by 2^k in two factors, so that overflow and gradual underflow come out right, or by one
instruction where the processor has it. Rounding to the nearest integer is the addition of 1.5 * 2^52, which leaves the
integer in the low bits: no processor is asked for conversions between doubles and 64-bit integers, which AVX2 lacks.

Errors are below 1.2 units in the last place; coefficients are fitted in ``benchmarks/coefficients.py``.

References
----------
.. [1] W. Cody, W. Waite, "Software Manual for the Elementary Functions", Prentice-Hall, 1980, chapter 6.
.. [2] J.-M. Muller, "Elementary Functions: Algorithms and Implementation", 3rd ed., Birkhauser, 2016, section 11.1.
"""

from __future__ import annotations

from typing import Any

from nlsq.kernels.backend.primitives import Instruction, absolute, as_bits, as_double, elementary, fma, select
from nlsq.kernels.polynomial import polynomial_10, polynomial_12

ROUND = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to an integer that sits in the low bits
ONE = 1023 << 52  # the bits of 1.0
LOG2_E = 1.4426950408889634
LN2_HIGH = 0.6931471805599453
LN2_LOW = 2.3190468138462996e-17
BELOW = -746.0  # exp is zero from here on
ABOVE = 710.0  # exp is infinite from here on
# (exp(r) - 1 - r) / r^2 for |r| <= log(2) / 2
EXP = (
    0.5,
    0.16666666666666666,
    0.04166666666666668,
    0.008333333333333333,
    0.0013888888888879004,
    0.00019841269841263252,
    2.480158733663095e-05,
    2.7557319247344507e-06,
    2.755726307730941e-07,
    2.5052070959803662e-08,
    2.091821231913398e-09,
    1.6086677666787362e-10,
)
# the same to 2^-56 of exp(r), where nothing is built on the result
EXP_SHORT = (
    0.5000000000000001,
    0.16666666666666669,
    0.041666666666623824,
    0.008333333333330039,
    0.0013888888917367081,
    0.00019841269863171557,
    2.4801521057868204e-05,
    2.7557268276905696e-06,
    2.7620201591031547e-07,
    2.5100472505694996e-08,
)


def power_of_two(shifted: Any) -> Any:
    """Give 2^k for ``shifted = k + ROUND``, -1023 < k < 1024."""
    return as_double((as_bits(shifted) << 52) + ONE)


@Instruction
def scaled(value: Any, k: Any) -> Any:
    """Give ``value`` 2^k for an integer |k| < 2044, rounded once where the result is subnormal."""
    shifted = fma(k, 0.5, ROUND)
    half = shifted - ROUND
    return value * power_of_two(shifted) * power_of_two((k - half) + ROUND)


@Instruction
def scaled_within(value: Any, k: Any) -> Any:
    """Give ``value`` 2^k for an integer |k| < 1023 where neither overflows nor becomes subnormal."""
    return value * power_of_two(k + ROUND)


def nearest_multiple(x: Any) -> Any:
    """Give the integer k for which k log 2 is nearest to x."""
    return fma(x, LOG2_E, ROUND) - ROUND


def growth_of_reach(x: Any) -> Any:
    """Give ``growth, k`` with exp(x) = (1 + growth) 2^k for |x| <= 750."""
    k = nearest_multiple(x)
    r = fma(k, -LN2_HIGH, x)
    r = fma(k, -LN2_LOW, r)
    return fma(polynomial_10(r, EXP_SHORT), r * r, r), k


@elementary("exp")
def exp(x: Any) -> Any:
    """Give e^x."""
    inside = select(x < BELOW, BELOW, x)
    inside = select(inside > ABOVE, ABOVE, inside)
    growth, k = growth_of_reach(inside)
    return scaled(1.0 + growth, k)


def exp_of_reach(x: Any) -> Any:
    """Give exp(x) for |x| <= 700, where one scaling is enough."""
    growth, k = growth_of_reach(x)
    return scaled_within(1.0 + growth, k)


def expm1_parts(x: Any) -> Any:
    """Give ``value, k`` with exp(x) - 1 = value 2^k for -60 <= x <= 710."""
    k = nearest_multiple(x)
    first = fma(k, -LN2_HIGH, x)
    r = fma(k, -LN2_LOW, first)
    r_low = fma(k, -LN2_LOW, first - r)
    # e^r - 1 + (1 - 2^-k), added up from the largest: |1 - 2^-k| is zero or above |r|
    base = 1.0 - power_of_two(ROUND - select(k > 1000.0, 1000.0, k))
    high = base + r
    low = (base - high) + r
    return high + (low + fma(polynomial_12(r, EXP), r * r, r_low)), k


@elementary("expm1")
def expm1(x: Any) -> Any:
    """Give e^x - 1, accurate near zero."""
    inside = select(x < -60.0, -60.0, x)
    inside = select(inside > ABOVE, ABOVE, inside)
    value, k = expm1_parts(inside)
    value = value * power_of_two((k - 1.0) + ROUND) * 2.0
    return select(absolute(x) < 1e-290, x, value)  # halving loses bits of subnormals


def growth_of_sum(x: Any, x_low: Any) -> Any:
    """Give ``growth, k`` with exp(x + x_low) = (1 + growth) 2^k; |x| <= 800 and |x_low| far below one."""
    k = nearest_multiple(x)
    r = fma(k, -LN2_HIGH, x)
    low = fma(k, -LN2_LOW, x_low)
    total = r + low
    rest = low - (total - r)
    return total + fma(polynomial_10(total, EXP_SHORT), total * total, rest), k


def exp_parts(x: Any, x_low: Any) -> Any:
    """Give ``high, low, k`` with ``exp(x + x_low) = (high + low) 2^k``; |x| <= 800 and |x_low| far below one."""
    k = nearest_multiple(x)
    r = fma(k, -LN2_HIGH, x)
    low = fma(k, -LN2_LOW, x_low)
    total = r + low
    rest = low - (total - r)
    tail = total + fma(polynomial_12(total, EXP), total * total, rest)
    high = 1.0 + tail
    return high, (1.0 - high) + tail, k
