"""Which column blocks a Schur complement should eliminate.

Blocks of which no two share a residual can leave the normal equations one by one. A greedy independent set takes the
blocks in ascending degree, the number of residual blocks that meet a block; between equals the narrower goes first,
then the earlier. In bundle adjustment a point is met by a few observations and a camera by hundreds: the set is that
of the points. It is the first step of a minimum-degree ordering.

The set is worth a solver of its own if it leaves a small system. In a chain or a grid of equal blocks, such as a graph
of poses, about half of the columns are independent, what is left is as sparse as before, and a sparse factorisation
does the same elimination by itself: there the answer is the empty set. The rule is that `WORTHWHILE` of the columns
must be in the set.

References
----------
.. [1] S. Agarwal, N. Snavely, S. Seitz and R. Szeliski, "Bundle Adjustment in the Large", ECCV 2010, section 3.
.. [2] A. George and J. W. H. Liu, "The Evolution of the Minimum Degree Ordering Algorithm", SIAM Review 31, 1989,
   section 4 (independent nodes eliminated at once).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nlsq.block_jacobian import CONSTANT, BlockPattern
from nlsq.kernels import coloring, schur_choice
from nlsq.kernels.calling import run_kernel
from nlsq.linalg.kernel_calls import sums
from nlsq.linalg.per_pattern import once_per_pattern

__all__ = ["eliminated_blocks", "independent_blocks"]

WORTHWHILE = 0.6  # share of the columns: a chain of blocks has 0.5, bundle adjustments 0.9 and more


def eliminated_blocks(pattern: BlockPattern) -> NDArray[np.bool_]:
    """Return the blocks that are worth eliminating.

    Parameters
    ----------
    pattern : BlockPattern
        Where residual blocks meet column blocks.

    Returns
    -------
    ndarray of bool, shape (n_blocks,)
        The set of `independent_blocks` if it has `WORTHWHILE` of the columns, else no block.
    """
    chosen = independent_blocks(pattern)
    is_worthwhile = int(pattern.widths[chosen].sum()) >= WORTHWHILE * pattern.shape[1]
    return chosen if is_worthwhile else np.zeros_like(chosen)


@once_per_pattern
def independent_blocks(pattern: BlockPattern) -> NDArray[np.bool_]:
    """Return a maximal set of column blocks of which no residual block meets two, by ascending degree; found once.

    Parameters
    ----------
    pattern : BlockPattern
        Where residual blocks meet column blocks.

    Returns
    -------
    ndarray of bool, shape (n_blocks,)
    """
    row_first, blocks = _blocks_by_row(pattern)
    m, n = row_first.size - 1, pattern.widths.size
    first, meeting = np.empty(n + 1, dtype=np.int64), np.empty(blocks.size, dtype=np.int64)
    run_kernel(coloring.by_rows, row_first, blocks, n, m, first, meeting)
    order = np.lexsort((pattern.widths, np.diff(first)))
    states = np.empty(n, dtype=np.int64)
    run_kernel(schur_choice.take_independent, first, meeting, row_first, blocks, order, n, states)
    taken = np.asarray(states == schur_choice.TAKEN)
    taken.flags.writeable = False  # shared by all who ask
    return taken


def _blocks_by_row(pattern: BlockPattern) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List the column blocks of each residual block, those that are held left out."""
    lengths = [np.empty(0, dtype=np.int64)]
    blocks = [np.empty(0, dtype=np.int64)]
    for group in pattern.groups:
        is_free = group.columns != CONSTANT
        lengths.append(np.count_nonzero(is_free, axis=1))
        blocks.append(group.columns[is_free])
    return sums(np.concatenate(lengths)), np.concatenate(blocks)
