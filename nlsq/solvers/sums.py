r"""Cost, gradient and normal matrix of a traced model as sums over blocks of the data.

    F = 1/2 sum_b |r_b|^2,      g = sum_b J_b' r_b,      N = sum_b J_b' J_b

The compiled kernel does a block in one pass over its points, in several partial sums each; blocks are added with the
rounding errors carried along [1]_, so that the error does not grow with their number. Nothing of the size of the data
is kept.

References
----------
.. [1] T. Ogita, S. M. Rump and S. Oishi, "Accurate sum and dot product", SIAM Journal on Scientific Computing 26, 2005:
   algorithms 3.1 (TwoSum) and 4.1 (Sum2).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.compile import LOSSES, Binding
from nlsq.compiler.entries import Arrays, Entry
from nlsq.compiler.graph import NotTraceable
from nlsq.compiler.kernel_source import Variant
from nlsq.kernels.backend.generated import call
from nlsq.kernels.backend.program import POINTS, PREDICTORS, RESPONSE, WEIGHTS
from nlsq.problem.chunks.blocks import Block

FloatArray = NDArray[np.float64]
COLLECTED = 64  # terms that are added up at once
_KERNEL = ctypes.CFUNCTYPE(ctypes.c_double, *[ctypes.c_ssize_t] * 4)


class Sums(NamedTuple):
    """What a pass gives.

    Attributes
    ----------
    cost : float
        1/2 sum rho(r_i^2).
    gradient : ndarray, shape (n,)
        J'r, with the loss.
    normal : ndarray, shape (n, n)
        J'J, rows of J scaled by weights and loss.
    sizes : ndarray, shape (n,), or None
        Of a robust loss: squared lengths of the columns of J, rows scaled by weights and ``rho'^(1/2)`` alone. Unlike
        the diagonal of J'J they do not vanish with the curvature of the loss.
    """

    cost: float
    gradient: FloatArray
    normal: FloatArray
    sizes: FloatArray | None = None


@final
class Compensated:
    """Numbers that are added up as if with twice the digits.

    Terms are collected and added two by two, whole rows at once, so that there is little to do for each.
    """

    def __init__(self, size: int) -> None:
        self._rows = np.zeros((COLLECTED + 1, size))
        self._count = 1  # the first row is the total so far
        self._error = np.zeros(size)

    def add(self, terms: FloatArray) -> None:
        """Add one term to each sum."""
        self._rows[self._count] = terms
        self._count += 1
        if self._count > COLLECTED:
            self._fold()

    def _fold(self) -> None:
        """Add up what has been collected, and the rounding errors of that."""
        rows = self._rows[: self._count]
        with np.errstate(all="ignore"):
            while len(rows) > 1:
                half = len(rows) // 2
                a, b = rows[:half], rows[half : 2 * half]
                total = a + b
                part = total - a
                self._error += ((a - (total - part)) + (b - part)).sum(axis=0)
                rows = np.concatenate((total, rows[2 * half :])) if len(rows) % 2 else total
        self._rows[0] = rows[0]
        self._count = 1

    def value(self) -> FloatArray:
        """Return the sums; one that has left the finite numbers as it is."""
        self._fold()
        total = self._rows[0]
        return np.asarray(np.where(np.isfinite(total), total + self._error, total))


def added_up(terms: Iterable[FloatArray], size: int) -> FloatArray:
    """Return the compensated sums of vectors of a size."""
    sums = Compensated(size)
    for one in terms:
        sums.add(one)
    return sums.value()


@final
class SumsAt:
    """What the kernels of a model make of blocks at a point; see `nlsq.problem.chunks.blocks.BlockFunction`.

    Parameters
    ----------
    sums : BlockSums
        The kernels.
    p : ndarray, shape (n,)
        Parameters.
    """

    def __init__(self, sums: BlockSums, p: FloatArray) -> None:
        self.sums, self.p = sums, p

    def __call__(self, blocks: Iterable[Block]) -> Iterator[FloatArray]:
        """Yield the terms of each block."""
        return self.sums.terms(self.p, blocks)


@final
class BlockSums:
    """The kernels of a traced model, called block by block.

    Parameters
    ----------
    entry : Entry
        Its graph, one that `is_by_points`, and kernels.
    arrays : Arrays
        What the function brings along.
    weighted : bool
        Whether blocks have weights.
    loss : str
        Name of the loss.
    loss_scale : float
        Its scale.
    omits : bool
        Whether a weight of zero leaves a point out, even where the model has no value.
    """

    def __init__(
        self, entry: Entry, arrays: Arrays, weighted: bool, loss: str, loss_scale: float, omits: bool = False
    ) -> None:
        kernels, n = entry.kernels, entry.trace.graph.n
        if not kernels.fuses:
            raise NotTraceable(f"it has {n} parameters that are free, too many for sums in one pass")
        self.n, self.entry, self._arrays = n, entry, arrays
        self.loss, self.loss_scale = loss, loss_scale
        self._variant = Variant(response=True, weighted=weighted, omits=omits)
        self.binding = Binding(kernels, entry.trace, self._variant)
        self.binding.set_arrays(*arrays)
        (self._length,) = kernels.layout.lengths.values()
        self._scaled = loss != "linear"
        self._kernel = _KERNEL(self.binding.normal_equations(LOSSES.index(loss), loss_scale, self._scaled))

    def with_squares(self) -> BlockSums:
        """Return the same without a loss."""
        return BlockSums(self.entry, self._arrays, self._variant.weighted, "linear", 1.0, self._variant.omits)

    def evaluate(self, p: FloatArray, blocks: Iterable[Block]) -> Sums:
        """Go over blocks once.

        Parameters
        ----------
        p : ndarray, shape (n,)
            Parameters.
        blocks : iterable of Block
            Data with weights.
        """
        return self.added(self.terms(p, blocks))

    def terms(self, p: FloatArray, blocks: Iterable[Block]) -> Iterator[FloatArray]:
        """Yield cost, gradient, normal matrix and sizes of each block in one vector, always the same one.

        The table is this pass's own: kernels run without Python's lock, and another thread may make a pass meanwhile.
        """
        n, table = self.n, self.binding.table.copy()
        p = np.ascontiguousarray(p, dtype=np.float64)
        terms = np.zeros(1 + n + n * n + n)
        kernel = self._kernel
        at, data, first = _address(p), _address(table), _address(terms) + terms.itemsize
        second = first + n * terms.itemsize
        for block in blocks:
            self._point_at(block, table)
            terms[0] = kernel(at, data, first, second)
            yield terms

    def added(self, terms: Iterable[FloatArray]) -> Sums:
        """Add up the `terms` of all blocks."""
        n = self.n
        total = added_up(terms, 1 + n + n * n + n)
        sizes = total[-n:] if self._scaled else None
        return Sums(float(total[0]), total[1 : 1 + n], total[1 + n : -n].reshape(n, n), sizes)

    def _point_at(self, block: Block, table: NDArray[np.int64]) -> None:
        """Write into a table where the points of a block are."""
        x = block.x
        table[self._length] = block.y.size
        table[POINTS] = block.y.size if x.ndim == 1 else x.strides[0] // x.itemsize  # from row to row
        table[PREDICTORS], table[RESPONSE] = _address(x), _address(block.y)
        if block.scale is not None:
            table[WEIGHTS] = _address(block.scale)

    def residual(self, block: Block) -> SampledResidual:
        """Return the weighted residual of some points, to be compared with the model's own."""
        return SampledResidual(self, block, self.entry.kernels.address("residual", self._variant))

    def residual_into(self, address: int, p: FloatArray, block: Block, out: FloatArray) -> None:
        """Evaluate the residual of a block."""
        table = self.binding.table.copy()
        self._point_at(block, table)
        call(address, np.ascontiguousarray(p), table, out)


@final
class SampledResidual:
    """Residuals of some points by the kernels, as `nlsq.solvers.traced.agrees` asks for them."""

    def __init__(self, sums: BlockSums, block: Block, address: int) -> None:
        self._sums, self._block, self._address = sums, block, address
        self.m, self.binding = block.y.size, sums.binding

    def into(self, p: FloatArray, out: FloatArray) -> None:
        """Evaluate at `p` into `out`, shape (m,)."""
        self._sums.residual_into(self._address, p, self._block, out)


def _address(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
