"""Where elementary functions are tried, and what they are there to 50 digits (mpmath)."""

from __future__ import annotations

from functools import cache

import mpmath
import numpy as np

PRECISION = 170  # bits

MPMATH = {
    "exp": mpmath.exp,
    "expm1": mpmath.expm1,
    "log": mpmath.log,
    "log1p": mpmath.log1p,
    "log2": lambda x: mpmath.log(x) / mpmath.ln2,
    "log10": lambda x: mpmath.log(x) / mpmath.ln10,
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "tan": mpmath.tan,
    "asin": mpmath.asin,
    "acos": mpmath.acos,
    "atan": mpmath.atan,
    "atan2": mpmath.atan2,
    "sinh": mpmath.sinh,
    "cosh": mpmath.cosh,
    "tanh": mpmath.tanh,
    "asinh": mpmath.asinh,
    "acosh": mpmath.acosh,
    "atanh": mpmath.atanh,
    "sqrt": mpmath.sqrt,
    "cbrt": lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)),
    "hypot": mpmath.hypot,
    "pow": mpmath.power,
    "pow_positive_base": mpmath.power,
    "erf": mpmath.erf,
    "erfc": lambda x: mpmath.erfc(min(max(x, -30), 30)),  # 2 and 0 beyond; mpmath fails for huge arguments
    "expit": lambda x: 1 / (1 + mpmath.exp(-x)),
    "gammaln": lambda x: mpmath.log(abs(mpmath.gamma(x))) if x < 100 else mpmath.loggamma(x),
    "digamma": mpmath.digamma,
    "trigamma": lambda x: mpmath.psi(1, x),
}


def _any_bits(rng, n):
    """Draw finite doubles of every exponent and sign."""
    exponent = rng.integers(0, 2047, n, dtype=np.uint64) << np.uint64(52)
    mantissa = rng.integers(0, 1 << 52, n, dtype=np.uint64)
    sign = rng.integers(0, 2, n, dtype=np.uint64) << np.uint64(63)
    return (exponent | mantissa | sign).view(np.float64)


def _subnormal(rng, n):
    return rng.integers(1, 1 << 52, n, dtype=np.uint64).view(np.float64) * rng.choice([-1.0, 1.0], n)


def _spread(rng, low, high, n):
    """Draw magnitudes with even logarithms, of both signs."""
    return np.exp(rng.uniform(np.log(low), np.log(high), n)) * rng.choice([-1.0, 1.0], n)


def _near(rng, centres, n):
    """Draw doubles within 50 of some numbers."""
    centre = rng.choice(np.array(centres), n)
    return centre + rng.integers(-50, 51, n) * np.spacing(centre)


def _multiples_of_half_pi(rng, n):
    k = np.round(np.exp(rng.uniform(0, np.log(2.0**39), n)))
    return k * (np.pi / 2) * rng.choice([-1.0, 1.0], n)


def _mix(rng, n, *parts):
    """Concatenate parts of equal size, each a function of the generator and a count."""
    each = -(-n // len(parts))
    return np.concatenate([part(rng, each) for part in parts])[:n]


def _uniform(low, high):
    return lambda rng, n: rng.uniform(low, high, n)


def _log_spread(low, high):
    return lambda rng, n: _spread(rng, low, high, n)


def _around(*centres):
    return lambda rng, n: _near(rng, centres, n)


def _positive(part):
    return lambda rng, n: np.abs(part(rng, n))


def _one_plus(low, high):
    return lambda rng, n: 1.0 + _spread(rng, low, high, n)


_ANGLES = (_uniform(-10, 10), _log_spread(1e-10, 1e12), _log_spread(1e-300, 1e-5), _multiples_of_half_pi, _subnormal)
_ONE_ARGUMENT = {
    "exp": (_uniform(-750, 712), _log_spread(1e-20, 1), _uniform(-746, -707), _any_bits, _subnormal),
    "expm1": (_uniform(-40, 712), _log_spread(1e-20, 3), _uniform(-1, 1), _any_bits, _subnormal),
    "log": (_positive(_any_bits), _uniform(0.5, 2), _one_plus(1e-16, 0.1), _positive(_subnormal)),
    "log1p": (_positive(_any_bits), _uniform(-0.999999, 3), _log_spread(1e-20, 0.99), _subnormal),
    "sin": _ANGLES,
    "asin": (_uniform(-1, 1), _log_spread(1e-20, 1), _around(0.5, -0.5), _around(1 - 1e-14, -1 + 1e-14), _subnormal),
    "atan": (_uniform(-4, 4), _log_spread(1e-10, 1e10), _any_bits, _around(0.40478515625, 1.0, 2.4375), _subnormal),
    "sinh": (_uniform(-712, 712), _log_spread(1e-20, 3), _uniform(-3, 3), _any_bits, _subnormal),
    "tanh": (_uniform(-23, 23), _log_spread(1e-20, 3), _around(0.625, 22.0), _any_bits, _subnormal),
    "asinh": (_uniform(-4, 4), _log_spread(1e-20, 1e20), _any_bits, _subnormal),
    "acosh": (_uniform(1, 5), lambda rng, n: 1 + np.abs(_spread(rng, 1e-15, 1, n)), _positive(_log_spread(1, 1e308))),
    "atanh": (_uniform(-1, 1), _log_spread(1e-20, 1), lambda rng, n: 1 - np.abs(_spread(rng, 1e-15, 1, n)), _subnormal),
    "sqrt": (_positive(_any_bits), _uniform(0, 4), _positive(_subnormal)),
    "cbrt": (_any_bits, _log_spread(1, 10), _around(1.0, 8.0, 27.0, -64.0), _subnormal),
    "erf": (_uniform(-6.5, 6.5), _log_spread(1e-10, 2), _any_bits, _around(1.0, 6.0), _subnormal),
    "erfc": (_uniform(-6.5, 27.5), _uniform(-1, 2), _log_spread(1e-20, 1), _around(0.5, 26.5), _any_bits),
    "expit": (_uniform(-750, 40), _uniform(-5, 5), _log_spread(1e-20, 1), _any_bits),
    "gammaln": (_uniform(0, 30), _positive(_log_spread(1e-300, 1)), _positive(_log_spread(1, 1e300)), _uniform(-30, 0)),
    "digamma": (_uniform(0, 30), _positive(_log_spread(1e-300, 1)), _positive(_log_spread(1, 1e300)), _uniform(-30, 0)),
    "trigamma": (_uniform(0, 30), _positive(_log_spread(1e-150, 1)), _positive(_log_spread(1, 1e9)), _uniform(-30, 0)),
}
_SAME = {"log2": "log", "log10": "log", "cos": "sin", "tan": "sin", "acos": "asin", "cosh": "sinh"}


def _pairs(name, rng, n):
    if name in ("pow", "pow_positive_base"):
        base = _mix(rng, n, _positive(_any_bits), _positive(_log_spread(0.1, 10)), _one_plus(1e-12, 0.1))
        exponent = _mix(rng, n, _uniform(-3, 3), _uniform(-300, 300), _log_spread(1, 1e6))
        steered = rng.permutation(n)[: n // 4]  # results over the whole range, subnormal ones included
        with np.errstate(all="ignore"):
            wanted = rng.uniform(-745, 710, steered.size) / np.log(base[steered])
        exponent[steered] = np.where(np.isfinite(wanted), wanted, 1.0)
        if name == "pow":
            whole = rng.permutation(n)[: n // 10]
            base[whole], exponent[whole] = -base[whole], np.round(exponent[whole])
        return base, exponent
    kinds = (_uniform(-2, 2), _log_spread(1e-20, 1e20), _any_bits, _subnormal)
    first, second = _mix(rng, n, *kinds), _mix(rng, n, *kinds)
    unequal = rng.permutation(n)[: n // 2]
    second[unequal] = second[rng.permutation(unequal)]
    return first, second


def points(name, n, seed=7):
    """Return a tuple of arrays, one for each argument, of about `n` stratified points."""
    rng = np.random.default_rng(seed)
    if name in ("pow", "pow_positive_base", "atan2", "hypot", "wofz_real", "wofz_imag"):
        return _pairs(name, rng, n)
    return (_mix(rng, n, *_ONE_ARGUMENT[_SAME.get(name, name)]),)


def _two_doubles(value):
    high = float(value)
    return high, float(value - high) if np.isfinite(high) else 0.0


@cache
def reference(name, n, seed=7):
    """Return points and the exact values there as sums of two doubles."""
    arguments = points(name, n, seed)
    function = MPMATH[name]
    with mpmath.workprec(PRECISION):
        pairs = [_two_doubles(function(*map(mpmath.mpf, map(float, row)))) for row in zip(*arguments, strict=True)]
    high, low = np.array(pairs).T
    return arguments, high, low


def units(got, high, low):
    """Return errors in units in the last place of the exact value; inf where only one of the two is finite."""
    with np.errstate(all="ignore"):
        error = np.abs((got - high) - low) / np.spacing(np.abs(high))
    finite = np.isfinite(high)
    # next to the largest double, infinity counts as the double that would follow
    return np.where(finite, np.where(np.isfinite(got), error, np.inf), np.where(got == high, 0.0, np.inf))
