"""`fit_batch`: one model, many data sets, one call.

    for each row b    minimise over p   F(p) = 1/2 sum_i rho(r_i(p)^2),      r = (model(x, p) - Y[b]) / sigma

Every fit is solved as if it were alone; see `nlsq.kernels.sum_step` for the method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.batch.each import BatchTask, fit_each
from nlsq.fitting.batch.numbers import read_numbers
from nlsq.fitting.batch.parameters import BatchParameters, read_batch_parameters, read_positive, refuse_outside
from nlsq.fitting.batch.progress import Progress
from nlsq.fitting.batch.result import BatchFitResult
from nlsq.fitting.batch.routes import as_matrix, route_for
from nlsq.fitting.batch.rows import Rows, may_be_either, read_rows, rows_are_variables
from nlsq.fitting.distributed.arrays import is_dask
from nlsq.fitting.parameters import Parameters, read_signature, refuse_uncallable
from nlsq.loss import Loss
from nlsq.solvers import Tolerances
from nlsq.solvers.batch import BatchData, BatchReport, chunks_of, forget, new_outcome, run, threads_for
from nlsq.solvers.batch_rows import BatchOptions
from nlsq.solvers.least_overhead import DISAGREES
from nlsq.solvers.termination import read_tolerances
from nlsq.status import Status

FloatArray = NDArray[np.float64]
IN_DOUBLE = "computed in double precision: single precision is for fits side by side on a processor"
EVALUATIONS = 200  # times n + 1: the limit of a fit, MINPACK's for a Jacobian by differences


def fit_batch(
    model: Callable[..., Any],
    x: Any,
    Y: Any,
    p0: Any = None,
    *,
    sigma: Any = None,
    weights: Any = None,
    absolute_sigma: bool = False,
    mask: Any = None,
    bounds: Any = None,
    fixed: Any = None,
    constraints: Any = (),
    loss: str | Callable[[Any], Any] = "linear",
    loss_scale: float = 1.0,
    tolerances: Any = None,
    max_evaluations: int | None = None,
    dtype: Any = None,
    threads: int | None = None,
    progress: bool = False,
    callback: Callable[[BatchReport], Any] | None = None,
    device: str = "cpu",
) -> BatchFitResult:
    """Fit one model to many data sets.

    Parameters
    ----------
    model : callable
        ``model(x, a, b, ...)`` as for `nlsq.fit`, called with the x of one fit.
    x : array_like or tuple of array_like
        Independent variables: shape (m,), or (k, m) or a tuple of k arrays for several; shared by all fits, or each
        fit's own where an array has the shape of `Y`, ``(..., m)``.
    Y : array_like, shape (..., m)
        The data, one fit for each row along the last axis; the leading axes, such as those of an image, are those of
        the result. What is NaN, infinite or masked is missing and does not count; x keeps those points, so that the
        model is called with all of them.
    p0 : array_like, dict or callable, optional
        Starts: shape (n,), or (..., n) for each fit; by name numbers or arrays of the leading shape; or
        ``p0(x, Y) -> starts`` for Y of shape (B, m). By default they are found from the data, see Notes.
    sigma, weights : array_like, optional
        Standard deviations, or factors of the residuals, 1 / sigma: a number, shape (m,), or that of `Y`. Infinite
        sigma and zero weights leave a point out. Not both.
    absolute_sigma : bool
        Whether `sigma` is in the unit of the data; else the scatter of each fit gives the scale of its errors.
    mask : array_like of bool, optional
        True leaves a point out; shape (m,) or that of `Y`.
    bounds : tuple, scipy.optimize.Bounds or dict, optional
        As for `nlsq.fit`; each end a number for all fits, or one for each: ``{"a": (0, upper_of_each_pixel)}``. Equal
        ends hold the parameter.
    fixed : dict or sequence of str, optional
        Parameters that are held, at numbers or arrays of the leading shape, or at their starts.
    constraints : sequence
        Refused unless empty: the kernels of batches take bounds and held parameters. `nlsq.fit` takes constraints.
    loss, loss_scale
        As for `nlsq.fit`.
    tolerances : Tolerances, optional
        Default ``Tolerances(cost=1e-12, step=1e-10, optimality=1e-10)``.
    max_evaluations : int, optional
        Limit for each fit. Default 200 (n + 1).
    dtype : dtype, optional
        float64 or float32: type of computation and result. By default computation is in float64, and the result is in
        float32 if all arrays given are. Sums over the points are in float64 in any case. Where residuals are in float32
        tolerances below its rounding are raised to it; fits that are solved one by one are in float64.
    threads : int, optional
        By default one for every two million values of `Y`, at most as many as there are processors.
    progress : bool
        Show a bar (with tqdm if it is installed).
    callback : callable, optional
        Called with a `BatchReport` after each chunk of rows; a true result stops.
    device : {"cpu", "cuda"}
        Where the fits are solved; ``"cuda"`` needs numba-cuda (the extra ``cuda``) and a device.

    Returns
    -------
    BatchFitResult
        Arrays with the leading shape of `Y`. A fit that failed has its best point and its status. Rows that were not
        fitted have NaN for their parameters: those with fewer points than free parameters (``TOO_FEW_POINTS``), and
        those that were not reached before Ctrl-C or a stop by the callback (``NOT_FITTED``).

    Raises
    ------
    ValueError, TypeError
        For an invalid argument, naming it and the row.
    NotImplementedError
        For constraints.

    Notes
    -----
    Exceptions of a model that is called in Python, and of the callback, pass through with the fits that were done so
    far as a `BatchFitResult` in their attribute ``result``.

    A fit depends on its own row alone: it gives the same numbers, to the last bit, in any batch, at any place in it and
    with any number of threads. Starts that are found from the data are the exception: they are chosen for each row from
    values that were looked up for the whole batch or, where each fit has its own x, for that of the first row.

    Models that can be traced are solved as many side by side as a vector register has room for. Fits that are hard for
    that (nearly dependent parameters, slow convergence) are solved again one by one (``result.redone``), and so are all
    fits of a model that cannot be traced; `fallbacks` of the result says so.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(0, 4, 50)
    >>> rates = np.array([[0.5, 1.0], [1.5, 2.0]])
    >>> Y = 3.0 * np.exp(-rates[..., np.newaxis] * x)
    >>> maps = fit_batch(lambda x, height, rate: height * np.exp(-rate * x), x, Y, [1, 1])
    >>> maps["rate"].round(6).tolist()
    [[0.5, 1.0], [1.5, 2.0]]
    """
    refuse_uncallable(model)
    if constraints is not None and not (isinstance(constraints, tuple | list) and not constraints):
        raise NotImplementedError(
            "fit_batch takes no constraints, but bounds and fixed; solve for a parameter and write the model with what "
            "is left, or call nlsq.fit for each row."
        )
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'cpu' or 'cuda', got {device!r}.")
    if is_dask(Y):
        from nlsq.fitting.distributed.batch import fit_dask_batch

        given = {"sigma": sigma, "weights": weights, "mask": mask, "bounds": bounds, "fixed": fixed, "loss": loss}
        given |= {"absolute_sigma": absolute_sigma, "loss_scale": loss_scale, "tolerances": tolerances, "dtype": dtype}
        given |= {"max_evaluations": max_evaluations, "threads": threads, "progress": progress, "callback": callback}
        return fit_dask_batch(model, x, Y, p0, given | {"device": device})
    if device == "cuda":
        from nlsq.solvers.batch_cuda import require_device

        require_device()
    options_threads = read_positive("threads", threads)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable, got {type(callback).__name__}.")
    rows = read_rows(x, Y, sigma, weights, mask)
    names, defaults = read_names(model, p0)
    parameters = read_batch_parameters(names, defaults, p0, bounds, fixed, rows.shape)
    if may_be_either(x, rows.y.shape) and rows_are_variables(model, x, parameters.start.reshape(-1, len(names))[0]):
        rows = read_rows(x, Y, sigma, weights, mask, shared_x=True)
    single, result_type = read_types(dtype, (Y, x, p0, sigma, weights))
    options = read_options(len(names), tolerances, max_evaluations, Loss(loss, loss_scale), single)
    start = starts_of(model, rows, parameters, p0)
    data = BatchData(
        rows.y, _kernel_x(rows), rows.own_x, rows.weights, rows.mask, start, parameters.lower, parameters.upper,
        parameters.free,
    )  # fmt: skip
    outcome = new_outcome(data, len(names))
    make_result = partial(
        BatchFitResult,
        outcome,
        names,
        rows.shape,
        fixed=parameters.fixed,
        lower=parameters.lower,
        upper=parameters.upper,
        absolute_sigma=absolute_sigma,
        dtype=result_type,
        is_linear_loss=options.loss.is_linear,
        step_tolerance=options.tolerances.step or 0.0,
        rounding=float(np.finfo(np.float32 if single else np.float64).eps),
    )
    with Progress(progress, callback, rows.y.shape[0]) as report:
        task = BatchTask(model, rows, parameters, data, options, outcome)
        solve = partial(solve_rows, task, options_threads, report.function, device)
        return result_of(solve, make_result, lambda: forget(outcome, data, outcome.status == Status.NOT_FITTED))


def result_of(
    solve: Callable[[], tuple[list[str], bool]],
    make_result: Callable[..., BatchFitResult],
    clear: Callable[[], None],
) -> BatchFitResult:
    """Solve and return the result, also of an interrupted batch; an exception gets what was done as an attribute.

    What an interruption left half written is cleared.
    """
    try:
        fallbacks, interrupted = solve()
    except KeyboardInterrupt:  # between chunks; within one it is an end of `solve_rows`
        fallbacks, interrupted = [], True
    except BaseException as error:
        clear()
        error.result = make_result(interrupted=True)  # type: ignore[attr-defined]
        error.add_note("The fits that were done before are in the attribute `result` of this exception.")
        raise
    if interrupted:
        clear()
    if IN_DOUBLE in fallbacks:
        return make_result(fallbacks=fallbacks, interrupted=interrupted, rounding=float(np.finfo(np.float64).eps))
    return make_result(fallbacks=fallbacks, interrupted=interrupted)


def read_names(model: Any, p0: Any) -> tuple[tuple[str, ...], dict[str, float]]:
    """Return the names of the parameters, and the numbers that the signature gives as defaults."""
    listed = not (p0 is None or isinstance(p0, Mapping) or callable(p0))
    counted = np.zeros(read_numbers("p0", p0).shape[-1:] or (1,)) if listed else p0
    return read_signature(model, None if callable(counted) else counted)


def read_types(dtype: Any, given: tuple[Any, ...]) -> tuple[bool, np.dtype[Any]]:
    """Return whether to compute in single precision, and the type of the result."""
    if dtype is not None:
        try:
            wanted = np.dtype(dtype)
        except TypeError as error:
            raise TypeError(f"dtype must be float64 or float32, got {dtype!r}.") from error
        if wanted not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise ValueError(f"dtype must be float64 or float32, got {wanted}.")
        return wanted == np.float32, wanted
    parts = [one for some in given for one in (some if isinstance(some, tuple) else (some,))]
    types = [one.dtype for one in parts if hasattr(one, "dtype")]
    all_single = hasattr(given[0], "dtype") and all(one == np.float32 for one in types)
    return False, np.dtype(np.float32 if all_single else np.float64)


def read_options(n: int, tolerances: Any, max_evaluations: Any, loss: Loss, single: bool = False) -> BatchOptions:
    """Check how the fits are to be solved."""
    rules = read_tolerances(tolerances)
    if not isinstance(rules, Tolerances):
        raise TypeError("tolerances must be nlsq.Tolerances for a batch: other tests are no kernels.")
    if rules.rule != "native":
        raise ValueError(f"tolerances: a batch stops by the rule 'native', got {rules.rule!r}.")
    limit = read_positive("max_evaluations", max_evaluations)
    return BatchOptions(rules, EVALUATIONS * (n + 1) if limit is None else limit, loss, single)


def _kernel_x(rows: Rows) -> Any:
    """Return x as kernels take it."""
    return rows.x if rows.own_x else np.ascontiguousarray(as_matrix(rows.x))


def starts_of(model: Any, rows: Rows, parameters: BatchParameters, p0: Any) -> FloatArray:
    """Return the starts, found from the data where there are none, inside the bounds."""
    start, (count, n) = parameters.start, (rows.y.shape[0], len(parameters.names))
    if not (callable(p0) or np.isnan(start).any()) or not count:
        return start
    from nlsq.fitting.batch_starts.search import find_batch_starts, start_from_callable

    infinite = np.full(n, np.inf)
    lower = -infinite if parameters.lower is None else parameters.lower
    upper = infinite if parameters.upper is None else parameters.upper
    every = slice(0, count)
    x, y = rows.x_part(every), rows.y_part(every)
    if callable(p0):
        start = np.where(parameters.fixed, start, start_from_callable(p0, x, y, parameters.names))
        refuse_outside(parameters.names, start, lower, upper, rows.shape)
    fixed = np.asarray(parameters.fixed.reshape(-1, n).all(axis=0))
    known = Parameters(parameters.names, start, lower, upper, fixed)
    return find_batch_starts(model, x, y, rows.weights, known, shared_x=not rows.own_x)


def solve_rows(
    task: BatchTask, threads: int | None, report: Callable[[BatchReport], Any] | None, device: str = "cpu"
) -> tuple[list[str], bool]:
    """Fit all rows; return what was done differently from what was asked, and whether that was interrupted."""
    data, outcome = task.data, task.outcome
    count, m = data.y.shape
    if count == 0:
        return [], False
    route = route_for(task.model, task.rows, data, task.options, len(task.parameters.names), device)
    in_double = [IN_DOUBLE] if task.options.single else []
    if isinstance(route, str):
        return [f"the model was called row by row: {route}", *in_double], fit_each(task, report)
    workers = threads_for(threads, count * m) if device == "cpu" else 1
    interrupted = run(chunks_of(count, m, workers), route.make_worker, outcome, workers, report)
    if not route.agrees(outcome):
        route.refuse()
        forget(outcome, data, np.ones(count, dtype=bool))
        return [f"the model was called row by row: {DISAGREES}", *in_double], interrupted or fit_each(task, report)
    fallbacks = [*route.notes, *([] if route.single else in_double)]
    redone = int(np.count_nonzero(outcome.redone))
    if redone:
        fallbacks.append(f"{redone} of {count} fits were hard for the batch kernel and solved again one by one")
    return fallbacks, interrupted
