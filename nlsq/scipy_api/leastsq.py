"""`scipy.optimize.leastsq`: its arguments, results, messages, warnings and exceptions.

Departures from SciPy: residuals or a Jacobian that are not finite raise ValueError; steps that the trust region cut short do not
count as convergence; single-precision functions get steps that their precision can see; functions may change their argument
or return the same buffer each time; ``diag`` must have as many entries as there are parameters.
"""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlsq.scipy_api.factors import minpack_factors, triangle
from nlsq.scipy_api.functions import (
    DOUBLE,
    Function,
    as_doubles,
    checked_residual,
    starting_with,
    with_arguments,
)
from nlsq.scipy_api.messages import (
    CHANGED_SIZE,
    IMPROPER_INPUT,
    LEASTSQ_SUCCESS,
    MINPACK_INFO,
    NONFINITE_ARRAY,
    NONFINITE_START,
    leastsq_message,
)
from nlsq.status import Status
from nlsq.uncertainty.covariance import covariance_from_triangle

FloatArray = NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)


class MinpackOptions(NamedTuple):
    """Options of `leastsq` that are numbers, as numbers.

    ``rel_step`` is None for the library's own step; ``improper`` says that MINPACK would refuse to start.
    """

    ftol: float
    xtol: float
    gtol: float
    maxfev: int
    rel_step: float | None
    factor: float
    scale: FloatArray | str
    improper: bool


class MinpackRun(NamedTuple):
    """What a run came to; ``jac`` is None where none was evaluated."""

    x: FloatArray
    residual: FloatArray
    jac: FloatArray | None
    info: int
    message: str
    nfev: int
    njev: int | None


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
        ``Dfun(x, *args)`` returns the Jacobian, shape (m, n), or (n, m) with `col_deriv`. Forward differences by default.
    full_output : bool, optional
        Return all of the values below, rather than the first and the last.
    col_deriv : bool, optional
        Whether `Dfun` returns the transposed Jacobian.
    ftol, xtol, gtol : float, optional
        Tolerances for the relative reduction of the sum of squares, the relative step, and the largest cosine between the
        residual and a column of the Jacobian.
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
        ``(J'J)^-1``; None if it does not exist or the run failed. Times the variance of a residual it is the covariance of x.
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
    if not isinstance(args, tuple):
        args = (args,)
    jacobian = None if Dfun is None else with_arguments(Dfun, args)
    name = getattr(Dfun, "__name__", None)
    start = np.asarray(x0).flatten()
    function = with_arguments(func, args)
    first = function(start.copy())
    options = (ftol, xtol, gtol, maxfev, epsfcn, factor, diag)
    run = minimise(function, start, first, jacobian, name, col_deriv, *options)
    if full_output:
        fvec = run.residual if np.ndim(first) else run.residual[0]
        return (run.x, *details(run, fvec), run.message, run.info)
    if run.info not in LEASTSQ_SUCCESS:
        if run.info == IMPROPER_INPUT:
            raise TypeError(run.message)
        warnings.warn(run.message, RuntimeWarning, stacklevel=2)
    return run.x, run.info


def minimise(
    function: Function,
    start: NDArray[Any],
    first: Any,
    jacobian: Function | None,
    jacobian_name: str | None,
    col_deriv: bool,
    ftol: float,
    xtol: float,
    gtol: float,
    maxfev: int,
    epsfcn: float | None,
    factor: float,
    diag: ArrayLike | None,
) -> MinpackRun:
    """Check everything in MINPACK's order and run; `first` is the value of `function` at `start`, not yet looked at."""
    shape = np.shape(first) if isinstance(first, np.ndarray) else np.atleast_1d(first).shape
    n, m = start.size, shape[0] if shape else 1
    if n > m:
        raise TypeError(f"Improper input: func input vector length N={n} must not exceed func output vector length M={m}")
    dtype = first.dtype if isinstance(first, np.ndarray | np.generic) else DOUBLE
    first_jac = None
    if jacobian is not None:
        first_jac = jacobian(start.copy())
        check_jacobian_shape(first_jac, (n, m) if col_deriv else (m, n), jacobian_name)
    options = read_options(n, jacobian is not None, dtype, ftol, xtol, gtol, maxfev, epsfcn, factor, diag)
    exact_start = start.dtype is DOUBLE
    x0: FloatArray = start if exact_start else start.astype(DOUBLE, casting="safe")
    if exact_start:
        function = starting_with(first, function)
        if jacobian is not None:
            jacobian = starting_with(first_jac, jacobian)
    residual = checked_residual(function, m)
    if options.improper:
        message = leastsq_message(IMPROPER_INPUT, ftol, xtol, gtol, maxfev)
        return MinpackRun(x0, residual(x0.copy()).copy(), None, IMPROPER_INPUT, message, 0, None if jacobian is None else 0)
    jac = None if jacobian is None else dense_jacobian(jacobian, m, n, col_deriv)
    return run_levenberg_marquardt(residual, x0, jac, options)


def check_jacobian_shape(value: Any, expected: tuple[int, int], name: str | None) -> None:
    """Refuse a Jacobian of another shape; with one parameter or one row SciPy takes any, and so do we."""
    shape = np.atleast_1d(value).shape
    if shape != expected and expected[0] != 1 and expected[1] != 1:
        raise TypeError(
            "leastsq: there is a mismatch between the input and output shape of the 'Dfun' argument"
            + (f" '{name}'." if name else ".")
            + f"Shape should be {expected} but it is {shape}."
        )


def dense_jacobian(jacobian: Function, m: int, n: int, col_deriv: bool) -> Function:
    """Return `jacobian` with its values read as float64, shape (m, n)."""
    shape = (n, m) if col_deriv else (m, n)

    def jac(x: FloatArray) -> FloatArray:
        values = as_doubles(jacobian(x), most_dimensions=2, least_dimensions=1)
        if values.shape != shape:
            if values.size != m * n:
                raise ValueError(CHANGED_SIZE)
            values = values.reshape(shape)
        return values.T if col_deriv else values

    return jac


def read_options(
    n: int,
    has_jacobian: bool,
    dtype: np.dtype[Any],
    ftol: float,
    xtol: float,
    gtol: float,
    maxfev: int,
    epsfcn: float | None,
    factor: float,
    diag: ArrayLike | None,
) -> MinpackOptions:
    """Convert the options to numbers, with their defaults; what is no number raises TypeError."""
    ftol, xtol, gtol, factor = real(ftol), real(xtol), real(gtol), real(factor)
    limit = operator.index(maxfev)
    if limit <= 0:
        limit = (100 if has_jacobian else 200) * (n + 1)
    rel_step = None
    if epsfcn is not None:
        rel_step = math.sqrt(max(real(epsfcn), EPS))
    elif dtype is not DOUBLE and dtype.kind == "f" and dtype.itemsize < DOUBLE.itemsize:
        rel_step = math.sqrt(float(np.finfo(dtype).eps))
    scale: FloatArray | str = "jac"
    improper = n == 0 or ftol < 0.0 or xtol < 0.0 or gtol < 0.0 or not factor > 0.0
    if diag is not None:
        factors = read_diag(diag, n)
        improper = improper or bool((factors <= 0.0).any())
        with np.errstate(divide="ignore"):
            scale = 1.0 / factors
    return MinpackOptions(ftol, xtol, gtol, limit, rel_step, factor, scale, improper)


def real(value: Any) -> float:
    """Return a number as float; the TypeError for anything else has the words of C's argument parser."""
    return value if type(value) is float else math.ldexp(value, 0)


def read_diag(diag: ArrayLike, n: int) -> FloatArray:
    """Return ``diag``, shape (n,)."""
    if isinstance(diag, np.ndarray):
        factors = diag.astype(DOUBLE, casting="safe", copy=False)
    elif np.ndim(diag) == 0:
        raise ValueError("object of too small depth for desired array")
    else:
        factors = np.asarray(diag, dtype=DOUBLE)
    if factors.ndim != 1:
        raise ValueError(f"object {'too deep' if factors.ndim else 'of too small depth'} for desired array")
    if factors.size < n:
        raise ValueError(f"`diag` must have an entry for each of the {n} parameters, got {factors.size}.")
    return factors[:n]


def run_levenberg_marquardt(residual: Function, x0: FloatArray, jac: Function | None, options: MinpackOptions) -> MinpackRun:
    """Run the library's Levenberg-Marquardt by MINPACK's rules.

    Raises
    ------
    ValueError
        If the residuals at `x0` or a Jacobian are not finite; its ``result`` is the `SolveResult` so far.
    """
    from nlsq.derivatives import ForwardDifference
    from nlsq.problem import LeastSquaresProblem
    from nlsq.solvers import LevenbergMarquardt, MoreRadius, Tolerances, drive

    source: Any = ForwardDifference(rel_step=options.rel_step) if jac is None else jac
    problem = LeastSquaresProblem(residual, x0, jac=source, scale=options.scale)
    solver = LevenbergMarquardt(damping=MoreRadius(factor=options.factor))
    tolerances = Tolerances(cost=options.ftol, step=options.xtol, optimality=options.gtol, rule="minpack")
    result = drive(problem, solver, tolerances, max_evaluations=options.maxfev)
    if result.status in (Status.NONFINITE_START, Status.NONFINITE_JACOBIAN):
        start = result.status is Status.NONFINITE_START
        error = ValueError(NONFINITE_START if start else NONFINITE_ARRAY)
        error.result = result  # type: ignore[attr-defined]
        raise error
    info = MINPACK_INFO.get(result.status, 5)
    message = leastsq_message(info, options.ftol, options.xtol, options.gtol, options.maxfev)
    njev = None if jac is None else result.njev
    return MinpackRun(result.x, result.residual, result.jac, info, message, result.nfev + result.nfev_jac, njev)


def details(run: MinpackRun, fvec: Any) -> tuple[FloatArray | None, dict[str, Any]]:
    """Return ``cov_x`` and ``infodict``."""
    n, m = run.x.size, run.residual.size
    infodict: dict[str, Any] = {"fvec": fvec, "nfev": run.nfev}
    if run.njev is not None:
        infodict["njev"] = run.njev
    if run.jac is None:
        fjac, ipvt, qtf = np.zeros((n, m)), np.arange(n, dtype=np.int32), np.zeros(n)
    else:
        fjac, ipvt, qtf = minpack_factors(run.jac, run.residual)
    infodict |= {"fjac": fjac, "ipvt": ipvt, "qtf": qtf}
    covariance = covariance_from_triangle(triangle(fjac), ipvt) if run.info in LEASTSQ_SUCCESS else None
    return covariance, infodict
