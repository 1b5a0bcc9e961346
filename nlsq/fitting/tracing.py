"""The residual of a fit by the kernels of its model's graph: held parameters are constants of the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.routes import Route, unwrapped
from nlsq.compiler.trace import trace_model
from nlsq.problem.traced import traced_residual
from nlsq.solvers.least_overhead import DISAGREES
from nlsq.solvers.traced import same_values

if TYPE_CHECKING:
    from nlsq.fitting.task import FitTask

FloatArray = NDArray[np.float64]


def traced_task(task: FitTask, route: Route, held: FloatArray) -> Any:
    """Return the compiled residual over the free parameters; None where the model has to be called.

    It is compared with the model's own residual at the parameters as they are.
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
    entry = route.entry(
        model, (shape, len(names), tuple(fixed.items())), lambda: trace_model(model, x, task.n_free, fixed)
    )
    if entry is None or entry.trace.m != data.y.size or entry.trace.shape != data.shape:
        return None
    if not fixed:
        entry.names, entry.shape = names, shape
    rows = np.stack(x) if isinstance(x, tuple) else x
    weights = None if data.weights is None else np.array(np.broadcast_to(data.weights, data.y.shape))
    plain = python_residual(task, held)
    residual = traced_residual(entry.trace, plain, rows, data.y, weights)
    residual.binding.set_arrays(entry.origins, entry.version)
    with np.errstate(all="ignore"):
        start = np.array(task.among_free(held), dtype=np.float64)
        if not same_values(residual(start), plain(start)):
            route.refuse(DISAGREES)
            return None
    return residual
