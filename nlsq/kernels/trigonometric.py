"""Sine, cosine and tangent as straight-line code, for |x| < 2^40.

``x = k pi/2 + r`` with |r| <= pi/4, by pi/2 in four doubles [1]_: ``x - k P1`` is exact as a fused multiply-add, the
second product is taken with its rounding error, the third and fourth are corrections; r comes out in two doubles with
an absolute error near 2^-110, which is enough because no double below 2^40 is nearer to a multiple of pi/2 than about
2^-60. Then

    sin(r + e) = r + (r^3 S(r^2) + e (1 - r^2/2)),     cos(r + e) = 1 - r^2/2 + (r^4 C(r^2) - r e)

and k modulo 4 picks one of the two and its sign.

**The contract.** `sin_fast`, `cos_fast` and `tan_fast` are right for |x| < 2^40, for infinities and for NaN. For
larger finite arguments more bits of 2/pi are needed (Payne and Hanek [2]_), which means table look-ups that stop
vectorisation. `needs_slow_reduction` is the condition ``2^40 <= |x| < inf``; it is the functions' `slow`. A reader with
lanes computes a block with the fast form and, where the condition holds in any lane, once more through the C library; a
reader without lanes takes the library's value.

Errors are below 1 unit in the last place; coefficients are fitted in ``benchmarks/coefficients.py``.

References
----------
.. [1] W. Cody, W. Waite, "Software Manual for the Elementary Functions", Prentice-Hall, 1980, chapter 8.
.. [2] M. Payne, R. Hanek, "Radian reduction for trigonometric functions", ACM SIGNUM Newsletter 18(1), 1983,
   pp. 19-24.
.. [3] J.-M. Muller, "Elementary Functions: Algorithms and Implementation", 3rd ed., Birkhauser, 2016, chapter 9.
"""

from __future__ import annotations

import math
from typing import Any

from nlsq.kernels.backend.primitives import absolute, as_bits, as_double, elementary, fma, select
from nlsq.kernels.exponential import ROUND
from nlsq.kernels.polynomial import polynomial_6, polynomial_7

REACH = 1099511627776.0  # 2^40
TWO_OVER_PI = 0.6366197723675814
HALF_PI = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33, 5.562271104311117e-50)
# (sin(r) / r - 1) / z in z = r^2 for |r| <= pi/4
SIN = (
    -0.16666666666666666,
    0.008333333333333331,
    -0.00019841269841265017,
    2.755731921930192e-06,
    -2.5052106219521895e-08,
    1.6058529572267877e-10,
    -7.586576588171073e-13,
)
# ((cos(r) - 1) / z + 1/2) / z
COS = (
    0.041666666666666664,
    -0.0013888888888887382,
    2.480158729874307e-05,
    -2.7557317260008837e-07,
    2.0876143827993133e-09,
    -1.1382456778061306e-11,
)


def needs_slow_reduction(x: Any) -> Any:
    """Say whether x is finite and too large for the fast reduction."""
    magnitude = absolute(x)
    return (magnitude >= REACH) & (magnitude < math.inf)


def reduced(x: Any) -> Any:
    """Give ``r, r_low, quadrant`` with x = quadrant pi/2 + r + r_low modulo 2 pi."""
    shifted = fma(x, TWO_OVER_PI, ROUND)
    k = shifted - ROUND
    first = fma(-k, HALF_PI[0], x)
    product = k * HALF_PI[1]
    product_low = fma(k, HALF_PI[1], -product)
    total = first - product
    back = total - first
    lost = (first - (total - back)) - (product + back)
    low = fma(-k, HALF_PI[3], fma(-k, HALF_PI[2], lost - product_low))
    r = total + low
    return r, (total - r) + low, as_bits(shifted)


def sine_tail(r: Any, z: Any, r_low: Any) -> Any:
    """Give sin(r + r_low) - r for z = r^2."""
    return fma(r * z, polynomial_7(z, SIN), fma(z * -0.5, r_low, r_low))


def cosine_parts(r: Any, z: Any, r_low: Any) -> Any:
    """Give cos(r + r_low) in two parts for z = r^2."""
    half = 0.5 * z
    w = 1.0 - half
    return w, ((1.0 - w) - half) + fma(z * z, polynomial_6(z, COS), -r * r_low)


def sine_and_cosine(x: Any) -> Any:
    """Give both for |x| < 2^40."""
    r, r_low, quadrant = reduced(x)
    z = r * r
    sine = r + sine_tail(r, z, r_low)
    cosine, cosine_low = cosine_parts(r, z, r_low)
    cosine = cosine + cosine_low
    even = (quadrant & 1) == 0
    first, second = select(even, sine, cosine), select(even, cosine, sine)
    first = as_double(as_bits(first) ^ ((quadrant & 2) << 62))
    return first, as_double(as_bits(second) ^ (((quadrant + 1) & 2) << 62))


@elementary("sin", slow=needs_slow_reduction)
def sin_fast(x: Any) -> Any:
    """Give the sine for |x| < 2^40."""
    r, r_low, quadrant = reduced(x)
    z = r * r
    cosine, cosine_low = cosine_parts(r, z, r_low)
    value = select((quadrant & 1) == 0, r + sine_tail(r, z, r_low), cosine + cosine_low)
    value = as_double(as_bits(value) ^ ((quadrant & 2) << 62))
    return select(x == 0.0, x, value)


@elementary("cos", slow=needs_slow_reduction)
def cos_fast(x: Any) -> Any:
    """Give the cosine for |x| < 2^40."""
    r, r_low, quadrant = reduced(x)
    z = r * r
    cosine, cosine_low = cosine_parts(r, z, r_low)
    value = select((quadrant & 1) == 0, cosine + cosine_low, r + sine_tail(r, z, r_low))
    return as_double(as_bits(value) ^ (((quadrant + 1) & 2) << 62))


@elementary("tan", slow=needs_slow_reduction)
def tan_fast(x: Any) -> Any:
    """Give the tangent for |x| < 2^40: the quotient of sine and cosine, each in two parts."""
    r, r_low, quadrant = reduced(x)
    z = r * r
    tail = sine_tail(r, z, r_low)
    sine = r + tail
    sine_low = (r - sine) + tail
    w, w_low = cosine_parts(r, z, r_low)
    cosine = w + w_low
    cosine_low = (w - cosine) + w_low
    even = (quadrant & 1) == 0
    above, above_low = select(even, sine, -cosine), select(even, sine_low, -cosine_low)
    below, below_low = select(even, cosine, sine), select(even, cosine_low, sine_low)
    reciprocal = 1.0 / below
    quotient = above * reciprocal
    value = fma(fma(-quotient, below, above) + (above_low - quotient * below_low), reciprocal, quotient)
    return select(x == 0.0, x, value)
