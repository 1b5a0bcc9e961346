"""`scipy.optimize.least_squares`: its arguments, results, messages, warnings and exceptions.

Departures from SciPy: residuals or a Jacobian that are not finite raise ValueError; steps that the trust region or a
bound cut short do not count as convergence; single-precision functions get steps that their precision can see;
functions may return the same buffer each time. ``nfev`` counts evaluations in SciPy's sense on a path of our own.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nlsq.compiler.routes import unwrapped
from nlsq.problem import LeastSquaresProblem
from nlsq.scipy_api.arguments import (
    UNBOUNDED,
    Bounds,
    active_within,
    check_choices,
    check_keywords,
    check_workers,
    read_bounds,
    read_loss,
    read_start,
    read_tolerances,
    read_x_scale,
    strictly_feasible,
)
from nlsq.scipy_api.called_back import MOST_PARAMETERS, Borrowed, KernelDifferences, can_be_called_back
from nlsq.scipy_api.functions import (
    DOUBLE,
    Differences,
    Function,
    NonfiniteError,
    PicklableFunction,
    as_csr,
    as_optimize_result,
    best_point,
    checked_residual,
    is_sparse,
    starting_with,
    with_arguments,
)
from nlsq.scipy_api.jacobians import (
    JacobianSource,
    analytic_source,
    difference_estimator,
    differenced_source,
    first_residual,
)
from nlsq.scipy_api.messages import LEAST_SQUARES_MESSAGES, LEAST_SQUARES_STATUS, NONFINITE_ARRAY, NONFINITE_START
from nlsq.scipy_api.on_route import ByKernels, least_squares_on_route, residual_on_route
from nlsq.scipy_api.report import Watch, read_callback, summary
from nlsq.solvers import Dogbox, LevenbergMarquardt, Tolerances, TrustRegionReflective, drive
from nlsq.status import SolveResult, Status

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

FloatArray = NDArray[np.float64]

LSMR_OPTIONS = ("damp", "atol", "btol", "conlim", "maxiter", "show", "x0")


def least_squares(
    fun: Callable[..., Any],
    x0: ArrayLike,
    jac: Any = "2-point",
    bounds: Any = UNBOUNDED,
    method: str = "trf",
    ftol: float | None = 1e-8,
    xtol: float | None = 1e-8,
    gtol: float | None = 1e-8,
    x_scale: Any = None,
    loss: Any = "linear",
    f_scale: float = 1.0,
    diff_step: ArrayLike | None = None,
    tr_solver: str | None = None,
    tr_options: Mapping[str, Any] | None = None,
    jac_sparsity: Any = None,
    max_nfev: int | None = None,
    verbose: int = 0,
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    callback: Callable[..., Any] | None = None,
    workers: Any = None,
) -> OptimizeResult[Any]:
    """Minimise ``1/2 sum_i rho(f_i(x)**2)`` subject to ``lb <= x <= ub``, as ``scipy.optimize.least_squares``.

    Parameters
    ----------
    fun, jac : callable
        ``fun(x, *args, **kwargs)`` returns the residuals, shape (m,); `jac` the Jacobian, shape (m, n), as an array,
        a sparse array or a LinearOperator. Or `jac` is how to difference: "2-point", "3-point" or "cs".
    x0 : array_like, shape (n,)
        Start.
    bounds : (lower, upper) or scipy.optimize.Bounds, optional
        Each a number or of shape (n,).
    method : {"trf", "dogbox", "lm"}, optional
        Trust-region reflective, dogleg in a box, or Levenberg-Marquardt, which takes no bounds.
    ftol, xtol, gtol : float or None, optional
        Tolerances for the relative change of F, the step and the first-order optimality; None turns a test off.
    x_scale : "jac" or array_like, optional
        Size of each parameter, or "jac": from the columns of the Jacobian. By default 1, and "jac" for "lm".
    loss, f_scale : str or callable, and float, optional
        "linear", "soft_l1", "huber", "cauchy", "arctan" or ``rho(z)``, shape (3, m), and the residual where it sets in.
    diff_step : array_like, optional
        Relative steps of differences. By default chosen by the size of each parameter.
    tr_solver, tr_options : {"exact", "lsmr"} and dict, optional
        How "trf" and "dogbox" solve their linear problems; options of ``lsmr``, and "regularize" for "trf". By default
        "exact" for dense Jacobians; sparse ones are factorised while that is cheap, unless options of ``lsmr`` are
        given.
    jac_sparsity : array_like or sparse array, shape (m, n), optional
        Where the Jacobian may be nonzero, for differences.
    max_nfev : int, optional
        Limit of evaluations, those for differences not counted. Default ``100 n``.
    verbose : {0, 1, 2}, optional
        Print nothing, a summary, or each iteration.
    args, kwargs : tuple and dict, optional
        Further arguments of `fun` and `jac`.
    callback : callable, optional
        ``callback(intermediate_result)`` or ``callback(x)`` after each step; StopIteration stops.
    workers : int or map-like callable, optional
        Evaluates differences in parallel.

    Returns
    -------
    OptimizeResult
        With ``x``, ``cost``, ``fun``, ``jac``, ``grad``, ``optimality``, ``active_mask``, ``nfev``, ``njev``,
        ``status``, ``message`` and ``success``.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, or residuals or Jacobian are not finite.
    """
    route = compiled = None
    if type(jac) is str and jac == "2-point" and type(args) is tuple and not kwargs:
        fun, route = unwrapped(fun, "residual")
        if route is not None and route.ready:
            plain = type(loss) is str and loss == "linear" and bounds is UNBOUNDED and method == "trf"
            plain = plain and x_scale is None and diff_step is None and tr_solver is None and tr_options is None
            if plain and not verbose and jac_sparsity is None and callback is None and workers is None:
                result = least_squares_on_route(route, fun, x0, args, (ftol, xtol, gtol), max_nfev)
                if result is not None:
                    return as_optimize_result(result)  # type: ignore[no-any-return]
            if jac_sparsity is None and tr_solver is None:
                compiled = partial(residual_on_route, route, fun, args)
    started = perf_counter()
    try:
        result = minimise(
            fun, x0, jac, bounds, method, ftol, xtol, gtol, x_scale, loss, f_scale, diff_step, tr_solver, tr_options,
            jac_sparsity, max_nfev, verbose, args, kwargs, callback, workers, compiled=compiled,
        )  # fmt: skip
    except NonfiniteError as nonfinite:
        raise nonfinite.as_value_error() from None
    if route is not None:
        route.spend(started)
    answer: OptimizeResult[Any] = as_optimize_result(result)
    return answer


def minimise(
    fun: Callable[..., Any], x0: Any, jac: Any = "2-point", bounds: Any = UNBOUNDED, method: str = "trf",
    ftol: Any = 1e-8, xtol: Any = 1e-8, gtol: Any = 1e-8, x_scale: Any = None, loss: Any = "linear", f_scale: Any = 1.0,
    diff_step: Any = None, tr_solver: str | None = None, tr_options: Any = None, jac_sparsity: Any = None,
    max_nfev: Any = None, verbose: int = 0, args: Any = (), kwargs: Any = None, callback: Any = None,
    workers: Any = None, model_dtype: Callable[[], Any] | None = None, compiled: Any = None,
) -> dict[str, Any]:  # fmt: skip
    """Do the work of `least_squares`, with a dict for result.

    Parameters
    ----------
    model_dtype : callable, optional
        Tells, after the first call of `fun`, the precision in which it computes, if that is not its dtype.
    compiled : callable, optional
        ``start -> ByKernels or None``: the same residual by the kernels of its graph.

    Raises
    ------
    NonfiniteError
        If residuals or a Jacobian are not finite.
    """
    check_workers(workers)
    check_choices(method, jac, tr_solver, loss, verbose, max_nfev)
    start = read_start(x0)
    ends = read_bounds(bounds, start, method)
    scale = read_x_scale(x_scale, start, method)
    tolerances = read_tolerances(ftol, xtol, gtol, method)
    if ends is not None and method == "trf":
        start = strictly_feasible(start, *ends)
    if type(args) is not tuple:
        args = (*args,)
    function = with_arguments(fun, args, kwargs) if workers is None else PicklableFunction(fun, args, kwargs or {})
    value = function(start.copy())
    f0 = first_residual(value, not callable(jac), method, start.size)
    if jac_sparsity is not None and not callable(jac):
        jac_sparsity = as_csr(jac_sparsity if is_sparse(jac_sparsity) else np.atleast_2d(jac_sparsity))
    loss, loss_scale, initial_cost = read_loss(loss, f_scale, f0)
    if callable(jac):
        source = analytic_source(with_arguments(jac, args, kwargs), start, f0.size, method, tr_solver)
    else:
        dtype = getattr(value, "dtype", DOUBLE) if model_dtype is None else model_dtype()
        differences = Differences(
            difference_estimator(jac, diff_step, start, workers),
            function if workers is not None or jac == "cs" else checked_residual(function, f0.size),
            dtype,
            scaled=x_scale is not None,
            counted=method != "lm",  # the rule of MINPACK counts them, but not that of `least_squares`
        )
        source = differenced_source(differences, (f0.size, start.size), method, tr_solver, jac_sparsity)
    if source.is_operator and isinstance(scale, str):
        raise ValueError("x_scale='jac' can't be used when `jac` returns LinearOperator.")
    told = read_callback(callback)
    if method == "lm" and told is not None:
        warnings.warn("Callback function specified, but not supported with `lm` method.", stacklevel=3)
        told = None
    solver = choose_solver(method, source.linear_solver, tr_options)
    if min(f0.size, start.size) == 0:
        return nothing_to_solve(start, f0, method)
    if not 0.0 < loss_scale < math.inf:
        raise ValueError(NONFINITE_ARRAY)
    table = verbose == 2 and method != "lm"
    watch = Watch(told, table, initial_cost) if table or told is not None else None
    limit = 100 * start.size if max_nfev is None else math.ceil(max_nfev)

    task = Task(function, f0, start, source, ends, (loss, loss_scale), scale, solver, tolerances, limit)
    suits = watch is None and jac == "2-point" and diff_step is None
    solved = None
    if suits and compiled is not None and task.suits_kernels():
        solved = task.run_kernels(compiled(start))  # which leaves no differences to workers
    if solved is None and suits and workers is None and method != "lm" and task.is_compiled_loops():
        solved = task.run_called_back()
    elif solved is None:
        solved = task.run(watch)
    if watch is not None:
        watch.finish(solved)
    result = translate(solved, method, ends, xtol, callable(jac))
    if verbose:
        print(summary(result["message"], result["nfev"], initial_cost, result["cost"], result["optimality"]))
    return result


class Task(NamedTuple):
    """What is to be solved and how, checked and translated.

    ``loss`` is the function and its scale; ``limit`` the number of evaluations, those for differences left out.
    """

    function: Function
    f0: FloatArray
    start: FloatArray
    source: JacobianSource
    bounds: Bounds | None
    loss: tuple[Any, float]
    scale: FloatArray | str
    solver: Any
    tolerances: Tolerances
    limit: int

    def problem(self, residual: Any, jac: Any) -> LeastSquaresProblem:
        """Return the problem for this form of residual and Jacobian."""
        loss, loss_scale = self.loss
        return LeastSquaresProblem(
            residual, self.start, jac=jac, sparsity=self.source.sparsity, bounds=self.bounds, loss=loss,
            loss_scale=loss_scale, scale=self.scale,
        )  # fmt: skip

    def run(self, watch: Watch | None) -> SolveResult:
        """Solve."""
        residual = checked_residual(starting_with(self.f0, self.function), self.f0.size)
        problem = self.problem(residual, self.source.source)
        solved: SolveResult = drive(problem, self.solver, self.tolerances, max_evaluations=self.limit, callback=watch)
        return solved

    def is_compiled_loops(self) -> bool:
        """Whether the compiled loop can solve it by calling the function back."""
        plain = self.source.linear_solver == "exact" and isinstance(self.loss[0], str) and not self.tolerances.tight
        return plain and can_be_called_back(self.f0.size, self.start.size, self.source.source.dtype)

    def suits_kernels(self) -> bool:
        """Whether the kernels of a graph can solve it."""
        exact = self.source.linear_solver == "exact" and isinstance(self.loss[0], str)
        return exact and self.start.size <= MOST_PARAMETERS

    def run_kernels(self, by_kernels: ByKernels | None) -> SolveResult | None:
        """Solve by the kernels of a graph; None where the function itself has to be called."""
        if by_kernels is None or by_kernels.residual.m != self.f0.size or not by_kernels.agrees_at(self.start):
            return None
        problem = self.problem(by_kernels.residual, None)
        solved = drive(problem, self.solver, self.tolerances, max_evaluations=self.limit)
        nonfinite = solved.status in (Status.NONFINITE_START, Status.NONFINITE_JACOBIAN)
        return None if nonfinite or not by_kernels.agrees_at(solved.x) else solved

    def run_called_back(self) -> SolveResult:
        """Solve in the compiled loop."""
        with Borrowed(self.function, self.f0, self.f0.size, self.start.size) as called_back:
            problem = self.problem(
                called_back.residual, KernelDifferences(self.source.source, self.source.source.scaled)
            )
            solved: SolveResult = drive(problem, self.solver, self.tolerances, max_evaluations=self.limit)
            return solved


def choose_solver(method: str, linear_solver: str, tr_options: Any) -> Any:
    """Translate a method and its options; options of LSMR ask for it."""
    if method == "lm":
        return LevenbergMarquardt()
    options = {} if tr_options is None else tr_options.copy()
    if linear_solver == "exact":
        return TrustRegionReflective() if method == "trf" else Dogbox()
    regularize = options.pop("regularize", True) if method == "trf" else True
    check_keywords("lsmr", options, (), LSMR_OPTIONS)
    name = "lsmr" if linear_solver == "lsmr" or options else "auto"
    if method == "trf":
        return TrustRegionReflective(linear_solver=name, regularize=regularize, lsmr_options=options)
    return Dogbox(linear_solver=name, lsmr_options=options)


def translate(
    solved: SolveResult, method: str, bounds: Bounds | None, xtol: float | None, analytic: bool
) -> dict[str, Any]:
    """Return the fields of SciPy's result, in its order and types.

    Raises
    ------
    NonfiniteError
        If residuals or Jacobian were not finite.
    """
    if solved.status in (Status.NONFINITE_START, Status.NONFINITE_JACOBIAN):
        message = NONFINITE_START if solved.status is Status.NONFINITE_START else NONFINITE_ARRAY
        point = best_point(solved.x, solved.cost, solved.residual, solved.jac, solved.nfev, solved.njev)
        raise NonfiniteError(message, point)
    gradient, optimality = solved.gradient, solved.optimality
    njev: int | None = solved.njev
    active_mask: NDArray[Any] = solved.active_mask
    if method == "lm":
        gradient = solved.jac.T @ solved.residual
        optimality = float(np.abs(gradient).max())
        njev = solved.njev if analytic else None
    elif method == "trf":
        # An interior method ends near its bounds; without bounds SciPy's mask is one of floats.
        active_mask = np.zeros(solved.x.size) if bounds is None else active_within(solved.x, *bounds, xtol or 0.0)
    status = LEAST_SQUARES_STATUS.get(solved.status)
    message = solved.message if status is None else LEAST_SQUARES_MESSAGES[status]
    return outcome(
        solved.x, solved.cost, solved.residual, solved.jac, gradient, optimality, active_mask, solved.nfev, njev,
        status or 0, message,
    )  # fmt: skip


def outcome(
    x: FloatArray,
    cost: float,
    fun: FloatArray,
    jac: Any,
    grad: FloatArray,
    optimality: float,
    active_mask: NDArray[Any],
    nfev: int,
    njev: int | None,
    status: int,
    message: str,
) -> dict[str, Any]:
    """Return the fields of SciPy's result."""
    return {
        "x": x,
        "cost": np.float64(cost),
        "fun": fun,
        "jac": jac,
        "grad": grad,
        "optimality": np.float64(optimality),
        "active_mask": active_mask,
        "nfev": nfev,
        "njev": njev,
        "status": status,
        "message": message,
        "success": status > 0,
    }


def nothing_to_solve(x0: FloatArray, f0: FloatArray, method: str) -> dict[str, Any]:
    """Return the result for no parameters or no residuals."""
    n, cost = x0.size, 0.5 * float(f0 @ f0)
    status, nfev, njev = (-1, 0, None) if method == "lm" else (1, 1, 1)
    mask = np.zeros(n)
    return outcome(
        x0, cost, f0, np.zeros((f0.size, n)), np.zeros(n), 0.0, mask, nfev, njev, status, LEAST_SQUARES_MESSAGES[status]
    )
