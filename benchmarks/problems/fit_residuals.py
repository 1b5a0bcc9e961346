r"""Residuals r(p) of fits to data, one function ``fun(p)`` each: model less observation, weighted or regularised.

What varies is the form: data in a closure, in globals, in defaults, in a partial or in an object; parameters by
unpacking, index, slice, constant fancy index or dictionary; results by arrays, lists, loops and concatenation.
The observations are a truth plus a small smooth disturbance, so that nothing is random. Each entry of
`FIT_RESIDUALS` is (name, function, x0, m, family).

References
----------
.. [1] J. J. More, B. S. Garbow and K. E. Hillstrom, "Testing unconstrained optimization software", ACM
   Transactions on Mathematical Software 7(1), 17-41, 1981. (Problem numbers below.)
.. [2] W. Gander, G. H. Golub and R. Strebel, "Least-squares fitting of circles and ellipses", BIT 34, 558-578,
   1994.
.. [3] A. Tarantola, Inverse Problem Theory, SIAM, 2005, chapter 3. (Regularised fits.)
"""

import functools
import math
from collections import namedtuple

import numpy as np

from .science_models import hill
from .standard_models import gaussian

__all__ = ["FIT_RESIDUALS"]

T = np.linspace(0.0, 4.0, 41)
DISTURBANCE = 0.02 * np.sin(37.0 * T)
Y = 2.5 * np.exp(-1.3 * T) + 0.5 + DISTURBANCE
SIGMA = 0.02 + 0.01 * T
PRIOR = np.array([2.4, 1.2, 0.4])
DOSE = np.logspace(-2.0, 2.0, 33)
RESPONSE = hill(DOSE, 0.1, 1.2, 3.0, 1.4) + 0.01 * np.cos(11.0 * np.arange(33))

BARD_Y = np.array([0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39])
BARD_U = np.arange(1.0, 16.0)
BARD_V = 16.0 - BARD_U
BARD_W = np.minimum(BARD_U, BARD_V)
KOWALIK_Y = np.array([0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246])
KOWALIK_U = np.array([4.0, 2.0, 1.0, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625])

CIRCLE_X = np.array([1.0, 2.0, 5.0, 7.0, 9.0, 3.0])  # Gander, Golub and Strebel, section 2
CIRCLE_Y = np.array([7.0, 6.0, 8.0, 7.0, 5.0, 7.0])
ANCHORS = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 8.0], [10.0, 8.0], [5.0, 12.0]])
RANGES = np.hypot(ANCHORS[:, 0] - 3.7, ANCHORS[:, 1] - 4.1) + 0.01
EDGE_I = np.array([0, 1, 2, 3, 4, 0, 1, 2])
EDGE_J = np.array([1, 2, 3, 4, 5, 2, 4, 5])
DESIGN = np.cos(np.outer(np.linspace(0.0, 3.0, 20), np.arange(1.0, 6.0)))  # (20, 5)
OBSERVED = DESIGN @ np.array([0.5, -1.0, 0.2, 0.7, 0.1])


def model(t, a, k, c):
    return a * np.exp(-k * t) + c


# Where the data come from


def closure_residual(t, y):
    return lambda p: model(t, *p) - y


def closure_weighted(function, t, y, sigma):
    def residual(p):
        return (function(t, *p) - y) / sigma

    return residual


def from_globals(p):
    return p[0] * np.exp(-p[1] * T) + p[2] - Y


def from_defaults(p, t=T, y=Y):
    a, k, c = p
    return y - (a * np.exp(-k * t) + c)


def of_arguments(p, t, y):
    return model(t, p[0], p[1], p[2]) - y


class Experiment:
    """Data with a method that compares them with the model."""

    def __init__(self, t, y, sigma):
        self.t = t
        self.y = y
        self.sigma = sigma

    def predict(self, p):
        return model(self.t, *p)

    def residual(self, p):
        return (self.predict(p) - self.y) / self.sigma


def bard(p):
    """Problem 8."""
    return BARD_Y - (p[0] + BARD_U / (BARD_V * p[1] + BARD_W * p[2]))


def kowalik_osborne(p):
    """Problem 15."""
    u = KOWALIK_U
    return KOWALIK_Y - p[0] * (u**2 + u * p[1]) / (u**2 + u * p[2] + p[3])


def box_three_dimensional(p):
    """Problem 12."""
    t = 0.1 * np.arange(1, 11)
    return np.exp(-t * p[0]) - np.exp(-t * p[1]) - p[2] * (np.exp(-t) - np.exp(-10 * t))


def jennrich_sampson(p):
    """Problem 6, by a comprehension over the observations."""
    return np.array([2 + 2 * i - (np.exp(i * p[0]) + np.exp(i * p[1])) for i in range(1, 11)])


# How parameters are named


def by_dictionary(p):
    values = dict(zip(("a", "k", "c"), p, strict=True))
    return values["a"] * np.exp(-values["k"] * T) + values["c"] - Y


Decay = namedtuple("Decay", "a k c")


def by_named_tuple(p):
    v = Decay(*p)
    return v.a * np.exp(-v.k * T) + v.c - Y


def by_fancy_index(p):
    height, offset = p[[0, 2]]
    return height * np.exp(-p[1] * T) + offset - Y


def two_curves_shared_rate(p):
    """Return the residuals of two decays with one rate, p = (a1, c1, a2, c2, k)."""
    first, second, rate = p[:2], p[2:4], p[-1]
    curve1 = first[0] * np.exp(-rate * T) + first[1]
    curve2 = second[0] * np.exp(-rate * T) + second[1]
    return np.concatenate((curve1 - Y, curve2 - 0.5 * Y))


def head_and_tail(p):
    offset, *pairs = p
    y = np.full_like(T, 0.0)
    for a, k in zip(pairs[::2], pairs[1::2], strict=True):
        y = y + a * np.exp(-k * T)
    return y + offset - Y


def rescaled_copy(p):
    q = p.copy()
    q[1] *= 10.0
    q[2] = np.exp(q[2])
    return model(T, *q) - Y


def as_array_first(p):
    p = np.asarray(p, dtype=float)
    return np.ravel(model(T, *np.atleast_1d(p))) - Y


def fixed_rate(p):
    """Insert a fixed parameter into the vector before the model is called."""
    full = np.array([p[0], 1.3, p[1]])
    return model(T, *full) - Y


def log_parameters(p):
    a, k, c = np.exp(p)
    return model(T, a, k, c) - Y


# How the residual is collected


def by_append(p):
    r = []
    for t, y in zip(T, Y, strict=True):
        r.append(p[0] * np.exp(-p[1] * t) + p[2] - y)
    return np.array(r)


def by_comprehension(p):
    return [p[0] * np.exp(-p[1] * t) + p[2] - y for t, y in zip(T, Y, strict=True)]


def by_store(p):
    r = np.zeros(len(T))
    for i in range(len(T)):
        r[i] = model(T[i], *p) - Y[i]
    return r


def by_math(p):
    """Take math.exp of each point, as in code that was a loop in another language."""
    return np.array([p[0] * math.exp(-p[1] * t) + p[2] - y for t, y in zip(T, Y, strict=True)])


def complex_as_real(p):
    """Return real and imaginary parts of an impedance of a resistor and an RC element in series."""
    omega = np.logspace(-1.0, 2.0, 24)
    z = p[0] + p[1] / (1 + 1j * omega * p[1] * p[2])
    difference = z - (1.1 + 2.1 / (1 + 0.4j * omega))
    return np.concatenate([difference.real, difference.imag])


def signed_root_of_loss(p):
    """Return sign(r) sqrt(log(1 + r^2)), a robust loss written into the residual."""
    r = (model(T, *p) - Y) / 0.05
    return np.sign(r) * np.sqrt(np.log1p(r**2))


def flattened_table(p):
    """Return a rank-one fit u v' to a table, by np.outer and ravel."""
    table = np.outer(p[:4], p[4:])
    return (table - np.add.outer(np.arange(4.0), np.arange(5.0))).ravel()


# Linear parts, regularisation


def linear(matrix, b):
    return lambda p: matrix @ p - b


def linear_of_function(matrix, b):
    return lambda p: matrix @ np.tanh(p) - b


def linear_by_dot(matrix, b):
    def residual(p):
        return np.dot(matrix, p**2) - b + matrix.dot(p)

    return residual


def tikhonov(lam):
    def residual(p):
        return np.concatenate([model(T, *p) - Y, lam * (p - PRIOR)])

    return residual


def smooth_profile(lam):
    """Return data misfit of a smoothed profile and its second differences."""

    def residual(p):
        return np.hstack([np.log(1 + p**2) - Y[: p.size], lam * np.diff(p, 2)])

    return residual


def prior_on_one(p):
    misfit = from_globals(p)
    return np.append(misfit, (p[1] - 1.2) / 0.1)


def soft_bound(p):
    return np.r_[from_globals(p), 10.0 * np.maximum(0.0, p[2] - 0.45)]


# Geometry


def circle(p):
    """Gander, Golub and Strebel 1994: distances of points to a circle (x, y, radius)."""
    return np.hypot(CIRCLE_X - p[0], CIRCLE_Y - p[1]) - p[2]


def trilateration(p):
    """Foy 1976, IEEE Trans. Aerosp. Electron. Syst. 12, 187: a place from ranges to known anchors."""
    return np.sqrt(np.sum((ANCHORS - p) ** 2, axis=1)) - RANGES


def trilateration_norm(p):
    return np.linalg.norm(ANCHORS - p[np.newaxis, :], axis=1) - RANGES


def spring_network(p):
    """Return distances between points (x, y interleaved) less their rest lengths; Kamada and Kawai 1989."""
    x, y = p[0::2], p[1::2]
    dx, dy = x[EDGE_I] - x[EDGE_J], y[EDGE_I] - y[EDGE_J]
    return np.sqrt(dx**2 + dy**2) - 1.0


def spring_network_rows(p):
    points = p.reshape(-1, 2)
    edge = points[EDGE_I] - points[EDGE_J]
    return np.sqrt((edge**2).sum(axis=1)) - 1.0


def two_body_chain(p):
    """Return distances of neighbours in a chain whose coordinates come one axis after the other."""
    k = p.size // 3
    x, y, z = p[:k], p[k : 2 * k], p[2 * k :]
    return np.sqrt((x[1:] - x[:-1]) ** 2 + (y[1:] - y[:-1]) ** 2 + (z[1:] - z[:-1]) ** 2) - 1.5


def rigid_motion(p):
    """Return a rotation and a shift in the plane, taken to the anchors; Arun, Huang and Blostein 1987."""
    c, s = np.cos(p[0]), np.sin(p[0])
    rotation = np.array([[c, -s], [s, c]])
    return (ANCHORS @ rotation.T + p[1:] - (ANCHORS + 0.3)).ravel()


START = np.array([2.0, 1.0, 0.3])
PLACES = np.array([0.1, 0.0, 1.2, 0.1, 2.0, 0.9, 2.9, 0.2, 4.1, 0.4, 4.9, -0.3])

FIT_RESIDUALS = (
    ("closure_lambda", closure_residual(T, Y), START, 41, "data"),
    ("closure_weighted", closure_weighted(model, T, Y, SIGMA), START, 41, "data"),
    ("closure_hill", closure_weighted(hill, DOSE, RESPONSE, 0.01), np.array([0.2, 1.0, 2.0, 1.1]), 33, "data"),
    ("closure_gaussian", closure_weighted(gaussian, T, Y, 0.1), np.array([2.0, 0.5, 1.0]), 41, "data"),
    ("from_globals", from_globals, START, 41, "data"),
    ("from_defaults", from_defaults, START, 41, "data"),
    ("partial", functools.partial(of_arguments, t=T, y=Y), START, 41, "data"),
    ("method", Experiment(T, Y, SIGMA).residual, START, 41, "data"),
    ("bard", bard, np.array([1.0, 1.0, 1.0]), 15, "data"),
    ("kowalik_osborne", kowalik_osborne, np.array([0.25, 0.39, 0.415, 0.39]), 11, "data"),
    ("box_three_dimensional", box_three_dimensional, np.array([0.0, 10.0, 20.0]), 10, "data"),
    ("jennrich_sampson", jennrich_sampson, np.array([0.3, 0.4]), 10, "data"),
    ("by_dictionary", by_dictionary, START, 41, "parameters"),
    ("by_named_tuple", by_named_tuple, START, 41, "parameters"),
    ("by_fancy_index", by_fancy_index, START, 41, "parameters"),
    ("two_curves_shared_rate", two_curves_shared_rate, np.array([2.0, 0.3, 1.0, 0.1, 1.1]), 82, "parameters"),
    ("head_and_tail", head_and_tail, np.array([0.3, 2.0, 1.0, 0.1, 3.0]), 41, "parameters"),
    ("rescaled_copy", rescaled_copy, np.array([2.0, 0.1, -1.0]), 41, "parameters"),
    ("as_array_first", as_array_first, START, 41, "parameters"),
    ("fixed_rate", fixed_rate, np.array([2.0, 0.3]), 41, "parameters"),
    ("log_parameters", log_parameters, np.log(START), 41, "parameters"),
    ("by_append", by_append, START, 41, "result"),
    ("by_comprehension", by_comprehension, START, 41, "result"),
    ("by_store", by_store, START, 41, "result"),
    ("by_math", by_math, START, 41, "math"),
    ("complex_as_real", complex_as_real, np.array([1.0, 2.0, 0.2]), 48, "result"),
    ("signed_root_of_loss", signed_root_of_loss, START, 41, "result"),
    ("flattened_table", flattened_table, np.linspace(0.5, 1.5, 9), 20, "result"),
    ("linear", linear(DESIGN, OBSERVED), np.linspace(-1.0, 1.0, 5) + 0.1, 20, "matrices"),
    ("linear_of_function", linear_of_function(DESIGN, OBSERVED), np.linspace(-1.0, 1.0, 5) + 0.1, 20, "matrices"),
    ("linear_by_dot", linear_by_dot(DESIGN, OBSERVED), np.linspace(-1.0, 1.0, 5) + 0.1, 20, "matrices"),
    ("tikhonov", tikhonov(0.3), START, 44, "regularised"),
    ("smooth_profile", smooth_profile(2.0), np.linspace(1.5, 0.4, 30), 58, "regularised"),
    ("prior_on_one", prior_on_one, START, 42, "regularised"),
    ("soft_bound", soft_bound, np.array([2.0, 1.0, 0.6]), 42, "regularised"),
    ("circle", circle, np.array([5.0, 4.0, 3.0]), 6, "geometry"),
    ("trilateration", trilateration, np.array([5.0, 5.0]), 5, "geometry"),
    ("trilateration_norm", trilateration_norm, np.array([5.0, 5.0]), 5, "geometry"),
    ("spring_network", spring_network, PLACES, 8, "geometry"),
    ("spring_network_rows", spring_network_rows, PLACES, 8, "geometry"),
    ("two_body_chain", two_body_chain, np.cos(1.1 * np.arange(18.0)), 5, "geometry"),
    ("rigid_motion", rigid_motion, np.array([0.2, 0.1, -0.1]), 10, "geometry"),
)
