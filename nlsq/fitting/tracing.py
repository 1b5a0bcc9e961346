"""The residual of a fit by the kernels of its model's graph: held parameters are constants of the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.routes import Route, unwrapped
from nlsq.compiler.tracing.trace import trace_model
from nlsq.problem.traced import traced_residual
from nlsq.solvers.least_overhead import DISAGREES
from nlsq.solvers.traced import agrees

if TYPE_CHECKING:
    from nlsq.fitting.task import FitTask

FloatArray = NDArray[np.float64]


def traced_task(task: FitTask, route: Route, held: FloatArray) -> Any:
    """Return the compiled residual over the free parameters; None where the model has to be called.

    It is compared with the model's own residual at the parameters as they are, and by `solve_from` at the solution.
    """
    from nlsq.fitting.task import python_residual

    model, _ = unwrapped(task.model, "model")
    data = task.data
    x = (
        tuple(np.ascontiguousarray(row) for row in data.x)
        if isinstance(data.x, tuple)
        else np.ascontiguousarray(data.x)
    )
    shape = tuple(row.shape for row in x) if isinstance(x, tuple) else x.shape
    names = task.names
    fixed = (
        {} if task.free is None else {j: float(held[j]) for j in range(len(names)) if j not in set(task.free.tolist())}
    )
    key = (shape, len(names), tuple(fixed.items())) if fixed else (shape, len(names))
    entry = route.entry(model, key, lambda given=(): trace_model(model, x, task.n_free, fixed, given))
    arrays = None if entry is None else entry.arrays_of(model)
    if entry is None or arrays is None or entry.trace.m != data.y.size or entry.trace.shape != data.shape:
        return None
    if not fixed:
        entry.names = names
    rows = np.stack(x) if isinstance(x, tuple) else x
    weights = None if data.weights is None else np.array(np.broadcast_to(data.weights, data.y.shape))
    plain = python_residual(task, held)
    omits = weights is not None and not weights.all()
    residual = traced_residual(entry, plain, rows, data.y, weights, omits)
    residual.binding.set_arrays(*arrays)
    start = np.array(task.among_free(held), dtype=np.float64)
    return residual if agrees_or_refuse(task, residual, start) else None


def agrees_or_refuse(task: FitTask, residual: Any, p: FloatArray) -> bool:
    """Whether the kernels give the model's own residual at `p`; if they do not, the model is called from now on."""
    if agrees(residual, residual.in_python, p):
        return True
    route = unwrapped(task.model, "model")[1]
    if route is not None:
        route.refuse(DISAGREES)
    return False
