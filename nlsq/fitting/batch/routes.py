"""How the fits of a batch are solved: side by side by the kernels of the model's graph, or one after the other.

traced, point by point or not      lanes where the kernel takes them (`nlsq.solvers.batch_workers.has_lanes`),
else the solver of single fits in compiled loops
compiled (`nlsq.compile`)          the solver of single fits in compiled loops
anything else                      `nlsq.fit`'s solver, row by row in Python
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.compile import Binding
from nlsq.compiler.entries import Entry
from nlsq.compiler.kernel_source import Variant
from nlsq.compiler.routes import errors_are_silent, unwrapped
from nlsq.compiler.tracing.trace import is_by_points
from nlsq.fitting.batch.rows import Rows
from nlsq.kernels.backend import address_of_array, compile_disabled
from nlsq.kernels.curve import PREDICTORS, RESPONSE
from nlsq.problem import CompiledFunction
from nlsq.problem.traced import traced_residual
from nlsq.solvers import LevenbergMarquardt, TrustRegionReflective
from nlsq.solvers.batch import BatchData, Worker
from nlsq.solvers.batch_rows import BatchOptions, RowWorker
from nlsq.solvers.batch_workers import LaneWorker, has_lanes
from nlsq.solvers.least_overhead import DISAGREES, Plan
from nlsq.solvers.traced import agrees, plain_residual
from nlsq.status import BatchOutcome

FloatArray = NDArray[np.float64]
COMPARED = 8  # rows on which a graph is compared with its function


@final
@dataclass(slots=True)
class BatchRoute:
    """A way to fit rows without Python between them.

    Attributes
    ----------
    make_worker : callable
        Returns a worker, one for each thread.
    agrees : callable
        ``outcome -> bool``: whether the kernels compute what the model does, as far as is known or seen on some rows.
    refuse : callable
        Called when they do not.
    notes : list of str
        What is done differently from what was asked.
    single : bool
        Whether residuals are computed in single precision.
    notes : list of str
        What is done differently from what was asked.
    """

    make_worker: Callable[[], Worker]
    agrees: Callable[[BatchOutcome], bool]
    refuse: Callable[[], None]
    notes: list[str] = field(default_factory=list)
    single: bool = False


def route_for(
    model: Any, rows: Rows, data: BatchData, options: BatchOptions, n: int, device: str = "cpu"
) -> BatchRoute | str:
    """Return how to fit a batch in compiled code, or the reason why that cannot be."""
    if compile_disabled():
        return "NLSQ_DISABLE_COMPILE is set"
    if not isinstance(options.loss.function, str):
        return "the loss is a Python function"
    if isinstance(model, CompiledFunction):
        return _compiled(model, rows, data, options, n)
    function, route = unwrapped(model, "model")
    if route is None:
        return "it is no Python function"
    if route.reason == DISAGREES:
        return DISAGREES
    if not errors_are_silent():
        return "compiled code raises no floating-point errors, as np.errstate asks for"
    entry = _entry(function, route, rows, n)
    if isinstance(entry, str):
        return entry
    arrays = entry.arrays_of(function)
    if arrays is None:
        return "it was changed while it was traced"
    if entry.trace.shape != (rows.y.shape[1],):
        return f"it returns shape {entry.trace.shape}, not one value a point"
    return _traced(function, route, entry, arrays, rows, data, options, device)


def _entry(function: Any, route: Any, rows: Rows, n: int) -> Entry | str:
    """Return the model's graph, or why there is none."""
    from nlsq.compiler.tracing.trace import trace_model

    x = rows.x_of(0)
    shape = tuple(one.shape for one in x) if isinstance(x, tuple) else x.shape
    key, trace = (shape, n), lambda given=(): trace_model(function, x, n, given=given)
    kept: Entry | None = route.entry(function, key, trace) if route.may_compile() else None
    found: Entry | str = route.examine(function, key, trace) if kept is None else kept
    return found


def _traced(
    function: Any,
    route: Any,
    entry: Entry,
    arrays: Any,
    rows: Rows,
    data: BatchData,
    options: BatchOptions,
    device: str,
) -> BatchRoute | str:
    kernels, m = entry.kernels, rows.y.shape[1]
    pointwise = is_by_points(entry.trace)
    n = kernels.trace.graph.n

    def bound(variant: Variant) -> Binding:
        binding = Binding(kernels, entry.trace, variant)
        binding.set_arrays(*arrays)
        return binding

    def residual_of(weighted: bool) -> Any:
        """Return the residual for the first row's data."""
        x = rows.x_of(0)
        y, weights = np.array(rows.y[0], dtype=np.float64), np.ones(m) if weighted else None
        plain = plain_residual(function, x, y, weights)
        residual = traced_residual(entry, plain, as_matrix(x), y, weights, omits=weighted)
        residual.binding.set_arrays(*arrays)
        return residual

    def make_plan(weighted: bool) -> Plan:
        return _plan(residual_of(weighted), n, data, options, entry.trace.variables)

    def make_row_worker() -> RowWorker:
        extent = next(iter(kernels.layout.lengths.values())) if pointwise else 0  # there is one loop, over the points
        return RowWorker(make_plan, data, not pointwise, extent)

    def make_lane_worker() -> LaneWorker:
        return LaneWorker(kernels, bound(Variant()), data, options, make_row_worker)

    def compare(outcome: BatchOutcome) -> bool:
        return not entry.is_due() or agrees_on_sample(function, residual_of(False), rows, data, outcome)

    def refuse() -> None:
        route.refuse(DISAGREES)

    notes = []
    if device == "cuda":
        from nlsq.solvers.batch_cuda import CudaWorker, why_not_on_device

        reason = why_not_on_device(kernels, data, options)
        if reason is None:
            device_worker = partial(CudaWorker, kernels, bound(Variant()), data, options, make_row_worker)
            return BatchRoute(device_worker, compare, refuse)
        notes.append(f"fitted on the processor, not on the device: {reason}")
    lanes = has_lanes(kernels, m, options.loss)
    make_worker: Callable[[], Worker] = make_lane_worker if lanes else make_row_worker
    return BatchRoute(make_worker, compare, refuse, notes, single=lanes and options.single)


def agrees_on_sample(function: Any, residual: Any, rows: Rows, data: BatchData, outcome: BatchOutcome) -> bool:
    """Whether the kernels give the function's values for some rows, at their starts and where their fits ended."""
    sample = np.unique(np.linspace(0, len(outcome.params) - 1, COMPARED).astype(np.int64))
    for row in sample.tolist():
        x, y = rows.x_of(row), np.array(rows.y[row], dtype=np.float64)
        matrix = np.ascontiguousarray(as_matrix(x))
        residual.table[PREDICTORS], residual.table[RESPONSE] = address_of_array(matrix), address_of_array(y)
        plain = plain_residual(function, x, y, None)
        start = data.start if data.start.ndim == 1 else data.start[row]
        if not all(agrees(residual, plain, p) for p in (start, outcome.params[row])):
            return False
    return True


def as_matrix(x: Any) -> FloatArray:
    """Return x as kernels take it: a row, or a matrix of rows."""
    return np.stack(x) if isinstance(x, tuple) else x


def _compiled(model: CompiledFunction, rows: Rows, data: BatchData, options: BatchOptions, n: int) -> BatchRoute | str:
    if model.kind != "model" or model.n != n:
        return "it was not compiled as a model of so many parameters"
    if rows.as_tuple:
        return "compiled functions take several variables as rows of one array"

    def make_plan(weighted: bool) -> Plan:
        x = np.ascontiguousarray(as_matrix(rows.x_of(0)))
        y = np.array(rows.y[0], dtype=np.float64)
        residual = model.bind_data(x, y, np.ones(y.size) if weighted else None)
        return _plan(residual, n, data, options, x.shape[0] if x.ndim == 2 else 1)

    return BatchRoute(lambda: RowWorker(make_plan, data, True), lambda outcome: True, lambda: None)


def _plan(residual: Any, n: int, data: BatchData, options: BatchOptions, variables: int) -> Plan:
    """Return the plan of a single fit, whose start and data will be each row's."""
    start, lower, upper = (
        one if one is None or one.ndim == 1 else one[0] for one in (data.start, data.lower, data.upper)
    )
    bounded = lower is not None
    return Plan(
        residual,
        np.array(start),
        TrustRegionReflective() if bounded else LevenbergMarquardt(),
        options.tolerances,
        options.max_evaluations,
        variables=variables,
        count_all=False,
        bounds=(lower, upper) if bounded else None,
        loss=str(options.loss.function),
        loss_scale=options.loss.scale,
    )
