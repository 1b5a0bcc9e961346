"""What fits the rows of a chunk side by side.

A *lane worker* runs the model's batch kernel (`nlsq.kernels.batch.run_lanes`). Rows that are whole and rows with
missing points go through kernels of their own, so that none is treated otherwise because of its neighbours. Fits that
are hard for it, see `nlsq.kernels.sum_step`, go to a row worker (`nlsq.solvers.batch_rows`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.batch_source import BatchVariant, batch_places
from nlsq.compiler.compile import Binding, GraphKernels
from nlsq.kernels import batch, sum_step
from nlsq.kernels.backend import address_of_array
from nlsq.kernels.backend.generated import lanes
from nlsq.kernels.backend.program import CONSTANTS
from nlsq.kernels.curve import PREDICTORS, RESPONSE, WEIGHTS
from nlsq.loss import Loss
from nlsq.solvers.batch import BatchData, IntArray
from nlsq.solvers.batch_rows import BatchOptions, ChunkRows, HardRows, RowWorker, set_aside, take_ends, variables_of
from nlsq.status import BatchOutcome

FloatArray = NDArray[np.float64]

LANES_UP_TO = 2048  # points; the data of as many fits as there are lanes must stay in the processor's nearest memory
HARD_AFTER = 200  # evaluations


def has_lanes(kernels: GraphKernels, m: int, loss: Loss) -> bool:
    """Whether fits of a graph are solved side by side; it depends on nothing but model, length and loss."""
    return kernels.fuses and m <= LANES_UP_TO and isinstance(loss.function, str)


def variant_of(data: BatchData, options: BatchOptions) -> BatchVariant:
    """Return the form of the kernel for rows without missing points."""
    return BatchVariant(
        weighted=data.weighted,
        own_weights=data.own_weights,
        own_x=data.own_x,
        bounded=data.lower is not None,
        loss=str(options.loss.function),
        single=options.single,
    )


def table_of(kernels: GraphKernels, binding: Binding, options: BatchOptions) -> tuple[IntArray, FloatArray]:
    """Return a table with room for a batch's addresses, and the constants with the scale of the loss."""
    table = np.zeros(batch_places(kernels.layout).size, dtype=np.int64)
    table[: kernels.layout.size] = binding.table
    constants = binding.constants.copy()
    constants[0] = options.loss.scale
    return table, constants


@final
class LaneWorker:
    """Fits rows side by side.

    Parameters
    ----------
    kernels : GraphKernels
        Of the model.
    binding : Binding
        With what the model reads besides x.
    data : BatchData
        Rows.
    options : BatchOptions
        How.
    make_row_worker : callable
        Returns what solves hard rows.
    """

    def __init__(
        self,
        kernels: GraphKernels,
        binding: Binding,
        data: BatchData,
        options: BatchOptions,
        make_row_worker: Callable[[], RowWorker],
    ) -> None:
        n = kernels.trace.graph.n
        self.rows = ChunkRows(data, n)
        self._kernels, self._binding, self._data = kernels, binding, data
        self._hard_rows = HardRows(make_row_worker)
        width, m, variables = lanes(), self.rows.m, variables_of(data)
        places = batch_places(kernels.layout)
        self._table, self._constants = table_of(kernels, binding, options)
        self._options = step_options(options)
        sizes = [n, sum_step.state_size(n), m, m * variables, m, 2 * n]
        self._scratch = [aligned_zeros(size * width) for size in sizes]
        self._held = np.zeros(width, dtype=np.int64)
        self._variant = variant_of(data, options)
        job, table = self.rows.job, self._table
        job[batch.LANES], job[batch.VARIABLES] = width, variables
        job[batch.TABLE] = address_of_array(table)
        for place, array in zip(range(batch.TRIAL, batch.BOUNDS_LANES + 1), self._scratch, strict=True):
            job[place] = address_of_array(array)
        _, _, y_lanes, x_lanes, _, bounds_lanes = (address_of_array(array) for array in self._scratch)
        table[RESPONSE] = y_lanes
        table[PREDICTORS] = x_lanes if data.own_x else address_of_array(data.x)
        table[CONSTANTS] = address_of_array(self._constants)
        table[places.options], table[places.bounds] = address_of_array(self._options), bounds_lanes
        self._run = batch.run_lanes.entry(release_gil=True)

    def fit(self, rows: slice, outcome: BatchOutcome) -> None:
        """Fit the rows of a chunk and write their outcome."""
        data = self._data
        self.rows.point_at(rows)
        points = self.rows.count(rows)
        ends = self.rows.point_out(rows, outcome)
        enough = set_aside(data, rows, points, outcome)
        whole = enough & (points == self._all_points())
        for group, marks in ((whole, data.own_weights), (enough & ~whole, True)):
            indices = np.flatnonzero(group)
            if indices.size:
                self._fit_group(indices, marks)
                take_ends(outcome, rows, ends, indices)
        self._hard_rows.solve(rows, outcome)

    def _all_points(self) -> int:
        """Return how many points a row has when none is missing."""
        shared = self._data.shared_weights
        return self.rows.m if shared is None else int(np.count_nonzero(shared))

    def _fit_group(self, indices: IntArray, marks: bool) -> None:
        """Fit rows that are all whole, or all have missing points."""
        job, data = self.rows.job, self._data
        variant = replace(self._variant, weighted=True, own_weights=True) if marks else self._variant
        shared = data.shared_weights
        if marks and shared is not None:  # the shared weights count in rows of their own too
            job[batch.OWN_WEIGHTS], job[batch.WEIGHTS_STRIDE] = address_of_array(shared), 0
        job[batch.MARKS_MISSING] = marks
        weights = self._scratch[4] if marks else shared
        self._table[WEIGHTS] = 0 if weights is None else address_of_array(weights)
        job[batch.FUNCTION] = self._kernels.batch_address(variant)
        self.rows.give(indices)
        self._run(address_of_array(job), address_of_array(self._held))


def step_options(options: BatchOptions) -> FloatArray:
    """Return the options of `nlsq.kernels.sum_step`; a test that is off has the tolerance 0 (the cost's: -1)."""
    tolerances = options.tolerances
    found = np.zeros(sum_step.OPTIONS)
    found[sum_step.COST_TOLERANCE] = -1.0 if tolerances.cost is None else tolerances.cost
    found[sum_step.STEP_TOLERANCE] = tolerances.step or 0.0
    found[sum_step.OPTIMALITY_TOLERANCE] = tolerances.optimality or 0.0
    found[sum_step.MAX_EVALUATIONS], found[sum_step.HARD_AFTER] = options.max_evaluations, HARD_AFTER
    eps = float(np.finfo(np.float32 if options.single else np.float64).eps)
    found[sum_step.ROUNDING] = eps
    if options.single:  # what rounding hides cannot be asked for
        least = np.array([2.0, 10.0, 10.0]) * eps
        found[:3] = np.where(found[:3] > 0.0, np.maximum(found[:3], least), found[:3])
    return found


def aligned_zeros(size: int) -> FloatArray:
    """Return zeros that begin at the beginning of a cache line."""
    room = np.zeros(size + 8)
    skip = -(address_of_array(room) // 8) % 8
    return room[skip : skip + size]
