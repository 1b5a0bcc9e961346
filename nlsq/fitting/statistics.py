r"""What follows from a fit by linear error propagation: intervals, bands, the scatter about a constant.

With C the covariance, g = d model(x, p) / dp and t the quantile for the level,

    p_j -+ t sqrt(C_jj)            interval of a parameter
    model(x, p) -+ t sqrt(g'C g)   band of the curve

References
----------
.. [1] G. A. F. Seber and C. J. Wild, "Nonlinear Regression", Wiley 1989, section 5.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.data import CurveData, read_predictors
from nlsq.fitting.named import NamedArray, named
from nlsq.fitting.task import LOST_MODEL

if TYPE_CHECKING:
    from nlsq.fitting.result import FitResult

FloatArray = NDArray[np.float64]
LATER = ("profile", "bootstrap")
UNSEEN_SHARE = 1e-6  # of a derivative along what the data do not identify, at which a prediction is unknown


class Prediction(NamedTuple):
    """Values of a model and the confidence band around them, each of the shape that the model returns."""

    values: Any
    lower: Any
    upper: Any


def quantile(result: FitResult, level: float) -> float:
    """Return the factor of the standard error: Student's quantile, or the normal one where the errors are known.

    Raises
    ------
    ValueError
        If the level is not between 0 and 1.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be between 0 and 1, such as 0.95, got {level!r}.")
    from scipy.special import ndtri, stdtrit

    upper_tail = 0.5 + 0.5 * level
    if result._core.task.absolute_sigma:
        return float(ndtri(upper_tail))
    return float(stdtrit(result.dof, upper_tail)) if result.dof > 0 else np.nan


def linear_intervals(result: FitResult, level: float, method: str) -> NamedArray:
    """Return the intervals of all parameters; see `FitResult.confidence_intervals`."""
    if method in LATER:
        raise NotImplementedError(f"method={method!r} comes with version 0.3; only 'linear' is there now.")
    if method != "linear":
        raise ValueError(f"method must be 'linear', got {method!r}.")
    stderr = np.asarray(result.stderr)
    half = np.where(stderr == 0.0, 0.0, quantile(result, level) * stderr)
    params = np.asarray(result.params)
    return named(np.stack((params - half, params + half), axis=1), result.names)


def predict(result: FitResult, x: Any, level: float | None) -> Any:
    """Return values, or values and band; see `FitResult.predict`."""
    task = result._core.task
    if task.model is None:
        raise RuntimeError(LOST_MODEL)
    at = task.data.whole().x if x is None else read_predictors(x, 0)[0]
    params = np.asarray(result.params)
    values = np.asarray(task.model(at, *params))
    if level is None:
        return values
    factor = quantile(result, level)
    derivatives = model_derivatives(result, at, values)
    half = factor * np.sqrt(_variances(result, derivatives))
    if values.dtype.kind == "c":
        both = half[: values.size] + 1j * half[values.size :]
        return Prediction(values, values - both.reshape(values.shape), values + both.reshape(values.shape))
    half = half.reshape(values.shape)
    return Prediction(values, values - half, values + half)


def model_derivatives(result: FitResult, at: Any, values: NDArray[Any]) -> FloatArray:
    """Return the derivatives of the model's flattened values by the parameters that have an error.

    By the user's Jacobian if there is one, else by central differences within the bounds.
    """
    task, moved = result._core.task, result._moved
    params = np.array(result.params)
    is_complex = values.dtype.kind == "c"

    def stacked(array: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate((array.real, array.imag)) if is_complex else array

    if callable(task.jac) and not hasattr(task.jac, "prepare"):
        jac = np.asarray(task.jac(at, *params)).reshape(values.size, params.size)
        return np.asarray(stacked(jac)[:, moved], dtype=np.float64)

    def flat_values(p: FloatArray) -> FloatArray:
        point = params.copy()
        point[moved] = p
        value = np.broadcast_to(np.asarray(task.model(at, *point)), values.shape)
        return np.asarray(stacked(value.ravel()), dtype=np.float64)

    if moved.size == 0:
        return np.empty((values.size * (2 if is_complex else 1), 0))
    from nlsq.derivatives import CentralDifference

    first = flat_values(params[moved])
    lower, upper = (None, None) if task.lower is None or task.upper is None else (task.lower[moved], task.upper[moved])
    prepared = CentralDifference().prepare(flat_values, params[moved], first.size, lower=lower, upper=upper)
    derivatives: FloatArray = prepared.evaluate(params[moved], first, None)
    return derivatives


def _variances(result: FitResult, derivatives: FloatArray) -> FloatArray:
    """Return g'C g for each row of derivatives; NaN where g has a part along an unseen direction."""
    found = result._identification
    covariance = found.seen * result._variance_scale
    variances = np.einsum("ij,jk,ik->i", derivatives, covariance, derivatives)
    if found.null_directions.size:
        scaled = found.null_directions * found.scale
        scaled /= np.linalg.norm(scaled, axis=1, keepdims=True)
        rows = derivatives / found.scale
        along = np.abs(rows @ scaled.T).max(axis=1)
        variances[along > UNSEEN_SHARE * np.linalg.norm(rows, axis=1)] = np.nan
    return np.asarray(np.maximum(variances, 0.0))


def scatter_about_constant(data: CurveData) -> float:
    """Return the least chi2 of a constant for each output, and for real and imaginary parts of a complex y."""
    if data.streamed is not None:
        return data.streamed.scatter()
    size = int(np.prod(data.shape))
    outputs = size // data.shape[0]
    group = np.arange(size) % outputs
    if data.complex:
        group = np.concatenate((group, group + outputs))
    if data.keep is not None:
        group = group[data.keep]
    if data.factor is not None:
        indicators = np.zeros((group.size, int(group.max()) + 1))
        indicators[np.arange(group.size), group] = 1.0
        y, ones = data.whiten(data.y), data.whiten(indicators)
        scatter = y - ones @ np.linalg.lstsq(ones, y, rcond=None)[0]
        return float(scatter @ scatter)
    weights = np.broadcast_to(np.float64(1.0) if data.weights is None else data.weights, data.y.shape)
    squares = weights * weights
    total = np.bincount(group, squares)
    means = np.bincount(group, squares * data.y) / np.where(total > 0.0, total, 1.0)
    scatter = weights * (data.y - means[group])
    return float(scatter @ scatter)
