"""Polynomials in Estrin's form, which keeps chains of dependent operations short, and the error-free sum.

``c[0] + c[1] x + c[2] x^2 + ...``: neighbours are joined to ``c[2i] + c[2i+1] x``, the results by x^2, then by x^4, ...
Every join is one fused multiply-add. The functions are straight-line code for the readers named in
`nlsq.kernels.backend.primitives`; `c` is a tuple of at least as many constants as the function's name says.

References
----------
.. [1] G. Estrin, "Organization of computer systems: the fixed plus variable structure computer", Western Joint
   Computer Conference, 1960, pp. 33-40.
.. [2] J.-M. Muller, "Elementary Functions: Algorithms and Implementation", 3rd ed., Birkhauser, 2016, section 5.1.
.. [3] D. Knuth, "The Art of Computer Programming", vol. 2, 3rd ed., 1997, section 4.2.2, theorem B.
"""

from __future__ import annotations

from typing import Any

from nlsq.kernels.backend.primitives import fma


def two_sum(a: Any, b: Any) -> Any:
    """Give a + b and its rounding error [3]_."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


def polynomial_4(x: Any, c: tuple[float, ...]) -> Any:
    """Evaluate a polynomial with four coefficients."""
    x2 = x * x
    return fma(fma(c[3], x, c[2]), x2, fma(c[1], x, c[0]))


def polynomial_6(x: Any, c: tuple[float, ...]) -> Any:
    """Evaluate a polynomial with six coefficients."""
    x2 = x * x
    x4 = x2 * x2
    return fma(fma(c[5], x, c[4]), x4, fma(fma(c[3], x, c[2]), x2, fma(c[1], x, c[0])))


def polynomial_7(x: Any, c: tuple[float, ...]) -> Any:
    """Evaluate a polynomial with seven coefficients."""
    x2 = x * x
    x4 = x2 * x2
    return fma(fma(c[6], x2, fma(c[5], x, c[4])), x4, fma(fma(c[3], x, c[2]), x2, fma(c[1], x, c[0])))


def polynomial_8(x: Any, c: tuple[float, ...]) -> Any:
    """Evaluate a polynomial with eight coefficients."""
    x2 = x * x
    x4 = x2 * x2
    return fma(fma(fma(c[7], x, c[6]), x2, fma(c[5], x, c[4])), x4, fma(fma(c[3], x, c[2]), x2, fma(c[1], x, c[0])))


def polynomial_9(x: Any, c: tuple[float, ...]) -> Any:
    """Evaluate a polynomial with nine coefficients."""
    x2 = x * x
    x4 = x2 * x2
    low = fma(fma(fma(c[7], x, c[6]), x2, fma(c[5], x, c[4])), x4, fma(fma(c[3], x, c[2]), x2, fma(c[1], x, c[0])))
    x8 = x4 * x4
    return fma(c[8], x8, low)


def polynomial_10(x: Any, c: tuple[float, ...]) -> Any:
    """Evaluate a polynomial with ten coefficients."""
    x2 = x * x
    x4 = x2 * x2
    low = fma(fma(fma(c[7], x, c[6]), x2, fma(c[5], x, c[4])), x4, fma(fma(c[3], x, c[2]), x2, fma(c[1], x, c[0])))
    x8 = x4 * x4
    return fma(fma(c[9], x, c[8]), x8, low)


def polynomial_11(x: Any, c: tuple[float, ...]) -> Any:
    """Evaluate a polynomial with eleven coefficients."""
    x2 = x * x
    x4 = x2 * x2
    low = fma(fma(fma(c[7], x, c[6]), x2, fma(c[5], x, c[4])), x4, fma(fma(c[3], x, c[2]), x2, fma(c[1], x, c[0])))
    middle = fma(c[10], x2, fma(c[9], x, c[8]))
    x8 = x4 * x4
    return fma(middle, x8, low)


def polynomial_12(x: Any, c: tuple[float, ...]) -> Any:
    """Evaluate a polynomial with twelve coefficients."""
    x2 = x * x
    x4 = x2 * x2
    low = fma(fma(fma(c[7], x, c[6]), x2, fma(c[5], x, c[4])), x4, fma(fma(c[3], x, c[2]), x2, fma(c[1], x, c[0])))
    middle = fma(fma(c[11], x, c[10]), x2, fma(c[9], x, c[8]))
    x8 = x4 * x4
    return fma(middle, x8, low)


def polynomial_13(x: Any, c: tuple[float, ...]) -> Any:
    """Evaluate a polynomial with thirteen coefficients."""
    x2 = x * x
    x4 = x2 * x2
    low = fma(fma(fma(c[7], x, c[6]), x2, fma(c[5], x, c[4])), x4, fma(fma(c[3], x, c[2]), x2, fma(c[1], x, c[0])))
    middle = fma(c[12], x4, fma(fma(c[11], x, c[10]), x2, fma(c[9], x, c[8])))
    x8 = x4 * x4
    return fma(middle, x8, low)


def polynomial_14(x: Any, c: tuple[float, ...]) -> Any:
    """Evaluate a polynomial with fourteen coefficients."""
    x2 = x * x
    x4 = x2 * x2
    low = fma(fma(fma(c[7], x, c[6]), x2, fma(c[5], x, c[4])), x4, fma(fma(c[3], x, c[2]), x2, fma(c[1], x, c[0])))
    middle = fma(fma(c[13], x, c[12]), x4, fma(fma(c[11], x, c[10]), x2, fma(c[9], x, c[8])))
    x8 = x4 * x4
    return fma(middle, x8, low)


def polynomial_15(x: Any, c: tuple[float, ...]) -> Any:
    """Evaluate a polynomial with fifteen coefficients."""
    x2 = x * x
    x4 = x2 * x2
    low = fma(fma(fma(c[7], x, c[6]), x2, fma(c[5], x, c[4])), x4, fma(fma(c[3], x, c[2]), x2, fma(c[1], x, c[0])))
    middle = fma(fma(c[14], x2, fma(c[13], x, c[12])), x4, fma(fma(c[11], x, c[10]), x2, fma(c[9], x, c[8])))
    x8 = x4 * x4
    return fma(middle, x8, low)


def polynomial_21(x: Any, c: tuple[float, ...]) -> Any:
    """Evaluate a polynomial with twenty-one coefficients."""
    x2 = x * x
    x4 = x2 * x2
    low = fma(fma(fma(c[7], x, c[6]), x2, fma(c[5], x, c[4])), x4, fma(fma(c[3], x, c[2]), x2, fma(c[1], x, c[0])))
    middle = fma(
        fma(fma(c[15], x, c[14]), x2, fma(c[13], x, c[12])), x4, fma(fma(c[11], x, c[10]), x2, fma(c[9], x, c[8]))
    )
    high = fma(c[20], x4, fma(fma(c[19], x, c[18]), x2, fma(c[17], x, c[16])))
    x8 = x4 * x4
    x16 = x8 * x8
    return fma(high, x16, fma(middle, x8, low))
