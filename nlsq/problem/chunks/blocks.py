"""Data that are read in blocks: what a fit of very many points goes over, once for each evaluation.

    block b holds the points  b BLOCK ... (b + 1) BLOCK - 1

wherever the borders of the chunks are that the data come in, so that sums over blocks do not depend on them. A block is
looked at where it lies if it is contiguous float64 in memory; anything else is converted into one buffer of that size,
which each pass has of its own: two threads may ask a result for what takes another pass.

What is checked in the first pass (NaN, infinities, deviations that are not positive) is not looked for again; where
points are left out, the blocks that have any are remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol, final

import numpy as np
from numpy.typing import NDArray

from nlsq.problem.chunks.sample import BLOCK, Sample

FloatArray = NDArray[np.float64]

GIVE_IT = "give the value, or leave the point out with nan_policy='omit'"


class Block(NamedTuple):
    """Points in a row, as a source read them; valid until the next block is asked for.

    Attributes
    ----------
    start : int
        Index of the first of them in the data.
    x : ndarray, shape (k,) or (rows, k)
        Independent variables; values of a row are adjacent.
    y : ndarray, shape (k,)
        Data.
    scale : ndarray, shape (k,), or None
        Standard deviations or weights; after the checks, weights.
    """

    start: int
    x: FloatArray
    y: FloatArray
    scale: FloatArray | None


class Source(Protocol):
    """Where blocks come from.

    Attributes
    ----------
    lead : tuple of int
        ``()`` for one independent variable (m,), ``(rows,)`` for several.
    joined : bool
        Whether these are one array (rows, m); else a tuple of arrays.
    name : str
        What messages call it.
    size : int
        Number of points, 0 where that is not known.
    scaled : bool
        Whether each point has a standard deviation or a weight of its own.
    is_lazy : bool
        Whether the data are outside the memory of this process.
    """

    lead: tuple[int, ...]
    joined: bool
    name: str
    size: int
    scaled: bool
    is_lazy: bool

    def blocks(self) -> Iterator[Block]:
        """Go over the data once."""
        ...


class BlockFunction(Protocol):
    """Makes one vector of each block, to be added up."""

    def __call__(self, blocks: Iterable[Block]) -> Iterator[FloatArray]:
        """Yield the vectors; each is valid until the next one is asked for."""
        ...


class PointData(Protocol):
    """The data of a fit as blocks, wherever they are.

    Attributes
    ----------
    source : Source
        What is known of them beforehand.
    points, used, informative : int
        Points, those that are not left out, and among them those whose weight is not zero; 0 before the first pass.
    sample : Sample
        Some points, spread evenly.
    """

    source: Source
    points: int
    used: int
    informative: int
    sample: Sample

    @property
    def weighted(self) -> bool:
        """Whether blocks have weights."""
        ...

    @property
    def is_checked(self) -> bool:
        """Whether the first pass was made."""
        ...

    def prepare(self, model: Any, parameters: Any) -> None:
        """Get to know the model and its parameters, before sums of its kernels are asked for."""
        ...

    def check(self) -> None:
        """Make the first pass, if it was not made."""
        ...

    def terms(self, function: BlockFunction) -> Iterator[FloatArray]:
        """Go over the data once and yield what a function makes of the blocks, in their order."""
        ...


@final
class ChunkSource:
    """Data in chunks of any size, made anew for each pass over them; given to `nlsq.fit` in place of x.

    Parameters
    ----------
    factory : callable
        ``factory()`` returns a new iterator over tuples ``(x, y)`` or ``(x, y, sigma)``, the same data each time: x of
        shape (k,) or (rows, k) or a tuple of arrays (k,), y and sigma of shape (k,). k may differ from chunk to chunk.

    Notes
    -----
    A fit iterates once for each evaluation of the sums, that is about ten times.

    Examples
    --------
    >>> import numpy as np, nlsq
    >>> def parts():
    ...     for k in range(20):
    ...         x = np.linspace(k, k + 1, 1000, endpoint=False)
    ...         yield x, 2.5 * np.exp(-0.3 * x)
    >>> def decay(x, height, rate):
    ...     return height * np.exp(-rate * x)
    >>> result = nlsq.fit(decay, nlsq.ChunkSource(parts), p0={"height": 1.0, "rate": 1.0})
    >>> round(float(result.params["rate"]), 6)
    0.3
    """

    def __init__(self, factory: Callable[[], Iterable[tuple[Any, ...]]]) -> None:
        if not callable(factory):
            raise TypeError(
                f"factory must be callable and return a new iterator over (x, y) each time, got "
                f"{type(factory).__name__}."
            )
        self.factory = factory

    def __repr__(self) -> str:
        return f"ChunkSource({getattr(self.factory, '__name__', self.factory)!s})"


def refuse_none_left(name: str, points: int, used: int) -> None:
    """Raise ValueError for data without points, or without any that are not left out."""
    if not points:
        raise ValueError(f"{name} has no points.")
    if not used:
        raise ValueError(f"y has no values left: all {points} points are missing.")


@final
class BlockedData:
    """Checked blocks of a source, with weights.

    Parameters
    ----------
    source : Source
        Where they come from.
    kind : {"sigma", "weights"}
        What the source's scale is.
    constant : float or None
        One weight for all points.
    omit : bool
        Whether points with NaN or infinities are left out; else they raise.
    is_part : bool
        Whether these are not all data, so that there may be none.

    Attributes
    ----------
    points : int
        Points of the source; 0 before the first pass.
    used, informative : int
        Those that were not left out, and among them those whose weight is not zero.
    gaps : set of int
        The first points of blocks in which some are left out.
    sample : Sample
        Some points, spread evenly.
    """

    def __init__(self, source: Source, kind: str, constant: float | None, omit: bool, is_part: bool = False) -> None:
        self.source, self._kind, self._omit, self._is_part = source, kind, omit, is_part
        self._constant = None if constant is None else np.full(BLOCK, constant)
        self.gaps: set[int] = set()
        self.points = self.used = self.informative = 0
        self.sample = Sample()

    @property
    def weighted(self) -> bool:
        """Whether blocks have weights."""
        return self._constant is not None or self.source.scaled

    @property
    def is_checked(self) -> bool:
        """Whether the first pass was made."""
        return self.points > 0

    def prepare(self, model: Any, parameters: Any) -> None:
        """Do nothing: who asks for sums brings the kernels along."""

    def check(self) -> None:
        """Make the first pass, if it was not made."""
        if not self.is_checked:
            for _ in self.blocks():
                pass

    def take_as_checked(self, points: int, gaps: set[int]) -> None:
        """Know from an earlier pass how many points there are, and which blocks have some that are left out."""
        self.points, self.gaps = points, gaps

    def terms(self, function: BlockFunction) -> Iterator[FloatArray]:
        """Go over the data once and yield what a function makes of the blocks, in their order."""
        return function(self.blocks())

    def blocks(self) -> Iterator[Block]:
        """Go over the data once; the first time with all checks.

        Raises
        ------
        ValueError
            Naming the argument and the index of the first value that is wrong, if the source has no points, or if it
            has others than the last time.
        """
        if not self.is_checked:
            yield from self._first_pass()
            return
        points, buffer = 0, self._new_buffer()
        for block in self.source.blocks():
            points += block.y.size
            if block.start in self.gaps:
                block = self._without(block, self._missing(block))
            if block.y.size:
                yield self._weighted(block, buffer)
        if points != self.points:
            raise ValueError(
                f"{self.source.name} gave {points} points in this pass and {self.points} in the first one; each pass "
                "must go over the same data, and factory() must return a new iterator each time."
            )

    def _first_pass(self) -> Iterator[Block]:
        points, used, informative, buffer = 0, 0, 0, self._new_buffer()
        sample, self.gaps = Sample(0 if self._omit else self.source.size), set()
        for block in self.source.blocks():
            points += block.y.size
            missing = self._missing(block) if self._is_suspicious(block) else None
            missing = missing if missing is not None and missing.any() else None
            if missing is not None:
                self.gaps.add(block.start)
                block = self._without(block, missing)
            if not block.y.size:
                continue
            block = self._weighted(block, buffer)
            sample.take(block, missing)
            used += block.y.size
            informative += block.y.size if block.scale is None else int(np.count_nonzero(block.scale))
            yield block
        if not self._is_part:
            refuse_none_left(self.source.name, points, used)
        self.points, self.used, self.informative, self.sample = points, used, informative, sample

    def _is_suspicious(self, block: Block) -> bool:
        """Whether something in a block may be wrong: sums, which are quick, show NaN and infinities."""
        with np.errstate(all="ignore"):
            suspicious = not (np.isfinite(np.add.reduce(block.y)) and np.isfinite(np.add.reduce(block.x, axis=None)))
            if block.scale is not None:
                least = np.min(block.scale, initial=np.inf)
                fine = least > 0.0 if self._kind == "sigma" else least >= 0.0 and np.max(block.scale) < np.inf
                suspicious = suspicious or not fine
        return bool(suspicious)

    def _missing(self, block: Block) -> NDArray[np.bool_]:
        """Return which points are left out; raise for the first that is wrong where that is the policy."""
        missing = ~np.isfinite(block.y)
        self._refuse(block, "y[{}]", block.y, missing)
        for k, row in enumerate(block.x if block.x.ndim == 2 else [block.x]):
            wrong = ~np.isfinite(row)
            place = "x[{}]" if block.x.ndim == 1 else f"x[{k}, {{}}]" if self.source.joined else f"x[{k}][{{}}]"
            self._refuse(block, place, row, wrong)
            missing |= wrong
        return missing if block.scale is None else missing | self._unknown_scale(block, block.scale, missing)

    def _unknown_scale(self, block: Block, scale: FloatArray, missing: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return where deviations or weights are NaN; raise for those that are wrong where there is a point."""
        unknown, place = np.isnan(scale), f"{self._kind}[{{}}]"
        self._refuse(block, place, scale, unknown & ~missing, GIVE_IT)
        known = ~(missing | unknown)
        if self._kind == "sigma":
            wrong, why = scale <= 0.0, "it must be positive; a point without information has inf"
        else:
            wrong, why = (scale < 0.0) | np.isinf(scale), "it must be finite and not negative"
        self._refuse(block, place, scale, wrong & known, why, always=True)
        return unknown

    def _refuse(
        self,
        block: Block,
        place: str,
        values: FloatArray,
        wrong: NDArray[np.bool_],
        why: str = "remove the point, or leave it out with nan_policy='omit'",
        always: bool = False,
    ) -> None:
        """Raise for the first wrong value, by its index in the whole data; `place` says how that is written."""
        if wrong.any() and (always or not self._omit):
            at = int(np.argmax(wrong))
            raise ValueError(f"{place.format(block.start + at)} is {values[at]}; {why}.")

    def _without(self, block: Block, missing: NDArray[np.bool_]) -> Block:
        keep = ~missing
        scale = None if block.scale is None else block.scale[keep]
        return Block(block.start, np.ascontiguousarray(block.x[..., keep]), block.y[keep], scale)

    def _new_buffer(self) -> FloatArray | None:
        """Return room for the weights of a block, where they are made of standard deviations."""
        return np.empty(BLOCK) if self.source.scaled and self._kind == "sigma" else None

    def _weighted(self, block: Block, buffer: FloatArray | None) -> Block:
        """Put weights in the place of standard deviations."""
        if self._constant is not None:
            return block._replace(scale=self._constant[: block.y.size])
        if buffer is None or block.scale is None:
            return block
        return block._replace(scale=np.divide(1.0, block.scale, out=buffer[: block.y.size]))
