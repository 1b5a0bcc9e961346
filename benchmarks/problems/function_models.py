r"""Curves with kinks and choices, and curves that call the less common functions of numpy, scipy.special and math.

The kinks are those of `where`, `select`, `clip`, `maximum`, `abs`, `sign` and of comparisons used as factors;
most points of the data lie away from them. Each entry of `FUNCTION_MODELS` is (name, function, x, p, family),
with ``function(x, *p)`` the curve. The functions are those of F. W. J. Olver et al., NIST Handbook of
Mathematical Functions, 2010, chapters 4, 5 and 7.
"""

import math

import numpy as np
from scipy import special
from scipy.special import expit, gammaln

__all__ = ["FUNCTION_MODELS"]

X = np.linspace(0.0, 6.0, 61)


# Kinks, saturation and choices by the data


def clipped(x, gain, top):
    return np.clip(gain * x, 0.1, top)


def clip_method(x, a, b):
    return (a * x - b).clip(-1.0, 2.0)


def day_and_night(x, a, b):
    return np.where(np.sin(x) > 0, a * np.sin(x), b * np.sin(x))


def boolean_factor(x, a, b, edge):
    return a * (x < edge) + b * (x >= edge) * np.sqrt(np.abs(x - edge))


def signed_root(x, a, center):
    return a * np.sign(x - center) * np.sqrt(np.abs(x - center))


def soft_absolute(x, a, b, c):
    return np.maximum(np.abs(a * (x - b)), c)


def three_regimes(x, low, high, a):
    return np.select([x < low, x < high], [a * x / low, a * np.ones_like(x)], a * np.exp(high - x))


def either_side(x, a, left, right, center):
    width = np.where((x > center) | (x == center), right, left)
    return a * np.exp(-0.5 * ((x - center) / width) ** 2)


def masked_by_data(x, a, b):
    y = a * x
    y[x > 3.0] = b
    return y


# Other numpy and math functions


def many_functions(x, a, b, c):
    inner = np.log1p(np.exp2(a * x)) + np.arcsinh(b * x) + np.expm1(-c * x) + np.arctan(x * b)
    return inner + np.cosh(0.1 * a * x) - np.sinh(0.2 * x) + np.log2(2.0 + x * b) + np.reciprocal(1.0 + c * x)


def angles(x, a, b, c):
    return np.arcsin(0.1 * a * x) + np.arccos(0.1 * b * x) + np.tan(0.1 * x + c) + np.radians(b) + np.deg2rad(x)


def negations(x, a, b):
    return -np.negative(a * x) + (+b) - np.positive(x) + np.add(a, x) * np.subtract(x, b) / np.multiply(2.0, 1 + x)


def divisions(x, a, b):
    return np.true_divide(a, 1.0 + x) + 2.0 / (b + x) + (x / b) ** 0.5 + pow(1.0 + x, -b) + 2.0 ** (-a * x)


def complex_phase(x, amplitude, rate, phase):
    return (amplitude * np.exp(1j * (rate * x + phase))).real


def transfer_magnitude(x, gain, tau):
    return np.abs(gain / (1 + 1j * x * tau))


def special_functions(x, a, b, c):
    return special.erf(a * (x - 2.0)) + expit(b * (x - 3.0)) + special.erfc(c * x) + 0.1 * gammaln(1.0 + a + x)


def voigt_function(x, height, sigma, gamma):
    return height * special.voigt_profile(x - 2.0, sigma, gamma)


def bounded_inverses(x, a, b, c):
    return np.arctanh(0.1 * a * x) + np.arccosh(1.0 + b * x) + np.cbrt(1.0 + c * x)


def log_sum(x, a, b):
    return np.logaddexp(a * x, b) + np.hypot(a, x) * np.arctan2(b, 1.0 + x)


def extremes_that_skip_nan(x, a, b):
    return np.fmin(a * x, b) + np.fmax(x, a + b) + np.abs(np.absolute(x) - np.fabs(b))


def rounded_data(x, a, b):
    """Use functions of the data alone that have no useful derivative."""
    return a * np.floor(x) + b * np.mod(x, 1.0) + np.round(x) - np.ceil(x)


def math_of_parameters(x, area, width):
    """Take math functions of parameters, which accept floats alone."""
    return area / (width * math.sqrt(2 * math.pi)) * np.exp(-0.5 * (x / width) ** 2)


FUNCTION_MODELS = (
    ("clipped", clipped, X, (1.3, 4.0), "choices"),
    ("clip_method", clip_method, X, (0.9, 2.03), "choices"),
    ("day_and_night", day_and_night, X, (1.3, 0.4), "choices"),
    ("boolean_factor", boolean_factor, X, (1.3, 0.4, 2.93), "choices"),
    ("signed_root", signed_root, X, (1.3, 2.93), "choices"),
    ("soft_absolute", soft_absolute, X, (1.3, 2.93, 0.6), "choices"),
    ("three_regimes", three_regimes, X, (1.33, 4.07, 0.9), "choices"),
    ("either_side", either_side, X, (1.3, 0.6, 1.4, 2.53), "choices"),
    ("masked_by_data", masked_by_data, X, (0.4, 1.5), "choices"),
    ("many_functions", many_functions, X, (0.4, 0.5, 0.3), "functions"),
    ("angles", angles, X, (0.9, 1.1, 0.2), "functions"),
    ("negations", negations, X, (0.9, 1.1), "functions"),
    ("divisions", divisions, X, (0.9, 1.1), "functions"),
    ("complex_phase", complex_phase, X, (1.3, 1.1, 0.4), "functions"),
    ("transfer_magnitude", transfer_magnitude, X, (1.3, 1.1), "functions"),
    ("special_functions", special_functions, X, (0.9, 1.1, 0.3), "functions"),
    ("voigt_function", voigt_function, X, (0.9, 0.6, 0.3), "functions"),
    ("bounded_inverses", bounded_inverses, X, (0.9, 1.1, 0.3), "functions"),
    ("log_sum", log_sum, X, (0.9, 1.1), "functions"),
    ("extremes_that_skip_nan", extremes_that_skip_nan, X, (0.9, 1.13), "functions"),
    ("rounded_data", rounded_data, X, (0.9, 1.1), "functions"),
    ("math_of_parameters", math_of_parameters, X, (1.3, 1.1), "math"),
)
