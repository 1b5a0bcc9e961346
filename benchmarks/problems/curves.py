r"""Small synthetic curves, among them the two fits whose times are quoted everywhere.

Each curve is   y_i = model(x_i, p_true) + e_i,   e_i normal with standard deviation `sigma`, drawn from a
seeded generator, so that every machine sees the same data. `p0` is a start a user would write down.

The timing problems are ``gaussian()`` (m = 100, n = 4, the offset Gaussian of most spectra) and ``misra1a()``
(m = 14, n = 2, NIST's Misra1a from its second start [1]_). Many at once are in `batches`.

References
----------
.. [1] National Institute of Standards and Technology, Statistical Reference Datasets: Nonlinear Regression.
   doi:10.18434/T43G6C
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import nist

__all__ = [
    "Curve",
    "all_curves",
    "damped_sine",
    "decay",
    "gaussian",
    "gaussian_surface",
    "hill",
    "logistic",
    "misra1a",
    "power_law",
    "two_peaks",
]

SEED = 20240501


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """One curve to fit.

    Attributes
    ----------
    name : str
        Name of the curve.
    model : callable
        ``model(x, *params) -> ndarray, shape (m,)``, plain numpy.
    x : ndarray, shape (m,) or (k, m)
        Predictors.
    y : ndarray, shape (m,)
        Observations.
    p0 : ndarray, shape (n,)
        Start.
    p_true : ndarray, shape (n,)
        Parameters the data were drawn from (certified values for NIST data).
    sigma : float
        Standard deviation of the noise.
    """

    name: str
    model: Callable[..., np.ndarray]
    x: np.ndarray
    y: np.ndarray
    p0: np.ndarray
    p_true: np.ndarray
    sigma: float

    def residual(self, params):
        """Return model(x, params) - y, shape (m,)."""
        return self.model(self.x, *params) - self.y


def gaussian_model(x, a, b, c, d):
    """Return a exp(-((x - b)/c)^2 / 2) + d."""
    return a * np.exp(-(((x - b) / c) ** 2) / 2.0) + d


def decay_model(x, a, k, c):
    """Return a exp(-k x) + c."""
    return a * np.exp(-k * x) + c


def logistic_model(x, top, rate, middle):
    """Return top / (1 + exp(-rate (x - middle)))."""
    return top / (1.0 + np.exp(-rate * (x - middle)))


def damped_sine_model(x, a, k, w, phase):
    """Return a exp(-k x) sin(w x + phase)."""
    return a * np.exp(-k * x) * np.sin(w * x + phase)


def power_law_model(x, a, b, c):
    """Return a x^b + c."""
    return a * x**b + c


def hill_model(x, bottom, top, half, slope):
    """Return bottom + (top - bottom) / (1 + (half/x)^slope)."""
    return bottom + (top - bottom) / (1.0 + (half / x) ** slope)


def two_peaks_model(x, a1, b1, c1, a2, b2, c2, d0, d1):
    """Return two Gaussians on a sloping line."""
    first = a1 * np.exp(-(((x - b1) / c1) ** 2) / 2.0)
    second = a2 * np.exp(-(((x - b2) / c2) ** 2) / 2.0)
    return first + second + d0 + d1 * x


def gaussian_surface_model(x, a, b0, b1, c0, c1, d):
    """Return a exp(-((x0 - b0)/c0)^2 / 2 - ((x1 - b1)/c1)^2 / 2) + d, with x of shape (2, m)."""
    return a * np.exp(-(((x[0] - b0) / c0) ** 2 + ((x[1] - b1) / c1) ** 2) / 2.0) + d


def _make(name, model, x, p_true, p0, sigma, seed=SEED):
    """Return the curve of `model` at `p_true`, with noise."""
    p_true, p0 = np.array(p_true, dtype=float), np.array(p0, dtype=float)
    exact = model(x, *p_true)
    y = exact + sigma * np.random.default_rng(seed).standard_normal(exact.shape)
    return Curve(name=name, model=model, x=x, y=y, p0=p0, p_true=p_true, sigma=sigma)


def gaussian(m=100, seed=SEED):
    """Return the offset Gaussian, n = 4: the standard timing problem at m = 100."""
    x = np.linspace(-5.0, 5.0, m)
    return _make("gaussian", gaussian_model, x, [3.0, 0.5, 0.8, 1.0], [2.0, 0.0, 1.0, 0.5], 0.1, seed)


def misra1a():
    """Return NIST's Misra1a from its second start: the small timing problem, m = 14, n = 2."""
    problem = nist.load("Misra1a")
    return Curve(
        name="misra1a",
        model=problem.model,
        x=problem.x.copy(),
        y=problem.y.copy(),
        p0=problem.starts[1].copy(),
        p_true=problem.certified.copy(),
        sigma=problem.certified_residual_std,
    )


def decay(m=60, seed=SEED):
    """Return an exponential decay to a constant, n = 3."""
    return _make("decay", decay_model, np.linspace(0.0, 4.0, m), [2.5, 1.3, 0.5], [1.0, 1.0, 0.0], 0.1, seed)


def logistic(m=50, seed=SEED):
    """Return a logistic growth curve, n = 3."""
    return _make("logistic", logistic_model, np.linspace(0.0, 10.0, m), [8.0, 1.4, 4.5], [6.0, 1.0, 5.0], 0.15, seed)


def damped_sine(m=200, seed=SEED):
    """Return a damped oscillation, n = 4."""
    x = np.linspace(0.0, 10.0, m)
    return _make("damped_sine", damped_sine_model, x, [2.0, 0.2, 3.0, 0.4], [1.5, 0.1, 2.9, 0.0], 0.1, seed)


def power_law(m=80, seed=SEED):
    """Return a power law on a constant, n = 3."""
    return _make("power_law", power_law_model, np.linspace(0.1, 5.0, m), [1.5, 1.7, 0.3], [1.0, 1.0, 0.0], 0.1, seed)


def hill(m=40, seed=SEED):
    """Return a dose-response curve on a logarithmic grid, n = 4."""
    x = np.logspace(-2.0, 2.0, m)
    return _make("hill", hill_model, x, [0.1, 2.0, 1.5, 1.2], [0.0, 1.5, 1.0, 1.0], 0.05, seed)


def two_peaks(m=300, seed=SEED):
    """Return two overlapping Gaussians on a sloping line, n = 8."""
    p_true = [4.0, 3.5, 0.7, 2.5, 5.5, 0.9, 1.0, 0.1]
    p0 = [3.0, 3.0, 1.0, 2.0, 6.0, 1.0, 0.5, 0.0]
    return _make("two_peaks", two_peaks_model, np.linspace(0.0, 10.0, m), p_true, p0, 0.08, seed)


def gaussian_surface(side=20, seed=SEED):
    """Return an image spot, two predictors of shape (2, side^2), n = 6."""
    axis = np.linspace(-3.0, 3.0, side)
    x = np.stack([grid.ravel() for grid in np.meshgrid(axis, axis, indexing="ij")])
    p_true, p0 = [5.0, 0.4, -0.3, 0.9, 1.2, 0.5], [4.0, 0.0, 0.0, 1.0, 1.0, 0.0]
    return _make("gaussian_surface", gaussian_surface_model, x, p_true, p0, 0.1, seed)


def all_curves():
    """Return every curve at its default size."""
    builders = (gaussian, misra1a, decay, logistic, damped_sine, power_law, hill, two_peaks, gaussian_surface)
    return tuple(build() for build in builders)
