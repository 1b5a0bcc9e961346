r"""Regression under constraints: shapes, given values, proportions, errors in both variables.

    monotone, convex     B z >= 0, with B z the slopes (second derivatives) of a polynomial at 50 points
    isotonic             x_1 <= x_2 <= ... <= x_40
    spline               a cubic spline with given values and slopes at its ends
    proportions          x >= 0, sum x = 1
    errors in variables  every measured pair has a true pair on the curve [1]_

References
----------
.. [1] I.-B. Tjoa and L. T. Biegler, "Reduced successive quadratic programming strategy for errors-in-variables
   estimation", Computers and Chemical Engineering 16(6), 523-533, 1992.
"""

import numpy as np
from numpy.polynomial import chebyshev
from scipy.interpolate import BSpline

from .problem import make

__all__ = ["problems"]

INF = np.inf

T40 = np.linspace(-1.0, 1.0, 40)
T50 = np.linspace(-1.0, 1.0, 50)
STEP_Y = np.tanh(4.0 * T40) + 0.25 * np.sin(15.0 * T40)
BOWL_Y = np.abs(T40) ** 1.5 + 0.1 * np.cos(19.0 * T40)


def chebyshev_matrix(t, degree, derivative=0):
    """Return the Chebyshev polynomials up to a degree, or their derivatives, at t, shape (t.size, degree + 1)."""
    columns = [chebyshev.chebval(t, chebyshev.chebder(np.eye(degree + 1)[k], derivative)) for k in range(degree + 1)]
    return np.stack(columns, axis=1)


def polynomial_problem(name, degree, y, derivative):
    """Return the fit of a polynomial one of whose derivatives must not be negative."""
    basis, shape = chebyshev_matrix(T40, degree), chebyshev_matrix(T50, degree, derivative)
    source = "shape-constrained regression"
    return make(name, source, lambda z: basis @ z - y, np.zeros(degree + 1), lambda z: shape @ z, 0.0, INF)


ISOTONIC_Y = np.log(np.arange(1.0, 41.0)) + 0.8 * np.sin(3.0 * np.arange(40.0) ** 1.3)


def spline_problem():
    """Return the fit of a spline of 12 coefficients that begins at 0 with slope 0 and ends at 1 with slope 2."""
    knots = np.concatenate([np.zeros(3), np.linspace(0.0, 1.0, 10), np.ones(3)])
    t = np.linspace(0.0, 1.0, 50)
    basis = BSpline.design_matrix(t, knots, 3).toarray()
    ends = np.zeros((4, 12))
    slope = 3.0 / (knots[4] - knots[1])
    ends[0, 0], ends[1, :2], ends[2, -1], ends[3, -2:] = 1.0, [-slope, slope], 1.0, [-slope, slope]
    y, given = t**2 + 0.2 * np.sin(12.0 * t) + 0.3, np.array([0.0, 0.0, 1.0, 2.0])
    source = "regression with given values and slopes"
    return make("spline_fixed_ends", source, lambda z: basis @ z - y, np.zeros(12), lambda z: ends @ z, given, given)


BANDS = np.linspace(0.0, 1.0, 60)
SPECTRA = np.exp(-((BANDS[:, None] - np.linspace(0.05, 0.95, 10)) ** 2) / 0.02)
MIXED = SPECTRA @ np.array([0.0, 0.3, 0.0, 0.25, 0.0, 0.0, 0.35, 0.05, 0.0, 0.0]) + 0.03 * np.sin(40.0 * BANDS)

DAYS, ASSETS = np.arange(1.0, 121.0)[:, None], np.arange(1.0, 31.0)
RETURNS = 0.01 * np.sin(0.3 * DAYS) + 0.012 * np.sin(DAYS * (1.0 + 0.37 * ASSETS)) + 0.0001 * ASSETS
INDEX = RETURNS @ (np.sqrt(ASSETS) / np.sum(np.sqrt(ASSETS))) + 0.002 * np.sin(2.7 * DAYS[:, 0])
MEANS = np.mean(RETURNS, axis=0)

TRUE_X = np.linspace(0.3, 6.0, 12)
MEASURED_X = TRUE_X + 0.1 * np.sin(5.0 * np.arange(12.0))
MEASURED_Y = 2.0 * TRUE_X / (0.8 + TRUE_X) + 0.05 * np.cos(3.0 * np.arange(12.0))


def measured_pairs_residual(p):
    """Return the errors of both coordinates, in units of their standard deviations."""
    return np.concatenate([(p[2:14] - MEASURED_X) / 0.1, (p[14:] - MEASURED_Y) / 0.05])


def pairs_on_curve(p):
    x, y = p[2:14], p[14:]
    return y * (p[1] + x) - p[0] * x


def problems():
    """Yield the problems."""
    yield polynomial_problem("monotone_polynomial", 7, STEP_Y, 1)
    yield polynomial_problem("convex_polynomial", 8, BOWL_Y, 2)
    start = np.zeros(40)
    yield make("isotonic", "isotonic regression", lambda x: x - ISOTONIC_Y, start, lambda x: x[1:] - x[:-1], 0.0, INF)
    yield spline_problem()
    yield make(
        "simplex_mixture",
        "proportions on the simplex",
        lambda x: SPECTRA @ x - MIXED,
        np.full(10, 0.1),
        lambda x: np.array([np.sum(x)]),
        1.0,
        1.0,
        lb=0.0,
        ub=1.0,
    )
    limits = [1.0, np.sum(0.9 * MEANS[-10:] / 10.0)]
    yield make(
        "index_tracking",
        "proportions on the simplex, caps, given mean",
        lambda x: 100.0 * (RETURNS @ x - INDEX),
        np.full(30, 1.0 / 30.0),
        lambda x: np.array([np.sum(x), MEANS @ x]),
        limits,
        limits,
        lb=0.0,
        ub=0.1,
    )
    yield make(
        "errors_in_variables",
        "TB 1991 type",
        measured_pairs_residual,
        np.concatenate([[1.0, 1.0], MEASURED_X, MEASURED_Y]),
        pairs_on_curve,
        lb=np.concatenate([[1e-3, 1e-3], np.full(24, -INF)]),
    )
