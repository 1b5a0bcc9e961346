"""`scipy.optimize.curve_fit`: its arguments, results, messages, warnings and exceptions.

Departures from SciPy: residuals that are not finite raise RuntimeError ("Optimal parameters not found: ..."), as any failed fit does;
its ``result`` holds the best point. A standard deviation of zero or NaN raises ValueError. Single-precision data and models fit like others.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlsq.scipy_api.functions import Function
from nlsq.scipy_api.messages import LEASTSQ_SUCCESS
from nlsq.scipy_api.minpack import MinpackRun, covariance_of, details, minimise
from nlsq.scipy_api.model import Whitening, as_finite, feasible_start, number_of_parameters, without_nan
from nlsq.uncertainty.covariance import covariance_from_jacobian

FloatArray = NDArray[np.float64]

UNBOUNDED = (-np.inf, np.inf)
FAILED = "Optimal parameters not found: "
LEASTSQ_OPTIONS = {
    "ftol": 1.49012e-8,
    "xtol": 1.49012e-8,
    "gtol": 0.0,
    "maxfev": 0,
    "epsfcn": None,
    "factor": 100,
    "diag": None,
}


def curve_fit(
    f: Callable[..., Any],
    xdata: Any,
    ydata: ArrayLike,
    p0: ArrayLike | None = None,
    sigma: ArrayLike | None = None,
    absolute_sigma: bool = False,
    check_finite: bool | None = None,
    bounds: Any = UNBOUNDED,
    method: str | None = None,
    jac: Callable[..., Any] | str | None = None,
    *,
    full_output: bool = False,
    nan_policy: str | None = None,
    **kwargs: Any,
) -> tuple[Any, ...]:
    """Fit a function to data by nonlinear least squares, as ``scipy.optimize.curve_fit``.

    Parameters
    ----------
    f : callable
        Model ``f(x, a, b, ...)``.
    xdata : array_like or object
        Where the data were taken; handed to `f`. Lists, tuples and arrays become float arrays.
    ydata : array_like, shape (m,)
        The data.
    p0 : array_like, shape (n,), optional
        Start. By default ones, or a point inside the bounds; n is then read off the signature of `f`.
    sigma : float or array_like, shape (m,) or (m, m), optional
        Standard deviations of the data, or their covariance matrix.
    absolute_sigma : bool, optional
        Whether `sigma` is in the unit of the data. By default only ratios count, and the scatter of the data gives the scale.
    check_finite : bool, optional
        Refuse NaN and infinity in the data; by default unless a `nan_policy` is given.
    bounds : (lower, upper) or scipy.optimize.Bounds, optional
        Bounds of the parameters, each a number or of shape (n,).
    method : {"lm", "trf", "dogbox"}, optional
        By default "lm" without bounds and "trf" with bounds.
    jac : callable or {"2-point", "3-point", "cs"}, optional
        Jacobian ``jac(x, a, b, ...)`` of the model, shape (m, n), or for "trf" and "dogbox" how to difference.
    full_output : bool, optional
        Return the last three values below as well.
    nan_policy : {"raise", "omit"}, optional
        Refuse data with NaN, or leave those points out.
    **kwargs
        Options of `leastsq` for "lm", of `least_squares` for the other methods.

    Returns
    -------
    popt : ndarray, shape (n,)
        Parameters that fit best.
    pcov : ndarray, shape (n, n)
        Their covariance; infinite where it cannot be estimated.
    infodict : dict
        ``nfev`` and ``fvec``; for "lm" also ``fjac``, ``ipvt`` and ``qtf``, see `leastsq`.
    mesg : str
        Why the fit ended.
    ier : int
        1 to 4.

    Raises
    ------
    ValueError
        If the data or an option are invalid.
    TypeError
        If there are fewer data than parameters, for "lm".
    RuntimeError
        If the fit failed; its attribute ``result`` is an OptimizeResult with the best point ``x``.

    Warns
    -----
    scipy.optimize.OptimizeWarning
        If the covariance cannot be estimated.
    """
    start, bounds, bounded = start_and_bounds(f, p0, bounds)
    if method is None:
        method = "trf" if bounded else "lm"
    elif method == "lm" and bounded:
        raise ValueError("Method 'lm' only works for unconstrained problems. Use 'trf' or 'dogbox' instead.")
    if check_finite is None:
        check_finite = nan_policy is None
    as_array = as_finite if check_finite else as_float
    y = as_array(ydata)
    if isinstance(xdata, list | tuple | np.ndarray):
        xdata = as_array(xdata)
    if y.size == 0:
        raise ValueError("`ydata` must not be empty!")
    if nan_policy is not None and not check_finite:
        xdata, y, sigma = without_nan(xdata, y, sigma, nan_policy)
    whitening = None if sigma is None else Whitening(sigma, y.size)
    if "args" in kwargs:
        raise ValueError("'args' is not a supported keyword argument.")
    route = fit_minpack if method == "lm" else fit_trust_region
    residual = model_residual(f, xdata, y, whitening)
    options = {"bounds": bounds, "method": method, **kwargs} if route is fit_trust_region else kwargs
    fit = route(f, xdata, y, whitening, residual, start, jac, full_output, options)
    pcov = scaled_covariance(fit.unscaled, fit.chi_square, fit.size, start.size, absolute_sigma)
    if full_output:
        return fit.popt, pcov, fit.infodict, fit.message, fit.ier
    return fit.popt, pcov
