"""The logarithm of the gamma function and its first two derivatives as straight-line code.

Stirling's series with nine terms is good to working precision from 8 on. Smaller arguments are shifted by 8,

    Gamma(x) = Gamma(x + 8) / (x (x + 1) ... (x + 7)),    psi(x)  = psi(x + 8)  - sum 1 / (x + i),
                                                          psi'(x) = psi'(x + 8) + sum 1 / (x + i)^2,

where the product is ``w (w + 6) (w + 10) (w + 12)`` with w = x (x + 7). Negative arguments are reflected:

    log |Gamma(x)| = log(pi / |sin(pi x)|) - log Gamma(1 - x),    psi(x)  = psi(1 - x) - pi / tan(pi x),
                                                                  psi'(x) = (pi / sin(pi x))^2 - psi'(1 - x).

For x > 0, `gammaln` carries its large terms in two doubles, which leaves an absolute error near 1e-17 beside its zeros
at 1 and 2; `digamma` and `trigamma`, which is psi', are accurate to about 1e-15 of their largest terms. Reflected
values lose relative accuracy near their zeros, where two terms cancel.

References
----------
.. [1] M. Abramowitz, I. Stegun, "Handbook of Mathematical Functions", 1964, 6.1.17, 6.1.40, 6.3.7, 6.3.18, 6.4.6,
       6.4.7, 6.4.12.
"""

from __future__ import annotations

import math
from typing import Any

from nlsq.kernels.backend.primitives import absolute, copy_sign, elementary, floor, fma, select
from nlsq.kernels.logarithm import log, log_parts
from nlsq.kernels.polynomial import polynomial_9, two_sum
from nlsq.kernels.trigonometric import sin_fast, tan_fast

SHIFT = 8.0
OVERFLOW = 2.55634e305  # gammaln is infinite from here on
HALF_LOG_2PI = (0.9189385332046728, -3.8782941580672414e-17)
LOG_PI = 1.1447298858494002
# B(2k) / (2k (2k - 1)), k = 1, 2, ...
STIRLING = (
    0.08333333333333333,
    -0.002777777777777778,
    0.0007936507936507937,
    -0.0005952380952380953,
    0.0008417508417508417,
    -0.0019175269175269176,
    0.00641025641025641,
    -0.029550653594771242,
    0.17964437236883057,
)
# B(2k) / (2k), k = 1, 2, ...
STIRLING_SLOPE = (
    0.08333333333333333,
    -0.008333333333333333,
    0.003968253968253968,
    -0.004166666666666667,
    0.007575757575757576,
    -0.021092796092796094,
    0.08333333333333333,
    -0.4432598039215686,
    3.0539543302701198,
)
# B(2k)
BERNOULLI = (
    0.16666666666666666,
    -0.03333333333333333,
    0.023809523809523808,
    -0.03333333333333333,
    0.07575757575757576,
    -0.2531135531135531,
    1.1666666666666667,
    -7.092156862745098,
    54.971177944862156,
)


def product(a: Any, a_low: Any, b: Any, b_low: Any) -> Any:
    """Multiply two numbers of two doubles each."""
    high = a * b
    return high, fma(a, b, -high) + (a * b_low + a_low * b)


def raised(w: Any, w_low: Any, step: float) -> Any:
    """Add a whole number to a number of two doubles."""
    high, low = two_sum(w, step)
    return high, low + w_low


def rising_product(t: Any, t_low: Any) -> Any:
    """Give t (t + 1) ... (t + 7) in two doubles."""
    end, end_low = raised(t, t_low, 7.0)
    w, w_low = product(t, t_low, end, end_low)
    first, first_low = raised(w, w_low, 6.0)
    first, first_low = product(w, w_low, first, first_low)
    second, second_low = raised(w, w_low, 10.0)
    third, third_low = raised(w, w_low, 12.0)
    second, second_low = product(second, second_low, third, third_low)
    return product(first, first_low, second, second_low)


def to_nearest_integer(x: Any) -> Any:
    """Give the distance of x from the nearest integer, with its sign."""
    return x - floor(x + 0.5)


@elementary("lgamma")
def gammaln(x: Any) -> Any:
    """Give log |Gamma(x)|; infinite at 0, -1, -2, ..."""
    reflected = x < 0.0
    t = select(reflected, 1.0 - x, x)
    t_low = select(reflected, (1.0 - t) - x, 0.0)
    shifted = t < SHIFT
    t_in_reach = select(shifted, t, SHIFT)
    rising, rising_low = rising_product(t_in_reach, select(shifted, t_low, 0.0))
    rising_low = select(rising > 0.0, rising_low / select(rising > 0.0, rising, 1.0), 0.0)
    rising, rising_log_low = log_parts(rising)
    rising = select(shifted, rising, 0.0)
    rising_low = select(shifted, rising_log_low + rising_low, 0.0)
    y, y_low = two_sum(select(t > OVERFLOW, OVERFLOW, t), select(shifted, SHIFT, 0.0))
    y_low = y_low + t_low
    inverse = 1.0 / y
    series = inverse * polynomial_9(inverse * inverse, STIRLING)
    high, low = log_parts(y)
    factor, factor_low = two_sum(y, -0.5)
    term, term_low = product(factor, factor_low + y_low, high, low + y_low * inverse)
    total, first_low = two_sum(term, -y)
    total, second_low = two_sum(total, HALF_LOG_2PI[0])
    total, third_low = two_sum(total, -rising)
    corrections = term_low + (first_low - y_low) + (second_low + HALF_LOG_2PI[1]) + (third_low - rising_low)
    value = total + (corrections + series)
    value = select(t > OVERFLOW, math.inf, value)
    sine = absolute(sin_fast(math.pi * to_nearest_integer(x)))
    value = select(reflected, select(sine == 0.0, math.inf, (LOG_PI - log(sine)) - value), value)
    return select(x != x, x, select((x == 0.0) | (x == -math.inf), math.inf, value))


@elementary()
def digamma(x: Any) -> Any:
    """Give the derivative of log Gamma(x); NaN at -1, -2, ..., infinite at zero."""
    reflected = x < 0.0
    t = select(reflected, 1.0 - x, x)
    shifted = t < SHIFT
    inside = select(shifted & (t > 0.0), t, 1.0)
    w = inside * (inside + 7.0)
    pairs = (w + w + 6.0) / (w * (w + 6.0)) + (w + w + 22.0) / ((w + 10.0) * (w + 12.0))
    y = t + select(shifted, SHIFT, 0.0)
    inverse = 1.0 / y
    square = inverse * inverse
    value = log(y) - fma(square, polynomial_9(square, STIRLING_SLOPE), 0.5 * inverse)
    value = value - select(shifted, (inside + inside + 7.0) * pairs, 0.0)
    tangent = tan_fast(math.pi * to_nearest_integer(x))
    whole = tangent == 0.0
    turned = value - math.pi / select(whole, 1.0, tangent)
    value = select(reflected, select(whole, math.nan, turned), value)
    return select(x == 0.0, copy_sign(math.inf, -x), value)


def inverse_square(x: Any) -> Any:
    """Give 1 / x^2, which overflows no sooner than it has to."""
    inverse = 1.0 / x
    return inverse * inverse


@elementary()
def trigamma(x: Any) -> Any:
    """Give the second derivative of log Gamma(x); infinite at 0, -1, -2, ..."""
    reflected = x < 0.0
    t = select(reflected, 1.0 - x, x)
    shifted = t < SHIFT
    a = select(shifted & (t > 0.0), t, 1.0)
    far = inverse_square(a + 7.0) + inverse_square(a + 6.0) + (inverse_square(a + 5.0) + inverse_square(a + 4.0))
    near = inverse_square(a + 3.0) + inverse_square(a + 2.0) + inverse_square(a + 1.0)
    inverse = 1.0 / (t + select(shifted, SHIFT, 0.0))
    square = inverse * inverse
    value = inverse + fma(inverse * square, polynomial_9(square, BERNOULLI), 0.5 * square)
    value = value + select(shifted, far + near + inverse_square(a), 0.0)
    sine = absolute(sin_fast(math.pi * to_nearest_integer(x)))
    whole = sine == 0.0
    turned = inverse_square(select(whole, 1.0, sine / math.pi)) - value
    value = select(reflected, select(whole, math.inf, turned), value)
    return select(x == 0.0, math.inf, value)
