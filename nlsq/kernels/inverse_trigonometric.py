"""Inverse trigonometric functions as straight-line code.

The arctangent of a positive number is ``atan(c) + atan((a - c) / (1 + c a))`` with c = 0, 0.40478515625, 1 or
infinity, so that the polynomial in the square of the second argument reaches |t| <= 0.425 only. This second c is a
number of 11 bits whose arctangent exceeds the nearest double by the same share of itself as pi/4 and pi/2 exceed
theirs (to 2^-66), so that one factor gives the low parts of all three. atan2 forms that quotient from its
two arguments at once, smaller over larger, and turns the angle into its octant. asin and acos use a polynomial below
1/2 and ``acos(a) = 2 asin(sqrt((1 - a) / 2))`` above, with the square root in two doubles [1]_.

Errors are below 1.5 units in the last place; coefficients are fitted in ``benchmarks/coefficients.py``.

References
----------
.. [1] W. Cody, W. Waite, "Software Manual for the Elementary Functions", Prentice-Hall, 1980, chapters 10 and 11.
"""

from __future__ import annotations

import math
from typing import Any

from nlsq.kernels.backend.primitives import absolute, copy_sign, elementary, fma, select, square_root
from nlsq.kernels.polynomial import polynomial_11, polynomial_13
from nlsq.kernels.trigonometric import HALF_PI

PI = (3.141592653589793, 1.2246467991473532e-16)
MIDDLE = 0.40478515625
ATAN_OF_MIDDLE = (0.384624693045947, 1.5006465625488026e-17)
FAR = 2.4375  # 1 / FAR and (FAR - 1) / (FAR + 1) are below 0.425
QUARTER_PI = 0.7853981633974483
LOW_SHARE = 3.8981718325193755e-17  # pi/4 = QUARTER_PI (1 + LOW_SHARE); likewise pi/2 and atan(MIDDLE)
# (atan(t) / t - 1) / z in z = t^2 for |t| <= 0.425
ATAN = (
    -0.33333333333333326,
    0.1999999999999281,
    -0.1428571428411646,
    0.11111110972211942,
    -0.09090902876184698,
    0.07692144706880216,
    -0.06663983696215095,
    0.058536845279176124,
    -0.050626949843688054,
    0.038591226001558634,
    -0.01841260828140239,
)
# (asin(t) / t - 1) / z in z = t^2 for |t| <= 1/2
ASIN = (
    0.16666666666666669,
    0.07499999999998415,
    0.04464285714639142,
    0.03038194413563282,
    0.022372173062100795,
    0.01735238980570733,
    0.013971257700218363,
    0.011478727335132069,
    0.010325825844686153,
    0.005444236358400044,
    0.01743786618606299,
    -0.014910967384172082,
    0.028799050522138873,
)


def atan_tail(t: Any) -> Any:
    """Give atan(t) - t for |t| <= 0.425."""
    z = t * t
    return t * z * polynomial_11(z, ATAN)


@elementary("atan")
def atan(x: Any) -> Any:
    """Give the angle in [-pi/2, pi/2] whose tangent is x."""
    a = absolute(x)
    beyond_middle, beyond_one, beyond_all = a > MIDDLE, a > 1.0, a > FAR
    c = select(beyond_one, 1.0, select(beyond_middle, MIDDLE, 0.0))
    above = select(beyond_all, -1.0, a - c)
    below = select(beyond_all, a, fma(c, a, 1.0))
    base = select(beyond_one, QUARTER_PI, select(beyond_middle, ATAN_OF_MIDDLE[0], 0.0))
    base = select(beyond_all, HALF_PI[0], base)
    t = above / below
    return copy_sign(base + (t + fma(base, LOW_SHARE, atan_tail(t))), x)


@elementary("atan2")
def atan2(y: Any, x: Any) -> Any:
    """Give the angle in [-pi, pi] of the point (x, y), with C99's values at zeros and infinities."""
    a, b = absolute(x), absolute(y)
    steep = b > a
    large, small = select(steep, b, a), select(steep, a, b)
    small = select(large == math.inf, select(small == math.inf, 1.0, 0.0), small)
    large = select(large == math.inf, 1.0, select(large == 0.0, 1.0, large))
    scale = select(large > 1e300, 0.25, select(large < 1e-270, 18014398509481984.0, 1.0))
    large, small = large * scale, small * scale
    beyond = small > MIDDLE * large
    t = select(beyond, fma(-MIDDLE, large, small), small) / select(beyond, fma(MIDDLE, small, large), large)
    angle, low = select(beyond, ATAN_OF_MIDDLE[0], 0.0), select(beyond, ATAN_OF_MIDDLE[1], 0.0)
    tail = atan_tail(t) + low
    # the octant: angle, pi/2 - angle, then pi - that
    left = copy_sign(1.0, x) < 0.0
    turn = select(steep, HALF_PI[0], select(left, PI[0], 0.0))
    turn_low = select(steep, HALF_PI[1], select(left, PI[1], 0.0))
    sign = select(steep, select(left, 1.0, -1.0), select(left, -1.0, 1.0))
    first = fma(sign, angle, turn)
    first_low = fma(sign, angle, turn - first)
    second = fma(sign, t, first)
    second_low = fma(sign, t, first - second)
    value = second + (second_low + (first_low + fma(sign, tail, turn_low)))
    return copy_sign(select((x != x) | (y != y), x + y, value), y)


def asin_parts(a: Any) -> Any:
    """Give ``s, tail`` with s + tail = asin(a) below 1/2 and acos(a) / 2 above, for 0 <= a <= 1."""
    upper = a > 0.5
    z = select(upper, (1.0 - a) * 0.5, a * a)
    root = square_root(z)
    s = select(upper, root, a)
    s_low = select(upper, fma(-root, root, z) * 0.5 / select(root > 0.0, root, 1.0), 0.0)
    return s, fma(s * z, polynomial_13(z, ASIN), s_low)


@elementary("asin")
def asin(x: Any) -> Any:
    """Give the angle in [-pi/2, pi/2] whose sine is x; NaN beyond 1."""
    a = absolute(x)
    s, tail = asin_parts(a)
    twice = s + s
    rest = HALF_PI[0] - twice
    upper = rest + (((HALF_PI[0] - rest) - twice) + (HALF_PI[1] - 2.0 * tail))
    return copy_sign(select(a > 0.5, upper, s + tail), x)


@elementary("acos")
def acos(x: Any) -> Any:
    """Give the angle in [0, pi] whose cosine is x; NaN beyond 1."""
    a = absolute(x)
    s, tail = asin_parts(a)
    outer = a > 0.5
    taken = select(outer, s + s, copy_sign(s, x))
    taken_low = select(outer, tail + tail, copy_sign(tail, x))
    base, base_low = select(outer, PI[0], HALF_PI[0]), select(outer, PI[1], HALF_PI[1])
    rest = base - taken
    value = rest + (((base - rest) - taken) + (base_low - taken_low))
    return select(outer & (x > 0.0), taken + taken_low, value)
