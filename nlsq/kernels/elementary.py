"""All elementary functions by name.

`ELEMENTARY` maps a function's name in C (``"atan2"``; ``"expit"`` and ``"digamma"`` have SciPy's) to its `Elementary`:
straight-line code with several readers, see `nlsq.kernels.backend.primitives`. Errors are at most 1.5 units in the last
place (pow 2) over the whole range, with C99's values at zeros, infinities and NaN. `sin_fast`, `cos_fast` and
`tan_fast` are right below 2^40 and say where they are not, see `nlsq.kernels.trigonometric`; `gammaln`, `digamma` and
`trigamma` are accurate to rounding of their largest term, see `nlsq.kernels.gamma`; `wofz_real` and `wofz_imag` are the
parts of the Faddeeva function at x + i y, see `nlsq.kernels.faddeeva`.
"""

from __future__ import annotations

from nlsq.kernels.backend.primitives import Elementary
from nlsq.kernels.exponential import exp, expm1
from nlsq.kernels.faddeeva import wofz_imag, wofz_real
from nlsq.kernels.gamma import digamma, gammaln, trigamma
from nlsq.kernels.hyperbolic import acosh, asinh, atanh, cosh, sinh, tanh
from nlsq.kernels.inverse_trigonometric import acos, asin, atan, atan2
from nlsq.kernels.logarithm import log, log1p, log2, log10
from nlsq.kernels.power import cbrt, hypot, pow, pow_positive_base, sqrt
from nlsq.kernels.special import erf, erfc, expit
from nlsq.kernels.trigonometric import cos_fast, needs_slow_reduction, sin_fast, tan_fast

__all__ = [
    "ELEMENTARY",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cbrt",
    "cos",
    "cos_fast",
    "cosh",
    "digamma",
    "erf",
    "erfc",
    "exp",
    "expit",
    "expm1",
    "gammaln",
    "hypot",
    "log",
    "log1p",
    "log2",
    "log10",
    "needs_slow_reduction",
    "pow",
    "pow_positive_base",
    "sin",
    "sin_fast",
    "sinh",
    "sqrt",
    "tan",
    "tan_fast",
    "tanh",
    "trigamma",
    "wofz_imag",
    "wofz_real",
]

sin, cos, tan = sin_fast, cos_fast, tan_fast
ELEMENTARY: dict[str, Elementary] = {
    "sin": sin,
    "cos": cos,
    "tan": tan,
} | {
    function.name: function
    for function in (
        exp,
        expm1,
        log,
        log1p,
        log2,
        log10,
        asin,
        acos,
        atan,
        atan2,
        sinh,
        cosh,
        tanh,
        asinh,
        acosh,
        atanh,
        sqrt,
        cbrt,
        hypot,
        pow,
        pow_positive_base,
        erf,
        erfc,
        expit,
        gammaln,
        digamma,
        trigamma,
        wofz_real,
        wofz_imag,
    )
}
