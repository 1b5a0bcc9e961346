"""The data of a fit that went over them block by block: what is known of them, and how they are read again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.fitting.data import CurveData, read_data
from nlsq.problem.chunks.blocks import Block, PointData

if TYPE_CHECKING:
    from nlsq.solvers.sums import BlockSums

FloatArray = NDArray[np.float64]
IN_CHUNKS = (
    "the data of this fit were read in chunks, and an array with one value a point is never made of them; call "
    "result.predict(x) for the points that you want, chunk by chunk"
)
LEFT_BEHIND = "this result was pickled without its data, which are not in memory; fit again, or use result.predict(x)"


@final
class Unread(ValueError):
    """A number of a result takes another pass over data that cannot be read any more."""


@contextmanager
def another_pass(name: str) -> Iterator[None]:
    """Say what a number needed when reading the data fails: their file may be closed, or the result unpickled."""
    try:
        yield
    except Exception as error:
        raise Unread(
            f"{name} takes one more pass over the data, which cannot be read any more ({type(error).__name__}: "
            f"{str(error).rstrip('.')}); ask for it while they are open, before the result is pickled."
        ) from error


@final
@dataclass(slots=True)
class StreamedData:
    """Data that were read block by block.

    Attributes
    ----------
    used, informative : int
        Points that were not left out, and among them those whose weight is not zero.
    given : tuple or None
        ``(x, y, sigma, weights, nan_policy)`` as `fit` got them, the very arrays; None where they are not in memory.
    blocks : PointData or None
        Goes over them again; None in a result that was pickled.
    sums : BlockSums or None
        The kernels of the model, likewise.
    why_not : str
        Why they cannot be had as a whole.
    """

    used: int
    informative: int
    given: Any = None
    blocks: PointData | None = None
    sums: BlockSums | None = None
    why_not: str = IN_CHUNKS

    @property
    def in_memory(self) -> bool:
        """Whether they can be had as a whole."""
        return self.given is not None

    def whole(self) -> CurveData:
        """Return copies of the data; see `CurveData.whole`."""
        if self.given is None:
            raise ValueError(f"{self.why_not}.")
        return read_data(*self.given)

    def chi2(self, p: FloatArray) -> float:
        """Return the sum of the squared residuals, whatever the loss; `p` holds the free parameters.

        Raises
        ------
        Unread
            If the data cannot be read any more.
        """
        from nlsq.solvers.sums import SumsAt

        with another_pass("chi2 under a robust loss"):
            blocks, sums = self._again()
            squares = sums.with_squares()
            return 2.0 * squares.added(blocks.terms(SumsAt(squares, p))).cost

    def scatter(self) -> float:
        """Return the least chi2 of a constant.

        With c a value amid the data:  sum w^2 (y - c)^2  -  (sum w^2 (y - c))^2 / sum w^2.

        Raises
        ------
        Unread
            If the data cannot be read any more.
        """
        from nlsq.solvers.sums import added_up

        with another_pass("r_squared"):
            blocks, _ = self._again()
            _, y, weights = blocks.sample.arrays()
            centre = float(np.mean(y) if weights is None or not weights.any() else np.average(y, weights=weights))
            total, first, second = added_up(blocks.terms(AboutCentre(centre)), 3).tolist()
        return second - first * first / total if total > 0.0 else 0.0

    def _again(self) -> tuple[PointData, BlockSums]:
        if self.blocks is None or self.sums is None:
            raise ValueError(f"{LEFT_BEHIND}.")
        return self.blocks, self.sums

    def for_pickling(self) -> StreamedData:
        """Return what is pickled: arrays in memory go along, files and iterators do not."""
        parts = () if self.given is None else (*_parts(self.given[0]), *self.given[1:4])
        kept = bool(parts) and all(one is None or type(one) is np.ndarray or np.ndim(one) == 0 for one in parts)
        return replace(
            self, given=self.given if kept else None, blocks=None, sums=None, why_not="" if kept else LEFT_BEHIND
        )


@final
@dataclass(frozen=True, slots=True)
class AboutCentre:
    """Sums of w^2, of w^2 (y - c) and of w^2 (y - c)^2 for each block."""

    centre: float

    def __call__(self, blocks: Iterable[Block]) -> Iterator[FloatArray]:
        """Yield the three of each block."""
        for block in blocks:
            from_centre = block.y - self.centre
            if block.scale is None:
                first, total = from_centre, float(block.y.size)
            else:
                squares = block.scale * block.scale
                first, total = squares * from_centre, squares.sum()
            # Sums by NumPy itself: those of BLAS depend on its number of threads.
            yield np.array((total, first.sum(), (first * from_centre).sum()))


def _parts(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, tuple | list) else (x,)
