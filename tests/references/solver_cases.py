"""Every solver and a short list of problems, shared by the solver tests."""

import numpy as np

from benchmarks.problems import bounded, curves, robust
from benchmarks.problems import more_garbow_hillstrom as mgh
from nlsq import (
    Dogbox,
    GaussNewton,
    GradientDescent,
    InteriorPoint,
    LeastSquaresProblem,
    LevenbergMarquardt,
    LineSearch,
    Nielsen,
    TrustRegionReflective,
)
from nlsq.solvers import ProjectedGradient

SOLVERS = {
    "lm": LevenbergMarquardt(),
    "lm-qr": LevenbergMarquardt(linear_solver="qr"),
    "lm-cholesky": LevenbergMarquardt(linear_solver="cholesky"),
    "nielsen": LevenbergMarquardt(damping=Nielsen()),
    "trf": TrustRegionReflective(),
    "trf-qr": TrustRegionReflective(linear_solver="qr"),
    "dogbox": Dogbox(),
    "gauss-newton": GaussNewton(),
    "search": GaussNewton(line_search=LineSearch()),
    "gradient": GradientDescent(),
    "projected-gradient": ProjectedGradient(),
    "interior-point": InteriorPoint(),
}
DAMPED = [name for name in SOLVERS if name not in ("gauss-newton", "projected-gradient", "interior-point")]
TAKES_BOUNDS = ["trf", "trf-qr", "dogbox", "gradient"]
SECOND_ORDER = [name for name in SOLVERS if name not in ("gauss-newton", "gradient", "projected-gradient")]
EASY_FOR_ALL = ("gaussian", "decay", "logistic", "misra1a", "hill", "power_law")  # from starts a user would write down


def curve_problems():
    return {curve.name: curve for curve in curves.all_curves()}


def mgh_problems():
    names = ("rosenbrock", "helical_valley", "beale", "bard", "wood", "kowalik_osborne", "brown_dennis", "box")
    return {name: mgh.load(name) for name in names}


def bounded_problems():
    return {one.name: one for one in bounded.all_problems()}


def robust_problems():
    return {one.name: one for one in robust.all_problems()}


def as_problem(one, **arguments):
    """Make a LeastSquaresProblem of any problem of the collection."""
    start = getattr(one, "p0", None)
    if start is None:
        start = one.x0
    if hasattr(one, "lower"):
        arguments.setdefault("bounds", (one.lower, one.upper))
    if hasattr(one, "jacobian"):
        arguments.setdefault("jac", one.jacobian)
    return LeastSquaresProblem(one.residual, start, **arguments)


def rosenbrock(x):
    return np.array([1.0 - x[0], 10.0 * (x[1] - x[0] ** 2)])
