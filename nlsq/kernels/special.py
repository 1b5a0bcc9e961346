"""Error functions and the logistic function as straight-line code.

- erf is an odd polynomial in x below 1 and ``1 - exp(-x^2) P(u)`` above, u = (x - 2) / (x + 2).
- erfc is 1 - erf for |x| < 1/2 and ``exp(-x^2) B(u) 4 / (x + 4)`` above, where u = (x - 4) / (x + 4) maps [1/2, 28] to
  [-7/9, 3/4] and ``B = erfc(x) exp(x^2) (x + 4) / 4`` has neither zero nor pole near it; ``2 - erfc(-x)`` below. The
  square, the first coefficients of B, the exponential and the quotient are carried in two doubles, so that relative
  accuracy lasts down to the smallest subnormal.
- expit is ``1 / (1 + exp(-x))``, written for x < 0 as ``e^x / (1 + e^x)``.

Errors are below 1.5 units in the last place; coefficients are fitted in ``benchmarks/coefficients.py``.

References
----------
.. [1] W. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23, 1969, pp. 631-637.
.. [2] M. Shepherd, J. Laframboise, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x in 0 <= x < inf", Math. Comp.
   36, 1981, pp. 249-253.
"""

from __future__ import annotations

from typing import Any

from nlsq.kernels.backend.primitives import absolute, copy_sign, elementary, fma, select
from nlsq.kernels.exponential import exp_of_reach, exp_parts, scaled
from nlsq.kernels.polynomial import one_of_two_polynomials_13, polynomial_13, polynomial_21, two_sum

QUARTER_SLOPE = 0.28209479177387814  # 1 / (2 sqrt pi)
# erf(x) / x - 1 in z = x^2 for |x| <= 1
ERF = (
    0.1283791670955126,
    -0.3761263890318375,
    0.11283791670954879,
    -0.026866170645076792,
    0.0052239776248180145,
    -0.000854832698083379,
    0.0001205533111164271,
    -1.4925595266831182e-05,
    1.6461000484121368e-06,
    -1.6350312701054695e-07,
    1.4659775274047436e-08,
    -1.1372848856791674e-09,
    5.957176147748911e-11,
)
# -erfc(x) exp(x^2) in u = (x - 2) / (x + 2), fitted for 1 <= x <= 3; exp(-x^2) leaves of its error, up to x = 6, less
# than 2^-57
ERF_TAIL = (
    -0.25539567631050575,
    0.4271858474139588,
    -0.24165819424246882,
    0.07897858101555333,
    -0.0037328924038296006,
    -0.0069974617172015125,
    0.0008471432253055512,
    0.0009819758436536306,
    -4.3555722213353336e-05,
    -0.00017433030759971736,
    -2.749113812015293e-05,
    2.7211881793997464e-05,
    1.3262348997601364e-05,
)
# erfc(x) exp(x^2) (x + 4) / 4 = FIRST + SECOND u + THIRD u^2 + u^3 ERFC(u), u = (x - 4) / (x + 4), for 1/2 <= x <= 28
ERFC_FIRST = (0.27399891525012277, 1.4393136278317438e-17)
ERFC_SECOND = (-0.2441371822702205, -3.702886110743338e-18)
ERFC_THIRD = (0.1933021755663093, -1.2866945648221185e-17)
ERFC = (
    -0.1352134578283091,
    0.08271289696950147,
    -0.04350273430996886,
    0.01909537872738724,
    -0.006592513335375372,
    0.0015280139128861921,
    -7.023971323747321e-05,
    -0.00011376316131998168,
    4.420318482919826e-05,
    -9.088471674914672e-07,
    -4.715143697054207e-06,
    1.173798708147618e-06,
    3.5585267672195166e-07,
    -2.1200623808260378e-07,
    -1.8574367701300485e-08,
    3.171374564767552e-08,
    -6.427010156404923e-11,
    -4.43934667135731e-09,
    1.52676447962333e-10,
    4.598573688721675e-10,
    -6.837253375214715e-12,
)


@elementary("erf")
def erf(x: Any) -> Any:
    """Give the error function."""
    a = absolute(x)
    small = a < 1.0
    b = select(a > 6.0, 6.0, a)
    square = b * b
    v = select(small, square, (b - 2.0) / (b + 2.0))
    factor = select(small, a, exp_of_reach(-square))
    return copy_sign(fma(factor, one_of_two_polynomials_13(small, v, ERF, ERF_TAIL), select(small, a, 1.0)), x)


@elementary("erfc")
def erfc(x: Any) -> Any:
    """Give 1 - erf(x), with full relative accuracy."""
    a = absolute(x)
    a = select(a > 28.0, 28.0, a)
    square = a * a
    power, power_low, k = exp_parts(-square, -fma(a, a, -square))
    above, above_low = two_sum(a, -4.0)
    below, below_low = two_sum(a, 4.0)
    reciprocal = 1.0 / below
    u = above * reciprocal
    u_low = (fma(-u, below, above) + (above_low - u * below_low)) * reciprocal
    linear = ERFC_SECOND[0] * u
    linear_low = fma(ERFC_SECOND[0], u, -linear) + ERFC_SECOND[1] * u
    square = u * u
    quadratic = ERFC_THIRD[0] * square
    quadratic_low = fma(ERFC_THIRD[0], square, -quadratic) + (
        ERFC_THIRD[0] * fma(u, u, -square) + ERFC_THIRD[1] * square
    )
    partial, partial_low = two_sum(ERFC_FIRST[0], linear)
    partial, more_low = two_sum(partial, quadratic)
    bounded, bounded_low = two_sum(partial, square * u * polynomial_21(u, ERFC))
    # B'(u), for what u has lost, from B itself: erfc(x) exp(x^2) has the derivative 2 x times itself - 2 / sqrt(pi)
    slope = ((2.0 * a * bounded - below * QUARTER_SLOPE) * below + bounded) * below * 0.125
    bounded_low = bounded_low + (more_low + quadratic_low) + (partial_low + linear_low)
    bounded_low = bounded_low + fma(slope, u_low, ERFC_FIRST[1])
    product = bounded * power
    product_low = fma(bounded, power, -product) + (bounded * power_low + bounded_low * power)
    quotient = product * reciprocal
    rest = fma(-quotient, below, product) + (product_low - quotient * below_low)
    quotient_low = rest * reciprocal
    value = scaled(quotient + quotient_low, k + 2.0)
    value = select(x < 0.0, 2.0 - value, value)
    most = 1.0 - x
    near = most + (((1.0 - most) - x) - x * polynomial_13(x * x, ERF))
    return select(a < 0.5, near, value)


@elementary()
def expit(x: Any) -> Any:
    """Give the logistic function 1 / (1 + e^-x)."""
    a = absolute(x)
    a = select(a > 746.0, 746.0, a)
    high, low, k = exp_parts(-a, 0.0)
    small = scaled(high + low, k)
    below, below_low = two_sum(1.0, small)
    negative = x < 0.0
    above, above_low = select(negative, high, 1.0), select(negative, low, 0.0)
    reciprocal = 1.0 / below
    quotient = above * reciprocal
    rest = fma(-quotient, below, above) + (above_low - quotient * below_low)
    return scaled(fma(rest, reciprocal, quotient), select(negative, k, 0.0))
