"""`scipy.optimize.curve_fit`: its arguments, results, messages, warnings and exceptions.

Departures from SciPy: residuals that are not finite raise RuntimeError ("Optimal parameters not found: ..."), as any
failed fit does; its ``result`` holds the best point. A standard deviation of zero or NaN raises ValueError.
Single-precision data and models fit like others.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlsq.compiler.routes import unwrapped
from nlsq.problem import CompiledFunction
from nlsq.scipy_api.arguments import UNBOUNDED, check_keywords, end_of_bounds, is_bounds
from nlsq.scipy_api.by_address import fit_again, fit_by_address, fit_on_route
from nlsq.scipy_api.functions import DOUBLE, Failure, Function, NonfiniteError, failure
from nlsq.scipy_api.messages import LEASTSQ_SUCCESS
from nlsq.scipy_api.minpack import details, minimise
from nlsq.scipy_api.model import Whitening, as_finite, as_float, feasible_start, number_of_parameters, without_nan
from nlsq.scipy_api.on_route import ByKernels, model_on_route
from nlsq.uncertainty.covariance import covariance_from_jacobian

FloatArray = NDArray[np.float64]

LEASTSQ_KEYWORDS = ("ftol", "xtol", "gtol", "maxfev", "epsfcn", "factor", "diag", "col_deriv")
LEAST_SQUARES_KEYWORDS = (
    "ftol", "xtol", "gtol", "x_scale", "loss", "f_scale", "diff_step", "tr_solver", "tr_options", "jac_sparsity",
    "max_nfev", "verbose", "kwargs", "callback", "workers",
)  # fmt: skip


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
        Whether `sigma` is in the unit of the data. By default only ratios count, and the scatter of the data gives
        the scale.
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
    if sigma is None and p0 is not None and bounds is UNBOUNDED and method is None and jac is None and not kwargs:
        if nan_policy is None and not full_output and check_finite is None:
            fitted = fit_again(f, xdata, ydata, p0, absolute_sigma)
            if fitted is not None:
                return fitted
    return fit_curve(
        f, xdata, ydata, p0, sigma, absolute_sigma, check_finite, bounds, method, jac, full_output, nan_policy, kwargs
    )


def fit_curve(
    f: Callable[..., Any],
    xdata: Any,
    ydata: ArrayLike,
    p0: ArrayLike | None,
    sigma: ArrayLike | None,
    absolute_sigma: bool,
    check_finite: bool | None,
    bounds: Any,
    method: str | None,
    jac: Callable[..., Any] | str | None,
    full_output: bool,
    nan_policy: str | None,
    kwargs: dict[str, Any],
) -> tuple[Any, ...]:
    """Do the work of `curve_fit`."""
    route = None if type(f) is CompiledFunction else unwrapped(f, "model")[1]
    if p0 is not None and bounds is UNBOUNDED and jac is None and not kwargs and method in (None, "lm"):
        if nan_policy is None and not full_output:
            fitted = None
            if type(f) is CompiledFunction:
                fitted = fit_by_address(f, xdata, ydata, p0, sigma, absolute_sigma)
            elif route is not None:
                fitted = fit_on_route(route, getattr(f, "function", f), xdata, ydata, p0, sigma, absolute_sigma)
            if fitted is not None:
                return fitted
    started = perf_counter()
    start, bounds, bounded = start_and_bounds(f, p0, bounds)
    if method is None:
        method = "trf" if bounded else "lm"
    elif method == "lm" and bounded:
        raise ValueError("Method 'lm' only works for unconstrained problems. Use 'trf' or 'dogbox' instead.")
    xdata, y, sigma = read_data(xdata, ydata, sigma, check_finite, nan_policy)
    whitening = None if sigma is None else Whitening(sigma, y.size)
    if "args" in kwargs:
        raise ValueError("'args' is not a supported keyword argument.")
    compiled: ByKernels | None = None
    if route is not None and jac is None:
        compiled = model_on_route(route, getattr(f, "function", f), xdata, y, whitening, start)

    def fit_by(compiled: ByKernels | None) -> Fit:
        if method == "lm":
            return fit_minpack(f, xdata, y, whitening, start, jac, full_output, kwargs, compiled)
        return fit_trust_region(f, xdata, y, whitening, start, jac, bounds, method, kwargs, compiled)

    fit = None
    if compiled is not None:
        with suppress(RuntimeError):  # a fit that fails is for the function itself to fail
            fit = fit_by(compiled)
    if fit is None or (compiled is not None and not compiled.agrees_at(fit.popt)):
        fit = fit_by(None)
    covariance = scaled_covariance(fit, start.size, absolute_sigma)
    if route is not None:
        route.spend(started)
    if full_output:
        return fit.popt, covariance, fit.infodict, fit.message, fit.ier
    return fit.popt, covariance


class Fit(NamedTuple):
    """A fit that succeeded; ``unscaled`` is the covariance for residuals of unit variance, None if there is none."""

    popt: FloatArray
    unscaled: FloatArray | None
    chi_square: float
    size: int
    infodict: dict[str, Any]
    message: str
    ier: int


def start_and_bounds(f: Callable[..., Any], p0: ArrayLike | None, bounds: Any) -> tuple[NDArray[Any], Any, bool]:
    """Return start and bounds, and whether any bound is finite."""
    start = None if p0 is None else np.atleast_1d(np.asarray(p0)).ravel()
    n = number_of_parameters(f) if start is None else start.size
    if bounds is UNBOUNDED:
        return np.ones(n) if start is None else start, bounds, False
    if is_bounds(bounds):
        lower, upper = bounds.lb, bounds.ub
    else:
        lower, upper = (end_of_bounds(end, n) for end in bounds)
    if start is None:
        start = feasible_start(lower, upper)
    return start, (lower, upper), bool(np.any((lower > -np.inf) | (upper < np.inf)))


def read_data(
    xdata: Any, ydata: ArrayLike, sigma: ArrayLike | None, check_finite: bool | None, nan_policy: str | None
) -> tuple[Any, FloatArray, Any]:
    """Return the data as float arrays, checked as the caller wants."""
    if check_finite is None:
        check_finite = nan_policy is None
    as_array = as_finite if check_finite else as_float
    y = as_array(ydata)
    if isinstance(xdata, list | tuple | np.ndarray):
        xdata = as_array(xdata)
    if y.size == 0:
        raise ValueError("`ydata` must not be empty!")
    if nan_policy is not None and not check_finite:
        return without_nan(xdata, y, sigma, nan_policy)
    return xdata, y, sigma


def fit_minpack(
    f: Callable[..., Any],
    xdata: Any,
    y: FloatArray,
    whitening: Whitening | None,
    start: NDArray[Any],
    jac: Any,
    full_output: bool,
    kwargs: dict[str, Any],
    compiled: ByKernels | None = None,
) -> Fit:
    """Fit by Levenberg-Marquardt; `compiled` is the residual by the kernels of a graph, if there is one."""
    if y.size != 1 and start.size > y.size:
        raise TypeError(
            f"The number of func parameters={start.size} must not exceed the number of data points={y.size}"
        )
    check_keywords("leastsq", kwargs, ("func", "x0"), LEASTSQ_KEYWORDS)
    residual = whitened_residual(f, xdata, y, whitening)
    jacobian = None if jac is None else whitened_jacobian(jac, xdata, whitening)
    value = f(xdata, *start)
    first = value - y if whitening is None else whitening.apply(value - y)
    dtype = getattr(value, "dtype", DOUBLE)
    options = kwargs
    col_deriv = False
    if "col_deriv" in kwargs:
        options = {name: option for name, option in kwargs.items() if name != "col_deriv"}
        col_deriv = kwargs["col_deriv"]
    try:
        run = minimise(
            residual, start, first, dtype, jacobian, "_memoized_func", col_deriv, options,
            compiled=None if compiled is None else compiled.residual,
        )  # fmt: skip
    except NonfiniteError as nonfinite:
        raise not_found(RuntimeError, nonfinite.message, nonfinite.fields) from None
    if run.info not in LEASTSQ_SUCCESS:
        raise not_found(RuntimeError, run.message, run.best_point() | {"status": run.info})
    fvec = run.residual if np.ndim(first) else run.residual[0]
    infodict, message = (details(run, fvec), run.message) if full_output else ({}, "")
    return Fit(run.x, run.unscaled, 2.0 * run.cost, len(fvec), infodict, message, run.info)


def fit_trust_region(
    f: Callable[..., Any],
    xdata: Any,
    y: FloatArray,
    whitening: Whitening | None,
    start: NDArray[Any],
    jac: Any,
    bounds: Any,
    method: str,
    kwargs: dict[str, Any],
    compiled: ByKernels | None = None,
) -> Fit:
    """Fit by a method of `least_squares`; `compiled` as for `fit_minpack`."""
    options = kwargs.copy()
    if "max_nfev" not in options:
        options["max_nfev"] = options.pop("maxfev", None)
    check_keywords("least_squares", options, ("fun", "x0"), LEAST_SQUARES_KEYWORDS)
    if jac is None:
        jac = "2-point"
    elif callable(jac):
        jac = whitened_jacobian(jac, xdata, whitening)
    dtype: list[Any] = []

    def observed(x: Any, *p: Any) -> Any:
        value = f(x, *p)
        if not dtype:
            dtype.append(getattr(value, "dtype", DOUBLE))
        return value

    from nlsq.scipy_api.least_squares import minimise as minimise_with_bounds

    residual = whitened_residual(observed, xdata, y, whitening)
    try:
        result = minimise_with_bounds(
            residual,
            start,
            jac,
            bounds,
            method,
            model_dtype=lambda: dtype[0],
            compiled=None if compiled is None else lambda start: compiled,
            **options,
        )
    except NonfiniteError as nonfinite:
        raise not_found(NonfiniteFit, nonfinite.message, nonfinite.fields) from None
    if not result["success"]:
        raise not_found(RuntimeError, result["message"], result)
    infodict = {"nfev": result["nfev"], "fvec": result["fun"]}
    covariance = covariance_from_jacobian(result["jac"])
    size, chi_square = len(result["fun"]), 2.0 * result["cost"]
    return Fit(result["x"], covariance, chi_square, size, infodict, result["message"], result["status"])


def whitened_residual(f: Callable[..., Any], xdata: Any, y: FloatArray, whitening: Whitening | None) -> Function:
    """Return ``p -> f(xdata, *p) - y``, of unit variance if `whitening` says how."""
    if whitening is None:
        return lambda p: f(xdata, *p) - y
    apply = whitening.apply
    return lambda p: apply(f(xdata, *p) - y)


def whitened_jacobian(jac: Callable[..., Any], xdata: Any, whitening: Whitening | None) -> Function:
    """Return ``p -> jac(xdata, *p)``, in the unit of the residuals."""
    if whitening is None:
        return lambda p: jac(xdata, *p)
    return lambda p: whitening.apply_to_rows(np.asarray(jac(xdata, *p)))


def scaled_covariance(fit: Fit, n: int, absolute_sigma: bool) -> FloatArray:
    """Return the covariance in the data's unit; infinite, with a warning, where it cannot be estimated."""
    covariance = fit.unscaled
    if covariance is not None and not np.isnan(covariance).any():
        if absolute_sigma:
            return covariance
        if fit.size > n:
            covariance *= fit.chi_square / (fit.size - n)
            return covariance
    from scipy.optimize import OptimizeWarning

    warnings.warn("Covariance of the parameters could not be estimated", OptimizeWarning, stacklevel=4)
    return np.full((n, n), np.inf)


class NonfiniteFit(RuntimeError, ValueError):
    """Residuals were not finite: a fit that failed, and for "trf" and "dogbox" SciPy's ValueError as well."""


def not_found(kind: type[Failure], message: str, fields: dict[str, Any] | None) -> Failure:
    """Return the exception of a fit that failed, with the best point in ``result``."""
    return failure(kind, "Optimal parameters not found: " + message, fields)
