"""Numbers of colours that theorems give, and those of the patterns of the benchmarks.

A row with two entries makes its columns neighbours and says nothing else: any graph is the pattern of its edges, and
what is known of colouring graphs holds for these patterns.

References
----------
.. [1] A. R. Curtis, M. J. D. Powell and J. K. Reid, "On the Estimation of Sparse Jacobian Matrices", 1974.
.. [2] T. F. Coleman and J. J. More, "Estimation of Sparse Jacobian Matrices and Graph Coloring Problems", 1983.
.. [3] D. J. A. Welsh and M. B. Powell, "An upper bound for the chromatic number of a graph", 1967.
.. [4] D. W. Matula and L. L. Beck, "Smallest-Last Ordering and Clustering and Graph Coloring Algorithms", 1983.
.. [5] A. H. Gebremedhin, F. Manne and A. Pothen, "What Color Is Your Jacobian?", 2005.
"""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from references import coloring as twin

from benchmarks.problems import sparsity
from nlsq.derivatives import color_columns, color_rows
from nlsq.derivatives.coloring import ColumnGraph
from nlsq.pattern import SparsityPattern

masks = hnp.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def columns_of(pattern):
    indptr, columns = pattern.by_rows()
    return twin.split(columns, indptr)


def neighbours_of(pattern):
    return twin.find_neighbours(twin.split(pattern.indices, pattern.indptr), columns_of(pattern))


def of_edges(edges, n):
    """Return the pattern with a row for each edge of a graph."""
    edges = np.array(edges, dtype=int).reshape(-1, 2)
    return SparsityPattern.from_entries(np.repeat(np.arange(len(edges)), 2), edges.reshape(-1), (len(edges), n))


def colored_in_each_order(pattern):
    """Return the colouring of each order, early exit or not."""
    graph = ColumnGraph.of(pattern)
    return [graph.color(order.copy(), name, graph.n) for name, order in graph.orders()]


def band(n, below, above):
    offsets = np.arange(-below, above + 1)
    rows, columns = np.repeat(np.arange(n), offsets.size), (np.arange(n)[:, None] + offsets).reshape(-1)
    inside = (columns >= 0) & (columns < n)
    return SparsityPattern.from_entries(rows[inside], columns[inside], (n, n))


@given(n=st.integers(1, 60), below=st.integers(0, 7), above=st.integers(0, 7))
def test_band_matrices_need_their_bandwidth(n, below, above):
    """Natural order colours a band matrix with as many colours as its densest row has entries [1]_, [2]_."""
    pattern = band(n, below, above)
    coloring = color_columns(pattern)
    assert coloring.order == "natural"
    assert coloring.n_colors == pattern.densest_row
    if n > below + above:
        assert coloring.n_colors == below + above + 1
        np.testing.assert_array_equal(coloring.colors, np.arange(n) % (below + above + 1))


@given(blocks=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 6)), min_size=1, max_size=8))
def test_block_diagonal_matrices_need_their_widest_block(blocks):
    mask = np.zeros(np.sum(blocks, axis=0), dtype=bool)
    i = j = 0
    for height, width in blocks:
        mask[i : i + height, j : j + width] = True
        i, j = i + height, j + width
    assert color_columns(SparsityPattern.from_dense(mask)).n_colors == max(width for _, width in blocks)


@pytest.mark.parametrize("n", [2, 5, 40])
def test_arrows_need_n_columns_and_n_rows(n):
    """The example for which colouring rows and columns together would need three products [5]_."""
    arrow = np.eye(n, dtype=bool)
    arrow[0] = arrow[:, 0] = True
    pattern = SparsityPattern.from_dense(arrow)
    assert color_columns(pattern).n_colors == color_rows(pattern).n_colors == n


@given(masks)
def test_bounds_of_each_order(mask):
    """Any order: 1 + largest degree. Largest first: Welsh and Powell's. Smallest last: Matula and Beck's [3]_, [4]_."""
    pattern = SparsityPattern.from_dense(mask)
    if pattern.nnz == 0:
        return
    neighbours = neighbours_of(pattern)
    degrees = [len(near) for near in neighbours]
    found = colored_in_each_order(pattern)
    assert [one.order for one in found] == ["natural", "largest first", "smallest last", "smallest last"]
    for one in found:
        assert twin.is_valid(columns_of(pattern), one.colors)
        assert pattern.densest_row <= one.n_colors <= 1 + max(degrees)
    falling = sorted(degrees, reverse=True)
    assert found[1].n_colors <= max(min(i + 1, d + 1) for i, d in enumerate(falling))
    left, least = set(range(len(degrees))), 0
    while left:  # the largest of the smallest degrees that subgraphs have
        within = {j: len(left & set(neighbours[j])) for j in left}
        j = min(within, key=within.get)
        least = max(least, within[j])
        left.remove(j)
    assert found[2].n_colors <= 1 + least
    assert found[3].n_colors <= 1 + least


@given(data=st.data(), n=st.integers(2, 40))
def test_trees_need_two_colors(data, n):
    """Every subgraph of a tree has a leaf, so that smallest last needs two colours [4]_."""
    parents = [data.draw(st.integers(0, j - 1)) for j in range(1, n)]
    names = np.array(data.draw(st.permutations(range(n))))
    pattern = of_edges(names[np.c_[np.arange(1, n), parents]], n)
    assert color_columns(pattern).n_colors == 2


@pytest.mark.parametrize("n", [4, 5, 20, 21])
def test_cycles_and_complete_graphs(n):
    around = np.c_[np.arange(n), (np.arange(n) + 1) % n]
    assert color_columns(of_edges(around, n)).n_colors == (2 if n % 2 == 0 else 3)
    assert color_columns(of_edges(np.c_[np.triu_indices(n, 1)], n)).n_colors == n


@pytest.mark.parametrize("n", [3, 8, 70])
def test_largest_first_beats_a_bad_natural_order(n):
    """Columns a_0, b_0, a_1, ..., of which a_i and b_j are neighbours unless i = j: each pair takes a new colour.

    One more column beside all b_j comes last; with it the b_j have most neighbours, and none among themselves.
    """
    pairs = [(2 * i, 2 * j + 1) for i in range(n) for j in range(n) if i != j]
    hub = 2 * n
    pattern = of_edges([*pairs, *((hub, 2 * j + 1) for j in range(n))], 2 * n + 1)
    natural, *others = colored_in_each_order(pattern)
    assert natural.n_colors == n + 1
    assert others[0].n_colors == color_columns(pattern).n_colors == 2


@given(masks, st.data())
def test_identical_columns_never_share_a_color(mask, data):
    j, k = data.draw(st.lists(st.integers(0, mask.shape[1] - 1), min_size=2, max_size=2))
    twins = np.column_stack([mask, mask[:, j], mask[:, k]])
    colors = color_columns(SparsityPattern.from_dense(twins)).colors
    for original, copy in ((j, -2), (k, -1)):
        assert colors[original] != colors[copy] or not mask[:, original].any()


@given(masks, st.data())
def test_empty_rows_and_columns_and_repeated_entries_change_nothing(mask, data):
    m, n = mask.shape
    rows, columns = np.nonzero(mask)
    repeated = np.array(data.draw(st.lists(st.integers(0, rows.size - 1), max_size=9)) if rows.size else [], dtype=int)
    entries = np.r_[rows, rows[repeated]], np.r_[columns, columns[repeated]]
    plain = color_columns(SparsityPattern.from_dense(mask))
    again = color_columns(SparsityPattern.from_entries(*entries, (m, n)))
    np.testing.assert_array_equal(again.colors, plain.colors)
    wider = color_columns(SparsityPattern.from_entries(entries[0] * 2 + 1, entries[1] * 3 + 2, (2 * m + 2, 3 * n + 3)))
    assert wider.n_colors == plain.n_colors
    np.testing.assert_array_equal(wider.colors[2::3][:n], plain.colors)
    assert not wider.colors[np.arange(3 * n + 3) % 3 != 2].any()


# The patterns of the benchmarks


def check(name, entries):
    """Colour a pattern, check every row, and return the number of colours."""
    pattern = SparsityPattern.from_entries(*entries)
    coloring = color_columns(pattern)
    indptr, columns = pattern.by_rows()
    rows = np.repeat(np.arange(pattern.shape[0]), np.diff(indptr))
    cells = rows * coloring.n_colors + coloring.colors[columns]
    assert np.unique(cells).size == pattern.nnz, f"{name}: a row has two entries of one colour"
    return coloring.n_colors


@pytest.mark.parametrize("name", sparsity.PATTERNS)
def test_small_patterns_have_few_colors(name):
    case = sparsity.PATTERNS[name]
    entries = case.make(small=True)
    pattern = SparsityPattern.from_entries(*entries)
    assert twin.is_valid(columns_of(pattern), color_columns(pattern).colors)
    assert check(name, entries) <= case.colpack


@pytest.mark.parametrize("name", sparsity.PATTERNS)
def test_patterns_have_no_more_colors_than_by_colpack(name):
    case = sparsity.PATTERNS[name]
    assert check(name, case.make()) <= case.colpack


def test_bundle_adjustment_of_the_file():
    path = os.environ.get(sparsity.BAL_VARIABLE)
    if not path:
        pytest.skip(f"{sparsity.BAL_VARIABLE} names no file problem-49-7776-pre.txt ('Bundle Adjustment in the Large')")
    assert check("BAL 49-7776", sparsity.read_bundle_adjustment(path)) == 12
