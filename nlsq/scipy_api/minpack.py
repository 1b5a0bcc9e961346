"""Levenberg-Marquardt behind `leastsq` and `curve_fit`: MINPACK's arguments, counts and outcomes, our solver."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlsq.derivatives import ForwardDifference
from nlsq.problem import LeastSquaresProblem
from nlsq.scipy_api.factors import minpack_factors, triangle
from nlsq.scipy_api.functions import (
    DOUBLE,
    Differences,
    Function,
    NonfiniteError,
    as_doubles,
    checked_residual,
    starting_with,
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
from nlsq.solvers import LevenbergMarquardt, MoreRadius, Tolerances, drive
from nlsq.status import Status
from nlsq.uncertainty.covariance import covariance_from_triangle, upper_triangle

FloatArray = NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)


class MinpackOptions(NamedTuple):
    """Options of `leastsq` as numbers.

    ``maxfev`` is the limit that holds, ``given_maxfev`` what the caller wrote; ``rel_step`` is None for the library's
    own step; ``improper`` says that MINPACK would refuse to start.
    """

    ftol: float
    xtol: float
    gtol: float
    maxfev: int
    given_maxfev: int
    rel_step: float | None
    factor: float
    scale: FloatArray | str
    improper: bool

    def message(self, info: int) -> str:
        """Return ``mesg`` for ``ier``."""
        return leastsq_message(info, self.ftol, self.xtol, self.gtol, self.given_maxfev)


class MinpackRun(NamedTuple):
    """What a run came to; ``jac`` is None where none was evaluated, ``njev`` where it was differenced."""

    x: FloatArray
    residual: FloatArray
    cost: float
    jac: FloatArray | None
    info: int
    message: str
    nfev: int
    njev: int | None


def minimise(
    function: Function,
    start: NDArray[Any],
    first: Any,
    dtype: np.dtype[Any] | None,
    jacobian: Function | None,
    jacobian_name: str | None,
    col_deriv: bool,
    options: Mapping[str, Any],
) -> MinpackRun:
    """Check everything in MINPACK's order, and run.

    Parameters
    ----------
    function : callable
        ``x -> r``.
    start : ndarray, shape (n,)
        Start, of any type.
    first : object
        Value of `function` at `start`, not yet looked at.
    dtype : dtype or None
        Precision in which `function` computes; read off `first` if None.
    jacobian : callable or None
        ``x -> J``.
    jacobian_name : str or None
        What a message calls it.
    col_deriv : bool
        Whether it returns the transposed Jacobian.
    options : mapping
        Arguments of `read_options`.
    """
    shape = first.shape if isinstance(first, np.ndarray) else np.atleast_1d(first).shape
    n, m = start.size, shape[0] if shape else 1
    if n > m:
        raise TypeError(
            f"Improper input: func input vector length N={n} must not exceed func output vector length M={m}"
        )
    first_jac = None
    if jacobian is not None:
        first = np.array(first)  # the Jacobian may call the function, and that may return one buffer always
        first_jac = jacobian(start.copy())
        check_jacobian_shape(first_jac, (n, m) if col_deriv else (m, n), jacobian_name)
    settings = read_options(n, jacobian is not None, **options)
    exact_start = start.dtype is DOUBLE
    x0: FloatArray = start if exact_start else start.astype(DOUBLE, casting="safe")
    if settings.improper:
        residual = as_doubles(first).ravel()
        njev = None if jacobian is None else 0
        return MinpackRun(x0, residual, math.nan, None, IMPROPER_INPUT, settings.message(IMPROPER_INPUT), 0, njev)
    if jacobian is None:
        if dtype is None:
            dtype = getattr(first, "dtype", DOUBLE)
        source: Any = Differences(ForwardDifference(rel_step=settings.rel_step), checked_residual(function, m), dtype)
    else:
        source = dense_jacobian(starting_with(first_jac, jacobian) if exact_start else jacobian, m, n, col_deriv)
    if exact_start:
        function = starting_with(first, function)
    return run_levenberg_marquardt(checked_residual(function, m), x0, source, settings)


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
    *,
    ftol: float = 1.49012e-8,
    xtol: float = 1.49012e-8,
    gtol: float = 0.0,
    maxfev: int = 0,
    epsfcn: float | None = None,
    factor: float = 100,
    diag: ArrayLike | None = None,
) -> MinpackOptions:
    """Convert the options to numbers, with their defaults; what is no number raises TypeError."""
    ftol, xtol, gtol, factor = real(ftol), real(xtol), real(gtol), real(factor)
    limit = operator.index(maxfev)
    if limit <= 0:
        limit = (100 if has_jacobian else 200) * (n + 1)
    rel_step = None if epsfcn is None else math.sqrt(max(real(epsfcn), EPS))
    scale: FloatArray | str = "jac"
    improper = n == 0 or ftol < 0.0 or xtol < 0.0 or gtol < 0.0 or not factor > 0.0
    if diag is not None:
        factors = read_diag(diag, n)
        improper = improper or not bool((factors > 0.0).all())
        if not improper:
            scale = 1.0 / factors
    return MinpackOptions(ftol, xtol, gtol, limit, maxfev, rel_step, factor, scale, improper)


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


def run_levenberg_marquardt(residual: Function, x0: FloatArray, jac: Any, options: MinpackOptions) -> MinpackRun:
    """Run the library's Levenberg-Marquardt by MINPACK's rules; `jac` is an estimator or a function.

    Raises
    ------
    NonfiniteError
        If the residuals at `x0` or a Jacobian are not finite.
    """
    try:
        problem = LeastSquaresProblem(residual, x0, jac=jac, scale=options.scale)
    except ValueError:
        if np.isfinite(x0).all():
            raise
        raise NonfiniteError(NONFINITE_START) from None
    solver = LevenbergMarquardt(damping=MoreRadius(factor=options.factor))
    tolerances = Tolerances(cost=options.ftol, step=options.xtol, optimality=options.gtol, rule="minpack")
    result = drive(problem, solver, tolerances, max_evaluations=options.maxfev)
    if result.status is Status.NONFINITE_START or result.status is Status.NONFINITE_JACOBIAN:
        start = result.status is Status.NONFINITE_START
        raise NonfiniteError(NONFINITE_START if start else NONFINITE_ARRAY, result)
    info = MINPACK_INFO.get(result.status, 5)
    njev = None if isinstance(jac, Differences) else result.njev
    nfev = result.nfev + result.nfev_jac
    return MinpackRun(result.x, result.residual, result.cost, result.jac, info, options.message(info), nfev, njev)


def details(run: MinpackRun, fvec: Any) -> tuple[FloatArray | None, dict[str, Any]]:
    """Return ``cov_x`` and ``infodict`` with `fvec` in it."""
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


def covariance_of(run: MinpackRun) -> FloatArray | None:
    """Return ``cov_x`` alone."""
    return None if run.jac is None else covariance_from_triangle(upper_triangle(run.jac))
