r"""Schittkowski's further problems whose objective is a sum of squares, less repetitions of the first book.

The objective of 326 is a sum of squares less 89, which is added to the published value. Problems 316, 320 and 322
start where the gradient of the only constraint is zero.

References
----------
.. [1] K. Schittkowski, More Test Examples for Nonlinear Programming Codes, Lecture Notes in Economics and
   Mathematical Systems 282, Springer, 1987.
"""

import numpy as np

from ..mgh_variable import extended_powell_residual
from .problem import make

__all__ = ["problems"]

INF = np.inf


def s(number, residual, x0, constraints=None, cl=0.0, cu=0.0, *, published, **bounds):
    """Return problem `number` of the book."""
    return make(f"s{number}", f"S {number}", residual, x0, constraints, cl, cu, published=published, **bounds)


def on_ellipse(square):
    """Return c(x) of problems 316 to 322: an ellipse with half axes 10 and sqrt(square)."""
    return lambda x: np.array([0.01 * x[0] ** 2 + x[1] ** 2 / square - 1.0])


S373_RATES = np.array([-5.0, -3.0, -1.0, 1.0, 3.0, 5.0])
S373_DATA = np.array([127.0, 151.0, 379.0, 421.0, 460.0, 426.0])


def s373_curve(x):
    return x[0] + x[1] * np.exp(S373_RATES * x[2]) - S373_DATA


def s372_constraints(x):
    return np.concatenate([x[3:] + s373_curve(x), x[3:] - s373_curve(x)])


def s394_residual(x):
    weights = np.sqrt(np.arange(1.0, x.size + 1.0))
    return np.concatenate([weights * x, weights * x**2])


def problems():
    """Yield the problems in the order of the book."""
    yield s(
        216,
        lambda x: np.array([10.0 * (x[0] ** 2 - x[1]), x[0] - 1.0]),
        [-1.2, 1.0],
        lambda x: np.array([x[0] * (x[0] - 4.0) - 2.0 * x[1] + 12.0]),
        published=None,  # the book's point (2, 4) with value 1 is not stationary
    )
    yield s(
        227,
        lambda x: x - np.array([2.0, 1.0]),
        [0.5, 0.5],
        lambda x: np.array([x[1] - x[0] ** 2, x[0] - x[1] ** 2]),
        0.0,
        INF,
        published=1.0,
    )
    yield s(
        252,
        lambda x: np.array([0.1 * (x[0] - 1.0), x[1] - x[0] ** 2]),
        [-1.0, 2.0, 2.0],
        lambda x: np.array([x[0] + x[2] ** 2 + 1.0]),
        ub=[-1.0, INF, INF],
        published=0.04,
    )
    far = np.array([20.0, -20.0])
    for number, square, minimum in ((316, 100.0, 334.31458), (320, 4.0, 485.53146), (322, 0.01, 499.96001)):
        yield s(number, lambda x: x - far, [0.0, 0.0], on_ellipse(square), published=minimum)
    yield s(
        323,
        lambda x: x - np.array([2.0, 0.0]),
        [0.0, 1.0],
        lambda x: np.array([x[0] - x[1] + 2.0, -(x[0] ** 2) + x[1] - 1.0]),
        0.0,
        INF,
        lb=0.0,
        published=3.79894,
    )
    yield s(
        326,
        lambda x: x - np.array([8.0, 5.0]),
        [4.0, 3.0],
        lambda x: np.array(
            [
                11.0 - x[0] ** 2 + 6.0 * x[0] - 4.0 * x[1],
                x[0] * x[1] - 3.0 * x[1] - np.exp(x[0] - 3.0) + 1.0,
            ]
        ),
        0.0,
        INF,
        lb=0.0,
        published=89.0 - 79.80782,
    )
    start, total = [3.0, -1.0, 0.0, 1.0], lambda x: np.array([np.sum(x) - 1.0])
    yield s(354, extended_powell_residual, start, total, 0.0, INF, ub=20.0, published=0.11378386)
    start = [300.0, -100.0, -0.1997, -127.0, -151.0, 379.0, 421.0, 460.0, 426.0]
    lower = [-INF] * 3 + [0.0] * 6
    yield s(372, lambda x: 1.0 * x[3:], start, s372_constraints, 0.0, INF, lb=lower, published=13390.093)
    yield s(373, lambda x: 1.0 * x[3:], start, lambda x: x[3:] + s373_curve(x), published=13390.093)
    for number, n, minimum in ((394, 20, 1.9166667), (395, 50, 1.9166668)):
        yield s(number, s394_residual, np.full(n, 2.0), lambda x: np.array([x @ x - 1.0]), published=minimum)
