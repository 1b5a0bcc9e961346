"""Rules of functions with kinks and jumps, as in `nlsq.kernels.backend.dual_math`.

At a kink the slope is one of those that it separates, or between them, by the convention that JAX has too: abs has
slope 0 at 0; of equal arguments of min and max each gets half. At a jump it is that of the flat pieces: 0 for floor,
ceil, round, sign, and for the step of heaviside; a % b has slope 1 in a.
"""

# ruff: noqa: D103 -- a rule is named after its function
# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math

import numpy as np

from nlsq.kernels.backend.dual_math import rule


@rule
def abs_rule(a):
    slope = 1.0 if a > 0.0 else -1.0 if a < 0.0 else 0.0 if a == 0.0 else a  # nan stays nan
    return abs(a), slope


@rule
def copysign_rule(a, b):
    same = math.copysign(1.0, a) == math.copysign(1.0, b)
    return math.copysign(a, b), 1.0 if same else -1.0, 0.0


@rule
def modulo_rule(a, b):
    rest = a % b
    return rest, 1.0, -np.rint((a - rest) / b)  # floor(a / b) is one off where a / b rounds to a whole number


@rule
def fmod_rule(a, b):
    rest = np.fmod(a, b)
    return rest, 1.0, -np.rint((a - rest) / b)


@rule
def maximum_rule(a, b):
    """NaN of either is kept."""
    if a == b:
        return a, 0.5, 0.5
    if a > b or a != a:
        return a, 1.0, 0.0
    return b, 0.0, 1.0


@rule
def minimum_rule(a, b):
    if a == b:
        return a, 0.5, 0.5
    if a < b or a != a:
        return a, 1.0, 0.0
    return b, 0.0, 1.0


@rule
def larger_rule(a, b):
    """Python's max."""
    if a == b:
        return a, 0.5, 0.5
    return (a, 1.0, 0.0) if a > b else (b, 0.0, 1.0)


@rule
def smaller_rule(a, b):
    """Python's min."""
    if a == b:
        return a, 0.5, 0.5
    return (a, 1.0, 0.0) if a < b else (b, 0.0, 1.0)


@rule
def fmax_rule(a, b):
    """NaN gives way."""
    if a == b:
        return a, 0.5, 0.5
    return (a, 1.0, 0.0) if a > b or b != b else (b, 0.0, 1.0)


@rule
def fmin_rule(a, b):
    if a == b:
        return a, 0.5, 0.5
    return (a, 1.0, 0.0) if a < b or b != b else (b, 0.0, 1.0)


@rule
def heaviside_rule(a, b):
    value = 1.0 if a > 0.0 else 0.0 if a < 0.0 else b if a == 0.0 else a
    return value, 0.0, 1.0 if a == 0.0 else 0.0


# Without derivative


floor, ceil, trunc, rint, sign = (
    rule(one)
    for one in (
        lambda a: np.floor(a),
        lambda a: np.ceil(a),
        lambda a: np.trunc(a),
        lambda a: np.rint(a),
        lambda a: np.sign(a),
    )
)
whole_floor, whole_ceil, whole_trunc, whole_round = (
    rule(one) for one in (lambda a: math.floor(a), lambda a: math.ceil(a), lambda a: math.trunc(a), lambda a: round(a))
)
isnan, isinf, isfinite = (
    rule(one) for one in (lambda a: math.isnan(a), lambda a: math.isinf(a), lambda a: math.isfinite(a))
)
floor_divide = rule(lambda a, b: a // b)
