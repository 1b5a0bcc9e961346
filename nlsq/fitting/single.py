"""`fit`: a model and data in, a `FitResult` out.

    minimise over p   F(p) = 1/2 sum_i rho(r_i(p)^2),      r = (model(x, p) - y) / sigma

Fixed parameters are taken out of the solve and come back in the result.
"""

from __future__ import annotations

import math
import numbers
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from nlsq.fitting.data import read_data
from nlsq.fitting.parameters import Parameters, read_parameters, refuse_uncallable
from nlsq.fitting.quick import fit_again
from nlsq.fitting.result import FitResult
from nlsq.fitting.solving import SolveOptions, solve_from
from nlsq.fitting.streaming.source import Request, is_large, is_read_in_chunks
from nlsq.fitting.task import FitTask, plain_time
from nlsq.loss import Loss
from nlsq.solvers.termination import read_tolerances
from nlsq.status import StepReport

if TYPE_CHECKING:
    from nlsq.fitting.constraints import FitConstraint

OUTSIDE_MEMORY = (
    "constraints are for data in memory: a fit that reads them in chunks solves without; load them as arrays, or use "
    "bounds."
)


def fit(
    model: Callable[..., Any],
    x: Any,
    y: Any = None,
    p0: Any = None,
    *,
    sigma: Any = None,
    absolute_sigma: bool = False,
    bounds: Any = None,
    fixed: Any = None,
    constraints: Any = (),
    loss: str | Callable[[Any], Any] = "linear",
    loss_scale: float = 1.0,
    method: Any = None,
    jac: Any = None,
    weights: Any = None,
    nan_policy: str = "raise",
    tolerances: Any = None,
    max_evaluations: int | None = None,
    time_limit: float | None = None,
    callback: Callable[[StepReport], Any] | None = None,
    progress: bool = False,
    starts: int | None = None,
) -> FitResult:
    """Fit a model to data by nonlinear least squares.

    Parameters
    ----------
    model : callable
        ``model(x, a, b, ...)``, or what `nlsq.compile` made of one. The parameters have the names of its signature; a
        parameter whose default is no number, and all after it, are options of the model and not fitted. With ``*args``
        the names are ``p0, p1, ...`` by place, and `p0` must be a sequence.
    x : object
        Handed to the model: an array of any shape (as float64), a tuple or list of arrays (as a tuple), a pandas
        Series (as an array), or any other object as it is. Or where data outside the memory come from: HDF5, zarr or
        Dask arrays of shape (m,) or (k, m), or an `nlsq.ChunkSource`, see Notes.
    y : array_like, optional
        The data: one value a point, or an array of several outputs, points along the first axis; real or complex (real
        and imaginary parts are fitted together). The model returns the same shape, or a single value. Left out where
        x is a `ChunkSource`, whose chunks hold it.
    p0 : dict or sequence, optional
        Start values by name or in order. A number as default in the signature is the start where `p0` has none.
        Without either the start is found from the data, see Notes; in a dict the value None asks for that, and a name
        that is missing without a default is an error.
    sigma : array_like, optional
        Standard deviations of y: a number, one a point, or one a value; or the covariance matrix (m, m) of the
        flattened y. Infinity leaves a point without influence, whatever the model gives there. For a complex y they
        hold for real and imaginary parts alike; a covariance is that of all real parts followed by all imaginary parts.
    absolute_sigma : bool
        Whether `sigma` is in the unit of y. By default only ratios count and the scatter of the data gives the scale.
    bounds : tuple, scipy.optimize.Bounds or dict, optional
        ``(lower, upper)``, each a number or one for each parameter, or ``{"a": (0, None)}`` by name, None for an open
        end. Equal ends hold the parameter.
    fixed : dict or sequence of str, optional
        Parameters that are held: at the values of a dict, or at their starts.
    constraints : constraint or sequence of constraints
        SciPy's ``NonlinearConstraint``, ``LinearConstraint``, dicts of SLSQP's form, and `nlsq.linear_constraint`.
        A function takes parameters by name, ``{"type": "ineq", "fun": lambda a, b: 1 - a - b}``, or one argument with
        a name that is no parameter's: the vector of all parameters in the order of the signature, held ones included.
        So do the columns of a ``LinearConstraint``. See docs/constraints.md.
    loss : str or callable
        ``"linear"``, ``"huber"``, ``"soft_l1"``, ``"cauchy"``, ``"arctan"`` or ``rho(z) -> (3, m)``.
    loss_scale : float
        Weighted residual at which the loss departs from the square.
    method : str or Solver, optional
        As for `nlsq.solve`: ``"lm"`` (default without bounds), ``"trf"`` (default with bounds), ``"dogbox"``,
        ``"gauss-newton"``, ``"gradient"``, ``"interior-point"`` (default with constraints).
    jac : callable or {"2-point", "3-point", "cs"}, optional
        ``jac(x, a, b, ...)`` of the model, shape (m, n) over all parameters, or how to difference. By default exact
        where the model is compiled or traced, else forward differences, or central ones with constraints.
    weights : array_like, optional
        Factors of the residuals, 1 / sigma, in the shapes of sigma; 0 is infinite sigma. Not together with `sigma`.
    nan_policy : {"raise", "omit"}
        Whether NaN and infinities in x and y, and NaN in `sigma` or `weights`, raise or leave the point out. Masked
        points are always left out.
    tolerances : Tolerances, optional
        Default ``Tolerances(cost=1e-12, step=1e-10, optimality=1e-10)``. The interior-point method knows `optimality`
        alone; its default is that of `InteriorPoint`.
    max_evaluations : int, optional
        Limit of residual evaluations that the solver asks for. Default 1000 (n + 1).
    time_limit : float, optional
        Seconds.
    callback : callable, optional
        Called with a `StepReport` after each accepted step, ``report.x`` holding all parameters; a true result stops,
        and so does StopIteration.
    progress : bool
        Print a line per step.
    starts : int, optional
        Solve from that many different starts, around `p0` or from the data, and keep the best; the others are in
        ``result.minima``.

    Returns
    -------
    FitResult
        Also when the fit failed: the best point with its status.

    Raises
    ------
    ValueError, TypeError
        For an invalid argument, naming it and the index that is wrong.
    NotImplementedError
        For constraints on data outside the memory.

    Notes
    -----
    Exceptions of the model, KeyboardInterrupt included, pass through with the best point so far as a `FitResult` in
    their attribute ``result`` and in a note.

    Start values from the data: parameters in which the model is linear are found by trying; for any values of the
    others they follow by linear least squares (variable projection). The others are sought among values built from
    spans, locations and rates of x and sizes of y: drawn evenly (always the same), then one parameter at a time; the
    best are polished by short fits. Bounds are kept. It takes thousands of calls of the model, counted in
    ``result.nfev_start``; for an expensive model it ends after five seconds in it, with the best so far.

    Very many points: from 131072 on, and for data outside the memory, the fit goes over the data block by block, once
    for each evaluation, with nothing of the size of the data beside them. Within a block of 65536 points sums are plain
    ones; those of the blocks are added with their rounding errors carried along, so that errors do not grow with the
    number of blocks. Large arrays are read where they are while the fit runs, and again when the result is asked for
    what has one value a point; they are not copied. It takes a model that goes point by point; what it does not take is
    fitted as a whole, or refused where the data are not in memory.

    Constraints are met by an interior-point method (`nlsq.solve`), from any start. Active ones count as equations in
    the covariance, and reduce the number of free parameters in `dof`.

    The covariance is ``s^2 (J'J)^-1`` with ``s^2 = 2 cost / dof``, J the weighted Jacobian, its rows scaled by a
    robust loss as in SciPy; see `FitResult`.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(0, 4, 50)
    >>> def decay(x, height, rate):
    ...     return height * np.exp(-rate * x)
    >>> result = fit(decay, x, decay(x, 2.5, 1.3), {"height": 1, "rate": 1})
    >>> round(float(result.params["rate"]), 6)
    1.3
    """
    # Compared by identity: an array has no truth value.
    plain = sigma is bounds is fixed is method is jac is weights is tolerances is None
    no_constraints = constraints is None or (isinstance(constraints, tuple | list) and not constraints)
    unlimited = max_evaluations is None and time_limit is None and callback is None and starts is None
    if plain and unlimited and loss == "linear" and no_constraints and not progress and nan_policy == "raise":
        again = None if p0 is None or absolute_sigma or is_large(y) else fit_again(model, x, y, p0)
        if again is not None:
            return again
    refuse_uncallable(model)
    options = read_options(method, tolerances, max_evaluations, time_limit, callback, progress)
    parameters = read_parameters(model, p0, fixed, bounds)
    constrained = constraints_of(constraints, parameters)
    notes: list[str] = []
    outside_memory = y is None or is_read_in_chunks(x, y)
    if constrained and outside_memory:
        raise NotImplementedError(OUTSIDE_MEMORY)
    if outside_memory or (is_large(y) and not constrained):
        from nlsq.fitting.streaming.call import fit_streamed

        loss_of = Loss(loss, loss_scale)
        streamed = fit_streamed(
            Request(model, x, y, sigma, weights, nan_policy, parameters, jac, loss_of, absolute_sigma, starts, options)
        )
        if isinstance(streamed, FitResult):
            return streamed
        notes += [] if streamed is None else [streamed]
    data = read_data(x, y, sigma, weights, nan_policy)
    if data.complex and jac == "cs":
        raise ValueError("jac='cs' needs a real model, but y is complex; use '2-point' or '3-point'.")
    task = task_of(model, parameters, data, jac, Loss(loss, loss_scale), absolute_sigma)
    task.constraints = constrained
    with plain_time(task):
        result = _solve(task, parameters, starts, options)
    result._core.fallbacks = [*result._core.fallbacks, *notes]
    return result


def _solve(task: FitTask, parameters: Parameters, starts: int | None, options: SolveOptions) -> FitResult:
    """Solve from the starts that were asked for."""
    if starts is not None:
        from nlsq.fitting.multistart import solve_from_many

        return FitResult(solve_from_many(task, parameters, read_count(starts), options))
    if not parameters.missing.any():
        return FitResult(solve_from(task, parameters.start, options))
    from nlsq.fitting.starts import CUT_SHORT, find_starts

    found = find_starts(task, parameters, options.deadline)
    core = solve_from(task, found.points[0], options)
    core.nfev_start = found.evaluations
    if found.cut_short:
        core.fallbacks = [*core.fallbacks, CUT_SHORT]
    return FitResult(core)


def constraints_of(given: Any, parameters: Parameters) -> tuple[FitConstraint, ...]:
    """Read the constraints of a fit.

    Raises
    ------
    ValueError, TypeError
        As `read_constraints`; and if held parameters alone violate one.
    """
    if given is None or (isinstance(given, tuple | list) and not given):
        return ()
    from nlsq.fitting.constraints import read_constraints

    constraints = read_constraints(given, parameters.names)
    for constraint in constraints:
        constraint.refuse_held(np.flatnonzero(parameters.fixed), parameters.start)
    return constraints


def task_of(model: Any, parameters: Parameters, data: Any, jac: Any, loss: Loss, absolute_sigma: bool) -> FitTask:
    """Put a task together; what is not needed, such as infinite bounds, is left out."""
    free = np.flatnonzero(~parameters.fixed) if parameters.fixed.any() else None
    lower, upper = (parameters.lower, parameters.upper) if parameters.bounded else (None, None)
    return FitTask(model, parameters.names, data, jac, free, lower, upper, loss, absolute_sigma)


def read_options(
    method: Any, tolerances: Any, max_evaluations: Any, time_limit: Any, callback: Any, progress: bool
) -> SolveOptions:
    """Check the options of the solve."""
    if max_evaluations is not None:
        max_evaluations = read_count(max_evaluations, "max_evaluations")
    deadline = None
    if time_limit is not None:
        if not isinstance(time_limit, numbers.Real) or not float(time_limit) >= 0.0:
            raise ValueError(f"time_limit must be seconds, a number >= 0, got {time_limit!r}.")
        deadline = None if math.isinf(time_limit) else time.perf_counter() + float(time_limit)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable, got {type(callback).__name__}.")
    rules = None if tolerances is None else read_tolerances(tolerances)
    return SolveOptions(method, rules, max_evaluations, callback, progress, deadline)


def read_count(value: Any, name: str = "starts") -> int:
    """Return a positive number of things.

    Raises
    ------
    ValueError
        If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"{name} must be a whole number >= 1, got {value!r}.")
    return int(value)
