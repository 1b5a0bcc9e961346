r"""How H = J'J of residual blocks is put together: block by block, each number at once in its place.

A residual block that meets the column blocks b_1 < b_2 < ... adds J_k'J_l to the block (b_k, b_l) of H. Only the upper
triangle is kept, by columns, as `nlsq.linalg.sparse_factor` wants it. The plan is made once from the pattern:

    rows of column block c   =   { b < c : some residual block meets b and c },  c          ascending
    term                     =   all residual blocks of a group in which one of two arguments gives the rows of a block
                                 of H, the other its columns: the same sizes throughout, one call of a kernel

The graph of column blocks is also what is ordered: widths are the weights, and a block's columns stay together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from nlsq.block_jacobian import BlockGroup, BlockJacobian, BlockPattern, FloatArray, IndexArray
from nlsq.kernels import normal_assembly as kernels
from nlsq.kernels.backend import Kernel, specialised
from nlsq.linalg.kernel_calls import VALUES, Call, ranges, sums
from nlsq.linalg.ordering import minimum_degree

SPECIALISE_FROM = 200_000  # products of numbers in one assembly from which a kernel of its own size pays
LARGEST_SPECIALISED = 1024  # products in one block up to which loops are unrolled

Ordering = Literal["amd", "natural"] | IndexArray


@final
@dataclass(frozen=True, eq=False)
class _Term:
    """Residual blocks of one group that add the product of the same two arguments to H.

    Attributes
    ----------
    group : int
        Index of the group.
    rows, columns : int
        Arguments that give rows and columns of the blocks of H; equal for diagonal blocks.
    blocks : ndarray of int64, shape (count,)
        Residual blocks.
    targets, pitches : ndarray of int64, shape (count,)
        Where in H the block's entry (0, 0) lies, and how many rows its columns have above the diagonal block.
    """

    group: int
    rows: int
    columns: int
    blocks: IndexArray
    targets: IndexArray
    pitches: IndexArray


@final
class BlockPlan:
    """Structure of H, and how it is filled.

    Parameters
    ----------
    pattern : BlockPattern
        Pattern of J.

    Attributes
    ----------
    indptr, indices : ndarray of int64
        Upper triangle of H with its diagonal, by columns; rows ascend.
    diagonal : ndarray of int64, shape (n,)
        Where the diagonal of H lies among its values.
    """

    def __init__(self, pattern: BlockPattern) -> None:
        self._widths, self._offsets, self._shapes = pattern.widths, pattern.offsets, pattern.shapes
        contributions = list(_contributions(pattern))
        n_blocks = pattern.widths.size
        keys = [np.arange(n_blocks) * (n_blocks + 1), *(key for *_, key in contributions)]
        blocks, which = np.unique(np.concatenate(keys), return_inverse=True)  # by column, then row
        self._block_columns, self._block_rows = np.divmod(blocks, n_blocks) if n_blocks else (blocks, blocks)
        targets, pitches = self._lay_out()
        ends = np.cumsum([key.size for key in keys])
        self._additions = [
            _Addition(pattern, _Term(g, k, other, chosen, targets[places], pitches[places]))
            for (g, k, other, chosen, _), places in zip(contributions, np.split(which, ends)[1:-1], strict=True)
        ]

    def _lay_out(self) -> tuple[IndexArray, IndexArray]:
        """Set `indptr`, `indices`, `diagonal`; return target and pitch of each block of H."""
        widths, offsets = self._widths, self._offsets
        rows, columns = self._block_rows, self._block_columns
        heights = widths[rows]
        ends = np.cumsum(heights)
        last = np.flatnonzero(rows == columns)  # the diagonal block ends its column
        bottoms = ends[last]
        tops = np.concatenate(([0], bottoms[:-1]))[: last.size]
        pitch = bottoms - tops - widths
        column_of = np.repeat(np.arange(widths.size), widths)
        within = np.arange(offsets[-1]) - offsets[column_of]
        lengths = pitch[column_of] + within + 1
        self.indptr = sums(lengths)
        self.diagonal = self.indptr[1:] - 1
        block_of = np.repeat(np.arange(rows.size), heights)
        stacked = np.arange(block_of.size) - (ends - heights)[block_of] + offsets[rows][block_of]
        shifts = tops[column_of] - self.indptr[:-1]
        self.indices = stacked[np.arange(self.indptr[-1]) + np.repeat(shifts, lengths)].astype(np.int64)
        firsts = np.concatenate((self.indptr, [0]))[offsets[:-1]]
        return firsts[columns] + (ends - heights) - tops[columns], pitch[columns]

    def permutation(self, ordering: Ordering) -> IndexArray:
        """Order the column blocks; return the order of the columns, shape (n,).

        Parameters
        ----------
        ordering : {"amd", "natural"} or ndarray of int, shape (n_blocks,)
            Approximate minimum degree of the graph of column blocks, as they come, or an order of column blocks.
        """
        widths, offsets = self._widths, self._offsets
        n_blocks = widths.size
        if isinstance(ordering, str):
            if ordering not in ("amd", "natural"):
                raise ValueError(f'ordering must be "amd", "natural" or an order of column blocks, got {ordering!r}.')
            order = np.arange(n_blocks) if ordering == "natural" else self._minimum_degree()
        else:
            order = np.asarray(ordering, dtype=np.int64)
            if not np.array_equal(np.sort(order), np.arange(n_blocks)):
                raise ValueError(f"ordering must hold each of the column blocks 0..{n_blocks - 1} once.")
        return ranges(offsets[order], widths[order])

    def _minimum_degree(self) -> IndexArray:
        n_blocks = self._widths.size
        apart = self._block_rows != self._block_columns
        rows, columns = self._block_rows[apart], self._block_columns[apart]
        heads, tails = np.concatenate((columns, rows)), np.concatenate((rows, columns))
        indptr = sums(np.bincount(heads, minlength=n_blocks))
        neighbours = tails[np.argsort(heads, kind="stable")]
        return minimum_degree(indptr, neighbours, weights=np.maximum(self._widths, 1))

    def assemble(self, jac: BlockJacobian, normal_out: FloatArray) -> None:
        """Form the upper triangle of J'J; normal_out (nnz,)."""
        jac.check(self._shapes)
        normal_out[...] = 0.0
        for addition in self._additions:
            addition.run(jac, normal_out)


@final
class DiagonalBlocks:
    """The diagonal blocks of H alone: upper triangles by columns, one after the other.

    Parameters
    ----------
    pattern : BlockPattern
        Pattern of J.

    Attributes
    ----------
    starts : ndarray of int64, shape (n_blocks,)
        Where each block begins.
    diagonal : ndarray of int64, shape (n,)
        Where the diagonal of H lies.
    size : int
        Numbers in all blocks.
    """

    def __init__(self, pattern: BlockPattern) -> None:
        widths, self._shapes = pattern.widths, pattern.shapes
        ends = sums(widths * (widths + 1) // 2)
        self.starts, self.size = ends[:-1], int(ends[-1])
        block_of = np.repeat(np.arange(widths.size), widths)
        within = np.arange(block_of.size) - pattern.offsets[block_of]
        self.diagonal = self.starts[block_of] + within * (within + 3) // 2
        self._additions = [
            _Addition(pattern, _Term(g, k, k, blocks, self.starts[columns], np.zeros_like(columns)))
            for g, k, other, blocks, key in _contributions(pattern)
            if k == other
            for columns in (key % max(widths.size, 1),)
        ]

    def assemble(self, jac: BlockJacobian, blocks_out: FloatArray) -> None:
        """Form the diagonal blocks of J'J; blocks_out (size,)."""
        jac.check(self._shapes)
        blocks_out[...] = 0.0
        for addition in self._additions:
            addition.run(jac, blocks_out)


def _contributions(pattern: BlockPattern) -> Iterator[tuple[int, int, int, IndexArray, IndexArray]]:
    """Yield group, argument of the rows, argument of the columns, residual blocks, and keys of the blocks of H."""
    n_blocks = pattern.widths.size
    for g, group in enumerate(pattern.groups):
        for k in range(len(group.widths)):
            for other in range(len(group.widths)):
                rows, columns = group.columns[:, k], group.columns[:, other]
                is_meant = (rows >= 0) & ((rows < columns) if other != k else True)
                blocks = np.flatnonzero(is_meant).astype(np.int64)
                if blocks.size:
                    yield g, k, other, blocks, columns[blocks] * n_blocks + rows[blocks]


@final
class _Addition:
    """Products of two arguments of one group, added to H; holds no pattern.

    Parameters
    ----------
    pattern : BlockPattern
        Pattern of J.
    term : _Term
        What is added.
    """

    def __init__(self, pattern: BlockPattern, term: _Term) -> None:
        group = pattern.groups[term.group]
        self._group = term.group
        _, q, width = group.shape
        sizes = [term.blocks.size, q, width, group.starts[term.rows], group.widths[term.rows]]
        if term.rows != term.columns:
            sizes += [group.starts[term.columns], group.widths[term.columns]]
        arrays = VALUES, term.blocks, term.targets, term.pitches
        self._call = Call(_kernel_for(group, term), *arrays, *map(int, sizes), VALUES)

    def run(self, jac: BlockJacobian, normal_out: FloatArray) -> None:
        """Add the products to H."""
        self._call(jac.values[self._group].reshape(-1), normal_out)


def _kernel_for(group: BlockGroup, term: _Term) -> Kernel:
    """Choose the kernel: one made for the sizes where there is much to do."""
    _, q, width = group.shape
    rows, columns = group.widths[term.rows], group.widths[term.columns]
    is_diagonal = term.rows == term.columns
    plain = kernels.add_diagonal_blocks if is_diagonal else kernels.add_blocks
    products = q * rows * columns
    if products > LARGEST_SPECIALISED or products * term.blocks.size < SPECIALISE_FROM:
        return plain
    sizes = {"Q": q, "WIDTH": width, "ROWS": rows}
    return specialised(plain, **sizes) if is_diagonal else specialised(plain, **sizes, COLUMNS=columns)
