r"""Model functions in the many ways that Python lets one write them.

The mathematics is plain (lines, decays, peaks); what varies is the form: how x arrives (tuple, list, rows of an
array, integers), how parameters are taken (names, ``*args``, defaults, keywords, partial, method), where data
are captured, and how the result is put together (loops, comprehensions, stores in place, stacked outputs). Each
entry of `STYLED_MODELS` is (name, function, x, p, family), with ``function(x, *p)`` the curve. The forms are
those of the tutorials of numpy, SciPy (``curve_fit``) and lmfit; the formulas are elementary.
"""

import functools
import math
import operator
from types import SimpleNamespace

import numpy as np
from numpy import exp, pi

__all__ = ["STYLED_MODELS"]

X = np.linspace(0.0, 6.0, 61)
SPECTRUM = np.linspace(0.0, 20.0, 201)
PAIR = np.stack([np.linspace(0.5, 3.0, 40), np.cos(np.linspace(0.0, 5.0, 40))])
TRIPLE = np.stack([np.sin(X), np.cos(0.7 * X), 0.1 * X**2])
BASELINE = 0.3 + 0.02 * X**2  # a measured background, one number a point
WEIGHT = 1.0 / (1.0 + X)
NODES = np.array([-0.7745966692414834, 0.0, 0.7745966692414834])  # Gauss-Legendre, three points
NODE_WEIGHTS = np.array([5.0, 8.0, 5.0]) / 9.0
SETTINGS = SimpleNamespace(rate=1.7, offset=0.2)
CONSTANTS = {"period": 3.1, "scale": 2.0}


def peak(x, height, center, width):
    return height * exp(-0.5 * ((x - center) / width) ** 2)


def decay(x, a, k):
    return a * np.exp(-k * x)


# How x arrives


def plane_of_tuple(xy, a, b, c):
    x, y = xy
    return a + b * x + c * y


def quadric_of_tuple(xyz, a, b, c, d):
    (x, y, z) = xyz
    return a * x * y + b * np.square(z) + c * x + d


def rows_by_index(x, a, b, c):
    return a * x[0] ** b * np.exp(c * x[1])


def rows_unpacked(x, a, b, c):
    u, v, w = x
    return a * u + b * v**2 + c * u * w


def last_row(x, a, b):
    return a * x[-1] + b * np.prod([x[0], x[1]], axis=0)


def columns(x, a, b, c):
    return a * np.sin(b * x[:, 0]) + c * x[:, 1]


def integer_shots(k, a, b):
    return a * b**k


def integer_parity(k, a, b, c):
    return a + b * k + c * (-1.0) ** (k % 2)


def whole_rows(x, a, b):
    return np.sqrt(a**2 * x[0] ** 2 + b**2 * x[1] ** 2) / (1 + x[2])


# How parameters are taken


def any_number_of_terms(x, *c):
    return sum(a * x**k for k, a in enumerate(c))


def sum_of_decays(x, *p):
    return sum(decay(x, a, k) for a, k in zip(p[::2], p[1::2], strict=True))


def cosines(x, *c):
    return np.sum([a * np.cos(k * x) for k, a in enumerate(c)], axis=0)


def product_of_factors(x, *roots):
    return functools.reduce(operator.mul, [x - r for r in roots])


def star_middle(x, first, *rest):
    *middle, last = rest
    return first + sum(middle) * x + last * x**2


def defaulted(x, a, b=2.0, offset=0.1):
    return a * np.tanh(b * x) + offset


def default_array(x, a, b, weight=WEIGHT):
    return weight * decay(x, a, b)


def keyword_only(x, a, b, *, power=2, base=0.5):
    return a * np.exp(-b * np.abs(x) ** power) + base


def switched_by_option(x, a, b, shape="lorentz"):
    if shape == "lorentz":
        return a / (1 + (x / b) ** 2)
    return a * np.exp(-((x / b) ** 2))


def polyval(x, *c):
    return np.polyval(c, x)


def local_rescaling(x, a, k):
    k /= 1000.0
    a *= 1e-3
    return a * np.exp(-k * x)


def annotated(x: np.ndarray, a: float, b: float) -> np.ndarray:
    scale: float = a / b
    return scale * (1 - np.exp(-b * x))


class Thermometer:
    """A sensor with constants of its own, as instruments are modelled."""

    ambient = 21.5

    def __init__(self, gain, lag):
        self.gain = gain
        self.lag = lag

    def response(self, t, top, tau):
        return self.ambient + self.gain * (top - self.ambient) * (1 - np.exp(-(t + self.lag) / tau))

    @staticmethod
    def drift(t, slope, bend):
        return slope * t + bend * t * t

    @classmethod
    def cooling(cls, t, start, tau):
        return cls.ambient + (start - cls.ambient) * np.exp(-t / tau)


# Where constants come from


def over_background(baseline):
    def model(x, a, b, s):
        return a * np.exp(-b * x) + s * baseline

    return model


def with_dead_time(live, exponent):
    scale = math.sqrt(live)
    return lambda x, rate, tau: scale * rate * x**exponent / (1.0 + rate * tau * x)


def from_namespace(x, a):
    return a * np.sin(SETTINGS.rate * x) + SETTINGS.offset


def from_dict(x, a, phase):
    return CONSTANTS["scale"] * a * np.cos(2 * pi * x / CONSTANTS["period"] + phase)


def quadrature(x, a, k):
    """Return the mean of a exp(-k x (1 + u)/2) over u in [-1, 1] by three Gauss points."""
    total = 0.0
    for u, w in zip(NODES, NODE_WEIGHTS, strict=True):
        total = total + w * np.exp(-k * x * (1 + u) / 2)
    return a * total / 2


def inner_function(x, a, b, c):
    def bump(u):
        return np.exp(-(u**2))

    return a * bump((x - b) / c) + bump(x - 1.0)


# How the result is put together


def peaks_by_slices(x, *p):
    y = 0.0 * x
    for i in range(0, len(p), 3):
        y = y + peak(x, *p[i : i + 3])
    return y


def peaks_on_a_line(x, slope, offset, *p):
    y = slope * x + offset
    for i in range(len(p) // 3):
        height, center, width = p[3 * i], p[3 * i + 1], p[3 * i + 2]
        y += height / (1.0 + ((x - center) / width) ** 2)
    return y


def accumulated(x, *p):
    y = np.zeros_like(x)
    for height, center in zip(p[0::2], p[1::2], strict=True):
        y += peak(x, height, center, 1.1)
    return y


def accumulated_in_full(x, a, b, c):
    y = np.full(x.shape, 0.25)
    y += a * x
    y -= b
    y *= c
    y /= 1.0 + x
    return y


def stored_by_slice(x, a, b):
    y = np.empty(len(x))
    y[:] = a * x
    y[10:] += b * np.sin(x[10:])
    return y


def powered_in_place(x, a, b):
    y = a + b * x
    y **= 2
    return y


def two_channels(x, a, b, c):
    return np.array([a * np.exp(-b * x), c * np.sin(x)])


def channels_end_to_end(x, a, k, ratio):
    near = decay(x, a, k)
    return np.hstack([near, ratio * near])


def channels_stacked(x, a, b, c):
    return np.stack((a * x, b * x**2, a + c * x))


def channels_vstack(x, a, b):
    return np.vstack([a + b * x, a - b * x])


def channels_raveled(x, a, b):
    return np.array([a * np.cos(x), b * np.sin(x)]).ravel()


def two_times(x, a, b):
    return np.append(decay(x, a, b), decay(2 * x, a, b))


SENSOR = Thermometer(gain=0.92, lag=0.05)
THREE_PEAKS = (2.0, 5.0, 1.1, 3.0, 9.5, 0.7, 1.2, 15.0, 1.6)

STYLED_MODELS = (
    ("plane_of_tuple", plane_of_tuple, (X, WEIGHT), (1.0, 0.5, -0.7), "x"),
    ("quadric_of_list", quadric_of_tuple, [X, WEIGHT, np.sin(X)], (1.0, 0.5, -0.7, 0.2), "x"),
    ("rows_by_index", rows_by_index, PAIR, (1.2, 0.7, -0.4), "x"),
    ("rows_unpacked", rows_unpacked, TRIPLE, (1.2, 0.7, -0.4), "x"),
    ("last_row", last_row, TRIPLE, (1.2, 0.7), "x"),
    ("columns", columns, np.ascontiguousarray(PAIR.T), (1.2, 0.7, -0.4), "x"),
    ("whole_rows", whole_rows, TRIPLE, (1.2, 0.7), "x"),
    ("integer_shots", integer_shots, np.arange(1, 25), (3.0, 0.9), "x"),
    ("integer_parity", integer_parity, np.arange(24), (3.0, 0.1, 0.4), "x"),
    ("any_number_of_terms", any_number_of_terms, X, (1.0, -0.3, 0.05, 0.01), "parameters"),
    ("sum_of_decays", sum_of_decays, X, (2.0, 0.4, 1.1, 2.2), "parameters"),
    ("cosines", cosines, X, (1.0, 0.3, -0.2, 0.1), "parameters"),
    ("product_of_factors", product_of_factors, X, (0.7, 2.2, 4.1), "parameters"),
    ("star_middle", star_middle, X, (1.0, 0.2, 0.3, -0.1), "parameters"),
    ("defaulted", defaulted, X, (1.3,), "parameters"),
    ("defaulted_given", defaulted, X, (1.3, 0.8, 0.2), "parameters"),
    ("default_array", default_array, X, (1.3, 0.8), "parameters"),
    ("keyword_only", keyword_only, X, (1.3, 0.8), "parameters"),
    ("switched_by_option", switched_by_option, X, (1.3, 0.8), "parameters"),
    ("partial_keyword", functools.partial(peak, width=0.8), X, (1.3, 2.5), "parameters"),
    ("partial_option", functools.partial(switched_by_option, shape="gauss"), X, (1.3, 0.8), "parameters"),
    ("polyval", polyval, X, (0.02, -0.3, 1.0, 0.4), "parameters"),
    ("local_rescaling", local_rescaling, X, (1300.0, 700.0), "parameters"),
    ("annotated", annotated, X, (1.3, 0.8), "parameters"),
    ("method", SENSOR.response, X, (80.0, 2.3), "parameters"),
    ("static_method", Thermometer.drift, X, (0.3, 0.02), "parameters"),
    ("class_method", Thermometer.cooling, X, (80.0, 2.3), "parameters"),
    ("lambda", lambda x, a, b: a * np.log(1 + b * x), X, (1.3, 0.8), "parameters"),
    ("over_background", over_background(BASELINE), X, (1.3, 0.8, 0.9), "constants"),
    ("with_dead_time", with_dead_time(2.25, 1.5), X, (1.3, 0.2), "constants"),
    ("from_namespace", from_namespace, X, (1.3,), "constants"),
    ("from_dict", from_dict, X, (1.3, 0.4), "constants"),
    ("quadrature", quadrature, X, (1.3, 0.8), "constants"),
    ("inner_function", inner_function, X, (1.3, 2.8, 0.9), "constants"),
    ("peaks_by_slices", peaks_by_slices, SPECTRUM, THREE_PEAKS, "result"),
    ("peaks_on_a_line", peaks_on_a_line, SPECTRUM, (0.02, 0.1, *THREE_PEAKS), "result"),
    ("accumulated", accumulated, SPECTRUM, (2.0, 5.0, 3.0, 9.5), "result"),
    ("accumulated_in_full", accumulated_in_full, X, (1.3, 0.2, 0.7), "result"),
    ("stored_by_slice", stored_by_slice, X, (1.3, 0.2), "rows"),
    ("powered_in_place", powered_in_place, X, (1.3, 0.2), "result"),
    ("two_channels", two_channels, X, (1.3, 0.6, 0.7), "result"),
    ("channels_end_to_end", channels_end_to_end, X, (1.3, 0.6, 0.7), "result"),
    ("channels_stacked", channels_stacked, X, (1.3, 0.6, 0.7), "result"),
    ("channels_vstack", channels_vstack, X, (1.3, 0.6), "result"),
    ("channels_raveled", channels_raveled, X, (1.3, 0.6), "result"),
    ("two_times", two_times, X, (1.3, 0.6), "result"),
)
