"""What `curve_fit` makes of a model and its data: parameters, start, missing values, weights, residual."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.problem import CompiledFunction
from nlsq.scipy_api.messages import NONFINITE_ARRAY

FloatArray = NDArray[np.float64]

NAN_POLICIES = (None, "raise", "omit")


def number_of_parameters(f: Callable[..., Any]) -> int:
    """Count the parameters of ``f(x, a, b, ...)`` after x; those that only keywords reach do not count.

    Raises
    ------
    ValueError
        If there are none, or the signature does not tell.
    """
    if isinstance(f, CompiledFunction):
        f = f.function
    names = getattr(f, "names", None)
    if names is not None and hasattr(f, "nlsq_route"):  # an nlsq.Model
        return len(names)
    if type(f) is FunctionType and not f.__dict__:
        count = f.__code__.co_argcount
    else:
        from inspect import Parameter, signature

        positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
        count = sum(parameter.kind in positional for parameter in signature(f).parameters.values())
    if count < 2:
        raise ValueError("Unable to determine number of fit parameters.")
    return count - 1


def feasible_start(lower: FloatArray, upper: FloatArray) -> FloatArray:
    """Return a start inside the bounds: the middle, one from a single bound, or one."""
    bounded_below, bounded_above = np.isfinite(lower), np.isfinite(upper)
    start = np.ones_like(lower)
    both = bounded_below & bounded_above
    start[both] = 0.5 * (lower[both] + upper[both])
    below = bounded_below & ~bounded_above
    start[below] = lower[below] + 1
    above = ~bounded_below & bounded_above
    start[above] = upper[above] - 1
    return start


def as_float(values: Any) -> FloatArray:
    """Return `values` as a float array."""
    return np.asarray(values, dtype=float)


def as_finite(values: Any) -> FloatArray:
    """Return `values` as a float array; ValueError if one of them is not finite."""
    array = np.asarray(values, dtype=float)
    # A sum of squares that is finite costs less to find than that all values are; otherwise look at them.
    if array.ndim == 1 and math.isfinite(array.dot(array)):
        return array
    if not np.isfinite(array).all():
        raise ValueError(NONFINITE_ARRAY)
    return array


def without_nan(xdata: Any, ydata: FloatArray, sigma: Any, nan_policy: Any) -> tuple[Any, FloatArray, Any]:
    """Apply a `nan_policy` to data that were not checked: raise, or leave out the points with NaN."""
    if nan_policy == "propagate":
        raise ValueError("`nan_policy='propagate'` is not supported by this function.")
    if nan_policy not in NAN_POLICIES:
        policies = ", ".join(repr(policy) for policy in NAN_POLICIES)
        raise ValueError(f"nan_policy must be one of {{{policies}}}")
    x_is_array = isinstance(xdata, np.ndarray)
    if not ((x_is_array and np.isnan(xdata).any()) or np.isnan(ydata).any()):
        return xdata, ydata, sigma
    if nan_policy == "raise":
        raise ValueError("The input contains nan values")
    missing = np.isnan(ydata)
    if x_is_array:
        missing = np.isnan(xdata).any(axis=tuple(range(xdata.ndim - 1))) | missing
        xdata = xdata[..., ~missing]
    if sigma is not None:
        sigma = np.asarray(sigma)
        if sigma.ndim == 1:
            sigma = sigma[~missing]
        elif sigma.ndim == 2:
            sigma = sigma[~missing][:, ~missing]
    return xdata, ydata[~missing], sigma


class Whitening:
    """Turns residuals into residuals of unit variance.

    Parameters
    ----------
    sigma : array_like, scalar, (m,) or (m, m)
        Standard deviations, or the covariance of the data.
    size : int
        Number of data.

    Attributes
    ----------
    weights : ndarray or None
        1 / sigma, for standard deviations.
    factor : ndarray, shape (m, m), or None
        Lower Cholesky factor L of a covariance: residuals become ``L^-1 r``.

    Raises
    ------
    ValueError
        If the shape is wrong, a standard deviation is zero or NaN, or the covariance is not positive definite.
    """

    __slots__ = ("factor", "weights")

    def __init__(self, sigma: Any, size: int) -> None:
        sigma = np.asarray(sigma)
        self.weights: Any = None
        self.factor: FloatArray | None = None
        if sigma.size == 1 or sigma.shape == (size,):
            refuse_zero_and_nan(sigma)
            self.weights = 1.0 / sigma
        elif sigma.shape == (size, size):
            self.factor = cholesky_factor(sigma)
        else:
            raise ValueError("`sigma` has incorrect shape.")

    def apply(self, residual: Any) -> Any:
        """Return the residual, of unit variance."""
        return self.weights * residual if self.factor is None else self._solve(residual)

    def apply_to_rows(self, jac: NDArray[Any]) -> Any:
        """Return the Jacobian in the unit of the residual."""
        if self.factor is not None:
            return self._solve(jac)
        return (self.weights if self.weights.ndim == 0 else self.weights[:, np.newaxis]) * jac

    def _solve(self, values: Any) -> FloatArray:
        from scipy.linalg import solve_triangular

        factor: Any = self.factor
        solution: FloatArray = solve_triangular(factor, values, lower=True, check_finite=False)
        return solution


def refuse_zero_and_nan(sigma: NDArray[Any]) -> None:
    """Raise ValueError naming the first standard deviation that is zero or NaN; other types are left to arithmetic."""
    if sigma.dtype.kind not in "fiub":
        return
    wrong = (sigma == 0) | (sigma != sigma)
    if wrong.any():
        index = np.unravel_index(int(np.argmax(wrong)), sigma.shape)
        where = "".join(f"[{int(i)}]" for i in index)
        raise ValueError(f"`sigma` must not be zero or NaN: sigma{where} is {sigma[index]}.")


def cholesky_factor(covariance: NDArray[Any]) -> FloatArray:
    """Return the lower Cholesky factor of a covariance matrix."""
    values = covariance.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.all():
        i, j = np.unravel_index(int(np.argmin(finite)), values.shape)
        raise ValueError(f"{NONFINITE_ARRAY}: sigma[{int(i)}, {int(j)}] is {values[i, j]}.")
    try:
        factor: Any = np.linalg.cholesky(values)
    except np.linalg.LinAlgError as cause:
        raise ValueError("`sigma` must be positive definite.") from cause
    return factor  # type: ignore[no-any-return]
