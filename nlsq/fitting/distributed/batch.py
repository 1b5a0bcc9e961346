"""Batches in Dask arrays: each block of rows is one task, fitted where its data are.

    Y (..., m)   ->   blocks, whole along the points   ->   `fit_batch` of each   ->   one result, in the order of Y

What has a row for each fit (x, sigma, weights, mask) is cut as Y is. Starts, bounds and held values are of the size of
the result; they are read here, so that what is wrong in them is named as in a batch in memory. Whatever scheduler is
active in Dask runs the tasks: the threads of this process, or the workers of a `distributed.Client`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import pairwise, product
from typing import Any, final

import dask
import dask.array
import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.batch.call import fit_batch, read_names, read_types, result_of
from nlsq.fitting.batch.numbers import filled, read_numbers
from nlsq.fitting.batch.parameters import BatchParameters, read_batch_parameters
from nlsq.fitting.batch.progress import Progress
from nlsq.fitting.batch.result import BatchFitResult
from nlsq.fitting.batch.rows import (
    Shape,
    is_list_of_rows,
    like_rows,
    may_be_either,
    read_rows,
    read_variables,
    rows_are_variables,
)
from nlsq.fitting.distributed.arrays import is_dask, refuse_unknown_size, stand_in
from nlsq.fitting.distributed.tasks import run_tasks
from nlsq.solvers.batch import BatchData, BatchReport, forget, new_outcome
from nlsq.status import BatchOutcome, Status

FloatArray = NDArray[np.float64]
Place = tuple[slice, ...]
Cut = tuple[FloatArray, FloatArray | None, FloatArray | None]  # starts, lower and upper bounds of a block's rows
LIKE_Y = ("sigma", "weights", "mask")


@final
@dataclass(frozen=True, slots=True)
class Common:
    """What the tasks share.

    Attributes
    ----------
    model : callable
        Of one fit.
    names : tuple of str
        Of its parameters.
    variables : int
        How many arrays there are in x where some have a row for each fit; 0 where all fits share x.
    as_tuple : bool
        Whether the model gets several of them as a tuple.
    shared : dict
        Arguments, or arrays in x by their number, that all fits share.
    p0 : callable or None
        Function that gives the starts.
    options : dict
        Other arguments of `fit_batch`.
    """

    model: Callable[..., Any]
    names: tuple[str, ...]
    variables: int
    as_tuple: bool
    shared: dict[Any, Any]
    p0: Any
    options: dict[str, Any]


@final
@dataclass(slots=True)
class Collected:
    """What the results of blocks say.

    Attributes
    ----------
    any : BatchFitResult
        One of them: of what is the same in all.
    notes : dict
        Notes, with the number of fits that they are about; 0 for those about all.
    """

    any: BatchFitResult
    notes: dict[str, int] = field(default_factory=dict)

    def take(self, part: BatchFitResult) -> None:
        """Take the result of a block."""
        outcome = part._core.outcome
        redone = int(np.count_nonzero(outcome.redone))
        counted = f"{redone} of {outcome.redone.size} "
        for note in part.fallbacks:
            is_counted = redone and note.startswith(counted)
            text = note.removeprefix(counted) if is_counted else note
            self.notes[text] = self.notes.get(text, 0) + (redone if is_counted else 0)
        self.any = part

    def fallbacks(self, total: int) -> list[str]:
        """Return each note once, counts added up."""
        return [f"{count} of {total} {text}" if count else text for text, count in self.notes.items()]


def fit_dask_batch(model: Any, x: Any, Y: Any, p0: Any, options: dict[str, Any]) -> BatchFitResult:
    """Fit the rows of a Dask array; see `nlsq.fitting.batch.call.fit_batch`, whose other arguments are in `options`."""
    refuse_unknown_size("Y", Y)
    if Y.ndim == 0 or Y.shape[-1] == 0:
        raise ValueError(f"Y has shape {Y.shape}; it must have one row of points a fit, shape (..., m).")
    if Y.numblocks[-1] > 1:
        Y = Y.rechunk(dict.fromkeys(range(Y.ndim - 1), "auto") | {Y.ndim - 1: -1})
    shape, options = Y.shape[:-1], dict(options)
    _, result_type = read_types(options["dtype"], (Y, x, p0, options["sigma"], options["weights"]))
    callback, progress = options.pop("callback"), options.pop("progress")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable, got {type(callback).__name__}.")
    options["threads"] = 1 if options["threads"] is None else options["threads"]
    p0, bounds, fixed = dask.compute(p0, options.pop("bounds"), options.pop("fixed"))
    names, defaults = read_names(model, p0)
    parameters = read_batch_parameters(names, defaults, p0, bounds, fixed, shape)
    shared_x = False
    if may_be_either(x, Y.shape):
        (x,) = dask.compute(x)
        shared_x = rows_are_variables(model, x, parameters.start.reshape(-1, len(names))[0])
    like_y = {name: options.pop(name) for name in LIKE_Y}
    variables, as_tuple, own, shared = _read_arrays(x, Y.shape, like_y, shared_x)
    common = Common(model, names, variables, as_tuple, shared, p0 if callable(p0) else None, options)
    nothing = {key: np.empty((0, Y.shape[-1]), dtype=one.dtype) for key, one in own.items()}
    none_of_them = np.empty((0, Y.shape[-1]), dtype=Y.dtype)
    here = replace(common, options=options | {"device": "cpu"})
    empty = fit_block(here, none_of_them, nothing, _cut(parameters, slice(0, 0)), ())  # raises what is wrong
    data = _data_of(parameters, int(np.prod(shape, dtype=np.int64)))
    outcome, collected = new_outcome(data, len(names)), Collected(empty)
    make_result = partial(_joined, collected, outcome, parameters, {"shape": shape, "_dtype": result_type})
    with Progress(progress, callback, outcome.status.size) as report:
        solve = partial(_run, common, Y, own, parameters, outcome, collected, report.function)
        return result_of(solve, make_result, lambda: forget(outcome, data, outcome.status == Status.NOT_FITTED))


def _read_arrays(
    x: Any, shape: Shape, given: Mapping[str, Any], shared_x: bool
) -> tuple[int, bool, dict[Any, Any], dict[Any, Any]]:
    """Return `variables` and `as_tuple` of `Common`, the arrays that have a row for each fit, and what is shared."""
    own: dict[Any, Any] = {}
    shared: dict[Any, Any] = {}
    for name, value in given.items():
        array = None if value is None else _array(name, value)
        if array is None or array.ndim == 0 or array.shape == shape[-1:]:
            shared[name] = value
        else:
            like_rows(name, stand_in(array), shape)
            own[name] = _broadcast(array, shape)
    if is_list_of_rows(x, shape):
        x = (dask.array if any(map(is_dask, x)) else np).stack([_array("x", one) for one in x])
    as_tuple = isinstance(x, tuple | list) and any(np.ndim(one) for one in x)
    whole: Any = [_array("x", one) for one in (x if as_tuple else [x])]
    stand_ins = [stand_in(one) if is_dask(one) else filled(one) for one in whole]
    read_variables(tuple(stand_ins) if as_tuple else stand_ins[0], shape, shared_x)
    has_rows = len(shape) > 1 and not shared_x
    parts = list(whole[0]) if has_rows and not as_tuple and whole[0].shape[1:] == shape else whole
    is_own = [has_rows and part.shape == shape for part in parts]
    if any(is_own):
        for k, part in enumerate(parts):
            (own if is_own[k] else shared)[k] = part
    else:
        shared["x"] = x
    shared = dict(zip(shared, dask.compute(*shared.values()), strict=True))
    return len(parts) if any(is_own) else 0, as_tuple, own, shared


def _array(name: str, value: Any) -> Any:
    """Return an argument as a Dask array or as one of NumPy, masked if it is."""
    if is_dask(value):
        refuse_unknown_size(name, value)
        return value
    if name == "mask" or isinstance(value, np.ma.MaskedArray):
        return np.asanyarray(value.to_numpy() if hasattr(value, "to_numpy") else value)
    return read_numbers(name, value)


def _broadcast(array: Any, shape: Shape) -> Any:
    """Return an array in the shape of Y."""
    if array.shape == shape:
        return array
    if isinstance(array, np.ma.MaskedArray):
        mask = np.broadcast_to(np.ma.getmaskarray(array), shape)
        return np.ma.MaskedArray(np.broadcast_to(np.ma.getdata(array), shape), mask)
    return (dask.array if is_dask(array) else np).broadcast_to(array, shape)


def _cut(parameters: BatchParameters, rows: Any) -> Cut:
    """Return starts and bounds of some rows, shape (1, b, n), or (n,) where all fits share them."""

    def part(array: Any) -> Any:
        return array if array is None or array.ndim == 1 else array[rows][np.newaxis]

    return part(parameters.start), part(parameters.lower), part(parameters.upper)


def fit_block(
    common: Common, y: NDArray[Any], own: dict[Any, NDArray[Any]], cut: Cut, origin: tuple[int, ...]
) -> BatchFitResult:
    """Fit the rows of a block, which begins at `origin` of the whole; the task that Dask runs.

    The rows get two leading axes, (1, b): nothing that all fits share can be mistaken for something that each has.
    """
    m = y.shape[-1]
    flat = {key: one.reshape(1, -1, m) for key, one in own.items()}
    x, *like_y = _arguments(common, flat)
    start, lower, upper = cut
    p0 = common.p0
    if p0 is None:
        p0 = start
        if np.isnan(start).any():
            columns = [start[..., j] for j in range(len(common.names))]
            p0 = {name: None if np.isnan(one).all() else one for name, one in zip(common.names, columns, strict=True)}
    scale = dict(zip(LIKE_Y, like_y, strict=True))
    bounds = None if lower is None else (lower, upper)
    try:
        return fit_batch(common.model, x, y.reshape(1, -1, m), p0, bounds=bounds, **scale, **common.options)
    except Exception as error:
        if isinstance(error, ValueError):
            _refuse_by_place(common, y, own, origin)
        if hasattr(error, "result"):  # of this block; the whole batch's takes its place
            del error.result
            error.__notes__.pop()
        if y.size:
            ends = [f"{begin}:{begin + length}" for begin, length in zip(origin, y.shape, strict=False)]
            error.add_note(f"This was in the block Y[{', '.join(ends)}] of the Dask array; its rows count from 0.")
        raise


def _arguments(common: Common, own: Mapping[Any, NDArray[Any]]) -> tuple[Any, ...]:
    """Return x, sigma, weights and mask of a block."""
    given = {**common.shared, **own}
    x = given.get("x")
    if common.variables:
        parts = [given[k] for k in range(common.variables)]
        masked = any(isinstance(one, np.ma.MaskedArray) for one in parts)
        stack: Any = np.ma.stack if masked else np.stack
        x = tuple(parts) if common.as_tuple else parts[0] if len(parts) == 1 else stack(parts)
    return x, *(given[name] for name in LIKE_Y)


def _refuse_by_place(common: Common, y: NDArray[Any], own: Mapping[Any, NDArray[Any]], origin: tuple[int, ...]) -> None:
    """Raise what may be wrong in the arrays of a block, with the place in the whole arrays."""
    try:
        x, sigma, weights, mask = _arguments(common, own)
        read_rows(x, y, sigma, weights, mask, origin)
    except ValueError as error:
        raise error from None


def _data_of(parameters: BatchParameters, count: int) -> BatchData:
    """Return the starts, and so many rows that take no memory: all that a new outcome is made of."""
    rows = np.broadcast_to(np.zeros(()), (count, 1))
    return BatchData(rows, None, False, None, None, parameters.start, None, None, 0)


def _run(
    common: Common,
    Y: Any,
    own: dict[Any, Any],
    parameters: BatchParameters,
    outcome: BatchOutcome,
    collected: Collected,
    report: Callable[[BatchReport], Any] | None,
) -> tuple[list[str], bool]:
    """Fit all blocks and fill the outcome; return what they note and whether that was interrupted."""
    shape = Y.shape[:-1]
    flat = np.arange(outcome.status.size).reshape(shape)
    task, sent = dask.delayed(fit_block, pure=False), dask.delayed(common, traverse=False)
    blocks = {"y": _blocks(Y, Y.chunks)} | {key: _blocks(one, Y.chunks) for key, one in own.items()}
    tasks, rows_of = [], []
    for k, place in enumerate(_places(Y.chunks[:-1])):
        rows = flat[place].ravel()
        if not rows.size:
            continue
        pieces = {key: of_all[k] for key, of_all in blocks.items()}
        origin = tuple(one.start for one in place)
        tasks.append(task(sent, pieces.pop("y"), pieces, _cut(parameters, rows), origin))
        rows_of.append(rows)
    done = 0

    def take(index: int, part: BatchFitResult) -> Any:
        nonlocal done
        rows = rows_of[index]
        for one in fields(BatchOutcome):
            getattr(outcome, one.name)[rows] = getattr(part._core.outcome, one.name)
        collected.take(part)
        done += rows.size
        adjacent = rows[-1] - rows[0] == rows.size - 1
        where = slice(int(rows[0]), int(rows[-1]) + 1) if adjacent else rows
        return report is not None and report(BatchReport(done, outcome.status.size, where, outcome))

    interrupted = run_tasks(tasks, take)
    return collected.fallbacks(outcome.status.size), interrupted


def _places(chunks: Sequence[Sequence[int]]) -> list[Place]:
    """Return where the blocks are, in the order of `to_delayed`."""
    ends = [np.cumsum([0, *lengths]).tolist() for lengths in chunks]
    axes = [[slice(a, b) for a, b in pairwise(along)] for along in ends]
    return list(product(*axes))


def _blocks(array: Any, chunks: Any) -> list[Any]:
    """Return the blocks of an array of the shape of Y."""
    if is_dask(array):
        return list(array.rechunk(chunks).to_delayed().ravel())
    return [array[place] for place in _places(chunks[:-1])]


def _joined(
    collected: Collected,
    outcome: BatchOutcome,
    parameters: BatchParameters,
    state: dict[str, Any],
    fallbacks: Sequence[str] = (),
    interrupted: bool = False,
) -> BatchFitResult:
    """Return one result; what is neither given nor in `state` is the same in the results of all blocks."""
    part = collected.any
    core = replace(part._core, outcome=outcome, fixed=parameters.fixed, lower=parameters.lower, upper=parameters.upper)
    own = {"_core": core, "fallbacks": list(fallbacks), "interrupted": interrupted}
    result = object.__new__(BatchFitResult)
    result.__dict__.update(part.__getstate__() | state | own)
    return result
