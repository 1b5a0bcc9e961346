r"""Functions whose graph at one point is not the function, or that do something besides returning a value.

A tracer that runs each of them once on symbols would freeze a branch, a count or a random number, or would lose
a side effect. All work when called plainly, and a fit through them must behave as if nothing had ever tried to
trace them. Each entry of `NOT_TRACEABLE` builds its function afresh, so that counts and histories start at zero;
``why`` says what stands in the way. The constructs are those of users' questions about automatic
differentiation and symbolic fitting; the formulas are decays and lines over `T`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.integrate import odeint, quad
from scipy.optimize import brentq

from .stateful_functions import STATEFUL_FUNCTIONS, T, Y, decay

__all__ = ["NOT_TRACEABLE", "UntraceableCase"]

START = (2.0, 1.0, 0.3)


@dataclass(frozen=True, eq=False)
class UntraceableCase:
    """One function that must be called as it is.

    Attributes
    ----------
    name : str
        Name of the case.
    build : callable
        ``build()`` returns the function, with its state at the start.
    x : ndarray or None
        Independent variable of a model ``function(x, *p)``; None for a residual ``function(p)``.
    p : tuple of float, length n
        A typical parameter point.
    why : str
        What must keep a tracer away.
    repeatable : bool
        Whether two calls in a row return the same values.
    """

    name: str
    build: Callable[[], Callable[..., Any]]
    x: np.ndarray | None
    p: tuple[float, ...]
    why: str
    repeatable: bool = True

    @property
    def function(self):
        """The function, newly built."""
        return self.build()

    def evaluate(self, function):
        """Return the values of `function`, built by this case, at `p`."""
        return function(np.array(self.p)) if self.x is None else function(self.x, *self.p)


# The value of a parameter, or all the data at once, decide


def branch(x, a, k, c):
    if k > 0.5:
        return a * np.exp(-k * x) + c
    return a * (1.0 - k * x) + c


def conditional_expression(x, a, k):
    return a * x if a > k else k * x**2


def boolean_operators(x, a, k):
    rate = (a > 1.0 and k) or 2.0
    return a * np.exp(-rate * x)


def chained_comparison(x, a, k):
    inside = 0.0 < k < 10.0
    return np.exp(-k * x) * (a if inside else np.inf)


def minimum_of_two(x, a, k):
    return min(a, k) * x


def while_loop(x, a, eccentricity):
    """Kepler's equation by Newton's method until it has converged."""
    anomaly = x.copy()
    step = np.ones_like(x)
    while np.max(np.abs(step)) > 1e-12:
        step = (anomaly - eccentricity * np.sin(anomaly) - x) / (1.0 - eccentricity * np.cos(anomaly))
        anomaly = anomaly - step
    return a * np.cos(anomaly)


def recursion(x, a, k, depth=0):
    """Sum a series until its terms are small."""
    term = a * (k * x) ** depth
    if np.max(np.abs(term)) < 1e-9 or depth > 60:
        return term
    return term + recursion(x, a, k, depth + 1)


def value_as_index(x, a, shift):
    start = int(shift + 0.5)
    return a * np.concatenate([x[start:], x[:start]])


def value_as_length(x, a, terms):
    return a * sum(np.sin(k * x) / k for k in range(1, int(terms) + 1))


def sorted_parameters(p):
    slow, fast = np.sort(p)
    return np.exp(-slow * T) - np.exp(-fast * T)


def sorted_list(p):
    slow, fast = sorted(p)
    return np.exp(-slow * T) - np.exp(-fast * T)


def largest_index(x, a, k):
    y = a * x * np.exp(-k * x)
    return y / y[np.argmax(y)]


def normalised_by_maximum(x, a, k, c):
    y = a * x * np.exp(-k * x)
    return y / y.max() + c


def normalised_by_sum(x, a, k, c):
    y = np.exp(-k * x)
    return a * y / np.sum(y) + c


def centred_by_mean(x, a, k):
    return a * np.exp(-k * (x - x.mean()))


def scaled_by_largest_x(x, a, k):
    return a * (x / np.max(x)) ** k


def running_sum(x, a, k):
    return a * np.cumsum(np.exp(-k * x))


def mask_of_parameter(x, a, k, edge):
    y = a * np.exp(-k * x)
    y[x > edge] = 0.0
    return y


def piecewise(x, a, k, edge):
    return np.piecewise(x, [x < edge, x >= edge], [lambda u: a * u, lambda u: a * edge * np.exp(-k * (u - edge))])


# Values leave numpy, or become other types


def interpolated(x, a, b, c):
    return np.interp(x, [0.0, 1.0, 4.0], [a, b, c])


def searched(x, a, b):
    return np.searchsorted(np.array([0.0, a, b]), x) * 0.5 + a


def as_float(p):
    a, k, c = float(p[0]), float(p[1]), float(p[2])
    return a * np.exp(-k * T) + c - Y


def as_float_list(p):
    a, k, c = p.tolist()
    return a * np.exp(-k * T) + c - Y


def rounded_to_text(p):
    a = float(f"{p[0]:.6f}")
    return a * np.exp(-p[1] * T) - Y


def single_precision(p):
    q = p.astype(np.float32)
    return q[0] * np.exp(-q[1] * T) + q[2] - Y


def bits(p):
    coarse = (p.view(np.int64) & ~np.int64(0xFFFF)).view(np.float64)
    return decay(coarse)


def asks_for_type(p):
    if isinstance(p, np.ndarray):
        return decay(p)
    raise TypeError(f"fit p as an array, not as {type(p).__name__}")


def asks_for_attribute(p):
    scale = 1.0 if hasattr(p, "tobytes") else 2.0
    return scale * decay(p)


def vectorised(x, a, k):
    def one(t):
        return a * np.exp(-k * t) if t < k else a * np.exp(-k * k)

    return np.vectorize(one)(x)


def linear_solve(p):
    matrix = np.array([[2.0 + p[0], p[1]], [p[1], 3.0]])
    return np.linalg.solve(matrix, np.array([1.0, 2.0])) - 0.3


def eigenvalues(p):
    matrix = np.array([[p[0], p[1]], [p[1], p[2]]])
    return np.linalg.eigvalsh(matrix) - np.array([0.5, 2.0])


def differential_equation(p):
    return odeint(lambda u, t: -p[0] * u / (p[1] + u), 2.0, T)[:, 0] - Y


def integral(x, a, k):
    return np.array([quad(lambda u, t=t: a * np.exp(-k * u * u), 0.0, t)[0] for t in x])


def root(x, a, k):
    return np.array([brentq(lambda u, t=t: u + a * np.sinh(k * u) - t, -10.0, 10.0) for t in x])


class Metres(np.ndarray):
    """An array with a unit, of the kind that unit packages make."""

    unit = "m"


LENGTHS = T.view(Metres)


def with_units(p):
    return np.asarray(p[0] * LENGTHS + p[1])


def _same(function):
    """Return a builder of a function that needs no state of its own."""
    return lambda: function


NOT_TRACEABLE = (
    UntraceableCase("branch", _same(branch), T, START, "a branch on the value of a parameter"),
    UntraceableCase("conditional_expression", _same(conditional_expression), T, (2.0, 1.0), "a branch on parameters"),
    UntraceableCase("boolean_operators", _same(boolean_operators), T, (2.0, 1.0), "and, or ask for a truth value"),
    UntraceableCase(
        "chained_comparison", _same(chained_comparison), T, (2.0, 1.0), "0 < k < 10 asks for a truth value"
    ),
    UntraceableCase("minimum_of_two", _same(minimum_of_two), T, (2.0, 1.0), "Python's min compares values"),
    UntraceableCase("while_loop", _same(while_loop), T, (2.0, 0.4), "a loop that ends by a value"),
    UntraceableCase("recursion", _same(recursion), T, (2.0, 0.1), "a recursion that ends by a value"),
    UntraceableCase("value_as_index", _same(value_as_index), T, (2.0, 3.0), "a parameter becomes an index"),
    UntraceableCase("value_as_length", _same(value_as_length), T, (2.0, 5.0), "a parameter is the length of a loop"),
    UntraceableCase("sorted_parameters", _same(sorted_parameters), None, (2.0, 1.0), "np.sort orders by value"),
    UntraceableCase("sorted_list", _same(sorted_list), None, (2.0, 1.0), "sorted orders by value"),
    UntraceableCase("largest_index", _same(largest_index), T, (2.0, 1.0), "argmax finds an index by value"),
    UntraceableCase("normalised_by_maximum", _same(normalised_by_maximum), T, START, "max over the data"),
    UntraceableCase("normalised_by_sum", _same(normalised_by_sum), T, START, "sum of a model over the data"),
    UntraceableCase("centred_by_mean", _same(centred_by_mean), T, (2.0, 1.0), "mean over the data"),
    UntraceableCase("scaled_by_largest_x", _same(scaled_by_largest_x), T, (2.0, 1.0), "max over the data"),
    UntraceableCase("running_sum", _same(running_sum), T, (2.0, 1.0), "a sum over earlier points"),
    UntraceableCase("mask_of_parameter", _same(mask_of_parameter), T, (2.0, 1.0, 2.53), "a mask from a parameter"),
    UntraceableCase("piecewise", _same(piecewise), T, (2.0, 1.0, 2.53), "np.piecewise picks points by a parameter"),
    UntraceableCase("interpolated", _same(interpolated), T, START, "np.interp has no protocol for its nodes"),
    UntraceableCase("searched", _same(searched), T, (1.03, 2.07), "searchsorted counts by value"),
    UntraceableCase("as_float", _same(as_float), None, START, "float(p) needs the value"),
    UntraceableCase("as_float_list", _same(as_float_list), None, START, "tolist needs the values"),
    UntraceableCase("rounded_to_text", _same(rounded_to_text), None, (2.0, 1.0), "formatting needs the value"),
    UntraceableCase("single_precision", _same(single_precision), None, START, "rounding to float32"),
    UntraceableCase("bits", _same(bits), None, START, "the bits of the values"),
    UntraceableCase("asks_for_type", _same(asks_for_type), None, START, "isinstance and type"),
    UntraceableCase("asks_for_attribute", _same(asks_for_attribute), None, START, "hasattr"),
    UntraceableCase("vectorised", _same(vectorised), T, (2.0, 1.0), "np.vectorize calls a function with a branch"),
    UntraceableCase("linear_solve", _same(linear_solve), None, (1.0, 0.5), "a linear system of parameters"),
    UntraceableCase("eigenvalues", _same(eigenvalues), None, (1.0, 0.5, 2.0), "eigenvalues of parameters"),
    UntraceableCase("differential_equation", _same(differential_equation), None, (1.5, 0.8), "odeint steps by value"),
    UntraceableCase("integral", _same(integral), T, (2.0, 1.0), "quad refines by value"),
    UntraceableCase("root", _same(root), T, (2.0, 1.0), "brentq converges by value"),
    UntraceableCase("with_units", _same(with_units), None, (2.0, 1.0), "a subclass of ndarray"),
    *(UntraceableCase(*entry) for entry in STATEFUL_FUNCTIONS),
)
