"""Dask arrays in a fit that goes over its data block by block: the sums of blocks are formed where the data are.

    chunks of whole blocks   ->   one task each: cost, gradient and normal matrix of every block   ->   added up here

The blocks are those of `nlsq.problem.chunks.blocks`, and their sums are added in the same order as those of data in
memory, so that the numbers are the same, to the last bit. Each evaluation is one computation by whatever scheduler is
active in Dask. On a cluster the chunks are brought into the workers' memory first, and stay there as long as something
refers to these data; elsewhere they are made anew in each pass.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, final

import dask
import dask.array
import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.data import CurveData
from nlsq.fitting.distributed.arrays import is_dask
from nlsq.fitting.distributed.tasks import active_client
from nlsq.fitting.parameters import Parameters
from nlsq.fitting.streaming.model import traced_sums
from nlsq.fitting.task import FitTask
from nlsq.loss import Loss
from nlsq.problem.chunks.arrays import ArraySource
from nlsq.problem.chunks.blocks import Block, BlockedData, BlockFunction, Source, refuse_none_left
from nlsq.problem.chunks.sample import BLOCK, Sample
from nlsq.solvers.sums import BlockSums, SumsAt

FloatArray = NDArray[np.float64]
FEWEST, MOST = 8, 64  # blocks in a chunk, so that a task has more to do than there is to do about it


@final
@dataclass(slots=True)
class DaskSource:
    """What is known of Dask arrays beforehand; see `nlsq.problem.chunks.blocks.Source`."""

    lead: tuple[int, ...]
    joined: bool
    size: int
    scaled: bool
    kind: str
    constant: float | None
    omit: bool
    name: str = "the data"
    is_lazy: bool = True

    def blocks(self) -> Iterator[Block]:
        """Refuse: blocks are not brought here."""
        raise TypeError("the blocks of Dask arrays stay where they are.")


@final
class PartSource:
    """Blocks of a chunk, which begins somewhere in the whole.

    Parameters
    ----------
    arrays : ArraySource
        The chunk.
    start : int
        Its first point.
    size : int
        Number of points of the whole.
    """

    def __init__(self, arrays: ArraySource, start: int, size: int) -> None:
        self._arrays, self._start, self.size = arrays, start, size
        self.lead, self.joined, self.name = arrays.lead, arrays.joined, arrays.name
        self.scaled, self.is_lazy = arrays.scaled, False

    def blocks(self) -> Iterator[Block]:
        """Go over them once."""
        for block in self._arrays.blocks():
            yield block._replace(start=self._start + block.start)


@final
class Kernels:
    """A model on its way to the workers, where its kernels are made when they are first called.

    Parameters
    ----------
    model : callable
        ``model(x, *params)``.
    parameters : Parameters
        Names, and what is held at which value.
    source : DaskSource
        Form of the data.
    """

    def __init__(self, model: Any, parameters: Parameters, source: DaskSource) -> None:
        self.model, self.parameters, self.source = model, parameters, source
        self._of_thread = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_of_thread"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._of_thread = threading.local()

    def sums(self, loss: Loss) -> BlockSums:
        """Return the kernels for this thread."""
        known = self._of_thread.__dict__.setdefault("sums", {})
        key = (loss.function, loss.scale)
        if key not in known:
            parameters = self.parameters
            free = np.flatnonzero(~parameters.fixed) if parameters.fixed.any() else None
            nothing = CurveData(None, np.empty(0), (0,))
            task = FitTask(self.model, parameters.names, nothing, None, free, None, None, loss, False)
            form = BlockedData(self.source, self.source.kind, self.source.constant, self.source.omit)
            known[key] = traced_sums(task, parameters, form).sums
        return known[key]  # type: ignore[no-any-return]


@final
@dataclass(frozen=True, slots=True)
class RemoteSums:
    """`SumsAt` without its kernels: they are made where the blocks are."""

    loss: str
    loss_scale: float
    p: FloatArray


class Order(NamedTuple):
    """What a task is to do.

    Attributes
    ----------
    function : RemoteSums, BlockFunction or None
        What is made of each block; None: the data are checked, and nothing else.
    source : DaskSource
        What is known of the data.
    """

    function: Any
    source: DaskSource


class Part(NamedTuple):
    """What a task found out about its chunk.

    Attributes
    ----------
    terms : ndarray, shape (blocks, k)
        A vector for each block in which something is left.
    used, informative : int
        Points; see `BlockedData`.
    gaps : set of int
        Blocks with points that are left out.
    sample : Sample or None
        Some of the points, after the first pass.
    error : ValueError or None
        What is wrong in the first value that is, in the first pass: of several chunks the first one's counts.
    """

    terms: FloatArray
    used: int
    informative: int
    gaps: set[int]
    sample: Sample | None
    error: ValueError | None = None


def go_over(
    kernels: Kernels | None,
    order: Order,
    start: int,
    gaps: set[int] | None,
    *arrays: NDArray[Any] | None,
) -> Part:
    """Go over the blocks of a chunk; the task that Dask runs.

    Parameters
    ----------
    kernels : Kernels or None
        Of the model.
    order : Order
        What is to be done.
    start : int
        First point of the chunk.
    gaps : set of int or None
        Blocks with points that are left out; None in the first pass, which checks the data.
    arrays : ndarray or None
        y, standard deviations or weights, and the arrays in x.
    """
    function, source = order
    for name, one in zip(("y", source.kind, *["x"] * (len(arrays) - 2)), arrays, strict=True):
        if isinstance(one, np.ma.MaskedArray):
            raise TypeError(f"{name} is masked; make such points NaN and give nan_policy='omit'.")
    y, scale, *x = (one if one is None else np.asarray(one) for one in arrays)
    assert y is not None
    chunk = PartSource(ArraySource(x[0] if source.joined else tuple(x), y, scale), start, source.size)
    data = BlockedData(chunk, source.kind, source.constant, source.omit, is_part=True)
    if gaps is not None:
        data.take_as_checked(y.size, gaps)
    if isinstance(function, RemoteSums):
        assert kernels is not None
        function = SumsAt(kernels.sums(Loss(function.loss, function.loss_scale)), function.p)
    terms: list[FloatArray] = []
    try:
        if function is None:
            data.check()
        else:
            terms = [one.copy() for one in data.terms(function)]
    except ValueError as error:
        if gaps is not None:
            raise
        return Part(np.array([]), 0, 0, set(), None, error)
    sample = data.sample if gaps is None else None
    return Part(np.array(terms), data.used, data.informative, data.gaps, sample)


@final
class DaskData:
    """Dask arrays as `nlsq.problem.chunks.blocks.PointData`.

    Parameters
    ----------
    x, y, scale : array or tuple of arrays, array, array or None
        Data, not all in memory, of shapes that were checked; scale holds standard deviations or weights.
    kind : {"sigma", "weights"}
        Which of the two.
    constant : float or None
        One weight for all points.
    omit : bool
        Whether points with NaN or infinities are left out; else they raise.
    """

    def __init__(self, x: Any, y: Any, scale: Any, kind: str, constant: float | None, omit: bool) -> None:
        joined = not isinstance(x, tuple)
        parts = [x] if joined else list(x)
        lead = tuple(x.shape[:-1]) if joined else (len(parts),)
        self._form = DaskSource(lead, joined, int(y.shape[0]), scale is not None, kind, constant, omit)
        self.source: Source = self._form
        lengths = chunk_lengths(next(one for one in (y, scale, *parts) if is_dask(one)).chunks[-1])
        arrays = [None if one is None else in_chunks(one, lengths) for one in (y, scale, *parts)]
        self._arrays = dask.persist(*arrays) if active_client() is not None else tuple(arrays)
        self._starts = np.cumsum([0, *lengths[:-1]]).tolist()
        self._gaps: list[set[int]] | None = None
        self._kernels: Any = None
        self.points = self.used = self.informative = 0
        self.sample = Sample()

    @property
    def weighted(self) -> bool:
        """Whether blocks have weights."""
        return self._form.constant is not None or self._form.scaled

    @property
    def is_checked(self) -> bool:
        """Whether the first pass was made."""
        return self.points > 0

    @cached_property
    def _chunks(self) -> list[list[Any]]:
        """The chunks of each array, to be computed."""
        none = [None] * len(self._starts)
        return [none if one is None else one.to_delayed().ravel().tolist() for one in self._arrays]

    def prepare(self, model: Any, parameters: Parameters) -> None:
        """Send the model on its way."""
        kernels = dask.delayed(Kernels(model, parameters, self._form), traverse=False)
        self._kernels = kernels.persist()

    def check(self) -> None:
        """Make the first pass, if it was not made."""
        if not self.is_checked:
            self._pass_over(None)

    def terms(self, function: BlockFunction) -> Iterator[FloatArray]:
        """Go over the data once and yield what a function makes of the blocks, in their order."""
        if isinstance(function, SumsAt):
            sums = function.sums
            return self._pass_over(RemoteSums(sums.loss, sums.loss_scale, np.array(function.p)))
        return self._pass_over(function)

    def _pass_over(self, function: Any) -> Iterator[FloatArray]:
        task, order = dask.delayed(go_over, pure=False), dask.delayed(Order(function, self._form), traverse=False)
        gaps = [None] * len(self._starts) if self._gaps is None else self._gaps
        each = zip(self._starts, gaps, *self._chunks, strict=True)
        parts: tuple[Part, ...] = dask.compute(*(task(self._kernels, order, *of_chunk) for of_chunk in each))
        if not self.is_checked:
            self._learn(parts)
        return (terms for part in parts for terms in part.terms)

    def _learn(self, parts: tuple[Part, ...]) -> None:
        """Collect what the first pass found out.

        Raises
        ------
        ValueError
            For the first value that is wrong.
        """
        for part in parts:
            if part.error is not None:
                raise part.error
        used = sum(part.used for part in parts)
        refuse_none_left(self.source.name, self.source.size, used)
        sample, *later = (part.sample for part in parts)
        assert sample is not None
        for one in later:
            assert one is not None
            sample.extend(one)
        self._gaps = [part.gaps for part in parts]
        self.points, self.used, self.sample = self.source.size, used, sample
        self.informative = sum(part.informative for part in parts)


def chunk_lengths(given: tuple[int, ...]) -> tuple[int, ...]:
    """Return lengths of chunks that are whole blocks, but for the last: those given, if they are, and are not small."""
    if all(length % BLOCK == 0 and length >= FEWEST * BLOCK for length in given[:-1]):
        return given
    length = BLOCK * min(max(max(given) // BLOCK, FEWEST), MOST)
    whole, rest = divmod(sum(given), length)
    return (length,) * whole + ((rest,) if rest else ())


def in_chunks(array: Any, lengths: tuple[int, ...]) -> Any:
    """Return a Dask array in chunks of these lengths along its last axis."""
    chunks = (*(array.shape[:-1]), lengths)
    if is_dask(array):
        return array.rechunk(chunks)
    return dask.array.from_array(array, chunks=chunks)
