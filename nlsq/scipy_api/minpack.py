"""Levenberg-Marquardt behind `leastsq` and `curve_fit`: MINPACK's arguments, counts and outcomes, our solver."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlsq.derivatives import ForwardDifference
from nlsq.kernels import layout
from nlsq.problem import LeastSquaresProblem
from nlsq.scipy_api.called_back import MOST_PARAMETERS, Borrowed, can_be_called_back
from nlsq.scipy_api.factors import minpack_factors
from nlsq.scipy_api.functions import (
    DOUBLE,
    Differences,
    Function,
    NonfiniteError,
    as_doubles,
    best_point,
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
from nlsq.solvers.least_overhead import Plan, minpack_plan
from nlsq.status import Status
from nlsq.uncertainty.covariance import covariance_from_triangle, upper_triangle

FloatArray = NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)
INFO = tuple(MINPACK_INFO.get(status, 5) for status in sorted(Status))  # by status


class MinpackOptions(NamedTuple):
    """Options of `leastsq` as numbers.

    ``of_plan`` is ``ftol, xtol, gtol, maxfev, factor``, with the limit that holds; ``maxfev`` what SciPy's
    message names, which is what the caller wrote unless that is 0.
    ``rel_step`` is None for the library's own step. ``improper`` says that MINPACK would refuse to start, ``plain``
    that the compiled loop can run with these options, ``derivatives_are_free`` that it can with exact derivatives.
    """

    of_plan: tuple[float, float, float, int, float]
    maxfev: int
    rel_step: float | None
    scale: FloatArray | str
    tolerances: Tolerances | None
    improper: bool
    plain: bool
    derivatives_are_free: bool


class MinpackRun(NamedTuple):
    """What a run came to.

    ``jac`` is None where none was evaluated, ``njev`` where it was differenced, ``unscaled`` (the covariance for
    residuals of unit variance) where it does not exist or the run failed. A run that was asked for nothing else, and
    succeeded, has ``x`` and ``info`` alone.
    """

    x: FloatArray
    info: int
    settings: MinpackOptions
    nfev: int = 0
    njev: int | None = None
    cost: float = math.nan
    residual: FloatArray = np.empty(0)
    jac: FloatArray | None = None
    unscaled: FloatArray | None = None

    @property
    def message(self) -> str:
        """Why it ended."""
        ftol, xtol, gtol, _, _ = self.settings.of_plan
        return leastsq_message(self.info, ftol, xtol, gtol, self.settings.maxfev)

    def best_point(self) -> dict[str, Any]:
        """Return the end of a run that failed, in the words of `least_squares`."""
        return best_point(self.x, self.cost, self.residual, self.jac, self.nfev, self.njev)


def minimise(
    function: Function,
    start: NDArray[Any],
    first: Any,
    dtype: np.dtype[Any] | None,
    jacobian: Function | None,
    jacobian_name: str | None,
    col_deriv: bool,
    options: Mapping[str, Any],
    brief: bool = False,
    compiled: Any = None,
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
    brief : bool
        Whether ``x`` and ``info`` are all that is needed of a success.
    compiled : CompiledResidual, optional
        The same residual by the kernels of its graph, with exact derivatives.
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
    settings = settings_of(n, jacobian is not None, options)
    exact_start = start.dtype is DOUBLE
    x0: FloatArray = start if exact_start else start.astype(DOUBLE, casting="safe")
    if settings.improper:
        njev = None if jacobian is None else 0
        return MinpackRun(x0, IMPROPER_INPUT, settings, 0, njev, residual=as_doubles(first).ravel())
    if dtype is None:
        dtype = getattr(first, "dtype", DOUBLE)
    if jacobian is not None:
        jacobian = dense_jacobian(starting_with(first_jac, jacobian) if exact_start else jacobian, m, n, col_deriv)
    if compiled is not None and settings.derivatives_are_free and n <= MOST_PARAMETERS:
        plan = minpack_plan(compiled, x0, settings.of_plan)
        return run_plan(plan, x0, None, settings, brief)
    if settings.plain and can_be_called_back(m, n, dtype if jacobian is None else DOUBLE):
        return run_called_back(function, first if exact_start else None, x0, m, jacobian, settings, brief)
    source: Any = jacobian
    if jacobian is None:
        source = Differences(ForwardDifference(rel_step=settings.rel_step), checked_residual(function, m), dtype)
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


def settings_of(n: int, has_jacobian: bool, options: Mapping[str, Any]) -> MinpackOptions:
    """Return `read_options`, from memory if these options were read before."""
    if not options:
        return _defaults(n, has_jacobian)
    if options.get("diag") is None:
        try:
            return _remembered(n, has_jacobian, *options.items())
        except TypeError:  # what cannot be remembered is no number either, or says so itself
            pass
    return read_options(n, has_jacobian, **options)


@lru_cache(maxsize=64)
def _remembered(n: int, has_jacobian: bool, *options: tuple[str, Any]) -> MinpackOptions:
    return read_options(n, has_jacobian, **dict(options))


@lru_cache(maxsize=64)
def _defaults(n: int, has_jacobian: bool) -> MinpackOptions:
    return read_options(n, has_jacobian)


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
    tolerances = None
    if not improper:
        cost, step, optimality = (None if math.isnan(value) else value for value in (ftol, xtol, gtol))
        tolerances = Tolerances(cost=cost, step=step, optimality=optimality, rule="minpack")
    plain = tolerances is not None and rel_step is None and diag is None and (has_jacobian or not tolerances.tight)
    free = tolerances is not None and rel_step is None and diag is None
    return MinpackOptions(
        (ftol, xtol, gtol, limit, factor), maxfev or limit, rel_step, scale, tolerances, improper, plain, free
    )


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


def run_called_back(
    function: Function,
    first: Any,
    x0: FloatArray,
    m: int,
    jacobian: Function | None,
    settings: MinpackOptions,
    brief: bool,
) -> MinpackRun:
    """Run the compiled loop, which calls the user's functions back; `first` is the residual at `x0`, or None.

    Raises
    ------
    NonfiniteError
        If the residuals at `x0` or a Jacobian are not finite.
    """
    with Borrowed(function, first, m, x0.size, jacobian) as called_back:
        return run_plan(called_back.plan(settings.of_plan), x0, jacobian, settings, brief)


def run_plan(
    plan: Plan, x0: FloatArray, jacobian: Function | None, settings: MinpackOptions, brief: bool
) -> MinpackRun:
    """Run the compiled loop with a plan; see `run_called_back`."""
    x = plan.solve(x0)
    info = INFO[plan.status]
    success = info in LEASTSQ_SUCCESS
    if brief and success:
        return MinpackRun(x, info, settings)
    space, status, nfev = plan.space, plan.status, plan.nfev
    njev = None if jacobian is None else int(space.iw[layout.NJEV])
    cost, residual, jac = float(space.w[layout.COST]), space.residual.copy(), plan.jacobian()
    unscaled = plan.covariance(True) if success else None
    refuse_nonfinite(status, x, cost, residual, jac, nfev, njev)
    return MinpackRun(x, info, settings, nfev, njev, cost, residual, jac, unscaled)


def run_levenberg_marquardt(residual: Function, x0: FloatArray, jac: Any, settings: MinpackOptions) -> MinpackRun:
    """Run the library's Levenberg-Marquardt by MINPACK's rules; `jac` is an estimator or a function.

    Raises
    ------
    NonfiniteError
        If the residuals at `x0` or a Jacobian are not finite.
    """
    try:
        problem = LeastSquaresProblem(residual, x0, jac=jac, scale=settings.scale)
    except ValueError:
        if np.isfinite(x0).all():
            raise
        raise NonfiniteError(NONFINITE_START) from None
    assert settings.tolerances is not None
    *_, limit, factor = settings.of_plan
    solver = LevenbergMarquardt(damping=MoreRadius(factor=factor))
    result = drive(problem, solver, settings.tolerances, max_evaluations=limit)
    nfev = result.nfev + result.nfev_jac
    njev = None if isinstance(jac, Differences) else result.njev
    refuse_nonfinite(result.status, result.x, result.cost, result.residual, result.jac, nfev, njev)
    info = INFO[result.status]
    unscaled = covariance_from_triangle(upper_triangle(result.jac)) if info in LEASTSQ_SUCCESS else None
    return MinpackRun(result.x, info, settings, nfev, njev, result.cost, result.residual, result.jac, unscaled)


def refuse_nonfinite(
    status: int, x: FloatArray, cost: float, residual: FloatArray, jac: FloatArray, nfev: int, njev: int | None
) -> None:
    """Raise NonfiniteError if a run ended because something was not finite."""
    if status == Status.NONFINITE_START or status == Status.NONFINITE_JACOBIAN:
        message = NONFINITE_START if status == Status.NONFINITE_START else NONFINITE_ARRAY
        raise NonfiniteError(message, best_point(x, cost, residual, jac, nfev, njev))


def details(run: MinpackRun, fvec: Any) -> dict[str, Any]:
    """Return ``infodict`` with `fvec` in it."""
    n, m = run.x.size, run.residual.size
    infodict: dict[str, Any] = {"fvec": fvec, "nfev": run.nfev}
    if run.njev is not None:
        infodict["njev"] = run.njev
    if run.jac is None:
        fjac, ipvt, qtf = np.zeros((n, m)), np.arange(n, dtype=np.int32), np.zeros(n)
    else:
        fjac, ipvt, qtf = minpack_factors(run.jac, run.residual)
    return infodict | {"fjac": fjac, "ipvt": ipvt, "qtf": qtf}
