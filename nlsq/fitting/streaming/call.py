"""A fit that goes over its data block by block: for data that do not fit in memory, and for very many points.

    1. trace the model, which has to go point by point
    2. find the start on some points, if there is none
    3. Levenberg-Marquardt on sums: one pass over the data for each point that is tried; the first one checks the data
    4. compare the kernels with the model itself on some points, at the start and at the solution

Nothing of the size of the data is allocated. Arrays in memory for which this way is not open are fitted as a whole.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.core import FitCore
from nlsq.fitting.data import CurveData
from nlsq.fitting.result import FitResult
from nlsq.fitting.solving import SolveOptions, attach_core, with_all_parameters
from nlsq.fitting.streaming.data import StreamedData
from nlsq.fitting.streaming.model import TracedSums, WhyNot, traced_sums
from nlsq.fitting.streaming.source import Request, read_blocks
from nlsq.fitting.task import FitTask, python_residual
from nlsq.loss import LOSS_NAMES
from nlsq.problem.chunks.blocks import Block, PointData
from nlsq.solvers.least_overhead import DISAGREES
from nlsq.solvers.sums import BlockSums, Sums, SumsAt
from nlsq.solvers.sums_solve import EVALUATIONS, SumOutcome, SumSolve, drive_on_sums
from nlsq.solvers.termination import Tolerances
from nlsq.solvers.traced import agrees
from nlsq.status import Status

if TYPE_CHECKING:
    from nlsq.solvers.termination import Termination

FloatArray = NDArray[np.float64]
HARD_AFTER = 100  # evaluations after which a fit of data in memory goes on as a whole
HARD = "the data were fitted as a whole: their sums do not determine the steps well enough"
INFINITE = "the data were fitted as a whole: their sums of squared derivatives are not finite"
STUCK = (
    "the normal equations, all that is known of data read in chunks, do not determine the next step: parameters may be "
    "redundant, or scaled very differently"
)
_WATCHED_OFF = Tolerances(cost=None, step=None, optimality=None)


def fit_streamed(request: Request) -> FitResult | str | None:
    """Fit data block by block.

    Returns
    -------
    FitResult, str or None
        For arrays in memory also None where they are to be fitted as a whole, with words where that comes as a
        surprise.

    Raises
    ------
    ValueError, TypeError
        For data that are read in chunks, saying why they cannot be fitted.
    """
    if request.y is None and not request.in_chunks:
        raise TypeError("y is missing; it may be left out where x is an nlsq.ChunkSource.")
    reason = _refusal(request)
    if reason and not request.in_chunks:
        return None
    blocks = read_blocks(request.x, request.y, request.sigma, request.weights, request.nan_policy)
    if blocks is None:
        return None
    try:
        if reason:
            raise WhyNot(reason)
        task = _task(request, blocks)
        return _fit(request, task, blocks)
    except WhyNot as why:
        if not request.in_chunks:
            return None
        raise ValueError(f"data that are read in chunks cannot be fitted this way: {why}.") from None


def _refusal(request: Request) -> str:
    """Say which of the options needs all residuals at once; nothing where none does."""
    options, parameters = request.options, request.parameters
    tolerances = options.tolerances
    if parameters.fixed.all():
        return "all parameters are held"
    if request.jac is not None:
        return "jac is given, and derivatives are taken from the model itself"
    if request.starts is not None:
        return "starts= is for data in memory"
    if options.method is not None and (not isinstance(options.method, str) or options.method != "lm"):
        return f"method={options.method!r} is for data in memory; leave it out"
    if options.method == "lm" and parameters.bounded:
        return "method 'lm' takes no bounds; leave it out"
    if callable(request.loss.function) or request.loss.function not in LOSS_NAMES:
        return "loss is a function; take one by its name"
    if isinstance(tolerances, Tolerances) and tolerances.rule != "native":
        return f"tolerances with rule={tolerances.rule!r} are for data in memory"
    return ""


def _task(request: Request, blocks: PointData) -> FitTask:
    parameters = request.parameters
    in_memory = not blocks.source.is_lazy
    given = (request.x, request.y, request.sigma, request.weights, request.nan_policy) if in_memory else None
    data = CurveData(None, np.empty(0), (0,), streamed=StreamedData(0, 0, given, blocks))
    free = np.flatnonzero(~parameters.fixed) if parameters.fixed.any() else None
    lower, upper = (parameters.lower, parameters.upper) if parameters.bounded else (None, None)
    return FitTask(
        request.model, parameters.names, data, None, free, lower, upper, request.loss, request.absolute_sigma
    )


def _fit(request: Request, task: FitTask, blocks: PointData) -> FitResult | str:
    parameters, options = request.parameters, request.options
    traced = traced_sums(task, parameters, blocks)
    blocks.prepare(task.model, parameters)
    start, fallbacks, tried = parameters.start, [], 0
    if parameters.missing.any():
        blocks.check()
        from nlsq.fitting.starts import CUT_SHORT, find_starts

        found = find_starts(_on_sample(task, blocks)[0], parameters, options.deadline)
        start, tried = found.points[0], found.evaluations
        fallbacks += [CUT_SHORT] if found.cut_short else []
    own = options.tolerances if not isinstance(options.tolerances, Tolerances | None) else None
    solve = _solve_of(traced.sums, task, blocks, start, options, own)
    outcome = _drive(request, task, blocks, traced, solve, start, own)
    if outcome.status in (Status.STALLED, Status.NONFINITE_JACOBIAN):
        stalled = outcome.status == Status.STALLED
        if not blocks.source.is_lazy:
            return HARD if stalled else INFINITE
        fallbacks += [STUCK] if stalled else []
    core = _core(task, blocks, traced.sums, start, outcome, fallbacks)
    core.nfev_start = tried
    return FitResult(core)


def _solve_of(
    sums: BlockSums, task: FitTask, blocks: PointData, start: FloatArray, options: SolveOptions, own: Any
) -> SumSolve:
    """Return the solve at its start."""
    tolerances = options.tolerances if isinstance(options.tolerances, Tolerances) else Tolerances()
    limit = options.max_evaluations or EVALUATIONS * (task.n_free + 1)
    hard_after = math.inf if blocks.source.is_lazy else float(HARD_AFTER)

    def evaluate(p: FloatArray) -> Sums:
        found = sums.added(blocks.terms(SumsAt(sums, p)))
        if blocks.used < task.n_free and blocks.is_checked:
            raise ValueError(f"there are {blocks.used} points for {task.n_free} free parameters; hold some of them.")
        return found

    p = np.array(task.among_free(start), dtype=np.float64)
    return SumSolve(evaluate, p, task.free_bounds(), tolerances if own is None else _WATCHED_OFF, limit, hard_after)


def _drive(
    request: Request,
    task: FitTask,
    blocks: PointData,
    traced: TracedSums,
    solve: SumSolve,
    start: FloatArray,
    own: Termination | None,
) -> SumOutcome:
    """Solve.

    Raises
    ------
    WhyNot
        If the kernels do not give what the model does.
    BaseException
        Whatever the model, the source or a callback raise; with the best point so far, as in `solve_from`.
    """
    options, callback = request.options, request.options.callback
    if callback is not None and task.free is not None:
        callback = with_all_parameters(task, start, callback)
    try:
        solve.advance()
        if not _agrees(task, blocks, traced.sums, start):
            raise _disagreement(traced)
        outcome = drive_on_sums(solve, callback, options.time_left(), options.progress, own)
    except BaseException as error:
        if solve.counters.nfev and solve.status != Status.NONFINITE_START and not hasattr(error, "result"):
            attach_core(error, _core(task, blocks, traced.sums, start, solve.outcome(), []))
        raise
    end = np.array(task.among_all(outcome.x, start))
    if not _agrees(task, blocks, traced.sums, end):
        raise _disagreement(traced)
    return outcome


def _disagreement(traced: TracedSums) -> WhyNot:
    """Let the model be called plainly from now on."""
    traced.route.refuse(DISAGREES)
    return WhyNot(DISAGREES)


def _agrees(task: FitTask, blocks: PointData, sums: BlockSums, params: FloatArray) -> bool:
    """Whether kernels and model give the same residuals on some points."""
    sampled, block = _on_sample(task, blocks)
    kernels: Any = sums.residual(block)
    return agrees(kernels, python_residual(sampled, params), np.array(task.among_free(params)))


def _on_sample(task: FitTask, blocks: PointData) -> tuple[FitTask, Block]:
    """Return the task on some of its points, and these as a block."""
    x, y, weights = blocks.sample.arrays()
    at = x if blocks.source.joined else tuple(x)
    data = CurveData(at, y, y.shape, weights)
    sampled = FitTask(
        task.model, task.names, data, None, task.free, task.lower, task.upper, task.loss, task.absolute_sigma
    )
    return sampled, Block(0, x, y, weights)


def _core(
    task: FitTask, blocks: PointData, sums: BlockSums, start: FloatArray, outcome: SumOutcome, fallbacks: list[str]
) -> FitCore:
    """Collect what the solve left behind."""
    streamed = task.data.streamed
    assert streamed is not None
    streamed.used, streamed.informative, streamed.sums = blocks.used, blocks.informative, sums
    task.data.shape, task.data.omitted = (blocks.points,), blocks.points - blocks.used
    active = None
    if outcome.active is not None:
        active = np.asarray(task.among_all(outcome.active, np.zeros(len(task.names), dtype=int)))
    return FitCore(
        task,
        np.array(task.among_all(outcome.x, start)),
        outcome.sums.cost,
        outcome.status,
        outcome.nfev,
        outcome.nfev,
        outcome.nit,
        normal=outcome.sums.normal,
        active=active,
        fallbacks=fallbacks,
        start=start.copy(),
    )
