"""Fits of a batch one by one in Python, for models without kernels."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.batch.parameters import BatchParameters
from nlsq.fitting.batch.rows import Rows
from nlsq.fitting.core import FitCore
from nlsq.fitting.data import CurveData
from nlsq.fitting.solving import SolveOptions, solve_from
from nlsq.fitting.task import FitTask
from nlsq.solvers.batch import BatchData, BatchReport, row_note
from nlsq.solvers.batch_rows import BatchOptions
from nlsq.status import BatchOutcome, Status

FloatArray = NDArray[np.float64]
REPORTS = 0.1  # seconds between calls of the callback


@final
@dataclass(frozen=True, slots=True)
class BatchTask:
    """A batch of fits, ready to be solved.

    Attributes
    ----------
    model : callable
    rows : Rows
        Data as they were given.
    parameters : BatchParameters
        Names, bounds, what is held.
    data : BatchData
        The same as kernels take them, with the starts.
    options : BatchOptions
        How to solve.
    outcome : BatchOutcome
        Where results go.
    """

    model: Any
    rows: Rows
    parameters: BatchParameters
    data: BatchData
    options: BatchOptions
    outcome: BatchOutcome


def fit_each(task: BatchTask, report: Callable[[BatchReport], Any] | None) -> bool:
    """Fit all rows; return whether that was interrupted.

    Parameters
    ----------
    task : BatchTask
        The batch.
    report : callable, optional
        See `nlsq.solvers.batch.run`; called from time to time.
    """
    total = task.outcome.status.size
    said, began = 0, time.perf_counter()
    try:
        for row in range(total):
            try:
                fit_row(task, row)
            except Exception as error:
                error.add_note(row_note(row))
                raise
            done = row + 1
            if report is not None and (done == total or time.perf_counter() - began > REPORTS):
                span = slice(said, done)
                said, began = done, time.perf_counter()
                if report(BatchReport(done, total, span, task.outcome)):
                    return done < total
    except KeyboardInterrupt:
        return True
    return False


def fit_row(task: BatchTask, row: int) -> None:
    """Fit one row and write its outcome."""
    parameters, start, options, outcome = task.parameters, task.data.start, task.options, task.outcome
    data = data_of(task.rows, row)
    fixed = parameters.fixed if parameters.fixed.ndim == 1 else parameters.fixed[row]
    p = start if start.ndim == 1 else start[row]
    outcome.params[row] = p
    outcome.points[row] = 0 if data is None else data.informative
    free = int(np.count_nonzero(~fixed))
    if data is None or data.informative < max(free, 1):
        outcome.status[row] = Status.TOO_FEW_POINTS
        return
    bounds = [
        None if one is None else one if one.ndim == 1 else one[row] for one in (parameters.lower, parameters.upper)
    ]
    held = np.flatnonzero(~fixed) if fixed.any() else None
    single = FitTask(task.model, parameters.names, data, None, held, bounds[0], bounds[1], options.loss, False)
    core = solve_from(single, np.array(p), SolveOptions(None, options.tolerances, options.max_evaluations))
    outcome.params[row], outcome.cost[row] = core.params, core.cost if np.isfinite(core.cost) else np.inf
    outcome.status[row] = core.status
    outcome.nfev[row] += core.nfev
    outcome.nit[row] += core.nit
    outcome.normal[row] = packed_normal(core)


def data_of(rows: Rows, row: int) -> CurveData | None:
    """Return the data of a row, of which missing points stay in x; None where no point is left."""
    x, y = rows.x_of(row), np.array(rows.y[row], dtype=np.float64)
    if not rows.own_x:  # a copy, so that a model that changes its x changes that of no other row
        x = tuple(part.copy() for part in x) if isinstance(x, tuple) else x.copy()
    weights = rows.weights_of(row)
    missing = ~np.isfinite(y)
    if weights is not None:
        missing |= weights == 0.0
    for part in x if isinstance(x, tuple) else (x,):
        missing |= ~np.isfinite(part).reshape(-1, y.size).all(axis=0)
    if not missing.any():
        return CurveData(x, y, y.shape, weights)
    if missing.all():
        return None
    keep = ~missing
    weights = None if weights is None else np.asarray(weights[keep], dtype=np.float64)
    return CurveData(x, y[keep], y.shape, weights, keep=keep, omitted=int(missing.sum()))


def packed_normal(core: FitCore) -> FloatArray:
    """Return J'J over all parameters, lower triangle row by row; zero for parameters that are held."""
    n = len(core.task.names)
    normal = core.normal
    if normal is None:
        if core.jac is None:
            return np.full(n * (n + 1) // 2, np.nan)
        normal = core.jac.T @ core.jac
    full = np.zeros((n, n))
    free = np.arange(n) if core.task.free is None else core.task.free
    full[np.ix_(free, free)] = normal
    packed: FloatArray = full[np.tril_indices(n)]
    return packed
