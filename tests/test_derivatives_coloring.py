"""Colourings against an obvious verifier and known optima; coloured differences against dense ones."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from references import coloring as twin
from scipy import sparse
from scipy.optimize._numdiff import approx_derivative

from nlsq.derivatives import CentralDifference, Colored, ComplexStep, ForwardDifference, color_columns, color_rows
from nlsq.derivatives import coloring as coloring_module
from nlsq.pattern import SparsityPattern

masks = hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))
ESTIMATORS = [ForwardDifference(), CentralDifference(), ComplexStep()]
EVERY = pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)


def is_valid(mask, colors):
    """Slow and obvious: no row has two entries of one colour."""
    return all(len(set(colors[row])) == row.sum() for row in mask)


def tridiagonal(n):
    return sparse.diags_array([np.ones(n - 1), np.ones(n), np.ones(n - 1)], offsets=[-1, 0, 1], shape=(n, n))


def grid(k, reach=((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))):
    """Pattern of a stencil on a k x k grid."""
    i, j = np.divmod(np.arange(k * k), k)
    rows, columns = [], []
    for a, b in reach:
        inside = (0 <= i + a) & (i + a < k) & (0 <= j + b) & (j + b < k)
        rows.append(np.flatnonzero(inside))
        columns.append(((i + a) * k + j + b)[inside])
    return SparsityPattern.from_entries(np.concatenate(rows), np.concatenate(columns), (k * k, k * k))


# Colouring


@given(masks)
def test_coloring_is_valid(mask):
    pattern = SparsityPattern.from_dense(mask)
    coloring = color_columns(pattern)
    assert is_valid(mask, coloring.colors)
    assert pattern.densest_row <= coloring.n_colors <= mask.shape[1]
    assert set(coloring.colors[mask.any(axis=0)]) == set(range(coloring.n_colors))


def lists_of(pattern):
    """Return the rows of each column and the columns of each row, as lists."""
    indptr, columns = pattern.by_rows()
    return twin.split(pattern.indices, pattern.indptr), twin.split(columns, indptr)


def orders_of(neighbours):
    """Return every order that is tried, by the slow twins."""
    both = [twin.smallest_last(neighbours, backward) for backward in (1, 0)]
    return [range(len(neighbours)), twin.largest_first(neighbours), *both]


@given(masks)
def test_every_order_is_a_permutation_and_valid(mask):
    pattern = SparsityPattern.from_dense(mask)
    rows_of, columns_of = lists_of(pattern)
    neighbours = twin.find_neighbours(rows_of, columns_of)
    shares = mask.T.astype(int) @ mask.astype(int) > 0
    np.fill_diagonal(shares, False)
    assert [sorted(near) for near in neighbours] == [np.flatnonzero(row).tolist() for row in shares]
    counts = []
    for order in orders_of(neighbours):
        assert sorted(order) == list(range(mask.shape[1]))
        colors, used = twin.color_greedily(rows_of, order, mask.shape[0])
        assert is_valid(mask, np.array(colors))
        counts.append(used)
    assert color_columns(pattern).n_colors == min(counts)


@given(masks)
def test_orders_keep_their_definition(mask):
    pattern = SparsityPattern.from_dense(mask)
    neighbours = twin.find_neighbours(*lists_of(pattern))
    degrees = [len(neighbours[j]) for j in twin.largest_first(neighbours)]
    assert degrees == sorted(degrees, reverse=True)
    for order in orders_of(neighbours)[2:]:
        for last in range(len(order) - 1, -1, -1):
            left = set(order[: last + 1])
            within = {j: len(left & set(neighbours[j])) for j in left}
            assert within[order[last]] == min(within.values())


@given(masks)
def test_rows_are_colored_as_columns_of_the_transpose(mask):
    pattern = SparsityPattern.from_dense(mask)
    coloring = color_rows(pattern)
    assert is_valid(mask.T, coloring.colors)
    assert coloring.n_colors == color_columns(SparsityPattern.from_dense(mask.T)).n_colors
    assert color_rows(SparsityPattern.from_dense(mask)) is coloring
    values = np.where(mask, np.arange(1.0, mask.size + 1).reshape(mask.shape), 0.0)
    products = coloring.compress(values.T)  # J' S, one product with J' for each colour
    assert products.shape == (mask.shape[1], coloring.n_colors)
    recovered = coloring.decompress(products, pattern.transpose())
    np.testing.assert_array_equal(recovered.toarray().T, values)


def test_identical_columns_never_share_a_color():
    coloring = color_columns(SparsityPattern.from_dense(np.ones((1, 4))))
    assert sorted(coloring.colors) == [0, 1, 2, 3]


def test_tridiagonal_needs_three():
    for n in (3, 4, 50):
        coloring = color_columns(SparsityPattern.from_matrix(tridiagonal(n)))
        assert (coloring.n_colors, coloring.order) == (3, "natural")


@pytest.mark.parametrize("k", [20, 21, 30, 100, 101])
def test_five_point_grid_needs_five(k):
    coloring = color_columns(grid(k))
    assert (coloring.n_colors, coloring.order) == (5, "smallest last")
    assert natural(grid(k)) == 7


def natural(pattern):
    """Return the number of colours in natural order."""
    rows_of, _ = lists_of(pattern)
    return twin.color_greedily(rows_of, range(pattern.shape[1]), pattern.shape[0])[1]


def test_another_order_can_win():
    rng = np.random.default_rng(3)
    wins = 0
    for _ in range(20):
        pattern = SparsityPattern.from_dense(rng.random((40, 40)) < 0.08)
        coloring = color_columns(pattern)
        wins += coloring.order != "natural"
        assert coloring.n_colors <= natural(pattern)
    assert wins > 0


def test_early_exit_at_the_densest_row(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("not needed")

    monkeypatch.setattr("nlsq.kernels.coloring.find_neighbours", SimpleNamespace(entry=lambda **options: refuse))
    arrow = np.eye(50, dtype=bool)
    arrow[0] = True
    assert color_columns(SparsityPattern.from_dense(arrow)).n_colors == 50
    with pytest.raises(AssertionError, match="not needed"):
        color_columns(grid(6))


def test_dense_rows_do_not_cost_their_square(monkeypatch):
    """Rows of 6000 entries would have 2e7 pairs each; greedy in natural order does without them."""
    n = 6000
    two_dense_rows = np.zeros((3, n), dtype=bool)
    two_dense_rows[:2, : n // 2 + 1], two_dense_rows[2, n // 2 :] = True, True
    start = time.perf_counter()
    assert color_columns(SparsityPattern.from_dense(two_dense_rows)).n_colors >= n // 2
    assert time.perf_counter() - start < 5.0


def test_ten_thousand_columns_are_quick():
    pattern = grid(100)
    start = time.perf_counter()
    color_columns(pattern)
    assert time.perf_counter() - start < 5.0  # takes a few milliseconds, once the kernels are there


@given(masks, st.integers(0, 12))
def test_memory_for_bits_changes_nothing(mask, budget):
    pattern = SparsityPattern.from_dense(np.tile(mask, (1, 9)))
    expected = coloring_module._best_of_three(pattern)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coloring_module, "BITS_BUDGET", budget)
        patch.setattr(coloring_module, "FIRST_LONG", 2)
        found = coloring_module._best_of_three(pattern)
    np.testing.assert_array_equal(found.colors, expected.colors)
    assert (found.n_colors, found.order) == (expected.n_colors, expected.order)


def test_more_colors_than_the_densest_row_has_words_for():
    """Every two of 100 columns share a row of their own: rows of two entries, 100 colours."""
    i, j = np.triu_indices(100, 1)
    rows = np.arange(i.size)
    pattern = SparsityPattern.from_entries(np.concatenate([rows, rows]), np.concatenate([i, j]), (i.size, 100))
    assert (color_columns(pattern).n_colors, pattern.densest_row) == (100, 2)


def test_one_dense_row_of_many():
    """A row of 1e5 entries beside 1e5 short ones: neither its square in time nor its length in bits for each row."""
    n = 100_000
    pattern = SparsityPattern.from_entries([*range(n), *[0] * n], [*range(n), *range(n)], (n, n))
    start = time.perf_counter()
    coloring = color_columns(pattern)
    assert time.perf_counter() - start < 5.0
    np.testing.assert_array_equal(coloring.colors, np.arange(n))
    assert color_rows(pattern).n_colors == 2


def test_colorings_are_kept_while_the_pattern_lives():
    pattern = SparsityPattern.from_matrix(tridiagonal(10))
    assert color_columns(pattern) is color_columns(SparsityPattern.from_matrix(tridiagonal(10)))


@pytest.mark.parametrize("shape", [(3, 2), (0, 2), (2, 0)])
def test_empty_patterns(shape):
    coloring = color_columns(SparsityPattern.from_dense(np.zeros(shape)))
    assert coloring.n_colors == 0
    assert coloring.groups() == []


@given(masks)
def test_groups_are_the_colors(mask):
    coloring = color_columns(SparsityPattern.from_dense(mask))
    groups = coloring.groups()
    assert len(groups) == coloring.n_colors
    for color, group in enumerate(groups):
        np.testing.assert_array_equal(group, np.flatnonzero(coloring.colors == color))


@given(masks, st.integers(0, 2**31))
def test_decompress_undoes_compress(mask, seed):
    values = np.where(mask, np.random.default_rng(seed).standard_normal(mask.shape), 0.0)
    pattern = SparsityPattern.from_dense(mask)
    coloring = color_columns(pattern)
    for jac in (values, sparse.csr_array(values)):
        compressed = coloring.compress(jac)
        assert compressed.shape == (mask.shape[0], coloring.n_colors)
        recovered = coloring.decompress(compressed, pattern)
        np.testing.assert_array_equal(recovered.toarray(), values)
        assert recovered.has_canonical_format


# Coloured differences


def residual_of(mask, seed=0):
    """Return a smooth residual whose Jacobian has exactly the pattern `mask`."""
    weights = np.where(mask, np.random.default_rng(seed).uniform(0.5, 1.5, mask.shape), 0.0)
    return lambda x: weights @ np.sin(x) + 0.3 * (weights @ x) ** 2


@EVERY
@given(mask=masks, seed=st.integers(0, 100))
def test_colored_equals_dense(estimator, mask, seed):
    residual = residual_of(mask, seed)
    x = np.random.default_rng(seed).uniform(-1, 2, mask.shape[1])
    r = residual(x)
    if mask.any():  # the complex step refuses a residual that does not depend on x
        dense = estimator.prepare(residual, x, r.size).evaluate(x, r, None)
    else:
        estimator, dense = ForwardDifference(), np.zeros(mask.shape)
    prepared = Colored(estimator, mask, check=False).prepare(residual, x, r.size)
    jac = prepared.evaluate(x, r, None)
    assert isinstance(jac, sparse.csr_array)
    assert SparsityPattern.from_matrix(jac) == prepared.pattern == SparsityPattern.from_dense(mask)
    per_color = 2 if isinstance(estimator, CentralDifference) else 1
    assert prepared.residual_calls == per_color * prepared.coloring.n_colors
    np.testing.assert_allclose(jac.toarray(), dense, rtol=1e-6, atol=3e-8)


N = 12
PATTERN = SparsityPattern.from_matrix(tridiagonal(N))
MASK = PATTERN.to_dense()


@EVERY
@given(data=st.data())
def test_bounds_and_fixed_parameters(estimator, data):
    x = np.linspace(-1.0, 2.0, N)
    gaps = st.sampled_from([0.0, 1e-6, 1e-4, 1.0])
    lower = x - data.draw(hnp.arrays(np.float64, N, elements=gaps))
    upper = x + data.draw(hnp.arrays(np.float64, N, elements=gaps))
    function = residual_of(MASK)
    calls = 0

    def residual(p):
        nonlocal calls
        calls += 1
        assert np.all((lower <= np.asarray(p).real) & (np.asarray(p).real <= upper))
        return function(p)

    prepared = estimator.prepare(residual, x, N, lower=lower, upper=upper, pattern=PATTERN)
    calls = 0
    jac = prepared.evaluate(x, function(x), None).toarray()
    assert prepared.residual_calls == calls
    fixed = lower == upper
    exact = ComplexStep().prepare(function, x, N).evaluate(x, function(x), None)
    np.testing.assert_array_equal(jac[:, fixed], 0.0)
    np.testing.assert_allclose(jac[:, ~fixed], exact[:, ~fixed], atol=1e-6)


@pytest.mark.parametrize("method", ["2-point", "3-point", "cs"])
@pytest.mark.parametrize("bounds", [(-np.inf, np.inf), (-1.0, 2.0)])
def test_scipys_steps_give_scipys_numbers(method, bounds):
    x = np.linspace(-1.0, 2.0, N)
    residual = residual_of(MASK)
    estimator = {
        "2-point": ForwardDifference(steps="scipy"),
        "3-point": CentralDifference(steps="scipy"),
        "cs": ComplexStep(steps="scipy"),
    }[method]
    groups = color_columns(PATTERN).colors
    expected = approx_derivative(
        residual, x, method, f0=residual(x), bounds=bounds, sparsity=(PATTERN.to_csr(), groups)
    )
    jac = estimator.prepare(residual, x, N, lower=bounds[0], upper=bounds[1], pattern=PATTERN).evaluate(
        x, residual(x), None
    )
    np.testing.assert_array_equal(jac.toarray(), expected.toarray())


@pytest.mark.parametrize("estimator", ESTIMATORS[:2], ids=lambda e: type(e).__name__)
def test_differences_lost_in_rounding_grow(estimator):
    x = np.array([1e-15, 2.0, -1e-9, 1.0])
    residual = lambda p: np.array([p[0] - 3.0, p[1] * p[2] + 5.0, p[2] - 4.0, p[3]])
    pattern = SparsityPattern.from_dense([[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    prepared = estimator.prepare(residual, x, 4, pattern=pattern)
    jac = prepared.evaluate(x, residual(x), None).toarray()
    np.testing.assert_allclose(jac, [[1, 0, 0, 0], [0, x[2], 2, 0], [0, 0, 1, 0], [0, 0, 0, 1]], rtol=2e-2, atol=1e-8)


def test_float32_residual():
    x = np.linspace(-1.0, 2.0, N)
    function = residual_of(MASK)
    residual = lambda p: function(p).astype(np.float32)
    exact = ComplexStep().prepare(function, x, N).evaluate(x, function(x), None)
    prepared = CentralDifference().prepare(residual, x, N, pattern=PATTERN)
    for _ in range(2):
        np.testing.assert_allclose(prepared.evaluate(x, function(x), None).toarray(), exact, atol=1e-3)
    assert prepared.residual_calls == 6


def test_jacobians_do_not_share_values():
    x = np.linspace(-1.0, 2.0, N)
    residual = residual_of(MASK)
    prepared = ForwardDifference().prepare(residual, x, N, pattern=PATTERN)
    first = prepared.evaluate(x, residual(x), None)
    kept = first.toarray()
    prepared.evaluate(x + 1, residual(x + 1), None)
    np.testing.assert_array_equal(first.toarray(), kept)
    assert first.indices.dtype == np.int32


def test_parallel_and_vectorized():
    x = np.linspace(-1.0, 2.0, N)
    residual = residual_of(MASK)
    expected = ForwardDifference().prepare(residual, x, N, pattern=PATTERN).evaluate(x, residual(x), None).toarray()
    for estimator in (ForwardDifference(workers=map), ForwardDifference(vectorized=True)):
        function = residual
        if estimator.vectorized:
            function = lambda p: np.stack([residual(column) for column in p.T], axis=1)
        jac = estimator.prepare(function, x, N, pattern=PATTERN).evaluate(x, residual(x), None)
        np.testing.assert_array_equal(jac.toarray(), expected)


@EVERY
def test_colors_of_fixed_parameters_cost_nothing(estimator):
    x, identity = np.ones(4), SparsityPattern.from_dense(np.eye(4))
    prepared = estimator.prepare(lambda p: 2.0 * p, x, 4, lower=x, upper=x, pattern=identity)
    jac = prepared.evaluate(x, 2.0 * x, None)
    assert prepared.residual_calls == 0
    np.testing.assert_array_equal(jac.toarray(), 0.0)


def test_wrong_shape_of_pattern():
    with pytest.raises(ValueError, match=r"shape \(12, 12\), expected \(11, 12\)"):
        ForwardDifference().prepare(lambda x: x[1:], np.ones(12), 11, pattern=PATTERN)


def test_pattern_given_later_wins():
    diagonal = SparsityPattern.from_dense(np.eye(3))
    estimator = Colored(ForwardDifference(), np.ones((3, 3)))
    prepared = estimator.prepare(lambda x: 2 * x, np.ones(3), 3, pattern=diagonal)
    assert prepared.pattern is diagonal
    assert estimator.prepare(lambda x: 2 * x, np.ones(3), 3).pattern.nnz == 9


@pytest.mark.parametrize(("estimator", "error"), [(ForwardDifference(), 1e-6), (ComplexStep(), 1e-14)])
def test_tridiagonal_of_1e5_costs_three_evaluations(estimator, error):
    n, calls = 100_000, 0
    x = np.linspace(0.5, 1.5, n)

    def residual(p):
        nonlocal calls
        calls += 1
        r = (3.0 - 2.0 * p) * p + 1.0
        r[1:] -= p[:-1] ** 3
        r[:-1] -= 2.0 * np.sin(p[1:])
        return r

    pattern = SparsityPattern.from_matrix(tridiagonal(n))
    base = residual(x)
    prepared = estimator.prepare(residual, x, n, pattern=pattern)
    calls = 0
    jac = prepared.evaluate(x, base, None)
    assert calls == prepared.residual_calls == 3
    true = sparse.diags_array([-3.0 * x[:-1] ** 2, 3.0 - 4.0 * x, -2.0 * np.cos(x[1:])], offsets=[-1, 0, 1])
    assert np.abs((jac - true).data).max() <= error
    assert jac.nnz == 3 * n - 2


def test_many_parameters():
    n = 10_000
    pattern = SparsityPattern.from_matrix(tridiagonal(n))
    x = np.linspace(-1, 1, n)

    def residual(p):
        r = p**2
        r[1:] -= p[:-1]
        r[:-1] += 3 * p[1:]
        return r

    prepared = CentralDifference().prepare(residual, x, n, pattern=pattern)
    assert prepared.residual_calls == 6
    jac = prepared.evaluate(x, residual(x), None)
    np.testing.assert_allclose(jac.diagonal(), 2 * x, atol=1e-9)
    np.testing.assert_allclose(jac.diagonal(1), 3.0, atol=1e-9)
    np.testing.assert_allclose(jac.diagonal(-1), -1.0, atol=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS[:2], ids=lambda e: type(e).__name__)
def test_differences_lost_in_what_a_residual_is_the_difference_of(estimator):
    """Residuals near zero of terms near a thousand: rounding is that of the terms."""
    x = np.array([1e-11, 1000.0, 2000.0])
    residual = lambda p: np.array([p[1] + 3.0 * p[0] - 1000.0, p[2] - 2.0 * p[0] - 2000.0 + 1e-13])
    pattern = SparsityPattern.from_dense([[1, 1, 0], [1, 0, 1]])
    jac = estimator.prepare(residual, x, 2, pattern=pattern).evaluate(x, residual(x), None).toarray()
    np.testing.assert_allclose(jac, [[3.0, 1.0, 0.0], [-2.0, 0.0, 1.0]], rtol=1e-3)
