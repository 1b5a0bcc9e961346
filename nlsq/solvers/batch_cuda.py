"""Batches on a graphics processor: a launch for each chunk, a group of threads for each fit.

    columns of J in one launch:   thread (fit, point, j) evaluates d f(x_i, p) / d p_j

The program is that of the lanes of a processor (`nlsq.compiler.batch_source`), so that a fit takes the same steps; the
sums over its points are added up in another order, and elementary functions are the device's own where it has them.
Rows go to the device a chunk at a time, states come back; fits that are hard go to a row worker on the processor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.batch_source import BatchVariant, batch_places, batch_program
from nlsq.compiler.compile import Binding, GraphKernels
from nlsq.compiler.kernel_source import Variant
from nlsq.kernels import sum_step
from nlsq.kernels.backend import cuda
from nlsq.kernels.backend.device_source import WARP, DeviceSource, columns_source, solver_source
from nlsq.solvers.batch import BatchData, IntArray
from nlsq.solvers.batch_rows import BatchOptions, HardRows, RowWorker, set_aside
from nlsq.solvers.batch_workers import step_options, table_of, variant_of
from nlsq.status import BatchOutcome

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def require_device() -> None:
    """Raise if there is no device.

    Raises
    ------
    ImportError, RuntimeError
        Saying what is missing and how to get it.
    """
    missing = cuda.what_is_missing()
    if missing is not None:
        raise missing


def why_not_on_device(kernels: GraphKernels, data: BatchData, options: BatchOptions) -> str | None:
    """Return why a model's fits cannot be solved on a device, None if they can."""
    if not kernels.fuses:
        return "the model has more than ten parameters, or uses them by slices"
    try:
        batch_source(kernels, variant_of(data, replace(options, single=False)), WARP)
    except (AttributeError, TypeError, ValueError) as error:  # an operation without a source
        return f"the model has no kernel there: {error}"
    return None


def batch_source(kernels: GraphKernels, variant: BatchVariant, threads: int) -> DeviceSource:
    """Return the source of the kernel that solves fits to their end, by at most so many threads each."""
    names: list[Any] = [f"p{j}" for j in range(kernels.trace.graph.n)]
    first = sum_step.packed(sum_step.first_state(names))
    return solver_source(batch_program(kernels.trace, kernels.layout, variant), first, threads)


@final
class CudaWorker:
    """Fits rows on a device.

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
        self._kernels, self._data = kernels, data
        self._hard_rows = HardRows(make_row_worker)
        self._variant = variant_of(data, replace(options, single=False))
        self._threads = cuda.group_size(data.y.shape[1])
        places = batch_places(kernels.layout)
        table, constants = table_of(kernels, binding, options)
        self._bounds = f"d{places.bounds}"
        self._fixed = _data_on_device(kernels, binding)
        self._fixed |= {
            "table": (cuda.on_device(table), 0),
            "k": (cuda.on_device(constants), 0),
            f"d{places.options}": (cuda.on_device(step_options(replace(options, single=False))), 0),
        }
        if not data.own_x:
            self._fixed["x"] = cuda.on_device(data.x), 0

    def fit(self, rows: slice, outcome: BatchOutcome) -> None:
        """Fit the rows of a chunk and write their outcome."""
        data = self._data
        y = np.ascontiguousarray(data.y[rows], dtype=np.float64)
        x, weights = data.x_part(rows), data.weights_part(rows)
        there = _counted(y, x, weights)
        points = np.count_nonzero(there, axis=1)
        enough = set_aside(data, rows, points, outcome)
        shared = data.shared_weights
        whole = enough & (points == (y.shape[1] if shared is None else np.count_nonzero(shared)))
        arrays = self._chunk(rows, x)
        for group, marks in ((whole, data.own_weights), (enough & ~whole, True)):
            indices = np.flatnonzero(group)
            if not indices.size:
                continue
            if marks:
                marked = np.where(there, 1.0 if weights is None else weights, 0.0)
                arrays["y"] = cuda.on_device(np.where(marked != 0.0, y, 0.0)), y.shape[1]
                arrays["w"] = cuda.on_device(marked), y.shape[1]
            else:
                arrays["y"] = cuda.on_device(y), y.shape[1]
                if shared is not None:
                    arrays["w"] = cuda.on_device(np.asarray(shared, dtype=np.float64)), 0
            self._fit_group(rows, indices, marks, arrays, outcome)
        self._hard_rows.solve(rows, outcome)

    def _chunk(self, rows: slice, x: FloatArray | None) -> dict[str, Any]:
        """Return arrays on the device by name, each with the distance between the parts of two rows."""
        data, arrays = self._data, dict(self._fixed)
        start = data.part(data.start, rows)
        arrays["start"] = cuda.on_device(start), start.shape[-1] if start.ndim == 2 else 0
        if x is not None:
            arrays["x"] = cuda.on_device(x), x[:1].size
        if data.lower is not None:
            ends = np.concatenate([data.part(data.lower, rows), data.part(data.upper, rows)], axis=-1)
            arrays[self._bounds] = cuda.on_device(ends), ends.shape[-1] if ends.ndim == 2 else 0
        return arrays

    def _fit_group(
        self, rows: slice, indices: IntArray, marks: bool, arrays: dict[str, Any], outcome: BatchOutcome
    ) -> None:
        """Fit rows that are all whole, or all have missing points."""
        variant = replace(self._variant, weighted=True, own_weights=True) if marks else self._variant
        source = batch_source(self._kernels, variant, self._threads)
        taken = [arrays[name] for name in (*source.arrays, "start")]
        strides = cuda.on_device(np.array([stride for _, stride in taken], dtype=np.int64))
        n = self._kernels.trace.graph.n
        size = sum_step.state_size(n)
        states_out = cuda.new_on_device(indices.size * size)
        leading = cuda.on_device(indices), arrays["table"][0], strides
        cuda.launch(
            cuda.kernel_of(source), indices.size, source.threads, *leading, *(array for array, _ in taken), states_out
        )
        states = states_out.copy_to_host().reshape(indices.size, size)
        where, header = rows.start + indices, sum_step.HEADER
        outcome.params[where] = states[:, header : header + n]
        outcome.normal[where] = states[:, header + 3 * n :]
        outcome.cost[where] = states[:, sum_step.COST]
        outcome.status[where] = states[:, sum_step.STATUS].astype(np.int16)
        outcome.nfev[where] += states[:, sum_step.NFEV].astype(np.int32)
        outcome.nit[where] += states[:, sum_step.NIT].astype(np.int32)


def _counted(y: FloatArray, x: FloatArray | None, weights: FloatArray | None) -> BoolArray:
    """Return which points count: y and the row's own x are finite, and the weight is not zero."""
    there = np.isfinite(y)
    if x is not None:
        there &= np.isfinite(x).reshape(y.shape[0], -1, y.shape[1]).all(axis=1)
    if weights is not None:
        there &= weights != 0.0
    return there


def _data_on_device(kernels: GraphKernels, binding: Binding) -> dict[str, Any]:
    """Return what a model reads besides x, by name in the source."""
    places = kernels.layout.data
    return {f"d{place}": (cuda.on_device(one), 0) for place, one in zip(places, binding.arrays, strict=True)}


def jacobians(kernels: GraphKernels, binding: Binding, x: FloatArray, params: FloatArray) -> FloatArray:
    """Return the Jacobians of a model at many points, evaluated on the device in one launch.

    Parameters
    ----------
    kernels : GraphKernels
        Of the model, rows of which depend on single parameters.
    binding : Binding
        With what the model reads besides x.
    x : ndarray, shape (m,), (k, m) or (B, k, m)
        Independent variables.
    params : ndarray, shape (B, n)
        Points.

    Returns
    -------
    ndarray, shape (B, m, n)
        ``d f(x_i, p) / d p_j``.

    Raises
    ------
    ValueError
        If the model's rows depend on slices of the parameters or on sums.
    """
    if not kernels.is_curve:
        raise ValueError("the model has no such kernel: its values depend on slices of the parameters or on sums.")
    count, n = params.shape
    source = columns_source(kernels.program("jacobian", Variant()), n)
    arrays = _data_on_device(kernels, binding)
    arrays |= {
        "x": (cuda.on_device(np.ascontiguousarray(x)), x[:1].size if x.ndim == 3 else 0),
        "k": (cuda.on_device(binding.constants), 0),
    }
    taken = [arrays[name] for name in source.arrays]
    strides = np.array([*(stride for _, stride in taken), n], dtype=np.int64)
    jacobian_out = cuda.new_on_device(count * binding.m * n)
    threads = cuda.group_size(count * binding.m)
    cuda.launch(
        cuda.kernel_of(source),
        (-(-count * binding.m // threads), n),
        threads,
        cuda.on_device(binding.table),
        cuda.on_device(strides),
        *(array for array, _ in taken),
        cuda.on_device(np.ascontiguousarray(params)),
        jacobian_out,
    )
    jacobian: FloatArray = jacobian_out.copy_to_host().reshape(count, binding.m, n)
    return jacobian
