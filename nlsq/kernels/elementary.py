"""All elementary functions by name.

`ELEMENTARY` maps what NumPy users call a function (``"exp"``, ``"sin"``, ``"arctan2"`` as ``"atan2"``) to its
`Elementary`: straight-line code with three readers, see `nlsq.kernels.backend.primitives`. Errors are at most 1.5 units
in the last place (pow 2) over the whole range, with C99's values at zeros, infinities and NaN. `sin`, `cos` and `tan`
are right below 2^40 and say where they are not, see `nlsq.kernels.trigonometric`.
"""

from __future__ import annotations

from nlsq.kernels.backend.primitives import Elementary
from nlsq.kernels.exponential import exp, expm1
from nlsq.kernels.logarithm import log, log1p, log2, log10
from nlsq.kernels.trigonometric import cos_fast, needs_slow_reduction, sin_fast, tan_fast

__all__ = [
    "ELEMENTARY",
    "cos_fast",
    "exp",
    "expm1",
    "log",
    "log1p",
    "log2",
    "log10",
    "needs_slow_reduction",
    "sin_fast",
    "tan_fast",
]

ELEMENTARY: dict[str, Elementary] = {
    "exp": exp,
    "expm1": expm1,
    "log": log,
    "log1p": log1p,
    "log2": log2,
    "log10": log10,
    "sin": sin_fast,
    "cos": cos_fast,
    "tan": tan_fast,
}
