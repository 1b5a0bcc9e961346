"""Dense kernels against exact sums, exact elimination and numpy, compiled and as plain Python."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from references import dense as twin
from references.kernel_calls import MODES, call

from nlsq.kernels import dense

EPS = np.finfo(float).eps
finite = st.floats(allow_nan=False, allow_infinity=False)
moderate = st.floats(-1e60, 1e60).filter(lambda v: v == 0.0 or abs(v) > 1e-60)


@st.composite
def matrices(draw, most_rows=12, most_columns=6, tall=True):
    """Jacobians of all kinds: columns of any length, next to dependent, equal or zero."""
    n = draw(st.integers(1, most_columns))
    m = draw(st.integers(n if tall else 1, most_rows))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    jac = rng.standard_normal((m, n)) * 10.0 ** draw(st.lists(st.integers(-8, 8), min_size=n, max_size=n).map(np.array))
    kind = draw(st.sampled_from(["plain", "near", "equal", "zero", "whole"]))
    if n > 1 and kind == "near":
        jac[:, -1] = jac[:, 0] * (1.0 + 1e-9 * rng.standard_normal(m))
    elif n > 1 and kind == "equal":
        jac[:, -1] = jac[:, 0]
    elif kind == "zero":
        jac[:, draw(st.integers(0, n - 1))] = 0.0
    elif kind == "whole":
        jac = np.round(rng.uniform(-3, 3, (m, n)))
    return jac


@pytest.mark.parametrize("mode", MODES)
@given(pairs=st.lists(st.tuples(moderate, moderate), max_size=40))
def test_dot(mode, pairs):
    a, b = (np.array([p[k] for p in pairs], dtype=float) for k in range(2))
    exact, size = twin.dot(a, b)
    assert call(dense.dot, mode, a, b, a.size) == pytest.approx(exact, rel=0, abs=(len(pairs) + 1) * EPS * size)


@pytest.mark.parametrize("mode", MODES)
@given(values=st.lists(finite, max_size=30))
def test_norm_of_any_finite_numbers(mode, values):
    a = np.array(values, dtype=float)
    exact = twin.norm(a)
    assume(exact < 0.99 * np.finfo(float).max)
    assert call(dense.norm, mode, a, a.size) == pytest.approx(exact, rel=(len(values) + 4) * EPS, abs=2e-323)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [1e-320, 1e-200, 1e-146, 1e-145, 1e144, 1e145, 1e200, 1e307])
def test_norm_neither_overflows_nor_underflows(mode, size):
    a = np.array([3.0 * size, -4.0 * size])
    assert call(dense.norm, mode, a, 2) == pytest.approx(5.0 * size, rel=1e-3 if size < 1e-300 else 1e-15)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("values", "expected"), [([1.0, np.nan], np.nan), ([np.inf, 1.0], np.inf), ([], 0.0)])
def test_norm_of_what_is_not_finite(mode, values, expected):
    assert call(dense.norm, mode, np.array(values, dtype=float), len(values)) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("m", [1, 3, 1023, 1024, 1025, 2049])
def test_normal_matrix_in_blocks(mode, m):
    jac = np.random.default_rng(m).standard_normal((m, 3)) * [1.0, 1e-4, 1e6]
    out = np.full(9, np.nan)
    call(dense.normal_matrix, mode, jac.T.ravel(), m, 3, out)
    out = out.reshape(3, 3)
    assert np.all(np.abs(out - jac.T @ jac) <= 4 * m * EPS * (np.abs(jac).T @ np.abs(jac)))
    assert np.array_equal(out, out.T)


def with_reciprocal_diagonal(lower):
    """Return a triangle as `cholesky_factorize` leaves it, or what it left as a triangle."""
    changed = lower.copy()
    np.fill_diagonal(changed, 1.0 / lower.diagonal())
    return changed


@pytest.mark.parametrize("mode", MODES)
@given(jac=matrices(), damping=st.sampled_from([0.0, 1e-12, 1.0, 1e6]))
def test_cholesky_and_its_pivot_measure(mode, jac, damping):
    normal = jac.T @ jac
    n = len(normal)
    factor = np.zeros(n * n)
    kept = call(dense.cholesky_factorize, mode, normal.ravel(), damping, n, factor)
    exact = twin.kept_by_pivots(normal, damping)
    assert kept == pytest.approx(exact, rel=1e-6, abs=20 * n * EPS)
    if kept > 0.0:
        lower = with_reciprocal_diagonal(np.tril(factor.reshape(n, n)))
        damped = normal + damping * np.eye(n)
        size = np.sqrt(np.outer(damped.diagonal(), damped.diagonal()))
        assert np.all(np.abs(lower @ lower.T - damped) <= 10 * n * EPS * size)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, 0.0])
def test_cholesky_refuses(mode, bad):
    matrix = np.diag([1.0, bad, 1.0])
    assert call(dense.cholesky_factorize, mode, matrix.ravel(), 0.0, 3, np.zeros(9)) == 0.0


@pytest.mark.parametrize("mode", MODES)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 7))
def test_triangular_solves(mode, seed, n):
    rng = np.random.default_rng(seed)
    lower = np.tril(rng.uniform(-1, 1, (n, n))) + 2.0 * n * np.diag(np.sign(rng.uniform(-1, 1, n)))
    b = rng.standard_normal(n)
    factor = with_reciprocal_diagonal(lower)
    solves = {
        dense.lower_solve: (factor, lower),
        dense.lower_transposed_solve: (factor, lower.T),
        dense.upper_transposed_solve: (lower.T.copy(), lower),
    }
    for kernel, (stored, matrix) in solves.items():
        x = b.copy()
        call(kernel, mode, stored.ravel(), n, x)
        np.testing.assert_allclose(matrix @ x, b, rtol=1e-13, atol=1e-13)
    for rank in range(n + 1):
        x = b.copy()
        call(dense.upper_solve, mode, lower.T.ravel(), n, rank, x)
        assert np.all(x[rank:] == 0.0)
        np.testing.assert_allclose(lower.T[:rank, :rank] @ x[:rank], b[:rank], rtol=1e-13, atol=1e-13)


def factorise(mode, jac, rhs):
    """Run the QR kernel; return reflectors, Q' rhs, pivot and R."""
    rows, n = jac.shape
    q, qtb = jac.T.ravel().copy(), rhs.copy()
    pivot, r, work = np.full(n, -1), np.full(n * n, np.nan), np.empty(2 * n)
    call(dense.qr_factorize, mode, q, rows, n, qtb, pivot, r, work)
    return q.reshape(n, rows), qtb, pivot, r.reshape(n, n)


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=150)
@given(jac=matrices(tall=False), seed=st.integers(0, 99))
def test_qr_with_pivoting(mode, jac, seed):
    rows, n = jac.shape
    rhs = np.random.default_rng(seed).standard_normal(rows)
    q, qtb, pivot, r = factorise(mode, jac, rhs)
    assert sorted(pivot) == list(range(n))
    assert np.array_equal(r, np.triu(r))
    orthogonal = twin.reflectors(q, rows, n)
    np.testing.assert_allclose(orthogonal.T @ orthogonal, np.eye(rows), atol=40 * rows * EPS)
    k = min(rows, n)
    size = np.linalg.norm(jac[:, pivot], axis=0) + np.finfo(float).tiny
    assert np.all(np.abs(orthogonal[:, :k] @ r[:k] - jac[:, pivot]) <= 40 * rows * EPS * size)
    np.testing.assert_allclose(qtb, orthogonal.T @ rhs, atol=40 * rows * EPS * np.linalg.norm(rhs))
    diagonal = np.abs(r.diagonal()[:k])
    assert np.all(diagonal[1:] <= diagonal[:-1] * (1.0 + 1e-6))


@pytest.mark.parametrize("mode", MODES)
@given(jac=matrices(tall=False), seed=st.integers(0, 99))
def test_reflect_all_applies_the_same_reflections(mode, jac, seed):
    rows, n = jac.shape
    rhs = np.random.default_rng(seed).standard_normal(rows)
    q, qtb, _, _ = factorise(mode, jac, rhs)
    b = rhs.copy()
    call(dense.reflect_all, mode, q.ravel(), rows, n, b)
    np.testing.assert_allclose(b, qtb, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [1e-280, 1e-160, 1e160, 1e300])
def test_qr_of_extreme_numbers(mode, size):
    jac = size * np.random.default_rng(3).uniform(-1.0, 1.0, (6, 3))
    _, _, pivot, r = factorise(mode, jac, np.zeros(6))
    expected = np.linalg.qr(jac[:, pivot] / size, mode="r")
    np.testing.assert_allclose(np.abs(r) / size, np.abs(expected), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rank", range(6))
@pytest.mark.parametrize("seed", range(4))
def test_rank_of_planted_rank(mode, rank, seed):
    rng = np.random.default_rng(seed)
    jac = rng.standard_normal((9, rank)) @ rng.standard_normal((rank, 5))
    _, _, _, r = factorise(mode, jac, np.zeros(9))
    assert call(dense.upper_rank, mode, r.ravel(), 5, 9 * EPS) == min(rank, 5)


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=150)
@given(jac=matrices(), seed=st.integers(0, 99), root=st.sampled_from([1e-3, 0.7, 1.0, 1e4]))
def test_damped_triangle_against_stacked_least_squares(mode, jac, seed, root):
    rows, n = jac.shape
    scale = np.linalg.norm(jac, axis=0)
    jac = jac / np.where(scale > 0.0, scale, 1.0)
    rhs = np.random.default_rng(seed).standard_normal(rows)
    _, qtb, pivot, r = factorise(mode, jac, rhs)
    triangle, b, work = np.zeros(n * n), np.empty(n), np.empty(n)
    call(dense.damp_triangle, mode, r.ravel(), qtb, root, n, triangle, b, work)
    call(dense.upper_solve, mode, triangle, n, n, b)
    step = np.empty(n)
    step[pivot] = b
    expected = twin.damped_step(jac, rhs, root)
    np.testing.assert_allclose(step, expected, rtol=1e-9, atol=1e-8 * np.linalg.norm(rhs))
    again, c = np.zeros(n * n), np.empty(n)
    call(dense.damp_triangle_by, mode, r.ravel(), qtb, np.full(n, root), n, again, c, work)
    assert np.array_equal(again, triangle)


@pytest.mark.parametrize("mode", MODES)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 5))
def test_unequal_damping_against_stacked_least_squares(mode, seed, n):
    rng = np.random.default_rng(seed)
    jac, rhs, roots = rng.standard_normal((8, n)), rng.standard_normal(8), 10.0 ** rng.uniform(-2, 2, n)
    roots[rng.uniform(size=n) < 0.3] = 0.0
    _, qtb, pivot, r = factorise(mode, jac, rhs)
    triangle, b, work = np.zeros(n * n), np.empty(n), np.empty(n)
    call(dense.damp_triangle_by, mode, r.ravel(), qtb, roots[pivot], n, triangle, b, work)
    call(dense.upper_solve, mode, triangle, n, n, b)
    step = np.empty(n)
    step[pivot] = b
    np.testing.assert_allclose(step, twin.damped_step(jac, rhs, roots), rtol=1e-8, atol=1e-9)


def test_references_know_the_hilbert_matrix():
    """The twins themselves: det of the Hilbert matrix of order 4 is 1 / 6048000."""
    hilbert = np.array([[1.0 / (i + j + 1) for j in range(4)] for i in range(4)])
    assert math.prod(map(float, twin.pivots(hilbert))) == pytest.approx(1 / 6048000, rel=1e-9)
    assert twin.norm([3e300, 4e300]) == pytest.approx(5e300, rel=1e-15)


@pytest.mark.parametrize("mode", MODES)
def test_pivoting_of_a_graded_matrix(mode):
    """Norms that cancel on the way must be measured anew, or the order of the columns goes wrong."""
    rng = np.random.default_rng(7)
    left, right = (np.linalg.qr(rng.standard_normal((12, 12)))[0] for _ in range(2))
    jac = (left * 10.0 ** -np.arange(0.0, 12.0)) @ right
    q, _, pivot, r = factorise(mode, jac, np.zeros(12))
    diagonal = np.abs(r.diagonal())
    assert np.all(diagonal[1:] <= diagonal[:-1] * (1.0 + 1e-6))
    for k in range(12):  # each pivot has the longest rest of all columns left
        rest = np.linalg.norm((twin.reflectors(q[: k or 1], 12, k).T @ jac[:, pivot])[k:, k:], axis=0)
        assert rest[0] >= rest.max() * (1.0 - 1e-3)
