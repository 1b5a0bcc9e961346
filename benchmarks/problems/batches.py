r"""Many small fits of one model, and single fits of millions of points.

Row k of a batch is   y_k = model(x, p_k) + e_k,   e_k normal or Poisson, from a seeded generator: every machine sees
the same data, and the first rows are the same whatever the size of the batch.

=========================== ==== === ======================================================================
problem                       m   n  parameters of the fits
=========================== ==== === ======================================================================
``spectra()``               100   4  a peak and an offset; one start for all
``spots(5)``, ``spots(7)``   25   5  a peak on a square of pixels, as single molecules look in a microscope;
                             49      drawn as in Gpufit's comparison of Gpufit with Cpufit [1]_
``decays()``                 64   3  an exponential decay of photon counts (Poisson) on an offset
``long_spectrum(m)``       any m  5  one fit: a peak on a sloping line
=========================== ==== === ======================================================================

The models are plain functions of NumPy.

References
----------
.. [1] A. Przybylski, B. Thiel, J. Keller-Findeisen, B. Stock and M. Bates, "Gpufit: An open-source toolkit for
   GPU-accelerated curve fitting", Scientific Reports 7 (2017) 15722. The file
   ``examples/Gpufit_Cpufit_Performance_Comparison.cpp`` of its source has amplitude 500, background 10, width 1, the
   centre of the image, each times a factor from 0.9 to 1.1, and a tenth of the mean signal as noise.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .curves import SEED, Curve, gaussian_model

__all__ = ["PROBLEMS", "Batch", "decays", "gaussian_2d", "long_spectrum", "peak_on_line", "spectra", "spots"]

ROWS_AT_ONCE = 4096  # rows whose noise is drawn together: what a row has does not depend on how many follow
START_SPREAD = 0.2  # of each parameter of a spot; Gpufit's comparison starts within 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Data sets to fit with one model.

    Attributes
    ----------
    name : str
        Name of the problem.
    model : callable
        ``model(x, *params) -> ndarray, shape (m,)``, plain NumPy.
    x : ndarray, shape (m,) or (k, m)
        Predictors, the same for all.
    y : ndarray, shape (B, m)
        Observations.
    p0 : ndarray, shape (n,) or (B, n)
        Start for all, or one for each.
    p_true : ndarray, shape (B, n)
        Parameters the data were drawn from.
    """

    name: str
    model: Callable[..., np.ndarray]
    x: np.ndarray
    y: np.ndarray
    p0: np.ndarray
    p_true: np.ndarray

    def start(self, k):
        """Return where fit k starts, shape (n,)."""
        return self.p0 if self.p0.ndim == 1 else self.p0[k]

    def cost(self, k, params):
        """Return half the sum of squares of fit k at `params`."""
        residual = self.model(self.x, *params) - self.y[k]
        return 0.5 * float(residual @ residual)


def gaussian_2d(x, a, x0, y0, s, b):
    """Return a exp(-((x[0] - x0)^2 + (x[1] - y0)^2) / (2 s^2)) + b."""
    return a * np.exp(-((x[0] - x0) ** 2 + (x[1] - y0) ** 2) / (2.0 * s**2)) + b


def decay(t, amplitude, lifetime, offset):
    """Return amplitude exp(-t / lifetime) + offset."""
    return amplitude * np.exp(-t / lifetime) + offset


def peak_on_line(x, a, b, c, d, e):
    """Return a exp(-((x - b)/c)^2 / 2) + d + e x."""
    return a * np.exp(-(((x - b) / c) ** 2) / 2.0) + d + e * x


def spectra(size, seed=SEED):
    """Return offset Gaussians of amplitude 1 to 3 with noise of 0.05, all fitted from one start."""
    x = np.linspace(-5.0, 5.0, 100)

    def draw(rng, rows):
        p_true = rng.uniform([1.0, -1.0, 0.7, 0.0], [3.0, 1.0, 1.5, 0.5], size=(rows, 4))
        exact = gaussian_model(x, *p_true.T[:, :, np.newaxis])
        return p_true, exact + 0.05 * rng.standard_normal(exact.shape)

    p_true, y = _rows(draw, size, seed)
    return Batch(name="spectra", model=gaussian_model, x=x, y=y, p0=np.array([1.5, 0.0, 1.0, 0.1]), p_true=p_true)


def spots(width, size, seed=SEED):
    """Return bright spots on `width` x `width` pixels, each fitted from a start of its own."""
    row, column = np.mgrid[:width, :width].astype(float)
    x = np.stack([column.ravel(), row.ravel()])
    middle = 0.5 * (width - 1)
    typical = np.array([500.0, middle, middle, 1.0, 10.0])
    noise = 0.1 * 2.0 * np.pi / 4.292**2 * typical[0]  # a tenth of the signal's mean within the full width at 1/10

    def draw(rng, rows):
        p_true = typical * rng.uniform(0.9, 1.1, size=(rows, 5))
        exact = gaussian_2d(x[:, np.newaxis], *p_true.T[:, :, np.newaxis])
        p0 = p_true * rng.uniform(1.0 - START_SPREAD, 1.0 + START_SPREAD, size=(rows, 5))
        return p_true, exact + noise * rng.standard_normal(exact.shape), p0

    p_true, y, p0 = _rows(draw, size, seed)
    return Batch(name=f"spots {width} x {width}", model=gaussian_2d, x=x, y=y, p0=p0, p_true=p_true)


def decays(size, seed=SEED):
    """Return counts of photons in 64 bins of 0.2 ns, from lifetimes of 1 to 4 ns, fitted from starts read from them."""
    t = 0.2 * np.arange(64.0)

    def draw(rng, rows):
        p_true = rng.uniform([200.0, 1.0, 2.0], [800.0, 4.0, 8.0], size=(rows, 3))
        return p_true, rng.poisson(decay(t, *p_true.T[:, :, np.newaxis])).astype(float)

    p_true, y = _rows(draw, size, seed)
    offset = y[:, -8:].mean(axis=1)
    amplitude = np.maximum(y[:, :2].mean(axis=1) - offset, 1.0)
    area = 0.2 * (y - offset[:, np.newaxis]).sum(axis=1)
    p0 = np.stack([amplitude, np.clip(area / amplitude, 0.2, 10.0), offset], axis=1)
    return Batch(name="decays", model=decay, x=t, y=y, p0=p0, p_true=p_true)


def long_spectrum(m, seed=SEED):
    """Return one peak on a sloping line, of m points with noise of 0.1."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-5.0, 5.0, m)
    p_true = np.array([3.0, 0.5, 0.8, 1.0, 0.1])
    y = peak_on_line(x, *p_true)
    y += 0.1 * rng.standard_normal(m)
    p0 = np.array([2.0, 0.0, 1.0, 0.5, 0.0])
    return Curve(name="long_spectrum", model=peak_on_line, x=x, y=y, p0=p0, p_true=p_true, sigma=0.1)


PROBLEMS = {
    "spectra": spectra,
    "spots 5 x 5": lambda size, seed=SEED: spots(5, size, seed),
    "spots 7 x 7": lambda size, seed=SEED: spots(7, size, seed),
    "decays": decays,
}


def _rows(draw, size, seed):
    """Return arrays of `size` rows; `draw` makes some of them with a generator of their own."""
    parts = []
    for first in range(0, size, ROWS_AT_ONCE):
        rng = np.random.default_rng([seed, first])
        parts.append([array[: size - first] for array in draw(rng, ROWS_AT_ONCE)])
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
