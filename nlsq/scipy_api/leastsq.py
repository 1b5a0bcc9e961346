"""`scipy.optimize.leastsq`: its arguments, results, messages, warnings and exceptions.

Departures from SciPy: residuals or a Jacobian that are not finite raise ValueError; steps that the trust region cut
short do not count as convergence; single-precision functions get steps that their precision can see; functions may
change their argument or return the same buffer each time; ``diag`` must have as many entries as there are parameters.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nlsq.compiler.routes import unwrapped
from nlsq.problem import CompiledFunction
from nlsq.scipy_api.by_address import minimise_by_address
from nlsq.scipy_api.functions import NonfiniteError, with_arguments
from nlsq.scipy_api.messages import IMPROPER_INPUT, LEASTSQ_SUCCESS
from nlsq.scipy_api.minpack import details, minimise
from nlsq.scipy_api.on_route import leastsq_on_route

DEFAULTS = (1.49012e-8, 1.49012e-8, 0.0, 0, None, 100)  # ftol, xtol, gtol, maxfev, epsfcn, factor


def leastsq(
    func: Callable[..., Any],
    x0: ArrayLike,
    args: Any = (),
    Dfun: Callable[..., Any] | None = None,
    full_output: bool = False,
    col_deriv: bool = False,
    ftol: float = 1.49012e-8,
    xtol: float = 1.49012e-8,
    gtol: float = 0.0,
    maxfev: int = 0,
    epsfcn: float | None = None,
    factor: float = 100,
    diag: ArrayLike | None = None,
) -> tuple[Any, ...]:
    """Minimise the sum of squares of a vector function by Levenberg-Marquardt, as ``scipy.optimize.leastsq``.

    Parameters
    ----------
    func : callable
        ``func(x, *args)`` returns the residuals, shape (m,), ``m >= n``.
    x0 : array_like, size n
        Start; of any shape, read as one-dimensional.
    args : tuple, optional
        Further arguments of `func` and `Dfun`; anything but a tuple counts as one argument.
    Dfun : callable, optional
        ``Dfun(x, *args)`` returns the Jacobian, shape (m, n), or (n, m) with `col_deriv`. Forward differences by
        default.
    full_output : bool, optional
        Return all of the values below, rather than the first and the last.
    col_deriv : bool, optional
        Whether `Dfun` returns the transposed Jacobian.
    ftol, xtol, gtol : float, optional
        Tolerances for the relative reduction of the sum of squares, the relative step, and the largest cosine between
        the residual and a column of the Jacobian.
    maxfev : int, optional
        Limit of calls of `func`, those for differences included. The default 0 means ``100 (n + 1)`` with `Dfun`, else
        ``200 (n + 1)``.
    epsfcn : float, optional
        Relative error of `func`; differences are taken over ``sqrt(epsfcn) |x|``.
    factor : float, optional
        First radius of the trust region in units of the scaled ``|x0|``.
    diag : array_like, shape (n,), optional
        Positive factors that scale the parameters. By default the norms of the Jacobian's columns.

    Returns
    -------
    x : ndarray, shape (n,)
        The minimum, or the best point of a run that failed.
    cov_x : ndarray, shape (n, n), or None
        ``(J'J)^-1``; None if it does not exist or the run failed. Times the variance of a residual it is the
        covariance of x.
    infodict : dict
        ``fvec`` residuals at x, ``nfev`` calls of `func`, ``njev`` calls of `Dfun`, and the factorisation ``J P = Q R``
        at the end: ``fjac`` (n, m) with R in the upper part of its transpose, ``ipvt`` (n,), ``qtf = Q' fvec`` (n,).
    mesg : str
        Why the run ended.
    ier : int
        1 to 4 for success: small reduction, small step, both, orthogonal residual.

    Raises
    ------
    TypeError
        If ``m < n``, the shape of `Dfun` is wrong, or an option is out of range.
    ValueError
        If residuals or Jacobian are not finite, or `func` returns another number of residuals than before.

    Warns
    -----
    RuntimeWarning
        If the run failed, without `full_output`.
    """
    route: Any = None
    usual = (ftol, xtol, gtol, maxfev, epsfcn, factor) == DEFAULTS
    if usual and Dfun is None and not full_output and diag is None:
        minimum: tuple[Any, ...] | None = None
        if type(func) is CompiledFunction:
            minimum = minimise_by_address(func, x0) if args == () else None
        else:
            func, route = unwrapped(func, "residual")
            if route is not None and route.ready:
                minimum = leastsq_on_route(route, func, x0, args)
        if minimum is not None:
            return minimum
    started = perf_counter()
    options = {
        "ftol": ftol, "xtol": xtol, "gtol": gtol, "maxfev": maxfev, "epsfcn": epsfcn, "factor": factor, "diag": diag
    }  # fmt: skip
    answer = solve(func, x0, args, Dfun, full_output, col_deriv, options)
    if route is not None and not route.reason:
        route.spend(started)
    return answer


def solve(
    func: Callable[..., Any],
    x0: ArrayLike,
    args: Any,
    Dfun: Callable[..., Any] | None,
    full_output: bool,
    col_deriv: bool,
    options: dict[str, Any],
) -> tuple[Any, ...]:
    """Do the work of `leastsq`; `options` are those of `read_options`."""
    if not isinstance(args, tuple):
        args = (args,)
    function = with_arguments(func, args)
    jacobian = None if Dfun is None else with_arguments(Dfun, args)
    start = np.asarray(x0).flatten()
    first = function(start.copy())
    try:
        run = minimise(
            function, start, first, None, jacobian, getattr(Dfun, "__name__", None), col_deriv, options, not full_output
        )
    except NonfiniteError as nonfinite:
        raise nonfinite.as_value_error() from None
    if full_output:
        infodict = details(run, run.residual if np.ndim(first) else run.residual[0])
        return run.x, run.unscaled, infodict, run.message, run.info
    if run.info not in LEASTSQ_SUCCESS:
        if run.info == IMPROPER_INPUT:
            raise TypeError(run.message)
        warnings.warn(run.message, RuntimeWarning, stacklevel=3)
    return run.x, run.info
