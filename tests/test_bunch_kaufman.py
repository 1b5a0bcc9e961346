"""Bunch-Kaufman kernels against eigenvalues, LAPACK and products, on matrices of all kinds; symmetric products."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from references.kernel_calls import MODES, call
from scipy.linalg import lapack

from nlsq.kernels import bunch_kaufman, symmetric_product
from nlsq.kernels.bunch_kaufman_panel import ASIDE, PANEL

EPS = np.finfo(float).eps
KINDS = ("random", "hollow", "whole", "kkt", "definite", "negative", "scaled")
LARGE = bunch_kaufman.LARGE


def symmetric(rng, n, kind):
    """Return a symmetric matrix; of `kkt`, the last third of rows are constraints."""
    a = rng.standard_normal((n, n))
    a += a.T
    if kind == "hollow":  # every pivot 1 x 1 would be zero at first
        a[np.diag_indices(n)] = 0.0
    elif kind == "whole":  # ties among entries, and singular ones
        a = np.round(a)
    elif kind == "kkt":
        k = n // 3
        h = rng.standard_normal((n - k, n - k))
        a[: n - k, : n - k] = h @ h.T
        a[n - k :, n - k :] = 0.0
    elif kind in ("definite", "negative"):
        h = rng.standard_normal((n, n))
        a = (h @ h.T + np.eye(n)) * (1.0 if kind == "definite" else -1.0)
    elif kind == "scaled":
        scale = 10.0 ** rng.uniform(-6, 6, n)
        a = scale[:, None] * a * scale
    return a


def factorised(mode, a):
    """Return what `factor` and `inertia` say and leave: (code, counts, quality, factor, pivots)."""
    n = len(a)
    factor = np.tril(a) + np.triu(np.full((n, n), np.nan), 1)  # what is not read may be anything
    pivots, counts = np.full(n, 10**9), np.full(3, -7)
    code = call(bunch_kaufman.factor, mode, n, factor.reshape(-1), pivots)
    quality = call(bunch_kaufman.inertia, mode, n, factor.reshape(-1), pivots, counts)
    return code, tuple(counts), quality, factor, pivots


def solved(mode, factor, pivots, b):
    x = b.copy()
    call(bunch_kaufman.solve, mode, len(b), factor.reshape(-1), pivots, x)
    return x


def backward_error(a, x, b):
    """Return the size of A x - b beside that of |A| |x| (Oettli and Prager)."""
    return np.abs(a @ x - b).max() / (np.abs(a).sum(axis=1).max() * np.abs(x).max())


def check(mode, a, rng):
    eigenvalues = np.linalg.eigvalsh(a)
    code, counts, quality, factor, pivots = factorised(mode, a)
    if np.abs(eigenvalues).min() <= 1e-9 * np.abs(eigenvalues).max():
        return
    assert code == (eigenvalues < 0.0).sum()
    assert counts == ((eigenvalues > 0.0).sum(), code, 0)
    assert 0.0 < quality <= 1.0
    b = a @ rng.standard_normal(len(a))
    assert backward_error(a, solved(mode, factor, pivots, b), b) < 60 * EPS


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(n=st.integers(1, 14), seed=st.integers(0, 2**32 - 1))
def test_inertia_and_solutions_of_small_matrices(mode, kind, n, seed):
    rng = np.random.default_rng(seed)
    check(mode, symmetric(rng, n, kind), rng)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [LARGE - 1, LARGE, LARGE + 1, LARGE + PANEL, LARGE + PANEL + ASIDE, 217])
def test_inertia_and_solutions_by_panels(kind, n):
    rng = np.random.default_rng(n)
    check("compiled", symmetric(rng, n, kind), rng)


def test_panels_as_plain_python():
    rng = np.random.default_rng(5)
    check("python", symmetric(rng, LARGE, "kkt"), rng)


@pytest.mark.parametrize("kind", ["random", "hollow", "kkt", "definite"])
@pytest.mark.parametrize("n", [2, 3, 7, 40, LARGE + 60])
def test_pivots_are_those_of_lapack(kind, n):
    a = symmetric(np.random.default_rng(n), n, kind)
    *_, factor, pivots = factorised("compiled", a)
    theirs, exchanged, info = lapack.dsytrf(a, lower=0, lwork=64 * n)
    assert info == 0
    assert np.array_equal(np.where(pivots >= 0, pivots + 1, pivots), exchanged)
    assert np.tril(factor) == pytest.approx(np.triu(theirs).T, rel=1e-9, abs=1e-8 * np.abs(a).max())


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=40)
@given(n=st.integers(1, 12), rank=st.integers(0, 11), seed=st.integers(0, 2**32 - 1))
def test_exactly_singular_matrices_are_reported(mode, n, rank, seed):
    """Rows and columns of zeros in any place: their pivots are exactly zero, and the rest is solved."""
    rng = np.random.default_rng(seed)
    rank = min(rank, n)
    kept = np.sort(rng.permutation(n)[:rank])
    a = np.zeros((n, n))
    a[np.ix_(kept, kept)] = symmetric(rng, rank, "random")
    code, counts, quality, factor, pivots = factorised(mode, a)
    negative = (np.linalg.eigvalsh(a[np.ix_(kept, kept)]) < 0.0).sum() if rank else 0
    assert counts == (rank - negative, negative, n - rank)
    assert code == (negative if rank == n else rank - n)
    assert (quality == 0.0) == (rank < n)
    x = np.zeros(n)
    x[kept] = rng.standard_normal(rank)
    if rank:
        assert backward_error(a, solved(mode, factor, pivots, a @ x), a @ x) < 60 * EPS


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=40)
@given(n=st.integers(2, 12), seed=st.integers(0, 2**32 - 1))
def test_numerically_singular_matrices_have_a_poor_quality(mode, n, seed):
    """Duplicate constraints: the rounded pivot may have any sign, but it is tiny."""
    rng = np.random.default_rng(seed)
    k = max(n // 3, 1)
    a = symmetric(rng, n + k, "definite")
    jac = rng.standard_normal((k, n))
    a[n:, n:] = 0.0
    a[n:, :n], a[:n, n:] = jac, jac.T
    a = np.block([[a, a[:, -1:]], [a[-1:], np.zeros((1, 1))]])
    code, _, quality, *_ = factorised(mode, a)
    assert code < 0 or quality < 1e-12


def test_singular_by_panels():
    a = np.zeros((LARGE + 50, LARGE + 50))
    kept = np.arange(len(a)) % 5 != 0
    some = np.flatnonzero(kept)
    a[np.ix_(some, some)] = symmetric(np.random.default_rng(2), some.size, "random")
    code, counts, quality, factor, pivots = factorised("compiled", a)
    assert (code, counts[2], quality) == (some.size - len(a), len(a) - some.size, 0.0)
    b = a @ np.random.default_rng(3).standard_normal(len(a))
    assert backward_error(a, solved("compiled", factor, pivots, b), b) < 60 * EPS


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@settings(max_examples=60)
@given(
    n=st.integers(1, 9),
    place=st.tuples(st.integers(0, 8), st.integers(0, 8)),
    seed=st.integers(0, 99),
)
def test_what_is_not_finite_is_never_turned_into_a_solution(mode, bad, n, place, seed):
    i, j = sorted((place[0] % n, place[1] % n), reverse=True)
    a = symmetric(np.random.default_rng(seed), n, "random")
    a[i, j] = bad
    code, counts, quality, factor, pivots = factorised(mode, a)
    assert code < 0
    assert counts[2] > 0
    assert quality == 0.0
    assert np.all((pivots >= -n) & (pivots < n))
    assert np.isnan(solved(mode, factor, pivots, np.ones(n))).any()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("row", [0, 1, 50, LARGE - 40, LARGE + 38, LARGE + 39])
def test_what_is_not_finite_by_panels(bad, row):
    a = symmetric(np.random.default_rng(row), LARGE + 40, "random")
    a[row, row // 2] = bad
    code, counts, _, factor, pivots = factorised("compiled", a)
    assert code < 0
    assert counts[2] > 0
    assert np.isnan(solved("compiled", factor, pivots, np.ones(len(a)))).any()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tiny", [5e-324, 1e-310])
def test_pivots_without_a_reciprocal_are_zero(mode, tiny):
    a = np.diag([2.0, tiny, -3.0])
    code, counts, quality, factor, pivots = factorised(mode, a)
    assert (code, counts, quality) == (-1, (1, 1, 1), 0.0)
    assert solved(mode, factor, pivots, np.array([2.0, 0.0, 3.0])) == pytest.approx([1.0, 0.0, -1.0])


@pytest.mark.parametrize("mode", MODES)
def test_quality_is_the_range_of_eigenvalues_of_the_pivots(mode):
    a = np.zeros((3, 3))
    a[:2, :2] = [[1e-3, 4.0], [4.0, -1e-3]]
    a[2, 2] = 1e-6
    code, counts, quality, *_ = factorised(mode, a)
    assert (code, counts) == (1, (2, 1, 0))
    assert quality == pytest.approx(1e-6 / math.hypot(4.0, 1e-3), rel=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_nothing_to_factorise(mode):
    assert call(bunch_kaufman.factor, mode, 0, np.empty(0), np.empty(0, dtype=np.int64)) == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("m", "n"), [(1, 1), (0, 3), (3, 2), (5, 7), (700, 4), (513, 5), (1100, 3)])
def test_symmetric_products(mode, m, n):
    rng = np.random.default_rng(m + n)
    jac, before = rng.standard_normal((m, n)), rng.standard_normal((n, n))
    exact, bound = (
        jac.T @ jac,
        4 * (m + 1) * EPS * (np.abs(jac).T @ np.abs(jac) + np.abs(before)),
    )
    lower = np.tril(np.ones((n, n), dtype=bool))
    out, added = np.full((n, n), np.nan), before.copy()
    flat = np.ascontiguousarray(jac.T).reshape(-1)
    call(symmetric_product.normal_matrix, mode, m, n, flat, out.reshape(-1))
    call(symmetric_product.add_normal_matrix, mode, m, n, flat, added.reshape(-1))
    assert np.all(np.abs(out - exact)[lower] <= bound[lower])
    assert np.all(np.abs(added - before - exact)[lower] <= bound[lower])
    assert np.isnan(out[~lower]).all()
    assert np.array_equal(added[~lower], before[~lower])
