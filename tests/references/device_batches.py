"""Batches that are fitted on a device, or in its simulator, and on the processor: both must give the same.

Run as a program, in a process where ``NUMBA_ENABLE_CUDASIM=1`` was set from the start, it writes what the simulated
device makes of all of them into a file.
"""

import pickle
import sys
import warnings

import numpy as np

import nlsq

RNG = np.random.default_rng(20261126)
X = np.linspace(-3.0, 3.0, 14)
FIELDS = ("params", "cost", "status", "nfev", "nit", "points", "redone")
PROFILE = np.cos(X)
GRID = np.stack(np.meshgrid(np.linspace(-1.5, 1.5, 5), np.linspace(-1.0, 1.0, 4), indexing="ij")).reshape(2, -1)


def gaussian(x, height, centre, width, offset):
    return height * np.exp(-0.5 * ((x - centre) / width) ** 2) + offset


def spot(x, height, row, column, width, offset):
    return height * np.exp(-0.5 * ((x[0] - row) ** 2 + (x[1] - column) ** 2) / width**2) + offset


def two_decays(x, a, rate, b, other):
    return a * np.exp(-rate * x) + b * np.exp(-other * x)


def edge(x, height, centre, width, share):
    from scipy.special import expit

    return height * expit((x - centre) / width) + share * PROFILE


def roots(x, a, b, c):
    return a * np.cbrt(x + b) + c * (x + 3.5) ** 1.5 + np.hypot(x, b)


def logarithm(x, a, b):
    return np.log(a + b * x**2)


def noisy(model, x, params, scale=0.02):
    clean = np.array([model(x, *p) for p in params])
    return clean + scale * RNG.standard_normal(clean.shape)


PEAKS = np.array([[1.0, 0.2, 1.0, 0.1], [2.0, -0.3, 0.7, 0.5], [1.5, 0.5, 0.8, 0.0]])
Y = noisy(gaussian, X, PEAKS)
START = [1.0, 0.0, 1.0, 0.0]
HOLES = Y.copy()
HOLES[0, 3], HOLES[1, [0, 7]] = np.nan, np.inf
HOLES[2, 3:] = np.nan
OUTLIERS = Y.copy()
OUTLIERS[:, 4] += 3.0
OWN_X = X + np.array([[0.0], [0.1], [-0.2]])
MASK = np.zeros(Y.shape, dtype=bool)
MASK[1, 5:7] = True
SHARED = np.where(np.arange(14) == 2, 0.0, 1.0 + 0.1 * np.arange(14))
SPOTS = noisy(spot, GRID, [[2.0, 0.3, -0.1, 0.6, 0.2], [1.0, -0.2, 0.2, 0.8, 0.1], [1.5, 0.0, 0.3, 0.5, 0.0]])
EDGES = noisy(edge, X, [[1.0, 0.3, 0.5, 0.2], [2.0, -0.4, 0.8, 0.1]])
DECAYS = noisy(two_decays, X + 3.0, [[1.0, 0.5, 0.7, 2.0], [1.0, 1.0, 1.0, 1.0]], 1e-3)

CASES = {
    "gaussian": (gaussian, X, Y, START, {}),
    "two_variables": (spot, GRID, SPOTS, [1.5, 0.0, 0.0, 0.7, 0.0], {}),
    "bounds": (
        gaussian,
        X,
        Y,
        [1.0, 0.0, 0.7, 0.1],
        {"bounds": {"width": (0.1, np.array([0.9, 3.0, 0.75])), "offset": (0.05, np.inf)}},
    ),
    "held": (gaussian, X, Y, START, {"fixed": {"offset": np.array([0.1, 0.5, 0.0])}}),
    "missing": (gaussian, X, HOLES, START, {}),
    "mask": (gaussian, X, Y, START, {"mask": MASK, "weights": 1.0 + RNG.random(Y.shape)}),
    "shared_weights": (gaussian, X, HOLES, START, {"weights": SHARED}),
    "own_x": (gaussian, OWN_X, Y, START, {}),
    "own_x_and_sigma": (gaussian, OWN_X, HOLES, START, {"sigma": 0.5 + RNG.random(Y.shape)}),
    "huber": (gaussian, X, OUTLIERS, START, {"loss": "huber", "loss_scale": 0.1}),
    "huber_missing": (gaussian, X, HOLES + OUTLIERS - Y, START, {"loss": "huber", "loss_scale": 0.1}),
    "soft_l1_missing": (gaussian, X, HOLES + OUTLIERS - Y, START, {"loss": "soft_l1", "loss_scale": 0.1}),
    "arctan_missing": (gaussian, X, HOLES, START, {"loss": "arctan", "loss_scale": 0.2}),
    "cauchy": (gaussian, X, HOLES + OUTLIERS - Y, START, {"loss": "cauchy", "loss_scale": 0.2}),
    "own_functions": (edge, X, EDGES, [1.0, 0.0, 1.0, 0.0], {}),
    "roots": (roots, X, noisy(roots, X, [[2.0, 4.5, 0.2]]), [1.8, 5.0, 0.0], {}),
    "hard": (two_decays, X + 3.0, DECAYS, [1.0, 0.9, 1.0, 0.9001], {}),
    "not_finite": (logarithm, X, noisy(logarithm, X, [[1.0, 2.0]] * 2), np.array([[1.0, 1.0], [-1.0, 1.0]]), {}),
    "few_evaluations": (gaussian, X, Y, START, {"max_evaluations": 3}),
}  # fmt: skip


def fit(name, device):
    """Return what a case gives, by field."""
    model, x, y, start, options = CASES[name]
    result = nlsq.fit_batch(model, x, y, start, device=device, **options)
    found = {field: getattr(result, field) for field in FIELDS if hasattr(result, field)}
    return found | {"covariance": result.covariance, "fallbacks": result.fallbacks}


JACOBIANS = {"gaussian": (gaussian, X, PEAKS), "two_variables": (spot, GRID, RNG.random((3, 5)) + 0.5),
             "own_functions": (edge, X, RNG.random((2, 4)) + 0.5)}  # fmt: skip


def traced(name):
    from nlsq.compiler.tracing.trace import trace_model

    model, x, params = JACOBIANS[name]
    return trace_model(model, x, params.shape[1])


def device_jacobian(name):
    """Return the Jacobians of a model at some points, by the device."""
    from nlsq.compiler.compile import Binding, kernels_of
    from nlsq.compiler.kernel_source import Variant
    from nlsq.solvers.batch_cuda import jacobians

    trace = traced(name)
    kernels = kernels_of(trace)
    return jacobians(kernels, Binding(kernels, trace, Variant()), *JACOBIANS[name][1:])


if __name__ == "__main__":
    warnings.simplefilter("error")
    found = {name: fit(name, "cuda") for name in CASES}, {name: device_jacobian(name) for name in JACOBIANS}
    with open(sys.argv[1], "wb") as file:
        pickle.dump(found, file)
