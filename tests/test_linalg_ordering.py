"""Minimum degree: permutations, fill against known results, exact degrees and other orders, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from references import ordering as twin
from references.kernel_calls import MODES, call
from scipy import sparse
from scipy.sparse.csgraph import reverse_cuthill_mckee

from nlsq.kernels import ordering as kernels
from nlsq.kernels import ordering_graph
from nlsq.linalg import ordering
from nlsq.linalg.ordering import minimum_degree

masks = st.integers(0, 12).flatmap(lambda n: hnp.arrays(np.bool_, (n, n)))
weighted_masks = st.integers(1, 8).flatmap(
    lambda n: st.tuples(hnp.arrays(np.bool_, (n, n)), hnp.arrays(np.int64, n, elements=st.integers(1, 4)))
)


def pattern_of(n, rows, columns):
    """Return the pattern with the entries and their mirror images, each once, without diagonal."""
    rows, columns = np.asarray(rows), np.asarray(columns)
    keys = np.unique(np.concatenate([columns * n + rows, rows * n + columns]))
    columns, rows = np.divmod(keys, max(n, 1))
    columns, rows = columns[rows != columns], rows[rows != columns]
    return np.searchsorted(columns, np.arange(n + 1)), rows


def pattern_of_mask(mask):
    return pattern_of(mask.shape[0], *np.nonzero(mask))


def grid(*shape, diagonals=False):
    """Return the pattern of the nearest neighbours in a grid of two or three dimensions."""
    number = np.arange(np.prod(shape)).reshape(shape)
    pairs = [(np.moveaxis(number, a, 0)[:-1].ravel(), np.moveaxis(number, a, 0)[1:].ravel()) for a in range(len(shape))]
    if diagonals:
        pairs += [
            (number[:-1, :-1].ravel(), number[1:, 1:].ravel()),
            (number[:-1, 1:].ravel(), number[1:, :-1].ravel()),
        ]
    return pattern_of(number.size, *(np.concatenate(part) for part in zip(*pairs, strict=True)))


def random_pattern(n, edges, seed=0):
    return pattern_of(n, *np.random.default_rng(seed).integers(0, n, (2, edges)))


def random_tree(n, seed=0):
    rng = np.random.default_rng(seed)
    return pattern_of(n, np.arange(1, n), [rng.integers(0, child) for child in range(1, n)])


def chain_with_loops(n, loops, seed=0):
    """Return a pattern like that of a pose graph: a chain, and pairs of places that were met twice."""
    rng = np.random.default_rng(seed)
    near, far = np.arange(n - 1), rng.integers(0, n, (2, loops))
    return pattern_of(n, np.concatenate([near, far[0]]), np.concatenate([near + 1, far[1]]))


def fill_of(pattern, order, weights=None):
    return twin.fill(twin.graph_of(*pattern), order, weights)


def without_fill(pattern):
    """Return the number of entries of one triangle with its diagonal."""
    return pattern[0].size - 1 + pattern[1].size // 2


def assert_permutation(order, n):
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(n))


@pytest.fixture
def plain(monkeypatch):
    """Run the kernels as plain Python."""
    monkeypatch.setattr(ordering, "run_kernel", lambda kernel, *arguments: kernel(*arguments))


# A permutation of any graph


@given(masks)
def test_order_is_a_permutation(mask):
    pattern = pattern_of_mask(mask)
    order = minimum_degree(*pattern)
    assert_permutation(order, mask.shape[0])
    assert fill_of(pattern, order) >= without_fill(pattern)


@given(weighted_masks)
def test_order_is_a_permutation_with_weights(case):
    mask, weights = case
    assert_permutation(minimum_degree(*pattern_of_mask(mask), weights=weights), mask.shape[0])


@pytest.mark.parametrize("n", [0, 1, 2, 7])
@pytest.mark.parametrize("kind", [np.zeros, np.eye, np.ones], ids=["empty", "diagonal", "full"])
def test_graphs_without_choice(n, kind):
    mask = sparse.csc_array(kind((n, n)) if kind is not np.eye else np.eye(n))
    order = minimum_degree(mask.indptr, mask.indices)
    assert_permutation(order, n)


@pytest.mark.parametrize("seed", range(4))
def test_disconnected_graphs_fill_as_their_parts(seed):
    one = random_pattern(60, 90, seed)
    both = np.concatenate([one[0], one[0][1:] + one[0][-1]]), np.concatenate([one[1], one[1] + 60])
    order = minimum_degree(*both)
    assert_permutation(order, 120)
    parts = [order[order < 60], order[order >= 60] - 60]
    assert fill_of(both, order) == sum(fill_of(one, part) for part in parts)


def test_neither_diagonal_nor_the_order_of_rows_matters():
    n = 80
    indptr, indices = random_pattern(n, 150)
    whole = sparse.csc_array((np.ones(indices.size), indices, indptr), shape=(n, n)) + sparse.eye_array(n)
    whole = sparse.csc_array(whole)
    rows = np.concatenate([column[::-1] for column in np.split(whole.indices, whole.indptr[1:-1])])
    expected = minimum_degree(indptr, indices)
    np.testing.assert_array_equal(minimum_degree(whole.indptr, rows), expected)
    np.testing.assert_array_equal(minimum_degree(indptr.astype(np.int32), indices.tolist()), expected)
    np.testing.assert_array_equal(minimum_degree(indptr, indices, weights=np.ones(n, dtype=int)), expected)


def test_input_is_not_written_to():
    indptr, indices = grid(6, 6)
    weights = np.full(36, 2)
    for one in (indptr, indices, weights):
        one.flags.writeable = False
    minimum_degree(indptr, indices, weights=weights)


# Fill that is known


@pytest.mark.parametrize("n", [2, 3, 10, 1000])
def test_tridiagonal_does_not_fill(n):
    pattern = pattern_of(n, np.arange(n - 1), np.arange(1, n))
    assert fill_of(pattern, minimum_degree(*pattern)) == 2 * n - 1


@pytest.mark.parametrize("seed", range(5))
def test_trees_do_not_fill(seed):
    pattern = random_tree(300, seed)
    assert fill_of(pattern, minimum_degree(*pattern)) == 599


@pytest.mark.parametrize("n", [3, 10, 500, 2000])  # the hub of the larger ones has too many neighbours
def test_hub_of_a_star_comes_among_the_last_two(n):
    pattern = pattern_of(n, np.zeros(n - 1, dtype=int), np.arange(1, n))
    order = minimum_degree(*pattern)
    assert 0 in order[-2:]  # hub and last leaf have one neighbour each
    assert fill_of(pattern, order) == 2 * n - 1


def test_arrow_with_a_wide_head_does_not_fill():
    n, head = 400, 5
    rows, columns = np.divmod(np.arange(n * head), head)
    pattern = pattern_of(n, rows, columns)
    order = minimum_degree(*pattern)
    assert fill_of(pattern, order) == without_fill(pattern)
    assert set(order[: n - head - 1]) <= set(range(head, n))


def test_band_hardly_fills():
    n, width = 500, 4
    rows = np.concatenate([np.arange(n - k) for k in range(1, width + 1)])
    columns = np.concatenate([np.arange(n - k) + k for k in range(1, width + 1)])
    pattern = pattern_of(n, rows, columns)
    # one entry: at the end a merged variable has the smallest external degree, between two that are no neighbours
    assert fill_of(pattern, minimum_degree(*pattern)) <= without_fill(pattern) + 1


@pytest.mark.parametrize("pattern", [grid(30, 30), grid(20, 20, diagonals=True), grid(8, 8, 8)], ids=["5", "9", "7"])
def test_grids_fill_less_than_in_other_orders(pattern):
    n = pattern[0].size - 1
    banded = reverse_cuthill_mckee(sparse.csr_array((np.ones(pattern[1].size), pattern[1], pattern[0])), True)
    fill = fill_of(pattern, minimum_degree(*pattern))
    assert fill < 0.75 * fill_of(pattern, banded)
    assert fill < 0.75 * fill_of(pattern, np.arange(n))


# Degrees


@pytest.mark.parametrize("seed", range(6))
def test_fill_is_near_that_of_exact_degrees(seed):
    pattern = random_pattern(120, 200 + 40 * seed, seed)
    exact = fill_of(pattern, twin.minimum_degree(twin.graph_of(*pattern)))
    assert fill_of(pattern, minimum_degree(*pattern)) < 1.1 * exact


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pattern", [random_pattern(60, 110), grid(7, 8), grid(4, 4, 4)], ids=["random", "5", "7"])
def test_degrees_are_bounds_and_exact_next_to_two_elements(pattern, seed, plain, monkeypatch):
    """Amestoy, Davis and Duff 1996, section 4: the approximate degree is never below the external degree."""
    n = pattern[0].size - 1
    weights = np.random.default_rng(seed).integers(1, 2 + seed, n)
    near = twin.graph_of(*pattern)
    seen = {"exact": 0, "looked at": 0}

    def finish_and_look(p, n, storage, graph, sizes, lists, state):
        finish(p, n, storage, graph, sizes, lists, state)
        graph, sizes = graph[: 5 * n].reshape(5, n), sizes[: 2 * n].reshape(2, n)
        start, length, elements, _, parent = graph
        weight, degree = sizes

        def variable(v):
            while weight[v] == 0 and parent[v] != -1:
                v = parent[v]
            return v

        gone = [v for v in near_left if variable(v) in (p, *eliminated)]
        eliminated.append(p)
        for v in gone:
            for u in near[v]:
                near[u] = (near[u] | near[v]) - {u, v}
            near_left.discard(v)
        for i in storage[start[p] : start[p] + length[p]]:
            assert degree[i] <= min(last_degree.get(i, n * n) + degree[p], state[kernels.LEFT]) - weight[i]
            last_degree[i] = degree[i]
            exact = sum(weights[u] for u in near[i] if variable(u) != i)
            seen["looked at"] += 1
            assert degree[i] >= exact
            if elements[i] <= 2:
                seen["exact"] += 1
                assert degree[i] == exact
        assert state[kernels.LEFT] == sum(weights[v] for v in near_left)

    finish, eliminated, near_left, last_degree = kernels.finish_element, [], set(range(n)), {}
    monkeypatch.setattr(kernels, "finish_element", finish_and_look)
    minimum_degree(*pattern, weights=weights)
    assert not near_left
    assert seen["exact"] > 50


def test_a_clique_is_one_pivot(plain, monkeypatch):
    """Its variables have nothing left but the first pivot: mass elimination."""
    pivots = []
    form = kernels.form_element
    monkeypatch.setattr(kernels, "form_element", lambda p, *others: (pivots.append(p), form(p, *others)))
    assert_permutation(minimum_degree(*pattern_of_mask(np.ones((12, 12)))), 12)
    assert len(pivots) == 1


# Weights


@pytest.mark.parametrize("weight", [1, 3, 6])
@pytest.mark.parametrize("pattern", [chain_with_loops(150, 60), grid(12, 12)], ids=["chain", "grid"])
def test_blocks_fill_like_their_scalars(pattern, weight):
    n = pattern[0].size - 1
    weights = np.full(n, weight)
    expanded, _ = twin.expand(twin.graph_of(*pattern), weights)
    indptr = np.concatenate([[0], np.cumsum([len(near) for near in expanded])])
    scalars = minimum_degree(indptr, np.concatenate([sorted(near) for near in expanded]))
    assert fill_of(pattern, minimum_degree(*pattern, weights=weights), weights) <= 1.05 * twin.fill(expanded, scalars)


def test_fill_of_blocks_is_that_of_their_scalars():
    pattern, weights = random_pattern(20, 30), np.random.default_rng(0).integers(1, 5, 20)
    graph = twin.graph_of(*pattern)
    expanded, first = twin.expand(graph, weights)
    order = minimum_degree(*pattern, weights=weights)
    scalars = np.concatenate([np.arange(first[v], first[v + 1]) for v in order])
    assert twin.fill(graph, order, weights) == twin.fill(expanded, scalars)


def test_weights_of_unequal_blocks_pay():
    with_weights = without = 0
    for seed in range(8):
        pattern, weights = random_pattern(100, 180, seed), np.random.default_rng(seed).choice([1, 9], 100)
        with_weights += fill_of(pattern, minimum_degree(*pattern, weights=weights), weights)
        without += fill_of(pattern, minimum_degree(*pattern), weights)
    assert with_weights < 0.95 * without


# Memory, repetition, plain Python


@pytest.mark.parametrize("pattern", [grid(5, 5, 5), random_pattern(150, 300)], ids=["grid", "random"])
def test_little_room_gives_the_same_order(pattern, plain, monkeypatch):
    moved = []

    def compress(*arguments):
        moved.append(arguments[1])
        return compressed(*arguments)

    compressed = kernels.compress
    monkeypatch.setattr(kernels, "compress", compress)
    orders = []
    for share in (10**9, 1):
        monkeypatch.setattr(ordering, "ELBOW_ROOM", share)
        moved.clear()
        orders.append(minimum_degree(*pattern))
        assert (len(moved) > 0) == (share > 1)
    np.testing.assert_array_equal(*orders)


@pytest.mark.parametrize("seed", range(3))
def test_plain_python_and_repetition_give_the_same_order(seed, monkeypatch):
    pattern = random_pattern(200, 300, seed)
    weights = np.random.default_rng(seed).integers(1, 7, 200)
    compiled = minimum_degree(*pattern, weights=weights)
    np.testing.assert_array_equal(minimum_degree(*pattern, weights=weights), compiled)
    monkeypatch.setattr(ordering, "run_kernel", lambda kernel, *arguments: kernel(*arguments))
    np.testing.assert_array_equal(minimum_degree(*pattern, weights=weights), compiled)


def test_order_is_a_postorder():
    """Each vertex's parent in the elimination tree comes behind all of its subtree and nothing else."""
    pattern = grid(12, 12)
    order = minimum_degree(*pattern)
    graph, place = twin.graph_of(*pattern), np.argsort(order)
    parent, root = np.full(144, -1), np.arange(144)
    for k, v in enumerate(order):
        for j in sorted(place[u] for u in graph[v] if place[u] < k):
            while root[j] != j:
                j = root[j]
            if j != k:
                parent[j] = root[j] = k
    size = np.ones(144, dtype=int)
    for k in range(144):
        below = np.flatnonzero(parent[:k] == k)
        size[k] += size[below].sum()
        assert all(k - size[k] < j for j in below)


@pytest.mark.parametrize("mode", MODES)
def test_largest_child_comes_last(mode):
    parent = np.array([4, 4, 4, 4, 8, 8, -1, 8, -1])
    sizes = np.array([[1, 2, 3, 1, 2, 5, 1, 0, 1], [4, 5, 1, 3, 1, 1, 0, 9, 0]])
    child, sibling = np.full(9, 99), np.full(9, 99)
    call(ordering_graph.link_children, mode, 9, parent, sizes.ravel(), child, sibling)

    def children(e):
        found = [child[e]]
        while found[-1] != -1:
            found.append(sibling[found[-1]])
        return found[:-1]

    assert [children(e) for e in range(9)] == [[]] * 4 + [[0, 2, 3, 1]] + [[]] * 3 + [[4, 5]]  # vertex 7 is no element


# What it refuses


@pytest.mark.parametrize(
    ("indptr", "indices", "message"),
    [
        ([], [], "indptr must begin with 0; it is empty"),
        ([1, 2], [0], "indptr must begin with 0; it is 1"),
        ([0, 2, 1, 2], [1, 0], r"indptr must not fall; indptr\[1\] is 2 and indptr\[2\] is 1"),
        ([0, 1, 1], [1, 0], "indptr must end with the number of indices, 2; it ends with 1"),
        ([0, 1, 2], [1, 2], r"indices\[1\], in column 1, is 2; rows go from 0 to 1"),
        ([0, 1, 1, 2], [-1, 0], r"indices\[0\], in column 0, is -1"),
        ([0, 1, 3], [1, 0, 0], "column 1 of the pattern has row 0 twice"),
        ([0, 2, 3], [0, 0, 1], "column 0 of the pattern has row 0 twice"),
        ([0, 0, 1, 1], [2], "column 2 lacks row 1, while column 1 has row 2"),
        ([0, 1, 1, 1], [2], "column 2 lacks row 0, while column 0 has row 2"),
        ([0, 0, 0, 1], [0], "column 0 lacks row 2, while column 2 has row 0"),
        ([0.0, 1.0], [0], "indptr must be one-dimensional and of integers; it is float64"),
        ([0, 1], [[0]], "indices must be one-dimensional and of integers"),
    ],
)
def test_bad_patterns_are_named(indptr, indices, message):
    with pytest.raises(ValueError, match=message):
        minimum_degree(indptr, indices)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1], "weights must have one entry for each of the 2 columns; it has 1"),
        ([1, 0], r"weights\[1\] is 0; a vertex stands for at least 1 variable"),
        ([1, 1.5], "weights must be one-dimensional and of integers"),
    ],
)
def test_bad_weights_are_named(weights, message):
    with pytest.raises(ValueError, match=message):
        minimum_degree([0, 1, 2], [1, 0], weights=weights)


@given(masks)
def test_every_unsymmetric_pattern_is_refused(mask):
    matrix = sparse.csc_array(mask)
    if (mask == mask.T).all():
        assert_permutation(minimum_degree(matrix.indptr, matrix.indices), mask.shape[0])
    else:
        with pytest.raises(ValueError, match="not symmetric"):
            minimum_degree(matrix.indptr, matrix.indices)


# Against another implementation


@pytest.mark.slow
@pytest.mark.parametrize(
    "pattern",
    [
        grid(100, 100),
        grid(60, 60, diagonals=True),
        grid(15, 15, 15),
        random_pattern(3000, 4500),
        chain_with_loops(3000, 1000),
    ],
    ids=["5", "9", "7", "random", "chain"],
)
def test_fill_is_near_that_of_amd(pattern):
    amd = pytest.importorskip("cvxopt.amd", reason="cvxopt is not installed")
    from cvxopt import spmatrix

    n = pattern[0].size - 1
    rng = np.random.default_rng(0)
    ours = theirs = 0
    for _ in range(3):  # the numbering decides between equals: it moves the fill of either by a few per cent
        number = rng.permutation(n)
        rows, columns = number[pattern[1]], number[np.repeat(np.arange(n), np.diff(pattern[0]))]
        lower = np.concatenate([rows, np.arange(n)]), np.concatenate([columns, np.arange(n)])
        lower = [part[lower[0] >= lower[1]].tolist() for part in lower]
        renumbered = pattern_of(n, rows, columns)
        ours += fill_of(renumbered, minimum_degree(*renumbered))
        theirs += fill_of(renumbered, np.array(amd.order(spmatrix(1.0, *lower, (n, n)))).ravel())
    assert ours <= 1.05 * theirs
