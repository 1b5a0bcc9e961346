"""Where the products of a block Jacobian go when blocks are eliminated: made once for a pattern.

Eliminated blocks are taken in an order in which those of one order d and of one width of all the kept blocks they meet
are consecutive: a *family*, for which kernels are specialised. Each has its slots, ascending in the kept blocks; see
`nlsq.kernels.schur`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from nlsq.block_jacobian import CONSTANT, BlockGroup, BlockPattern
from nlsq.kernels import schur as kernels
from nlsq.linalg.kernel_calls import IndexArray, inverse, ranges, sums

BoolArray: TypeAlias = NDArray[np.bool_]
MIXED = 0  # in place of a width: the kept blocks of a family have several
NOWHERE = -1


def main_columns(width: int) -> int:
    """Give how many columns of a block of S lie row by row."""
    return int(kernels.main_columns.function(width))


@final
@dataclass(frozen=True, eq=False)
class Family:
    """Consecutive eliminated blocks of one order whose kept blocks have one width, or several (`MIXED`)."""

    order: int
    width: int
    first: int  # index of the first block
    end: int


@final
@dataclass(frozen=True, eq=False)
class Term:
    """Products J_a'J_b of one group, and where they are added."""

    group: int
    left: int  # argument a
    right: int  # argument b
    targets: IndexArray  # (B,) beginning of the block; NOWHERE where there is no product


@final
class Elimination:
    """Eliminated blocks, kept blocks and the slots where they meet.

    Parameters
    ----------
    pattern : BlockPattern
        Pattern of J.
    eliminated : ndarray of bool, shape (n_blocks,)
        Blocks to eliminate: no residual block meets two of them.

    Attributes
    ----------
    kept : ndarray, shape (n_kept,)
        Kept blocks, ascending.
    starts : ndarray, shape (n_kept + 1,)
        First reduced column of each, and their number.
    kept_columns : ndarray
        Column of J for each reduced column.
    columns : ndarray, shape (n_eliminated,)
        First column of J of each eliminated block, family by family.
    families : list of Family
        Their families.
    block_starts : ndarray, shape (n_eliminated + 1,)
        Where V_e begins.
    slots : ndarray, shape (n_eliminated + 1,)
        First slot of each eliminated block.
    slot_kept : ndarray, shape (n_slots,)
        Kept block (index in `kept`) of each slot.
    slot_starts : ndarray, shape (n_slots + 1,)
        Where W_s begins.

    Raises
    ------
    ValueError
        If a residual block meets two eliminated blocks.
    """

    def __init__(self, pattern: BlockPattern, eliminated: BoolArray) -> None:
        self.pattern, self.eliminated = pattern, eliminated
        widths = pattern.widths
        self.kept = np.flatnonzero(~eliminated)
        self.starts = sums(widths[self.kept])
        self.kept_columns = ranges(pattern.offsets[self.kept], widths[self.kept])
        self._kept_index = np.cumsum(~eliminated) - 1
        chosen = np.flatnonzero(eliminated)
        self._rank = np.full(widths.size + 1, NOWHERE, dtype=np.int64)  # last: of a held argument
        self._rank[chosen] = np.arange(chosen.size)
        self._owners = [self._owner(k, group) for k, group in enumerate(pattern.groups)]

        stride = max(self.kept.size, 1)
        meetings = [self._owners[k][rows] * stride + f for k, _, rows, f in self._meetings()]
        keys, found = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *meetings]), return_inverse=True)
        owner, kept = np.divmod(keys, stride)
        lengths = np.bincount(owner, minlength=chosen.size)
        order, self.families = _families(widths[chosen], lengths, widths[self.kept][kept])
        self._rank[chosen[order]] = np.arange(chosen.size)
        self.columns = pattern.offsets[chosen[order]]
        self.block_starts = sums(widths[chosen[order]] ** 2)
        self.slots = sums(lengths[order])
        by_family = ranges(sums(lengths)[:-1][order], lengths[order])
        self.slot_kept = kept[by_family]
        self.slot_starts = sums(np.repeat(widths[chosen[order]], lengths[order]) * widths[self.kept][self.slot_kept])
        self._slot_of_meeting = inverse(by_family)[found]
        places = np.append(inverse(order), NOWHERE)  # which NOWHERE reads
        self._owners = [places[owner] for owner in self._owners]

    @property
    def slot_widths(self) -> IndexArray:
        """Width of the kept block of each slot."""
        return np.ascontiguousarray(self.pattern.widths[self.kept][self.slot_kept])

    def stars(self) -> list[IndexArray]:
        """List the kept blocks (B, k) of residual blocks without an eliminated one, `NOWHERE` where held."""
        found = []
        for group, owner in zip(self.pattern.groups, self._owners, strict=True):
            columns = group.columns[owner < 0]
            found.append(np.where(columns == CONSTANT, NOWHERE, self._kept_index[columns]))
        return found

    def _owner(self, k: int, group: BlockGroup) -> IndexArray:
        """Give the index of the eliminated block that each residual block meets, NOWHERE where there is none."""
        ranks = self._rank[group.columns]  # CONSTANT reads the last
        crowded = np.flatnonzero(np.count_nonzero(ranks >= 0, axis=1) > 1)
        if crowded.size:
            row = int(crowded[0])
            blocks = group.columns[row][ranks[row] >= 0].tolist()
            raise ValueError(
                f"eliminated must be an independent set: residual block {row} of group {k} meets the column blocks "
                f"{blocks}, all of them to be eliminated; leave out all but one."
            )
        return np.asarray(ranks.max(axis=1, initial=NOWHERE))

    def _meetings(self) -> list[tuple[int, int, IndexArray, IndexArray]]:
        """List group, argument, rows and kept blocks where a kept argument stands beside an eliminated block."""
        found = []
        for k, group in enumerate(self.pattern.groups):
            for j in range(len(group.widths)):
                block = group.columns[:, j]
                rows = np.flatnonzero((self._owners[k] >= 0) & (block != CONSTANT) & ~self.eliminated[block])
                found.append((k, j, rows, self._kept_index[block[rows]]))
        return found

    def own_terms(self) -> list[Term]:
        """List the products that make V."""
        terms = []
        for k, group in enumerate(self.pattern.groups):
            for j in range(len(group.widths)):
                rank = self._rank[group.columns[:, j]]
                terms.append(Term(k, j, j, np.where(rank >= 0, self.block_starts[rank], NOWHERE)))
        return _useful(terms)

    def coupling_terms(self) -> list[Term]:
        """List the products that make W."""
        terms, start = [], 0
        for k, j, rows, _ in self._meetings():
            slot = np.full(self.pattern.groups[k].count, NOWHERE, dtype=np.int64)
            slot[rows] = self._slot_of_meeting[start : start + rows.size]
            start += rows.size
            for e in range(len(self.pattern.groups[k].widths)):
                here = (self._rank[self.pattern.groups[k].columns[:, e]] >= 0) & (slot >= 0)
                terms.append(Term(k, e, j, np.where(here, self.slot_starts[slot], NOWHERE)))
        return _useful(terms)

    def kept_terms(self, locate: Callable[[IndexArray, IndexArray], IndexArray]) -> list[Term]:
        """List the products among kept blocks; ``locate(f, g)``, f <= g, says where a block of S begins."""
        terms = []
        for k, group in enumerate(self.pattern.groups):
            blocks = np.where(group.columns == CONSTANT, NOWHERE, self._kept_index[group.columns])
            blocks[self._rank[group.columns] >= 0] = NOWHERE
            for i in range(len(group.widths)):
                for j in range(len(group.widths)):
                    f, g = blocks[:, i], blocks[:, j]
                    rows = np.flatnonzero((f >= 0) & (g >= 0) & ((f < g) if i != j else (f == g)))
                    targets = np.full(group.count, NOWHERE, dtype=np.int64)
                    targets[rows] = locate(f[rows], g[rows])
                    terms.append(Term(k, i, j, targets))
        return _useful(terms)


def _families(orders: IndexArray, lengths: IndexArray, slot_widths: IndexArray) -> tuple[IndexArray, list[Family]]:
    """Order eliminated blocks by families."""
    width = np.full(orders.size, MIXED, dtype=np.int64)
    some = np.flatnonzero(lengths)
    if some.size:
        starts = sums(lengths)[:-1][some]
        least, most = np.minimum.reduceat(slot_widths, starts), np.maximum.reduceat(slot_widths, starts)
        width[some] = np.where(least == most, most, MIXED)
    order = np.lexsort((np.arange(orders.size), width, orders))
    kinds = np.column_stack((orders, width))[order]
    breaks = np.flatnonzero(np.any(kinds[1:] != kinds[:-1], axis=1)) + 1
    edges = [0, *breaks.tolist(), orders.size] if orders.size else [0]
    families = [Family(int(kinds[first, 0]), int(kinds[first, 1]), first, end) for first, end in pairwise(edges)]
    return order, families


def _useful(terms: list[Term]) -> list[Term]:
    return [term for term in terms if np.any(term.targets >= 0)]
