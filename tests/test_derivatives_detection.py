"""Patterns that are found: equal to the true ones, within bounds, in few evaluations; and those that are wrong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from references.kernel_calls import MODES, call
from scipy import sparse

import nlsq
from benchmarks.problems import sparsity
from nlsq.derivatives import CentralDifference, Colored, ForwardDifference, MissingEntryError, detect_sparsity
from nlsq.kernels import detection as kernels
from nlsq.pattern import SparsityPattern

masks = hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 40)), elements=st.booleans())


def residual_of(mask, seed=0):
    """Return a smooth residual whose Jacobian has exactly the pattern `mask`."""
    weights = np.where(mask, np.random.default_rng(seed).uniform(0.5, 1.5, mask.shape), 0.0)
    return lambda x: weights @ np.sin(x) + 0.3 * (weights @ x) ** 2


def chain(x):
    r = np.empty(2 * x.size - 2)
    r[::2] = 10.0 * (x[1:] - x[:-1] ** 2)
    r[1::2] = 1.0 - x[:-1]
    return r


def chain_pattern(n):
    row = np.arange(n - 1)
    rows, columns = np.concatenate([2 * row, 2 * row, 2 * row + 1]), np.concatenate([row, row + 1, row])
    return SparsityPattern.from_entries(rows, columns, (2 * n - 2, n))


def bundle(cameras, points, observations, seed=0):
    """Return a projection of points by cameras, its start and its pattern."""
    rows, columns, shape = sparsity.bundle_adjustment(cameras, points, observations, seed)
    rng = np.random.default_rng(seed)
    of_row = columns.reshape(shape[0], -1)
    weights = rng.uniform(0.5, 1.5, of_row.shape) * 10.0 ** rng.uniform(-2, 2, of_row.shape)

    def residual(x):
        inner = np.einsum("ij,ij->i", weights, np.sin(x[of_row]))
        return inner + 0.1 * np.prod(1.0 + 0.1 * x[of_row], axis=1) - 3.0

    return residual, rng.normal(size=shape[1]), SparsityPattern.from_entries(rows, columns, shape)


def counted(residual):
    def call(x):
        call.count += 1
        return residual(x)

    call.count = 0
    return call


# Probing


@given(masks, st.integers(0, 100))
def test_patterns_are_found(mask, seed):
    residual = counted(residual_of(mask))
    x = np.random.default_rng(seed).uniform(-1, 2, mask.shape[1])
    found = detect_sparsity(residual, x, seed=seed, trace=False)
    assert found.pattern == SparsityPattern.from_dense(mask)
    assert (found.evaluations, found.source) == (residual.count, "probing")


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 12, 13, 25, 1000])
def test_chains_take_few_evaluations(n):
    residual = counted(chain)
    found = detect_sparsity(residual, np.full(n, 0.5), trace=False)
    assert found.pattern == chain_pattern(n)
    assert residual.count <= 15 + 4 * np.log2(n)


def test_bundle_adjustment_takes_few_evaluations():
    residual, x, pattern = bundle(20, 300, 1500)
    found = detect_sparsity(residual, x, trace=False)
    assert found.pattern == pattern
    assert found.evaluations <= 110


def test_same_seed_same_points():
    seen = []
    for _ in range(2):
        points = []
        detect_sparsity(lambda x, points=points: points.append(x) or chain(x), np.ones(20), trace=False)
        seen.append(np.array(points))
    np.testing.assert_array_equal(*seen)


KINKS = {
    "product of zeros": lambda x: np.array([x[0] * x[1], x[2]]),
    "abs": lambda x: np.array([abs(x[0]) + x[1], x[2]]),
    "max": lambda x: np.array([max(x[0], 0.0) + min(x[1], 0.0), x[2]]),
    "square": lambda x: np.array([x[0] ** 2 + x[1] ** 4, x[2]]),
}


@pytest.mark.parametrize("name", KINKS)
@pytest.mark.parametrize("seed", range(5))
def test_kinks_and_zeros_at_the_start(name, seed):
    found = detect_sparsity(KINKS[name], np.zeros(3), seed=seed, trace=False)
    np.testing.assert_array_equal(found.pattern.to_dense(), [[1, 1, 0], [0, 0, 1]])


def test_parameters_of_all_sizes():
    x = 10.0 ** np.arange(-12, 12)
    sizes = x.copy()
    residual = lambda p: np.exp(-p / sizes)[1:] + (p / sizes)[:-1]
    found = detect_sparsity(residual, x, trace=False)
    expected = np.eye(23, 24, dtype=bool) | np.eye(23, 24, k=1, dtype=bool)
    np.testing.assert_array_equal(found.pattern.to_dense(), expected)


@given(st.data())
def test_bounds_are_kept(data):
    n = 12
    x = np.linspace(-1.0, 2.0, n)
    gaps = hnp.arrays(np.float64, n, elements=st.sampled_from([0.0, 1e-6, 1e-3, 1.0, np.inf]))
    lower, upper = x - data.draw(gaps), x + data.draw(gaps)

    def residual(p):
        assert np.all((lower <= p) & (p <= upper))
        return p[1:] - p[:-1] ** 3

    found = detect_sparsity(residual, x, bounds=(lower, upper), trace=False).pattern.to_dense()
    expected = np.eye(n - 1, n, dtype=bool) | np.eye(n - 1, n, k=1, dtype=bool)
    expected[:, lower == upper] = False
    np.testing.assert_array_equal(found, expected)


def test_residuals_that_are_not_finite_near_the_start():
    eye = np.eye(3, dtype=bool)
    root = lambda x: np.sqrt(np.where(x < 0.0, np.nan, x))
    np.testing.assert_array_equal(detect_sparsity(root, np.zeros(3), trace=False).pattern.to_dense(), eye)
    pole = lambda x: np.where(np.abs(x - 1.0) > 1e-5, np.nan, x)
    np.testing.assert_array_equal(detect_sparsity(pole, np.ones(3), trace=False).pattern.to_dense(), eye)


def test_residual_that_is_nowhere_finite():
    with pytest.raises(ValueError, match="residual 1 is not finite near x0"):
        detect_sparsity(lambda x: np.array([x[0], np.nan]), np.ones(2), trace=False)


def test_arguments():
    for x0 in ([], [[1.0]], [np.nan]):
        with pytest.raises(ValueError, match="x0 must be"):
            detect_sparsity(chain, x0)
    with pytest.raises(ValueError, match="probes"):
        detect_sparsity(chain, np.ones(3), probes=0)
    with pytest.raises(TypeError, match="None"):
        detect_sparsity(lambda x: None, np.ones(3), trace=False)
    with pytest.raises(ValueError, match="shape"):
        detect_sparsity(lambda x: x[: 2 + (x[0] > 1.0)], np.ones(3), trace=False)


def test_second_probe_finds_what_the_first_has_missed():
    """A bump far narrower than the moves of the first probe."""
    x = np.full(30, 1e-6)
    residual = lambda p: p[:-1] + np.exp(-((p[1:] / 1e-6 - 1.0) ** 2))
    one, two = (detect_sparsity(residual, x, probes=k, trace=False).pattern for k in (1, 2))
    assert one.nnz < two.nnz == 2 * 29


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_missing_in_large_problems(seed):
    n = 100_000
    found = detect_sparsity(chain, np.random.default_rng(0).normal(size=n), seed=seed, trace=False)
    assert found.pattern == chain_pattern(n)
    assert found.evaluations <= 150
    residual, x, pattern = bundle(49, 7776, 31843)
    found = detect_sparsity(residual, x, seed=seed, trace=False)
    assert found.pattern == pattern
    assert found.evaluations <= 150


# Graphs


def test_pattern_of_a_graph_takes_no_evaluations():
    found = detect_sparsity(chain, np.ones(10))
    assert (found.pattern, found.evaluations, found.source) == (chain_pattern(10), 0, "graph")


def with_sums(x):
    inside = x[2:5] * x[1]
    return np.concatenate([x[:3] ** 2, np.array([np.sum(inside) + x[0]]), x[3:5] - np.sum(x[5:] * np.sum(x[:2]))])


def test_sums_of_a_graph():
    x = np.linspace(0.5, 1.5, 8)
    by_graph, by_probing = detect_sparsity(with_sums, x), detect_sparsity(with_sums, x, trace=False)
    assert (by_graph.source, by_probing.source) == ("graph", "probing")
    assert by_graph.pattern == by_probing.pattern


# Kernels


@pytest.mark.parametrize("mode", MODES)
@given(mask=masks, other=masks, seed=st.integers(0, 100))
def test_kernels(mode, mask, other, seed):
    rng = np.random.default_rng(seed)
    rows = [part.astype(np.int64) for part in SparsityPattern.from_dense(mask).by_rows()]
    m, n = mask.shape
    base = rng.normal(size=m)
    changed = rng.random(m) < 0.5
    values = np.where(changed, base + 1.0, base)
    colors = rng.integers(0, 3, n)
    i, j = np.nonzero(mask)
    hits = np.zeros(i.size, dtype=np.int64)
    assert call(kernels.mark_parts, mode, values, base, m, *rows, colors, 1, 2, hits) == -1
    np.testing.assert_array_equal(hits, np.where(changed[i] & (colors[j] == 1), 4, 0))
    flags = np.zeros(m, dtype=np.int64)
    assert call(kernels.mark_strangers, mode, values, base, m, *rows, colors, 1, flags) == -1
    np.testing.assert_array_equal(flags, changed & ~(mask & (colors == 1)).any(axis=1))
    values[m // 2] = np.nan
    for kernel, last in ((kernels.mark_parts, (1, 2, hits)), (kernels.mark_strangers, (1, flags))):
        assert call(kernel, mode, values, base, m, *rows, colors, *last) == m // 2
    hits = rng.integers(0, 8, i.size)
    indptr, groups = np.empty(m + 1, dtype=np.int64), np.empty(3 * i.size, dtype=np.int64)
    count = call(kernels.split_groups, mode, *rows, hits, 3, m, indptr, groups)
    split = np.zeros((m, 3 * n), dtype=bool)
    for row, column, bits in zip(i, j, hits, strict=True):
        split[row, 3 * column : 3 * column + 3] = [bits & 1, bits & 2, bits & 4]
    expected = SparsityPattern.from_dense(split).by_rows()
    np.testing.assert_array_equal(indptr, expected[0])
    np.testing.assert_array_equal(groups[:count], expected[1])
    second = np.resize(other, mask.shape)
    others = [part.astype(np.int64) for part in SparsityPattern.from_dense(second).by_rows()]
    columns = np.empty(rows[1].size + others[1].size, dtype=np.int64)
    count = call(kernels.unite_rows, mode, *rows, *others, m, indptr, columns)
    expected = SparsityPattern.from_dense(mask | second).by_rows()
    np.testing.assert_array_equal(indptr, expected[0])
    np.testing.assert_array_equal(columns[:count], expected[1])


# In problems and Jacobians


def opaque(x):
    """Return what no trace can follow."""
    return np.array([10.0 * (x[i + 1] - x[i] ** 2) for i in range(len(x) - 1)] + [1.0 - float(v) for v in x[:-1]])


def opaque_pattern(n):
    i = np.arange(n - 1)
    entries = np.concatenate([i, i, i + n - 1]), np.concatenate([i, i + 1, i])
    return SparsityPattern.from_entries(*entries, (2 * n - 2, n))


def test_problem_finds_its_pattern_and_counts():
    residual = counted(opaque)
    n = 40
    problem = nlsq.LeastSquaresProblem(residual, np.full(n, 0.5), sparsity="auto")
    residual.count = 0
    result = nlsq.solve(problem)
    assert result.converged
    np.testing.assert_allclose(result.x, 1.0, atol=1e-6)
    assert problem.pattern == opaque_pattern(n)
    assert problem.detection.source == "probing"
    assert result.nfev + result.nfev_jac == residual.count
    assert sparse.issparse(result.jac)


def test_problem_by_its_graph():
    problem = nlsq.LeastSquaresProblem(chain, np.full(40, 0.5), sparsity="auto")
    assert problem.pattern == chain_pattern(40)
    result = nlsq.solve(problem)
    assert result.converged
    assert result.nfev_jac == 0
    jac = problem.prepare_jacobian(problem.x0, 78).evaluate(problem.x0, chain(problem.x0), None)
    expected = np.zeros((78, 40))
    i = np.arange(39)
    expected[2 * i, i], expected[2 * i, i + 1], expected[2 * i + 1, i] = -10.0, 10.0, -1.0
    np.testing.assert_allclose(jac.toarray(), expected, atol=1e-14)
    assert jac.has_canonical_format


@pytest.mark.parametrize("jac", ["2-point", "3-point"])
def test_problem_with_differences(jac):
    problem = nlsq.LeastSquaresProblem(opaque, np.full(20, 0.5), jac=jac, sparsity="auto")
    assert nlsq.solve(problem).converged
    assert problem.pattern == opaque_pattern(20)


def test_jacobian_function_finds_its_pattern_once():
    residual = counted(opaque)
    jac = nlsq.jacobian(residual, "forward", "auto")
    x = np.linspace(0.5, 1.5, 30)
    assert jac.pattern is None
    first = jac(x)
    assert jac.pattern == opaque_pattern(30)
    residual.count = 0
    np.testing.assert_array_equal(jac(x).toarray(), first.toarray())
    assert residual.count == 3  # the base and two colours
    np.testing.assert_allclose(first.toarray(), nlsq.jacobian(opaque)(x), atol=1e-6)


def test_names_of_sparsity():
    for make in (
        lambda: nlsq.jacobian(chain, sparsity="all"),
        lambda: nlsq.LeastSquaresProblem(chain, np.ones(3), sparsity="x"),
    ):
        with pytest.raises(ValueError, match="'auto' or a pattern"):
            make()


# Wrong patterns


def without(pattern, entry):
    kept = np.arange(pattern.nnz) != entry
    return SparsityPattern.from_entries(pattern.indices[kept], pattern.columns[kept], pattern.shape)


ESTIMATORS = [ForwardDifference(), CentralDifference()]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
@given(mask=hnp.arrays(np.bool_, (12, 15)), data=st.data())
def test_missing_entries_are_named(estimator, mask, data):
    mask[0, 0] = True
    pattern = SparsityPattern.from_dense(mask)
    entry = data.draw(st.integers(0, pattern.nnz - 1))
    residual, x = residual_of(mask), np.random.default_rng(3).uniform(0.5, 1.0, 15)
    prepared = Colored(estimator, without(pattern, entry)).prepare(residual, x, 12)
    with pytest.raises(MissingEntryError) as caught:
        prepared.evaluate(x, residual(x), None)
    assert (caught.value.row, caught.value.column) == (pattern.indices[entry], pattern.columns[entry])


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_a_pattern_is_checked_until_all_of_it_is_finite(estimator):
    """Where NaN stands in the way at first, the missing entry is found later; then it is left alone."""
    lost = [True]

    def residual(x):
        r = x[1:] * x[:-1]
        if lost[0]:
            r[4] = np.nan
        return r

    x = np.linspace(0.5, 1.5, 20)
    band = SparsityPattern.from_matrix(sparse.diags_array([1.0, 1.0], offsets=[0, 1], shape=(19, 20)))
    row_4 = int(np.flatnonzero((band.indices == 4) & (band.columns == 5))[0])
    for pattern in (without(band, row_4), band):
        lost[0] = True
        prepared = Colored(estimator, pattern).prepare(residual, x, 19)
        prepared.evaluate(x, residual(x), None)
        lost[0] = False
        if pattern is not band:
            with pytest.raises(MissingEntryError, match="row 4, column 5"):
                prepared.evaluate(x, residual(x), None)
        else:
            calls = [(prepared.evaluate(x, residual(x), None), prepared.residual_calls)[1] for _ in range(2)]
            assert calls[0] == calls[1] + 1


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
@given(mask=masks, seed=st.integers(0, 100))
def test_right_patterns_pass(estimator, mask, seed):
    residual, x = counted(residual_of(mask)), np.random.default_rng(seed).uniform(-1, 2, mask.shape[1])
    prepared = Colored(estimator, mask).prepare(residual, x, mask.shape[0])
    r = residual(x)
    for extra in (1, 0):
        residual.count = 0
        prepared.evaluate(x, r, None)
        assert prepared.residual_calls == residual.count
        assert residual.count >= prepared.coloring.n_colors + extra


def test_curved_noisy_and_single_precision_residuals_pass():
    x = np.linspace(0.5, 1.5, 20)
    band = SparsityPattern.from_matrix(sparse.diags_array([1.0, 1.0], offsets=[0, 1], shape=(19, 20)))
    rng = np.random.default_rng(0)
    residuals = {
        "curved": lambda p: np.exp(200.0 * (p[1:] - p[:-1])) + np.sin(1e4 * p[1:]),
        "noisy": lambda p: p[1:] * p[:-1] + 1e-9 * rng.normal(size=19),
        "single": lambda p: (p[1:] * p[:-1]).astype(np.float32),
        "cancelling": lambda p: (p[1:] + 1e9) - (p[:-1] + 1e9),
    }
    for residual in residuals.values():
        Colored(ForwardDifference(), band).prepare(residual, x, 19).evaluate(x, residual(x).astype(float), None)


def test_vectorized_residual_is_checked():
    x = np.linspace(0.5, 1.5, 20)
    residual = lambda p: p[1:] * p[:-1]
    wrong = SparsityPattern.from_dense(np.eye(19, 20))
    with pytest.raises(MissingEntryError, match=r"row \d+, column \d+"):
        Colored(ForwardDifference(vectorized=True), wrong).prepare(residual, x, 19).evaluate(x, residual(x), None)


def test_wrong_patterns_are_errors_natively_and_silent_as_in_scipy():
    n = 30
    x0, wrong = np.full(n, 0.5), without(opaque_pattern(n), 20)
    with pytest.raises(ValueError, match=r"sparsity lacks entry \(row \d+, column \d+\)"):
        nlsq.solve(nlsq.LeastSquaresProblem(opaque, x0, sparsity=wrong))
    with pytest.raises(MissingEntryError):
        nlsq.jacobian(opaque, sparsity=wrong)(x0)
    assert nlsq.least_squares(opaque, x0, jac_sparsity=wrong.to_csr()).status >= 0


def test_long_loops_are_probed_rather_than_traced():
    def looped(x):
        r = np.empty(x.size - 1)
        for i in range(x.size - 1):
            r[i] = x[i + 1] - x[i] ** 2
        return r

    x = np.full(6000, 0.5)
    assert detect_sparsity(looped, x[:30]).source == "graph"
    assert detect_sparsity(looped, x).source == "probing"
    assert detect_sparsity(chain, x).source == "graph"
