"""Batches: many fits of one model, in chunks of rows that threads share.

Each chunk is counted, fitted and written into the outcome by one call of compiled code for each kind of row. A fit
depends on its own row alone: its answer is the same in any batch, at any place, with any number of threads.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Protocol, final

import numpy as np
from numpy.typing import NDArray

from nlsq.status import BatchOutcome, Status

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CHUNK_VALUES = 1 << 19  # of y in a chunk, some milliseconds of work
MOST_ROWS, LEAST_ROWS = 8192, 64  # in a chunk
CHUNKS_A_THREAD = 6  # at least, so that none waits long for the last one
VALUES_A_THREAD = 1 << 21  # of y from which another thread pays


@final
@dataclass(slots=True)
class BatchData:
    """The rows of a batch.

    Attributes
    ----------
    y : ndarray, shape (B, m)
        Data, of any real type; what is not finite is missing.
    x : ndarray, shape (m,) or (k, m), or list of ndarray (B, m)
        Independent variables, those of all rows or each row's own.
    own_x : bool
        Which of the two.
    weights : ndarray, shape (m,) or (B, m), or None
        Factors of the residuals; a point of weight 0 is left out.
    mask : ndarray of bool, shape (B, m), or None
        Points that are left out.
    start : ndarray, shape (n,) or (B, n)
        Starts, inside the bounds.
    lower, upper : ndarray, shape (n,) or (B, n), or None
        Bounds; equal ones hold a parameter.
    free : ndarray of int, shape (B,), or int
        Number of parameters that are not held.
    """

    y: NDArray[Any]
    x: Any
    own_x: bool
    weights: NDArray[Any] | None
    mask: NDArray[np.bool_] | None
    start: FloatArray
    lower: FloatArray | None
    upper: FloatArray | None
    free: Any

    @property
    def own_weights(self) -> bool:
        """Whether each row has its own weights."""
        return self.mask is not None or (self.weights is not None and self.weights.ndim == 2)

    @property
    def weighted(self) -> bool:
        """Whether there are weights at all."""
        return self.weights is not None or self.mask is not None

    @property
    def shared_weights(self) -> FloatArray | None:
        """Weights that all rows share, None where there are none."""
        return None if self.own_weights else self.weights

    def weights_part(self, rows: slice) -> FloatArray | None:
        """Return the weights of the rows, zero where they are masked; those that all rows share as they are."""
        if self.mask is None:
            return self.part(self.weights, rows)  # type: ignore[no-any-return]
        mask = self.mask[rows]
        weights = np.broadcast_to(1.0 if self.weights is None else self.part(self.weights, rows), mask.shape)
        return np.ascontiguousarray(np.where(mask, 0.0, weights), dtype=np.float64)

    def part(self, array: Any, rows: slice) -> Any:
        """Return the rows of an array, contiguous float64; what all rows share as it is."""
        if array is None or array.ndim == 1:
            return array
        return np.ascontiguousarray(array[rows], dtype=np.float64)

    def x_part(self, rows: slice) -> FloatArray | None:
        """Return the rows' own x, shape (rows, k, m); None where it is shared."""
        if not self.own_x:
            return None
        if len(self.x) == 1:
            return np.ascontiguousarray(self.x[0][rows], dtype=np.float64)
        return np.ascontiguousarray(np.stack([one[rows] for one in self.x], axis=1), dtype=np.float64)


class BatchReport(NamedTuple):
    """What a callback gets after each chunk.

    Attributes
    ----------
    done, total : int
        Rows fitted so far, and of the batch.
    rows : slice or ndarray of int
        Those of the chunk, counted along the flattened batch; an array for a block of a Dask array whose rows are not
        next to each other there.
    outcome : BatchOutcome
        Of the whole batch; rows that are not done have the status ``NOT_FITTED``.
    """

    done: int
    total: int
    rows: slice | NDArray[np.intp]
    outcome: BatchOutcome


def row_note(row: int) -> str:
    """Say in which row the model raised an exception."""
    return f"This was in row {row} of the batch, counted along its flattened leading axes."


class Worker(Protocol):
    """Fits chunks, one thread at a time."""

    def fit(self, rows: slice, outcome: BatchOutcome) -> None:
        """Fit the rows of a chunk and write their outcome."""
        ...


def new_outcome(data: BatchData, n: int) -> BatchOutcome:
    """Return an outcome in which no row has been fitted."""
    count = data.y.shape[0]
    return BatchOutcome(
        params=np.array(np.broadcast_to(data.start, (count, n)), order="C"),
        cost=np.full(count, np.inf),
        normal=np.zeros((count, n * (n + 1) // 2)),  # memory that is not touched before a worker does
        status=np.full(count, int(Status.NOT_FITTED), dtype=np.int16),
        nfev=np.zeros(count, dtype=np.int32),
        nit=np.zeros(count, dtype=np.int32),
        points=np.zeros(count, dtype=np.int32),
        redone=np.zeros(count, dtype=bool),
    )


def forget(outcome: BatchOutcome, data: BatchData, which: NDArray[np.bool_]) -> None:
    """Let some rows be as they were before they were fitted."""
    fresh = new_outcome(data, outcome.params.shape[1])
    for field in fields(BatchOutcome):
        getattr(outcome, field.name)[which] = getattr(fresh, field.name)[which]


def chunks_of(count: int, m: int, threads: int) -> list[slice]:
    """Return the chunks of a batch of `count` rows of `m` points."""
    least = LEAST_ROWS if m <= CHUNK_VALUES // LEAST_ROWS else 1  # long rows are not solved side by side
    size = min(MOST_ROWS, max(least, CHUNK_VALUES // max(m, 1)))
    if threads > 1:
        size = min(size, max(least, -(-count // (CHUNKS_A_THREAD * threads))))
    return [slice(begin, min(begin + size, count)) for begin in range(0, count, size)]


def threads_for(asked: int | None, values: int) -> int:
    """Return how many threads to use: those asked for, or by the number of values of y."""
    if asked is not None:
        return asked
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(available, values // VALUES_A_THREAD))


def run(
    chunks: list[slice],
    make_worker: Callable[[], Worker],
    outcome: BatchOutcome,
    threads: int,
    report: Callable[[BatchReport], Any] | None,
    deadline: float | None = None,
) -> bool:
    """Fit all chunks; return whether that was interrupted, by the keyboard, the callback or the deadline.

    Parameters
    ----------
    chunks : list of slice
        Rows.
    make_worker : callable
        Returns a worker; called once for each thread.
    outcome : BatchOutcome
        Where results go.
    threads : int
        How many work at once.
    report : callable, optional
        Called in this thread after each chunk; a true result stops.
    deadline : float, optional
        Time of ``time.perf_counter()``.

    Raises
    ------
    Exception
        What a worker or the callback raised, after the chunks under way have ended.
    """
    total, done = outcome.status.size, 0
    finished = (
        _in_turn(chunks, make_worker, outcome) if threads <= 1 else _at_once(chunks, make_worker, outcome, threads)
    )
    try:
        for rows in finished:
            done += rows.stop - rows.start
            if report is not None and report(BatchReport(done, total, rows, outcome)):
                return bool(done < total)
            if deadline is not None and time.perf_counter() >= deadline:
                return bool(done < total)
    except KeyboardInterrupt:
        return True
    finally:
        finished.close()
    return False


def _in_turn(
    chunks: list[slice], make_worker: Callable[[], Worker], outcome: BatchOutcome
) -> Generator[slice, None, None]:
    worker = make_worker() if chunks else None
    for rows in chunks:
        assert worker is not None
        worker.fit(rows, outcome)
        yield rows


def _at_once(
    chunks: list[slice], make_worker: Callable[[], Worker], outcome: BatchOutcome, threads: int
) -> Generator[slice, None, None]:
    own = threading.local()

    def fit(rows: slice) -> slice:
        if not hasattr(own, "worker"):
            own.worker = make_worker()
        own.worker.fit(rows, outcome)
        return rows

    waiting = iter(chunks)
    under_way: set[Future[slice]] = set()
    with ThreadPoolExecutor(threads, thread_name_prefix="nlsq-batch") as pool:
        try:
            while True:
                for rows in waiting:
                    under_way.add(pool.submit(fit, rows))
                    if len(under_way) >= 2 * threads:
                        break
                if not under_way:
                    return
                ended, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for one in ended:
                    yield one.result()
        finally:
            for one in under_way:
                one.cancel()
