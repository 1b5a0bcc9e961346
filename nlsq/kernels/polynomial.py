"""Polynomials by Horner's rule in the square of the argument, and the error-free sum.

Neighbours are joined to ``c[2i] + c[2i+1] x``, all at once (the first step of Estrin's form [1]_), and these are the
coefficients of a polynomial in x^2. That takes one multiplication more than Horner's rule in x, and makes chains of
dependent operations half as long. The further steps of Estrin's form take more multiplications, which cost a loop over
vectors more than the still shorter chains gain: it has other elements to work on meanwhile. Every join is one fused
multiply-add.

The functions are straight-line code for the readers named in `nlsq.kernels.backend.primitives`; `c` is a tuple of at
least as many constants as the function's name says.

References
----------
.. [1] G. Estrin, "Organization of computer systems: the fixed plus variable structure computer", Western Joint
   Computer Conference, 1960, pp. 33-40.
.. [2] J.-M. Muller, "Elementary Functions: Algorithms and Implementation", 3rd ed., Birkhauser, 2016, section 5.1.
.. [3] D. Knuth, "The Art of Computer Programming", vol. 2, 3rd ed., 1997, section 4.2.2, theorem B.
"""

from __future__ import annotations

from typing import Any

from nlsq.kernels.backend.primitives import fma, select


def two_sum(a: Any, b: Any) -> Any:
    """Give a + b and its rounding error [3]_."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


def polynomial_4(x: Any, c: tuple[float, ...]) -> Any:
    """Evaluate a polynomial with four coefficients."""
    x2 = x * x
    p = fma(c[3], x, c[2])
    return fma(p, x2, fma(c[1], x, c[0]))


def polynomial_6(x: Any, c: tuple[float, ...]) -> Any:
    """Evaluate a polynomial with six coefficients."""
    x2 = x * x
    p = fma(c[5], x, c[4])
    p = fma(p, x2, fma(c[3], x, c[2]))
    return fma(p, x2, fma(c[1], x, c[0]))


def polynomial_7(x: Any, c: tuple[float, ...]) -> Any:
    """Evaluate a polynomial with seven coefficients."""
    x2 = x * x
    p = fma(c[6], x2, fma(c[5], x, c[4]))
    p = fma(p, x2, fma(c[3], x, c[2]))
    return fma(p, x2, fma(c[1], x, c[0]))


def polynomial_8(x: Any, c: tuple[float, ...]) -> Any:
    """Evaluate a polynomial with eight coefficients."""
    x2 = x * x
    p = fma(c[7], x, c[6])
    p = fma(p, x2, fma(c[5], x, c[4]))
    p = fma(p, x2, fma(c[3], x, c[2]))
    return fma(p, x2, fma(c[1], x, c[0]))


def polynomial_9(x: Any, c: tuple[float, ...]) -> Any:
    """Evaluate a polynomial with nine coefficients."""
    x2 = x * x
    p = fma(c[8], x2, fma(c[7], x, c[6]))
    p = fma(p, x2, fma(c[5], x, c[4]))
    p = fma(p, x2, fma(c[3], x, c[2]))
    return fma(p, x2, fma(c[1], x, c[0]))


def polynomial_10(x: Any, c: tuple[float, ...]) -> Any:
    """Evaluate a polynomial with ten coefficients."""
    x2 = x * x
    p = fma(c[9], x, c[8])
    p = fma(p, x2, fma(c[7], x, c[6]))
    p = fma(p, x2, fma(c[5], x, c[4]))
    p = fma(p, x2, fma(c[3], x, c[2]))
    return fma(p, x2, fma(c[1], x, c[0]))


def polynomial_11(x: Any, c: tuple[float, ...]) -> Any:
    """Evaluate a polynomial with eleven coefficients."""
    x2 = x * x
    p = fma(c[10], x2, fma(c[9], x, c[8]))
    p = fma(p, x2, fma(c[7], x, c[6]))
    p = fma(p, x2, fma(c[5], x, c[4]))
    p = fma(p, x2, fma(c[3], x, c[2]))
    return fma(p, x2, fma(c[1], x, c[0]))


def polynomial_12(x: Any, c: tuple[float, ...]) -> Any:
    """Evaluate a polynomial with twelve coefficients."""
    x2 = x * x
    p = fma(c[11], x, c[10])
    p = fma(p, x2, fma(c[9], x, c[8]))
    p = fma(p, x2, fma(c[7], x, c[6]))
    p = fma(p, x2, fma(c[5], x, c[4]))
    p = fma(p, x2, fma(c[3], x, c[2]))
    return fma(p, x2, fma(c[1], x, c[0]))


def polynomial_13(x: Any, c: tuple[float, ...]) -> Any:
    """Evaluate a polynomial with thirteen coefficients."""
    x2 = x * x
    p = fma(c[12], x2, fma(c[11], x, c[10]))
    p = fma(p, x2, fma(c[9], x, c[8]))
    p = fma(p, x2, fma(c[7], x, c[6]))
    p = fma(p, x2, fma(c[5], x, c[4]))
    p = fma(p, x2, fma(c[3], x, c[2]))
    return fma(p, x2, fma(c[1], x, c[0]))


def polynomial_21(x: Any, c: tuple[float, ...]) -> Any:
    """Evaluate a polynomial with twenty-one coefficients."""
    x2 = x * x
    p = fma(c[20], x2, fma(c[19], x, c[18]))
    p = fma(p, x2, fma(c[17], x, c[16]))
    p = fma(p, x2, fma(c[15], x, c[14]))
    p = fma(p, x2, fma(c[13], x, c[12]))
    p = fma(p, x2, fma(c[11], x, c[10]))
    p = fma(p, x2, fma(c[9], x, c[8]))
    p = fma(p, x2, fma(c[7], x, c[6]))
    p = fma(p, x2, fma(c[5], x, c[4]))
    p = fma(p, x2, fma(c[3], x, c[2]))
    return fma(p, x2, fma(c[1], x, c[0]))


def one_of_two_polynomials_13(first: Any, x: Any, c: tuple[float, ...], d: tuple[float, ...]) -> Any:
    """Evaluate the polynomial `c` where a condition holds, else `d`, both with thirteen coefficients.

    Choosing coefficients is cheaper than evaluating both polynomials: the multiply-adds are what a loop waits for.
    """
    x2 = x * x
    p = fma(select(first, c[12], d[12]), x2, fma(select(first, c[11], d[11]), x, select(first, c[10], d[10])))
    p = fma(p, x2, fma(select(first, c[9], d[9]), x, select(first, c[8], d[8])))
    p = fma(p, x2, fma(select(first, c[7], d[7]), x, select(first, c[6], d[6])))
    p = fma(p, x2, fma(select(first, c[5], d[5]), x, select(first, c[4], d[4])))
    p = fma(p, x2, fma(select(first, c[3], d[3]), x, select(first, c[2], d[2])))
    return fma(p, x2, fma(select(first, c[1], d[1]), x, select(first, c[0], d[0])))
