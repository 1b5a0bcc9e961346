"""Curves as compiled functions, shared by the tests of functions called by address."""

import numba
import numpy as np

from benchmarks.problems import curves
from nlsq import compile

GAUSSIAN = numba.njit(curves.gaussian_model)
MODELS = {
    "gaussian": (compile(GAUSSIAN), curves.gaussian()),
    "decay": (compile(numba.njit(curves.decay_model)), curves.decay()),
    "logistic": (compile(numba.njit(curves.logistic_model)), curves.logistic()),
    "damped_sine": (compile(numba.njit(curves.damped_sine_model)), curves.damped_sine()),
    "hill": (compile(numba.njit(curves.hill_model)), curves.hill()),
    "surface": (compile(numba.njit(curves.gaussian_surface_model)), curves.gaussian_surface()),
}


def residual_of(name):
    """Return the compiled residual of a curve and its start."""
    function, curve = MODELS[name]
    return function.bind_data(np.ascontiguousarray(curve.x), curve.y), curve.p0
