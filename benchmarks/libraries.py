"""The functions that are compared, by library, and the forms in which a user's function reaches them."""

import functools
from importlib import import_module

import numpy as np

from .problems import curves

__all__ = ["CURVES", "LIBRARIES", "Counted", "branching", "by_address", "function", "load_curve"]

LIBRARIES = ["nlsq", "scipy"]
CURVES = ["gaussian", "misra1a"]  # the two fits whose times are quoted
_MODULES = {"nlsq": "nlsq", "scipy": "scipy.optimize"}


def function(library, name):
    """Return ``curve_fit``, ``least_squares`` or ``leastsq`` of a library."""
    return getattr(import_module(_MODULES[library]), name)


@functools.cache
def load_curve(name):
    """Return one of the two timing problems."""
    return getattr(curves, name)()


class Counted:
    """A function that counts its calls and keeps the arguments of the last one."""

    def __init__(self, function):
        self.function, self.calls, self.arguments = function, 0, ()

    def __call__(self, *arguments):
        self.calls += 1
        self.arguments = arguments
        return self.function(*arguments)


def _branching_gaussian(x, a, b, c, d):
    if c == 0.0:
        return np.full(x.shape, np.inf)
    return a * np.exp(-(((x - b) / c) ** 2) / 2.0) + d


def _branching_misra1a(x, b1, b2):
    if b2 == 0.0:
        return np.zeros(x.shape)
    return b1 * (1.0 - np.exp(-b2 * x))


_BRANCHING = {"gaussian": _branching_gaussian, "misra1a": _branching_misra1a}


@functools.cache
def branching(name, kind):
    """Return the model or residual of a timing problem with a branch on a value: it has no graph, and is called."""
    model, curve = _BRANCHING[name], load_curve(name)
    return model if kind == "model" else lambda p: model(curve.x, *p) - curve.y


@functools.cache
def jitted(name, kind):
    """Return the njit model ``f(x, *p)`` of a timing problem, or its njit residual ``f(p)``."""
    from numba import njit

    curve = load_curve(name)
    model = njit(error_model="numpy")(curve.model)
    return model if kind == "model" else njit(error_model="numpy")(_RESIDUALS[curve.p0.size](model, curve.x, curve.y))


@functools.cache
def by_address(name, kind):
    """Return the same, made by ``nlsq.compile``: the solvers call it without Python in between."""
    from nlsq import compile

    return compile(jitted(name, kind), kind=kind)


def _two_parameters(model, x, y):
    return lambda p: model(x, p[0], p[1]) - y


def _four_parameters(model, x, y):
    return lambda p: model(x, p[0], p[1], p[2], p[3]) - y


_RESIDUALS = {2: _two_parameters, 4: _four_parameters}  # numba unpacks no array into arguments
