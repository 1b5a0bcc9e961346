"""The kernels of a model whose data are read block by block.

The model is recorded for a number of points that has nothing to do with that of the data; so it is recorded for a
second one as well, and has to give the same graph.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, final
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.compile import structure
from nlsq.compiler.entries import Entry
from nlsq.compiler.graph import NotTraceable
from nlsq.compiler.routes import MANY_POINTS, Route, errors_are_silent, unwrapped
from nlsq.compiler.tracing.trace import SEPARATE_ROWS, Trace, is_by_points, trace_model
from nlsq.fitting.parameters import Parameters
from nlsq.fitting.task import FitTask
from nlsq.kernels.backend import compile_disabled
from nlsq.problem import CompiledFunction
from nlsq.problem.chunks.blocks import PointData, Source
from nlsq.solvers.sums import BlockSums

FloatArray = NDArray[np.float64]
NOT_BY_POINTS = "the model's value at a point depends on other points, or on their number"


@final
class WhyNot(Exception):
    """Why data cannot be fitted block by block."""


@final
@dataclass(slots=True)
class TracedSums:
    """The kernels of a model, and what is known of it."""

    sums: BlockSums
    route: Route


def traced_sums(task: FitTask, parameters: Parameters, blocks: PointData) -> TracedSums:
    """Return the kernels of a task's model over the free parameters.

    Raises
    ------
    WhyNot
        If there are none for blocks.
    """
    source, names = blocks.source, task.names
    if source.lead and source.lead[0] > SEPARATE_ROWS:
        raise WhyNot(f"x has {source.lead[0]} rows, more than {SEPARATE_ROWS}")
    if compile_disabled():
        raise WhyNot("nothing is compiled, as NLSQ_DISABLE_COMPILE asks")
    model, route = (task.model, None) if isinstance(task.model, CompiledFunction) else unwrapped(task.model, "model")
    if route is None:
        raise WhyNot("the model is no plain Python function")
    if not route.ready and not route.may_compile():
        raise WhyNot(f"the model cannot be compiled: {route.reason or 'compilation is turned off'}")
    held = {j: float(parameters.start[j]) for j in range(len(names)) if parameters.fixed[j]}

    def trace(given: Any = (), points: int = MANY_POINTS) -> Trace:
        return trace_model(model, prototype(source, points), task.n_free, held, given)

    x = prototype(source, MANY_POINTS)
    shape = x.shape if source.joined else tuple(row.shape for row in x)
    key = (shape, len(names), tuple(held.items())) if held else (shape, len(names))
    entry = route.entry(model, key, trace)
    arrays = None if entry is None else entry.arrays_of(model)
    if entry is None or arrays is None:
        quiet = "" if errors_are_silent() else "NumPy is set to raise floating-point errors; see np.seterr"
        raise WhyNot(f"the model cannot be compiled: {route.reason or quiet or 'it changes from call to call'}")
    if not is_by_points(entry.trace) or not _is_for_any_length(entry, route, trace):
        raise WhyNot(NOT_BY_POINTS)
    loss = task.loss.function
    try:
        sums = BlockSums(entry, arrays, blocks.weighted, str(loss), task.loss.scale, source.scaled)
    except NotTraceable as reason:
        raise WhyNot(str(reason)) from None
    return TracedSums(sums, route)


_same: dict[int, ref[Trace]] = {}  # traces that are for any length, by their identity
MOST_KNOWN = 1000


def _is_for_any_length(entry: Entry, route: Any, trace: Any) -> bool:
    """Whether the graph is the same for another number of points."""
    known = _same.get(id(entry.trace))
    if not isinstance(route, Route) or (known is not None and known() is entry.trace):
        return True  # that of a model from a file was looked at when it was loaded
    try:
        first, second = trace(), trace((), MANY_POINTS - 1)
    except NotTraceable:
        return False
    same = bool(structure(first) == structure(second) and first.graph.constants == second.graph.constants)
    if same:
        if len(_same) >= MOST_KNOWN:
            _same.clear()
        _same[id(entry.trace)] = ref(entry.trace)
    return same


def prototype(source: Source, points: int) -> Any:
    """Return an x of the form of the data, of so many points; what is in it plays no part."""
    row = _zeros()[:points]
    if not source.joined:
        return (row,) * source.lead[0]
    return np.broadcast_to(row, (*source.lead, points)) if source.lead else row


@functools.cache
def _zeros() -> FloatArray:
    """Return zeros, which take no memory as long as nobody reads them."""
    return np.zeros(MANY_POINTS)
