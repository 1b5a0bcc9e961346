"""A picture of a fit: data and curve above, residuals below. matplotlib is imported here, when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nlsq.fitting.candidates import axes_of

if TYPE_CHECKING:
    from nlsq.fitting.data import CurveData
    from nlsq.fitting.result import FitResult


def draw(result: FitResult, figure: Any = None) -> Any:
    """Draw a fit; see `FitResult.plot`.

    Against x where it is one axis, else against the index of the data. Outputs of one point are drawn one after the
    other, real parts before imaginary parts.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plot() needs matplotlib: install it with `pip install matplotlib`.") from error
    data = result._core.task.data.whole()
    figure = plt.figure() if figure is None else figure
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes = axes_of(data.x)
    along_x = len(axes) == 1 and axes[0].size == data.y.size and data.keep is None and not data.complex
    at = axes[0] if along_x else np.arange(data.y.size)
    order = np.argsort(at, kind="stable")
    fitted = data.flatten(result.predict())
    upper.errorbar(at, data.y, yerr=_error_bars(result, data), fmt=".", label="data")
    upper.plot(at[order], fitted[order], label="fit")
    upper.set_ylabel("y")
    upper.legend()
    lower.axhline(0.0, color="0.7")
    lower.plot(at, result.residual, ".")
    lower.set_xlabel("x" if along_x else "index")
    lower.set_ylabel("residual")
    return figure


def _error_bars(result: FitResult, data: CurveData) -> Any:
    """Return standard deviations of the data, where they were given in its unit."""
    weights = data.weights
    if weights is None or not result._core.task.absolute_sigma:
        return None
    with np.errstate(divide="ignore"):
        sigma = 1.0 / np.broadcast_to(weights, data.y.shape)
    return np.where(np.isfinite(sigma), sigma, 0.0)
