r"""Jacobians of residual blocks over parameter blocks.

A residual block meets a few parameter blocks, each of a few numbers. Its rows of J are dense in the columns of those
blocks and zero elsewhere, so that they are kept as one small array:

    J[rows of residual block i, columns of its argument k]  =  values[i, :, start_k : start_k + width_k].

Residual blocks of one kind form a group and lie in one array of shape (B, q, T): B blocks, q residuals each, T columns
of all arguments together. Structure once, values at each iterate, as for `SparsityPattern`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from nlsq.pattern import SparsityPattern

__all__ = ["BlockGroup", "BlockJacobian", "BlockPattern"]

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]
CONSTANT = -1  # in place of a column block: the argument is held


@final
@dataclass(frozen=True, eq=False)
class BlockGroup:
    """Residual blocks of one kind.

    Attributes
    ----------
    residuals : int
        q, residuals of one block.
    first_row : int
        Row of J at which the group begins; its blocks follow one another.
    columns : ndarray of int64, shape (B, k)
        Column block of each argument, `CONSTANT` (-1) where it is held. No block has the same one twice.
    widths : tuple of int
        Columns that each argument has in `values`, held or not; T is their sum.
    """

    residuals: int
    first_row: int
    columns: IndexArray
    widths: tuple[int, ...]

    @property
    def count(self) -> int:
        """B, the number of residual blocks."""
        return int(self.columns.shape[0])

    @property
    def starts(self) -> tuple[int, ...]:
        """First column of each argument in `values`, and T."""
        return (0, *(int(end) for end in np.cumsum(self.widths)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (B, q, T) of the group's values."""
        return self.count, self.residuals, sum(self.widths)


@final
@dataclass(frozen=True, eq=False)
class BlockPattern:
    """Where residual blocks meet parameter blocks.

    Attributes
    ----------
    groups : tuple of BlockGroup
        Their rows follow one another without gaps.
    widths : ndarray of int64, shape (n_blocks,)
        Columns of each column block.
    """

    groups: tuple[BlockGroup, ...]
    widths: IndexArray

    @cached_property
    def offsets(self) -> IndexArray:
        """First column of each column block, and n; shape (n_blocks + 1,)."""
        return np.concatenate(([0], np.cumsum(self.widths))).astype(np.int64)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (m, n) of J."""
        rows = sum(group.count * group.residuals for group in self.groups)
        return rows, int(self.offsets[-1])

    def zeros(self) -> BlockJacobian:
        """Allocate a Jacobian of this pattern."""
        return BlockJacobian(self, [np.zeros(group.shape) for group in self.groups])


@final
class BlockJacobian:
    """Values of J over a `BlockPattern`.

    Parameters
    ----------
    pattern : BlockPattern
        Structure, shared.
    values : list of ndarray
        One contiguous array (B, q, T) a group; changed in place by who owns the Jacobian.
    """

    __slots__ = ("pattern", "values")

    def __init__(self, pattern: BlockPattern, values: list[FloatArray]) -> None:
        self.pattern = pattern
        self.values = values

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (m, n)."""
        return self.pattern.shape

    def entries(self) -> tuple[IndexArray, IndexArray, FloatArray]:
        """Rows, columns and values of all entries that are not held, group by group."""
        rows, columns, values = [], [], []
        for group, array in zip(self.pattern.groups, self.values, strict=True):
            count, q, width = group.shape
            places = np.full((count, width), CONSTANT, dtype=np.int64)
            for k, (start, end) in enumerate(zip(group.starts, group.starts[1:], strict=False)):
                block = group.columns[:, k]
                first = np.where(block == CONSTANT, 0, self.pattern.offsets[block])
                places[:, start:end] = np.where(block == CONSTANT, -end, first)[:, None] + np.arange(end - start)
            row = group.first_row + np.arange(count * q).reshape(count, q, 1)
            kept = np.broadcast_to(places[:, None, :] >= 0, array.shape)
            rows.append(np.broadcast_to(row, array.shape)[kept])
            columns.append(np.broadcast_to(places[:, None, :], array.shape)[kept])
            values.append(array[kept])
        return np.concatenate(rows), np.concatenate(columns), np.concatenate(values)

    def to_csr(self) -> Any:
        """Return J as a `scipy.sparse.csr_array`, shape (m, n)."""
        from scipy.sparse import csr_array

        rows, columns, values = self.entries()
        return csr_array((values, (rows, columns)), shape=self.shape)

    def toarray(self) -> FloatArray:
        """Return J as a dense array, shape (m, n)."""
        return np.asarray(self.to_csr().toarray())

    def to_pattern(self) -> SparsityPattern:
        """Return the pattern entry by entry."""
        rows, columns, _ = self.entries()
        return SparsityPattern.from_entries(rows, columns, self.shape)
