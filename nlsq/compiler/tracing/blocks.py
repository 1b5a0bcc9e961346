"""Partitions of the axes of an array into arithmetic progressions.

What `np.concatenate` joins, or stores fill, is made of blocks: each axis is cut into disjoint progressions of positions

    start, start + step, ..., start + (count - 1) step        step > 0,

and a block is a product of one progression from each axis. Slices, stores with a step, and the common refinement of two
partitions are intersections of progressions, which are progressions again: x = a (mod s) and x = b (mod t) have either
no common solution or one modulo lcm(s, t) (the Chinese remainder theorem; Knuth, "The Art of Computer Programming",
vol. 2, section 4.3.2). Python's `range` is such a progression.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from math import gcd
from operator import attrgetter

from nlsq.compiler.graph import NotTraceable

Parts = tuple[range, ...]  # a partition of one axis, in the order of the first positions
Cuts = tuple[Parts, ...]  # a partition of each axis
MOST_PARTS = 100_000
_start = attrgetter("start")


def intersection(a: range, b: range) -> range:
    """Return the positions that two progressions with positive steps have in common."""
    if a.step == b.step == 1:
        return range(max(a.start, b.start), min(a.stop, b.stop))
    if not a or not b:
        return range(0)
    common = gcd(a.step, b.step)
    apart = b.start - a.start
    if apart % common:
        return range(0)
    period = a.step // common * b.step
    other = b.step // common
    turns = apart // common * pow(a.step // common, -1, other) % other if other > 1 else 0
    first = a.start + a.step * turns
    low = max(a.start, b.start)
    if first < low:
        first += -(-(low - first) // period) * period
    return tidy(range(first, min(a[-1], b[-1]) + 1, period))


def tidy(positions: range) -> range:
    """Return the same positions in the one form that compares equal."""
    if len(positions) <= 1:
        return range(positions.start, positions.start + len(positions))
    return range(positions.start, positions[-1] + 1, positions.step)


def within(part: range, inner: range) -> tuple[int, int]:
    """Return offset and step in the numbering of `part` of positions that lie in it."""
    return (inner.start - part.start) // part.step, max(inner.step // part.step, 1)


def local(outer: range, hit: range) -> range:
    """Return which elements of `outer` some of its positions are."""
    return tidy(
        range(
            (hit.start - outer.start) // outer.step,
            (hit[-1] - outer.start) // outer.step + 1,
            max(hit.step // outer.step, 1),
        )
    )


def complement(part: range, hit: range) -> list[range]:
    """Return what remains of a progression without some of its positions."""
    if not hit:
        return [part]
    offset, ratio = within(part, hit)
    count = len(hit)
    last = offset + ratio * (count - 1)
    rest = [part[:offset], part[last + 1 :]]
    if ratio - 1 <= count - 1:
        rest += [part[offset + r : last : ratio] for r in range(1, ratio)]
    else:
        rest += [part[offset + ratio * j + 1 : offset + ratio * (j + 1)] for j in range(count - 1)]
    return [tidy(one) for one in rest if one]


def ordered(parts: list[range]) -> Parts:
    """Return parts in the order of their first positions."""
    if len(parts) > MOST_PARTS:
        raise NotTraceable("an array joined of too many expressions")
    return tuple(sorted(parts, key=_start))


def refined(a: Parts, b: Parts) -> Parts:
    """Return the coarsest partition that refines two partitions of an axis."""
    if a == b or len(b) == 1:
        return a
    if len(a) == 1:
        return b
    if all(one.step == 1 for one in a) and all(one.step == 1 for one in b):
        cuts = sorted({one.stop for one in a} | {one.stop for one in b})
        return tuple(range(begin, end) for begin, end in zip([0, *cuts[:-1]], cuts, strict=True))
    if len(a) * len(b) > MOST_PARTS:
        raise NotTraceable("arrays joined of too many interleaved expressions")
    return ordered([hit for one in a for other in b if (hit := intersection(one, other))])


def find(parts: Parts, position: int) -> int:
    """Return the part that a position is in."""
    candidate = bisect_right(parts, position, key=_start) - 1
    while position not in parts[candidate]:
        candidate -= 1
    return candidate


@lru_cache(maxsize=256)
def whole(length: int) -> Parts:
    """Return the partition into one part."""
    return (range(length),)


@lru_cache(maxsize=256)
def singles(length: int) -> Parts:
    """Return the partition into single positions."""
    if length > MOST_PARTS:
        raise NotTraceable("an array joined of too many expressions")
    return tuple(range(k, k + 1) for k in range(length))


@lru_cache(maxsize=256)
def runs(lengths: tuple[int, ...]) -> Parts:
    """Return the partition into contiguous parts of some lengths."""
    parts, begin = [], 0
    for length in lengths:
        parts.append(range(begin, begin + length))
        begin += length
    return tuple(parts)


def selected(parts: Parts, selection: range) -> list[tuple[int, range, int, int]]:
    """Return what a slice takes of a partition.

    Parameters
    ----------
    parts : tuple of range
        Partition of the axis.
    selection : range
        Positions that the slice takes; its step may be negative.

    Returns
    -------
    list of (part, positions, offset, step)
        Number of the old part, positions in the result, and the map from the new part's numbering to the old one's.
    """
    if not selection:
        return []
    length = len(selection)
    ascending = selection if selection.step > 0 else selection[::-1]
    result = []
    for number, part in enumerate(parts):
        hit = intersection(part, ascending)
        if not hit:
            continue
        offset, step = within(part, hit)
        positions = local(ascending, hit)
        if selection.step < 0:
            count = len(positions)
            offset, step = offset + step * (count - 1), -step
            positions = tidy(range(length - 1 - positions[-1], length - positions[0], positions.step))
        result.append((number, positions, offset, step))
    result.sort(key=lambda one: one[1].start)
    return result
