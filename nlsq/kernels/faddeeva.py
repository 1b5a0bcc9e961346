"""The Faddeeva function w(z) = exp(-z^2) erfc(-i z), which Voigt profiles are made of, as straight-line code.

For Im z > 0, ``w(z) = (2 i z / pi) int_0^inf exp(-t^2) / (z^2 - t^2) dt``. The midpoint and trapezoidal rules of step h
converge for such integrals like exp(-(pi/h)^2), once the residue of the pole that lies within pi/h of the real line is
added [1]_ [2]_:

    w(z) = (2 i h z / pi) sum_k exp(-t_k^2) / (z^2 - t_k^2) + 2 exp(-z^2) / (1 +- exp(-2 pi i z / h)),

plus for midpoints ``t_k = (k + 1/2) h`` and minus for ``t_k = k h``, whose term k = 0 counts by half; the residue is
left out from Im z = pi/h on. Of the two rules the one is taken whose nodes are farther from Re z (at least h/4), so
that nothing is divided by something small [3]_. Here h = 1/2, which makes the nodes exact, with 13 nodes up to 6.25 or
6.5. Real and imaginary part are written out in real arithmetic; the terms of the real part are all positive, so that it
keeps its relative accuracy where it is much smaller than the imaginary part (small Im z, large Re z). Beyond
|z| = 1e8, ``w = i / (sqrt(pi) z)`` to working precision. The relative error of each part stays below 1e-14.

In the lower half-plane ``w(z) = 2 exp(-z^2) - conj(w(conj(z)))``, which loses digits where the two terms cancel or
where 2 |Re z Im z| is large; its phase is not resolved (taken as zero) once 2 |Re z Im z| passes 2^40.

References
----------
.. [1] C. Chiarella, A. Reichel, "On the evaluation of integrals related to the error function", Math. Comp. 22, 1968,
   pp. 137-143.
.. [2] D. Hunter, T. Regan, "A note on the evaluation of the complementary error function", Math. Comp. 26, 1972,
   pp. 539-541.
.. [3] M. Al Azah, S. Chandler-Wilde, "Computation of the complex error function using modified trapezoidal rules",
   SIAM J. Numer. Anal. 59, 2021, pp. 2346-2367.
"""

from __future__ import annotations

import math
from typing import Any

from nlsq.kernels.backend.primitives import absolute, elementary, floor, fma, select
from nlsq.kernels.exponential import exp_parts, scaled
from nlsq.kernels.polynomial import two_sum
from nlsq.kernels.trigonometric import REACH, sine_and_cosine

LARGE = 1e8
POLE_REACH = 6.283185307179586  # pi / h
FOUR_PI = 12.566370614359172
TWO_PI = 6.283185307179586
WEIGHT = 0.3183098861837907  # 2 h / pi
ROOT_PI_INVERSE = 0.5641895835477563  # 1 / sqrt(pi)
# exp(-t^2) at t = 1/4 + k/2 and at t = 1/2 + k/2
AT_MIDPOINTS = (
    0.9394130628134758,
    0.569782824730923,
    0.2096113871510978,
    0.04677062238395898,
    0.006329715427485747,
    0.0005195746821548384,
    2.586810022265412e-05,
    7.811489408304491e-07,
    1.4307241918567688e-08,
    1.5893910094516368e-10,
    1.0709232382508077e-12,
    4.37661850287085e-15,
    1.0848552640429378e-17,
)
AT_MULTIPLES = (
    0.7788007830714049,
    0.36787944117144233,
    0.10539922456186433,
    0.01831563888873418,
    0.0019304541362277093,
    0.00012340980408667956,
    4.785117392129009e-06,
    1.1253517471925912e-07,
    1.6052280551856116e-09,
    1.3887943864964021e-11,
    7.287724095819692e-14,
    2.3195228302435696e-16,
    4.4777324417183015e-19,
)


def inside(x: Any, y: Any) -> Any:
    """Say whether the point is near enough for the sums."""
    return (x < LARGE) & (y < LARGE)


def prefers_midpoints(x: Any) -> Any:
    """Say whether x >= 0 is nearer to a multiple of 1/2 than to a midpoint between two."""
    part = x + x - floor(x + x)
    return (part < 0.25) | (part > 0.75)


def inverse_moduli(x: Any, y_square: Any, midpoints: Any, k: int) -> Any:
    """Give ``t^2`` and ``exp(-t^2) / |z^2 - t^2|^2`` at the node of number k."""
    t = select(midpoints, 0.5 * k + 0.25, 0.5 * k + 0.5)
    left, right = x - t, x + t
    modulus = fma(left, left, y_square) * fma(right, right, y_square)
    return t * t, select(midpoints, AT_MIDPOINTS[k], AT_MULTIPLES[k]) / modulus


def real_term(x: Any, y_square: Any, square: Any, midpoints: Any, k: int) -> Any:
    """Give the real part of a term of the sum, over Im z."""
    t_square, weight = inverse_moduli(x, y_square, midpoints, k)
    return weight * (square + t_square)


def imaginary_term(x: Any, y_square: Any, square: Any, midpoints: Any, k: int) -> Any:
    """Give the imaginary part of a term of the sum, over Re z."""
    t_square, weight = inverse_moduli(x, y_square, midpoints, k)
    return weight * (square - t_square)


def real_sum(x: Any, y_square: Any, square: Any, midpoints: Any) -> Any:
    """Give the sum of the real parts, over 2 h Im z / pi."""
    total = real_term(x, y_square, square, midpoints, 12)
    total = total + real_term(x, y_square, square, midpoints, 11)
    total = total + real_term(x, y_square, square, midpoints, 10)
    total = total + real_term(x, y_square, square, midpoints, 9)
    total = total + real_term(x, y_square, square, midpoints, 8)
    total = total + real_term(x, y_square, square, midpoints, 7)
    total = total + real_term(x, y_square, square, midpoints, 6)
    total = total + real_term(x, y_square, square, midpoints, 5)
    total = total + real_term(x, y_square, square, midpoints, 4)
    total = total + real_term(x, y_square, square, midpoints, 3)
    total = total + real_term(x, y_square, square, midpoints, 2)
    total = total + real_term(x, y_square, square, midpoints, 1)
    total = total + real_term(x, y_square, square, midpoints, 0)
    return total


def imaginary_sum(x: Any, y_square: Any, square: Any, midpoints: Any) -> Any:
    """Give the sum of the imaginary parts, over 2 h Re z / pi."""
    total = imaginary_term(x, y_square, square, midpoints, 12)
    total = total + imaginary_term(x, y_square, square, midpoints, 11)
    total = total + imaginary_term(x, y_square, square, midpoints, 10)
    total = total + imaginary_term(x, y_square, square, midpoints, 9)
    total = total + imaginary_term(x, y_square, square, midpoints, 8)
    total = total + imaginary_term(x, y_square, square, midpoints, 7)
    total = total + imaginary_term(x, y_square, square, midpoints, 6)
    total = total + imaginary_term(x, y_square, square, midpoints, 5)
    total = total + imaginary_term(x, y_square, square, midpoints, 4)
    total = total + imaginary_term(x, y_square, square, midpoints, 3)
    total = total + imaginary_term(x, y_square, square, midpoints, 2)
    total = total + imaginary_term(x, y_square, square, midpoints, 1)
    total = total + imaginary_term(x, y_square, square, midpoints, 0)
    return total


def gaussian(x: Any, y: Any) -> Any:
    """Give ``magnitude, sine, cosine`` of exp(-z^2) = magnitude (cosine - i sine) for x, y >= 0."""
    near = inside(x, y)
    a, b = select(near, x, 1.0), select(near, y, 1.0)
    a_square, b_square = a * a, b * b
    exponent, low = two_sum(b_square, -a_square)
    low = low + (fma(b, b, -b_square) - fma(a, a, -a_square))
    exponent = select(near, exponent, (y - x) * (y + x))
    bounded = select(exponent > 800.0, 800.0, select(exponent < -800.0, -800.0, exponent))
    power, power_low, k = exp_parts(bounded, select(near & (bounded == exponent), low, 0.0))
    angle = 2.0 * x * y
    sine, cosine = sine_and_cosine(select(angle < REACH, angle, 0.0))
    return scaled(power + power_low, k), sine, cosine


def pole_parts(x: Any, y: Any, midpoints: Any) -> Any:
    """Give ``a, b`` with 1 +- exp(-2 pi i z / h) = a - i b; a is at least 1."""
    twice = x + x
    part = twice - floor(twice + 0.5)
    sine, cosine = sine_and_cosine(TWO_PI * part)
    high, low, k = exp_parts(FOUR_PI * select(y < POLE_REACH, y, POLE_REACH), 0.0)
    size = scaled(high + low, k)
    size = select(midpoints, size, -size)
    return 1.0 + size * cosine, size * sine


def far_parts(x: Any, y: Any) -> Any:
    """Give ``x / |z|^2 / sqrt(pi)`` and ``y / |z|^2 / sqrt(pi)`` for |z| >= 1e8, without overflow."""
    m = select(x > y, x, y)
    usual = (m > 0.0) & (m < math.inf)
    scale = select(usual, m, 1.0)
    a, b = select(usual, x, 0.0) / scale, select(usual, y, 0.0) / scale
    factor = ROOT_PI_INVERSE / select(usual, fma(a, a, b * b), 1.0)
    return a * factor / scale, b * factor / scale


@elementary()
def wofz_real(x: Any, y: Any) -> Any:
    """Give Re w(x + i y)."""
    p, q = absolute(x), absolute(y)
    near = inside(p, q)
    a, b = select(near, p, 1.0), select(near, q, 1.0)
    midpoints = prefers_midpoints(a)
    square = fma(a, a, b * b)
    total = WEIGHT * b * real_sum(a, b * b, square, midpoints)
    total = total + select(midpoints, 0.0, 0.5 * WEIGHT * b / select(midpoints, 1.0, square))
    size, sine, cosine = gaussian(p, q)
    above, beside = pole_parts(a, b, midpoints)
    residue = 2.0 * size * (above * cosine + beside * sine) / fma(above, above, beside * beside)
    total = total + select(b < POLE_REACH, residue, 0.0)
    _, far = far_parts(p, q)
    upper = select(near, total, far)
    upper = select((x != x) | (y != y), x + y, upper)
    return select(y < 0.0, 2.0 * size * cosine - upper, upper)


@elementary()
def wofz_imag(x: Any, y: Any) -> Any:
    """Give Im w(x + i y)."""
    p, q = absolute(x), absolute(y)
    near = inside(p, q)
    a, b = select(near, p, 1.0), select(near, q, 1.0)
    midpoints = prefers_midpoints(a)
    square = fma(a, a, b * b)
    total = WEIGHT * a * imaginary_sum(a, b * b, square, midpoints)
    total = total + select(midpoints, 0.0, 0.5 * WEIGHT * a / select(midpoints, 1.0, square))
    size, sine, cosine = gaussian(p, q)
    above, beside = pole_parts(a, b, midpoints)
    residue = 2.0 * size * (beside * cosine - above * sine) / fma(above, above, beside * beside)
    total = total + select(b < POLE_REACH, residue, 0.0)
    far, _ = far_parts(p, q)
    upper = select(near, total, far)
    upper = select((x != x) | (y != y), x + y, upper)
    value = select(y < 0.0, fma(2.0 * size, sine, upper), upper)
    return select(x < 0.0, -value, value)
