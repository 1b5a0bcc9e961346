"""Rows of a chunk solved one after the other by the method of single fits, and what all workers do with rows.

A *row worker* fits what has no kernel for several fits at once, and solves again the fits that were hard for one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels import batch, layout
from nlsq.kernels.backend import address_of_array
from nlsq.kernels.curve import WEIGHTS
from nlsq.loss import Loss
from nlsq.solvers.batch import BatchData, IntArray, row_note
from nlsq.solvers.least_overhead import Plan
from nlsq.solvers.termination import Tolerances
from nlsq.status import BatchOutcome, Status

FloatArray = NDArray[np.float64]

SAME = 1e-10  # relative difference of costs that are taken to be those of the same point
STALLED, TOO_FEW, NOT_FITTED = int(Status.STALLED), int(Status.TOO_FEW_POINTS), int(Status.NOT_FITTED)


@final
@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How the fits of a batch are solved.

    Attributes
    ----------
    tolerances : Tolerances
        Of the stopping tests, native rule.
    max_evaluations : int
        Limit for each fit.
    loss : Loss
        See there.
    single : bool
        Whether to compute in single precision.
    """

    tolerances: Tolerances
    max_evaluations: int
    loss: Loss
    single: bool = False


class ChunkRows:
    """A job and the arrays of the chunk that it points at."""

    def __init__(self, data: BatchData, n: int) -> None:
        self.data, self.n = data, n
        self.m = data.y.shape[1]
        self.job = np.zeros(batch.JOB, dtype=np.int64)
        self.job[batch.PARAMETERS], self.job[batch.LENGTH] = n, self.m
        self.alive: list[Any] = []
        self._count = batch.count_all_points.entry(release_gil=True)

    def point_at(self, rows: slice) -> None:
        """Take the arrays of a chunk."""
        data, job, m = self.data, self.job, self.m
        y = np.ascontiguousarray(data.y[rows], dtype=np.float64)
        x, weights, start = data.x_part(rows), data.weights_part(rows), data.part(data.start, rows)
        self.alive = [y, x, weights, start]
        job[batch.Y], job[batch.Y_STRIDE] = address_of_array(y), m
        if x is not None:
            job[batch.OWN_X], job[batch.X_STRIDE] = address_of_array(x), x[:1].size
        if data.own_weights and weights is not None:
            job[batch.OWN_WEIGHTS], job[batch.WEIGHTS_STRIDE] = address_of_array(weights), m
        job[batch.START], job[batch.START_STRIDE] = address_of_array(start), self.n if start.ndim == 2 else 0
        if data.lower is not None:
            lower, upper = data.part(data.lower, rows), data.part(data.upper, rows)
            self.alive += [lower, upper]
            job[batch.LOWER], job[batch.UPPER] = address_of_array(lower), address_of_array(upper)
            job[batch.BOUNDS_STRIDE] = self.n if lower.ndim == 2 else 0

    def point_out(self, rows: slice, outcome: BatchOutcome) -> IntArray:
        """Let results go to the outcome; return where statuses and counts will be."""
        job, ends = self.job, np.zeros((rows.stop - rows.start, 3), dtype=np.int64)
        self.alive.append(ends)
        for place, array in (
            (batch.PARAMS_OUT, outcome.params[rows]),
            (batch.COST_OUT, outcome.cost[rows]),
            (batch.NORMAL_OUT, outcome.normal[rows]),
            (batch.ENDS_OUT, ends),
        ):
            job[place] = address_of_array(array)
        return ends

    def count(self, rows: slice) -> IntArray:
        """Return how many points of each row count."""
        points = np.zeros(rows.stop - rows.start, dtype=np.int64)
        shared = self.data.shared_weights
        address = 0 if shared is None else address_of_array(shared)
        self._count(address_of_array(self.job), points.size, address_of_array(points), address)
        return points

    def give(self, indices: IntArray) -> None:
        """Name the rows to be fitted."""
        indices = np.ascontiguousarray(indices, dtype=np.int64)
        self.alive.append(indices)
        self.job[batch.ROWS], self.job[batch.COUNT] = address_of_array(indices), indices.size


def take_ends(outcome: BatchOutcome, rows: slice, ends: IntArray, indices: IntArray) -> None:
    """Put statuses and counts of some rows of a chunk into the outcome."""
    where = rows.start + indices
    outcome.status[where] = ends[indices, 0]
    outcome.nfev[where] += ends[indices, 1].astype(np.int32)
    outcome.nit[where] += ends[indices, 2].astype(np.int32)


def variables_of(data: BatchData) -> int:
    """Return how many values of x belong to a point."""
    if data.own_x:
        return len(data.x)
    return 1 if data.x.ndim == 1 else int(data.x.shape[0])


def set_aside(data: BatchData, rows: slice, points: IntArray, outcome: BatchOutcome) -> NDArray[np.bool_]:
    """Note the points of each row and mark those that have too few; return the others."""
    outcome.points[rows] = points
    free = data.free[rows] if isinstance(data.free, np.ndarray) else data.free
    enough: NDArray[np.bool_] = points >= np.maximum(free, 1)
    outcome.status[rows][~enough] = TOO_FEW
    return enough


@final
class RowWorker:
    """Fits rows one after the other by the method of single fits.

    Parameters
    ----------
    make_plan : callable
        Returns the plan of a single fit; its argument says whether there are weights.
    data : BatchData
        Rows.
    keeps_place : bool
        Whether missing points keep their places with weight zero; else the others are moved together.
    extent : int
        Place in the model's table of the length of its loop, 0 where it goes by the number of points.
    """

    def __init__(self, make_plan: Callable[[bool], Plan], data: BatchData, keeps_place: bool, extent: int = 0) -> None:
        n = data.start.shape[-1]
        self.rows = ChunkRows(data, n)
        self._data, self._make_plan, self._keeps_place, self._extent = data, make_plan, keeps_place, extent
        self._plans: dict[bool, Plan] = {}
        self.rows.job[batch.VARIABLES] = variables_of(data)
        self._scratch = [np.zeros(self.rows.m * (1 + variables_of(data))), np.zeros(self.rows.m)]
        self._run = batch.run_rows.entry(release_gil=True)

    def fit(self, rows: slice, outcome: BatchOutcome) -> None:
        """Fit the rows of a chunk and write their outcome."""
        points = self._point_at(rows)
        ends = self.rows.point_out(rows, outcome)
        enough = set_aside(self._data, rows, points, outcome)
        self._fit_rows(rows, np.flatnonzero(enough), points, ends, outcome)

    def solve_again(self, rows: slice, hard: IntArray, outcome: BatchOutcome) -> None:
        """Solve some rows of a chunk that another worker could not; keep whichever point costs less.

        Where that is the other worker's, the status would be that of another point, so such a row goes on from there.
        """
        points, ends = self._point_at(rows), self.rows.point_out(rows, outcome)
        where, job = rows.start + hard, self.rows.job
        params, cost = outcome.params[where].copy(), outcome.cost[where].copy()
        normal = outcome.normal[where].copy()
        outcome.status[where] = NOT_FITTED  # should this be interrupted
        self._fit_rows(rows, hard, points, ends, outcome)
        outcome.redone[where] = True
        limit = next(iter(self._plans.values())).integers[layout.MAX_EVALUATIONS]
        left = np.isfinite(cost) & ~(outcome.cost[where] <= cost + SAME * cost) & (outcome.nfev[where] < limit)
        if left.any():
            outcome.params[where[left]] = params[left]
            job[batch.START], job[batch.START_STRIDE] = address_of_array(outcome.params[rows]), self.rows.n
            self._fit_rows(rows, hard[left], points, ends, outcome)
        worse = ~(outcome.cost[where] <= cost) & np.isfinite(cost)
        outcome.params[where[worse]], outcome.cost[where[worse]] = params[worse], cost[worse]
        outcome.normal[where[worse]] = normal[worse]

    def _point_at(self, rows: slice) -> IntArray:
        self.rows.point_at(rows)
        points = self.rows.count(rows)
        if not self._data.own_x:  # rows with missing points take theirs from there
            self.rows.job[batch.OWN_X], self.rows.job[batch.X_STRIDE] = address_of_array(self._data.x), 0
        return points

    def _fit_rows(
        self, rows: slice, indices: IntArray, points: IntArray, ends: IntArray, outcome: BatchOutcome
    ) -> None:
        data, job = self._data, self.rows.job
        shared = data.shared_weights
        all_points = self.rows.m
        for marks in (False, True):
            group = indices[(points[indices] < all_points) == marks]
            if not group.size:
                continue
            if marks and shared is not None:
                job[batch.OWN_WEIGHTS], job[batch.WEIGHTS_STRIDE] = address_of_array(shared), 0
            job[batch.MARKS_MISSING] = marks or data.own_weights
            plan = self._plan(marks or data.weighted)
            if not marks and shared is not None:
                plan.residual.table[WEIGHTS] = address_of_array(shared)
            self._use(plan)
            spent = outcome.nfev[rows]
            left = np.maximum(plan.integers[layout.MAX_EVALUATIONS] - spent, 1).astype(np.int64)
            job[batch.LEFT] = address_of_array(left) if spent.any() else 0
            self.rows.give(group)
            fitted = self._run(address_of_array(job), 1 if self._keeps_place else 0)
            take_ends(outcome, rows, ends, group[:fitted])
            if fitted < group.size:
                try:
                    plan.residual.raise_original(plan.space.x_new)
                except Exception as error:
                    error.add_note(row_note(rows.start + int(group[fitted])))
                    raise

    def _plan(self, weighted: bool) -> Plan:
        found = self._plans.get(weighted)
        if found is None:
            found = self._plans[weighted] = self._make_plan(weighted)
        return found

    def _use(self, plan: Plan) -> None:
        """Write a plan's arrays into the job."""
        job, space = self.rows.job, plan.space
        template = plan.template
        for place, array in (
            (batch.DOUBLES, space.w),
            (batch.INTEGERS, space.iw),
            (batch.DOUBLES_TEMPLATE, template),
            (batch.INTEGERS_TEMPLATE, plan.integers),
            (batch.TABLE, plan.residual.table),
            (batch.ROW_Y, self._scratch[0]),
            (batch.ROW_WEIGHTS, self._scratch[1]),
        ):
            job[place] = address_of_array(array)
        job[batch.DOUBLES_LENGTH], job[batch.INTEGERS_LENGTH] = template.size, plan.integers.size
        job[batch.EXTENT] = self._extent


@final
class HardRows:
    """Hands the rows of a chunk that were hard to a row worker, which is made for the first of them.

    Parameters
    ----------
    make_row_worker : callable
        Returns it.
    """

    def __init__(self, make_row_worker: Callable[[], RowWorker]) -> None:
        self._make = make_row_worker
        self._worker: RowWorker | None = None

    def solve(self, rows: slice, outcome: BatchOutcome) -> None:
        """Solve again what is ``STALLED``."""
        hard = np.flatnonzero(outcome.status[rows] == STALLED)
        if hard.size:
            if self._worker is None:
                self._worker = self._make()
            self._worker.solve_again(rows, hard, outcome)
