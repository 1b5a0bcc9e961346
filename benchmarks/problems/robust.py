r"""Fits to data with gross outliers.

Data are   y_i = model(x_i, p_true) + sigma e_i + o_i   with e_i standard normal and o_i = 0 except at the
marked outliers, all drawn from a seeded generator. A robust fit minimises sum_i s^2 rho((r_i/s)^2) / 2 with a
loss such as soft l1 and the scale s = `loss_scale`; it should come within `tolerance` of p_true (largest
relative error), where least squares is pulled away by more than that.

References
----------
.. [1] P. J. Huber and E. M. Ronchetti, Robust Statistics, 2nd ed., Wiley, 2009, chapter 7.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["RobustProblem", "all_problems", "decay", "line", "line_one_sided", "peak", "sine"]

SEED = 20240502


@dataclass(frozen=True, kw_only=True, eq=False)
class RobustProblem:
    """One curve with outliers.

    Attributes
    ----------
    name : str
        Name of the problem.
    model : callable
        ``model(x, *params) -> ndarray, shape (m,)``, plain numpy.
    gradient : callable
        ``gradient(x, *params) -> ndarray, shape (m, n)``, the exact derivatives of the model.
    x, y : ndarray, shape (m,)
        Predictor and observations.
    x0 : ndarray, shape (n,)
        Start.
    p_true : ndarray, shape (n,)
        Parameters behind the data.
    outliers : ndarray of bool, shape (m,)
        Which observations are gross errors.
    sigma : float
        Standard deviation of the good data.
    loss_scale : float
        Scale s to fit with, in units of y.
    tolerance : float
        Largest relative parameter error a robust fit may have.
    """

    name: str
    model: Callable[..., np.ndarray]
    gradient: Callable[..., np.ndarray]
    x: np.ndarray
    y: np.ndarray
    x0: np.ndarray
    p_true: np.ndarray
    outliers: np.ndarray
    sigma: float
    loss_scale: float
    tolerance: float

    def residual(self, params):
        """Return model(x, params) - y, shape (m,)."""
        return self.model(self.x, *params) - self.y

    def jacobian(self, params):
        """Return dr_i/dp_j, shape (m, n)."""
        return self.gradient(self.x, *params)

    def error(self, params):
        """Return the largest relative error of `params`."""
        return float(np.max(np.abs(np.asarray(params) - self.p_true) / np.abs(self.p_true)))


def line_model(x, a, b):
    """Return a + b x."""
    return a + b * x


def line_gradient(x, a, b):
    """Return the derivatives of `line_model`."""
    return np.stack([np.ones_like(x), x], axis=1)


def decay_model(x, a, k, c):
    """Return a exp(-k x) + c."""
    return a * np.exp(-k * x) + c


def decay_gradient(x, a, k, c):
    """Return the derivatives of `decay_model`."""
    e = np.exp(-k * x)
    return np.stack([e, -a * x * e, np.ones_like(x)], axis=1)


def sine_model(x, a, w, phase):
    """Return a sin(w x + phase)."""
    return a * np.sin(w * x + phase)


def sine_gradient(x, a, w, phase):
    """Return the derivatives of `sine_model`."""
    angle = w * x + phase
    return np.stack([np.sin(angle), a * x * np.cos(angle), a * np.cos(angle)], axis=1)


def peak_model(x, a, b, c, d):
    """Return a exp(-((x - b)/c)^2 / 2) + d."""
    return a * np.exp(-(((x - b) / c) ** 2) / 2.0) + d


def peak_gradient(x, a, b, c, d):
    """Return the derivatives of `peak_model`."""
    u = (x - b) / c
    bell = np.exp(-(u**2) / 2.0)
    return np.stack([bell, a * bell * u / c, a * bell * u**2 / c, np.ones_like(x)], axis=1)


def _make(name, model, gradient, x, p_true, x0, *, sigma, size, fraction, tolerance, one_sided=False):
    """Return a problem whose outliers have magnitude `size` to 2 `size`, on `fraction` of the points."""
    rng = np.random.default_rng(SEED)
    p_true, x0 = np.array(p_true, dtype=float), np.array(x0, dtype=float)
    outliers = np.zeros(x.size, dtype=bool)
    outliers[rng.choice(x.size, round(fraction * x.size), replace=False)] = True
    sign = np.ones(x.size) if one_sided else rng.choice([-1.0, 1.0], x.size)
    gross = np.where(outliers, sign * rng.uniform(size, 2.0 * size, x.size), 0.0)
    y = model(x, *p_true) + sigma * rng.standard_normal(x.size) + gross
    return RobustProblem(
        name=name,
        model=model,
        gradient=gradient,
        x=x,
        y=y,
        x0=x0,
        p_true=p_true,
        outliers=outliers,
        sigma=sigma,
        loss_scale=2.0 * sigma,
        tolerance=tolerance,
    )


def line():
    """Return a straight line, outliers to both sides."""
    x = np.linspace(0.0, 10.0, 50)
    options = {"sigma": 0.1, "size": 5.0, "fraction": 0.2, "tolerance": 0.1}
    return _make("line", line_model, line_gradient, x, [1.0, 0.5], [0.0, 0.0], **options)


def line_one_sided():
    """Return a straight line, all outliers above it."""
    x = np.linspace(0.0, 10.0, 50)
    options = {"sigma": 0.1, "size": 5.0, "fraction": 0.2, "tolerance": 0.1, "one_sided": True}
    return _make("line_one_sided", line_model, line_gradient, x, [1.0, 0.5], [0.0, 0.0], **options)


def decay():
    """Return an exponential decay with a tenth of the points wrong."""
    x = np.linspace(0.0, 5.0, 80)
    options = {"sigma": 0.05, "size": 2.0, "fraction": 0.1, "tolerance": 0.1}
    return _make("decay", decay_model, decay_gradient, x, [3.0, 1.2, 0.5], [1.0, 1.0, 0.0], **options)


def sine():
    """Return a sine wave with a fifth of the points wrong."""
    x = np.linspace(0.0, 8.0, 100)
    options = {"sigma": 0.1, "size": 3.0, "fraction": 0.2, "tolerance": 0.15}
    return _make("sine", sine_model, sine_gradient, x, [2.0, 1.5, 0.4], [1.5, 1.6, 0.2], **options)


def peak():
    """Return a Gaussian peak with upward spikes, as cosmic rays leave in a spectrum."""
    x = np.linspace(-5.0, 5.0, 120)
    options = {"sigma": 0.1, "size": 4.0, "fraction": 0.08, "tolerance": 0.1, "one_sided": True}
    return _make("peak", peak_model, peak_gradient, x, [4.0, 0.5, 0.9, 1.0], [3.0, 0.0, 1.0, 0.5], **options)


def all_problems():
    """Return every robust problem."""
    return tuple(build() for build in (line, line_one_sided, decay, sine, peak))
