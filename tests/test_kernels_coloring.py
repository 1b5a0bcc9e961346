"""Orders and greedy colours of the compiled kernels, equal to those of slow twins."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from references import coloring as twin
from references.kernel_calls import MODES, call

from nlsq.kernels import coloring
from nlsq.pattern import SparsityPattern

EVERY = pytest.mark.parametrize("mode", MODES)
masks = hnp.arrays(np.bool_, st.tuples(st.integers(0, 10), st.integers(0, 10)))


class Lists:
    """A pattern as the kernels take it, and as its twins do."""

    def __init__(self, mask, mode):
        self.mode, pattern = mode, SparsityPattern.from_dense(mask)
        self.m, self.n = pattern.shape
        self.by_columns = pattern.indptr.astype(np.int64), pattern.indices.astype(np.int64)
        rows = pattern.by_rows()
        self.parts = (*self.by_columns, *(part.astype(np.int64) for part in rows))
        self.rows_of = twin.split(pattern.indices, pattern.indptr)
        self.columns_of = twin.split(rows[1], rows[0])
        self.neighbours = twin.find_neighbours(self.rows_of, self.columns_of)

    def find(self, room):
        """List neighbours; return how many there are, the lengths of the lists, and the lists."""
        degrees, mark, found = np.full(self.n, 99), np.full(self.n, 99), np.full(room, 99)
        return (
            call(coloring.find_neighbours, self.mode, *self.parts, self.n, room, mark, degrees, found),
            degrees,
            found,
        )

    def color(self, order, is_long, words, limit=1000):
        """Colour with bits for the rows where `is_long`; return the number of colours and the colours."""
        kept = int(np.sum(is_long))
        places = np.where(is_long, np.cumsum(is_long) - 1, -1)
        seen, full, taken = (np.zeros(size, dtype=np.int64) for size in (kept * words, kept, 2 * words))
        colors, order = np.full(self.n, 99), np.array(order, dtype=np.int64)
        work = seen, full, taken, colors
        used = call(coloring.color_greedily, self.mode, *self.parts, order, places, self.n, limit, words, *work)
        return used, colors.tolist()


@EVERY
@given(mask=masks)
def test_by_rows(mode, mask):
    lists = Lists(mask, mode)
    indptr, columns = np.full(lists.m + 1, 99), np.full(lists.parts[3].size, 99)
    call(coloring.by_rows, mode, *lists.by_columns, lists.m, lists.n, indptr, columns)
    np.testing.assert_array_equal(indptr, lists.parts[2])
    np.testing.assert_array_equal(columns, lists.parts[3])
    positions = np.full(columns.size, 99)
    call(coloring.order_by_rows, mode, *lists.by_columns, lists.m, lists.n, 1, indptr, columns, positions)
    np.testing.assert_array_equal(indptr, lists.parts[2])
    np.testing.assert_array_equal(columns, lists.parts[3])
    in_rows = np.array([row for row, line in enumerate(mask) for _ in np.flatnonzero(line)], dtype=int)
    of_columns = np.repeat(np.arange(lists.n), np.diff(lists.by_columns[0]))
    np.testing.assert_array_equal(columns[positions], of_columns)
    np.testing.assert_array_equal(in_rows[positions], lists.by_columns[1])


@EVERY
@given(mask=masks)
def test_orders(mode, mask):
    lists = Lists(mask, mode)
    expected = [near for every in lists.neighbours for near in every]
    total, degrees, found = lists.find(len(expected))
    assert degrees.tolist() == [len(near) for near in lists.neighbours]
    assert (total, found.tolist()) == (len(expected), expected)
    little = lists.find(len(expected) // 2)
    assert (little[0], little[1].tolist()) == (total, degrees.tolist())
    assert little[2].tolist() == expected[: len(expected) // 2]
    largest = max(degrees, default=0)
    order = np.full(lists.n, 99)
    call(coloring.largest_first, mode, degrees, largest, lists.n, np.full(largest + 2, 99), order)
    assert order.tolist() == twin.largest_first(lists.neighbours)
    for backward in (0, 1):
        work = np.full(3 * lists.n + largest + 2 + total, 99)
        call(coloring.smallest_last, mode, found, largest, backward, lists.n, degrees.copy(), work, order)
        assert order.tolist() == twin.smallest_last(lists.neighbours, backward)


@EVERY
@given(mask=masks, repeats=st.lists(st.integers(1, 3), min_size=10, max_size=10))
def test_repeated_rows_are_dropped(mode, mask, repeats):
    repeated = np.repeat(mask, repeats[: len(mask)], axis=0)
    rows = [part.astype(np.int64) for part in SparsityPattern.from_dense(repeated).by_rows()]
    indptr, columns = np.full(len(repeated) + 1, 99), np.full(rows[1].size, 99)
    kept = call(coloring.drop_repeated, mode, *rows, len(repeated), indptr, columns)
    different = [i for i in range(len(mask)) if i == 0 or not np.array_equal(mask[i], mask[i - 1])]
    expected = SparsityPattern.from_dense(mask[different].reshape(len(different), mask.shape[1])).by_rows()
    np.testing.assert_array_equal(indptr[: kept + 1], expected[0])
    np.testing.assert_array_equal(columns[: indptr[kept]], expected[1])


@EVERY
@given(mask=masks, data=st.data())
def test_greedy_colors(mode, mask, data):
    lists = Lists(mask, mode)
    order = data.draw(st.permutations(range(lists.n)))
    is_long = np.array(data.draw(st.lists(st.booleans(), min_size=lists.m, max_size=lists.m)), dtype=bool)
    colors, used = twin.color_greedily(lists.rows_of, order, lists.m)
    assert lists.color(order, is_long, 1) == (used, colors)
    assert lists.color(order, is_long, 3) == (used, colors)
    assert lists.color(order, is_long, 1, limit=used) == (used, colors)
    if used:
        assert lists.color(order, is_long, 1, limit=used - 1)[0] == -2


@EVERY
@pytest.mark.parametrize("is_long", [[True, True], [True, False], [False, True], [False, False]])
@pytest.mark.parametrize("last", [coloring.BITS, coloring.BITS + 1, 2 * coloring.BITS, 2 * coloring.BITS + 1])
def test_words_that_are_full(mode, is_long, last):
    """Two dense rows that share their last columns: colours go on into the next word, or there is no room."""
    n = last + 5
    mask = np.zeros((2, n), dtype=bool)
    mask[0, :last], mask[1, 3:] = True, True
    lists = Lists(mask, mode)
    colors, used = twin.color_greedily(lists.rows_of, range(n), 2)
    needed = -(-used // coloring.BITS)
    assert lists.color(range(n), is_long, needed) == (used, colors)
    assert lists.color(range(n), is_long, needed + 2) == (used, colors)
    assert lists.color(range(n), is_long, needed - 1)[0] == -1
    assert twin.is_valid(lists.columns_of, colors)


@EVERY
@example(gap=61)
@example(gap=0)
@given(gap=st.integers(0, 130))
def test_a_gap_is_filled(mode, gap):
    """A column whose only free colour lies inside a full stretch takes it."""
    n = 132
    mask = np.zeros((3, n + 1), dtype=bool)
    mask[0, :n] = True  # colours 0 to 131
    mask[1, :n], mask[1, gap], mask[1, n] = True, False, True
    lists = Lists(mask, mode)
    for is_long in ([True, True, False], [False, False, False], [True, False, False]):
        used, colors = lists.color(range(n + 1), is_long, 3)
        assert (used, colors[n]) == (n, gap)


def test_checker_sees_a_clash():
    assert twin.is_valid([[0, 1], [1, 2], []], [0, 1, 0])
    assert not twin.is_valid([[0, 1], [1, 2], [0, 2]], [0, 1, 0])
