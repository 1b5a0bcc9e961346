"""The reduced system of a Schur complement, as a dense or a sparse matrix.

S is kept as blocks (f, g), f <= g, of the layout that `nlsq.kernels.schur` describes: in the dense case one for each
pair of kept blocks, in the sparse case one where the two meet in a residual block or an eliminated block.
"""

from __future__ import annotations

from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from nlsq.kernels import schur as kernels
from nlsq.kernels.backend import handle
from nlsq.linalg.linear_solver import FloatArray
from nlsq.linalg.schur_plan import Elimination, IndexArray

REDUCED = ("auto", "dense", "sparse")


@final
class DenseReduced:
    """S as a dense matrix, factorised by LAPACK.

    Parameters
    ----------
    plan : Elimination
        Kept blocks.

    Attributes
    ----------
    undamped, blocks : ndarray
        Blocks of U, and of S without its damping.
    step : ndarray, shape (n,)
        Right-hand side g; after `solve`, the solution of S p = -g.
    failed_column : int
        Column of J whose pivot failed; -1 if none.
    """

    def __init__(self, plan: Elimination) -> None:
        starts = plan.starts
        n = int(starts[-1])
        widths = np.diff(starts)
        self._plan, self._n, self._starts = plan, n, starts
        sizes = widths * (n - starts[:-1])
        self._row_blocks = np.cumsum(sizes) - sizes
        self._panels_of = self._row_blocks - widths * starts[:-1]
        self.panels: IndexArray = np.append(self._panels_of[plan.slot_kept], 0)
        self.pair_blocks: IndexArray = np.zeros(1, dtype=np.int64)
        self.first_pairs: IndexArray = np.zeros(plan.columns.size, dtype=np.int64)
        self.undamped, self.blocks = np.zeros(int(sizes.sum())), np.zeros(int(sizes.sum()))
        self.step = np.zeros(n)
        self.failed_column = -1
        self._matrix = np.zeros((n, n))
        self._diagonal, self._damping = diagonal_places(plan, self._row_blocks), np.zeros(n)
        self._pivots, self._sums = np.zeros(n), np.zeros(n)

    def locate(self, f: IndexArray, g: IndexArray) -> IndexArray:
        """Say where the blocks (f, g), f <= g, begin."""
        return np.asarray(self._panels_of[f] + np.diff(self._starts)[f] * self._starts[g])

    def factorize(self, damping: FloatArray) -> float:
        """Factorise S + D; give the smallest ratio of a squared pivot to the diagonal, 0 if not definite."""
        from scipy.linalg.lapack import dpotrf

        self.failed_column = -1
        if self._n == 0:
            return 1.0
        np.take(damping, self._plan.kept_columns, out=self._damping)
        places = self._starts, self._row_blocks, self._starts.size - 1, self._damping, self._matrix
        arguments = [handle(a.reshape(-1)) if isinstance(a, np.ndarray) else a for a in (self.blocks, *places)]
        kernels.expand.entry()(*arguments)
        _, info = dpotrf(self._matrix.T, lower=1, overwrite_a=1, clean=0)
        np.take(self.undamped, self._diagonal, out=self._sums)
        self._sums += self._damping
        np.square(self._matrix.diagonal(), out=self._pivots)
        np.divide(self._pivots, self._sums, out=self._pivots)
        failed = int(info) - 1 if info > 0 else self._n
        low = np.flatnonzero(~(self._pivots[:failed] > kernels.NO_DIGITS))
        failed = int(low[0]) if low.size else failed
        if failed < self._n:
            self.failed_column = int(self._plan.kept_columns[failed])
            return 0.0
        return float(self._pivots.min())

    def solve(self) -> None:
        """Replace g in `step` by the solution of S p = -g."""
        from scipy.linalg.lapack import dpotrs

        if self._n:
            np.negative(self.step, out=self.step)
            dpotrs(self._matrix.T, self.step, lower=1, overwrite_b=1)


def diagonal_places(plan: Elimination, diagonal_blocks: IndexArray) -> IndexArray:
    """Say where the diagonal entries of S lie among the blocks, given where the diagonal blocks begin."""
    places = [np.empty(0, dtype=np.int64)]
    widths = np.diff(plan.starts)
    order = np.arange(int(plan.starts[-1]))
    owner = np.repeat(np.arange(widths.size), widths)
    a, w = order - plan.starts[owner], widths[owner]
    beyond = w % 8
    main = np.where((w > 8) & (beyond <= 2), w - beyond, w)
    del places
    return np.asarray(diagonal_blocks[owner] + np.where(a < main, a * main + a, a * w + a))


def reduced_system(plan: Elimination, name: str) -> DenseReduced:
    """Choose the form of the reduced system."""
    if name not in REDUCED:
        raise ValueError(f"reduced must be one of {', '.join(REDUCED)}; got {name!r}.")
    return DenseReduced(plan)


SparseReduced = DenseReduced
